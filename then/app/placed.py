"""A journal whose folder may be taken away under it.

What is written to a file that has lost its name reaches the disk, and nobody
ever again: SQLite notices nothing, and the keeper of processes, which has no
place for their output, would have to report each as one that cannot be spawned.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from then.abc import Cell, Entry, Journal
from then.core.errors import JournalError

LOOK_S: Final = 0.01
CLEANUPS_MAX: Final = 50
"""A second, for a keeper to end."""
CLEANUP_S: Final = 0.02


class Placed:
    """Passes everything on, and appends only while the file is where it was.

    That is looked at a hundred times a second: a look takes 4 µs, as long as a quick commit, and what was written in
    the moment before is lost with the folder in any case.

    Args:
        journal: opened in the folder.
    """

    def __init__(self, journal: Journal, folder: Path) -> None:
        from then.journals.opening import FILE_NAME

        self._journal = journal
        self._folder = folder
        self._path = os.path.abspath(folder / FILE_NAME)
        self._there = os.stat(self._path)
        self._look_again_at = 0.0

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
        now = time.monotonic()
        if now >= self._look_again_at:
            self.check()
            self._look_again_at = now + LOOK_S
        self._journal.append(entries, cells)

    def carry(self, files: Mapping[str, bytes]) -> bool:
        return self._journal.carry(files)

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        self.check()
        self._journal.prune(seqs, cells)

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        return self._journal.read(after, upto)

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return self._journal.cells(kind, prefix)

    def close(self) -> None:
        self._journal.close()


class TemporaryFolder:
    """A folder of an engine that keeps nothing; it is there until `clean_up`, or the end of the process."""

    def __init__(self) -> None:
        import tempfile  # With it come all that packs files; most engines have a folder, or need none.

        self._folder = tempfile.TemporaryDirectory(prefix="andthen-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)

    def clean_up(self) -> None:
        """Takes it away; a keeper that ends may still put something in, so that one time may not do."""
        for _ in range(CLEANUPS_MAX):
            self._folder.cleanup()
            if not self.path.exists():
                return
            threading.Event().wait(CLEANUP_S)
