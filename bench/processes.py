"""Row 5: 10,000 × /bin/true, 2 in flight, every exit code recorded durably, each outliving the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import harness, venv
from bench.harness import Options, worker
from bench.report import Bar, Findings, compare
from bench.rounds import measure

PARALLEL_TASKS = 1_000
"""Fewer for GNU parallel, which takes some ms for each."""


def run(options: Options) -> Findings:
    found = Findings()
    tasks = options.size(10_000, 400)
    subjects = {}
    if harness.is_there():
        subjects["ours"] = harness.rate(found, options, tasks, lambda folder, count: worker(
            "ours", "processes", folder, count, "power"))  # fmt: skip
    ninja, parallel = venv.program("ninja"), shutil.which("parallel")
    if ninja is not None:
        subjects["ninja"] = _rate(found, options, tasks, _by_ninja(ninja))
    if parallel is not None:
        subjects["parallel"] = _rate(found, options, options.size(PARALLEL_TASKS, 100), _by_parallel(parallel))
    floor = harness.rate(found, options, tasks, lambda folder, count: worker("floors", "processes", folder, count))
    sampled = measure(("floor", floor), subjects, options.rounds, options.rounds_max)
    ours, work = sampled.get("ours"), "/bin/true, 2 in flight"
    found.lines = [
        compare("5", work, ours, sampled.get("ninja"), against="ninja -j2", unit="/s", bar=Bar(1, 1.25)),
        compare("5", work, ours, sampled.get("parallel"), against="parallel -j2 --joblog", unit="/s", bar=Bar(4)),
        compare("5", work, ours, sampled["floor"], against="floor: posix_spawn, a journal thread", unit="/s",
                bar=Bar(None, 0.75)),
    ]  # fmt: skip
    return found


Runner = Callable[[Path, int], int]
"""Runs so many processes in a folder, to their end; gives how many its own log names."""


def _rate(found: Findings, options: Options, tasks: int, runner: Runner) -> Callable[[], float]:
    def once() -> float:
        with harness.fresh(options) as folder:
            begun = time.perf_counter()
            logged = runner(folder, tasks)
            seconds = time.perf_counter() - begun
        if logged != tasks:
            found.wrong.append(f"processes: a peer logged {logged} of {tasks}")
        return tasks / seconds

    return once


def _by_ninja(program: str) -> Runner:
    """Its own start and the reading of its file (50 ms or so at 10,000) are in its time."""

    def ninja(folder: Path, tasks: int) -> int:
        lines = ["rule true", "  command = /bin/true", *(f"build o{n}: true" for n in range(tasks))]
        (folder / "build.ninja").write_text("\n".join(lines) + "\n")
        subprocess.run([program, "-C", folder, "-j2", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return len((folder / ".ninja_log").read_text().splitlines()) - 1

    return ninja


def _by_parallel(program: str) -> Runner:
    def parallel(folder: Path, tasks: int) -> int:
        log = folder / "joblog"
        command = [program, "--will-cite", "-j2", "-N0", "--joblog", str(log), "/bin/true"]
        given = "".join(f"{n}\n" for n in range(tasks))
        environment = {**os.environ, "PARALLEL_HOME": str(folder)}
        subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.DEVNULL, env=environment)
        return len(log.read_text().splitlines()) - 1

    return parallel


if __name__ == "__main__":
    sys.exit(harness.main([("processes", run)], __doc__))
