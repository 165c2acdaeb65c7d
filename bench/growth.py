"""Row 8: does the millionth task take longer than the first, and does memory follow what is live?"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, figure, quantity
from bench.rounds import TOLERANCE

EDGE = 10_000
"""The first and the last so many tasks are compared."""


def run(options: Options) -> Findings:
    found = Findings()
    tasks = options.size(1_000_000, 20_000)
    shape = f"{tasks:,} tasks, chains of 100, 64 at once"
    bar, memory_bar = Bar(0.9, 0.97), Bar(80, at_most=True, unit=" MiB")
    if not harness.is_there():
        found.lines = [
            Line("8", shape, "–", "the first 10,000", "–", None, bar, "not there yet"),
            figure("8", "resident at the end", None, memory_bar),
        ]
        return found
    floor = harness.rate(found, options, options.size(10_000, 1_000), _floor)
    tries = 0
    while True:
        before = floor()
        with harness.fresh(options) as folder:
            said = harness.call(worker("ours", "growth", folder, tasks, "power"))
        after = floor()
        tries += 1
        is_steady = abs(after - before) <= TOLERANCE * min(before, after)
        if is_steady or tries == (1 if options.quick else 3):
            break
    if not said["right"]:
        found.wrong.append(f"growth: of {tasks // 100} flows some did not end done")
    edge = min(EDGE, tasks // 4) // 1_000
    rates = said["rates"]
    first, last = statistics.median(rates[:edge]), statistics.median(rates[-edge:])
    whole = statistics.median(rates)
    verdict = bar.verdict(last / first) + ("" if is_steady else " (not settled)")
    note = f"median of all windows of 1,000 tasks {quantity(whole, '/s')}, lowest {quantity(min(rates), '/s')}"
    found.lines = [
        Line("8", shape, quantity(last, "/s"), f"its first {edge * 1000:,}", quantity(first, "/s"), last / first, bar,
             verdict, f"{'1' if is_steady else '0'} of {tries}", note),
        figure("8", "resident at the end", said["rss_mib"], memory_bar, against="after the first tenth",
               theirs=quantity(said["rss_early_mib"], "MiB"), ratio=said["rss_mib"] / said["rss_early_mib"]),
    ]  # fmt: skip
    return found


def _floor(folder: Path, count: int) -> list[str]:
    return worker("floors", "chain", folder, count, "full")


if __name__ == "__main__":
    sys.exit(harness.main([("growth", run)], __doc__))
