"""How records end: completed, cancelled, stopped, and the flows that are bent with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from then.core import facts as f
from then.core.attempts import further, try_again
from then.core.causes import Stop
from then.core.facts import Flow, ended
from then.core.holding import hold_after
from then.core.ids import id_text
from then.core.standing import cycle, gone
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Body, Outcome, Task


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
    is_plain = outcome == "done" or (task.policy is None and task.call is None)
    again = None if is_plain else further(at, task, outcome, error)
    is_settled = again is None
    flow = at.state.flows[task.flow]
    held = flow.held
    if held is None and (task.cont is not None or started is None):
        held = hold_reason(at, task, outcome, is_idle=started is None)
    fact = f.Completed(task.id, outcome, result, error, started, completed, is_settled, held)
    record: Task | None = None
    if held is None and at.state.is_watched:
        record = ended(task, fact)
        held = hold_after(at, record, was_held=task.is_held)
        if held is not None:
            at.add(task.flow, replace(fact, held=held))
            return  # A further attempt follows from its release.
    at.add(task.flow, fact)
    if again is not None:
        try_again(at, task, again)
    if held is not None:
        return
    # Many tasks are leaves: nobody waits for them, no rule asks for them, and their match would bring nothing.
    is_alone = outcome == "done" and task.cont is None and task.call is None and is_settled
    if not is_alone or at.terms.editions[flow.version].follows_done(task.type):
        at.ended.append(record or ended(task, fact))


def hold_reason(at: Stepping, task: Task, outcome: Outcome, *, is_idle: bool) -> str | None:
    """Why a record is held before its match, if it is: by a guard, or as its continuation is gone. Holds the flow."""
    flow = at.state.flows[task.flow]
    if flow.held is not None:
        return flow.held
    lost = lost_continuation(at, task, outcome) if task.cont is not None else None
    most = at.terms.guards.idle_events
    if is_idle and flow.idle_run >= most:
        at.add(task.flow, f.FlowHeld(cycle(flow, most)))
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
    edition = at.terms.editions[at.state.flows[task.flow].version]
    if not address:
        return None
    if step == 0:
        return None if address in edition.rules.continuations else address
    rule = edition.rule(address)
    if rule is not None and rule.consequence is not None and step < len(rule.consequence.steps):
        return None
    return f"{address}/{step}"


def bend(at: Stepping, flow: Flow, outcome: Outcome, text: str | None, upto: int) -> None:
    """Gives a flow its outcome and ends what lives of it: all with ids up to a number."""
    newest = id_text(upto)
    at.add(flow.id, f.FlowBent(outcome, text))
    for key in at.state.waits.ties.of(flow.id):
        if "\0" in key:
            _end_wait(at, flow.id, key)
        elif key <= newest:
            at.add(flow.id, f.Dropped(key))
    for task in [task for task in at.state.live(flow.id) if task.id <= newest]:
        end_live(at, task)


def _end_wait(at: Stepping, flow: str, key: str) -> None:
    """A half-filled join, or a set: what it would follow from is over. Parts from other flows wait on."""
    wait = at.state.waits.wait(key)
    if wait is None:
        at.add(flow, f.Gathered(key))
        return
    left = [task for part in wait.parts for task in part if task.flow != flow]
    if wait.scope or not left:
        at.add(flow, f.Parted(key))
        return
    used = [task.id for part in wait.parts for task in part if task.flow == flow]
    at.add(flow, f.Met(key, used, wait.is_spent, wait.due, keeper(at, left)))


def keeper(at: Stepping, left: Iterable[Task]) -> str:
    """The flow that lives on for what is left of a window with `on timeout`: that of the oldest whose flow is open."""
    flows = at.state.flows
    lives = [task for task in left if task.flow in flows and flows[task.flow].bent is None]
    return min(lives, key=lambda task: task.completed or 0).flow if lives else ""


def end_live(at: Stepping, task: Task) -> None:
    """Cancels one live record: at once where nothing runs, else by an order to stop. Nothing, where it has ended."""
    now = at.state.task(task.id)
    if now is None:
        return
    task = now
    if task.outcome is not None:
        # Completed and held, or an event before its match: let go to no rule.
        at.add(task.flow, f.Taken(task.id))
    elif task.event:
        # It was put off: no rule hears of it.
        at.add(task.flow, f.Completed(task.id, "cancelled", None, {"kind": "cancelled"}, None, at.terms.time))
    elif task.is_call:
        end_call(at, task, "cancelled", {"kind": "cancelled"})
    elif not task.is_held and (task.id in at.state.running or (task.started is not None and runs_here(at, task))):
        if task.id not in at.state.stopping:
            at.add(task.flow, f.Stopping(task.id))
            at.orders.append(Stop(task))
        elif task.id in at.state.stop_kinds:
            # Its time was over; who cancels it wants no further attempt.
            at.add(task.flow, f.Stopping(task.id))
    else:
        complete(at, task, "cancelled", None, {"kind": "cancelled"}, task.started, at.terms.time)


def stop(at: Stepping, task: Task, kind: str) -> None:
    """Ends a record whose time is over as `timed_out`: at once where nothing runs, else when all of it is gone."""
    error: Body = {"kind": kind, "message": OVER[kind]}
    if task.is_call:
        end_call(at, task, "timed_out", error)
    elif not task.is_held and (task.id in at.state.running or (task.started is not None and runs_here(at, task))):
        if task.id not in at.state.stopping:
            at.add(task.flow, f.Stopping(task.id, kind))
            at.orders.append(Stop(task))
    else:
        complete(at, task, "timed_out", None, error, task.started, at.terms.time)


OVER: Final = {
    "timeout": "it took longer than its timeout", "deadline": "its deadline has passed",
    "expired": "it had not started when it expired",
}  # fmt: skip


def end_call(at: Stepping, call: Task, outcome: Outcome, error: Body) -> None:
    """Ends an open call and all that lives in it. The call first: what ends in it then unwinds to nobody."""
    complete(at, call, outcome, None, error, call.started, at.terms.time)
    end_within(at, call)


def end_within(at: Stepping, call: Task, upto: int | None = None) -> None:
    """Cancels what lives in a call, and in the calls in it; its chains, half-filled joins and sets end too.

    Args:
        upto: the last id that is meant; None: all.

    Cost: grows with what is live; not with how deep the calls are in one another.
    """
    frames = at.state.waits.frames
    if call.id not in frames:
        return
    inside = {call.id: True}
    for id in sorted(id for id, frame in frames.items() if frame.flow == call.flow):
        # A call has a later id than the one that it is in.
        if frames[id].call in inside:
            inside[id] = True
    ties, call_ties = at.state.waits.ties, at.state.waits.call_ties
    for key in [key for id in inside for key in call_ties.of(id)]:
        _end_wait(at, call.flow, key)
    newest = id_text(at.state.last_id if upto is None else upto)
    chains = at.state.chains
    for key in [key for key in ties.of(call.flow) if key in chains and key <= newest]:
        if chains[key].call in inside:
            at.add(call.flow, f.Dropped(key))
    for task in [task for task in at.state.live(call.flow) if task.call in inside and task.id <= newest]:
        if task.is_call and at.state.task(task.id) is not None and task.outcome is None:
            complete(at, task, "cancelled", None, {"kind": "cancelled"}, task.started, at.terms.time)
        else:
            end_live(at, task)


def give_back(at: Stepping, record: Task, call: str | None, result: Body) -> None:
    """`return`: completes the call. A second one, or one where no call is open, is a fault without effect."""
    frame = at.state.waits.frames.get(call) if call is not None else None
    task = at.state.task(call) if call is not None else None
    if frame is None or frame.is_over or task is None or task.outcome is not None:
        what = "a second return of this call" if call is not None else "a return where no call is open"
        at.add(record.flow, f.Fault(record.id, what))
        return
    wrong = at.terms.editions[at.state.flows[record.flow].version].types.result(task.type, result)
    if wrong is None:
        complete(at, task, "done", result, None, task.started, at.terms.time)
    else:
        complete(at, task, "failed", result, {"kind": "result", "message": wrong}, task.started, at.terms.time)


def join_twin(at: Stepping, id: str) -> None:
    """Ends a record with the result of its twin, which is done."""
    task = at.state.task(id)
    if task is None or task.outcome is not None or task.policy is None or task.policy.twin is None:
        return
    twin = at.state.waits.twins.get(task.policy.twin)
    if twin is not None and twin.is_done:
        complete(at, task, "done", twin.result, None, None, at.terms.time)


def settle_call(at: Stepping) -> None:
    """Completes a call in which nothing lives any more and that was not returned from."""
    waits = at.state.waits
    frame = waits.frames.get(waits.quiet.pop())
    if frame is None or frame.live:
        return
    if frame.is_over:
        at.add(frame.flow, f.Left(frame.id))
        return
    call = at.state.task(frame.id)
    if call is None or call.started is None or call.is_held:
        return
    if frame.untaken:
        error = next(iter(frame.untaken.values()))
        complete(at, call, "failed", None, error, call.started, at.terms.time)
    elif frame.was_cancelled:
        complete(at, call, "cancelled", None, {"kind": "cancelled"}, call.started, at.terms.time)
    else:
        complete(at, call, "done", {}, None, call.started, at.terms.time)


def runs_here(at: Stepping, task: Task) -> bool:
    flow = at.state.flows[task.flow]
    return not flow.is_stubbed and at.terms.editions[flow.version].kind_of(task.type) is not None
