"""What a process costs: ours against ninja and against the bare system calls.

    python bench/processes_floor.py [COUNT] [RUNS]

Each run measures, one after the other on the same disk: `ninja -j2` over COUNT
edges that run `true`; the floor, a Python loop of posix_spawn and waitpid with
two in flight; and our executor with two in flight, each group of ends committed
to SQLite (WAL, FULL) inside the report before what follows is ordered. Then the
latency from the end of a process to the start of its successor.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from then.abc import Job, Report
from then.core.tasks import Task
from then.executors.process import ProcessExecutor

PROGRAM = "/bin/true"
T = TypeVar("T")


def open_journal(folder: Path) -> sqlite3.Connection:
    journal = sqlite3.connect(folder / "journal.db", isolation_level=None, check_same_thread=False)
    journal.execute("pragma journal_mode=wal")
    journal.execute("pragma synchronous=full")
    journal.execute("create table entry (seq integer primary key, data blob)")
    return journal


def commit(journal: sqlite3.Connection, rows: Sequence[bytes]) -> None:
    journal.execute("begin immediate")
    journal.executemany("insert into entry (data) values (?)", [(row,) for row in rows])
    journal.execute("commit")


def ninja(folder: Path, count: int) -> float:
    edges = "".join(f"build o{i}: run\n" for i in range(count))
    (folder / "build.ninja").write_text(f"rule run\n  command = {PROGRAM}\n{edges}")
    began = time.perf_counter()
    subprocess.run(["ninja", "-j2", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return count / (time.perf_counter() - began)


def bare(folder: Path, count: int) -> float:
    """posix_spawn and waitpid, two in flight, output to two files that are there; nothing is kept."""
    paths = [str(folder / name) for name in ("out", "err")]
    append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, paths[0], append, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, paths[1], append, 0o600),
    ]
    began = time.perf_counter()
    started = ended = 0
    while ended < count:
        while started < count and started - ended < 2:
            os.posix_spawn(PROGRAM, [PROGRAM], os.environ, file_actions=actions, setsid=True)
            started += 1
        os.waitpid(-1, 0)
        ended += 1
    return count / (time.perf_counter() - began)


class Lanes:
    """A tiny engine: so many in flight; a group of ends is committed, then as many are started."""

    def __init__(self, folder: Path, count: int, lanes: int, *, starts_first: bool = False) -> None:
        self.journal = open_journal(folder)
        self.starts_first = starts_first
        self.count, self.lanes = count, lanes
        self.started = 0
        self.reports: list[Report] = []
        self.groups = 0
        self.is_done = threading.Event()
        self.executor = ProcessExecutor(folder, self.report)

    def jobs(self, count: int) -> list[Job]:
        count = min(count, self.count - self.started)
        first = self.started
        self.started += count
        return [
            Job(Task("t", {"n": i}, id=f"{i:013d}", flow="0" * 13), {"argv": [PROGRAM]})
            for i in range(first, first + count)
        ]

    def report(self, reports: Sequence[Report]) -> None:
        rows = [b"%s %d" % (r.id.encode(), r.result["code"]) + b"x" * 90 for r in reports if r.result]
        jobs = self.jobs(len(reports))
        if self.starts_first:
            # What these were emitted by is durable: only what the ends bring forth has to wait for the commit.
            self.executor.start(jobs)
            jobs = []
        commit(self.journal, rows)
        self.groups += 1
        self.reports += reports
        self.executor.forget([report.id for report in reports])
        if jobs:
            self.executor.start(jobs)
        if len(self.reports) == self.count:
            self.is_done.set()

    def run(self) -> float:
        began = time.perf_counter()
        self.executor.start(self.jobs(self.lanes))
        self.is_done.wait()
        took = time.perf_counter() - began
        self.executor.close(wait=True)
        assert [report.outcome for report in self.reports] == ["done"] * self.count
        return took


def committed_first(folder: Path, count: int) -> float:
    return count / Lanes(folder, count, 2).run()


def started_first(folder: Path, count: int) -> float:
    return count / Lanes(folder, count, 2, starts_first=True).run()


def latency(folder: Path, count: int) -> tuple[float, float]:
    """Milliseconds a link in a chain of processes, ours and the floor: posix_spawn, wait, commit."""
    mine = Lanes(folder, count, 1).run()
    other = folder / "floor"
    other.mkdir()
    journal = open_journal(other)
    began = time.perf_counter()
    for _ in range(count):
        pid = os.posix_spawn(PROGRAM, [PROGRAM], os.environ)
        os.waitpid(pid, 0)
        commit(journal, [b"x" * 106])
    return mine / count * 1e3, (time.perf_counter() - began) / count * 1e3


def in_folder(work: Callable[[Path, int], T], count: int) -> T:
    folder = Path(tempfile.mkdtemp(prefix="then-floor-", dir=os.environ.get("THEN_BENCH_DIR", "/var/tmp")))
    try:
        return work(folder, count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # The keeper is ending beside us.


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    works = (ninja, bare, committed_first, started_first)
    ratios: dict[str, list[float]] = {work.__name__: [] for work in works}
    for _ in range(runs):
        rates = {work.__name__: in_folder(work, count) for work in works}
        again = in_folder(ninja, count)
        reference = (rates["ninja"] + again) / 2
        print("  ".join(f"{name} {rate:6.0f}/s" for name, rate in rates.items()), f" ninja again {again:6.0f}/s")
        for name, rate in rates.items():
            ratios[name].append(rate / reference)
    print("median, in ninjas: ", "  ".join(f"{name} {statistics.median(found):.2f}" for name, found in ratios.items()))
    chain = [in_folder(latency, count // 10) for _ in range(runs)]
    print("median link of a chain, in floors:", f"{statistics.median(mine / floor for mine, floor in chain):.2f}")


if __name__ == "__main__":
    main()
