"""Rows 2 and 3: 10,000 quick functions, each emitted by a rule on the one before."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import harness, venv
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, compare, figure
from bench.rounds import measure

FLOORS = {"power": "full", "process": "normal"}
BARS = {"power": Bar(0.6, 0.75), "process": Bar(0.4, 0.55)}
DBOS_TASKS = 1_000
"""Fewer for DBOS, which takes seconds for them; its rate does not depend on the number."""


def run(options: Options) -> Findings:
    found = Findings()
    tasks = options.size(10_000, 500)
    for row, durability in (("2", "power"), ("3", "process")):
        subjects = {}
        if harness.is_there():
            subjects["ours"] = harness.rate(found, options, tasks, lambda folder, count, durability=durability: worker(
                "ours", "chain", folder, count, durability))  # fmt: skip
        if durability == "power" and venv.has("dbos"):
            subjects["dbos"] = harness.rate(found, options, options.size(DBOS_TASKS, 100), _dbos)
        floor = harness.rate(found, options, max(tasks, 2_000), lambda folder, count, durability=durability: worker(
            "floors", "chain", folder, count, FLOORS[durability]))  # fmt: skip
        sampled = measure(("floor", floor), subjects, options.rounds, options.rounds_max)
        ours, work = sampled.get("ours"), f"chain, {durability}"
        found.lines.append(
            compare(row, work, ours, sampled["floor"], against=f"floor: a {FLOORS[durability].upper()} commit a task",
                    unit="/s", bar=BARS[durability])
        )  # fmt: skip
        if durability == "power":
            found.lines.append(
                compare(row, work, ours, sampled.get("dbos"), against="DBOS on SQLite", unit="/s", bar=Bar(5))
            )
            found.lines.append(_syncs(options))
    return found


def _dbos(folder: Path, count: int) -> list[str]:
    return worker("peers.dbos_tasks", "chain", folder, count, python=venv.python())


def _syncs(options: Options) -> Line:
    """fsyncs a task: ours beside the floor's and DBOS's."""
    count = options.size(4_000, 500)
    theirs = []
    floor = harness.syncs_a_task(lambda folder, n: worker("floors", "chain", folder, n, "full"), options, count)
    if floor is not None:
        theirs.append(f"floor {floor:.3f}")
    if venv.has("dbos"):
        dbos = harness.syncs_a_task(_dbos, options, options.size(200, 50))
        theirs.append(f"DBOS {dbos:.1f}" if dbos is not None else "")
    ours = None
    if harness.is_there():
        ours = harness.syncs_a_task(lambda folder, n: worker("ours", "chain", folder, n, "power"), options, count)
    return figure("2", "fsyncs a task", ours, Bar(1.05, at_most=True, unit=""), against="counted by strace",
                  theirs=", ".join(theirs), ratio=ours / floor if ours and floor else None)  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main([("chain", run)], __doc__))
