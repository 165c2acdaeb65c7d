"""Tests beside the rules: how long `andthen test` takes over 1,000 tests of ten lines, and a year of virtual time.

The whole command is timed in a new process, from its start to its end: reading,
checking, playing and telling. The same command over the same rules with one
test is the floor.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench import harness
from bench.harness import ROOT, Options
from bench.report import Bar, Findings, figure, quantity
from bench.rounds import measure

RULES = """\
event order(id: int, tag: str?)
task pay(order: int) -> (receipt: str)
  run process ["pay", "{order}"]
task ship(order: int, receipt: str)
  run process ["ship"]
task notify(who: str, text: str)
rule start
  when order as o where id > 0 and (tag is missing or tag != "x")
  then pay(order: o.id) as p
  then ship(order: o.id, receipt: p.receipt)
  else notify(who: "dev", text: "no {o.id}")
rule lost
  when ship failed or timed out as s
  then notify(who: "ops", text: "order {s.order}")
"""
TEST = """\
test "order {n} is paid and shipped"
  given now 2026-01-05T10:00
  stub pay done (receipt: "r{n}")
  stub ship failed, then done
  post order(id: {n})
  post order(id: {m})
  advance 2h
  expect pay 2 times by rule start
  expect ship(order: {n}, receipt: "r{n}") once by rule start/1
  expect notify(who: "ops", text: "order {n}") once by rule lost
  expect no notify(who: "dev")
end
"""
YEAR = """\
event scan()
task look()
  run process ["look"]
every day at 06:30 in "Europe/Rome" start scan()
rule a when scan then look()
test "a year"
  stub look done
  advance 52w
  expect look 364 times by rule a
end
"""


def run(options: Options) -> Findings:
    found = Findings()
    count = options.size(1_000, 100)
    tests = "".join(TEST.format(n=n, m=n + 1) for n in range(1, count + 1))
    with harness.fresh(options) as folder:
        for name, text in (("one", RULES + TEST.format(n=1, m=2)), ("many", RULES + tests), ("year", YEAR)):
            (folder / f"{name}.then").write_text(text)
        sampled = measure(
            ("floor", lambda: _test_s(found, folder, "one")),
            {name: lambda name=name: _test_s(found, folder, name) for name in ("many", "year")},  # type: ignore[misc]
            options.rounds,
            options.rounds_max,
        )
    against, floor = "the same command with one test", quantity(sampled["floor"].median, "s")
    works = (("many", f"{count:,} tests of ten lines", 5), ("year", "a year of virtual time, something each day", 1))
    found.lines = [
        figure("tests", work, sampled[name].median, Bar(bar, at_most=True, unit=" s"), against=against, theirs=floor,
               ratio=sampled[name].to_anchor, rounds=sampled[name].rounds)
        for name, work, bar in works
    ]  # fmt: skip
    return found


def _test_s(found: Findings, folder: Path, name: str) -> float:
    command = [sys.executable, "-m", "then", "test", str(folder / f"{name}.then")]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=harness.environment(), capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began
    if done.returncode:
        found.wrong.append(f"tests: {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return took_s


if __name__ == "__main__":
    sys.exit(harness.main([("tests", run)], __doc__))
