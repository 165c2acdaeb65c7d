"""What is due, and when: very many times, of which only the nearest are kept in order.

Theory of operation. A time is known by its kind and whose it is. All of them
stand in plain dicts, by kind; that is the truth. A heap has those up to the
*horizon*, and is where the next is found. What is due beyond it is in no order
at all, and costs an entry of a dict: there may be a hundred thousand timers of
which none is near. When the heap has run empty, the horizon moves on, to where
about a sixteenth of what is left comes to lie before it; when the heap has
become large, it moves back likewise.

Invariants:
1. Each time up to the horizon has an entry in the heap; an entry that is not the time of its owner any more is old,
   and passed over.
2. While there are few times the horizon is at the end of time: all are in the heap.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

Due: TypeAlias = tuple[int, str, str]
"""A time, what it is the time of (`start`, `expires`, `timeout`, `deadline`, `wait`, …), and whose."""

BY_CLOCK: Final = frozenset(("at", "timer"))
"""What is due when the clock shows a time, and not when a span is over."""
NEAR_MAX: Final = 4096
"""So many times are kept in order without a thought of how many there are."""
_SHARE: Final = 16
"""The horizon is put where one of so many lies before it."""
_SAMPLE: Final = 1024
_NEVER: Final[Due] = (-1, "", "")
_ALL_TIME: Final[Due] = (2**63, "", "")


class Dues:
    """Times by kind and owner, the soonest at hand.

    Cost: of `put`, `drop` and `take` grows with the logarithm of what is near; now and then, spread over as many
    calls, with how many there are.
    """

    __slots__ = ("_heap", "_heap_max", "_horizon", "_kinds", "_newest", "is_used")

    def __init__(self) -> None:
        self.is_used = False
        """Whether anything ever was due: asked of each turn, where `next` would take longer."""
        self._kinds: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._heap: list[Due] = []
        self._heap_max = NEAR_MAX
        self._newest = 0
        self._horizon = _NEVER  # Nothing is in order yet: a start puts very many before it asks.

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def items(self) -> Iterator[tuple[tuple[str, str], int]]:
        """All, as ((kind, owner), time), in no order."""
        for kind, times in self._kinds.items():
            for of, at in times.items():
                yield (kind, of), at

    def put(self, at: int, kind: str, of: str) -> None:
        """Something is due then, in place of when it was due before."""
        times = self._kinds[kind]
        if times.get(of) == at:
            return
        self.is_used = True
        if at != self._newest:
            self._newest = at | 0  # Without the room that a sum has for a carry.
        times[of] = at = self._newest
        due = (at, kind, of)
        if due <= self._horizon:
            heapq.heappush(self._heap, due)
            if len(self._heap) > self._heap_max:
                self._order()

    def drop(self, kind: str, of: str) -> None:
        """Something is due no more; what never was is passed over."""
        self._kinds[kind].pop(of, None)

    @property
    def next(self) -> int | None:
        """When something is due next; None where nothing is."""
        kinds = self._kinds
        while True:
            heap = self._heap
            while heap:
                at, kind, of = heap[0]
                if kinds[kind].get(of) == at:
                    return at
                heapq.heappop(heap)
            if self._horizon == _ALL_TIME:
                return None
            self._order()

    def take(self, now: int) -> tuple[str, str] | None:
        """What is due, the oldest first, and is noted no more; None where nothing is due by now."""
        at = self.next
        if at is None or at > now:
            return None
        _, kind, of = heapq.heappop(self._heap)
        del self._kinds[kind][of]
        return kind, of

    def shift(self, by_us: int) -> None:
        """Moves all spans that run by so much: the machine's clock was set, and they go by elapsed time."""
        for kind, times in self._kinds.items():
            if kind not in BY_CLOCK:
                self._kinds[kind] = {of: at + by_us for of, at in times.items()}
        self._order()

    def copied_owners(self, *kinds: str) -> dict[str, str]:
        """Whose times of these kinds are, each with a copy of its name."""
        return {of: of.encode().decode() for kind in kinds for of in self._kinds.get(kind, ())}

    def call_owners(self, names: Mapping[str, str]) -> None:
        """Knows owners by these names from now on, which are equal: the texts that it had are let go."""
        for kind, times in self._kinds.items():
            self._kinds[kind] = {names.get(of, of): at for of, at in times.items()}
        self._order()

    def _order(self) -> None:
        """Puts the horizon anew, and in order what lies before it."""
        count = len(self)
        horizon = _ALL_TIME
        if count > NEAR_MAX // 2:
            sample = sorted(islice(self._all(), 0, None, max(1, count // _SAMPLE)))
            horizon = sample[len(sample) // _SHARE]
        self._horizon = horizon
        self._heap = [due for due in self._all() if due <= horizon]
        heapq.heapify(self._heap)
        self._heap_max = max(NEAR_MAX, 2 * len(self._heap))

    def _all(self) -> Iterator[Due]:
        for kind, times in self._kinds.items():
            for of, at in times.items():
                yield at, kind, of
