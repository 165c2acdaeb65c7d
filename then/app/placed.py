"""A journal whose folder may be taken away under it.

What is written to a file that has lost its name reaches the disk, and nobody
ever again: SQLite notices nothing, and the keeper of processes, which has no
place for their output, would have to report each as one that cannot be spawned.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from then.abc import Cell, Entry, Journal
from then.core.errors import JournalError
from then.journals.opening import FILE_NAME


class Placed:
    """Passes everything on, and appends only while the file is where it was: 2 µs a commit.

    Args:
        journal: opened in the folder.
    """

    def __init__(self, journal: Journal, folder: Path) -> None:
        self._journal = journal
        self._folder = folder
        self._path = os.path.abspath(folder / FILE_NAME)
        self._there = os.stat(self._path)

    def check(self) -> None:
        """Nothing, where the file is in its place.

        Raises:
            JournalError: it is not, or another is there.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            found = None
        there = self._there
        if found is None or found.st_ino != there.st_ino or found.st_dev != there.st_dev:
            raise JournalError(
                f"{self._folder}: this state folder was taken away under its engine, which stops here and starts nothing"
                " more; what it wrote is lost: give --state a folder that stays"
            )

    @property
    def last(self) -> int:
        return self._journal.last

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        self.check()
        self._journal.append(entries, cells)

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        self.check()
        self._journal.prune(seqs, cells)

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        return self._journal.read(after, upto)

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return self._journal.cells(kind, prefix)

    def close(self) -> None:
        self._journal.close()
