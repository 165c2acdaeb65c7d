"""The tail of the journal: entries that are durable and not yet in SQLite.

A commit of SQLite costs several times what one write to a file costs. So
entries without cells are appended to a file of their own, `journal.tail`, and
go into `journal.db` many at a time: with the next cells, when the file is full,
when flows are pruned, at the close.

The mark `tail` in `journal.db` names the *generation* of the tail: the records
that bear it are those not moved yet. A move writes the next number in the same
transaction, and with that commit all records in the file are void; the next is
written over the first. So there is no moment between "moved" and "begun anew".
Every commit of SQLite is synced, in either durability: what overwrites the tail
may reach the disk at once.

A record may carry small files beside its entries (`then.journals.carried`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from then.abc import Entry
from then.core.errors import JournalError, JournalForeign, JournalTooNew
from then.journals import records
from then.journals.carried import Carried
from then.journals.connection import sync_folder
from then.journals.lock import boot_id
from then.journals.records import HEADER_BYTES, Header

FILE_NAME: Final = "journal.tail"
_DAMAGED: Final = "a damaged tail"


class TailFile:
    """The file, as the writer uses it: all calls that change it are here, so that storage may fail on purpose."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def create(self, data: bytes) -> None:
        """A new file with these bytes, open to be written."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.write(data, 0)

    def write(self, data: bytes, offset: int) -> None:
        assert self._descriptor is not None
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], offset + written)

    def sync(self) -> None:
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)

    def read(self, size_bytes: int, offset: int) -> bytes:
        assert self._descriptor is not None
        return os.pread(self._descriptor, size_bytes, offset)

    def reopen(self) -> None:
        """Opens the one that is there, to be written."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def load(self) -> bytes | None:
        """All of a file that is not open here; None where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Closes it and takes its name away. Twice is well."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Twice is well."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


OpenTail: TypeAlias = Callable[[Path], TailFile]


class Tail:
    """The writer's side.

    Args:
        generation: what the mark in `journal.db` says.
        carried: what goes along with the next append.
        is_synced: each append reaches the disk before it returns.
    """

    def __init__(self, file: TailFile, generation: int, carried: Carried, *, is_synced: bool) -> None:
        self._file = file
        self._carried = carried
        self.is_synced = is_synced
        self._header: Header | None = None
        self.generation = generation
        self.kept: list[Entry] = []
        """What is in the file and not in SQLite. Replaced, never emptied: a reader may hold it."""
        self._end = HEADER_BYTES

    def append(self, entries: Sequence[Entry]) -> bool:
        """Writes entries that follow; durable when it returns. False, and nothing is written, where they do not fit.

        Raises:
            OSError: what the disk says; they may be in the file, or a part, and count as not written.
        """
        header = self._header
        if header is None:
            header = self._begin()
        carried = self._carried.fresh()
        record = records.record_of(entries, self.generation, header.salt, carried)
        begin = self._end
        end = begin + len(record)
        if end > records.FILE_BYTES:
            return False
        try:
            self._file.write(record, begin)
            if self.is_synced:
                self._file.sync()
            self.kept += entries
            self._end = end
            if carried:
                self._carried.is_in_record(carried)
        except OSError:
            raise
        except BaseException:
            # An interrupt: find out whether it came before or after.
            if self._file.read(len(record), begin) == record:
                if self.is_synced:
                    self._file.sync()
                if not self.kept or self.kept[-1] is not entries[-1]:
                    self.kept += entries
                self._end = end
            raise
        return True

    def _begin(self) -> Header:
        """The file, with room for all it will hold: a later write finds no disk full, and a sync no new size to note."""
        header = records.new_header(is_synced=self.is_synced)
        try:
            self._file.remove()  # What an attempt before has left.
            self._file.create(records.header_bytes(header).ljust(records.FILE_BYTES, b"\0"))
            if self.is_synced:
                self._file.sync()
                sync_folder(self._file.path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.remove()
            raise
        self._header = header
        return header

    def take_over(self, header: Header | None) -> None:
        """Goes on in the file of an engine before, all of whose records are void; takes it away where it does not fit."""
        if header is None or not header.is_synced or not self.is_synced or header.boot != boot_id():
            self.remove()
        else:
            self._file.reopen()
            self._header = header

    def begin_anew(self, generation: int) -> None:
        """All that was kept is in SQLite, whose mark says so."""
        self.kept = []
        self.generation = generation
        self._end = HEADER_BYTES

    def remove(self) -> None:
        """Takes the file away, which holds nothing that counts; the next append makes another."""
        assert not self.kept
        self._header = None
        self._end = HEADER_BYTES
        self._file.remove()

    def close(self) -> None:
        self._file.close()


def check_identity(path: Path) -> None:
    """Refuses what is no tail of ours. Nothing where there is none.

    Raises:
        JournalForeign: it is another's.
        JournalTooNew: a later version wrote it.
        JournalError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise JournalForeign(str(path), "a folder") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_format(path, head)


def _check_format(path: Path, head: bytes) -> int:
    found = records.format_of(head)
    if found is None:
        raise JournalForeign(str(path), "not the tail of a journal")
    if found > records.FORMAT:
        raise JournalTooNew(str(path), found, records.FORMAT)
    return found


class Left(NamedTuple):
    """What an engine before has left."""

    entries: list[Entry]
    """Those that are not in SQLite yet."""
    header: Header | None
    """Of the file, if that was wholly made, and as it is made now: it has a record, and none is written before."""
    carried: list[bytes]
    """What their records carry."""
    is_after_a_cut: bool
    """Another run of the kernel has left it, or nobody knows which."""


def left_in(file: TailFile, generation: int, last: int) -> Left | None:
    """What an engine before has left there that is not in SQLite yet; None where there is no file.

    Args:
        generation: what the mark in `journal.db` says.
        last: the newest seq there.

    Raises:
        JournalForeign: it is damaged, or does not belong to this `journal.db`.
    """
    try:
        data = file.load()
    except OSError as error:
        raise _unreadable(file.path, error) from error
    if data is None:
        return None
    found_format = _check_format(file.path, data)
    if not found_format:
        # The power went before the header was on the disk, and so before anything was acknowledged.
        return Left([], None, [], is_after_a_cut=True)
    header = records.header_of(data)
    is_same_boot = header.boot == boot_id() != ""
    entries: list[Entry] = []
    carried: list[bytes] = []
    end = HEADER_BYTES
    while True:
        found = records.record_at(data, end, header.salt)
        if found is None or found.generation < generation:
            break
        if found.generation > generation:
            raise JournalForeign(str(file.path), "a tail that goes on where a later journal.db ends")
        expected = (entries[-1].seq if entries else last) + 1
        if found.entries[0].seq != expected:
            raise JournalForeign(
                str(file.path), f"{_DAMAGED} (entry {found.entries[0].seq} where {expected} must follow)"
            )
        entries += found.entries
        end = found.end
        if found.carried:
            carried.append(found.carried)
    # A loss of power may tear what was not synced anywhere; what was, and what only a kill came after, at its end alone.
    is_whole = header.is_synced or is_same_boot
    if is_whole and records.is_beyond(data, end, header.salt, generation):
        raise JournalForeign(str(file.path), _DAMAGED)
    is_made = len(data) == records.FILE_BYTES and records.record_at(data, HEADER_BYTES, header.salt) is not None
    is_ours = is_made and found_format == records.FORMAT
    return Left(entries, header if is_ours else None, carried, is_after_a_cut=not is_same_boot)


class View(NamedTuple):
    """The tail at one moment, as somebody else reads it."""

    generation: int
    entries: list[Entry]


_NOTHING: Final = View(-1, [])


class TailReader:
    """The reader's side, beside a running engine or after it. It keeps no file open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._header: Header | None = None
        self._first = b""
        self._generation = -1
        self._entries: list[Entry] = []
        self._end = HEADER_BYTES

    def look(self) -> View:
        """What is durable there. It counts where the mark in `journal.db`, read after this, names its generation.

        Raises:
            JournalForeign, JournalTooNew, JournalError: it cannot be read.
        """
        with self._lock:
            seen = self._look()
            # A copy, since another thread may read on.
            return View(seen.generation, seen.entries[:])

    def _look(self) -> View:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._forget()
            return _NOTHING
        except OSError as error:
            raise _unreadable(self._path, error) from error
        try:
            return self._look_at(descriptor)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        finally:
            os.close(descriptor)

    def _look_at(self, descriptor: int) -> View:
        head = os.pread(descriptor, HEADER_BYTES + records.RECORD_BYTES, 0)
        if not _check_format(self._path, head):
            self._forget()
            return _NOTHING
        first = head[HEADER_BYTES:]
        header = records.header_of(head)
        if header != self._header or first != self._first:
            self._forget()
            self._header, self._first = header, first
        known = len(self._entries)
        self._read_on(descriptor, header.salt)
        if header.is_synced and len(self._entries) > known:
            # Its writer may be about to sync it, or have died before it could.
            os.fdatasync(descriptor)
        return View(self._generation, self._entries)

    def _read_on(self, descriptor: int, salt: int) -> None:
        if not records.is_head(os.pread(descriptor, records.RECORD_BYTES, self._end)):
            return
        base = self._end
        data = os.pread(descriptor, records.FILE_BYTES - base, base)
        while True:
            found = records.record_at(data, self._end - base, salt)
            if found is None or not self._follows(found):
                return
            self._generation = found.generation
            self._entries += found.entries
            self._end = base + found.end

    def _follows(self, found: records.Found) -> bool:
        if not self._entries:
            return True
        return found.generation == self._generation and found.entries[0].seq == self._entries[-1].seq + 1

    def _forget(self) -> None:
        self._header, self._first, self._generation = None, b"", -1
        self._entries, self._end = [], HEADER_BYTES


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(f"journal {path}: cannot be read ({error.strerror})")
