"""The debugger: how soon a stop is told, pages of a large body and of a deep stack, and the start of `andthen debug`."""

from __future__ import annotations

import sys

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, figure, quantity


def run(options: Options) -> Findings:
    found = Findings()
    stops, megabytes, frames = options.size(200, 20), options.size(10, 1), options.size(1_000, 50)
    with harness.fresh(options) as folder:
        said = harness.call(worker("debugged", folder, stops, megabytes, frames))
    if not said["right"]:
        found.wrong.append(f"debugger: {said}")
    found.lines = [
        figure("debugger", f"`stopped` after the completion, 95th of {stops:,} in 100", said["stopped_ms"],
               Bar(20, at_most=True, unit=" ms"), note=f"the median: {quantity(said['stopped_median_ms'], 'ms')}"),
        figure("debugger", f"first page of a body of {megabytes} MB", said["page_ms"],
               Bar(100, at_most=True, unit=" ms")),
        figure("debugger", f"a stack of {frames:,} frames, in pages of 100", said["stack_ms"],
               Bar(100, at_most=True, unit=" ms")),
        figure("debugger", "`andthen debug`, up to its first stop", said["ready_ms"],
               Bar(400, at_most=True, unit=" ms")),
    ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(harness.main([("debugger", run)], __doc__ or ""))
