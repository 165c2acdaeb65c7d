"""State folders that are none, are damaged, read-only or full: refused as they are, exit code 3, nothing changed."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.journal_process import remount, small_disk

RULES = """
event go(n: any)
event other()
task note(n: any) run process ["true"]
rule heard when go as g then note(n: g.n)
rule told when other then note(n: 1)
"""

FILE_BYTES = 8192


def state_with_flows(shell: Shell) -> Path:
    """A state of three flows that ended."""
    shell.write("r.then", RULES)
    for n in range(3):
        assert shell("run", "r.then", "go", f"n={'x' * FILE_BYTES}{n}").code == 0
    _wait_for_keeper(shell.folder / ".then")
    return shell.folder / ".then"


def contents(folder: Path) -> dict[str, str]:
    if folder.is_file():
        return {"": hashlib.sha256(folder.read_bytes()).hexdigest()}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _file(state: Path) -> None:
    shutil.rmtree(state)
    state.write_text("mine\n")


def _foreign(state: Path) -> None:
    (state / "journal.db").unlink()
    other = sqlite3.connect(state / "journal.db")
    other.executescript("CREATE TABLE recipes (name)")
    other.close()


def _cut(state: Path) -> None:
    os.truncate(state / "journal.db", (state / "journal.db").stat().st_size // 2)


def _cut_short(state: Path) -> None:
    os.truncate(state / "journal.db", 50)


def _empty(state: Path) -> None:
    os.truncate(state / "journal.db", 0)


def _noise(state: Path) -> None:
    (state / "journal.db").write_bytes(bytes(range(256)) * 200)


def _folder(state: Path) -> None:
    (state / "journal.db").unlink()
    (state / "journal.db").mkdir()


def _newer(state: Path) -> None:
    later = sqlite3.connect(state / "journal.db")
    later.execute("PRAGMA user_version = 999")
    later.commit()
    later.close()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_file, "a file and no folder, no journal of andthen; nothing was changed; give --state another folder"),
        (_foreign, "journal.db: a database of another application, no journal of andthen; nothing was changed"),
        (_cut, "journal.db: a damaged SQLite database, no journal of andthen; nothing was changed"),
        (_cut_short, "journal.db: "),
        (_empty, "journal.db: an empty file, no journal of andthen; nothing was changed"),
        (_noise, "journal.db: not an SQLite database, no journal of andthen; nothing was changed"),
        (_folder, "journal.db: a folder, no journal of andthen; nothing was changed"),
        (_newer, "journal.db has schema 999, this andthen knows 2; use a later andthen"),
    ],
)
def test_a_state_that_is_none_is_refused_by_every_command_and_stays_as_it_is(
    shell: Shell, spoil: Callable[[Path], None], message: str
) -> None:
    state = state_with_flows(shell)
    spoil(state)
    before = contents(state)
    for words in (
        ["run", "r.then", "go", "n=1"], ["ps"], ["flows"], ["log", "abc"], ["show", "abc"], ["post", "go", "n=1"],
        ["resume"], ["cancel", "abc"], ["prune", "--older", "1s"],
    ):  # fmt: skip
        said = shell(*words)
        assert (said.code, said.out) == (3, ""), words
        assert message in said.err
        assert said.err.count("\n") == 1
        assert said.err.startswith(("andthen: .then", "andthen: journal .then")), "the place is said as it was given"
    assert contents(state) == before


@pytest.mark.slow
def test_a_state_on_a_read_only_disk_is_read_and_not_written(shell: Shell) -> None:
    state = state_with_flows(shell)
    with small_disk(shell.folder / "disk", 4000) as disk:
        shutil.copytree(state, disk / "state")
        remount(disk, "ro")
        assert len(shell("--state", "disk/state", "flows", "--json").objects) == 3
        for words in (["run", "r.then", "go", "n=1"], ["post", "go", "n=1"], ["resume"], ["prune", "--older", "1s"]):
            said = shell("--state", "disk/state", *words)
            assert (said.code, said.out) == (3, ""), words
            assert said.err == (
                "andthen: disk/state: cannot be written (Read-only file system); make it writable, or give --state"
                " another folder\n"
            )
        said = shell("--state", "disk/none", "run", "r.then", "go", "n=1")
        assert said.code == 3
        assert "Read-only file system" in said.err
        remount(disk, "rw")
        assert shell("--state", "disk/state", "run", "r.then", "go", "n=1").code == 0
        _wait_for_keeper(disk / "state")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_on_a_full_disk_says_so_hears_signals_and_goes_on_when_there_is_room(
    shell: Shell, number: signal.Signals
) -> None:
    """It once waited for room without a word, and deaf to Ctrl-C."""
    shell.write("r.then", RULES)
    with small_disk(shell.folder / "disk", 2000) as disk:
        assert shell("--state", "disk/state", "run", "r.then", "other").code == 0
        ballast = disk / "ballast"
        _fill(ballast, leave=200_000)
        shell.write("n", "x" * 400_000)
        run = shell.start("--state", "disk/state", "run", "r.then", "go", "n=@n")
        run.hear_until("no room left on the disk: nothing is taken up until there is")
        assert len(shell("--state", "disk/state", "flows", "--json").objects) == 1
        run.signal(number)
        assert run.end().code == 128 + number
        again = shell.start("--state", "disk/state", "run", "r.then", "go", "n=@n")
        again.hear_until("no room left")
        ballast.unlink()
        said = again.end()
        assert said.code == 0
        assert "there is room on the disk again" in said.err
        assert {flow["outcome"] for flow in shell("--state", "disk/state", "flows", "--json").objects} == {"done"}
        _wait_for_keeper(disk / "state")


@pytest.mark.slow
def test_a_disk_that_is_full_before_an_engine_takes_up_what_was_left_is_named(shell: Shell) -> None:
    """It waited without a word for a keeper that waited for room, or said that the keeper ended again and again."""
    gate = shell.fifo("gate")
    shell.write("r.then", 'task wait() run process ["sh", "-c", "cat gate"]\nstart wait()\n')
    with small_disk(shell.folder / "disk", 2000) as disk:
        state = disk / "state"
        run = shell.start("--state", state, "run", "r.then")
        holder = gate.open("w")  # It reads.
        keeper = int((state / "keeper.lock").read_text())
        for pid in (run.process.pid, keeper):
            with open(os.pidfd_open(pid)) as end:
                os.kill(pid, signal.SIGKILL)
                select.select([end], [], [])
        run.end()
        # A start takes the tail away, and would find the room that it needs.
        os.link(state / "journal.tail", disk / "tail")
        _fill(disk / "ballast", leave=0)
        said = shell("--state", "disk/state", "resume")
        assert (said.code, said.out) == (3, "")
        assert said.err == (
            f"andthen: process: {state}: no room left on the disk, and the keeper of processes needs some to take up"
            " what was left; make room, then `andthen resume`\n"
        )
        (disk / "ballast").unlink()
        again = shell.start("--state", "disk/state", "resume")
        holder.close()
        assert again.end().code in (0, 1), (
            "its keeper was killed: where the kernel does not tell how it ended, it is lost"
        )
        _wait_for_keeper(state)


def _wait_for_keeper(state: Path) -> None:
    """Until the keeper has gone, and with it the last file that is open there."""
    try:
        keeper = os.pidfd_open(int((state / "keeper.lock").read_text()))
    except ProcessLookupError:
        return
    with open(keeper) as end:
        select.select([end], [], [])


def _take_away(state: Path) -> None:
    """The folder and all in it, whatever the keeper makes or removes there meanwhile."""
    while state.exists():
        shutil.rmtree(state, ignore_errors=True)


def _fill(ballast: Path, leave: int) -> None:
    found = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        file.write(b"\0" * (found.f_bavail * found.f_bsize - leave))


@pytest.mark.slow
@pytest.mark.parametrize("work", ["wait", "spawn", "rest"])
@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "replaced"])
def test_a_state_folder_that_is_taken_away_ends_its_engine_which_starts_nothing_more(
    shell: Shell, work: str, replaced: bool
) -> None:
    """It went on, and reported each process as one that cannot be spawned."""
    gate = shell.fifo("gate")
    shell.write(
        "r.then",
        """
event go(work: str)
task wait() run process ["sh", "-c", "cat gate"]
task touch() run process ["touch", "started"]
task ask()
rule a when go where work == "wait" then wait() then touch()
rule b when go where work == "spawn" then wait(), wait() then touch()
rule c when go where work == "rest" then ask() then touch()
""",
    )
    program = shell.start("run", "r.then", "go", f"work={work}", "-j", 1)
    program.read_until("asked" if work == "rest" else "started")
    if work != "rest":
        with gate.open("w"):  # It reads.
            _take_away(shell.folder / ".then")
            if replaced:
                assert shell("run", "r.then", "go", "work=nothing").code == 0
    else:
        _take_away(shell.folder / ".then")
        if replaced:
            assert shell("run", "r.then", "go", "work=nothing").code == 0
    said = program.end()
    assert said.code == 3
    assert said.err == (
        "andthen: .then: this state folder was taken away under its engine, which stops here and starts nothing more;"
        " what it wrote is lost: give --state a folder that stays\n"
    )
    assert not (shell.folder / "started").exists()
    assert "spawn" not in said.out
