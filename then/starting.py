"""Starts as executors take them: orders of the core turned into jobs, by the kind of their executor."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from then.abc import Executor, Job
from then.core.causes import Report, Start
from then.core.edition import Edition
from then.core.granting import run_again
from then.core.launch import CannotLaunch, launch_options
from then.core.state import State
from then.core.stepping import Terms
from then.core.tasks import Body, Task
from then.handing import check_files


def jobs_of(
    orders: Sequence[Start], those: set[str] | None, now_us: int, begun: list[Task] | None
) -> tuple[dict[str, list[Job]], list[Report]]:
    """Jobs by kind; and how those ended at once whose run line cannot be evaluated.

    Args:
        those: who is still to be started of them; None: all.
        begun: where somebody watches, gets the tasks that begin now, and not those that follow in their row.
    """
    jobs: dict[str, list[Job]] = {}
    refused: list[Report] = []
    for order in orders:
        follows = False
        for task in (order.task, *order.following):
            if those is not None and task.id not in those:
                continue
            try:
                options = order.edition.runners[task.type].options or launch_options(task, order.edition)
                if "file_inputs" in options:
                    check_files(options["file_inputs"], task.body)
            except CannotLaunch as error:
                wrong: Body = {"kind": error.kind, "message": str(error)}
                refused.append(Report(task.id, "failed", None, wrong, None, now_us))
                continue
            group = jobs.get(order.kind)
            if group is None:
                group = jobs[order.kind] = []
            group.append(Job(task, options, follows))
            if begun is not None and not follows:
                begun.append(task)
            follows = True
    return jobs, refused


class Left(NamedTuple):
    """What an engine that is gone has left to those that run tasks."""

    jobs: dict[str, list[Job]]
    """By the kind of their executor: what it has still, or was given; each has its slots again."""
    stopping: list[tuple[str, str]]
    """Kind and id of those that were told to stop."""
    gone: list[Report]
    """How those ended that were told to stop, and nobody has any more."""


def left_behind(state: State, terms: Terms, known: AbstractSet[str], now_us: int, *, starts: bool) -> Left:
    """What the executors are to be asked for after a start.

    Args:
        known: the ids that they have from an engine before.
        starts: False where nothing is to be started now.
    """
    left = Left({}, [], [])
    at_steps = {id for id in state.holds.stops if starts and state.holds.at_step(id)}
    if starts:
        # What a script has done is in the state: its executor goes on with it.
        known = known | state.waits.scripts.of.keys()
    for id in sorted(known | state.begun | state.stopping | at_steps):
        task = state.task(id)
        if task is None or task.outcome is not None or (task.is_held and id not in at_steps):
            continue
        flow = state.flows[task.flow]
        edition = terms.editions[flow.version]
        kind = edition.kind_of(task.type)
        if kind is None or flow.is_stubbed or kind not in terms.kinds:
            continue
        is_stopping = id in state.stopping
        declared = edition.runners[task.type].declared
        if task.is_held:
            # A script before a step: what it has taken stays its own, and its release starts it.
            run_again(state, terms, task, declared.slots)
            continue
        # What was told to stop, and is gone, is not run again; of a `once` task that is for its executor to say.
        is_gone = task.started is None or not starts or (is_stopping and not declared.once)
        if id not in known and is_gone:
            if is_stopping:
                left.gone.append(Report(id, "cancelled", None, {"kind": "cancelled"}, task.started, now_us))
            continue
        run_again(state, terms, task, declared.slots)
        left.jobs.setdefault(kind, []).append(job_again(task, edition))
        if is_stopping:
            left.stopping.append((kind, id))
    return left


def job_again(task: Task, edition: Edition) -> Job:
    """The job of a task that was started before; its options do not matter where it still runs."""
    try:
        return Job(task, launch_options(task, edition))
    except CannotLaunch:
        declared = edition.runners[task.type].declared
        return Job(task, {"once": declared.once, "done_on": list(declared.done_on)})


def forget(reported: Sequence[tuple[Executor, str]]) -> None:
    """Tells executors that what they reported is durable."""
    by_executor: dict[int, tuple[Executor, list[str]]] = {}
    for executor, task in reported:
        by_executor.setdefault(id(executor), (executor, []))[1].append(task)
    for executor, ids in by_executor.values():
        executor.forget(ids)
