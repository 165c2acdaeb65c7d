"""Row 6: from the end of a process to the start of the one that a rule emits on it."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, compare, quantity
from bench.rounds import measure


def run(options: Options) -> Findings:
    # Removed when all have run: ext4 without a journal looks at what was deleted just before whenever it makes a file.
    with harness.fresh(options, "latency") as folder:
        return _measured(replace(options, folder=folder))


def _measured(options: Options) -> Findings:
    found = Findings()
    tasks = options.size(1_000, 100)
    tails: dict[str, list[float]] = {}
    subjects = {}
    if harness.is_there():
        subjects["ours"] = _run(found, options, tasks, "ours", tails)
    sampled = measure(
        ("floor", _run(found, options, tasks, "floors", tails)), subjects, options.rounds, options.rounds_max
    )
    ours = sampled.get("ours")
    found.lines.append(
        compare("6", "median", ours, sampled["floor"], against="floor: spawn and a FULL commit", unit="µs",
                bar=Bar(1.5, 1.25, at_most=True))
    )  # fmt: skip
    floor_us = statistics.median(tails["floors"])
    line = Line(
        "6", "99th percentile", "–", "floor", quantity(floor_us, "µs"), None, Bar(4, at_most=True), "not there yet"
    )
    if ours is not None:
        ours_us = statistics.median(tails["ours"])
        bar = Bar(4, at_most=True)
        line = Line("6", "99th percentile", quantity(ours_us, "µs"), "floor", quantity(floor_us, "µs"),
                    ours_us / floor_us, bar, bar.verdict(ours_us / floor_us), f"all {len(tails['ours'])}")  # fmt: skip
    found.lines.append(line)
    return found


def _run(
    found: Findings, options: Options, tasks: int, module: str, tails: dict[str, list[float]]
) -> Callable[[], float]:
    """Gives the median in µs; the 99th percentile goes to the tails."""

    def once() -> float:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        said = harness.call(worker(module, "latency", folder, tasks))
        if not said["right"]:
            found.wrong.append(f"latency: {module}: {said}")
        tails.setdefault(module, []).append(said["p99_us"])
        return float(said["median_us"])

    return once


if __name__ == "__main__":
    sys.exit(harness.main([("latency", run)], __doc__))
