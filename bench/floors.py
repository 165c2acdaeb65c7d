"""Floors: what SQLite's commit and `posix_spawn` alone allow, with nothing of an engine around them.

A worker: `python -m bench.floors WORK FOLDER TASKS [OPTION]` prints one line of JSON.

chain       one record encoded and committed by itself, TASKS times (`full` or `normal`)
group       records encoded and committed in transactions of 100 (`full` or `normal`)
processes   /bin/true, 2 in flight; a journal thread commits whatever ended meanwhile, FULL
latency     `date`, one at a time: spawn, wait, commit FULL, spawn the next; from one's
            time to the next's, in µs
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import sqlite3
import statistics
import sys
import threading
import time
from pathlib import Path

import msgspec

GROUP = 100
"""Records in a transaction of the group-commit floor."""
DATE = ["/bin/date", "+%s%N"]


class Record(msgspec.Struct, frozen=True):
    """A record with the fields that any engine would keep; 150 bytes or so as msgpack."""

    id: str
    type: str
    flow: str
    parent: str
    rule: str
    outcome: str
    body: dict[str, int]
    result: dict[str, int]
    created: int
    completed: int


def record(n: int) -> Record:
    now = time.time_ns() // 1000
    return Record(f"{n:013x}", "step", "0" * 13, f"{n - 1:013x}" if n else "", "next", "done",
                  {"n": n}, {"n": n + 1}, now, now)  # fmt: skip


def connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "floor.db", isolation_level=None, check_same_thread=False)


def opened(folder: Path, synchronous: str) -> sqlite3.Connection:
    """A database with one table for records; one statement is one transaction unless BEGIN says otherwise."""
    database = connect(folder)
    mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    assert mode == "wal", mode
    database.execute(f"PRAGMA synchronous={synchronous}")
    database.execute("CREATE TABLE fact (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    return database


def chain(folder: Path, tasks: int, synchronous: str = "full") -> dict[str, object]:
    database = opened(folder, synchronous)
    encode = msgspec.msgpack.Encoder().encode
    begun = time.perf_counter()
    for n in range(tasks):
        database.execute("INSERT INTO fact (data) VALUES (?)", (encode(record(n)),))
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "record_bytes": len(encode(record(tasks))), "right": count(database) == tasks}


def group(folder: Path, tasks: int, synchronous: str = "full") -> dict[str, object]:
    database = opened(folder, synchronous)
    encode = msgspec.msgpack.Encoder().encode
    begun = time.perf_counter()
    for first in range(0, tasks, GROUP):
        database.execute("BEGIN")
        rows = [(encode(record(n)),) for n in range(first, min(first + GROUP, tasks))]
        database.executemany("INSERT INTO fact (data) VALUES (?)", rows)
        database.execute("COMMIT")
    return {"seconds": time.perf_counter() - begun, "right": count(database) == tasks}


def processes(folder: Path, tasks: int, option: str = "") -> dict[str, object]:
    """Output goes nowhere and nothing outlives this; a real engine does both, so this is out of its reach."""
    database = opened(folder, "full")
    encode = msgspec.msgpack.Encoder().encode
    ended: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()

    def write() -> None:
        going = True
        while going:
            found = [ended.get()]
            while not ended.empty():
                found.append(ended.get())
            going = found[-1] is not None
            database.execute("BEGIN")
            rows = [(encode(record(item[0])),) for item in found if item is not None]
            database.executemany("INSERT INTO fact (data) VALUES (?)", rows)
            database.execute("COMMIT")

    journal = threading.Thread(target=write)
    journal.start()
    silence = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, silence, descriptor) for descriptor in (0, 1, 2)]
    running: dict[int, int] = {}
    begun = time.perf_counter()
    for n in range(tasks):
        if len(running) == 2:
            pid, status = os.waitpid(-1, 0)
            ended.put((running.pop(pid), status))
        running[os.posix_spawn("/bin/true", ["/bin/true"], os.environ, file_actions=actions)] = n
    while running:
        pid, status = os.waitpid(-1, 0)
        ended.put((running.pop(pid), status))
    ended.put(None)
    journal.join()
    return {"seconds": time.perf_counter() - begun, "right": count(database) == tasks}


def latency(folder: Path, tasks: int, option: str = "") -> dict[str, object]:
    database = opened(folder, "full")
    encode = msgspec.msgpack.Encoder().encode
    output = folder / "output"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600)]
    for n in range(tasks):
        pid = os.posix_spawn(DATE[0], DATE, os.environ, file_actions=actions)
        os.waitpid(pid, 0)
        database.execute("INSERT INTO fact (data) VALUES (?)", (encode(record(n)),))
    return gaps([int(line) for line in output.read_text().split()], tasks)


def gaps(times_ns: list[int], tasks: int) -> dict[str, object]:
    """Median and 99th percentile of the steps between times, in µs."""
    steps = [(after - before) / 1000 for before, after in itertools.pairwise(times_ns)]
    return {
        "median_us": statistics.median(steps),
        "p99_us": statistics.quantiles(steps, n=100)[98],
        "right": len(times_ns) == tasks and times_ns == sorted(times_ns),
    }


def count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM fact").fetchone()[0])


if __name__ == "__main__":
    works = {"chain": chain, "group": group, "processes": processes, "latency": latency}
    work, at, amount, *rest = sys.argv[1:]
    print(json.dumps(works[work](Path(at), int(amount), *rest)))
