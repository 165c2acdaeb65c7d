"""The machine's clock is set, by seconds and by days, forward and back: no timer is lost or doubled, spans go by elapsed time.

From a seed. The loop, the core and the journal are the real ones, and the time is ours; engines are killed in between.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import pytest

from tests.loop_bench import Bench
from tests.simulation.checker import check_replay, restored
from tests.simulation.parts import BEGIN_US, Disk, FragileJournal, Machine, SimulatedExecutor, SimulatedTimekeeper
from tests.simulation.parts import VirtualClock as Clock
from tests.simulation.run import Plan, Run, small_limits
from then.core import facts as f
from then.core.causes import Adopt, Cause, Post, Proceed, Tick
from then.core.edition import Edition
from then.language.loading import load_text
from then.loop import Loop
from then.waiting import Ticket

SEEDS: Final = 25
STEPS_S: Final = (-3 * 86400, -86400, -3600, -61, -2, 2, 61, 3600, 86400, 3 * 86400)
SPANS_S: Final = {"later": 600, "missed": 1800, "calm": 1200}
"""What comes so long after `go`."""
RULES: Final = """
event go(n: int) event half(n: int) event other(n: int) event rung(n: int)
event later(n: int) event missed(n: int) event calm(n: int) event whole(n: int)
event beat() event nightly(day: str)
task slow(n: int) run process ["p"] timeout 40s
every 15m start beat()
cron "0 3 * * *" start nightly(day: today) overlap queue catch up all
rule begin when go as g then later(n: g.n) after 10m, half(n: g.n), rung(n: g.n), slow(n: g.n), other(n: g.n) after 25m if g.n % 2 == 0
rule pair when all of half, other by n within 30m then whole(n: n) on timeout then missed(n: n)
rule rest when rung by n quiet for 20m then calm(n: n)
"""
EDITION: Final = Edition("v1", load_text(RULES).rules)


class Engines:
    """One state, and engines on it one after the other."""

    def __init__(self, seed: int, *, is_killed: bool) -> None:
        self.chance = Random(f"steps {seed}")
        self.clock = Clock(Random(f"clock {seed}"))
        self.disk = Disk()
        self.machine = Machine()
        self.is_killed = is_killed
        self.came: dict[tuple[str, int], list[float]] = {}
        """By type and number of `go`: the elapsed times at which it came."""
        self.posted: Counter[str] = Counter()
        self.days: list[str] = []
        self.stopped: list[tuple[str, float]] = []
        self.born: dict[str, float] = {}
        self.highest = BEGIN_US
        self._read = 0
        self.open()
        self.began = self.elapsed

    @property
    def elapsed(self) -> float:
        return self.clock.elapsed_us / 1e6

    def open(self) -> None:
        self.loop = Loop(
            FragileJournal(self.disk, lambda: "well"), restored(self.disk.journal), {"v1": EDITION}, clock=self.clock,
            slots=100, engine=5,
        )  # fmt: skip
        self.loop._times = SimulatedTimekeeper(self.clock, lambda: None)
        report = self.loop.reporter("process")
        executor = SimulatedExecutor(report, self.clock, self.disk, self.machine, 0, outlives=True)
        self.loop.attach("process", executor)
        if self.loop.state.version != "v1":
            self.ask(Adopt("v1"))
        self.loop.recover()
        self.loop.give(Proceed())
        self.look()

    def ask(self, cause: Cause) -> None:
        self.loop._inbox.append((cause, Ticket(), None))
        self.loop.drive(must_commit=True)

    def look(self) -> None:
        """Ticks, and notes what that brought."""
        self.loop.give(Tick())
        self.loop.drive(must_commit=True)
        assert self.loop.failure is None
        self.highest = max(self.highest, self.clock.latest_us)
        for entry in self.disk.journal.read(self._read):
            self._read = entry.seq
            for fact in f.decode(entry.data).facts:
                match fact:
                    case f.Posted(task=task):
                        self.posted[task.type] += 1
                        if task.type == "nightly":
                            self.days.append(str(task.body["day"]))
                    case f.Emitted(task=task):
                        self.born[task.id] = self.elapsed
                        if task.policy is None or task.policy.due is None:
                            self.came.setdefault((task.type, int(task.body["n"])), []).append(self.elapsed)
                    case f.Ripened(id=id):
                        task = self.disk.born[id]
                        self.came.setdefault((task.type, int(task.body["n"])), []).append(self.elapsed)
                    case f.Stopping(id=id):
                        self.stopped.append((id, self.elapsed))

    def pass_s(self, seconds: float) -> None:
        """Time passes; whatever comes due in it is looked at when it is, as the alarm does."""
        until = self.elapsed + seconds
        while self.elapsed < until:
            due = self.loop.state.waits.next_due
            left = until - self.elapsed
            wait = left if due is None else min(left, max(0.0, (due - self.clock.latest_us) / 1e6))
            self.clock.pass_by(wait)
            self.look()
            for id in sorted(self.machine.stopping):
                self.loop.executors["process"].finish([id], lambda: True)  # type: ignore[attr-defined]

    def play(self) -> None:
        chance = self.chance
        for n in range(12):
            self.ask(Post("go", {"n": n}))
            self.look()
            for _ in range(chance.randint(1, 4)):
                self.pass_s(chance.choice((1, 30, 290, 500, 1300)))
                if chance.random() < 0.6:
                    self.clock.step(chance.choice(STEPS_S))
                    self.look()
                if self.is_killed and chance.random() < 0.5:
                    self.open()
        self.pass_s(3600)


@pytest.mark.parametrize("is_killed", [False, True])
def test_spans_go_by_elapsed_time_and_no_timer_is_lost_or_doubled(is_killed: bool) -> None:
    for seed in range(SEEDS):
        engines = Engines(seed, is_killed=is_killed)
        try:
            engines.play()
            _check(engines)
            check_replay(engines.disk.journal)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def _check(engines: Engines) -> None:
    for n in range(12):
        (begun,) = engines.came["half", n]
        awaited = {name: span for name, span in SPANS_S.items() if name != "missed" or n % 2}
        assert (("whole", n) in engines.came) == (n % 2 == 0)
        assert (("missed", n) in engines.came) == (n % 2 == 1)
        for name, span in awaited.items():
            (came,) = engines.came[name, n]
            assert came - begun == pytest.approx(span, abs=0.5), f"{name} of {n}"
    assert len(engines.stopped) == 12
    assert all(at - engines.born[id] == pytest.approx(40, abs=0.5) for id, at in engines.stopped)
    assert engines.posted["beat"] == (engines.elapsed - engines.began) // 900
    day = datetime.fromtimestamp(BEGIN_US / 1e6, UTC).replace(hour=3, minute=0, second=0, microsecond=0)
    nights = [day + timedelta(number) for number in range(60)]
    begin, end = (datetime.fromtimestamp(at / 1e6, UTC) for at in (BEGIN_US, engines.highest))
    assert engines.days == [str(night.date()) for night in nights if begin < night <= end]


def test_a_period_is_waited_for_no_longer_than_it_is_where_the_clock_was_set_back_while_no_engine_ran() -> None:
    engines = Engines(1, is_killed=True)
    engines.pass_s(100)
    engines.clock.step(-5 * 86400)
    engines.open()
    came = []
    for passed_s in (890, 11):
        engines.pass_s(passed_s)
        came.append(engines.posted["beat"])
    engines.open()
    engines.pass_s(901)
    assert [*came, engines.posted["beat"]] == [0, 1, 2]
    check_replay(engines.disk.journal)


def test_a_clock_that_was_set_before_a_mark_was_made_moves_it_no_more() -> None:
    rules = "event go(n: int) event seen(n: int) rule r when go as g then seen(n: g.n) at most once per 10m by g.n"
    bench = Bench(rules=rules).open()
    for n in (1, 2):
        # The second time there is a mark already, which moves.
        bench.clock.step(3600)
        for passed_s, count in ((0, 1), (590, 1), (11, 2)):
            bench.clock.pass_by(passed_s)
            bench.post("go", n=n)
            born = [fact.task for fact in bench.paper.facts() if isinstance(fact, f.Emitted)]
            assert sum(task.body["n"] == n for task in born) == count


def test_a_breakpoint_expires_after_its_span_whatever_is_done_to_the_clock() -> None:
    rules = "event go(n: int) event other() breakpoint b after other expires 10m"
    bench = Bench(rules=rules).open()
    points = bench.loop.state.holds.points
    due = points["b"].due or 0
    bench.clock.step(3600)
    bench.post("go", n=1)
    assert points["b"].due == pytest.approx(due + 3_600_000_000, abs=10_000)
    bench.clock.step(-86400)
    bench.post("go", n=2)
    assert points["b"].due == pytest.approx(due - 82_800_000_000, abs=10_000)
    again = Bench(bench.paper, rules=rules)
    assert again.loop.state.holds.points["b"].due == points["b"].due


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_flows_come_to_the_same_whatever_is_done_to_the_clock(first: int) -> None:
    for seed in range(first, first + 20):
        try:
            with small_limits():
                quiet = Run(Plan(seed)).play().check()
                story = Run(Plan(seed, crashes_max=seed % 4, sets_clock=True)).play().check()
                Run(Plan(seed, is_wild=True, crashes_max=seed % 4, sets_clock=True)).play().check()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert story.emissions() == quiet.emissions()
        assert story.ends() == quiet.ends()
