"""A disk that forgets: what a journal would find after the power went at any of its writes.

A workload runs once, by our own code, over SQLite on a VFS, and a tail on a
file, that write down each call that changes a file (`Disk.calls`). Then, for each place between two
calls, disks are made up as a power cut there could leave them: what was synced
is there; of what was not, any part, and of a single write any of its sectors of
512 bytes. Each is opened by the ordinary code, on the ordinary SQLite.

The VFS comes with apsw. It has no shared memory, so that SQLite runs in
exclusive locking mode on it: writer and reader of a journal share one
connection here, and there is no `journal.db-shm`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import apsw

from then.abc import Cell, Entry, Journal
from then.core.errors import JournalError
from then.journals import opening
from then.journals.carried import Carried
from then.journals.connection import Connect
from then.journals.memory import open_memory
from then.journals.opening import Durability
from then.journals.sqlite import SqliteJournal, open_sqlite
from then.journals.tail import TailFile

SECTOR_BYTES: Final = 512

Verb = Literal["write", "truncate", "sync", "delete"]


class Call(NamedTuple):
    """One call that changes a file, or makes its changes last."""

    verb: Verb
    file: str
    offset: int = 0
    """Of a write; the new size of a truncation."""
    data: bytes = b""


# -- the disk under SQLite ----------------------------------------------------


class Disk:
    """Notes what SQLite does to files, and fails at one call where that is asked for.

    Args:
        fail_at: the call that fails, counted from 0; None for a disk that is well.
        code: the SQLite result that it fails with.
    """

    def __init__(self, fail_at: int | None = None, code: int = apsw.SQLITE_IOERR) -> None:
        self.calls: list[Call] = []
        self.verbs: list[str] = []
        """All calls that may fail: those above, and reads."""
        self._fail_at = fail_at
        self._fails_next: tuple[str, str] | None = None
        self._code = code
        self.vfs = _Vfs(self)

    def fail_next(self, verb: Verb, file: str) -> None:
        """The next call of this kind on this file fails."""
        self._fails_next = (verb, file)

    def note(self, verb: Verb | Literal["read"], file: str, offset: int = 0, data: bytes = b"") -> None:
        self.verbs.append(verb)
        if len(self.verbs) - 1 == self._fail_at or (verb, file) == self._fails_next:
            self._fails_next = None
            raise _failure(self._code, verb)
        if verb != "read":
            self.calls.append(Call(verb, file, offset, data))


def _failure(code: int, verb: str) -> apsw.Error:
    is_full = code == apsw.SQLITE_FULL and verb == "write"
    error = apsw.FullError("made up: no room") if is_full else apsw.IOError(f"made up: {verb} failed")
    vars(error)["extendedresult"] = code if is_full else _IOERR[verb]
    return error


_IOERR: Final = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.name = f"disk-{id(disk)}"
        self._disk = disk
        super().__init__(self.name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.note("delete", Path(filename).name)
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._file = Path(path).name if path else ""
        """Empty for a temporary file, which nobody finds again."""

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.note("read", self._file)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.note("write", self._file, offset, data)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.note("truncate", self._file, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.note("sync", self._file)
        super().xSync(flags)


class TailOn(TailFile):
    """The tail's file on such a disk, whose calls stand in one order with SQLite's."""

    def __init__(self, disk: Disk, path: Path) -> None:
        super().__init__(path)
        self._disk = disk

    def write(self, data: bytes, offset: int) -> None:
        try:
            self._note("write", offset, data)
        except OSError:
            super().write(data[: len(data) // 2], offset)  # For half of it there was room.
            raise
        super().write(data, offset)

    def sync(self) -> None:
        self._note("sync")
        super().sync()

    def load(self) -> bytes | None:
        self._note("read")
        return super().load()

    def remove(self) -> None:
        if self.path.exists():
            self._note("delete")
        super().remove()

    def _note(self, verb: Verb | Literal["read"], offset: int = 0, data: bytes = b"") -> None:
        try:
            self._disk.note(verb, self.path.name, offset, data)
        except apsw.FullError as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        except apsw.IOError as error:
            raise OSError(errno.EIO, str(error)) from error


class CarriedOn(Carried):
    """Files that are carried, on such a disk."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        super().__init__(folder)
        self._disk = disk

    def sync(self, names: Iterable[str]) -> None:
        for name in names:
            self._disk.note("sync", name)
        super().sync(names)

    def restore(self, name: str, content: bytes) -> None:
        self._disk.note("write", name, 0, content)
        super().restore(name, content)


# -- the standard library's interface over apsw --------------------------------


def connect_to(disk: Disk, reword: Callable[[str], str] = str) -> Connect:
    """Connections to SQLite on this disk, as the standard library would give them.

    Args:
        reword: what becomes of each statement; a planted bug changes some.
    """
    shared: dict[str, _Shared] = {}

    def connect(uri: str) -> sqlite3.Connection:
        path = unquote(urlsplit(uri).path)
        with _as_standard():
            if uri.endswith("immutable=1"):
                found = _Shared(apsw.Connection(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, disk.vfs.name))
            elif path in shared and shared[path].users:
                found = shared[path]
            else:
                found = shared[path] = _Shared(apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE, disk.vfs.name))
                found.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        found.users += 1
        found.has_writer |= uri.endswith("mode=rw")
        return cast(sqlite3.Connection, _Connection(found, reword))

    return connect


class _Shared:
    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.users = 0
        self.has_writer = False


class _Connection:
    def __init__(self, shared: _Shared, reword: Callable[[str], str]) -> None:
        self._shared: _Shared | None = shared
        self._connection = shared.connection
        self._reword = reword

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def cursor(self) -> _Statements:
        return _Statements(self)

    def execute(self, sql: str, values: Sequence[apsw.SQLiteValue] = ()) -> _Cursor:
        with _as_standard():
            return _Cursor(self._connection.execute(self._reword(sql), values or None))

    def executemany(self, sql: str, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
        with _as_standard():
            self._connection.executemany(self._reword(sql), rows)

    def executescript(self, sql: str) -> None:
        self.execute(sql).fetchall()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.users -= 1
            if not self._shared.users:
                # A connection that may only read leaves the log as it is.
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, not self._shared.has_writer)
                with _as_standard():
                    self._connection.close()
            self._shared = None


class _Statements:
    """A cursor that is used again and again; it holds nothing."""

    def __init__(self, connection: _Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany

    def close(self) -> None:
        pass


class _Cursor:
    def __init__(self, cursor: apsw.Cursor) -> None:
        self._cursor = cursor

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        with _as_standard():
            yield from self._cursor

    def fetchall(self) -> list[tuple[object, ...]]:
        return list(self)

    def close(self) -> None:
        self._cursor.close(force=True)


@contextlib.contextmanager
def _as_standard() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        code = getattr(error, "extendedresult", 0) or getattr(error, "result", 0)
        told = sqlite3.DatabaseError if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else None
        standard = (told or sqlite3.OperationalError)(str(error))
        standard.sqlite_errorcode = code
        standard.sqlite_errorname = type(error).__name__
        raise standard from error


def open_on(
    disk: Disk, folder: Path, durability: Durability = "power", reword: Callable[[str], str] = str
) -> SqliteJournal:
    """What `open_sqlite` does, on this disk."""
    return open_with(opening.load_schemas(), disk, folder, durability, reword)


def open_with(
    schemas: Sequence[str],
    disk: Disk,
    folder: Path,
    durability: Durability = "power",
    reword: Callable[[str], str] = str,
) -> SqliteJournal:
    """The same, with these steps of the schema."""
    return SqliteJournal(
        folder,
        connect_to(disk, reword),
        schemas,
        durability=durability,
        read_only=False,
        open_tail=partial(TailOn, disk),
        open_carried=partial(CarriedOn, disk),
    )


# -- the work -------------------------------------------------------------------


class Step(NamedTuple):
    """One transaction, or a new start where it has neither entries, cells nor seqs."""

    entries: tuple[Entry, ...] = ()
    cells: tuple[Cell, ...] = ()
    pruned: tuple[int, ...] = ()

    def run(self, journal: Journal) -> None:
        if self.pruned:
            journal.prune(self.pruned, self.cells)
        else:
            journal.append(self.entries, self.cells)


RESTART: Final = Step()


def workload(seed: int, transactions: int) -> list[Step]:
    """Steps as an engine takes them: mostly one entry, now and then many cells, a large record, a pruning, a restart."""
    chance = random.Random(seed)
    steps: list[Step] = []
    last = 0

    def entries(count: int, size_bytes: int) -> tuple[Entry, ...]:
        nonlocal last
        last += count
        return tuple(Entry(seq, chance.randbytes(size_bytes)) for seq in range(last - count + 1, last + 1))

    def cells(count: int, size_bytes: int) -> tuple[Cell, ...]:
        return tuple(
            Cell("task", f"{chance.randrange(400):04}", None if chance.random() < 0.4 else chance.randbytes(size_bytes))
            for _ in range(count)
        )

    for number in range(1, transactions + 1):
        kind = chance.random()
        if kind < 0.6 or last < 20:
            steps.append(Step(entries(1, chance.randrange(30, 300))))
        elif kind < 0.8:
            steps.append(Step(entries(chance.randrange(2, 20), 150), cells(3, 60)))
        elif kind < 0.9:
            steps.append(Step(entries(1, 100), cells(chance.randrange(30, 120), 200)))
        elif kind < 0.95:
            steps.append(Step(entries(1, chance.randrange(5_000, 30_000))))
        else:
            begin = chance.randrange(1, last)
            steps.append(Step(cells=cells(2, 60), pruned=tuple(range(begin, begin + chance.randrange(1, 40)))))
        if number % 60 == 0:
            steps.append(RESTART)
    return steps


def chain(seed: int, transactions: int) -> list[Step]:
    """Steps that fill the tail again and again: entries and no cells, alone or a few at once, a restart."""
    chance = random.Random(seed)
    steps: list[Step] = []
    last = 0
    for number in range(1, transactions + 1):
        count = chance.choice((1, 1, 1, 2, 5))
        size_bytes = chance.choice((100, 3_000, 14_000)) // count
        steps.append(Step(tuple(Entry(last + more, chance.randbytes(size_bytes)) for more in range(1, count + 1))))
        last += count
        if number % 120 == 0:
            steps.append(RESTART)
    return steps


def contents(journal: Journal) -> bytes:
    """All that a reader can see of a journal, in a few bytes."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(b"%d;" % journal.last)
    for entry in journal.read():
        digest.update(b"%d:%d:" % (entry.seq, len(entry.data)) + entry.data)
    for key, data in journal.cells("task"):
        digest.update(b"%s:%d:" % (key.encode(), len(data)) + data)
    return digest.digest()


def states(steps: Iterable[Step]) -> list[bytes]:
    """The contents before the first step and after each."""
    model = open_memory()
    found = [contents(model)]
    for step in steps:
        step.run(model)
        found.append(contents(model))
    return found


class Run(NamedTuple):
    """A workload as the disk saw it."""

    base: dict[str, bytes]
    """The files it began with."""
    calls: list[Call]
    acknowledged: list[int]
    """The n-th step had returned when so many calls were made."""


def run(folder: Path, steps: Iterable[Step], open_journal: Callable[[Disk, Path], Journal] = open_on) -> Run:
    """Runs the steps on a new journal in the folder."""
    open_sqlite(folder).close()
    base = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}
    disk = Disk()
    journal = open_journal(disk, folder)
    acknowledged: list[int] = []
    for step in steps:
        if step is RESTART:
            journal.close()
            journal = open_journal(disk, folder)
        else:
            step.run(journal)
        acknowledged.append(len(disk.calls))
    journal.close()
    return Run(base, disk.calls, acknowledged)


# -- what a power cut leaves ------------------------------------------------------


class Tally(NamedTuple):
    """How many disks were looked at, and what was wrong with them."""

    images: int = 0
    corrupt: int = 0
    """Not opened, or found damaged by SQLite's own check."""
    lost: int = 0
    """Without a step that had been acknowledged."""
    half: int = 0
    """With a part of a step."""

    def with_one(self, found: bytes | None, expected: Sequence[bytes], done: int) -> Tally:
        """The tally and one more disk: its contents, those after each step, and the steps acknowledged."""
        if found is None:
            return self._replace(images=self.images + 1, corrupt=self.corrupt + 1)
        if found not in expected:
            return self._replace(images=self.images + 1, half=self.half + 1)
        # The step under way may have come through or not.
        return self._replace(images=self.images + 1, lost=self.lost + (found not in expected[done : done + 2]))


class Platter:
    """The files as they are on the disk for certain, and what may or may not have come there since."""

    def __init__(self, base: dict[str, bytes]) -> None:
        self._synced = {name: bytearray(data) for name, data in base.items()}
        self._pending: dict[str, list[Call]] = {}

    def take(self, call: Call) -> None:
        if call.verb == "sync":
            for earlier in self._pending.pop(call.file, []):
                _apply(self._synced, earlier)
        else:
            self._pending.setdefault(call.file, []).append(call)

    def is_synced(self, file: str) -> bool:
        return not self._pending.get(file)

    def forget(self) -> None:
        """What is not synced never will be: a sync failed, and the system takes it for written."""
        self._pending.clear()

    def after_a_kill(self) -> dict[str, bytes]:
        """The files as who comes next finds them where the machine goes on."""
        files = {name: bytearray(data) for name, data in self._synced.items()}
        for calls in self._pending.values():
            for call in calls:
                _apply(files, call)
        return {name: bytes(data) for name, data in files.items()}

    def after_a_cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files as a power cut now might leave them."""
        files = {name: bytearray(data) for name, data in self._synced.items()}
        kept, torn = chance.choice(((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.9, 0.5), (chance.random(), 1.0)))
        for calls in self._pending.values():
            for call in calls:
                if chance.random() < kept:
                    _apply(files, call)
                elif call.verb == "write" and chance.random() < torn:
                    for sector in _sectors(call):
                        if chance.random() < 0.5:
                            _apply(files, sector)
                elif call.verb == "delete":
                    break  # What followed went to a new file, of which no name is left.
        return {name: bytes(data) for name, data in files.items()}


def _apply(files: dict[str, bytearray], call: Call) -> None:
    if call.verb == "delete":
        files.pop(call.file, None)
        return
    data = files.setdefault(call.file, bytearray())
    end = call.offset + len(call.data)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if call.verb == "truncate":
        del data[call.offset :]
    else:
        data[call.offset : end] = call.data


def _sectors(call: Call) -> Iterator[Call]:
    begin, end = call.offset, call.offset + len(call.data)
    while begin < end:
        cut = min(end, (begin // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield Call("write", call.file, begin, call.data[begin - call.offset : cut - call.offset])
        begin = cut


def cuts(run: Run, images: int, seed: int) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Disks after a power cut before, between and after all calls of a run, and the steps acknowledged by then."""
    chance = random.Random(seed)
    platter = Platter(run.base)
    places = len(run.calls) + 1
    for place in range(places):
        done = sum(count <= place for count in run.acknowledged)
        for _ in range((place + 1) * images // places - place * images // places):
            yield done, platter.after_a_cut(chance)
        if place < len(run.calls):
            platter.take(run.calls[place])


def lay_out(folder: Path, files: dict[str, bytes]) -> None:
    """Makes the folder hold these files and no others."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def look(folder: Path, open_journal: Callable[[Path], Journal] = open_sqlite) -> bytes | None:
    """The contents of a disk after a start on it; None where it is damaged."""
    try:
        with contextlib.closing(open_journal(folder)) as journal:
            found = contents(journal)
        with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection:
            sound: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    except (JournalError, sqlite3.Error, TypeError):  # A row may be damaged such that it has no data.
        return None
    return found if sound == "ok" else None


def cut_everywhere(folder: Path, run: Run, expected: Sequence[bytes], images: int, seed: int) -> Tally:
    """Starts on every disk of `cuts`, laid out in the folder one after the other.

    Args:
        expected: the contents before the first step and after each.
    """
    tally = Tally()
    for done, files in cuts(run, images, seed):
        lay_out(folder, files)
        tally = tally.with_one(look(folder), expected, done)
    return tally
