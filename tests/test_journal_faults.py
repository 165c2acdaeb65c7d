"""What a journal does when its disk fails, is full, or is held by somebody else; and what it asks of the disk."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self, cast

import pytest

from tests.crash import powercut
from tests.crash.powercut import Disk
from tests.journal_process import small_disk, traced, writer
from then.abc import Cell, Entry, Journal
from then.core.errors import JournalError, JournalFailed, JournalFull
from then.journals import opening
from then.journals.connection import connect
from then.journals.sqlite import SqliteJournal, open_sqlite

FULL, IOERR = 13, 10
"""Result codes of SQLite."""

STEPS = [step for step in powercut.workload(seed=5, transactions=30) if step is not powercut.RESTART]
EXPECTED = powercut.states(STEPS)


def pair(last: int, size_bytes: int) -> tuple[list[Entry], list[Cell]]:
    """A batch of two entries of this size, and a cell that says how far they go."""
    entries = [Entry(last + 1, bytes(size_bytes)), Entry(last + 2, bytes(size_bytes))]
    return entries, [Cell("meta", "last", b"%d" % (last + 2))]


def fill(journal: Journal, size_bytes: int) -> None:
    """Appends until the journal has had enough."""
    while journal.last < 10_000:
        journal.append(*pair(journal.last, size_bytes))


def seqs(folder: Path) -> list[int]:
    with closing(open_sqlite(folder, read_only=True)) as journal:
        return [entry.seq for entry in journal.read()]


# -- a failure at each call ---------------------------------------------------------


def run_on(disk: Disk, folder: Path) -> int:
    """Runs the steps until the journal gives up, checks how it does so, and counts the steps that returned."""
    try:
        journal = powercut.open_on(disk, folder)
    except JournalFull:
        journal = powercut.open_on(disk, folder)
    except JournalError:
        return 0
    done = 0
    with closing(journal):
        for step in STEPS:
            try:
                step.run(journal)
            except JournalFull:
                assert powercut.contents(journal) == EXPECTED[done], "something was written"
                step.run(journal)
            except JournalFailed as error:
                for _ in range(2):
                    with pytest.raises(JournalFailed, match=re.escape(str(error))):
                        journal.append([Entry(journal.last + 1, b"next")])
                break
            done += 1
    return done


def calls_of_a_sound_run(folder: Path) -> list[str]:
    disk = Disk()
    assert run_on(disk, folder) == len(STEPS)
    return disk.verbs


@pytest.mark.slow
def test_an_error_at_any_call_ends_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    ended = 0
    verbs = calls_of_a_sound_run(tmp_path / "sound")
    for place in range(len(verbs)):
        folder = tmp_path / "state"
        done = run_on(Disk(place, IOERR), folder)
        ended += done < len(STEPS)
        assert powercut.look(folder) in EXPECTED[done : done + 2], f"{verbs[place]}, call {place}"
        shutil.rmtree(folder)
    # Some calls are made after the last step, or need not succeed.
    assert ended > len(verbs) * 0.75


@pytest.mark.slow
def test_no_room_at_any_call_loses_nothing_and_the_same_call_goes_in_later(tmp_path: Path) -> None:
    verbs = calls_of_a_sound_run(tmp_path / "sound")
    for place, verb in enumerate(verbs):
        if verb == "write":
            folder = tmp_path / "state"
            assert run_on(Disk(place, FULL), folder) == len(STEPS), f"{verb}, call {place}"
            assert powercut.look(folder) == EXPECTED[-1]
            shutil.rmtree(folder)


def test_a_checkpoint_that_fails_is_told_by_the_next_append(tmp_path: Path) -> None:
    disk = Disk()
    with closing(powercut.open_on(disk, tmp_path)) as journal:
        disk.fail_next("sync", "journal.db")
        with pytest.raises(JournalFailed, match="a sync to the disk failed"):
            fill(journal, 100_000)
        assert 1 < journal.last < 900
    assert seqs(tmp_path) == list(range(1, journal.last + 1))


@pytest.mark.slow
def test_a_sync_that_the_kernel_refuses_ends_the_journal(tmp_path: Path) -> None:
    inject = ["-P", str(tmp_path / "journal.tail"), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=5"]
    printed, _ = traced(inject, tmp_path, count=10)
    *acknowledged, error, ready = printed.splitlines()
    assert ready == "ready"
    assert error == (
        f"JournalFailed journal {tmp_path}/journal.db: a write or sync of its tail failed (EIO);"
        " the engine stops here, nothing acknowledged is lost; mend the disk, then `andthen resume`"
    )
    assert acknowledged == [str(seq) for seq in range(1, len(acknowledged) + 1)]
    assert 0 < len(acknowledged) < 5
    assert set(map(int, acknowledged)) <= set(seqs(tmp_path))
    open_sqlite(tmp_path).close()


@pytest.mark.slow
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_kill_at_a_system_call_loses_nothing(tmp_path: Path, call: str) -> None:
    for place in range(1, 40, 4):
        folder = tmp_path / str(place)
        kill = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={place}"]
        printed, _ = traced(kill, folder, count=12)
        acknowledged = [int(line) for line in printed.splitlines() if line.isdecimal()]
        with closing(open_sqlite(folder)) as journal:
            found = [entry.seq for entry in journal.read()]
        assert found[: len(acknowledged)] == acknowledged
        assert found == list(range(1, len(found) + 1))
        assert len(found) <= len(acknowledged) + 1


# -- a full disk ----------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_full_disk_pauses_and_the_same_append_goes_in_when_there_is_room(
    tmp_path: Path, durability: opening.Durability
) -> None:
    with small_disk(tmp_path / "disk", 3000) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_500_000))
        with closing(open_sqlite(disk / "state", durability=durability)) as journal:
            with pytest.raises(JournalFull) as raised:
                fill(journal, 3000)
            seq = journal.last
            assert str(raised.value) == (
                f"journal {disk}/state/journal.db: no room left on the disk; nothing is taken up until there is"
            )
            for _ in range(3):
                with pytest.raises(JournalFull):
                    journal.append([Entry(seq + 1, bytes(2_000_000))])
            assert seq > 100
            assert journal.last == seq
            assert [entry.seq for entry in journal.read()] == list(range(1, seq + 1))
            assert dict(journal.cells("meta")) == {"last": b"%d" % seq}

            ballast.unlink()
            journal.append(*pair(seq, 3000))
            journal.append([Entry(seq + 3, b"one")])
        with closing(open_sqlite(disk / "state")) as journal:
            assert [entry.seq for entry in journal.read()] == list(range(1, seq + 4))
            assert dict(journal.cells("meta")) == {"last": b"%d" % (seq + 2)}


def test_a_full_disk_is_pruned_when_there_is_a_little_room_for_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20_000) as disk:
        (disk / "ballast").write_bytes(bytes(6_000_000))
        with closing(open_sqlite(disk / "state")) as journal:
            with pytest.raises(JournalFull):
                fill(journal, 3000)
            newest = journal.last
            (disk / "ballast").unlink()
            for begin in range(1, newest // 2, 100):
                journal.prune(range(begin, begin + 100))
            kept = [entry.seq for entry in journal.read()]
            assert kept == list(range(begin + 100, newest + 1))
            for _ in range(100):
                journal.append(*pair(journal.last, 3000))
            assert [entry.seq for entry in journal.read()] == [*kept, *range(newest + 1, newest + 201)]


def test_a_journal_closed_on_a_full_disk_keeps_no_file_open(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3000) as disk:  # Which could not be unmounted else.
        with closing(open_sqlite(disk / "state")) as journal:
            with pytest.raises(JournalFull):
                fill(journal, 3000)
            with pytest.raises(JournalFull):
                journal.append([Entry(journal.last + 1, bytes(2_000_000))])
        assert seqs(disk / "state") == list(range(1, journal.last + 1))


def test_a_state_that_finds_no_room_to_begin_with_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        (disk / "ballast").write_bytes(bytes(60 * 1024))
        with pytest.raises(JournalFull):
            open_sqlite(disk / "state")
        (disk / "ballast").unlink()
        open_sqlite(disk / "state").close()


# -- strangers at the file --------------------------------------------------------------


def open_impatient(folder: Path, durability: opening.Durability = "power") -> SqliteJournal:
    """A journal that does not wait for a stranger's lock at all."""

    def connect_impatient(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        connection.execute("PRAGMA busy_timeout = 0").fetchall()
        return connection

    schemas = opening.load_schemas()
    return SqliteJournal(folder, connect_impatient, schemas, durability=durability, read_only=False)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the journal in the folder `state`."""
    with closing(open_sqlite(tmp_path / "state")) as journal:
        journal.append([Entry(1, b"1")])
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None)) as connection:
        yield connection


def test_a_stranger_that_writes_for_too_long_ends_the_journal(tmp_path: Path, stranger: sqlite3.Connection) -> None:
    with closing(open_impatient(tmp_path / "state")) as journal:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalFailed, match=r"another program holds its write lock for more than 10 s"):
            journal.append([Entry(2, b"2")], [Cell("task", "a", b"1")])
        stranger.execute("ROLLBACK")
        with pytest.raises(JournalFailed, match=r"another program holds its write lock"):
            journal.append([Entry(2, b"2")])
    assert seqs(tmp_path / "state") == [1]


def test_a_stranger_that_writes_at_the_start_is_named(tmp_path: Path, stranger: sqlite3.Connection) -> None:
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match=r"another program holds its write lock for more than 10 s \(SQLITE_BUSY\)"):
        open_impatient(tmp_path / "state")


def test_a_stranger_that_wrote_between_two_entries_is_let_be(tmp_path: Path, stranger: sqlite3.Connection) -> None:
    with closing(open_sqlite(tmp_path / "state")) as journal:
        journal.append([Entry(2, b"2")])
        stranger.execute("INSERT INTO cell VALUES ('note', 'theirs', x'00')")
        journal.append([Entry(3, b"3")])
        journal.append([Entry(4, b"4")])
        assert dict(journal.cells("note")) == {"theirs": b"\0"}
    assert seqs(tmp_path / "state") == [1, 2, 3, 4]


def test_a_stranger_that_wrote_ends_the_journal(tmp_path: Path, stranger: sqlite3.Connection) -> None:
    with closing(open_sqlite(tmp_path / "state")) as journal:
        stranger.execute("INSERT INTO entry VALUES (2, x'00')")
        with pytest.raises(JournalFailed, match=r"UNIQUE constraint failed: entry.seq"):
            journal.append([Entry(2, b"2")], [Cell("task", "a", b"1")])


@pytest.mark.slow
def test_a_stranger_that_reads_for_long_holds_nothing_up(tmp_path: Path, stranger: sqlite3.Connection) -> None:
    state = tmp_path / "state"
    with closing(open_impatient(state, "process")) as journal:
        stranger.execute("BEGIN")
        assert stranger.execute("SELECT count(*) FROM entry").fetchone() == (1,)
        for seq in range(2, 3000):
            journal.append([Entry(seq, bytes(100))])
        journal.prune(range(1, 1000), [Cell("meta", "a", b"1")])
        assert stranger.execute("SELECT count(*) FROM entry").fetchone() == (1,)
        swollen = (state / "journal.db-wal").stat().st_size
        stranger.execute("COMMIT")
        for seq in range(3000, 5100):
            journal.append([Entry(seq, bytes(100))])
        assert (state / "journal.db-wal").stat().st_size < swollen + 6_000_000
    stranger.close()
    assert seqs(state) == list(range(1000, 5100))


# -- interrupts -----------------------------------------------------------------------------


class _Interrupted(sqlite3.Connection):
    """Its user presses Ctrl-C when the n-th statement has just been carried out."""

    statements_left = -1

    def cursor(self, *args: Any, **options: Any) -> Any:
        return _InterruptedCursor(self)


class _InterruptedCursor(sqlite3.Cursor):
    def execute(self, *args: Any) -> Self:
        super().execute(*args)
        connection = cast(_Interrupted, self.connection)
        connection.statements_left -= 1
        if connection.statements_left == 0:
            raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("statement", [1, 2])
@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_leaves_a_journal_that_knows_how_far_it_came(tmp_path: Path, statement: int, count: int) -> None:
    made: list[_Interrupted] = []

    def connect_interrupted(uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=_Interrupted)
        made.append(connection)
        return connection

    schemas = opening.load_schemas()
    with closing(SqliteJournal(tmp_path, connect_interrupted, schemas, durability="power", read_only=False)) as journal:
        journal.append([Entry(1, b"1")])
        made[-1].statements_left = statement
        went_in = 0
        try:
            journal.append([Entry(2 + more, b"2") for more in range(count)])
            went_in = count
        except KeyboardInterrupt:
            # One entry is one statement; of several, the second is COMMIT.
            went_in = count if count == 1 or statement == 2 else 0
        made[-1].statements_left = -1
        assert journal.last == 1 + went_in
        journal.append([Entry(journal.last + 1, b"next")])
        expected = list(range(1, journal.last + 1))
        assert [entry.seq for entry in journal.read()] == expected
    assert seqs(tmp_path) == expected


# -- what is asked of the disk -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("durability", "least", "most"), [("power", 2000, 2100), ("process", 1, 40)])
def test_a_commit_costs_one_sync_and_no_more(
    tmp_path: Path, durability: opening.Durability, least: int, most: int
) -> None:
    _, told = traced(["-c", "-e", "trace=fsync,fdatasync"], tmp_path, 2000, durability)
    counted = [
        int(calls) for calls in re.findall(r"^\s*\S+\s+\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?f\w*sync$", told, re.MULTILINE)
    ]
    assert least <= sum(counted) <= most


@pytest.mark.slow
def test_the_log_starts_over_and_keeps_small(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path, durability="process")) as journal:
        for seq in range(1, 6000):
            journal.append([Entry(seq, bytes(150))])
            if not seq % 100:
                next(journal.read(seq - 1))
        assert (tmp_path / "journal.db-wal").stat().st_size < 6_000_000
        journal.append([Entry(6000, bytes(40_000_000))])
        journal.append([Entry(6001, b"small")], [Cell("task", "a", b"1")])
        journal.append([Entry(6002, b"small")], [Cell("task", "a", b"2")])
        assert (tmp_path / "journal.db-wal").stat().st_size <= opening.LOG_BYTES_KEPT


@pytest.mark.slow
def test_a_start_puts_all_of_the_log_into_the_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with writer(state, 50) as process:
        process.kill()
        process.wait()
    with closing(open_sqlite(state)):
        (tmp_path / "alone").mkdir()
        shutil.copy(state / "journal.db", tmp_path / "alone")
    assert seqs(tmp_path / "alone") == list(range(1, 51))


@pytest.mark.slow
def test_pruning_gives_the_room_back(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path)) as journal:
        journal.append([Entry(seq, bytes(1000)) for seq in range(1, 10_001)])
        journal.prune([])
        whole = (tmp_path / "journal.db").stat().st_size
        assert whole > 10_000_000
        for begin in range(1, 9001, 3000):
            journal.prune(range(begin, begin + 3000))
        assert (tmp_path / "journal.db").stat().st_size < whole / 5
        assert (tmp_path / "journal.db-wal").stat().st_size == 0
    assert seqs(tmp_path) == list(range(9001, 10_001))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("size_bytes", [40, 700, 9000])
def test_what_was_pruned_is_in_no_file_any_more(tmp_path: Path, size_bytes: int) -> None:
    canary = b"the canary sings"
    with closing(open_sqlite(tmp_path)) as journal:
        for begin in range(1, 400, 20):
            journal.append([Entry(seq, canary + bytes(size_bytes)) for seq in range(begin, begin + 20)])
            journal.append([], [Cell("task", f"{begin}", canary + bytes(size_bytes))])
        journal.append([Entry(seq, b"kept" * 50) for seq in range(401, 500)])
        taken = [Cell("task", f"{begin}", None) for begin in range(1, 400, 20)]
        journal.prune(range(1, 401, 2), taken)
        journal.prune(range(2, 401, 2))
        for file in tmp_path.iterdir():
            if file.name != "journal.db-shm":
                assert canary not in file.read_bytes(), file.name
    assert seqs(tmp_path) == list(range(401, 500))
