"""How records end: completed, cancelled, stopped, and the flows that are bent with them."""

from __future__ import annotations

from typing import Final

from then.core import facts as f
from then.core.causes import Stop
from then.core.facts import Flow
from then.core.ids import id_text
from then.core.standing import cycle, gone
from then.core.state import FAILURES, ended
from then.core.stepping import Stepping
from then.core.tasks import Body, Outcome, Task

IDLE_RUN_MAX: Final = 10_000


def complete(
    at: Stepping,
    task: Task,
    outcome: Outcome,
    result: Body | None,
    error: Body | None,
    started: int | None,
    completed: int,
) -> None:
    """Ends a record; it is matched later in this step, unless its flow is held."""
    held = at.state.flows[task.flow].held
    if held is None and (task.cont is not None or started is None):
        held = hold_reason(at, task, outcome, is_idle=started is None)
    fact = f.Completed(task.id, outcome, result, error, started, completed, True, held)
    at.add(task.flow, fact)
    if held is None:
        at.ended.append(ended(task, fact))


def hold_reason(at: Stepping, task: Task, outcome: Outcome, *, is_idle: bool) -> str | None:
    """Why a record is held before its match, if it is: by a guard, or as its continuation is gone. Holds the flow."""
    flow = at.state.flows[task.flow]
    if flow.held is not None:
        return flow.held
    lost = lost_continuation(at, task, outcome) if task.cont is not None else None
    if is_idle and flow.idle_run >= IDLE_RUN_MAX:
        at.add(task.flow, f.FlowHeld(cycle(flow, IDLE_RUN_MAX)))
    elif lost is not None:
        at.add(task.flow, f.FlowHeld(gone(lost)))
    return flow.held


def lost_continuation(at: Stepping, task: Task, outcome: Outcome) -> str | None:
    """The name of what this ending would continue with, where that is not there."""
    chain = at.state.chains.get(task.cont or "")
    if chain is None:
        return None
    address, step = chain.rule, chain.step
    if outcome in FAILURES:
        address, step = chain.otherwise or "", 0
    elif outcome != "done" or any(id != task.id for id in chain.waiting):
        return None
    rules = at.terms.editions[at.state.flows[task.flow].version].rules
    if not address:
        return None
    if step == 0:
        return None if address in rules.continuations else address
    rule = rules.rule(address)
    if rule is not None and rule.consequence is not None and step < len(rule.consequence.steps):
        return None
    return f"{address}/{step}"


def bend(at: Stepping, flow: Flow, outcome: Outcome, text: str | None, upto: int) -> None:
    """Gives a flow its outcome and ends what lives of it: all with ids up to a number."""
    newest = id_text(upto)
    at.add(flow.id, f.FlowBent(outcome, text))
    for id in [id for id in flow.waits if id <= newest]:
        at.add(flow.id, f.Dropped(id))
    for task in [task for task in at.state.live(flow.id) if task.id <= newest]:
        end_live(at, task)


def end_live(at: Stepping, task: Task) -> None:
    """Cancels one live record: at once where nothing runs, else by an order to stop."""
    if task.outcome is not None:
        # Completed and held, or an event before its match: let go to no rule.
        at.add(task.flow, f.Taken(task.id))
    elif task.id in at.state.running or (task.started is not None and runs_here(at, task)):
        if task.id not in at.state.stopping:
            at.add(task.flow, f.Stopping(task.id))
            at.orders.append(Stop(task))
    else:
        complete(at, task, "cancelled", None, {"kind": "cancelled"}, task.started, at.terms.time)


def runs_here(at: Stepping, task: Task) -> bool:
    edition = at.terms.editions[at.state.flows[task.flow].version]
    return edition.kind_of(task.type) is not None
