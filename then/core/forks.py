"""Forks: a flow begun anew from what another was at a moment, while that stays as it is.

The facts of the origin up to the moment are written once more, with ids of
their own, as one entry of a new flow; so all that reads a flow reads a fork.
The fork is held, until somebody continues it.

A fork that is not real starts nothing: what would be started, and what a person
would be asked, is answered as it was in the origin (the same type, body and
attempt, in their order), else by a stub, else by a person. Where those hold the
id of a record of the origin, that of the fork which took its place is meant. Other flows do not
feel it: it takes no part in joins across flows, marks nothing as done at most
once, is nobody's twin, and its end is not announced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from then.core import facts as f
from then.core.causes import Fork
from then.core.edition import Edition
from then.core.ending import complete
from then.core.errors import ConfigError
from then.core.granting import loaded
from then.core.holding import hold_before
from then.core.holds import Answers
from then.core.stepping import Stepping
from then.core.tasks import Body, Json, Task
from then.core.values import canonical_text

HELD_AT: Final = "(fork)"
"""The name of what holds a record in a fork that a breakpoint held in the origin."""
_FORGOTTEN: Final = (
    f.Started, f.Stopping, f.Marked, f.Late, f.Hit, f.Forked, f.Stubbed, f.FlowHeld, f.FlowReleased,
)  # fmt: skip
"""What is not so in a fork: nothing runs of it yet, and it has met no breakpoint."""
_STEPS: Final = (f.Asked, f.Awaited, f.Answered)


def fork(at: Stepping, cause: Fork) -> None:
    """Begins a flow as another was at a moment.

    Raises:
        ConfigError: that had ended by then, or a stub is not as declared.
    """
    facts = [fact for page in cause.pages for fact in page.facts]
    ends = [fact for fact in facts if isinstance(fact, f.FlowEnded | f.FlowReopened)]
    if ends and isinstance(ends[-1], f.FlowEnded):
        raise ConfigError(f"flow {cause.flow} had ended by entry {cause.seq}; a moment before that is needed")
    version = next(fact.version for fact in facts if isinstance(fact, f.Posted) and fact.version is not None)
    version = next((fact.version for fact in reversed(facts) if isinstance(fact, f.FlowMoved)), version)
    for type, result in cause.stubs.items():
        if (wrong := at.terms.editions[version].types.result(type, result)) is not None:
            raise ConfigError(f"the stub of {type}: {wrong}")
    ids: dict[str, str] = {}
    for fact in facts:
        old = fact.task.id if isinstance(fact, f.Posted | f.Emitted) else fact.id if isinstance(fact, f.Waited) else ""
        if old and old not in ids:
            ids[old] = at.new_id()
    held = {fact.id: fact for fact in facts if isinstance(fact, f.Hit) and fact.stops}
    for fact in facts:
        if isinstance(fact, f.Taken | f.Released) or (isinstance(fact, f.Completed) and fact.held is None):
            held.pop(fact.id, None)
    flow = ids[cause.flow]
    later_us = at.terms.time - cause.pages[-1].time
    for fact in _renamed(facts, ids):
        if isinstance(fact, f.FlowReopened):
            continue
        kept = _kept(fact, later_us, is_real=cause.is_real)
        if kept is not None:
            at.add(flow, kept)
    for hit in held.values():
        at.add(flow, replace(hit, id=ids[hit.id], name=HELD_AT, is_last=False))
    other = _renaming(ids)
    answers = [
        replace(one, body=other(one.body), result=other(one.result), error=other(one.error))
        for one in (() if cause.is_real else cause.answers)
    ]
    at.add(flow, f.Forked(cause.flow, cause.seq, cause.by, cause.is_real, answers, dict(cause.stubs)))
    at.add(flow, f.FlowHeld(f"forked from {cause.flow} after entry {cause.seq}; `andthen continue {flow}` lets it go"))
    at.answer = at.state.task(flow) or Task(at.state.flows[flow].type, {}, id=flow, flow=flow)


def _renamed(facts: Sequence[f.Fact], ids: Mapping[str, str]) -> list[f.Fact]:
    """The facts with other ids, wherever they name one."""
    page = msgspec.msgpack.decode(f.encode(f.Page("", 0, list(facts))))
    return f.decode(f.encode(_renaming(ids)(page))).facts


def _renaming(ids: Mapping[str, str]) -> Callable[[Json], Json]:
    """Values with other ids, where a text is one; an empty one stands for none."""

    def other(value: Json) -> Json:
        if isinstance(value, str):
            return ids.get(value) or value if "\0" not in value else of_key(value.split("\0"))
        if isinstance(value, list):
            return [other(item) for item in value]
        if isinstance(value, dict):
            return {other(key): other(item) for key, item in value.items()}
        return value

    def of_key(parts: list[str]) -> str:
        named = [ids.get(part) or part for part in parts]
        if len(parts) == 3 and parts[2].startswith("["):  # The values of a join's key, as `wait_key` writes them.
            try:
                values = msgspec.json.decode(parts[2])
            except (msgspec.DecodeError, ValueError):
                return "\0".join(named)  # It is a text of a body.
            if (renamed := other(values)) != values:
                named[2] = canonical_text(renamed)
        return "\0".join(named)

    return other


def _kept(fact: f.Fact, later_us: int, *, is_real: bool) -> f.Fact | None:
    """A fact as it is true of the fork; None where it is not. What is due is so much later."""
    if isinstance(fact, _FORGOTTEN) or (not is_real and isinstance(fact, _STEPS)):
        return None
    match fact:
        case f.Posted():
            return replace(fact, key=None, task=_kept_task(fact.task, later_us))
        case f.Emitted(task=task):
            return replace(fact, task=_kept_task(task, later_us))
        case f.Joined(key=key, due=due) | f.Met(key=key, due=due) | f.Parted(key=key, due=due):
            if not key.split("\0", 2)[1]:
                return None  # It is of all flows.
            return replace(fact, due=None if due is None else due + later_us)
        case f.Awaited(due=due) if due is not None:
            return replace(fact, due=due + later_us)
    return fact


def _kept_task(task: Task, later_us: int) -> Task:
    """What was to be over by a certain time has its time again; twins are of their own flows."""
    policy = task.policy
    if policy is None:
        return task
    # What is due `at` a time of the clock is so in the fork.
    moved = ("deadline", "expires") if policy.is_due_by_clock else ("due", "deadline", "expires")
    times = {name: getattr(policy, name) + later_us for name in moved if getattr(policy, name) is not None}
    return replace(task, policy=replace(policy, twin=None, **times))


# -- what would be started ------------------------------------------------------------


def recall(at: Stepping, match_ended: Callable[[], None]) -> None:
    """Answers what would be started in forks that are not real, and what a person would be asked.

    Args:
        match_ended: matches what was answered.

    Cost: grows with what is live, with the answers that are left of the forks that this step touched, and with
    what is answered, of which a guard bounds how much that is in one step.
    """
    forks = at.state.holds.forks
    for id in dict.fromkeys([page.flow for page in at.pages if page.flow in forks]):
        if id in forks:
            _recall_in(at, id, match_ended)


def _recall_in(at: Stepping, id: str, match_ended: Callable[[], None]) -> None:
    state, most = at.state, at.terms.guards.idle_events
    todo: deque[str] = deque()
    answers: _Known | None = None
    answered = 0
    while (flow := state.flows.get(id)) is not None and flow.held is None:
        if not todo:
            todo.extend(task.id for task in state.live(id) if _is_open(at, task))
            if not todo:
                return
        task = state.task(todo.popleft())
        if task is None or not _is_open(at, task):
            continue
        if answered == most:
            at.add(id, f.FlowHeld(_too_many(id, most)))
            return
        answered += 1
        answers = answers or _Known(state.holds.forks[id])
        page, begin = len(at.pages) - 1, len(at.pages[-1].facts)
        _answer(at, task, at.terms.editions[flow.version], answers)
        match_ended()
        todo.extend(_born(at, id, page, begin))


def _born(at: Stepping, flow: str, page: int, begin: int) -> Iterator[str]:
    """The records of a flow that were emitted in this step since a fact of a page."""
    for one in at.pages[page:]:
        yield from (fact.task.id for fact in one.facts[begin:] if isinstance(fact, f.Emitted) and one.flow == flow)
        begin = 0


def _too_many(flow: str, most: int) -> str:
    return (
        f"{most} tasks of this fork were answered in one step; where its rules go on and on, cancel it,"
        f" else `andthen continue {flow}` answers as many again"
    )


class _Known:
    """What is recorded for a fork, by what it is for; for the length of a step."""

    def __init__(self, of: Answers) -> None:
        self._left: dict[str, deque[f.Recorded]] = {}
        for one in of.answers.values():
            self._left.setdefault(_named(one.type, one.attempt, one.body), deque()).append(one)
        self._here = {was: id for id, was in of.asked.items() if was}
        self._to_origin, self._to_fork = _renaming(of.asked), _renaming(self._here)

    def take(self, task: Task) -> f.Recorded | None:
        """The next one for a task, with the ids of the fork."""
        left = self._left.get(_named(task.type, task.attempt, self._to_origin(task.body))) if self._left else None
        if not left:
            return None
        one = left.popleft()
        self._here[one.id] = task.id
        return replace(one, result=self._to_fork(one.result), error=self._to_fork(one.error))


def _named(type: str, attempt: int, body: Body) -> str:
    return canonical_text([type, attempt, body])


def _is_open(at: Stepping, task: Task) -> bool:
    is_put_off = task.policy is not None and task.policy.due is not None
    is_done = task.outcome is not None or task.is_held or task.is_call or task.event or is_put_off
    return not is_done and task.id not in at.state.holds.forks[task.flow].asked


def _answer(at: Stepping, task: Task, edition: Edition, answers: _Known) -> None:
    body, wrong = loaded(task, edition, at.state.flows[task.flow])
    now = at.terms.time
    if wrong is not None:
        complete(at, task, "failed", None, {"kind": "load", "message": wrong}, None, now)
        return
    full = task if body is task.body else replace(task, body=body)
    if at.state.is_watched and (reason := hold_before(at, full, edition)) is not None:
        at.add(task.flow, f.Held(task.id, reason))
        return
    if body is not task.body:
        at.add(task.flow, f.Loaded(task.id, body))
    stubs = at.state.holds.forks[task.flow].stubs
    known = answers.take(full)
    at.add(task.flow, f.Stubbed(task.id, known.id if known is not None else None))
    task = at.state.task(task.id) or full
    if known is not None:
        complete(at, task, known.outcome, known.result, known.error, now, now)
    elif task.type in stubs:
        complete(at, task, "done", stubs[task.type], None, now, now)


def recorded(records: Sequence[Task], given: Mapping[str, Body], over: frozenset[str]) -> list[f.Recorded]:
    """How tasks of a flow ended, as a fork of it is told.

    Args:
        given: the bodies that some of them had before a person changed them.
        over: those that had ended at the moment.
    """
    return [
        f.Recorded(
            task.id, task.type, task.attempt, given.get(task.id, task.body), task.outcome, task.result, task.error
        )
        for task in records
        if not (task.event or task.is_call or task.id in over or task.outcome in (None, "cancelled"))
    ]
