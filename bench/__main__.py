"""All rows, one after the other."""

from __future__ import annotations

import sys

from bench import (
    breakpoints,
    chain,
    containers,
    debugger,
    fanout,
    flows,
    growth,
    harness,
    latency,
    loading,
    match,
    processes,
    restart,
    scripts,
    trials,
    weight,
)

ROWS = (
    ("match", match.run),
    ("chain", chain.run),
    ("fanout", fanout.run),
    ("processes", processes.run),
    ("latency", latency.run),
    ("restart", restart.run),
    ("growth", growth.run),
    ("weight", weight.run),
    ("loading", loading.run),
    ("tests", trials.run),
    ("flows", flows.run),
    ("containers", containers.run),
    ("scripts", scripts.run),
    ("debugger", debugger.run),
    ("breakpoints", breakpoints.run),
)

if __name__ == "__main__":
    sys.exit(harness.main(ROWS, __doc__ or ""))
