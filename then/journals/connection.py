"""How the SQLite journal reaches SQLite, and what its failures mean.

`Connect` is the one place where a connection is made: a journal is given it,
so that the same statements may run over another build of SQLite or over
storage that fails on purpose.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias

from then.core.errors import ConfigError, JournalError, JournalForeign

Connect: TypeAlias = Callable[[str], sqlite3.Connection]
"""Opens the SQLite URI it is given; transactions are begun and ended by statements only."""

DAMAGED: Final = "a damaged SQLite database"

SQLITE_FLOOR: Final = (3, 37, 0)
"""STRICT tables; Python 3.11 comes with later ones nearly everywhere."""
BUSY_TIMEOUT_S: Final = 10.0
"""How long a stranger may hold the write lock. Nobody but the engine writes; a `sqlite3` shell might."""


def connect(uri: str) -> sqlite3.Connection:
    """A connection of the standard library, for callers that serialise its use themselves.

    Raises:
        ConfigError: the SQLite that Python was built with is too old.
    """
    if sqlite3.sqlite_version_info < SQLITE_FLOOR:
        floor = ".".join(str(part) for part in SQLITE_FLOOR[:2])
        raise ConfigError(f"SQLite {sqlite3.sqlite_version}: {floor} or later is needed; use a Python built with one")
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)


def uri_of(path: Path, mode: Literal["rw", "ro", "immutable"]) -> str:
    """The path as SQLite takes it; never one that creates a file."""
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    return f"{path.absolute().as_uri()}?{query}"


def is_full(error: BaseException) -> bool:
    """True where there was no room, and SQLite had not begun to change anything for good.

    The index of the log (`journal.db-shm`) has a code of its own for that.
    """
    code = _code(error)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def is_busy(error: BaseException) -> bool:
    """True where another connection holds what is needed."""
    return _code(error) & 0xFF == sqlite3.SQLITE_BUSY


def reason_of(error: BaseException) -> str:
    """What SQLite or the system says, in words that an operator can act on."""
    if isinstance(error, OSError):
        return f"a write or sync of its tail failed ({errno.errorcode.get(error.errno or 0, error)})"
    code, name = _code(error), getattr(error, "sqlite_errorname", type(error).__name__)
    match code & 0xFF:
        case sqlite3.SQLITE_IOERR if code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC):
            return f"a sync to the disk failed ({name})"
        case sqlite3.SQLITE_IOERR if code in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ):
            return f"a read failed ({name})"
        case sqlite3.SQLITE_IOERR:
            return f"a write failed ({name})"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another program holds its write lock for more than {BUSY_TIMEOUT_S:g} s ({name})"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"it cannot be written ({name})"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"it is damaged ({name})"
    return f"{error} ({name})"


def unreadable(path: Path, error: sqlite3.Error | TypeError) -> JournalError:
    """The error for a journal file that cannot be opened or read, or whose rows are not what they must be."""
    if isinstance(error, TypeError):
        return JournalForeign(str(path), DAMAGED)
    match _code(error) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return JournalForeign(str(path), "not an SQLite database")
        case sqlite3.SQLITE_CORRUPT:
            return JournalForeign(str(path), DAMAGED)
        case sqlite3.SQLITE_CANTOPEN:
            return JournalError(f"journal {path}: cannot be opened ({_cause(path)})")
    return JournalError(f"journal {path}: {reason_of(error)}")


def _cause(path: Path) -> str:
    """Why SQLite could not open it; SQLite itself does not tell."""
    if not os.access(path, os.R_OK):
        return "it may not be read"
    if not os.access(path.parent, os.W_OK):
        return "journal.db-shm is missing beside journal.db-wal, and the folder cannot be written"
    return "SQLITE_CANTOPEN"


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0))


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
