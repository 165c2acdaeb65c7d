"""A journal in memory: for engines without a state folder, and for tests.

The same law as `then.journals.sqlite` (`tests/seams/journal_suite.py`), but
that it ends with its process.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from then.abc import Cell, Entry
from then.core.errors import JournalError
from then.journals.batch import cells_of, rows_of

PAGE_ENTRIES = 500
"""Entries taken under the lock at once by a reader; a reader between pages hinders nobody."""

_seq_of = attrgetter("seq")


def open_memory() -> MemoryJournal:
    """An empty journal."""
    return MemoryJournal()


class MemoryJournal:
    """Entries in a list, cells in dicts; the seam is `then.abc.Journal`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._cells: dict[str, dict[str, bytes]] = {}
        self._last = 0
        self._is_closed = False

    @property
    def last(self) -> int:
        return self._last

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        self._write(entries, cells, frozenset())

    def carry(self, files: Mapping[str, bytes]) -> bool:
        return False

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        self._write((), cells, frozenset(seqs))

    def _write(self, entries: Sequence[Entry], cells: Iterable[Cell], pruned: frozenset[int]) -> None:
        # All that may raise stands before the first change: a batch is all there or not at all.
        self._check_open()
        rows_of(entries, self._last)
        puts, drops = cells_of(cells)
        for key in (*(put[1] for put in puts), *(drop[1] for drop in drops)):
            key.encode()  # Half of a surrogate pair is no text in any other journal either.
        with self._lock:
            self._entries.extend(entries)
            if entries:
                self._last = entries[-1].seq
            if pruned:
                self._entries = [entry for entry in self._entries if entry.seq not in pruned]
            for kind, key, data in puts:
                self._cells.setdefault(kind, {})[key] = data
            for kind, key in drops:
                self._cells.get(kind, {}).pop(key, None)

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        while True:
            self._check_open()
            with self._lock:
                begin = bisect_right(self._entries, after, key=_seq_of)
                page = self._entries[begin : begin + PAGE_ENTRIES]
            for entry in page:
                if upto is not None and entry.seq > upto:
                    return
                yield entry
            if not page:
                return
            after = page[-1].seq

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        self._check_open()
        with self._lock:
            held = self._cells.get(kind, {})
            found = sorted((key, data) for key, data in held.items() if key.startswith(prefix))
        yield from found

    def close(self) -> None:
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            raise JournalError("journal in memory: closed")
