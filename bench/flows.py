"""Joins, calls and times in the pure core: what each costs beside a plain emission, and what it keeps in memory.

CPU seconds of the core alone (no journal, no executor), in this process. What is
held against each other takes turns every few hundredths of a second, since the
speed of a shared machine changes by half within one second: told is the median
of the pairs. Timers that wait are those of whole engines in processes of their own
(`bench.pending`): wall time, and the most that was resident beyond an engine
that has nothing.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, figure, quantity

PIECE = 250
"""So much of one work, before it is the turn of the other."""
FAN = """
event go(xs: list[int])
task f(i: int) run process ["true"]
event over()
rule fan when go as g then for x in g.xs emit f(i: x)
rule close when every f done then over()
"""
PLAIN = """
event y(k: int)
event e(k: int)
rule r when y as y then e(k: y.k)
"""
JOIN = """
event x(k: int)
event y(k: int)
event e(k: int)
rule r when all of x, y by k within 2h then e(k: k)
"""
STEP = """
event y(k: int)
event p(k: int)
event e(k: int)
rule r when y as y then p(k: y.k) as r then e(k: r.k)
"""
CALL = """
event y(k: int)
procedure p(k: int) -> (v: int)
  first return (v: k)
end
event e(k: int)
rule r when y as y then call p(k: y.k) as r then e(k: r.v)
"""
LATER = """
event go(xs: list[int])
task f(i: int) run process ["true"]
rule fan when go as g then for x in g.xs emit f(i: x) after 1h
"""


class Core:
    """One core, stepped by hand."""

    def __init__(self, text: str) -> None:
        from then.core.causes import Post, Proceed, Report
        from then.core.edition import Edition
        from then.core.engine import Terms, step
        from then.core.state import State
        from then.language.loading import load_text

        self.state = State()
        self.state.version = "v1"
        edition = Edition("v1", load_text(text).rules)
        self.terms = Terms(1_780_000_000_000_000, {"v1": edition}, 10**9, 7, frozenset(("process",)))
        self._step, self._post, self._proceed, self._report = step, Post, Proceed, Report

    def post(self, type: str, **body: object) -> None:
        """Posts a record, and steps until nothing follows by itself."""
        self._step(self.state, self._post(type, body), self.terms)
        while self.state.pending:
            self._step(self.state, self._proceed(), self.terms)

    def done(self, id: str) -> None:
        self._step(
            self.state, self._report(id, "done", {"code": 0}, None, self.terms.time, self.terms.time), self.terms
        )


def run(options: Options) -> Findings:
    found = Findings()
    rounds = options.rounds or 5
    small, large = options.size(1_000, 250), options.size(100_000, 2_000)
    fans = Turns()
    for _ in range(rounds):
        fans.take(_fans(small, large // small), _fans(large, 1))
    joins, calls = Turns(), Turns()
    count = options.size(20_000, 500)
    for _ in range(rounds):
        joins.take(_posts(PLAIN, count), _posts(JOIN, count, before="x"))
        calls.take(_posts(STEP, count), _posts(CALL, count))
    found.lines = [
        figure("flows", f"a completion of {large:,} that a join waits for, in times of one of {small:,}",
               fans.ratio, Bar(1.3, at_most=True), against=f"one of {small:,}", theirs=quantity(fans.one_us, "µs")),
        figure("flows", "the record that fills a join by key: more than a plain rule", joins.more_us,
               Bar(20, at_most=True, unit=" µs"), against="the plain rule", theirs=quantity(joins.one_us, "µs"),
               ratio=joins.ratio),
        figure("flows", "call and return, in times of a plain step", calls.ratio, Bar(2.2, at_most=True),
               against="the same with an event", theirs=quantity(calls.one_us, "µs")),
        figure("flows", f"memory of a half-filled join, {large:,} open", _join_bytes(large),
               Bar(400, at_most=True, unit=" B")),
        figure("flows", f"memory of a task that waits for its time, {large:,} in one flow", _later_bytes(large),
               Bar(600, 300, at_most=True, unit=" B")),
        *_pending(found, options),
    ]  # fmt: skip
    return found


def _pending(found: Findings, options: Options) -> list[Line]:
    """Timers that wait: how soon an engine is ready that finds them, what they take, how late others fire."""
    count, near = options.size(100_000, 2_000), options.size(2_000, 200)
    lines: list[Line] = []
    for how, words in (("one", "in one flow"), ("own", "each a flow of its own")):
        with harness.fresh(options) as folder:
            made = harness.call(worker("pending", "make", folder / "state", count, how))
            starts = [
                (
                    harness.call(worker("pending", "start", folder / f"idle{number}", 0)),
                    harness.call(worker("pending", "start", folder / "state", near if not number else 0)),
                )
                for number in range(options.rounds)
            ]
        late = starts[0][1]
        for idle, said in starts:
            if not said["right"] or said["live"] < count or idle["live"]:
                found.wrong.append(f"pending {how}: {said}")
        timers = f"{count:,} pending timers, {words}"
        lines += [
            figure("flows", f"{timers}: ready", statistics.median(said["seconds"] for _, said in starts),
                   Bar(1, at_most=True, unit=" s"), against="with none",
                   theirs=quantity(statistics.median(idle["seconds"] for idle, _ in starts), "s"),
                   note=f"{statistics.median(said['cpu_seconds'] for _, said in starts):.2f} s of CPU"),
            figure("flows", f"{timers}: most resident until then, beyond an idle engine",
                   statistics.median((said["most_mib"] - idle["most_mib"]) * 2**20 / 1e6 for idle, said in starts),
                   Bar(60, at_most=True, unit=" MB"),
                   note=f"{made['resident_mib'] * 2**20 / 1e6:.0f} MB in the process that set them"),
            figure("flows", f"{timers}: {near:,} more fire late by, p99", late["p99_ms"],
                   Bar(50, at_most=True, unit=" ms"), note=f"median {late['median_ms']:.2f} ms"),
        ]  # fmt: skip
    return lines


class Turns:
    """Two kinds of work that take turns, piece by piece: the CPU time of each piece, in pairs."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def take(self, one: Iterator[float], other: Iterator[float]) -> None:
        self._pairs += zip(one, other, strict=True)

    @property
    def one_us(self) -> float:
        return statistics.median(one for one, _ in self._pairs)

    @property
    def more_us(self) -> float:
        return statistics.median(other - one for one, other in self._pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(other / one for one, other in self._pairs)


def _timed(todo: Sequence[Callable[[], None]]) -> float:
    """Microseconds of CPU each."""
    began = time.process_time()
    for do in todo:
        do()
    return (time.process_time() - began) / len(todo) * 1e6


def _fans(count: int, fans: int) -> Iterator[float]:
    """The children of so many fan-outs end, one after the other."""
    for _ in range(fans):
        core = Core(FAN)
        core.post("go", xs=list(range(count)))
        ends = [partial(core.done, id) for id in core.state.tasks]
        for piece in _batched(ends):
            yield _timed(piece)


def _posts(text: str, count: int, before: str = "") -> Iterator[float]:
    """Records `y` are posted; of type `before`, all before."""
    core = Core(text)
    for k in range(count if before else 0):
        core.post(before, k=k)
    for piece in _batched([partial(core.post, "y", k=k) for k in range(count)]):
        yield _timed(piece)


def _batched(todo: Sequence[Callable[[], None]]) -> Iterator[Sequence[Callable[[], None]]]:
    return (todo[at : at + PIECE] for at in range(0, len(todo), PIECE))


def _join_bytes(count: int) -> float:
    core = Core(JOIN)

    def fill() -> None:
        for k in range(count):
            core.post("x", k=k)

    return _grown(core, fill) / count


def _later_bytes(count: int) -> float:
    core = Core(LATER)
    return _grown(core, lambda: core.post("go", xs=list(range(count)))) / count


def _grown(core: Core, fill: Callable[[], None]) -> int:
    """Bytes that are kept after a checkpoint."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fill()
        core.state.cells()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    sys.exit(harness.main([("flows", run)], __doc__))
