"""The tail of the journal: what others read of it, what is left of it, and what is refused."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journal_process import small_disk, writer
from then.abc import Cell, Entry
from then.core.errors import JournalError, JournalForeign, JournalFull, JournalTooNew
from then.journals import records
from then.journals.opening import Durability
from then.journals.sqlite import TAIL_APPEND_BYTES, SqliteJournal, open_sqlite

DURABILITIES: tuple[Durability, ...] = ("power", "process")


def entries(first: int, last: int, size_bytes: int = 20) -> list[Entry]:
    return [Entry(seq, b"%d " % seq + bytes(size_bytes)) for seq in range(first, last + 1)]


def seqs(folder: Path, *, read_only: bool = True) -> list[int]:
    with closing(open_sqlite(folder, read_only=read_only)) as journal:
        return [entry.seq for entry in journal.read()]


def as_after_a_kill(state: Path, copy: Path) -> Path:
    """The files as they are now, as an engine that was killed would leave them."""
    shutil.copytree(state, copy)
    (copy / "lock").unlink(missing_ok=True)
    return copy


@pytest.fixture(params=DURABILITIES)
def killed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A state with entries 1 to 3 in SQLite, and 4, 5 and 6 (with 7), one append each, in the tail."""
    with closing(open_sqlite(tmp_path / "state", durability=request.param)) as journal:
        journal.append(entries(1, 3), [Cell("task", "a", b"1")])
        journal.append(entries(4, 4))
        journal.append(entries(5, 5))
        journal.append(entries(6, 7))
        return as_after_a_kill(tmp_path / "state", tmp_path / "killed")


def fill(journal: SqliteJournal) -> None:
    """Appends until the journal has had enough."""
    while journal.last < 10_000:
        journal.append(entries(journal.last + 1, journal.last + 1, 1_000))


def change(tail: Path, offset: int, data: bytes) -> None:
    with tail.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def places(tail: Path) -> list[int]:
    """Where the records begin, and the end of the last."""
    data = tail.read_bytes()
    found = [records.HEADER_BYTES]
    while (record := records.record_at(data, found[-1], records.header_of(data).salt)) is not None:
        found.append(record.end)
    return found


# -- readers -----------------------------------------------------------------------


@pytest.mark.parametrize("durability", DURABILITIES)
def test_readers_miss_and_double_nothing_while_entries_are_appended_and_moved(
    tmp_path: Path, durability: Durability
) -> None:
    faults: list[str] = []
    rounds = [0, 0, 0]
    done = threading.Event()

    def watch(journal: SqliteJournal, number: int, begin: int) -> None:
        after = 0
        while not done.is_set() or not rounds[number]:
            acknowledged, newest = written.last, journal.last
            if newest < acknowledged:
                faults.append(f"{acknowledged} is durable, last is {newest}")
            found = [entry.seq for entry in journal.read(after)]
            if found != list(range(after + 1, after + 1 + len(found))):
                faults.append(f"after {after}: {found}")
            if after + len(found) < acknowledged:
                faults.append(f"{acknowledged} is durable, read to {after + len(found)}")
            after = max(0, after + len(found) - begin)
            rounds[number] += 1

    with ExitStack() as stack:
        written = stack.enter_context(closing(open_sqlite(tmp_path, durability=durability)))
        others = [stack.enter_context(closing(open_sqlite(tmp_path, read_only=True))) for _ in range(2)]
        watchers = [
            threading.Thread(target=watch, args=(journal, number, begin))
            for number, (journal, begin) in enumerate(zip((*others, written), (0, 3_000, 500), strict=True))
        ]
        for watcher in watchers:
            watcher.start()
        last = 0
        for number in range(4_000):
            count, size_bytes = (3, 50) if number % 7 == 0 else (1, 1_500 if number % 3 else 10)
            cells = [Cell("task", "a", b"%d" % number)] if number % 211 == 0 else []
            written.append(entries(last + 1, last + count, size_bytes), cells)
            last += count
        done.set()
        for watcher in watchers:
            watcher.join()
        assert not faults, faults[:3]
        assert min(rounds) >= 1
        assert [entry.seq for entry in others[0].read()] == list(range(1, last + 1))


def test_a_reader_beside_a_writer_sees_each_append_at_once(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path)) as journal, closing(open_sqlite(tmp_path, read_only=True)) as reader:
        for seq in range(1, 200):
            journal.append(entries(seq, seq, 9_000), [Cell("task", "a", b"1")] if seq % 50 == 0 else [])
            assert reader.last == seq
            assert [entry.seq for entry in reader.read(seq - 2)] == [seq - 1, seq][-min(2, seq) :]
        journal.prune(range(1, 190))
        assert [entry.seq for entry in reader.read()] == list(range(190, 200))
        journal.append(entries(200, 200))
        assert [entry.seq for entry in reader.read(195)] == [196, 197, 198, 199, 200]
        assert [entry.seq for entry in reader.read(197, 199)] == [198, 199]


def test_what_was_moved_and_pruned_does_not_come_back_from_the_file(tmp_path: Path) -> None:
    # An engine that was killed between the commit of a pruning and the end of the tail's file.
    state = tmp_path / "state"
    with closing(open_sqlite(state)) as journal:
        journal.append(entries(1, 9))
        shutil.copy(state / "journal.tail", tmp_path / "tail")
        journal.prune([7, 8, 9])
        killed = as_after_a_kill(state, tmp_path / "killed")
    shutil.copy(tmp_path / "tail", killed / "journal.tail")
    assert seqs(killed) == [1, 2, 3, 4, 5, 6]
    with closing(open_sqlite(killed, read_only=True)) as reader:
        assert reader.last == 9
    assert seqs(killed, read_only=False) == [1, 2, 3, 4, 5, 6]


# -- what an engine before has left -----------------------------------------------------


def test_a_start_takes_up_what_a_killed_engine_has_left(killed: Path) -> None:
    assert seqs(killed) == [1, 2, 3, 4, 5, 6, 7]
    with closing(open_sqlite(killed)) as journal:
        assert journal.last == 7
        assert dict(journal.cells("task")) == {"a": b"1"}
        journal.append(entries(8, 8))
    assert sorted(file.name for file in killed.iterdir()) == ["journal.db", "lock"]
    assert seqs(killed) == list(range(1, 9))


def test_a_last_append_that_was_cut_short_is_not_there_at_all(killed: Path) -> None:
    tail = killed / "journal.tail"
    *_, begin, end = places(tail)
    for cut in (begin + 3, begin + records.RECORD_BYTES, end - 1):
        change(tail, cut, bytes(end - cut))
        assert seqs(killed) == [1, 2, 3, 4, 5]
    assert seqs(killed, read_only=False) == [1, 2, 3, 4, 5]


def test_damage_in_the_middle_is_told_and_nothing_is_changed(killed: Path) -> None:
    tail = killed / "journal.tail"
    change(tail, places(tail)[1] + records.RECORD_BYTES, b"?")
    before = tail.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalForeign, match="a damaged tail"):
            open_sqlite(killed)
        assert tail.read_bytes() == before
    tail.unlink()
    assert seqs(killed, read_only=False) == [1, 2, 3]


def test_after_a_loss_of_power_process_ends_where_the_disk_has_a_gap(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = killed / "journal.tail"
    is_synced = records.header_of(tail.read_bytes()).is_synced
    change(tail, places(tail)[1], bytes(10))
    monkeypatch.setattr("then.journals.tail.boot_id", lambda: "another run of the kernel")
    if is_synced:
        with pytest.raises(JournalForeign, match="a damaged tail"):
            open_sqlite(killed)
    else:
        assert seqs(killed, read_only=False) == [1, 2, 3, 4]


def test_a_tail_beside_another_journal_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(open_sqlite(state)) as journal:
        journal.append(entries(1, 3))
        journal.append([], [Cell("task", "a", b"1")])
        journal.append(entries(4, 4))
        early = as_after_a_kill(state, tmp_path / "early")
        journal.append([], [Cell("task", "a", b"2")])
        journal.append(entries(5, 5))
        late = as_after_a_kill(state, tmp_path / "late")
    shutil.copy(late / "journal.tail", early)
    with pytest.raises(JournalForeign, match="a tail that goes on where a later"):
        open_sqlite(early)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_tail_that_is_not_for_us_is_refused_and_left_as_it_was(killed: Path, read_only: bool) -> None:
    tail = killed / "journal.tail"
    whole = tail.read_bytes()
    version = len(b"then\rtail") + 1
    for data, error, text in (
        (b"somebody's " * 100, JournalForeign, "not the tail of a journal"),
        (whole[:version] + b"\7\0" + whole[version + 2 :], JournalTooNew, "has schema 7, this andthen knows 2"),
    ):
        tail.write_bytes(data)
        with pytest.raises(error, match=text):
            open_sqlite(killed, read_only=read_only)
        assert tail.read_bytes() == data
        assert not (killed / "lock").exists()
    tail.unlink()
    tail.mkdir()
    with pytest.raises(JournalForeign, match="a folder"):
        open_sqlite(killed, read_only=read_only)


@pytest.mark.parametrize("left", [b"", bytes(100), bytes(records.FILE_BYTES)])
def test_a_tail_whose_header_never_came_to_the_disk_is_empty(killed: Path, left: bytes) -> None:
    (killed / "journal.tail").write_bytes(left)
    assert seqs(killed) == [1, 2, 3]
    assert seqs(killed, read_only=False) == [1, 2, 3]


@pytest.mark.slow
def test_an_engine_that_was_killed_leaves_all_that_it_acknowledged(tmp_path: Path) -> None:
    for _ in range(2):
        with writer(tmp_path, 50) as process:
            process.kill()
            process.wait()
    assert seqs(tmp_path, read_only=False) == list(range(1, 101))


def test_an_append_may_hold_what_looks_like_a_record(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path / "state")) as journal:
        journal.append(entries(1, 1))
        fake = records.record_of([Entry(3, b"forged")], 1, 0)
        journal.append([Entry(2, fake)])
        journal.append([Entry(3, fake), Entry(4, b"")])
        killed = as_after_a_kill(tmp_path / "state", tmp_path / "killed")
    with closing(open_sqlite(killed)) as journal:
        assert [entry.data for entry in journal.read(1)] == [fake, fake, b""]


# -- room ------------------------------------------------------------------------------


def test_a_tail_for_which_there_is_no_room_is_made_when_there_is(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2000) as disk:
        with closing(open_sqlite(disk / "state")) as journal:
            journal.append([], [Cell("task", "a", b"1")])
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(1_600_000))
            for _ in range(2):
                with pytest.raises(JournalFull):
                    journal.append(entries(1, 1))
                assert not (disk / "state" / "journal.tail").exists()
                assert journal.last == 0
            ballast.unlink()
            journal.append(entries(1, 1))
            assert [entry.seq for entry in journal.read()] == [1]
        assert seqs(disk / "state") == [1]


def test_a_tail_that_cannot_be_moved_for_lack_of_room_is_kept_and_moved_later(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3000) as disk:
        state = disk / "state"
        with closing(open_sqlite(state)) as journal:
            journal.append(entries(1, 1))
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(shutil.disk_usage(disk).free))
            with pytest.raises(JournalFull):
                fill(journal)
            last = journal.last
            assert last > 300, "there was room kept for them"
            assert [entry.seq for entry in journal.read()] == list(range(1, last + 1))
        assert (state / "journal.tail").exists()
        assert seqs(state) == list(range(1, last + 1))
        ballast.unlink()
        with closing(open_sqlite(state)) as journal:
            journal.append(entries(last + 1, last + 1))
        assert seqs(state) == list(range(1, last + 2))


def test_the_file_is_no_longer_than_it_was_made(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path, durability="process")) as journal:
        for number in range(200):
            journal.append(entries(number + 1, number + 1, TAIL_APPEND_BYTES - 10))
            assert (tmp_path / "journal.tail").stat().st_size == records.FILE_BYTES
    assert not (tmp_path / "journal.tail").exists()


def test_a_tail_in_a_folder_that_cannot_be_read_says_so(killed: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (killed / "journal.tail").chmod(0)
    with pytest.raises(JournalError, match="cannot be read"):
        open_sqlite(killed, read_only=True)


# -- the law, over starts and kills ---------------------------------------------------------

SIZES = st.lists(st.sampled_from([0, 1, 40, 700, 6_000, TAIL_APPEND_BYTES, 100_000]), min_size=1, max_size=4)
WORK = st.lists(
    st.tuples(st.just("append"), SIZES, st.booleans())
    | st.tuples(st.just("many"), st.integers(1, 60), st.integers(0, 15_000))
    | st.tuples(st.just("prune"), st.sets(st.integers(1, 80), max_size=10), st.booleans())
    | st.tuples(st.sampled_from(["close", "kill"]), st.none(), st.none()),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(work=WORK, durability=st.sampled_from(DURABILITIES))
def test_over_starts_and_kills_it_is_what_a_plain_list_would_be(
    work: list[tuple[str, object, object]], durability: Durability
) -> None:
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder, ExitStack() as last:
        state = Path(folder, "0")
        journal = last.enter_context(closing(open_sqlite(state, durability=durability)))
        held: dict[int, bytes] = {}
        newest = 0
        for number, (verb, what, more) in enumerate(work):
            match verb:
                case "append" | "many":
                    for batch in _batches(verb, what, more):
                        new = [Entry(newest + place, bytes([place]) * size) for place, size in enumerate(batch, 1)]
                        journal.append(new, [Cell("task", "a", b"%d" % newest)] if more is True else ())
                        newest += len(new)
                        held.update((entry.seq, entry.data) for entry in new)
                case "prune":
                    assert isinstance(what, set)
                    journal.prune(what)
                    held = {seq: data for seq, data in held.items() if seq not in what}
                case "close":
                    journal.close()
                    journal = last.enter_context(closing(open_sqlite(state, durability=durability)))
                case "kill":
                    copy = as_after_a_kill(state, Path(folder, str(number + 1)))
                    journal.close()
                    state = copy
                    journal = last.enter_context(closing(open_sqlite(state, durability=durability)))
            with closing(open_sqlite(state, read_only=True)) as reader:
                for one in (journal, reader):
                    assert one.last == newest
                    assert [(entry.seq, entry.data) for entry in one.read()] == sorted(held.items())
                    middle = [entry.seq for entry in one.read(newest // 2, newest - 1)]
                    assert middle == [seq for seq in sorted(held) if newest // 2 < seq <= newest - 1]


def _batches(verb: str, what: object, more: object) -> Iterator[list[int]]:
    if verb == "append":
        assert isinstance(what, list)
        yield what
    else:
        assert isinstance(what, int)
        assert isinstance(more, int)
        for _ in range(what):
            yield [more]
