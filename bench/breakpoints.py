"""Breakpoints: what they cost the records that meet none, where none is set and where 1,000 are."""

from __future__ import annotations

import sys

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, figure, quantity
from bench.watched import ASKED, POINTS

TASKS = 5_000


def run(options: Options) -> Findings:
    found = Findings()
    with harness.fresh(options) as folder:
        said = harness.call(worker("watched", folder, options.size(TASKS, 500), options.rounds))
    each = quantity(said["each_us"], "µs")
    found.lines = [
        figure("breakpoints", "none set", said["asked_percent"], Bar(1, at_most=True, unit=" %"),
               against="a function of the chain, in CPU time", theirs=each, note=f"{ASKED} questions a record"),
        figure("breakpoints", f"{POINTS:,} set that nothing meets", said["ratio"], Bar(1.5, at_most=True),
               against="the chain without", theirs=each),
    ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(harness.main([("breakpoints", run)], __doc__ or ""))
