"""Rule scripts: 10,000 that wait, one of 1,000 steps beside them against the same chain by rules, its growth, a replay.

All of it is measured in one process: those that wait are there while the others run.
"""

from __future__ import annotations

import statistics
import sys

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, figure, quantity

PARKED = 10_000
SIZES = (100, 1_000, 10_000)


def run(options: Options) -> Findings:
    found = Findings()
    parked = options.size(PARKED, 200)
    small, middle, large = (options.size(size, size // 10) for size in SIZES)
    with harness.fresh(options) as folder:
        said = harness.call(worker("scripted", folder, parked, small, middle, large))
    if not said["right"]:
        found.wrong.append(f"scripts: {said}")
    each = {size: said["scripts"][str(size)] / size for size in (small, middle, large)}
    by_rules = said["rules"][str(middle)]
    wakes = said["wakes_ms"]
    beside = f"beside {parked:,} that wait"
    found.lines = [
        figure("scripts", f"{parked:,} scripts that wait", said["parked_mb"], Bar(200, at_most=True, unit=" MB"),
               against="idle", theirs=quantity(said["idle_mb"], "MB"), note=f"waiting {said['parking_s']:.1f} s after the first post"),
        figure("scripts", "threads of that engine", said["threads"], Bar(50, at_most=True, unit=" threads")),
        figure("scripts", f"{middle:,} tasks run and waited for, {beside}", said["scripts"][str(middle)] / by_rules,
               Bar(3, at_most=True), against="the same chain by rules", theirs=quantity(by_rules, "s")),
        figure("scripts", f"a task of {large:,}, {beside}", each[large] / each[small], Bar(2, at_most=True),
               against=f"a task of {small:,}", theirs=quantity(each[small] * 1000, "ms"),
               note=", ".join(f"{size:,}: {quantity(each[size] * 1000, 'ms')} a task" for size in each)),
        figure("scripts", f"waking one, {beside}", statistics.median(wakes), Bar(5, at_most=True, unit=" ms"),
               note=f"the slowest of {len(wakes)}: {quantity(max(wakes), 'ms')}"),
        figure("scripts", "1,000 steps run again", said["replay_s"], Bar(0.5, at_most=True, unit=" s"),
               note="with the first load of the engine's executors"),
    ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(harness.main([("scripts", run)], __doc__ or ""))
