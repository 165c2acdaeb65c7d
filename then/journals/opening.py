"""What stands between a path and an open journal: folder, file, identity, schema.

A state folder is looked at before anything in it is touched, and what is not
ours is left as it was. `then.journals.sqlite` works on what is opened here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from then.core.errors import ConfigError, JournalError, JournalForeign, JournalFull, JournalTooNew
from then.journals.connection import DAMAGED, Connect, is_full, reason_of, sync_folder, unreadable, uri_of
from then.journals.lock import unwritable
from then.journals.pages import Pages
from then.journals.tail import FILE_NAME as TAIL_NAME

Durability = Literal["power", "process"]

FILE_NAME: Final = "journal.db"
APPLICATION_ID: Final = 0x7468656E
"""The letters "then", where SQLite keeps whose file it is."""
PAGE_BYTES: Final = 4096
"""A commit writes whole pages to the log; larger ones cost each commit, smaller ones each scattered cell."""
CACHE_KIB: Final = 2048
"""Of pages in memory, as much as SQLite takes by itself. With twice as much checkpoints of cells all over a large
state read and wrote one hundredth less, and took as long."""
LOG_BYTES_KEPT: Final = 16 * 1024 * 1024
"""What is left of the log when one large transaction has swollen it."""

_TABLES: Final = frozenset({"entry", "cell", "mark"})
_SIDE_FILES: Final = ("", "-journal", "-wal", "-shm")


def load_schemas() -> tuple[str, ...]:
    """The statements that lead from nothing to each schema in turn; the n-th makes schema n of n - 1."""
    return tuple(file.read_text() for file in sorted((Path(__file__).parent / "schema").glob("*.sql")))


def make_folder(folder: Path) -> None:
    """Makes the state folder and what is missing above it, durably.

    Raises:
        JournalForeign: something else stands at its place.
        JournalError: it cannot be made.
    """
    missing: list[Path] = []
    place = folder.absolute()
    with on_disk(folder):
        while not place.exists():
            missing.append(place)
            place = place.parent
        if not place.is_dir():
            raise JournalForeign(str(place if missing else folder), "a file and no folder")
        for made in reversed(missing):
            made.mkdir(mode=0o700, exist_ok=True)
            sync_folder(made.parent)


def find(folder: Path) -> Path:
    """The journal in a folder, for those who only read.

    Raises:
        ConfigError: there is none.
        JournalForeign: the folder is none.
    """
    if folder.exists() and not folder.is_dir():
        raise JournalForeign(str(folder), "a file and no folder")
    path = folder / FILE_NAME
    if not path.exists():
        raise ConfigError(f"{folder}: holds no journal; `andthen run` makes one, --state names another folder")
    return path


def check_owner(path: Path, connect: Connect) -> None:
    """Refuses what is plainly no journal of ours by its first page, without a look at a log beside it.

    Raises:
        JournalForeign: it is none.
    """
    if path.is_dir():
        raise JournalForeign(str(path), "a folder")
    if path.stat().st_size == 0:
        raise JournalForeign(str(path), "an empty file")
    try:
        with contextlib.closing(connect(uri_of(path, "immutable"))) as connection:
            owner = connection.execute("PRAGMA application_id").fetchall()[0][0]
    except sqlite3.Error:
        return  # A checkpoint that was cut off may look like this too; a reading with the log will tell.
    # Ours has had it since before it had its name.
    if owner != APPLICATION_ID:
        raise JournalForeign(str(path), "a database of another application")


def check_identity(pages: Pages, path: Path, known: int) -> int:
    """The schema of a journal, once it is certain that it can be read.

    Raises:
        JournalForeign: it is damaged.
        JournalTooNew: a later version wrote it.
    """
    schema = int(pages.rows("PRAGMA user_version")[0][0])
    if schema > known:
        raise JournalTooNew(str(path), schema, known)
    missing = _TABLES - {row[0] for row in pages.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if schema < 1 or missing:
        raise JournalForeign(str(path), f"{DAMAGED} (it lacks {', '.join(sorted(missing))})")
    return schema


def create(path: Path, connect: Connect, schemas: Sequence[str]) -> None:
    """A new journal at `path`. It appears whole or not at all: made under another name, synced, renamed.

    Raises:
        JournalForeign: the log of a lost journal is there; SQLite would read it into the new one.
        JournalFull: no room.
        JournalError: it cannot be written.
    """
    for kind, left in (("log", Path(f"{path}-wal")), ("tail", path.with_name(TAIL_NAME))):
        if left.exists() and left.stat().st_size:
            raise JournalForeign(str(left), f"a {kind} whose {path.name} is gone")
    fresh = path.with_name(f"{path.name}.new")
    with on_disk(path):
        _remove(fresh)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(connect(uri_of(fresh, "rw"))) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA synchronous = FULL")
            for number, statements in enumerate(schemas, 1):
                _advance(connection, number, statements)
            _use_log(connection, path)
        os.replace(fresh, path)
        sync_folder(path.parent)


def migrate(connection: sqlite3.Connection, path: Path, schema: int, schemas: Sequence[str]) -> None:
    """Leads an older journal to the newest schema, one transaction a step; a copy of what it was stays beside it.

    Raises:
        JournalFull: no room; the journal is as it was.
        JournalError: the copy or a step failed; likewise.
    """
    backup = path.with_name(f"{path.name}.schema-{schema}")
    unfinished = path.with_name(f"{path.name}.copy")
    with on_disk(path):
        _remove(unfinished)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        _sync_file(unfinished)
        os.replace(unfinished, backup)
        sync_folder(path.parent)
        for number in range(schema + 1, len(schemas) + 1):
            _advance(connection, number, schemas[number - 1])


def connect_writer(path: Path, connect: Connect, durability: Durability) -> sqlite3.Connection:
    """The one connection that writes, set to what is promised and with nothing left in the log.

    Raises:
        JournalError: SQLite will not keep a log here, or the file cannot be written.
    """
    with on_disk(path):
        connection = connect(uri_of(path, "rw"))
        try:
            _use_log(connection, path)
            # In either durability: what is moved from the tail must be on the disk before the tail is overwritten.
            connection.execute("PRAGMA synchronous = FULL")
            # macOS alone: fsync there does not reach the platter.
            connection.execute(f"PRAGMA fullfsync = {int(durability == 'power')}")
            connection.execute(f"PRAGMA checkpoint_fullfsync = {int(durability == 'power')}")
            # SQLite's own checkpoints swallow their errors: a failed sync would go unseen.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            # What is pruned is overwritten where its page is written anyway; free pages go back to the disk.
            connection.execute("PRAGMA secure_delete = FAST")
            connection.execute("BEGIN IMMEDIATE")  # Raises where the file cannot be written, or somebody writes to it.
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
    return connection


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    # The pragma answers with the mode that it got rather than failing.
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0]
    if mode != "wal":
        raise JournalError(
            f'journal {path}: SQLite keeps journal_mode "{mode}" here, "wal" is needed;'
            " give --state a folder on a local disk"
        )


def _advance(connection: sqlite3.Connection, number: int, statements: str) -> None:
    """One step of the schema; all of it, or nothing."""
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{statements};\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _remove(path: Path) -> None:
    """Takes away what an earlier, broken attempt has left."""
    for suffix in _SIDE_FILES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turns what the disk or SQLite says while a journal is opened into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JournalFull(str(path)) from error
        raise unwritable(path.parent if path.name == FILE_NAME else path, error) from error
    except sqlite3.Error as error:
        if is_full(error):
            raise JournalFull(str(path)) from error
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise unreadable(path, error) from error
        raise JournalError(f"journal {path}: {reason_of(error)}") from error
