"""How the facts of records and flows change a state: births, starts, ends, matches.

`then.core.folds` has the folds of all facts; those here are of what a record
goes through, and of the flow, the call, the chain and the twins that hear of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from then.core import facts as f
from then.core.chains import Chain, PostKey
from then.core.facts import Flow, ended
from then.core.holds import Answers
from then.core.resting import decode_flow
from then.core.state import FAILURES, RULE_FAILED, State
from then.core.tasks import Body, Task
from then.core.twins import Twin
from then.core.waits import Frame

TRAIL_LENGTH: Final = 12
"""How many steps of a run of events are remembered, to name a cycle."""
LAPSED_MAX: Final = 1000
"""So many ids that ended are left where they wait, be there ever so few live records beside them."""


def _posted(state: State, fact: f.Posted, flow: str, time: int) -> None:
    task = fact.task
    if fact.version is not None:
        state.flows[flow] = Flow(flow, task.type, fact.version, time)
        state.touch("flow", flow, is_new=True)
    if fact.key is not None:
        state.keys[fact.key] = PostKey(task.id, flow, task.type, task.body)
        state.touch("key", fact.key, is_new=True)
    _born(state, fact, flow, time)


def _born(state: State, fact: f.Posted | f.Emitted, flow_id: str, time: int) -> None:
    task = fact.task
    id = task.id
    if state.window is None:
        state.window = (id, state.seq)
    state.tasks[id] = task
    # `touch`, written out here and below: the call takes longer than what it does.
    dirty = state.dirty
    dirty["task"][id] = False
    flow = state.flows[task.flow]
    flow.live += 1
    flow.records += 1
    dirty["flow"].setdefault(flow.id, True)
    if task.outcome in FAILURES or task.type == RULE_FAILED:
        flow.untaken[id] = True
    elif task.outcome == "cancelled":
        flow.skipped += 1  # Nothing else is born so.
    if task.call is not None or task.is_call:
        _born_in_call(state, task)
    if task.policy is not None and task.policy.twin is not None:
        _born_twin(state, task, task.policy.twin)
    state.enqueue(task)


def _born_twin(state: State, task: Task, key: str) -> None:
    twin = state.waits.twins.get(key)
    state.touch("twin", key, is_new=twin is None)
    if twin is None:
        state.waits.twins[key] = Twin(key, task.id, task.flow)
    else:
        twin.joined_by(task)


def _twin_ended(state: State, task: Task, key: str, end: Task) -> None:
    twin = state.waits.twins.get(key)
    if twin is None or not end.settled or end.outcome is None:
        return
    before = twin.first
    state.waits.joining += twin.ended(task.id, end.outcome, end.result)
    state.touch("twin", key)
    if not twin.first:
        del state.waits.twins[key]
        state.drop("twin", key)
    elif twin.first != before and (successor := state.task(twin.first)) is not None:
        twin.flow = successor.flow
        state.enqueue(successor)


def _born_in_call(state: State, task: Task) -> None:
    waits, call = state.waits, task.call
    outer = waits.frames.get(call) if call is not None else None
    if outer is not None:
        outer.live += 1
        if task.outcome in FAILURES or task.type == RULE_FAILED:
            outer.untaken[task.id] = task.error or _error_of(task)
        state.touch("frame", outer.id)
    if task.is_call:
        depth = 1 if outer is None else outer.depth + 1
        waits.frames[task.id] = Frame(task.id, task.flow, task.type, task.body, call, depth)
        state.touch("frame", task.id, is_new=True)


def _completed(state: State, fact: f.Completed, flow: str, time: int) -> None:
    id = fact.id
    task = state.tasks.get(id)
    if type(task) is not Task:
        task = state.task(id)
    if task is None:
        return
    taken = state.running.pop(id, None)
    if taken is not None:
        state.slots_used -= taken if id not in state.rows else state.leave_row(id, taken)
    elif state.queue or state.waiting:
        _lapse(state)
    admission = state.admission
    if id in admission.running or id in admission.waiting:
        admission.release(id)
        state.slots_admitted -= taken or 0
    state.stopping.discard(id)
    state.begun.discard(id)
    if task.is_call:
        state.pending.pop(id, None)  # It may not have begun.
        state.flows[flow].calls -= 1 if task.started is not None else 0
    elif task.needs is not None and id in state.waits.scripts.of:
        state.flows[flow].calls -= 1 if state.waits.scripts.of[id].awaits_records else 0
        state.waits.scripts.of[id].give_up()
        state.waits.forget_due("script", id)
        state.touch("script", id)
    if state.stop_kinds:
        state.stop_kinds.pop(id, None)
    open_flow = state.flows[flow]
    if fact.started is not None:
        if open_flow.idle_run:
            open_flow.idle_run, open_flow.trail = 0, []
    elif fact.outcome in FAILURES:
        # It never ran: what emits it again and again runs idle like events.
        count_idle(state, task)
    if fact.outcome in FAILURES and fact.settled:
        open_flow.untaken[id] = True
    if task.call is not None or task.is_call:
        _completed_in_call(state, task, fact)
    if fact.held is None:
        if task.policy is not None and task.policy.twin is not None:
            _twin_ended(state, task, task.policy.twin, ended(task, fact))
        # Only a chain keeps the record as it ended.
        _leave(state, task if task.cont is None else ended(task, fact), open_flow)
    else:
        if task.policy is not None:
            state.forget_times(id)
        state.tasks[id] = replace(ended(task, fact), is_held=True)
        open_flow.stopped += 0 if task.is_held else 1
        state.touch("task", id)
        state.touch("flow", flow)


def _lapse(state: State) -> None:
    """A record has ended that did not run, and may have waited for a slot.

    Cost: one look at all that wait for as many ends as there are live records, so one step an end.
    """
    state.lapsed += 1
    if state.lapsed <= len(state.tasks) + LAPSED_MAX:
        return
    state.lapsed = 0
    left = [id for id in state.queue if id in state.tasks]
    state.queue.clear()
    state.queue.extend(left)
    for priority, turns in list(state.waiting.items()):
        turns.keep(state.tasks)
        if not turns:
            del state.waiting[priority]


def _completed_in_call(state: State, task: Task, fact: f.Completed) -> None:
    frames = state.waits.frames
    outer = frames.get(task.call) if task.call is not None else None
    if outer is not None:
        if fact.outcome in FAILURES and fact.settled:
            outer.untaken[task.id] = fact.error or {}
        outer.was_cancelled |= fact.outcome == "cancelled"
        state.touch("frame", outer.id)
    own = frames.get(task.id) if task.is_call else None
    if own is not None:
        own.is_over = True
        if fact.outcome != "done":
            # Its own end stands for those in it.
            for id in own.untaken:
                state.flows[task.flow].untaken.pop(id, None)
        own.untaken = {}
        state.touch("frame", own.id)
        if not own.live:
            drop_frame(state, own)


def _end_frame(state: State, frame: Frame) -> None:
    """Notes a frame of which nothing lives: the match under way may yet bring something forth in it."""
    if not frame.live:
        state.waits.quiet.append(frame.id)


def drop_frame(state: State, frame: Frame) -> None:
    """A call is over, and nothing lives in it: its joins and sets end with it."""
    ties = state.waits.ties
    for key in state.waits.call_ties.take(frame.id):
        ties.drop(frame.flow, key)
        _drop_wait(state, key)
    del state.waits.frames[frame.id]
    state.drop("frame", frame.id)


def _drop_wait(state: State, key: str) -> None:
    if state.waits.tallies.pop(key, None) is not None:
        state.drop("tally", key)
    elif state.waits.cell("wait", key) is not None:
        state.waits.drop(key)
        state.drop("wait", key)


def _leave(state: State, task: Task, flow: Flow) -> None:
    """A record is not live any more: it was matched."""
    id = task.id
    del state.tasks[id]
    if task.needs is not None and id in state.waits.scripts.of:
        for kind, key in state.waits.scripts.drop(id):
            state.drop(kind, key)
    if task.policy is not None:
        state.forget_times(id)
    if task.call is not None and (frame := state.waits.frames.get(task.call)) is not None:
        frame.live -= 1
        state.touch("frame", frame.id)
        _end_frame(state, frame)
    dirty = state.dirty["task"]
    if dirty.get(id) is False:
        del dirty[id]  # The journal never had it.
    else:
        state.drop("task", id)
    if state.stuck and state.stuck.pop(id, None) is not None:
        state.stuck_in[flow.id].pop(id, None)
    if state.holds.stops and state.holds.stops.pop(id, None) is not None:
        state.drop("hold", id)
    flow.live -= 1
    if task.is_held:
        flow.stopped -= 1
    state.dirty["flow"].setdefault(flow.id, True)
    if task.cont is not None:
        _left_waiter(state, task, task.cont)


def _left_waiter(state: State, task: Task, waiter: str) -> None:
    """A record has left for which a chain, or the script that started it, waits."""
    chain = state.chains.get(waiter) if task.outcome == "done" else None
    if chain is not None:
        chain.waiting.pop(task.id, None)
        for alias, member in chain.aliases.items():
            if member == task.id:
                chain.records[alias] = task
        state.touch("chain", chain.id)
        return
    script = state.waits.scripts.of.get(waiter)
    if script is not None and task.settled:
        state.touch("ended", state.waits.scripts.settle(script, task), is_new=True)
        state.touch("script", waiter)
        if script.is_answerable:
            state.waits.quiet.append(waiter)


def _matched(state: State, fact: f.Matched, flow: str, time: int) -> None:
    if fact.taken_up:
        _take_up(state, fact.id, flow, fact.call)


def _take_up(state: State, id: str, flow: str, call: str | None) -> None:
    state.flows[flow].untaken.pop(id, None)
    frame = state.waits.frames.get(call) if call is not None else None
    if frame is not None:
        frame.untaken.pop(id, None)
        state.touch("frame", frame.id)


def _taken(state: State, fact: f.Taken, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is not None:
        state.pending.pop(task.id, None)
        count_idle(state, task)
        if task.is_held and task.policy is not None and task.policy.twin is not None:
            _twin_ended(state, task, task.policy.twin, task)
        _leave(state, task, state.flows[task.flow])


def count_idle(state: State, task: Task) -> None:
    """A run of records that bring forth records while nothing ran: counted, its end remembered, for the guard."""
    flow = state.flows[task.flow]
    flow.idle_run += 1
    if task.rule is not None:
        flow.trail = [*flow.trail[1 - TRAIL_LENGTH :], f"{task.type} by rule {task.rule}"]


def _waited(state: State, fact: f.Waited, flow: str, time: int) -> None:
    # A retry writes a chain that is open anew.
    is_new = fact.id not in state.chains
    state.chains[fact.id] = Chain(
        fact.id, flow, fact.rule, fact.step, dict.fromkeys(fact.members, True), fact.aliases,
        dict(fact.records), fact.values, fact.call, fact.by_unmatched, fact.otherwise,
    )  # fmt: skip
    state.touch("chain", fact.id, is_new=is_new)
    state.waits.ties.add(flow, fact.id)


def _dropped(state: State, fact: f.Dropped, flow: str, time: int) -> None:
    if state.chains.pop(fact.id, None) is not None:
        state.drop("chain", fact.id)
        state.waits.ties.drop(flow, fact.id)


def _started(state: State, fact: f.Started, flow: str, time: int) -> None:
    state.change(fact.id, started=time)
    state.begun.add(fact.id)
    task = state.task(fact.id)
    if task is not None and task.policy is not None:
        begin_times(state, task)


def begin_times(state: State, task: Task) -> None:
    state.waits.forget_due("expires", task.id)
    state.note_times(task)


def _loaded(state: State, fact: f.Loaded, flow: str, time: int) -> None:
    state.change(fact.id, body=fact.body)


def _stopping(state: State, fact: f.Stopping, flow: str, time: int) -> None:
    state.stopping.add(fact.id)
    if fact.kind is None:
        state.stop_kinds.pop(fact.id, None)
    else:
        state.stop_kinds[fact.id] = fact.kind
        state.waits.forget_due(fact.kind, fact.id)


def _taken_up(state: State, fact: f.TakenUp, flow: str, time: int) -> None:
    _take_up(state, fact.id, flow, fact.call)
    state.touch("flow", flow)


def _flow_reopened(state: State, fact: f.FlowReopened, flow: str, time: int) -> None:
    again = decode_flow(f.encode(fact.flow))
    again.outcome = again.ended = again.bent = again.text = again.held = again.unfilled = None
    state.flows[flow] = again
    state.touch("flow", flow, is_new=True)
    if again.is_stubbed:
        state.holds.forks[flow] = Answers(flow, {}, {})
        state.touch("fork", flow, is_new=True)
    state.past = [past for past in state.past if past.id != flow]
    state.drop("past", flow)


def _flow_ended(state: State, fact: f.FlowEnded, flow: str, time: int) -> None:
    over = state.flows.pop(flow)
    state.stuck_in.pop(flow, None)
    over.outcome, over.text, over.ended, over.unfilled = fact.outcome, fact.text, time, fact.unfilled
    for key in state.waits.ties.take(flow):
        # Half-filled, and nothing is left to fill it.
        if state.chains.pop(key, None) is not None:
            state.drop("chain", key)
        else:
            _drop_wait(state, key)
    if flow in state.holds.forks:
        del state.holds.forks[flow]
        state.drop("fork", flow)
    state.drop("flow", flow)
    state.past.append(over)


def _nothing(state: State, fact: f.Fact, flow: str, time: int) -> None:
    """A fact that is for readers only."""


def _error_of(task: Task) -> Body:
    """Of an event that is a failure: what it says."""
    return {"kind": "exception", "message": str(task.body.get("error", ""))}


# How the facts of records and flows are folded in; `then.core.folds` has all.
RECORD_FOLDS: dict[type, Callable[[State, Any, str, int], None]] = {
    f.Emitted: _born,
    f.Posted: _posted,
    f.Completed: _completed,
    f.Matched: _matched,
    f.Taken: _taken,
    f.Waited: _waited,
    f.Dropped: _dropped,
    f.Started: _started,
    f.Loaded: _loaded,
    f.Stopping: _stopping,
    f.TakenUp: _taken_up,
    f.FlowReopened: _flow_reopened,
    f.FlowEnded: _flow_ended,
    f.Late: _nothing,
    f.Fault: _nothing,
}
