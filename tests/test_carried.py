"""Small files that go along with an append: which, for how long, and who syncs them otherwise."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

import then
from tests.seams.executor_suite import Reports, job
from then.abc import Entry, Report
from then.core.masking import Mask
from then.executors import outputs
from then.executors.process import ProcessExecutor
from then.journals import carried, records
from then.journals.carried import FILES_MAX, FRESH_BYTES_MAX, Carried
from then.journals.memory import open_memory
from then.journals.sqlite import open_sqlite


def entry(seq: int) -> Entry:
    return Entry(seq, b"fact %d" % seq)


def write(state: Path, name: str, data: bytes) -> dict[str, bytes]:
    path = state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {name: data}


@pytest.fixture
def another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a start follows on a loss of power."""
    monkeypatch.setattr("then.journals.tail.boot_id", lambda: "another run of the kernel")


def left_by_a_kill(tmp_path: Path, *names: str, without: str) -> Path:
    """The state as a killed engine leaves it, which carried the outputs of these tasks, but for one folder."""
    state, left = tmp_path / "state", tmp_path / "left"
    with closing(open_sqlite(state)) as journal:
        for name in names:
            assert journal.carry(write(state, f"tasks/{name}/out", b"hello\n"))
        journal.append([entry(1)])
        shutil.copytree(state, left)
    (left / "lock").unlink()
    shutil.rmtree(left / without)
    return left


@pytest.mark.usefixtures("another_boot")
def test_a_file_that_is_not_there_is_put_back_for_its_owner_alone(tmp_path: Path) -> None:
    left = left_by_a_kill(tmp_path, "a", without="tasks")
    open_sqlite(left).close()
    assert (left / "tasks/a/out").read_bytes() == b"hello\n"
    assert [(left / name).stat().st_mode & 0o777 for name in ("tasks", "tasks/a", "tasks/a/out")] == [
        0o700,
        0o700,
        0o600,
    ]


@pytest.mark.usefixtures("another_boot")
def test_what_is_there_and_goes_on_is_left_and_what_differs_is_put_right(tmp_path: Path) -> None:
    left = left_by_a_kill(tmp_path, "longer", "shorter", "blank", without="tasks/longer")
    write(left, "tasks/longer/out", b"hello\nwrote more after its end\n")
    write(left, "tasks/shorter/out", b"he")
    write(left, "tasks/blank/out", b"\0" * 6)
    open_sqlite(left).close()
    found = {name: (left / f"tasks/{name}/out").read_bytes() for name in ("longer", "shorter", "blank")}
    assert found == {"longer": b"hello\nwrote more after its end\n", "shorter": b"hello\n", "blank": b"hello\n"}


@pytest.mark.usefixtures("another_boot")
def test_what_a_task_put_in_its_place_gives_way_or_is_left_and_stops_no_start(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"another's\n")
    names = ("link", "pipe", "folder", "rewritten", "closed")
    left = left_by_a_kill(tmp_path, *names, without="tasks")
    link, pipe, folder, rewritten, closed = (left / f"tasks/{name}/out" for name in names)
    for path in (link, pipe, folder / "in it"):
        path.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    os.mkfifo(pipe)
    write(left, "tasks/rewritten/out", b"rewritten later\n")
    write(left, "tasks/closed/out", b"\0" * 6)
    closed.chmod(0o400)
    open_sqlite(left).close()
    assert [path.read_bytes() for path in (link, pipe, rewritten, closed)] == [b"hello\n"] * 4
    assert folder.is_dir()
    assert elsewhere.read_bytes() == b"another's\n"


@pytest.mark.parametrize(("boot", "is_there"), [("a run of the kernel", False), ("", True)])
def test_where_the_system_names_no_run_of_the_kernel_any_start_puts_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str, is_there: bool
) -> None:
    monkeypatch.setattr("then.journals.tail.boot_id", lambda: boot)
    monkeypatch.setattr("then.journals.records.boot_id", lambda: boot)
    left = left_by_a_kill(tmp_path, "a", without="tasks")
    open_sqlite(left).close()
    assert (left / "tasks/a/out").exists() == is_there


def test_a_start_in_the_same_run_of_the_kernel_puts_nothing_back(tmp_path: Path) -> None:
    # All that was written is there; what is not was taken away.
    left = left_by_a_kill(tmp_path, "a", without="tasks/a")
    open_sqlite(left).close()
    assert not (left / "tasks/a").exists()


@pytest.mark.usefixtures("another_boot")
def test_what_was_pruned_is_put_back_by_no_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(open_sqlite(state)) as journal:
        assert journal.carry(write(state, "tasks/a/out", b"hello\n"))
        journal.append([entry(1)])
        shutil.rmtree(state / "tasks/a")
        journal.prune([1])
        shutil.copytree(state, tmp_path / "left")
    assert b"hello" not in b"".join(path.read_bytes() for path in state.iterdir() if path.is_file())
    (tmp_path / "left" / "lock").unlink()
    open_sqlite(tmp_path / "left").close()
    assert not (tmp_path / "left/tasks/a").exists()


def test_a_tail_of_before_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(open_sqlite(state)) as journal:
        journal.append([entry(1)])
        shutil.copytree(state, tmp_path / "left")
    tail = tmp_path / "left" / "journal.tail"
    data = bytearray(tail.read_bytes())
    data[10:12] = (1).to_bytes(2, "little")
    tail.write_bytes(data)
    (tmp_path / "left" / "lock").unlink()
    with closing(open_sqlite(tmp_path / "left")) as journal:
        assert list(journal.read()) == [entry(1)]
        journal.append([entry(2)])
        assert records.format_of(tail.read_bytes()[: records.HEADER_BYTES]) == records.FORMAT


def test_who_brings_too_much_syncs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "SETTLED_AT_ONCE", FILES_MAX + 1)
    files = Carried(tmp_path)
    assert not files.add({"a": bytes(FRESH_BYTES_MAX + 1)})
    assert files.add({"a": bytes(FRESH_BYTES_MAX)})
    assert not files.add({"b": b"b"})
    files.is_in_record(files.fresh())
    assert files.add({f"{n}": b"b" for n in range(FILES_MAX - 1)})
    assert not files.add({"c": b"c"})
    files.settle()
    assert files.fresh() == b""
    assert files.add({"c": b"c"})


def test_many_are_synced_by_a_thread(tmp_path: Path) -> None:
    synced: list[str] = []

    class Noted(Carried):
        def sync(self, names: Iterable[str]) -> None:
            synced.extend(names)

    files = Noted(tmp_path)
    names = [f"tasks/{n}/out" for n in range(carried.SETTLED_AT_ONCE)]
    for name in names:
        assert files.add({name: b"1"})
    files.close()
    assert synced == names


def test_where_no_thread_can_be_started_the_next_transaction_settles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    files = Carried(tmp_path)
    for n in range(carried.SETTLED_AT_ONCE + 1):
        assert files.add({f"{n}": b"1"})
    files.settle()
    assert files.fresh() == b""
    files.close()


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    files = Carried(tmp_path)
    assert files.add({"a": b"a"})
    os.mkfifo(tmp_path / "a")
    files.settle()
    assert files.fresh() == b""


def test_a_journal_that_does_not_sync_carries_nothing(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path, durability="process")) as journal:
        assert not journal.carry({"a": b"a"})
    with closing(open_sqlite(tmp_path, read_only=True)) as journal:
        assert not journal.carry({"a": b"a"})
    assert not open_memory().carry({"a": b"a"})


# -- what of a task is carried ----------------------------------------------------------


class Taken:
    """What is carried, and whether it is."""

    def __init__(self, *, is_taken: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self._is_taken = is_taken

    def __call__(self, files: Mapping[str, bytes]) -> bool:
        self.files.update(files)
        return self._is_taken


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced at once."""
    found: list[str] = []
    monkeypatch.setattr(outputs, "_sync_file", found.append)
    return found


def test_a_line_and_a_result_are_carried(tmp_path: Path, synced: list[str]) -> None:
    left = {
        **write(tmp_path, "tasks/a/out", b"hello\n"),
        **write(tmp_path, "tasks/a/result.json", b"{}"),
        **write(tmp_path, "tasks/b/err", b"oh\n"),
    }
    write(tmp_path, "tasks/a/task.json", b"{}")
    write(tmp_path, "tasks/a/err", b"")
    taken = Taken()
    outputs.carry_or_sync(tmp_path, ["a", "b", "nobody"], taken, None, {})
    assert taken.files == left
    assert synced == []


def test_much_and_artifacts_and_what_is_no_file_are_synced(tmp_path: Path, synced: list[str]) -> None:
    write(tmp_path, "tasks/much/out", bytes(outputs.LITTLE_BYTES + 1))
    write(tmp_path, "tasks/file/artifacts/report", b"1")
    write(tmp_path, "tasks/link/out", b"1")
    (tmp_path / "tasks/link/out").rename(tmp_path / "elsewhere")
    (tmp_path / "tasks/link/out").symlink_to(tmp_path / "elsewhere")
    taken = Taken()
    outputs.carry_or_sync(tmp_path, ["much", "file", "link"], taken, None, {})
    assert taken.files == {}
    assert {str(Path(path).relative_to(tmp_path)) for path in synced} == {
        "tasks", "tasks/much", "tasks/much/out", "tasks/file", "tasks/file/artifacts", "tasks/file/artifacts/report",
    }  # fmt: skip


def test_a_file_whose_name_is_no_utf8_is_synced_and_its_task_ends(tmp_path: Path) -> None:
    rules = then.Rules()
    rules.task("odd", run=("process", ["sh", "-c", 'printf 1 > "${THEN_RESULT%/*}/$(printf "a\\377")"; echo hello']))
    with then.Engine(rules, state=tmp_path / "state") as engine:
        assert engine.run("odd").outcome == "done"


def test_what_is_told_is_carried_without_a_look(tmp_path: Path, synced: list[str]) -> None:
    taken = Taken()
    told = {"a": outputs.printed("a", 6, b"hello\noh\n"), "b": outputs.printed("b", 0, b"oh\n")}
    outputs.carry_or_sync(tmp_path, ["a", "b"], taken, None, told)
    assert taken.files == {"tasks/a/out": b"hello\n", "tasks/a/err": b"oh\n", "tasks/b/err": b"oh\n"}
    assert synced == []


def test_what_the_keeper_takes_away_beside_a_look_holds_nothing_up(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "tasks/a/out", b"hello\n")
    write(tmp_path, "tasks/a/err", b"")
    (tmp_path / "tasks/a/artifacts").mkdir()
    scandir = os.scandir

    @contextlib.contextmanager
    def late(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(path) as entries:
            found = list(entries)
        (tmp_path / "tasks/a/err").unlink(missing_ok=True)
        if path.endswith("/a"):
            (tmp_path / "tasks/a/artifacts").rmdir()
        yield found

    monkeypatch.setattr(os, "scandir", late)
    outputs.sync(tmp_path, "a")
    assert [str(Path(path).relative_to(tmp_path)) for path in synced] == ["tasks/a/out", "tasks/a", "tasks"]


def test_what_the_journal_does_not_take_is_synced(tmp_path: Path, synced: list[str]) -> None:
    write(tmp_path, "tasks/a/out", b"hello\n")
    outputs.carry_or_sync(tmp_path, ["a"], Taken(is_taken=False), None, {})
    assert [str(Path(path).relative_to(tmp_path)) for path in synced] == ["tasks/a/out", "tasks/a", "tasks"]


def test_what_holds_a_value_of_a_secret_stays_out_of_the_journal(tmp_path: Path, synced: list[str]) -> None:
    write(tmp_path, "tasks/a/out", b"the key is hunter22\n")
    write(tmp_path, "tasks/b/out", b"hello\n")
    mask, taken = Mask(["hunter22"]), Taken()
    outputs.carry_or_sync(tmp_path, ["a"], taken, mask, {})
    mask.hide("b")
    outputs.carry_or_sync(tmp_path, ["b"], taken, mask, {})
    assert taken.files == {}
    assert len(synced) == 6


def test_a_task_is_reported_when_what_it_printed_is_carried(tmp_path: Path) -> None:
    taken, reports = Taken(), Reports()
    at_report: list[dict[str, bytes]] = []

    def report(ended: Sequence[Report]) -> None:
        at_report.append(dict(taken.files))
        reports(ended)

    state = tmp_path / "state"
    state.mkdir()
    executor = ProcessExecutor(state, report, root=tmp_path, carry=taken)
    executor.start([job("a", argv=["echo", "hello"])])
    reports.wait(1)
    executor.close(wait=True)
    assert at_report == [{"tasks/a/out": b"hello\n"}]


def test_what_a_task_printed_is_in_the_tail_while_its_engine_lives_and_nowhere_but_in_its_file_after(
    tmp_path: Path,
) -> None:
    rules = then.Rules()
    rules.task("hello", run=("process", ["echo", "hello", "there"]))
    with then.Engine(rules, state=tmp_path / "state") as engine:
        flow = engine.run("hello")
        assert b"hello there" in (tmp_path / "state/journal.tail").read_bytes()
        task = flow.tasks[0].id
    assert not (tmp_path / "state/journal.tail").exists()
    assert b"hello there" not in (tmp_path / "state/journal.db").read_bytes()
    assert (tmp_path / "state/tasks" / task / "out").read_bytes() == b"hello there\n"
