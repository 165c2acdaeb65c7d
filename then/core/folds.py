"""The fold: how each kind of fact changes the state. Replay and the engine use this one.

What records and flows have in common is folded by `then.core.state` itself; what
concerns calls, joins, sets and times is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from then.core import facts as f
from then.core.ids import id_number
from then.core.state import RECORD_FOLDS, State
from then.core.waits import KINDS, Tally, TimerState, Wait


def turn(state: State, page: f.Page) -> None:
    """Folds a page of the journal: the way of a start and of a reader."""
    state.begin(page.flow)
    for fact in page.facts:
        evolve(state, fact, page.flow, page.time)
        made = fact.task.id if isinstance(fact, f.Posted | f.Emitted) else fact.id if isinstance(fact, f.Waited) else ""
        if made:
            state.last_id = max(state.last_id, id_number(made))


def evolve(state: State, fact: f.Fact, flow: str, time: int) -> None:
    """Folds one fact of a flow into the state."""
    FOLDS[type(fact)](state, fact, flow, time)


def _entered(state: State, fact: f.Entered, flow: str, time: int) -> None:
    state.pending.pop(fact.id, None)
    state.change(fact.id, started=time)
    task = state.task(fact.id)
    if task is not None:
        state.count_idle(task)
        if task.policy is not None:
            state.begin_times(task)


def _ripened(state: State, fact: f.Ripened, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is None or task.policy is None:
        return
    # A replay did not see it come.
    state.waits.forget_due("start", fact.id)
    policy = replace(task.policy, due=None)
    if task.event:
        state.change(fact.id, policy=policy, outcome="done", completed=time)
    else:
        state.change(fact.id, policy=policy, started=time if fact.is_asked else None)
    fresh = state.task(fact.id)
    assert fresh is not None
    state.enqueue(fresh)


def _left(state: State, fact: f.Left, flow: str, time: int) -> None:
    frame = state.waits.frames.get(fact.id)
    if frame is not None:
        state.drop_frame(frame)


def _joined(state: State, fact: f.Joined, flow: str, time: int) -> None:
    before = state.waits.wait(fact.key)
    _changed(state, fact.key, before, state.waits.joined(fact, flow))


def _met(state: State, fact: f.Met, flow: str, time: int) -> None:
    before = state.waits.wait(fact.key)
    _changed(state, fact.key, before, state.waits.met(fact))


def _parted(state: State, fact: f.Parted, flow: str, time: int) -> None:
    before = state.waits.wait(fact.key)
    _changed(state, fact.key, before, state.waits.parted(fact))


def _changed(state: State, key: str, before: Wait | None, after: Wait | None) -> None:
    """Notes what flow and call know of a wait: that they live on for it, and that it ends with them."""
    if after is not None:
        state.touch("wait", key, is_new=before is None)
    elif before is not None:
        state.drop("wait", key)
    _keep(state, before, after)
    for wait, is_there in ((before, False), (after, True)):
        if wait is None or not (wait.scope or wait.keeps):
            continue
        frame = state.waits.frames.get(wait.scope)
        owners = (state.flows.get(wait.flow), "flow"), (frame, "frame")
        for owner, kind in owners:
            if owner is None or (key in owner.waits) is is_there:
                continue
            if is_there:
                owner.waits[key] = True
            else:
                del owner.waits[key]
            state.touch(kind, owner.id)


def _keep(state: State, before: Wait | None, after: Wait | None) -> None:
    was = before.flow if before is not None and before.keeps else ""
    now = after.flow if after is not None and after.keeps else ""
    if was == now:
        return
    for id, more in ((was, -1), (now, 1)):
        flow = state.flows.get(id)
        if flow is not None:
            flow.live += more
            state.touch("flow", id)
    wait = after or before
    frame = state.waits.frames.get(wait.scope) if wait is not None else None
    if frame is not None and bool(was) != bool(now):
        frame.live += 1 if now else -1
        state.touch("frame", frame.id)
        state.end_frame(frame)


def _counted(state: State, fact: f.Counted, flow: str, time: int) -> None:
    tally = _tally(state, fact.key, flow)
    tally.open += fact.more


def _settled(state: State, fact: f.Settled, flow: str, time: int) -> None:
    tally = _tally(state, fact.key, flow)
    tally.open -= 1


def _gathered(state: State, fact: f.Gathered, flow: str, time: int) -> None:
    _tally(state, fact.key, flow).is_closed = True


def _tally(state: State, key: str, flow: str) -> Tally:
    tally = state.waits.tallies.get(key)
    state.touch("tally", key, is_new=tally is None)
    if tally is None:
        tally = state.waits.tallies[key] = Tally(key)
        state.flows[flow].waits[key] = True
        state.touch("flow", flow)
        frame = state.waits.frames.get(key.split("\0")[1])
        if frame is not None:
            frame.waits[key] = True
            state.touch("frame", frame.id)
    return tally


def _scheduled(state: State, fact: f.Scheduled, flow: str, time: int) -> None:
    state.touch("timer", fact.name, is_new=fact.name not in state.waits.timers)
    state.waits.schedule(TimerState(fact.name, fact.due, fact.flow, fact.is_paused, fact.queued))


def _unscheduled(state: State, fact: f.Unscheduled, flow: str, time: int) -> None:
    state.waits.unschedule(fact.name)
    state.drop("timer", fact.name)


def _marked(state: State, fact: f.Marked, flow: str, time: int) -> None:
    state.touch("mark", fact.key, is_new=fact.key not in state.waits.marks)
    state.waits.marks[fact.key] = fact.until


# `evolve` without the call of it: for the hottest place.
FOLDS: dict[type, Callable[[State, Any, str, int], None]] = {
    **RECORD_FOLDS,
    f.Entered: _entered,
    f.Ripened: _ripened,
    f.Left: _left,
    f.Joined: _joined,
    f.Met: _met,
    f.Parted: _parted,
    f.Counted: _counted,
    f.Settled: _settled,
    f.Gathered: _gathered,
    f.Marked: _marked,
    f.Scheduled: _scheduled,
    f.Unscheduled: _unscheduled,
}


def restore(cells: Callable[[str], Iterable[tuple[str, bytes]]], read: Callable[[int], Iterable[bytes]]) -> State:
    """The state that a journal tells: its cells, and the entries after them folded in.

    Args:
        cells: gives the cells of a kind.
        read: gives the data of the entries after a seq.

    Beside an engine that runs, a checkpoint may come while this reads: cells of two checkpoints tell no
    state at all, and are read again.

    Cost: grows with what is live and with the entries since the last checkpoint, not with history.
    """
    while True:
        state = State()
        meta = list(cells("meta"))
        state.load("meta", meta)
        for kind in ("flow", "chain", "key", *KINDS, "task"):
            state.load(kind, cells(kind))
        if list(cells("meta")) == meta:
            break
    for data in read(state.seq):
        turn(state, f.decode(data))
    return state
