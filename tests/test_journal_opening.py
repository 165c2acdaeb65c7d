"""Opening a journal: what is made, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.journal_process import remount, small_disk, writer
from then.abc import Cell, Entry
from then.core.errors import (
    ConfigError,
    JournalError,
    JournalForeign,
    JournalLocked,
    JournalTooNew,
    ThenError,
)
from then.journals import opening
from then.journals.connection import connect
from then.journals.sqlite import SqliteJournal, open_sqlite


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a journal of three entries and a cell, closed."""
    folder = tmp_path / "state"
    with closing(open_sqlite(folder)) as journal:
        journal.append([Entry(seq, b"fact %d" % seq) for seq in (1, 2, 3)], [Cell("task", "a", b"1")])
    return folder


def seqs(folder: Path, *, read_only: bool = True) -> list[int]:
    with closing(open_sqlite(folder, read_only=read_only)) as journal:
        return [entry.seq for entry in journal.read()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.iterdir())}


def refusal(folder: Path, *, read_only: bool = False) -> ThenError:
    with pytest.raises(ThenError) as raised:
        open_sqlite(folder, read_only=read_only).close()
    return raised.value


# -- what is made ----------------------------------------------------------------


def test_a_new_state_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "state"
    with closing(open_sqlite(folder)) as journal:
        journal.append([Entry(1, b"1")])
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes.pop("state") == 0o700
    assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm", "journal.tail", "lock"), 0o600)


def test_a_closed_journal_is_one_file_and_the_lock(state: Path) -> None:
    assert sorted(files(state)) == ["journal.db", "lock"]


def test_the_file_says_whose_it_is_and_how_it_is_kept(state: Path) -> None:
    with closing(sqlite3.connect(state / "journal.db")) as connection:
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode", "auto_vacuum")
        }
    assert found == {
        "application_id": int.from_bytes(b"then"),
        "user_version": len(opening.load_schemas()),
        "journal_mode": "wal",
        "auto_vacuum": 2,
    }


@pytest.mark.parametrize("durability", ["power", "process"])
def test_sqlite_syncs_each_commit_in_either_durability(tmp_path: Path, durability: opening.Durability) -> None:
    path = tmp_path / "journal.db"
    opening.create(path, connect, opening.load_schemas())
    with closing(opening.connect_writer(path, connect, durability)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_what_a_broken_start_left_is_swept_away(tmp_path: Path) -> None:
    for name in ("journal.db.new", "journal.db.new-journal", "journal.db.new-wal"):
        (tmp_path / name).write_bytes(b"half of a journal")
    with closing(open_sqlite(tmp_path)) as journal:
        journal.append([Entry(1, b"1")])
    assert sorted(files(tmp_path)) == ["journal.db", "lock"]


def test_a_seq_is_not_given_again_by_a_later_engine(state: Path) -> None:
    with closing(open_sqlite(state)) as journal:
        journal.prune([2, 3])
    with closing(open_sqlite(state, read_only=True)) as reader:
        assert reader.last == 3
    with closing(open_sqlite(state)) as journal:
        assert journal.last == 3
        journal.append([Entry(4, b"4")])
    assert seqs(state) == [1, 4]


def test_a_path_may_hold_what_means_something_in_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "50% off? #1 & männer"
    open_sqlite(folder).close()
    assert "journal.db" in files(folder)


# -- what is refused ---------------------------------------------------------------


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at as if it were one\n" * 20)


def _noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(20_000))


def _folder(path: Path) -> None:
    path.mkdir()


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA application_id = 77; CREATE TABLE entry (seq, data)")


def _of_another_application_in_use(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        left = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-wal", "-shm")}
    for name, data in left.items():
        Path(f"{path}{name}").write_bytes(data)


def _cut_in_half(path: Path) -> None:
    with closing(open_sqlite(path.parent)) as journal:
        journal.append([Entry(seq, bytes(500)) for seq in range(1, 200)])
    (path.parent / "lock").unlink()
    os.truncate(path, path.stat().st_size // 2)


def _cut_to_a_header(path: Path) -> None:
    open_sqlite(path.parent).close()
    (path.parent / "lock").unlink()
    os.truncate(path, 90)


def _of_a_later_version(path: Path) -> None:
    open_sqlite(path.parent).close()
    (path.parent / "lock").unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")


def _without_its_tables(path: Path) -> None:
    _of_a_later_version(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA user_version = 1; DROP TABLE cell; DROP TABLE mark")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (_text, JournalForeign, "not an SQLite database, no journal of andthen; nothing was changed"),
        (_noise, JournalForeign, "not an SQLite database"),
        (_nothing, JournalForeign, "an empty file"),
        (_of_another_application, JournalForeign, "a database of another application"),
        (_of_another_application_in_use, JournalForeign, "a database of another application"),
        (_cut_in_half, JournalForeign, "a damaged SQLite database"),
        (_cut_to_a_header, JournalForeign, "a damaged SQLite database"),
        (_without_its_tables, JournalForeign, "a damaged SQLite database (it lacks cell, mark)"),
        (_of_a_later_version, JournalTooNew, "has schema 7, this andthen knows 2; use a later andthen"),
        (_folder, JournalForeign, "a folder"),
    ],
)
def test_a_file_that_is_not_for_us_is_refused_and_left_as_it_was(
    tmp_path: Path, make: Callable[[Path], None], kind: type[ThenError], text: str, read_only: bool
) -> None:
    make(tmp_path / "journal.db")
    before = files(tmp_path)
    error = refusal(tmp_path, read_only=read_only)
    assert type(error) is kind
    assert str(tmp_path / "journal.db") in str(error)
    assert text in str(error)
    assert files(tmp_path) == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_at_the_place_of_the_folder_is_refused(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "state").write_text("a file")
    for folder in (tmp_path / "state", tmp_path / "state" / "below"):
        error = refusal(folder, read_only=read_only)
        assert isinstance(error, JournalForeign if folder.name == "state" or not read_only else ConfigError)
    assert files(tmp_path) == {"state": b"a file"}


@pytest.mark.slow
def test_a_log_or_tail_without_its_journal_is_not_read_into_a_new_one(state: Path) -> None:
    with writer(state, 5) as process:
        process.kill()
        process.wait()
    (state / "journal.db").unlink()
    assert "journal.tail: a tail whose journal.db is gone" in str(refusal(state))
    (state / "journal.db-wal").write_bytes(bytes(100))
    assert "journal.db-wal: a log whose journal.db is gone" in str(refusal(state))
    assert "journal.db" not in files(state)


def test_damage_inside_is_an_error_that_says_so(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path)) as journal:
        journal.append([Entry(seq, bytes(500)) for seq in range(1, 400)])
    chance = random.Random(1)
    whole = (tmp_path / "journal.db").read_bytes()
    told = 0
    for _ in range(60):
        damaged = bytearray(whole)
        page = chance.randrange(1, len(whole) // 4096)
        damaged[page * 4096 : page * 4096 + 200] = chance.randbytes(200)
        (tmp_path / "journal.db").write_bytes(damaged)
        try:
            seqs(tmp_path)
        except JournalError:
            told += 1
    assert told > 40


def test_a_file_system_without_a_log_is_refused(tmp_path: Path) -> None:
    def connect_elsewhere(uri: str) -> sqlite3.Connection:
        # SQLite's VFS without shared memory, as for network file systems.
        return sqlite3.connect(uri.replace("?", "?vfs=unix-none&"), uri=True, isolation_level=None)

    with pytest.raises(JournalError, match='keeps journal_mode "delete" here, "wal" is needed; give --state'):
        SqliteJournal(tmp_path, connect_elsewhere, opening.load_schemas(), durability="power", read_only=False)


def test_an_sqlite_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    assert str(refusal(tmp_path)) == "SQLite 3.34.1: 3.37 or later is needed; use a Python built with one"


# -- one engine to a state -----------------------------------------------------------


def test_a_second_engine_is_refused_and_told_who_is_there(state: Path) -> None:
    with closing(open_sqlite(state)) as journal:
        error = refusal(state)
        assert isinstance(error, JournalLocked)
        assert error.holder == f"pid {os.getpid()}"
        assert str(error).startswith(f"{state}: another engine (pid {os.getpid()}) holds this state; ")
        journal.append([Entry(4, b"4")])
    assert seqs(state, read_only=False) == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_second_engine_is_refused_across_processes_and_let_in_after_a_kill(state: Path) -> None:
    with writer(state, 2) as process:
        error = refusal(state)
        assert isinstance(error, JournalLocked)
        assert error.holder == f"pid {process.pid}"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert seqs(state, read_only=False) == [1, 2, 3, 4, 5]


def test_a_lock_file_that_says_nothing_locks_all_the_same(state: Path) -> None:
    with closing(open_sqlite(state)):
        (state / "lock").write_bytes(b"")
        assert "its pid is not known" in str(refusal(state))


def test_a_program_that_was_started_does_not_hold_the_lock(state: Path) -> None:
    journal = open_sqlite(state)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        journal.close()
        assert seqs(state, read_only=False) == [1, 2, 3]
        child.kill()


# Python 3.12 warns of any fork while another test's thread is about.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_neither_uses_nor_holds_nor_frees_its_parents_journal(state: Path) -> None:
    journal = open_sqlite(state)
    told, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        texts = []
        for use in (
            lambda: journal.append([Entry(4, b"4")]),
            lambda: journal.prune([1]),
            lambda: list(journal.read()),
            lambda: list(journal.cells("task")),
        ):
            try:
                use()
            except JournalError as error:
                texts.append(str(error))
        journal.close()
        os.write(tell, "\n".join(texts).encode())
        os.close(tell)
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    os.close(tell)
    with open(told, encoding="utf-8") as pipe:
        texts = pipe.read().splitlines()
    expected = f"opened by process {os.getpid()} and used in its fork {child}; open it after the fork"
    assert len(texts) == 4
    assert all(expected in text for text in texts)
    assert isinstance(refusal(state), JournalLocked), "the child let the lock go"
    journal.append([Entry(4, b"4")])
    journal.close()
    assert seqs(state, read_only=False) == [1, 2, 3, 4], "the child held on to the lock"
    os.close(go)
    os.waitpid(child, 0)
    os.close(wait)


# -- readers -----------------------------------------------------------------------------


def test_a_reader_of_nothing_is_told_so_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        error = refusal(folder, read_only=True)
        assert isinstance(error, ConfigError)
        assert str(error) == f"{folder}: holds no journal; `andthen run` makes one, --state names another folder"
    assert files(tmp_path) == {"empty": b""}
    assert files(tmp_path / "empty") == {}


def test_a_reader_of_a_closed_journal_makes_and_changes_nothing(state: Path) -> None:
    before = files(state)
    with closing(open_sqlite(state, read_only=True)) as journal:
        assert journal.last == 3
        assert [entry.seq for entry in journal.read()] == [1, 2, 3]
        assert list(journal.cells("task")) == [("a", b"1")]
        assert files(state) == before
    assert files(state) == before


def test_a_reader_cannot_write(state: Path) -> None:
    with closing(open_sqlite(state, read_only=True)) as journal:
        with pytest.raises(JournalError, match="opened for reading only"):
            journal.append([Entry(4, b"4")])
        with pytest.raises(JournalError, match="opened for reading only"):
            journal.prune([1])


def test_a_reader_follows_engines_as_they_come_and_go(state: Path) -> None:
    # It reads the file alone, then beside a log, then the file alone again.
    with closing(open_sqlite(state, read_only=True)) as reader:
        assert reader.last == 3
        for round_ in range(3):
            with closing(open_sqlite(state)) as journal:
                assert reader.last == 3 + 2 * round_
                journal.append([Entry(4 + 2 * round_, b"x")])
                assert reader.last == 4 + 2 * round_
                journal.append([Entry(5 + 2 * round_, b"x")])
                assert [entry.seq for entry in reader.read(3 + 2 * round_)] == [4 + 2 * round_, 5 + 2 * round_]
            assert reader.last == 5 + 2 * round_
    assert seqs(state) == list(range(1, 10))


@pytest.mark.slow
def test_a_reader_sees_what_a_killed_engine_has_acknowledged(state: Path) -> None:
    with writer(state, 100) as process:
        assert seqs(state) == list(range(1, 104))
        process.kill()
        process.wait()
    before = sorted(files(state))
    assert before == ["journal.db", "journal.db-shm", "journal.db-wal", "journal.tail", "lock"]
    assert seqs(state) == list(range(1, 104))
    assert sorted(files(state)) == before


@pytest.mark.slow
def test_a_reader_needs_no_right_to_write(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        with closing(open_sqlite(disk / "closed")) as journal:
            journal.append([Entry(1, b"1")])
        with writer(disk / "killed", 5) as process:
            process.kill()
            process.wait()
        remount(disk, "ro")
        before = files(disk / "closed"), files(disk / "killed")
        assert seqs(disk / "closed") == [1]
        assert seqs(disk / "killed") == [1, 2, 3, 4, 5]
        for folder in (disk / "closed", disk / "killed", disk / "new"):
            error = refusal(folder)
            assert type(error) is JournalError
            assert "cannot be written (Read-only file system); make it writable, or give --state" in str(error)
        assert (files(disk / "closed"), files(disk / "killed")) == before


# -- older and newer ---------------------------------------------------------------------


LATER = (*opening.load_schemas(), "CREATE TABLE added (name TEXT); INSERT INTO added VALUES ('here')")
"""A made-up schema that comes after today's."""


def open_later(folder: Path, schemas: tuple[str, ...] = LATER, *, read_only: bool = False) -> SqliteJournal:
    return SqliteJournal(folder, connect, schemas, durability="power", read_only=read_only)


def test_an_older_journal_is_led_forward_and_a_copy_is_kept(state: Path) -> None:
    with closing(open_later(state)) as journal:
        assert [entry.seq for entry in journal.read()] == [1, 2, 3]
        journal.append([Entry(4, b"4")])
    assert sorted(files(state)) == ["journal.db", "journal.db.schema-2", "lock"]
    with closing(sqlite3.connect(state / "journal.db")) as connection:
        assert connection.execute("SELECT name FROM added").fetchall() == [("here",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    error = refusal(state)
    assert isinstance(error, JournalTooNew)
    assert (error.found, error.known) == (3, 2)

    (state / "journal.db.schema-2").replace(state / "journal.db")
    assert seqs(state) == [1, 2, 3]
    with closing(open_sqlite(state)) as journal:
        journal.append([Entry(4, b"4")])
    assert (state / "journal.db").stat().st_mode & 0o777 == 0o600


def test_a_step_that_fails_leaves_the_journal_as_it_was(state: Path) -> None:
    broken = (*LATER, "CREATE TABLE more (x); INSERT INTO missing VALUES (1)")
    with pytest.raises(JournalError, match="no such table: missing"):
        open_later(state, broken)
    with closing(open_later(state)) as journal:
        assert journal.last == 3
    with closing(sqlite3.connect(state / "journal.db")) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert "more" not in tables


def test_a_reader_does_not_lead_forward(state: Path) -> None:
    before = files(state)
    with pytest.raises(JournalError, match="has schema 2, this andthen reads 3; `andthen resume` leads it there"):
        open_later(state, read_only=True)
    assert files(state) == before


def test_a_new_journal_takes_all_steps_and_needs_no_copy(tmp_path: Path) -> None:
    open_later(tmp_path).close()
    assert sorted(files(tmp_path)) == ["journal.db", "lock"]


# -- the names of the package --------------------------------------------------------------


def test_the_package_finds_its_names_and_no_others() -> None:
    import then.journals

    assert all(callable(getattr(then.journals, name)) for name in then.journals.__all__)
    with pytest.raises(AttributeError, match="open_postgres"):
        getattr(then.journals, "open_postgres")  # noqa: B009 - mypy knows too
