"""A copy of a state, to try on it what would follow. The original stays as it is."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

import msgspec

from then.core.admission import Admission
from then.core.state import State
from then.core.waits import Waits

T = TypeVar("T")


def copied(state: State) -> State:
    """All that a match may look at or change; what waits for a start is left out, and nothing is watched.

    Cost: grows with what is live.
    """
    waits = state.waits
    copy = State(
        tasks=dict(state.tasks),
        flows=state.flows.copied(),
        chains=_each(state.chains),
        keys=state.keys,
        pending=OrderedDict(state.pending),
        admission=Admission(),
        running=dict(state.running),
        waits=Waits(
            frames=_each(waits.frames),
            tallies=_each(waits.tallies),
            timers=dict(waits.timers),
            twins=_each(waits.twins),
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


def _each(cells: dict[str, T]) -> dict[str, T]:
    """Structs of their own, as deep as the fold changes them."""
    return {key: _own(cell) for key, cell in cells.items()}


def _own(cell: T) -> T:
    return msgspec.msgpack.decode(_encode(cell), type=type(cell))


_encode = msgspec.msgpack.Encoder().encode
