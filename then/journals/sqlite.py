"""A journal in an SQLite file, `journal.db` in the state folder.

Theory of operation. One connection writes; another reads, a page at a time
(`then.journals.pages`), so that readers in any thread see only what is durable
and hold nothing up. The file is in WAL mode: a commit appends pages to a log,
and now and then a checkpoint copies the log into the file. Before SQLite stands
the tail (`then.journals.tail`), a file to which small appends without cells go.

1. What `append` has returned from is in the tail or the log, and synced; in
   `process` the tail is not. All that is written to SQLite is written in one
   transaction with what the tail holds, so that the order of both is one.
2. A failed write or sync ends the object. SQLite would go on, but the kernel
   reports a failed sync once and then calls the lost pages clean.
3. For the same reason a start copies what it finds in the log into the file
   and syncs that: pages that only the kernel still remembers are written anew.
4. No room is no failure: the transaction is rolled back, and the log's space
   is won back by a checkpoint where that can be, so that a later try may fit.
5. Checkpoints are made here and not by SQLite, which swallows their errors, and
   by the writer's connection alone: SQLite before 3.51.3 may damage a file
   when one connection commits while another checkpoints
   (https://sqlite.org/wal.html#walresetbug).
6. What the tail carries of small files (`then.journals.carried`) is on the disk
   before a transaction makes it void.
7. Checkpoints and the return of room come after the commit. If one fails, the
   call has succeeded all the same, and the next one says what happened.

The lock on the folder, not SQLite's, keeps a second engine out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from then.abc import Cell, Entry
from then.core.errors import JournalError, JournalFailed, JournalForeign, JournalFull
from then.journals import opening
from then.journals.batch import Cells, cells_of, out_of_order, rows_of, runs_of
from then.journals.carried import Carried, OpenCarried
from then.journals.connection import DAMAGED, Connect, connect, is_busy, is_full, reason_of
from then.journals.lock import StateLock
from then.journals.opening import Durability
from then.journals.pages import Pages
from then.journals.tail import FILE_NAME as TAIL_NAME
from then.journals.tail import OpenTail, Tail, TailFile, TailReader, left_in
from then.journals.tail import check_identity as check_tail

CHECKPOINT_PAGES: Final = 1000
"""Pages in the log, about 4 MB, at which it is copied into the file: three syncs for so many commits."""
VACUUM_PAGES: Final = 500
"""Free pages given back in one transaction, about 2 MB: no reader waits long, no log swells."""
TAIL_APPEND_BYTES: Final = 64 * 1024
"""A larger append goes to SQLite at once: it would be written twice, and one commit is little beside it."""
SEQ_MAX: Final = 2**63 - 1

_INSERT: Final = "INSERT INTO entry VALUES (?, ?)"
_PUT: Final = "INSERT INTO cell VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data"
_DROP: Final = "DELETE FROM cell WHERE kind = ? AND key = ?"
_PRUNE: Final = "DELETE FROM entry WHERE seq BETWEEN ? AND ?"
_MARK: Final = "INSERT INTO mark VALUES ('last', ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_LAST: Final = (
    "SELECT max(ifnull((SELECT max(seq) FROM entry), 0), ifnull((SELECT value FROM mark WHERE name = 'last'), 0))"
)
_GENERATION: Final = "SELECT ifnull((SELECT value FROM mark WHERE name = 'tail'), 0)"
_TURN: Final = "UPDATE mark SET value = ? WHERE name = 'tail'"
_READ: Final = "SELECT seq, data FROM entry WHERE seq > ? AND seq <= ? ORDER BY seq"
_CELLS: Final = "SELECT key, data FROM cell WHERE kind = ? AND key >= ? ORDER BY key"
_CELLS_BELOW: Final = "SELECT key, data FROM cell WHERE kind = ? AND key >= ? AND key < ? ORDER BY key"


def open_sqlite(folder: Path, *, durability: Durability = "power", read_only: bool = False) -> SqliteJournal:
    """The journal of a state folder; made, or led to the newest schema, where it is opened for writing.

    Args:
        folder: the state folder; made with mode 0700 where it is missing.
        durability: `power` syncs each commit; `process` leaves that to the system, so that the last
            commits may be lost with the machine, never with the process.
        read_only: takes no lock and makes no file; for readers beside a running engine, or after it.

    Raises:
        ConfigError: `read_only`, and the folder holds no journal.
        JournalLocked: another engine has it open.
        JournalForeign, JournalTooNew: what is there is not for us; it is left as it was.
        JournalFull: no room to make or open it.
        JournalError: it cannot be opened.
    """
    return SqliteJournal(folder, connect, opening.load_schemas(), durability=durability, read_only=read_only)


class SqliteJournal:
    """Entries and cells in SQLite; the seam is `then.abc.Journal`.

    Writes are made by one thread at a time, which the caller sees to; reads by any.

    Args:
        connect: makes the connections.
        open_tail: makes what writes `journal.tail`.
        open_carried: makes what syncs the files that go along with appends.
        schemas: the steps of the schema, the oldest first.
    """

    def __init__(
        self,
        folder: Path,
        connect: Connect,
        schemas: Sequence[str],
        *,
        durability: Durability,
        read_only: bool,
        open_tail: OpenTail = TailFile,
        open_carried: OpenCarried = Carried,
    ) -> None:
        self._pid = os.getpid()
        self._refusal: JournalError | None = None
        self._is_closed = False
        self._pages_logged = 0
        self._tail: Tail | None = None
        self._carried = open_carried(folder)
        with contextlib.ExitStack() as undo:
            if read_only:
                self._path = opening.find(folder)
                schema = self._identify(undo, connect, len(schemas))
                if schema < len(schemas):
                    raise JournalError(
                        f"journal {self._path} has schema {schema}, this andthen reads {len(schemas)};"
                        " `andthen resume` leads it there"
                    )
                self._writer: sqlite3.Connection | None = None
                self._refusal = JournalError(f"journal {self._path}: opened for reading only")
            else:
                self._path = folder / opening.FILE_NAME
                self._open_to_write(undo, folder, connect, schemas, durability, open_tail)
            undo.pop_all()

    def _identify(self, undo: contextlib.ExitStack, connect: Connect, known: int) -> int:
        opening.check_owner(self._path, connect)
        tail_path = self._path.with_name(TAIL_NAME)
        check_tail(tail_path)
        self._tail_reader = TailReader(tail_path)
        self._pages = Pages(self._path, connect)
        undo.callback(self._pages.close)
        return opening.check_identity(self._pages, self._path, known)

    def _open_to_write(
        self,
        undo: contextlib.ExitStack,
        folder: Path,
        connect: Connect,
        schemas: Sequence[str],
        durability: Durability,
        open_tail: OpenTail,
    ) -> None:
        opening.make_folder(folder)
        if self._path.exists():
            # Before the lock file is made: a foreign folder stays as it was.
            with contextlib.ExitStack() as look:
                self._identify(look, connect, len(schemas))
        self._lock = StateLock(folder)
        undo.callback(self._lock.release)
        if not self._path.exists():
            opening.create(self._path, connect, schemas)
        schema = self._identify(undo, connect, len(schemas))
        self._writer = opening.connect_writer(self._path, connect, durability)
        undo.callback(self._writer.close)
        if schema < len(schemas):
            opening.migrate(self._writer, self._path, schema, schemas)
        self._cursor = self._writer.cursor()
        undo.callback(self._cursor.close)
        self._execute = self._cursor.execute
        with opening.on_disk(self._path):
            self._last: int = self._one(_LAST)
            generation = self._one(_GENERATION)
            if not generation:
                raise JournalForeign(str(self._path), DAMAGED)
            file = open_tail(self._path.with_name(TAIL_NAME))
            self._tail = Tail(file, generation, self._carried, is_synced=durability == "power")
            undo.callback(self._tail.close)
            left = left_in(file, generation, self._last)
            if left is not None:
                self._carried.put_back(left.carried, is_after_a_cut=left.is_after_a_cut)
        if left is not None:
            self._tail.kept = left.entries
            try:
                self._write([], cells_of(()), [], must_turn=True)
            except JournalFull:
                # A checkpoint was made, and the log may have room.
                self._write([], cells_of(()), [], must_turn=True)
        # Whatever is in the log; and until it is in the file, the tail stays as well.
        self._checkpoint()
        if self._refusal is not None:
            self._refuse()
        if left is not None:
            with opening.on_disk(self._path):
                self._tail.take_over(left.header)

    @property
    def last(self) -> int:
        if self._writer is not None:
            return self._last
        self._check_process()
        unmoved = self._unmoved()
        return max(int(self._pages.rows(_LAST)[0][0]), unmoved[-1].seq if unmoved else 0)

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        if self._refusal is not None or not self._lock.is_held:  # A system call for the pid would cost more.
            self._refuse()
        if len(entries) == 1 and not cells:
            entry = entries[0]
            if entry.seq != self._last + 1:
                raise out_of_order(entry.seq, self._last + 1)
            if len(entry.data) > TAIL_APPEND_BYTES or not self._append_to_tail(entries):
                self._write([(entry.seq, entry.data)], cells_of(()), [])
            return
        rows = rows_of(entries, self._last)
        changes = cells_of(cells)
        if not rows and not changes.puts and not changes.drops:
            return
        is_small = not changes.puts and not changes.drops and sum([len(row[1]) for row in rows]) <= TAIL_APPEND_BYTES
        if not is_small or not self._append_to_tail(entries):
            self._write(rows, changes, [])

    def carry(self, files: Mapping[str, bytes]) -> bool:
        return self._tail is not None and self._tail.is_synced and self._carried.add(files)

    def _append_to_tail(self, entries: Sequence[Entry]) -> bool:
        """False where there is no room for them in the tail as it is."""
        tail = self._tail
        assert tail is not None
        try:
            if not tail.append(entries):
                return False
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JournalFull(str(self._path)) from error
            raise self._fail(error) from error
        except BaseException:
            if tail.kept:
                self._last = tail.kept[-1].seq
            raise
        self._last += len(entries)
        return True

    def _unmoved(self) -> Sequence[Entry]:
        """Entries of the tail. What the file is asked for after this has those that were moved meanwhile.

        A copy: what is appended later may follow entries that went to SQLite after that was asked.
        """
        if self._tail is not None:
            return self._tail.kept[:]
        found = self._tail_reader.look()
        if found.entries and self._pages.rows(_GENERATION)[0][0] == found.generation:
            return found.entries
        return ()

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        newest = SEQ_MAX if upto is None else upto
        while True:
            self._check_process()
            unmoved = self._unmoved()
            page = self._pages.page(_READ, (after, newest))
            if page:
                for seq, data in page:
                    yield Entry(seq, data)
                self._check_ascent(after, page[-1][0])
                after = page[-1][0]
                continue
            if not unmoved or unmoved[-1].seq <= after:
                return
            for entry in unmoved[max(0, after + 1 - unmoved[0].seq) :]:
                if entry.seq > newest:
                    return
                yield entry
                after = entry.seq

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        begin, bound = prefix, _after_all(prefix)
        sql, end = (_CELLS, ()) if bound is None else (_CELLS_BELOW, (bound,))
        while True:
            self._check_process()
            page = self._pages.page(sql, (kind, begin, *end))
            yield from page
            if not page:
                return
            self._check_ascent(begin, page[-1][0] + "\0")
            begin = page[-1][0] + "\0"  # The least text after that key.

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        if self._refusal is not None or not self._lock.is_held:
            self._refuse()
        self._write([], cells_of(cells), runs_of(seqs))
        assert self._tail is not None
        try:
            # What was pruned may stand there still.
            self._tail.remove()
        except OSError as error:
            self._fail(error)
        self._give_back()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if os.getpid() != self._pid:
            return  # A forked child leaves its parent's files alone.
        self._pages.close()
        if self._writer is not None:
            if self._refusal is None:
                self._move_all()
                self._carried.close()
                # Closing does it too, but not while somebody reads.
                self._checkpoint()
            if self._tail is not None:
                self._tail.close()
            with contextlib.suppress(sqlite3.Error):
                self._cursor.close()  # A statement that an error cut short would keep the files open.
                self._writer.close()
            self._lock.release()
        self._refusal = JournalError(f"journal {self._path}: closed")

    def _check_ascent(self, begin: Any, end: Any) -> None:
        # The pages of a damaged file may lead back to where they began, for ever.
        if not begin < end:
            raise JournalForeign(str(self._path), DAMAGED)

    def _move_all(self) -> None:
        """Leaves no tail, where that can be; else the next start moves what is in it."""
        assert self._tail is not None
        try:
            self._write([], cells_of(()), [])
            self._tail.remove()
        except (JournalError, OSError):
            pass

    def _write(
        self,
        rows: list[tuple[int, bytes]],
        cells: Cells,
        pruned: list[tuple[int, int]],
        *,
        must_turn: bool = False,
    ) -> None:
        """One transaction, of the tail and what is given here: all of it, or an error and nothing.

        Args:
            must_turn: the tail begins anew even where nothing is in it.
        """
        tail = self._tail
        assert tail is not None
        # A bytearray is bound as it is; for bytes sqlite3 asks for an adapter, which takes as long as the insert.
        moved = [(entry.seq, bytearray(entry.data)) for entry in tail.kept]
        if not (moved or rows or cells.puts or cells.drops or pruned or must_turn):
            return
        last = rows[-1][0] if rows else moved[-1][0] if moved else self._last
        generation = tail.generation + (1 if moved or must_turn else 0)
        self._carried.settle()
        many = self._cursor.executemany
        try:
            self._execute("BEGIN IMMEDIATE")
            if moved:
                many(_INSERT, moved)
            if rows:
                many(_INSERT, rows)
            if pruned:
                many(_PRUNE, pruned)
                self._execute(_MARK, (last,))
            if cells.puts:
                many(_PUT, ((kind, key, bytearray(data)) for kind, key, data in cells.puts))
            if cells.drops:
                many(_DROP, cells.drops)
            if generation != tail.generation:
                self._execute(_TURN, (generation,))
            self._execute("COMMIT")
            if generation != tail.generation:
                tail.begin_anew(generation)
            self._last = last
        except sqlite3.Error as error:
            raise self._undone(error) from error
        except BaseException:
            self._roll_back()
            raise
        size_bytes = sum([len(row[1]) for row in moved]) + sum([len(row[1]) for row in rows])
        size_bytes += sum([len(put[2]) for put in cells.puts])
        # A cell that is touched may lie on a page of its own.
        self._pages_logged += 1 + (size_bytes >> 12) + (len(cells.puts) + len(cells.drops) >> 2) + len(pruned)
        if self._pages_logged >= CHECKPOINT_PAGES:
            self._checkpoint()

    def _one(self, sql: str) -> int:
        return int(self._execute(sql).fetchall()[0][0])

    def _undone(self, error: sqlite3.Error) -> JournalError:
        """What the caller is to be told of a batch that did not go in; rolled back, or this object is done for."""
        if not is_full(error):
            return self._fail(error)
        if not self._roll_back():
            assert self._refusal is not None
            return self._refusal
        self._checkpoint()
        return JournalFull(str(self._path))

    def _roll_back(self) -> bool:
        """Takes back what was cut short, and finds out anew how far the journal came; False where it cannot."""
        assert self._writer is not None
        assert self._tail is not None
        try:
            if self._writer.in_transaction:
                self._execute("ROLLBACK")
            generation = self._one(_GENERATION)
            if generation != self._tail.generation:
                self._tail.begin_anew(generation)
            kept = self._tail.kept
            self._last = kept[-1].seq if kept else self._one(_LAST)
        except sqlite3.Error as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: BaseException) -> JournalFailed:
        failed = JournalFailed(str(self._path), reason_of(error))
        self._refusal = failed
        return failed

    def _refuse(self) -> None:
        self._check_process()
        if isinstance(self._refusal, JournalFailed):
            raise JournalFailed(self._refusal.place, self._refusal.reason)
        assert self._refusal is not None
        raise JournalError(*self._refusal.args)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise JournalError(
                f"journal {self._path}: opened by process {self._pid} and used in its fork {os.getpid()};"
                " open it after the fork"
            )

    def _checkpoint(self, how: Literal["PASSIVE", "TRUNCATE"] = "PASSIVE") -> None:
        """Copies the log into the file. What readers or lack of room keep in the log goes the next time."""
        self._pages_logged = 0
        try:
            self._execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        except sqlite3.Error as error:
            if not is_full(error) and not is_busy(error):
                self._fail(error)

    def _give_back(self) -> None:
        """Shrinks the file by its free pages, in short transactions; what was pruned leaves the log as well."""
        assert self._writer is not None
        try:
            free = self._execute("PRAGMA freelist_count").fetchall()[0][0]
            for _ in range(0, free, VACUUM_PAGES):
                self._writer.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            # Only here would a checkpoint wait for readers.
            patience_ms = self._execute("PRAGMA busy_timeout").fetchall()[0][0]
            self._execute("PRAGMA busy_timeout = 0").fetchall()
            self._checkpoint("TRUNCATE")
            self._execute(f"PRAGMA busy_timeout = {patience_ms}").fetchall()
        except sqlite3.Error as error:
            if not is_full(error):
                self._fail(error)


def _after_all(prefix: str) -> str | None:
    """The least text that comes after every text that begins so; None where none does.

    SQLite compares UTF-8 bytes, Python code points; for valid text the order is the same.
    """
    for end in range(len(prefix), 0, -1):
        point = ord(prefix[end - 1]) + 1
        if point <= 0x10FFFF:
            # Surrogates are no text.
            return prefix[: end - 1] + chr(0xE000 if point == 0xD800 else point)
    return None
