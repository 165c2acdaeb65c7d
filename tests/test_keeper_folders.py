"""The keeper's folders: made while a task runs, and passed on."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, wait_gone
from then.app.retention import remove_folder
from then.executors.keeper.folders import FRESH, GIVERS_MAX, PRINTED_BYTES, REUSE_BELOW, Folder, Folders
from then.executors.keeper.processes import Child

PIECES = 5
"""So many calls make a whole folder ahead."""


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    # What other tests have left to this process is of no task here; those of a thread are its first thread's once that one ends.
    pids = [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in read_list(path)]
    found = Folders(os.fsencode(tmp_path), {pid: Child(b"other", pid, 0, 0, 0, ours=True) for pid in pids})
    found.watch_children(is_reaper=True)
    if found.children_fd < 0:
        pytest.skip("this kernel has no /proc/PID/task/TID/children: no folder is passed on")
    yield found
    found.clear()
    for folder in found.held.values():
        folder.close()


def read_list(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # The thread has ended.


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "tasks").iterdir())


def write_output(tmp_path: Path, id: str) -> None:
    (tmp_path / "tasks" / id / "out").write_text("left\n")


def leave_one_that_printed(folders: Folders, tmp_path: Path) -> None:
    """A task `first` that has ended, and printed something: what is empty in its folder is there to be given."""
    folders.take(b"first", b"{}")
    write_output(tmp_path, "first")
    folders.leave(b"first")


def leave_two(folders: Folders, tmp_path: Path) -> None:
    for id in ("first", "second"):
        folders.take(id.encode(), b"{}")
        write_output(tmp_path, id)


def test_a_lone_task_is_no_reason_to_make_a_folder_ahead(folders: Folders) -> None:
    folders.take(b"first", b"{}")
    assert not folders.is_short


@pytest.mark.parametrize("pieces", range(PIECES + 1))
def test_a_task_gets_the_folder_that_was_begun_for_it_however_far_it_came(
    folders: Folders, tmp_path: Path, pieces: int
) -> None:
    leave_two(folders, tmp_path)
    assert folders.is_short
    for _ in range(pieces):
        folders.make_ahead()
    assert folders.is_short == (pieces < PIECES)
    folders.take(b"third", b'{"id": "third"}')
    assert names(tmp_path) == ["first", "second", "third"]
    third = tmp_path / "tasks" / "third"
    assert sorted(path.name for path in third.iterdir()) == FRESH
    assert (third / "task.json").read_text() == '{"id": "third"}'
    assert folders.made == (2 if pieces else 3)
    assert folders.is_short
    # It is as good as another: without output it goes on to the next task.
    assert folders.leave(b"third")
    folders.take(b"fourth", b"{}")
    assert names(tmp_path) == ["first", "fourth", "second"]


def test_where_folders_are_passed_on_none_is_made_ahead(folders: Folders) -> None:
    for id in (b"first", b"second"):
        folders.take(id, b"{}")
    for id in (b"first", b"second"):
        assert folders.leave(id)
    folders.take(b"third", b"{}")
    assert not folders.is_short


def test_what_a_killed_keeper_began_is_taken_away(folders: Folders, tmp_path: Path) -> None:
    left = tmp_path / "keeper.spare"
    left.mkdir()
    (left / "out").touch()
    leave_two(folders, tmp_path)
    for _ in range(PIECES):
        folders.make_ahead()
    assert len(folders.spares) == 1
    folders.clear()
    assert not left.exists()


def test_a_folder_with_something_in_it_is_given_to_no_task(folders: Folders, tmp_path: Path) -> None:
    left = tmp_path / "keeper.spare"
    left.mkdir()
    (left / "mine").touch()
    leave_two(folders, tmp_path)
    folders.make_ahead()
    assert not folders.is_short
    assert not folders.spares
    folders.take(b"third", b"{}")
    assert sorted(path.name for path in (tmp_path / "tasks" / "third").iterdir()) == FRESH
    assert [path.name for path in left.iterdir()] == ["mine"]


def test_a_folder_made_ahead_that_cannot_be_looked_at_ends_no_keeper_and_leaves_nothing_open(
    folders: Folders, tmp_path: Path
) -> None:
    leave_two(folders, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")

    def pieces() -> Generator[None, None, Folder]:
        folder = yield from folders._pieces(b"keeper.spare", is_new=True)
        # Somebody puts something into it, so it is read, for which there is no descriptor left.
        (tmp_path / "tasks" / "keeper.spare" / "mine").touch()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        return folder

    folders.ahead = pieces()
    try:
        for _ in range(PIECES):
            folders.make_ahead()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not folders.is_short
    assert not folders.spares
    assert len(os.listdir("/proc/self/fd")) == len(before)
    folders.take(b"third", b"{}")
    assert sorted(path.name for path in (tmp_path / "tasks" / "third").iterdir()) == FRESH


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_what_a_task_that_printed_left_empty_goes_to_a_later_one(folders: Folders, tmp_path: Path) -> None:
    leave_two(folders, tmp_path)
    first = tmp_path / "tasks" / "first"
    before = inodes(first)
    assert not folders.leave(b"first")
    assert folders.printed == {b"first": (b"left\n", b"")}
    while folders.is_short:
        folders.make_ahead()
    folders.take(b"third", b'{"id": "third"}')
    third = tmp_path / "tasks" / "third"
    assert [path.name for path in first.iterdir()] == ["out"]
    assert (first / "out").read_text() == "left\n"
    assert sorted(path.name for path in third.iterdir()) == FRESH
    assert {name: number for name, number in inodes(third).items() if name != "out"} == {
        name: number for name, number in before.items() if name != "out"
    }
    assert (third / "task.json").read_text() == '{"id": "third"}'
    assert not (third / "out").read_bytes()


@pytest.mark.parametrize("pieces", range(1, 4))
def test_a_keeper_that_was_killed_over_the_giving_leaves_what_was_printed_and_nothing_else(
    folders: Folders, tmp_path: Path, pieces: int
) -> None:
    leave_two(folders, tmp_path)
    folders.leave(b"first")
    for _ in range(pieces):
        folders.make_ahead()
    after = Folders(os.fsencode(tmp_path), folders.own)
    after.watch_children(is_reaper=True)
    for id in (b"third", b"fourth"):
        after.take(id, b"{}")
    while after.is_short:
        after.make_ahead()
    for name in ("third", "fourth"):
        assert sorted(path.name for path in (tmp_path / "tasks" / name).iterdir()) == FRESH
        assert after.leave(name.encode())
    assert (tmp_path / "tasks" / "first" / "out").read_text() == "left\n"
    after.clear()
    assert names(tmp_path) == ["first", "second"]
    assert not (tmp_path / "keeper.spare").exists()


def test_a_folder_that_a_start_has_to_wait_for_is_made_of_what_was_left_empty_too(
    folders: Folders, tmp_path: Path
) -> None:
    folders.take(b"first", b'{"id": "the first of them"}')
    (tmp_path / "tasks" / "first" / "err").write_text("oh\n")
    before = inodes(tmp_path / "tasks" / "first")
    assert not folders.leave(b"first")
    folders.take(b"second", b"{}")
    after = inodes(tmp_path / "tasks" / "second")
    assert sorted(after) == FRESH
    assert [name for name in FRESH if after[name] == before[name]] == ["artifacts", "out", "task.json"]
    assert (tmp_path / "tasks" / "second" / "task.json").read_text() == "{}"
    # Nothing is leased: the program that is started opens its outputs to write.
    with (tmp_path / "tasks" / "second" / "out").open("ab") as file:
        file.write(b"second\n")


def test_what_somebody_reads_or_put_elsewhere_is_given_to_no_task(folders: Folders, tmp_path: Path) -> None:
    folders.take(b"first", b"{}")
    write_output(tmp_path, "first")
    first = tmp_path / "tasks" / "first"
    os.link(first / "task.json", tmp_path / "kept.json")
    folders.leave(b"first")
    with (first / "err").open("rb"):
        folders.take(b"second", b"{}")
    assert sorted(path.name for path in first.iterdir()) == ["err", "out", "task.json"]
    assert sorted(path.name for path in (tmp_path / "tasks" / "second").iterdir()) == FRESH


@pytest.mark.parametrize("made", ["result.json", "artifacts/report"])
def test_where_a_task_made_something_all_stays_and_is_to_be_looked_at(
    folders: Folders, tmp_path: Path, made: str
) -> None:
    folders.take(b"first", b"{}")
    write_output(tmp_path, "first")
    first = tmp_path / "tasks" / "first"
    (first / made).touch()
    before = inodes(first)
    folders.leave(b"first")
    assert folders.printed == {}
    folders.take(b"second", b"{}")
    assert inodes(first) == before


def test_what_comes_into_a_folder_after_the_end_of_its_task_stays_there(folders: Folders, tmp_path: Path) -> None:
    leave_one_that_printed(folders, tmp_path)
    first = tmp_path / "tasks" / "first"
    (first / "artifacts" / "late").touch()
    folders.take(b"second", b"{}")
    assert sorted(path.name for path in first.iterdir()) == FRESH


def test_what_is_written_between_the_look_at_a_file_and_its_lease_goes_to_no_other_task(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_one_that_printed(folders, tmp_path)
    err = tmp_path / "tasks" / "first" / "err"
    number, control = err.stat().st_ino, fcntl.fcntl

    def write_and_control(fd: int, command: int, argument: int = 0) -> int:
        if (command, argument, os.fstat(fd).st_ino) == (fcntl.F_SETLEASE, fcntl.F_WRLCK, number):
            err.write_text("of the first\n")
        return control(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", write_and_control)
    folders.take(b"second", b"{}")
    assert err.read_text() == "of the first\n"
    assert not (tmp_path / "tasks" / "second" / "err").read_bytes()
    # Nor is it leased: who opens it does not wait.
    with err.open("ab") as file:
        file.write(b"more\n")


def test_the_record_of_a_start_that_is_tried_again_has_nothing_of_anothers_in_it(
    folders: Folders, tmp_path: Path
) -> None:
    folders.take(b"first", b'{"id": "the first of them"}')
    write_output(tmp_path, "first")
    folders.leave(b"first")
    # What is given is there, and then there is no room for the rest.
    second = tmp_path / "tasks" / "second"
    pieces = folders._pieces(b"second")
    next(pieces)
    assert (second / "task.json").exists()
    with pytest.raises(OSError, match="no room"):
        pieces.throw(OSError(errno.ENOSPC, "no room"))
    folders.take(b"second", b"{}")
    assert (second / "task.json").read_text() == "{}"


def test_a_record_for_which_there_is_no_room_is_no_record(folders: Folders, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            folders.take(b"first", b'{"id": "the first of them"}')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    folders.take(b"first", b'{"id": "first"}')
    assert (tmp_path / "tasks" / "first" / "task.json").read_text() == '{"id": "first"}'


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_folder_that_a_task_has_closed_to_others_goes_to_none(
    folders: Folders, tmp_path: Path, is_silent: bool
) -> None:
    folders.take(b"first", b"{}")
    if not is_silent:
        write_output(tmp_path, "first")
    (tmp_path / "tasks" / "first" / "artifacts").chmod(0o500)
    assert not folders.leave(b"first")
    folders.take(b"second", b"{}")
    assert (tmp_path / "tasks" / "second" / "artifacts").stat().st_mode & 0o777 == 0o700


def test_all_children_are_seen_however_many_they_are(folders: Folders) -> None:
    before = folders.children()
    # The kernel tells a page of them at a time. They have ended, and stay until they are asked for.
    if os.sysconf("SC_PAGE_SIZE") > 4096:
        pytest.skip("a page of them is more than can well be started")
    pids = [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(4096 // len("100 ") + 1)]
    try:
        assert sorted(folders.children()) == sorted(before + pids)
    finally:
        for pid in pids:
            os.waitpid(pid, 0)


def test_where_very_many_tasks_run_nothing_is_given_for_which_all_would_be_looked_at(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_one_that_printed(folders, tmp_path)
    folders.own.update({-number: Child(b"other", -number, 0, 0, 0, ours=True) for number in range(1, REUSE_BELOW + 2)})
    monkeypatch.setattr(folders, "children", lambda: pytest.fail("all are looked at"))
    folders.take(b"second", b"{}")
    assert sorted(path.name for path in (tmp_path / "tasks" / "first").iterdir()) == FRESH


def test_a_folder_that_is_passed_on_while_it_is_removed_is_one_or_the_other(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.take(b"first", b"{}")
    assert folders.leave(b"first")
    scan = os.scandir

    def start_and_scan(path: int) -> object:
        # The folder is open, and nothing of it removed yet.
        monkeypatch.undo()
        folders.take(b"second", b"{}")
        return scan(path)

    monkeypatch.setattr(os, "scandir", start_and_scan)
    remove_folder(tmp_path / "tasks", "first")
    assert names(tmp_path) == ["second"]
    assert sorted(path.name for path in (tmp_path / "tasks" / "second").iterdir()) == FRESH


def test_what_a_removal_that_was_killed_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "first.gone" / "artifacts").mkdir(parents=True)
    remove_folder(tmp_path, "first")
    assert not list(tmp_path.iterdir())


def test_more_than_a_little_is_not_told(folders: Folders, tmp_path: Path) -> None:
    for id, size in ((b"first", PRINTED_BYTES), (b"second", PRINTED_BYTES + 1)):
        folders.take(id, b"{}")
        (tmp_path / "tasks" / id.decode() / "out").write_bytes(bytes(size))
        folders.leave(id)
    assert folders.printed.keys() == {b"first"}


def test_no_more_folders_of_ended_tasks_are_held_open_than_are_of_use(folders: Folders, tmp_path: Path) -> None:
    ids = [b"%d" % number for number in range(GIVERS_MAX + 2)]
    for id in ids:
        folders.take(id, b"{}")
        write_output(tmp_path, id.decode())
    before = len(os.listdir("/proc/self/fd"))
    for id in ids:
        folders.leave(id)
    assert len(os.listdir("/proc/self/fd")) == before - 5 * 2
    folders.clear()
    assert len(os.listdir("/proc/self/fd")) == before - 5 * len(ids)


def test_each_task_that_leaves_something_has_a_folder_of_its_own(tmp_path: Path) -> None:
    with Desk(tmp_path) as desk:
        reports = [desk.shell(f"echo {number}; cp $THEN_TASK $THEN_ARTIFACTS/record") for number in range(5)]
        for number, report in enumerate(reports):
            assert desk.output(report) == b"%d\n" % number
            folder = tmp_path / "state" / "tasks" / report.id
            assert sorted(path.name for path in folder.iterdir()) == FRESH
            assert f'"id":"{report.id}"' in (folder / "artifacts" / "record").read_text()
        desk.executor.forget([report.id for report in reports])
        pid = desk.keeper_pid
    wait_gone(pid)
    assert not (tmp_path / "state" / "keeper.spare").exists()
