"""What all rows share: options, folders on the disk, workers in processes of their own, the count of fsyncs."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import report, venv
from bench.report import Findings

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Options:
    quick: bool = False
    rounds: int = 5
    """How many runs of each subject have to count."""
    folder: Path = Path("/var/tmp")
    """Where states and journals are put: on a disk, not in memory."""

    @property
    def rounds_max(self) -> int:
        return self.rounds if self.quick else self.rounds * 3

    def size(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole


RowRun = Callable[[Options], Findings]
Command = Callable[[Path, int], list[str]]
"""The command of a worker, from its folder and the number of its tasks."""


class WorkerFailed(Exception):
    """A worker that ended otherwise than well; its last words."""


# -- the command line -------------------------------------------------------------


def parse(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="a hundredth of the work, one round: does it run, is it right?"
    )
    parser.add_argument("--rounds", type=int, default=0, help="runs of each subject that have to count (5; quick: 1)")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where states are put, on a disk (/var/tmp)"
    )
    parser.add_argument("--no-install", action="store_true", help="peers that are not installed are reported as absent")
    parser.add_argument("--publish", action="store_true", help="writes the tables into docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="appends the lines to FILE as JSON Lines")
    return parser.parse_args(argv)


def main(rows: Sequence[tuple[str, RowRun]], description: str, argv: Sequence[str] | None = None) -> int:
    """Runs rows, prints their tables; 1 where an answer was wrong or something did not run. Bars never fail it."""
    given = parse(description, argv)
    if given.publish and given.quick:
        sys.exit("bench: --quick is for seeing that it runs; measure whole to --publish")
    options = Options(given.quick, given.rounds or (1 if given.quick else 5), given.folder)
    if not given.no_install:
        venv.install_where_missing()
    conditions = f"{report.machine()}, {filesystem(options.folder)}"
    print(f"{conditions}{'; quick' if options.quick else ''}", flush=True)
    if "tmpfs" in conditions:
        print("bench: this folder is in memory, so that fsync costs nothing; give --folder on a disk", file=sys.stderr)
    wrong: list[str] = []
    for name, run in rows:
        try:
            found = run(options)
        except WorkerFailed as error:
            wrong.append(f"{name} did not run")
            print(f"\n{name}: did not run\n{error}", flush=True)
            continue
        print(f"\n{name}\n{report.text(found.lines)}", flush=True)
        wrong += found.wrong
        if given.publish:
            report.publish(name, found.lines, conditions)
        if given.json:
            report.write_json(given.json, found.lines)
    for text in wrong:
        print(f"bench: wrong: {text}", file=sys.stderr)
    return 1 if wrong else 0


# -- folders ------------------------------------------------------------------------


@contextlib.contextmanager
def fresh(options: Options, name: str = "state") -> Iterator[Path]:
    """An empty folder on the disk, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=options.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def filesystem(folder: Path) -> str:
    """The kind of file system that a folder is on: `ext4`, `tmpfs`."""
    found, kind = "", "an unknown file system"
    place = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, name, *_ = line.split()
        if (place == mounted or place.startswith(mounted.rstrip("/") + "/")) and len(mounted) >= len(found):
            found, kind = mounted, name
    return kind


# -- workers ------------------------------------------------------------------------


def worker(module: str, *arguments: object, python: Path | None = None) -> list[str]:
    """The command that runs a module of this package, by this interpreter or another."""
    return [str(python or sys.executable), "-m", f"bench.{module}", *map(str, arguments)]


def call(command: Sequence[str], timeout_s: float = 3600) -> dict[str, Any]:
    """Runs a worker to its end; its last line of output, as JSON.

    Raises:
        WorkerFailed: it ended otherwise than with 0 and a line of JSON.
    """
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last or not last[0].startswith("{"):
        raise WorkerFailed(f"{_shown(command)} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}")
    return json.loads(last[0])  # type: ignore[no-any-return]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}


def rate(found: Findings, options: Options, tasks: int, command: Command) -> Callable[[], float]:
    """A run of a worker in a new folder, giving tasks a second; a wrong answer is noted."""

    def once() -> float:
        with fresh(options) as folder:
            given = command(folder, tasks)
            said = call(given)
        if not said["right"]:
            found.wrong.append(f"{_shown(given)}: {said}")
        return tasks / float(said["seconds"])

    return once


def is_there(module: str = "then.app.engine") -> bool:
    """Whether a part of `then` is there; until then its lines say so."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _shown(command: Sequence[str]) -> str:
    return " ".join(part for part in command if not part.startswith("/"))


class Server:
    """A worker that loads once and then answers line by line, so that rounds can alternate between several."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._command = command
        self.ready = self._read()
        """What it said when it had loaded."""

    def ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{_shown(self._command)} ended with {self._process.wait()}; what it said is above")
        return json.loads(line)


# -- fsync ----------------------------------------------------------------------------


def syncs(command: Sequence[str], folder: Path) -> int | None:
    """How often a worker and its children called fsync or fdatasync; None where strace is not there."""
    if shutil.which("strace") is None:
        return None
    counts = folder / "strace.txt"
    call(["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(counts), *command])
    found = re.findall(
        r"^\s*\S+\s+\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?(?:fsync|fdatasync)$", counts.read_text(), re.MULTILINE
    )
    return sum(map(int, found))


def syncs_a_task(command: Command, options: Options, tasks: int) -> float | None:
    """fsyncs for each task: the slope between a run of this many and one of twice as many, so that opening is left out."""
    counts: list[int] = []
    for count in (tasks, 2 * tasks):
        with fresh(options) as folder:
            found = syncs(command(folder, count), folder)
        if found is None:
            return None
        counts.append(found)
    return (counts[1] - counts[0]) / tasks
