"""kill -9 of engine, keeper and both: every exit code and byte is there, or the task is lost; none runs twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.lanes import code, ids

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120


def need(is_there: bool, reason: str) -> None:
    """Skips where something is missing; never on CI."""
    if not is_there:
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)


def open_engine(folder: Path, count: int, python: Path | None = None) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.crash.lanes", str(folder), str(count), "6"]
    return subprocess.Popen([*argv, str(python)] if python else argv, cwd=ROOT, stderr=subprocess.PIPE)


def finish(folder: Path, count: int) -> None:
    """Lets a last engine run to the end."""
    engine = open_engine(folder, count)
    _, errors = engine.communicate(timeout=PATIENCE_S)
    assert (engine.returncode, errors) == (0, b"")


def check(folder: Path, count: int, lost_max: int) -> Counter[str]:
    """Each task ended once: with its true code and all its output, or lost; and ran once at most."""
    ends: dict[str, list[list[str]]] = {}
    for line in (folder / "journal").read_text().splitlines():
        word, id, *rest = line.split()
        if word == "E":
            ends.setdefault(id, []).append(rest)
    assert sorted(ends) == ids(count)
    kinds: Counter[str] = Counter()
    for id, found in ends.items():
        assert len(found) == 1, (id, found)
        ((given, kind),) = found
        runs = folder / "runs" / id
        ran = len(runs.read_text().splitlines()) if runs.exists() else 0
        kinds[kind] += 1
        assert ran <= 1, f"{id} ran {ran} times"
        if kind == "lost":
            continue
        assert ran == 1, id
        assert (given, kind) == (str(code(id)), "exit" if code(id) else "None"), id
        assert (folder / "tasks" / id / "out").read_text() == f"out {id}\n"
        assert (folder / "tasks" / id / "err").read_text() == f"err {id}\n"
    assert kinds["lost"] <= lost_max, kinds
    return kinds


def keeper_pid(folder: Path) -> int | None:
    try:
        return int((folder / "keeper.lock").read_text())
    except (FileNotFoundError, ValueError):
        return None


def kill_keeper(folder: Path) -> None:
    pid = keeper_pid(folder)
    if pid is not None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("victim", ["engine", "keeper", "both"])
def test_kills_at_random_times_lose_nothing_silently(tmp_path: Path, victim: str) -> None:
    rng = random.Random(f"kill {victim}")
    count, kills = 400, 12
    for _ in range(kills):
        engine = open_engine(tmp_path, count)
        try:
            engine.wait(timeout=0.15 + rng.random() * 0.4)
        except subprocess.TimeoutExpired:
            pass
        if victim != "engine":
            kill_keeper(tmp_path)
        if victim == "keeper":
            # The same engine goes on with the next keeper.
            try:
                engine.wait(timeout=rng.random() * 0.2)
            except subprocess.TimeoutExpired:
                kill_keeper(tmp_path)
        if victim != "keeper" or engine.poll() is None:
            engine.kill()
        engine.communicate()
    finish(tmp_path, count)
    # Only what a keeper had under way when it was killed may be lost, never what an engine had.
    check(tmp_path, count, lost_max=0 if victim == "engine" else kills * 2 * 7)


CALLS = ["write", "clone,clone3,vfork", "wait4", "renameat,renameat2,rename", "sendto", "fcntl", "mkdir", "recvfrom"]


@pytest.mark.parametrize("call", CALLS)
def test_a_keeper_killed_at_a_counted_call_loses_nothing_silently(tmp_path: Path, call: str) -> None:
    need(shutil.which("strace") is not None, "strace is not installed")
    for when in (1, 2, 3, 5, 8, 13, 21, 34):
        folder = tmp_path / str(when)
        folder.mkdir()
        program = folder / "python"
        # The first keeper is killed when it makes the call for the given time; those after it are left alone.
        program.write_text(
            "#!/bin/sh\n"
            f'mkdir {folder}/first 2> /dev/null || exec {sys.executable} "$@"\n'
            f'exec strace -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={when} {sys.executable} "$@"\n'
        )
        program.chmod(0o755)
        engine = open_engine(folder, 12, program)
        _, errors = engine.communicate(timeout=PATIENCE_S)
        assert (engine.returncode, errors) == (0, b"")
        check(folder, 12, lost_max=6)


REUSE = r"""
import os, re, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.desk import Desk
from tests.seams.executor_suite import job

def take_pid(pid):
    # The next process of this namespace gets the number after it.
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    other = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    assert other.pid == pid, (other.pid, pid)
    return other

with Desk(Path(sys.argv[1])) as desk:
    there = desk.signal("there")
    desk.start_shell("victim", f"echo $$ > {there}; exec sleep infinity")
    pid = int(there.wait())
    # Its start lies between two ticks of the kernel's clock. No pid comes round within one.
    # The keeper may write of it only now.
    while not (line := re.search(rf"^P victim {pid} \d+ (\d+) \d+\n", desk.keeper_log.read_text(), re.M)):
        pass
    last = line[1]
    desk.executor.close(wait=True)
    desk.kill_keeper()
    os.kill(pid, signal.SIGKILL)
    # Pid 1 of this namespace is this program: it takes leave of keeper and task.
    gone = {os.wait()[0] for _ in range(2)}
    assert pid in gone
    while int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) <= int(last):
        pass
    innocent = take_pid(pid)
with Desk(Path(sys.argv[1])) as desk:
    desk.executor.recover([job("victim", argv=["true"])])
    desk.executor.stop("victim", 0)
    report = desk.reports.one()
    assert report.outcome in ("failed", "cancelled"), report
    assert report.outcome == "cancelled" or report.error["kind"] == "lost", report
    assert desk.run("true").outcome == "done"
    assert innocent.poll() is None
    print("well")
innocent.kill()
"""


def test_a_pid_that_another_process_got_cannot_fool_it(tmp_path: Path) -> None:
    is_root = os.geteuid() == 0 and Path("/proc/sys/kernel/ns_last_pid").exists()
    need(is_root and shutil.which("unshare") is not None, "forcing a pid needs root, unshare and ns_last_pid")
    program = tmp_path / "reuse.py"
    program.write_text(REUSE)
    (tmp_path / "desk").mkdir()
    argv = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        sys.executable,
        str(program),
        str(tmp_path / "desk"),
        str(ROOT),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


FULL = """
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.desk import Desk

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=True)
with Desk(folder) as desk:
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("before", f"echo > {there}; read line < {go}; exit 3")
    there.wait()
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
    # The page of the log that is begun takes some more lines.
    log = folder / "state" / "keeper.log"
    with open(log, "ab", buffering=0) as file:
        try:
            while file.write(b"gap\\n"):
                pass
        except OSError:
            pass
    go.send()
    assert desk.reports.one().result == {"code": 3}
    desk.start_shell("after", "exit 4")
    os.unlink(folder / "filler")
    assert desk.reports.wait(2)["after"].result == {"code": 4}
    print("well")
"""


def test_a_full_disk_makes_orders_wait_and_loses_no_end(tmp_path: Path) -> None:
    need(os.geteuid() == 0 and shutil.which("unshare") is not None, "mounting a small disk needs root and unshare")
    program = tmp_path / "full.py"
    program.write_text(FULL)
    (tmp_path / "disk").mkdir()
    argv = ["unshare", "--mount", sys.executable, str(program), str(tmp_path / "disk"), str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
