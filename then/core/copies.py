"""Copies of a state, to try on them what would follow. The original stays as it is."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from then.core.admission import Admission
from then.core.holds import Holds
from then.core.resting import trimmed
from then.core.state import State
from then.core.waits import Waits

T = TypeVar("T")

SCATTERING: Final = 20_000
"""A checkpoint that lays so many records to rest follows a step so large that they lie scattered in its room."""


class Lent(dict[str, T]):
    """Cells of another state: who asks for one gets a copy of it, to be changed.

    Those that `values` and `items` come by are to look at, and not to change.
    """

    def __init__(self, cells: Mapping[str, T]) -> None:
        super().__init__(cells)
        self._own: set[str] = set()

    def __getitem__(self, key: str) -> T:
        cell = super().__getitem__(key)
        if key not in self._own:
            cell = self[key] = msgspec.msgpack.decode(_encode(cell), type=type(cell))
        return cell

    def __setitem__(self, key: str, cell: T) -> None:
        self._own.add(key)
        super().__setitem__(key, cell)

    def get(self, key: str, default: None = None) -> T | None:  # type: ignore[override]
        try:
            return self[key]
        except KeyError:
            return default


def copied(state: State) -> State:
    """All that a match may look at or change; what waits for a start is left out, and nothing is watched.

    Cost: grows with what is live, by an entry of a dict each.
    """
    waits = state.waits
    copy = State(
        tasks=dict(state.tasks),
        flows=state.flows.copied(),
        chains=Lent(state.chains),
        keys=state.keys,
        pending=OrderedDict(state.pending),
        admission=Admission(),
        running=dict(state.running),
        waits=Waits(
            frames=Lent(waits.frames),
            tallies=Lent(waits.tallies),
            timers=dict(waits.timers),
            twins=Lent(waits.twins),
            marks=dict(waits.marks),
            marks_max=waits.marks_max,
            scripts=waits.scripts.copied(),
            ties=waits.ties.copied(),
            call_ties=waits.call_ties.copied(),
            waits=waits.half_filled,
        ),
        stopping=set(state.stopping),
        stop_kinds=dict(state.stop_kinds),
        begun=set(state.begun),
        slots_used=state.slots_used,
        seq=state.seq,
        last_id=state.last_id,
        version=state.version,
    )
    copy.holds.number = state.holds.number
    copy.holds.forks = state.holds.forks
    return copy


def copied_whole(state: State) -> State:
    """All that a step may look at or change but for times, of a state as a journal tells it: nothing runs in it.

    Cost: as that of `copied`.
    """
    holds, copy = state.holds, copied(state)
    copy.holds = Holds(Lent(holds.points), Lent(holds.stops), Lent(holds.forks), holds.number, holds.may_expire)
    copy.is_watched = state.is_watched
    copy.waits.quiet, copy.waits.joining = state.waits.quiet.copy(), state.waits.joining.copy()
    copy.queue, copy.queue_flow = deque(state.queue), state.queue_flow
    copy.free, copy.claiming = deque(state.free), deque(state.claiming)
    copy.waiting = {priority: turns.copied() for priority, turns in state.waiting.items()}
    return copy


_encode = msgspec.msgpack.Encoder().encode


def gather(state: State) -> None:
    """Puts what rests together, where the last checkpoint left it scattered amid what its step needed and let go.

    The interpreter gives memory back by the mebibyte: one id that lives keeps all that lay beside it.
    Cost: one copy of each record, where a fourth of them or more was laid to rest just now; else none.
    """
    rested, state.rested = state.rested, 0
    if rested < max(SCATTERING, len(state.tasks) // 4):
        return
    ids = state.waits.dues.copied_owners("start", "at")
    # All are copied before one is let go: its place would be taken by the next.
    names = [ids.get(id, id) for id in state.tasks]
    kept = [trimmed(kept) if type(kept) is bytes else kept for kept in state.tasks.values()]
    state.tasks = dict(zip(names, kept, strict=True))
    del names, kept
    state.waits.dues.call_owners(ids)
