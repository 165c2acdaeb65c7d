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
from then.core.waits import KINDS, Tally, Wait


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
    if task is not None and task.policy is not None:
        state.change(fact.id, policy=replace(task.policy, due=None))
        state.enqueue(state.tasks[fact.id])  # type: ignore[arg-type]


def _joined(state: State, fact: f.Joined, flow: str, time: int) -> None:
    is_new = state.waits.cell("wait", fact.key) is None
    if state.waits.joined(fact, flow):
        state.flows[flow].live += 1
    state.touch("wait", fact.key, is_new=is_new)
    if fact.scope or fact.keeps:
        state.flows[flow].waits[fact.key] = True
        state.touch("flow", flow)


def _met(state: State, fact: f.Met, flow: str, time: int) -> None:
    _wait_is_over(state, fact.key, state.waits.met(fact))


def _parted(state: State, fact: f.Parted, flow: str, time: int) -> None:
    _wait_is_over(state, fact.key, state.waits.parted(fact))


def _wait_is_over(state: State, key: str, over: Wait | None) -> None:
    if over is None:
        state.touch("wait", key)
        return
    state.drop("wait", key)
    flow = state.flows.get(over.flow)
    if flow is not None:
        flow.waits.pop(key, None)
        if over.keeps:
            flow.live -= 1
        state.touch("flow", flow.id)


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
    return tally


def _marked(state: State, fact: f.Marked, flow: str, time: int) -> None:
    state.touch("mark", fact.key, is_new=fact.key not in state.waits.marks)
    state.waits.marks[fact.key] = fact.until


# `evolve` without the call of it: for the hottest place.
FOLDS: dict[type, Callable[[State, Any, str, int], None]] = {
    **RECORD_FOLDS,
    f.Entered: _entered,
    f.Ripened: _ripened,
    f.Joined: _joined,
    f.Met: _met,
    f.Parted: _parted,
    f.Counted: _counted,
    f.Settled: _settled,
    f.Gathered: _gathered,
    f.Marked: _marked,
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
