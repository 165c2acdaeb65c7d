"""Rows of a journal file, a page at a time.

Every page is a read transaction of its own and short, so that a reader never
keeps the writer's log from starting over, however slowly it goes on.

A journal that no engine has open is read as `immutable`: SQLite would else
create `journal.db-wal` and `journal.db-shm` beside it, or refuse a folder that
cannot be written. That holds as long as the file is not changed under it, which
only an engine does, and only by way of a log that is not empty. So each page is
taken only when the file and its log are what they were before it was fetched;
else it is fetched again, in a mode that suits.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from then.core.errors import JournalError
from then.journals.connection import Connect, unreadable, uri_of

PAGE_ROWS: Final = 1000
PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the row that reaches this, so that large entries come one by one."""

Row: TypeAlias = tuple[Any, ...]


class _State(NamedTuple):
    """What tells whether somebody wrote to the file since."""

    file: tuple[int, int, int]
    """Inode, size in bytes, and time of the last change in nanoseconds."""
    has_log: bool


class Pages:
    """A connection that only reads; its pages may be asked for from any thread."""

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._lock:
            self._open()

    def page(self, sql: str, values: Sequence[object]) -> list[Row]:
        """The first rows of a query whose last column holds data: at most `PAGE_ROWS`, and `PAGE_BYTES` of data.

        Raises:
            JournalForeign: the file is damaged.
            JournalError: it cannot be read, or was closed.
        """
        return self._fetch(sql, values, _bounded)

    def rows(self, sql: str) -> list[Row]:
        """All rows of a query that has few. Raises as `page` does."""
        return self._fetch(sql, (), list)

    def _fetch(self, sql: str, values: Sequence[object], take: Callable[[Iterable[Row]], list[Row]]) -> list[Row]:
        with self._lock:
            while True:
                if self._connection is None:
                    raise JournalError(f"journal {self._path}: closed")
                try:
                    with contextlib.closing(self._connection.execute(sql, values)) as cursor:
                        rows = take(cursor)  # And closing ends the read transaction.
                except (sqlite3.Error, TypeError) as error:  # A damaged row may lack its data.
                    if not self._is_overtaken():
                        raise unreadable(self._path, error) from error
                else:
                    if not self._is_overtaken():
                        return rows
                self._open()

    def close(self) -> None:
        """Twice is well."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._seen = self._look()
        try:
            self._connection = self._connect(uri_of(self._path, "ro" if self._seen.has_log else "immutable"))
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from error

    def _is_overtaken(self) -> bool:
        return not self._seen.has_log and self._look() != self._seen

    def _look(self) -> _State:
        try:
            file = os.stat(self._path)
        except OSError as error:
            raise JournalError(f"journal {self._path}: cannot be read ({error.strerror})") from error
        try:
            has_log = os.stat(f"{self._path}-wal").st_size > 0
        except FileNotFoundError:
            has_log = False
        return _State((file.st_ino, file.st_size, file.st_mtime_ns), has_log)


def _bounded(cursor: Iterable[Row]) -> list[Row]:
    rows: list[Row] = []
    size_bytes = 0
    for row in cursor:
        rows.append(row)
        size_bytes += len(row[-1])
        if size_bytes >= PAGE_BYTES or len(rows) >= PAGE_ROWS:
            break
    return rows
