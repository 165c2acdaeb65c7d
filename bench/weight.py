"""Row 9: what an import, a `--version` and an idle engine cost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, figure, quantity
from bench.rounds import Run, Sampled, measure

STRANGERS = ("asyncio", "docker", "rich", "starlette")
"""What `import then` must leave alone."""

BARS = {
    "import then": Bar(120, at_most=True, unit=" ms"),
    "from then import Engine, Rules": Bar(120, at_most=True, unit=" ms"),
    "andthen --version": Bar(150, at_most=True, unit=" ms"),
}
"""`import then` finds its names on first use; the second line is what an engine takes. Imports: self time."""


def run(options: Options) -> Findings:
    found = Findings()
    subjects: dict[str, Run] = {}
    if harness.is_there():
        _import_ms("from then import Engine, Rules")  # So that byte code is there.
        subjects["import then"] = lambda: _import_ms("import then")
        subjects["from then import Engine, Rules"] = lambda: _import_ms("from then import Engine, Rules")
    if harness.is_there("then.__main__"):
        subjects["andthen --version"] = lambda: _wall_ms(_andthen("--version"))
    sampled = measure(("bare", lambda: _wall_ms([sys.executable, "-c", "pass"])), subjects,
                      max(options.rounds, 3), max(options.rounds_max, 7))  # fmt: skip
    theirs = quantity(sampled["bare"].median, "ms")
    for name, bar in BARS.items():
        ours = sampled.get(name)
        found.lines.append(
            figure("9", name, ours.median if ours else None, bar, against="the start of a bare interpreter",
                   theirs=theirs, ratio=ours.to_anchor if ours else None, rounds=_rounds(ours))
        )  # fmt: skip
    _modules(found)
    _idle(found, options)
    return found


def _rounds(sampled: Sampled | None) -> str:
    if sampled is None:
        return ""
    return sampled.rounds if sampled.is_settled else f"{sampled.rounds} (not settled)"


def _andthen(*arguments: str) -> list[str]:
    """The command beside this interpreter, else of PATH, else the module."""
    beside = Path(sys.executable).with_name("andthen")
    program = str(beside) if beside.exists() else shutil.which("andthen")
    return [program, *arguments] if program else [sys.executable, "-m", "then", *arguments]


def _wall_ms(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=harness.ROOT, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def _import_ms(statement: str) -> float:
    """Self times of all modules that the statement brings in, those of a bare start left out."""
    bare = _self_us("pass")
    return sum(us for module, us in _self_us(statement).items() if module not in bare) / 1000


def _self_us(statement: str) -> dict[str, int]:
    command = [sys.executable, "-X", "importtime", "-c", statement]
    done = subprocess.run(command, check=True, cwd=harness.ROOT, capture_output=True, text=True)
    spent: dict[str, int] = {}
    for line in done.stderr.splitlines():
        words = line.removeprefix("import time:").split("|")
        if len(words) == 3 and words[0].strip().isdigit():
            spent[words[2].strip()] = int(words[0])
    return spent


def _modules(found: Findings) -> None:
    if not harness.is_there():
        return
    code = f"import sys, then; print(*sorted(set({STRANGERS!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=harness.ROOT, capture_output=True, text=True)
    brought = done.stdout.split()
    if brought:
        found.wrong.append(f"weight: `import then` brings in {', '.join(brought)}")


def _idle(found: Findings, options: Options) -> None:
    rss = None
    if harness.is_there():
        with harness.fresh(options) as folder:
            said = harness.call(worker("ours", "idle", folder, 1))
        rss = float(said["rss_mib"])
        if not said["right"]:
            found.wrong.append(f"weight: idle: {said}")
    code = "import re; print(int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    bare = float(done.stdout)
    found.lines.append(
        figure("9", "idle engine, resident", rss, Bar(45, at_most=True, unit=" MiB"), against="a bare interpreter",
               theirs=quantity(bare, "MiB"), ratio=rss / bare if rss else None)
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main([("weight", run)], __doc__))
