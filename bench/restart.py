"""Row 7: how soon is an engine ready that finds 100,000 unfinished tasks behind 1,000,000 completed ones?

The state is made by the engine itself, kept in the temporary folder beside
those of other sizes, and used again while the sources that wrote it are the
same. A start is timed in a new process, from before `Engine(…)` to the first
call of a task's function; there the process ends, so that the state stays as
it was. Before each start the state is read once, so that it is in the page
cache as after a crash of the engine alone.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench import harness
from bench.harness import ROOT, Options, worker
from bench.report import Bar, Findings, figure, quantity
from bench.rounds import measure

COMPLETED, UNFINISHED = 1_000_000, 100_000
QUICK = 20
"""How many times smaller --quick is."""


def run(options: Options) -> Findings:
    found = Findings()
    completed, unfinished = (options.size(whole, whole // QUICK) for whole in (COMPLETED, UNFINISHED))
    work = f"{unfinished:,} unfinished behind {completed:,}"
    bars = Bar(1, 0.3, at_most=True, unit=" s"), Bar(120, 60, at_most=True, unit=" MiB")
    if not harness.is_there():
        found.lines = [figure("7", f"{work}: ready", None, bars[0]), figure("7", "resident then", None, bars[1])]
        return found
    state = _state(options, completed, unfinished)
    memory: list[float] = []
    sampled = measure(("floor", lambda: _read_s(state)), {"ours": _start(found, state, unfinished, memory)},
                      options.rounds, options.rounds_max)  # fmt: skip
    ours = sampled["ours"]
    bytes_mib = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) / 2**20
    found.lines = [
        figure("7", f"{work}: ready", ours.median, bars[0], against="SQLite reads as many rows, decoded",
               theirs=quantity(sampled["floor"].median, "s"), ratio=ours.to_anchor,
               rounds=ours.rounds + ("" if ours.is_settled else " (not settled)"),
               note=f"the state is {bytes_mib:,.0f} MiB"),
        figure("7", "most resident until then", statistics.median(memory), bars[1]),
    ]  # fmt: skip
    return found


def _state(options: Options, completed: int, unfinished: int) -> Path:
    """The state, made where it is not there yet."""
    digest = hashlib.sha256()
    for source in sorted((*ROOT.glob("then/core/*.py"), *ROOT.glob("then/journals/**/*.*"), ROOT / "bench/history.py")):
        if "__pycache__" not in source.parts:
            digest.update(source.read_bytes())
    prefix = f"bench-restart-{completed}-{unfinished}-"
    folder = options.folder / f"{prefix}{digest.hexdigest()[:12]}"
    if not (folder / "made").exists():
        for old in options.folder.glob(f"{prefix}*"):
            shutil.rmtree(old)
        folder.mkdir()
        print(f"bench: makes a state of {completed + unfinished:,} tasks in {folder}", file=sys.stderr, flush=True)
        harness.call(worker("history", "rows", folder, unfinished))
        harness.call(worker("history", "make", folder / "state", completed, unfinished))
        (folder / "made").touch()
    return folder / "state"


def _read_s(state: Path) -> float:
    """The floor: a new process reads the rows of the unfinished tasks and decodes them."""
    return float(harness.call(worker("history", "read", state.parent))["seconds"])


def _start(found: Findings, state: Path, unfinished: int, memory: list[float]) -> Callable[[], float]:
    def once() -> float:
        said = harness.call(worker("history", "start", state, unfinished))
        memory.append(said["rss_mib"])
        if not said["right"]:
            found.wrong.append(f"restart: {said}")
        return float(said["seconds"])

    return once


if __name__ == "__main__":
    sys.exit(harness.main([("restart", run)], __doc__))
