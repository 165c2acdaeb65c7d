"""Windows of joins that end: what came by then is let go, and `on timeout` follows.

Who calls: `then.core.times` when it is time, and `then.core.joins` before
anything new is looked at, so that a stale half never meets a fresh one.
"""

from __future__ import annotations

from collections.abc import Sequence

from then.core import facts as f
from then.core.coming import Coming, aliased, home, keeper_of, named
from then.core.edition import Edition
from then.core.emitting import fire
from then.core.rules import Join, Match, Met, Rule
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.waits import Wait


def let_go_old(at: Stepping, key: str, time: int) -> None:
    """Ends the windows that had ended by a time; where that has a consequence, it happens now."""
    waits = at.state.waits
    while (wait := waits.wait(key)) is not None and wait.due is not None and time >= wait.due:
        end_window(at, wait)


def end_window(at: Stepping, wait: Wait) -> None:
    """The window of a wait has ended: what came by then is let go, and `on timeout` follows."""
    assert wait.due is not None
    flow = at.state.flows.get(wait.flow)
    # Where its flow is over, the rules in force say how long what came later may still wait.
    edition = at.terms.editions[flow.version if flow is not None else at.state.version]
    rule = edition.rule(wait.rule)
    join = rule.trigger if rule is not None else None
    if rule is None or not isinstance(join, Join) or join.within_us is None or len(join.parts) != len(wait.parts):
        at.add(home(at, wait), f.Parted(wait.key))
        return
    upto = wait.due - join.within_us
    over = [[task for task in tasks if (task.completed or 0) <= upto] for tasks in wait.parts]
    left = [[task for task in tasks if (task.completed or 0) > upto] for tasks in wait.parts]
    fired: list[str] = []
    # Before what is let go may end the flow.
    if flow is not None:
        for row in range(max(map(len, over))):
            fired += _too_late(at, wait, rule, join, [tasks[row:] for tasks in over], edition)
    now = [task.completed or 0 for tasks in left for task in tasks]
    due = min(now) + join.within_us if now else None
    at.add(home(at, wait), f.Parted(wait.key, upto, due, keeper_of(at, join, left), fired=fired))


def _too_late(
    at: Stepping, wait: Wait, rule: Rule, join: Join, over: Sequence[Sequence[Task]], edition: Edition
) -> list[str]:
    """What follows where no others came in time: in the flow that the wait kept, for its first part. The name of what fired."""
    present = {number: tasks[0] for number, tasks in enumerate(over) if tasks and not join.parts[number].is_absent}
    mine = [task for task in present.values() if task.flow == wait.flow]
    if not mine or not wait.keeps:
        return []
    first = min(mine, key=lambda task: task.completed or 0)
    frame = at.state.waits.frames.get(first.call) if first.call is not None else None
    is_of_procedure = frame is not None and wait.scope == frame.id
    arguments = frame.body if frame is not None and is_of_procedure else {}
    coming = Coming(at, rule, join, first, edition, arguments, [], first.call)
    names: dict[str, Json | Task] = {**named(join, wait.values), **aliased(join, present)}
    if join.kind == "quiet":
        coming.fire([first], names)
        return coming.fired
    late = edition.rule(f"{wait.rule}/late")
    if late is None:
        return []
    names["missing"] = ", ".join(_missing(join, over))
    match = Match(late, first, None, Met(tuple(present.values()), {**coming.names, **names}))
    fire(at, match, edition, at.state.flows[first.flow], names=coming.names)
    return [late.name]


def _missing(join: Join, came: Sequence[Sequence[Task]]) -> list[str]:
    """What did not come: the types, in the order of the rule."""
    need = [join.count if join.kind == "times" and number == 0 else 1 for number in range(len(join.parts))]
    return [
        part.pattern.family
        for number, part in enumerate(join.parts)
        if not part.is_absent and len(came[number]) < need[number]
    ]
