"""A small engine to be killed: `python -m tests.crash.lanes FOLDER COUNT LANES`.

It runs COUNT processes, LANES at once, and notes in a file of its own what it
ordered and how each ended. As the real engine may, it notes an order after it
gave it. Started again it asks for what was left, and goes on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from then.abc import Job, Report
from then.core.tasks import Task
from then.executors.process import ProcessExecutor

# A line a run, so that a second one would be seen; output before and after a pause; a code of its own.
SCRIPT = 'echo run >> "$RUNS/$THEN_TASK_ID"; echo "out $THEN_TASK_ID"; sleep 0.0$(($CODE % 3)); echo "err $THEN_TASK_ID" >&2; exit $CODE'


def ids(count: int) -> list[str]:
    return [f"t{n:012d}" for n in range(count)]


def code(id: str) -> int:
    return int(id[1:]) % 7


class Lanes:
    def __init__(self, folder: Path, count: int, lanes: int) -> None:
        self.folder = folder
        self.lanes = lanes
        self.runs = folder / "runs"
        self.runs.mkdir(exist_ok=True)
        self.journal = os.open(folder / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.lock = threading.RLock()
        self.is_done = threading.Event()
        self.executor = ProcessExecutor(folder, self.report)
        ended = {line.split()[1] for line in self.lines() if line[0] == "E"}
        ordered = {line.split()[1] for line in self.lines() if line[0] == "O"}
        left = [id for id in ids(count) if id not in ended]
        known = ordered.union(self.executor.inventory())
        self.live = {id for id in left if id in known}
        self.waiting = [id for id in left if id not in known]

    def lines(self) -> list[str]:
        return (self.folder / "journal").read_text().splitlines()

    def note(self, lines: Sequence[str]) -> None:
        os.write(self.journal, "".join(f"{line}\n" for line in lines).encode())

    def job(self, id: str) -> Job:
        env = {"RUNS": str(self.runs), "CODE": str(code(id))}
        return Job(Task("t", id=id, flow="f"), {"argv": ["sh", "-c", SCRIPT], "env": env})

    def report(self, reports: Sequence[Report]) -> None:
        self.note([f"E {r.id} {r.result and r.result.get('code')} {r.error and r.error['kind']}" for r in reports])
        os.fsync(self.journal)
        with self.lock:
            self.live.difference_update(report.id for report in reports)
            self.executor.forget([report.id for report in reports])
            self.fill()

    def fill(self) -> None:
        free = max(0, self.lanes - len(self.live))
        next_ids, self.waiting = self.waiting[:free], self.waiting[free:]
        self.live.update(next_ids)
        if next_ids:
            self.executor.start([self.job(id) for id in next_ids])
            self.note([f"O {id}" for id in next_ids])
        if not self.live:
            self.is_done.set()

    def run(self) -> None:
        with self.lock:
            self.executor.recover([self.job(id) for id in sorted(self.live)])
            self.fill()
        self.is_done.wait()
        self.executor.close(wait=True)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        # The keeper is started by this program in place of Python: it may be one that is killed at a chosen call.
        sys.executable = sys.argv[4]
    Lanes(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])).run()
