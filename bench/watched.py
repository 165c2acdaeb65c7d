"""A chain of quick functions, watched and not, for one measurement: `python -m bench.watched FOLDER TASKS ROUNDS`.

The same chain in an engine without breakpoints and in one with 1,000 that nothing meets, one after the other, in
CPU time of the process; and what the question costs whether there is one. Prints a line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import timeit
from pathlib import Path
from typing import Any

import then
from bench.ours import chain_rules
from then import it
from then.core.state import State

POINTS = 1_000
ASKED = 3
"""How often it is asked of a record of the chain whether anything is watched: at its start, at its end, and in its step."""


def rules_of(tasks: int, points: int) -> then.Rules:
    """The chain of `bench.ours`; breakpoints before and after, half of them for its type, by a value, half for others."""
    rules = chain_rules(tasks)
    for n in range(points):
        type_ = "step"
        if n % 2:
            type_ = f"other{n}"
            rules.task(type_, run=("process", ["true"]))
        if n % 4 < 2:
            rules.breakpoint(f"b{n}", before=type_, where=it.n == tasks + n + 1)
        else:
            rules.breakpoint(f"b{n}", after=type_, where=it.n == tasks + n + 1)
    return rules


def seconds(folder: Path, tasks: int, points: int) -> float:
    """CPU time of one chain."""
    with then.Engine(rules_of(tasks, points), state=folder, durability="process") as engine:
        begun = time.process_time()
        flow = engine.run("step", n=0)
        taken = time.process_time() - begun
        assert flow.outcome == "done", flow
        assert len(engine.breakpoints.list()) == points
    return taken


def main(folder: Path, tasks: int, rounds: int) -> dict[str, Any]:
    state = State()
    question = min(timeit.repeat(lambda: state.is_watched, number=10_000, repeat=20)) / 10_000
    plain, ratios = [], []
    for n in range(rounds + 1):
        without = seconds(folder / f"plain{n}", tasks, 0)
        watched = seconds(folder / f"watched{n}", tasks, POINTS)
        if n:  # The first round warms up.
            plain.append(without / tasks)
            ratios.append(watched / without)
    each = statistics.median(plain)
    return {"each_us": each * 1e6, "ratio": statistics.median(ratios), "asked_percent": 100 * ASKED * question / each}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
