"""What the rules would do now: the release of what is held, tried on a state of one's own by the one matcher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from then.app.breakpoints import breakpoint_of
from then.core import facts as f
from then.core.causes import Release, Start
from then.core.edition import Edition
from then.core.engine import Terms, fired_by, step
from then.core.errors import ThenError
from then.core.state import FAILURES, State
from then.core.tasks import Body, Json, Task

SLOTS: Final = 1_000_000_000
"""What is held up by the size of the machine alone is shown as starting."""


@attrs.frozen
class Preview:
    """What would follow at once."""

    fired: tuple[str, ...] = ()
    """Rules and steps, in their order."""
    emitted: tuple[Task, ...] = ()
    starts: tuple[str, ...] = ()
    """Ids of what would be given to executors."""
    saves: dict[str, Json] = attrs.field(factory=dict)
    """Flow variables that would be written."""
    ends: str | None = None
    """The outcome, where the flow would end with it."""
    is_part: bool = False
    """A join takes it as a part."""
    is_taken_up: bool = True
    """False for a failure that nothing would take up."""
    refused: str | None = None
    """Why it would not be let go on so."""


def preview(
    state: State, editions: Mapping[str, Edition], id: str, body: Body | None = None, result: Body | None = None
) -> Preview:
    """What the release of a held record would bring about, with the breakpoints that are set: up to what they hold.

    Args:
        state: the caller gives it away: it is changed.
        body: what it would go on with in the place of its body.
        result: the same of its result.
    """
    task = _held(state, id)
    if task is None:
        return Preview()
    try:
        done = step(state, Release(id, body, result), _terms(state, editions, task))
    except ThenError as error:
        return Preview(refused=str(error))
    found = [fact for page in done.pages if page.flow == task.flow for fact in page.facts]
    matched = next((fact for fact in found if isinstance(fact, f.Matched) and fact.id == id), None)
    is_loose = task.outcome in FAILURES and task.settled and not (matched is not None and matched.taken_up)
    return Preview(
        tuple(matched.rules) if matched is not None else (),
        tuple(fact.task for fact in found if isinstance(fact, f.Emitted)),
        tuple(order.task.id for order in done.orders if isinstance(order, Start) and order.task.flow == task.flow),
        {fact.name: fact.value for fact in found if isinstance(fact, f.Saved)},
        next((fact.outcome for fact in found if isinstance(fact, f.FlowEnded)), None),
        any(isinstance(fact, f.Joined) and fact.task.id == id for fact in found),
        not is_loose,
    )


def first_fired(
    state: State, editions: Mapping[str, Edition], id: str, body: Body | None = None, result: Body | None = None
) -> tuple[str, ...]:
    """What `preview` would name as `fired`, without what else follows: all calls that end with it, perhaps.

    Args:
        state: as of `preview`.
        body: likewise.
        result: likewise.
    """
    task = _held(state, id)
    if task is None:
        return ()
    if task.outcome is None:
        # It may fail before its start, and that is matched.
        return preview(state, editions, id, body, result).fired
    try:
        return tuple(fired_by(state, Release(id, body, result), _terms(state, editions, task)))
    except ThenError:
        return ()


def _held(state: State, id: str) -> Task | None:
    """A record that is held, in a flow that would go on with it."""
    task = state.task(id)
    if task is None or not task.is_held:
        return None
    # A fork that is held since it began goes on with it; what is answered in it follows, and is not shown.
    if state.flows[task.flow].origin is not None:
        state.flows[task.flow].held = None
        state.holds.forks.clear()
    return task


def _terms(state: State, editions: Mapping[str, Edition], task: Task) -> Terms:
    hold = state.holds.stops.get(task.id)
    now = max(task.created, task.completed or 0, hold.since if hold is not None else 0)
    kinds = frozenset(runner.kind for runner in editions[state.flows[task.flow].version].runners.values())
    return Terms(now, editions, SLOTS, kinds=kinds, breakpoint_of=breakpoint_of)
