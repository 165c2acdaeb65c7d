"""kill -9 of whole engines: at counted system calls, at random times, and in their recovery.

`python -m tests.crash.campaign --points 10000` runs as many points as there is
time for; a point that fails says how to run it again.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import attrs

from tests.crash.workload import FLOWS
from tests.simulation.checker import Story, check_reader, check_replay
from then.core import facts as f
from then.core.tasks import Task
from then.journals.sqlite import open_sqlite

ROOT: Final = Path(__file__).parent.parent.parent
PATIENCE_S: Final = 120
AT_ONCE: Final = 2
CALLS: Final = {
    "pwrite64": 30, "fdatasync": 6, "fsync": 6, "futex": 60, "sendto": 7, "clone3": 10, "unlink": 7, "recvfrom": 9,
    "mkdir": 30, "wait4": 20, "ftruncate": 2, "rename": 1, "connect": 1, "socket": 2,
}  # fmt: skip
"""System calls, and how often one thread of a run makes each; a process that a task runs makes none of them."""
WEIGHTS: Final = {"pwrite64": 8, "futex": 5, "fdatasync": 4, "sendto": 4, "clone3": 3, "recvfrom": 3, "mkdir": 2}
DEPTH_MAX: Final = 5
"""How often in a row an engine is killed while it takes up what the one before left."""


@attrs.frozen
class Kill:
    """When one life of an engine ends."""

    call: str | None
    """The system call; None: at a time."""
    number: int = 0
    """Which of those that one thread makes."""
    after_s: float = 0.0


@attrs.frozen
class Point:
    number: int
    durability: str
    kills: tuple[Kill, ...]
    kills_keeper: bool = False
    """After each kill of the engine its keeper goes too."""


@attrs.frozen
class Found:
    """What a point came to."""

    lives: int
    hits: int
    lost: int


def point(number: int) -> Point:
    """The point of a number."""
    chance = Random(f"point {number}")
    depth = chance.choice((1, 1, 1, 2, 3, DEPTH_MAX)) if number % 3 == 0 else 1
    kills = []
    for _ in range(depth):
        if chance.random() < 0.25:
            kills.append(Kill(None, after_s=chance.uniform(0.2, 0.5)))
        else:
            call = chance.choices(list(CALLS), [WEIGHTS.get(name, 1) for name in CALLS])[0]
            kills.append(Kill(call, chance.randint(1, CALLS[call])))
    return Point(number, chance.choice(("power", "process")), tuple(kills), chance.random() < 0.1)


# -- one point ---------------------------------------------------------------------------


def run_point(given: Point) -> Found:
    """Kills engine after engine as the point says, lets a last one run to its end, and looks at what is left.

    Raises:
        AssertionError: something was lost, or happened twice.
    """
    with _folder() as folder:
        hits, may_lose = 0, given.kills_keeper
        for kill in given.kills:
            if not _live_and_die(folder, given, kill):
                # It came to its end; perhaps it was the keeper that was hit.
                may_lose |= kill.call is not None
                break
            hits += 1
            may_lose |= not _has_keeper(folder)
            if given.kills_keeper:
                kill_keeper(folder)
        argv = _argv(folder, given.durability)
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return Found(hits + 1, hits, check(folder, may_lose=may_lose))


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="andthen-kill-"))
    try:
        yield folder
    finally:
        kill_keeper(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _argv(folder: Path, durability: str) -> list[str]:
    return [sys.executable, "-m", "tests.crash.workload", str(folder), "--durability", durability]


def _live_and_die(folder: Path, given: Point, kill: Kill) -> bool:
    """One life of an engine. False where it ended by itself."""
    pid_file = folder / "pid"
    pid_file.unlink(missing_ok=True)
    # The shell becomes the engine, so that its pid is known before anything may end it.
    argv = [
        "sh",
        "-c",
        'echo $$ > "$0.part"; mv "$0.part" "$0"; exec "$@"',
        str(pid_file),
        *_argv(folder, given.durability),
    ]
    if kill.call is not None:
        inject = f"inject={kill.call}:signal=KILL:when={kill.number}"
        # Without a filter: one would stay with the keeper, and answer its calls with ENOSYS when the tracer has gone.
        trace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={kill.call}", "-e", inject]
        argv = [*trace, *argv]
    outer = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        pid = _pid(pid_file, outer)
        if pid is None:
            return True
        return _wait_or_kill(pid, kill, folder)
    finally:
        # The tracer goes; what it traced besides, the keeper, goes on.
        if outer.poll() is None:
            outer.kill()
        _, errors = outer.communicate(timeout=PATIENCE_S)
        # Every keeper is hit like the first; an engine that gives up on them says so.
        assert b"Traceback" not in errors or b"ended again and again" in errors, errors.decode()


def _pid(pid_file: Path, outer: subprocess.Popen[bytes]) -> int | None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if pid_file.exists():
            return int(pid_file.read_text())
        if outer.poll() is not None:
            return int(pid_file.read_text()) if pid_file.exists() else None
        select.select([], [], [], 0.002)
    raise AssertionError("an engine did not begin")


def _wait_or_kill(pid: int, kill: Kill, folder: Path) -> bool:
    """Waits for the engine's end, or kills it when its time has come. Whether it was killed."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return not _is_over(folder)
    try:
        patience_s = kill.after_s if kill.call is None else PATIENCE_S
        ended, _, _ = select.select([handle], [], [], patience_s)
        if not ended:
            assert kill.call is None, "an engine that was not killed does not come to its end"
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            except ProcessLookupError:
                pass
            select.select([handle], [], [], PATIENCE_S)
    finally:
        os.close(handle)
    return not _is_over(folder)


def _is_over(folder: Path) -> bool:
    said = folder / "said"
    return said.exists() and len({line.split()[1] for line in said.read_text().splitlines() if line[0] == "e"}) == FLOWS


def kill_keeper(folder: Path) -> None:
    pid = _keeper(folder)
    if pid is not None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _has_keeper(folder: Path) -> bool:
    """Whether it lives; where there was none yet, nothing is lost with it."""
    pid = _keeper(folder)
    if pid is None:
        return not (folder / "state" / "keeper.lock").exists()
    for _ in range(PATIENCE_S * 500):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        state = stat.rpartition(")")[2].split()[0]
        if state in "ZX":
            return False  # Nobody may have reaped it.
        if state == "S":
            return True
        # What its tracer gave it last it hears only when it has its turn: that may be a KILL.
        select.select([], [], [], 0.002)
    raise AssertionError("a keeper does not come to rest")


def _keeper(folder: Path) -> int | None:
    try:
        return int((folder / "state" / "keeper.lock").read_text())
    except (FileNotFoundError, ValueError):
        return None


# -- the verdict ----------------------------------------------------------------------------


def what_came(story: Story) -> Counter[tuple[str, ...]]:
    """Records without ids and times."""
    return Counter(
        (task.type, json.dumps(task.body, sort_keys=True), str(task.rule), story.outcomes[id])
        for id, task in story.records.items()
    )


def expected() -> Counter[tuple[str, ...]]:
    """What comes of the workload, from its rules: read off a run that nobody killed."""
    with _folder() as folder:
        subprocess.run(_argv(folder, "process"), cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=True)
        journal = open_sqlite(folder / "state", read_only=True)
        try:
            return what_came(Story(journal))
        finally:
            journal.close()


_expected: list[Counter[tuple[str, ...]]] = []


def check(folder: Path, *, may_lose: bool) -> int:
    """All that must hold of a state after its engines were killed. Gives how many tasks ended lost or in doubt."""
    if not _expected:
        _expected.append(expected())
    journal = open_sqlite(folder / "state", read_only=True)
    try:
        check_replay(journal)
        story = Story(journal)
        story.check_end()
        check_reader(journal, story)
        doubt = _doubts(journal)
    finally:
        journal.close()
    _check_said(folder, story)
    _check_runs(folder, story, doubt)
    if not doubt:
        assert what_came(story) == _expected[0]
    else:
        # A keeper was killed: what it alone knew is lost, and says so.
        assert may_lose
        assert set(doubt.values()) <= {"lost", "unknown"}
    return len(doubt)


def _doubts(journal: object) -> dict[str, str]:
    found = {}
    for entry in journal.read():  # type: ignore[attr-defined]
        for fact in f.decode(entry.data).facts:
            if isinstance(fact, f.Completed) and fact.error and fact.error["kind"] in ("lost", "unknown"):
                found[fact.id] = fact.error["kind"]
    return found


def _check_said(folder: Path, story: Story) -> None:
    """What was acknowledged is there: one flow a key, with the outcome that was told."""
    posted: dict[str, str] = {}
    for line in (folder / "said").read_text().splitlines():
        word, key, flow, *outcome = line.split()
        assert flow in story.flows, f"{line}: acknowledged, and lost"
        assert posted.setdefault(key, flow) == flow, "one key brought two flows forth"
        if word == "ended":
            assert story.flows[flow] == outcome[0]
    assert len(posted) == FLOWS == len(story.flows)


def _check_runs(folder: Path, story: Story, doubt: dict[str, str]) -> None:
    """Each process ran once, and its output is whole; one that is lost ran once at most."""
    path = folder / "runs"
    runs = Counter(path.read_text().split() if path.exists() else ())
    processes = {id: task for id, task in story.records.items() if task.type in ("p", "q", "r")}
    assert set(runs) <= set(processes)
    for id, process in processes.items():
        if id in doubt:
            assert runs[id] <= 1, f"{id} ran {runs[id]} times"
            continue
        assert runs[id] == 1, f"{id} ran {runs[id]} times"
        assert _output(folder, process) == f"out {id}\n"


def _output(folder: Path, task: Task) -> str:
    return (folder / "state" / "tasks" / task.id / "out").read_text()


# -- many points --------------------------------------------------------------------------------


def run_points(first: int, count: int) -> Counter[str]:
    """Runs points, some at once; the first that fails ends it.

    Raises:
        AssertionError: with how to run the point again.
    """
    totals: Counter[str] = Counter()
    if not _expected:
        _expected.append(expected())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {number: pool.submit(run_point, point(number)) for number in range(first, first + count)}
        for number, one in running.items():
            error = one.exception()
            if error is not None:
                pool.shutdown(cancel_futures=True)
                raise AssertionError(f"python -m tests.crash.campaign --first {number} --points 1") from error
            found = one.result()
            totals.update(points=1, lives=found.lives, kills=found.hits, lost=found.lost)
    return totals


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--points", type=int, default=300)
    given = options.parse_args()
    begun = time.perf_counter()
    totals = run_points(given.first, given.points)
    print(dict(totals), f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
