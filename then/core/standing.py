"""What stands still: flows, with the reasons of guards and what waits for a person; sets that wait for records."""

from __future__ import annotations

from typing import NamedTuple

from then.core.causes import AllHeld
from then.core.facts import Flow
from then.core.state import State
from then.core.tasks import Body, Task


def standing(state: State, flow: Flow) -> AllHeld | None:
    """Why nothing of an open flow can move without a person; None where something can.

    Cost: grows with the tasks of the flow that no executor here can run, and for a held flow with what runs.
    """
    stuck = [id for id in state.stuck_in.get(flow.id, ()) if id in state.stuck]
    if flow.held is None and flow.stopped + flow.calls + len(stuck) < flow.live:
        return None
    if flow.held is None and (
        not (flow.stopped or stuck) or any(_flow_of(state, id) == flow.id for id in state.pending)
    ):
        return None  # Calls and scripts move by what they wait for.
    if flow.held is not None and any(
        _flow_of(state, id) == flow.id and not _awaits_records(state, id) and not state.holds.at_step(id)
        for id in state.running
    ):
        return None
    if stuck:
        task = state.task(stuck[0])
        kind = state.stuck[stuck[0]]
        what = f"task {stuck[0]} ({task.type if task else kind})"
        return AllHeld(flow, f'{what} needs the executor "{kind}", which is not here', True)
    return AllHeld(flow, flow.held or "held at a breakpoint", False)


def _flow_of(state: State, id: str) -> str | None:
    task = state.task(id)
    return task.flow if task is not None else None


def _awaits_records(state: State, id: str) -> bool:
    script = state.waits.scripts.of.get(id)
    return script is not None and script.awaits_records


def gone(continuation: str) -> str:
    """The reason for a flow whose chain leads nowhere."""
    return f"the continuation {continuation} is not in these rules any more; `andthen resume PATH` brings rules that have it"


def cycle(flow: Flow, run: int) -> str:
    """The reason of the guard, naming the shortest repetition at the end of the run."""
    trail = flow.trail
    for length in range(1, len(trail) // 2 + 1):
        if trail[-length:] == trail[-2 * length : -length]:
            trail = trail[-length:]
            break
    return (
        f"{run} events in a row without a task that ran: {' -> '.join(trail)} -> …; "
        "mend the rule, then `andthen continue` or `andthen cancel` the flow"
    )


class OpenSet(NamedTuple):
    """An `every X done` that waits, as it stands now."""

    rule: str
    scope: str
    """The flow or the call whose records it is of."""
    flow: str
    arguments: Body
    """Of the call."""
    counted: int
    """Of how many records it was so far."""
    awaited: int
    live: list[Task]
    """What lives in its scope and was emitted: of these, those of its type."""


def open_sets(state: State) -> list[OpenSet]:
    """The sets of which some have not ended.

    Cost: grows with the sets, and, where there is one, with all that is live.
    """
    found: list[OpenSet] = []
    of: dict[tuple[str, bool], list[Task]] = {}
    for tally in state.waits.tallies.values():
        if tally.is_closed or tally.open <= 0:
            continue
        rule, scope, _ = tally.key.split("\0", 2)
        frame = state.waits.frames.get(scope)
        if frame is not None and not rule.startswith(f"{frame.type}."):
            frame = None  # One at top level, of the flow that a call is the root of.
        live = of.setdefault((scope, frame is not None), [])
        flow, arguments = (frame.flow, frame.body) if frame is not None else (scope, {})
        found.append(OpenSet(rule, scope, flow, arguments, tally.count, tally.open, live))
    for task in state.live() if found else ():
        if task.parent is not None:
            for key in ((task.flow, False), (task.call or "", True)):
                if key in of:
                    of[key].append(task)
    return found
