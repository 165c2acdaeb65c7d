"""Row 4: 10,000 quick functions from one record, and a closing rule."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import harness, venv
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, compare, figure
from bench.rounds import measure

FLOOR_TASKS = 50_000
"""More for the floor, so that it takes long enough to be timed."""
DBOS_TASKS, HUEY_TASKS = 1_000, 2_000
"""Fewer for the peers, which take seconds for them."""
HUEY = {"huey": ("plain", "default"), "huey, chord": ("chord", "default"), "huey, fsync off": ("plain", "off")}


def run(options: Options) -> Findings:
    found = Findings()
    tasks = options.size(10_000, 1_000)
    subjects = {}
    if harness.is_there():
        subjects["ours"] = harness.rate(found, options, tasks, _ours)
    if venv.has("dbos"):
        subjects["dbos"] = harness.rate(found, options, options.size(DBOS_TASKS, 100), _dbos)
    if venv.has("huey"):
        for name, (work, sync) in HUEY.items():
            subjects[name] = harness.rate(found, options, options.size(HUEY_TASKS, 200), _huey(work, sync))
    floor = harness.rate(found, options, options.size(FLOOR_TASKS, 10_000), _floor)
    sampled = measure(("floor", floor), subjects, options.rounds, options.rounds_max)
    ours, work = sampled.get("ours"), "fan-out, power"
    found.lines = [
        compare("4", work, ours, sampled["floor"], against="floor: FULL commits of 100", unit="/s", bar=Bar(0.25, 0.4)),
        compare("4", work, ours, sampled.get("dbos"), against="DBOS on SQLite", unit="/s", bar=Bar(50)),
        compare("4", work, ours, sampled.get("huey"), against="huey, SqliteHuey", unit="/s", bar=Bar(12)),
        compare(
            "4", work, ours, sampled.get("huey, chord"), against="the same, with a chord (its closing rule)", unit="/s"
        ),
        compare(
            "4", work, ours, sampled.get("huey, fsync off"), against="huey, fsync off (loses at a power cut)", unit="/s"
        ),
        _syncs(options),
    ]
    return found


def _ours(folder: Path, count: int) -> list[str]:
    return worker("ours", "fanout", folder, count, "power")


def _floor(folder: Path, count: int) -> list[str]:
    return worker("floors", "group", folder, count, "full")


def _dbos(folder: Path, count: int) -> list[str]:
    return worker("peers.dbos_tasks", "fanout", folder, count, python=venv.python())


def _huey(work: str, sync: str) -> harness.Command:
    return lambda folder, count: worker("peers.huey_tasks", work, folder, count, sync, python=venv.python())


def _syncs(options: Options) -> Line:
    """fsyncs a task: ours beside the floor's and the peers'."""
    theirs = []
    floor = harness.syncs_a_task(_floor, options, options.size(4_000, 1_000))
    if floor is not None:
        theirs.append(f"floor {floor:.3f}")
    for name, module, command in (("DBOS", "dbos", _dbos), ("huey", "huey", _huey("plain", "default"))):
        if venv.has(module):
            counted = harness.syncs_a_task(command, options, options.size(200, 50))
            theirs.append(f"{name} {counted:.1f}" if counted is not None else "")
    ours = harness.syncs_a_task(_ours, options, options.size(10_000, 1_000)) if harness.is_there() else None
    return figure("4", "fsyncs a task", ours, Bar(0.05, at_most=True, unit=""), against="counted by strace",
                  theirs=", ".join(theirs), ratio=ours / floor if ours and floor else None)  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main([("fanout", run)], __doc__))
