"""Rows: quick tasks that are given out together, and run one after the other in one slot.

Giving a task out, running it and hearing of its end takes far longer than a
quick function does; done for many at a time it does not. A row is given to an
executor that says it runs such tasks quickly (`Terms.quick`); where it turns
out that one of them is slow, the executor gives those behind it back
(`GiveBack`), and they wait as if they had never been given out.

Nothing of it is journalled. A row takes one slot, which goes from each to the
next; so never more run at once than there are slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from then.core.admission import Turns
from then.core.causes import Began
from then.core.edition import Edition, Runner
from then.core.holding import stops_of
from then.core.state import State
from then.core.stepping import Stepping
from then.core.tasks import Task
from then.core.variables import with_variables

ROW_MAX: Final = 64
"""Tasks in one row: as many are run again after a crash, and a stop, at most, has to look at."""


def _is_plain(task: Task, runner: Runner) -> bool:
    """Whether nothing has to be written down of its start."""
    return task.policy is None and runner.declared.slots == 1 and not runner.declared.once


def behind(at: Stepping, first: Task, runner: Runner, edition: Edition) -> tuple[Task, ...]:
    """Takes those that may run after one that starts now from the head of the queue: a fair share for its slot."""
    state, terms = at.state, at.terms
    quick = terms.quick.get(runner.kind)
    if quick is None or first.type not in quick or first.priority or not _is_plain(first, runner):
        return ()
    if state.is_watched and stops_of(at, edition).has_before(first.type):
        return ()
    running, flows, turns = state.running, state.flows, state.waiting.get(0)
    waiting: Turns | deque[str] = state.queue if turns is None else turns
    count = len(state.queue) if turns is None else turns.count
    take = state.queue.popleft if turns is None else turns.take
    free = max(0, terms.slots - state.slots_used)
    most = min(ROW_MAX - 1, count // (free + 1))
    if most == 0:
        return ()
    found: list[Task] = []
    row = {first.id: None}
    flow, name = first.flow, first.type
    while waiting and len(found) < most:
        id = state.queue[0] if turns is None else turns.first()
        task = state.task(id)
        if task is None or task.outcome is not None or task.is_held or id in running or id in state.stopping:
            take()
            continue
        if task.flow != flow:
            other = flows[task.flow]
            if other.held is not None or other.is_stubbed or (terms.only is not None and task.flow not in terms.only):
                take()  # As where it would have started: it is queued again at its release.
                continue
            if terms.editions[other.version] is not edition:
                break
            flow = task.flow
        if task.type != name:
            own = edition.runners.get(task.type)
            if own is None or own.kind != runner.kind or task.type not in quick or not _is_plain(task, own):
                break
            if state.is_watched and stops_of(at, edition).has_before(task.type):
                break  # Whether it is held is decided when it would start.
            name = task.type
        if task.policy is not None:
            break
        body, missing = with_variables(task.body, flows[flow].variables)
        if body is not task.body or missing is not None or id in state.holds.stops:
            break  # Its start has more to it.
        take()
        running[id] = 0
        row[id] = None
        found.append(task)
    if turns is not None and not turns:
        del state.waiting[0]
    if found:
        for id in row:
            state.rows[id] = row
    return tuple(found)


def take_back(state: State, ids: Sequence[str]) -> list[Task]:
    """Those of a row that were not begun wait again, before all that came later.

    Returns:
        Those of which the order to stop came when they were on their way back: nobody else will end them.
    """
    stopped: list[Task] = []
    for id in reversed(ids):
        if id not in state.rows:
            continue  # It ended meanwhile, or is not in a row any more.
        state.slots_used -= state.leave_row(id, state.running.pop(id))
        task = state.task(id)
        if task is None or task.outcome is not None:
            continue
        if id in state.stopping:
            stopped.append(task)
        else:
            _put_back(state, id, task.flow)
    return stopped


def _put_back(state: State, id: str, flow: str) -> None:
    """One that was taken is the next once more."""
    if 0 in state.waiting or (state.queue and state.queue_flow != flow):
        state.turns_of(0).put_back(id)
    else:
        state.queue.appendleft(id)
        state.queue_flow = flow


def tell_began(at: Stepping) -> None:
    """Who came to be the first of a row, and is still to end, runs now."""
    state = at.state
    for id in state.advanced:
        task = state.task(id) if state.running.get(id) else None
        if task is not None:
            at.orders.append(Began(task))
    state.advanced.clear()


def runs_now(state: State) -> list[str]:
    """The ids that run, without those that are to run after another of them."""
    running, rows = state.running, state.rows
    return [id for id, slots in running.items() if slots or id not in rows]
