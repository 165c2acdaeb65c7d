"""One seed, one run: rules, posts, completions, people and crashes, in one thread and without a wait."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from functools import lru_cache
from random import Random
from typing import Final, cast

import attrs

from tests.rulesets import EVENTS, N_MAX, ONCE, TASKS, outcome_of, random_rules
from tests.simulation.checker import Story, check_reader, check_replay, digest, restored
from tests.simulation.parts import (
    Crash,
    Disk,
    Fate,
    FragileJournal,
    Machine,
    SimulatedCommitter,
    SimulatedExecutor,
    SimulatedTimekeeper,
    VirtualClock,
)
from then import loop as loop_module
from then.analysis.history import History, chain_of
from then.committer import Committer
from then.core.causes import (
    Adopt,
    Cancel,
    Cause,
    DropBreakpoint,
    GiveBack,
    Post,
    Proceed,
    Release,
    Report,
    Retry,
    SetBreakpoint,
    SwitchBreakpoint,
    Tick,
)
from then.core.edition import Edition
from then.core.errors import InternalError, JournalError, ThenError
from then.core.guards import Guards
from then.core.tasks import Body, Task
from then.language.breakpoints import read_breakpoint
from then.language.loading import load_text
from then.loop import Loop
from then.waiting import FlowNews, Ticket

TURNS_MAX: Final = 20_000
RULE_SETS: Final = 250
"""Seeds share rule sets, for to parse one takes as long as to run it."""


@contextmanager
def small_limits() -> Iterator[None]:
    """There are many checkpoints."""
    before = loop_module.CHECKPOINT_ENTRIES, loop_module.CHECKPOINT_FACTS
    loop_module.CHECKPOINT_ENTRIES, loop_module.CHECKPOINT_FACTS = 7, 8  # type: ignore[misc]
    try:
        yield
    finally:
        loop_module.CHECKPOINT_ENTRIES, loop_module.CHECKPOINT_FACTS = before  # type: ignore[misc]


@lru_cache(maxsize=600)
def edition(number: int, is_wild: bool) -> Edition:
    return Edition("v1", load_text(random_rules(number, is_wild=is_wild)).rules)


@attrs.frozen
class Plan:
    """What a seed brings."""

    seed: int
    is_wild: bool = False
    """People cancel, retry and release; rules end flows; outcomes depend on the order."""
    crashes_max: int = 0
    fulls_max: int = 0
    has_breakpoints: bool = attrs.field(default=False, repr=False)
    """People set breakpoints, take them away, and continue what is held."""
    sets_clock: bool = attrs.field(default=False, repr=False)
    """People set the machine's clock while an engine runs."""


class Run:
    """A run under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = Random(f"run {plan}")
        self.clock = VirtualClock(Random(f"clock {plan}"))
        self.disk = Disk()
        self.processes = Machine()
        self.edition = self._edition()
        self.posts = self._posts()
        self.posted: list[str] = []
        """Flows that were acknowledged."""
        self.crashes = self.fulls = self.lives = self.stops_set = self.continued = 0
        self.once_starts: dict[str, int] = {}
        self.told: dict[str, list[FlowNews]] = {}
        self.open()

    def _edition(self) -> Edition:
        return edition(self.plan.seed % RULE_SETS, self.plan.is_wild)

    def _attach_others(self) -> None:
        """Executors of a kind of their own."""

    def _posts(self) -> list[tuple[str, Body, str]]:
        chance = Random(f"posts {self.plan.seed}")
        types = (*EVENTS, *TASKS, *(ONCE if self.plan.is_wild else ()))
        return [
            (chance.choice(types), {"n": chance.randint(1, N_MAX)}, f"key {k}") for k in range(chance.randint(1, 5))
        ]

    # -- the engine's lives ------------------------------------------------------

    def open(self) -> None:
        """An engine on what the disk has; a crash may meet it in its recovery too."""
        while True:
            try:
                self._open()
                return
            except Crash:
                self.crashes += 1

    def _open(self) -> None:
        self.lives += 1
        self.loop = Loop(
            FragileJournal(self.disk, self._fate),
            restored(self.disk.journal),
            {"v1": self.edition},
            clock=self.clock,
            slots=self.chance.randint(1, 4),
            engine=5,
            breakpoint_of=lambda edition, text: read_breakpoint(text, edition.rules),
            guards=Guards(idle_events=8),
        )
        self.loop.chance = Random(f"jitter {self.plan.seed}").random
        self.committer = SimulatedCommitter()
        self.loop._times = SimulatedTimekeeper(self.clock, lambda: None)
        if self.plan.seed % 2:
            self.loop.committer = cast(Committer, self.committer)
        # Functions end with their engine; what was once started is remembered, to see that it stays at once.
        functions = Machine(starts=self.once_starts)
        quick = frozenset(type for type in TASKS if self.chance.random() < 0.7)
        self.executors = {
            kind: SimulatedExecutor(
                self.loop.reporter(kind, hurries=kind == "python" and self.plan.seed % 4 == 3),
                self.clock, self.disk, machine, self.plan.seed, outlives=kind == "process",
                quick=quick if kind == "python" else frozenset(),
            )
            for kind, machine in (("python", functions), ("process", self.processes))
        }  # fmt: skip
        for kind, executor in self.executors.items():
            self.loop.attach(kind, executor)
        self._attach_others()
        if self.loop.state.version != "v1":
            self._work(self._ask, Adopt("v1"))
        self.loop.recover()
        self._work(self.loop.give, Proceed())
        for flow in self.posted:
            self._wait(flow)

    def _fate(self) -> Fate:
        roll = self.chance.random()
        if self.crashes < self.plan.crashes_max and roll < 0.08:
            return "crash before" if roll < 0.04 else "crash after"
        if self.fulls < self.plan.fulls_max and 0.1 < roll < 0.2:
            self.fulls += 1
            return "failed" if roll < 0.12 and self.plan.crashes_max else "full"
        return "well"

    def crash(self) -> None:
        self.crashes += 1
        if self.processes.running and self.chance.random() < 0.7:
            # They go on while nobody looks.
            for id in self.chance.sample(
                sorted(self.processes.running), self.chance.randint(0, len(self.processes.running))
            ):
                self.executors["process"].finish_unseen(id)
        if self.chance.random() < 0.3:
            self.clock.step(-3600)
        self.open()

    # -- one turn ------------------------------------------------------------------

    def play(self) -> Run:
        """Turns until all has come to its end."""
        turns = 0
        while not self._is_over():
            turns += 1
            assert turns < TURNS_MAX, "this run does not come to an end"
            try:
                self._turn()
                self._check_failure()
            except (Crash, JournalError):
                self.crash()
        self._close()
        return self

    def _check_failure(self) -> None:
        """A journal that failed ends the engine, and the next one takes up; a fault of ours ends the run."""
        failure = self.loop.failure
        if isinstance(failure, InternalError) and not isinstance(failure.__cause__, Crash):
            raise failure.__cause__ or failure
        if failure is not None:
            raise Crash

    def _close(self) -> None:
        while True:
            try:
                self.loop.close()
                self._check_failure()
                if not self.loop.is_full:
                    return
            except (Crash, JournalError):
                pass
            self.crash()

    def _is_over(self) -> bool:
        state = self.loop.state
        is_at_rest = not self.posts and not state.flows and not self.loop._inbox and not self.loop._batch.entries
        return is_at_rest and not self.loop.is_full

    def _turn(self) -> None:
        chance = self.chance
        if self.plan.has_breakpoints and chance.random() < 0.3:
            self._debug()
            return
        if self.plan.sets_clock and chance.random() < 0.2:
            self.clock.step(chance.choice((-86400, -3600, -2, 2, 3600, 86400)))
            self.loop.give(Tick())
            return
        roll = chance.random()
        if self.posts and roll < 0.2:
            self._post()
        elif roll < 0.7 and self._finish():
            return
        elif roll < 0.8:
            self._person_completes()
        elif roll < 0.83:
            self._late()
        elif roll < 0.85:
            self._pass_time()
        elif roll < 0.9:
            self._come_due()
        elif self.plan.crashes_max and self.crashes < self.plan.crashes_max and roll < 0.92:
            raise Crash
        elif roll < 0.94:
            self._release()
        elif self.plan.is_wild:
            self._meddle()
        else:
            self._stand_in()

    def _work(self, work: object, *args: object) -> None:
        try:
            work(*args)  # type: ignore[operator]
        except JournalError:
            pass

    def _post(self) -> None:
        type, body, key = self.posts[0]
        if self.loop.is_full:
            self._stand_in()
            return
        self._settle()
        done: list[Task | None] = []
        try:
            done.append(self._ask(Post(type, body, key)))
        except JournalError:
            return
        [answer] = done
        if answer is None:
            return
        assert answer.id in self.disk.born, "acknowledged, and not durable"
        self.posts.pop(0)
        self.posted.append(answer.flow)
        self._wait(answer.flow)

    def _debug(self) -> None:
        """A person continues what a breakpoint holds; while there is much to come, breakpoints come and go."""
        self._stand_in()
        if self.loop.is_full or self.loop.failure is not None:
            return
        state, chance = self.loop.state, self.chance
        held = [id for id, hold in state.holds.stops.items() if not hold.is_released and id in self.disk.born]
        if held and chance.random() < 0.6:
            id = chance.choice(held)
            self.continued += 1
            self._ask(Release(id if chance.random() < 0.9 else state.holds.stops[id].flow))
            return
        names = sorted(state.holds.points)
        roll = chance.random()
        if roll < 0.5 and len(names) < 3 and self.stops_set < 12:
            self.stops_set += 1
            name = f"b{self.stops_set}"
            self._ask(SetBreakpoint(name, self._breakpoint(name)))
        elif names and roll < 0.7:
            self._ask(SwitchBreakpoint(chance.choice(names), roll < 0.6))
        elif names and roll < 0.9:
            self._ask(DropBreakpoint(chance.choice(names), roll < 0.8))

    def _breakpoint(self, name: str) -> str:
        chance = self.chance
        rules = [rule.name for rule in self.edition.rules.rules]
        place = chance.choice(
            (
                "before any", "after any", "after any failed or timed out", f"before {chance.choice(list(TASKS))}",
                f"after {chance.choice(list(TASKS))} done", f"after {chance.choice(EVENTS)}",
                f"on rule {chance.choice(rules)}", f"on rule {chance.choice(rules)}",
            )
        )  # fmt: skip
        where = chance.choice(("", "", " where body.n > 1", " where body.unknown == 1")) if "rule" not in place else ""
        if chance.random() < 0.2:
            return f'logpoint {name} {place}{where} print "here"'
        return f"breakpoint {name} {place}{where}{chance.choice(('', ' from hit 2', ' once', ' expires 1h'))}"

    def _ask(self, cause: Cause) -> Task | None:
        """`Loop.ask`; the time in which others would commit for it passes here."""
        ticket = Ticket()
        self.loop._inbox.append((cause, ticket, None))
        self.loop.drive()
        while ticket._done.locked():
            self.clock.pass_by(1)
            self.loop.drive(must_commit=True)
        return ticket.wait()

    def _settle(self) -> None:
        """The committer's thread runs."""
        if self.committer.is_hurried:
            self.committer.is_hurried = False
            self.loop.drive(must_commit=True)

    def _stand_in(self) -> None:
        self._settle()
        if self.loop.committer is None:
            self.loop.drive(must_commit=True)
        elif self.committer.is_armed:
            self.committer.is_armed = self.loop.commit_old() is not None

    def _pass_time(self) -> None:
        self.clock.pass_by(self.chance.choice((0.001, 0.01, 1, 86400)))
        self._stand_in()

    def _come_due(self) -> None:
        """Time passes until something is due, and it happens; a while too late, as after a sleep of the machine."""
        due = self.loop.state.waits.next_due
        if due is None or self.loop.is_full:
            return
        late = self.chance.choice((0.0, 0.0, 0.5, 5000.0))
        self.clock.pass_by(max(0, due - self.clock.latest_us) / 1e6 + late)
        self.loop.give(Tick())

    def _wait(self, flow: str) -> None:
        told = self.told.setdefault(flow, [])

        def tell(news: FlowNews) -> None:
            told.append(news)
            if news.error is None and news.held is None:
                assert flow in self.disk.ended_flows, "told that a flow ended, and that is not durable"

        self.loop.wait_for(flow, tell)

    def _finish(self) -> bool:
        kinds = [kind for kind, executor in self.executors.items() if executor.machine.running]
        if not kinds:
            return False
        executor = self.executors[self.chance.choice(kinds)]
        running = sorted(executor.machine.running)
        if executor.behind:
            self._check_slots(executor)
            id = self.chance.choice(running)
            roll = self.chance.random()
            if roll < 0.2:
                self.loop.give(GiveBack(executor.take_back(id)))
            elif roll < 0.7:
                executor.finish_row(id, self.chance.randint(1, 4), lambda: self.chance.random() < 0.7)
                return True
            if id not in executor.machine.running:
                return True
        ids = self.chance.sample(running, min(len(running), self.chance.choice((1, 1, 2, 3))))
        executor.finish(ids, lambda: self.chance.random() < 0.7)
        return True

    def _check_slots(self, executor: SimulatedExecutor) -> None:
        """However many are given out in rows, no more run than there are slots."""
        takes = [id for id, job in executor.machine.running.items() if job.task.needs is None]
        assert len(takes) <= self.loop._terms.slots

    def _late(self) -> None:
        """A report that was brought before, or one on a task that never ran here."""
        executor = self.executors[self.chance.choice(("process", "python"))]
        if executor.reported:
            executor.report_again(self.chance.choice(executor.reported))

    def _person_completes(self) -> None:
        asked = [task for task in self.loop.state.live() if task.type == "u0" and task.outcome is None]
        if not asked or self.loop.is_full:
            return
        self._settle()
        task = self.chance.choice(asked)
        if task.id not in self.disk.born:
            return  # Nobody can know of it yet.
        outcome = outcome_of(task, self.plan.seed)
        result: Body | None = {"m": task.body["n"]} if outcome == "done" else None
        error: Body | None = None if outcome == "done" else {"kind": "exit"}
        self._ask(Report(task.id, outcome, result, error, task.started, self.clock.now_us(), task.flow, "person"))

    def _release(self) -> None:
        """Somebody continues what the guard holds."""
        self._stand_in()
        held = [id for id, flow in self.loop.state.flows.items() if flow.held is not None]
        if held and not self.loop.is_full:
            self._ask(Release(self.chance.choice(held)))

    # -- what only wild runs have ---------------------------------------------------

    def _meddle(self) -> None:
        """People cancel and retry; an engine is closed and opened again."""
        self._stand_in()
        if self.loop.is_full or self.loop.failure is not None:
            return
        roll = self.chance.random()
        try:
            if roll < 0.3:
                self._cancel()
                if roll < 0.1:
                    self._close_and_open()  # What was told to stop runs on, and only cells tell that it was.
            elif roll < 0.9:
                self._retry()
            else:
                self._close_and_open()
        except ThenError:
            pass  # What was read is not so any more.

    def _close_and_open(self) -> None:
        self.loop.close()
        if self.loop.failure is not None or self.loop.is_full:
            raise Crash
        self.open()

    def _cancel(self) -> None:
        live = [task for task in self.loop.state.live() if task.id in self.disk.born]
        if live:
            task = self.chance.choice(live)
            whole = task.flow if self.chance.random() < 0.3 else None
            self._ask(Cancel((task.id,), whole))
            if self.crashes < self.plan.crashes_max and self.chance.random() < 0.2:
                raise Crash  # Before it has stopped.

    def _retry(self) -> None:
        """As `Engine.retry` does it: from what a reader of the journal sees."""
        if self.lives > 8:
            return  # Else it would never end.
        history = History(self.disk.journal)
        failed = [
            (flow.id, id) for flow in history.flows() for id in flow.untaken
            if flow.records < 60 and id in self.disk.born and self.disk.born[id].attempt < 3
        ]  # fmt: skip
        if not failed:
            return
        flow_id, id = self.chance.choice(failed)
        flow = history.flow(flow_id)
        record = flow.records[id]
        if record.task.event or record.task.is_held:
            return
        past = flow.flow if flow.flow.outcome is not None else None
        self._ask(Retry(record.task, past, chain_of(record, flow)))

    # -- the verdict -------------------------------------------------------------------

    def check(self) -> Story:
        """All laws at once; gives what happened."""
        check_replay(self.disk.journal)
        story = Story(self.disk.journal)
        story.check_end()
        check_reader(self.disk.journal, story)
        state = self.loop.state
        left: tuple[Sized, ...] = (
            state.tasks,
            state.flows,
            state.chains,
            state.pending,
            state.running,
            state.rows,
            state.stopping,
            state.stuck,
            state.waits.frames,
            state.waits.tallies,
            state.waits.scripts.of,
            state.holds.stops,
            [wait for wait in state.waits.open_waits() if wait.scope or wait.keeps],
        )
        assert not any(left), "something of what has ended is still there"
        assert state.slots_used == 0
        assert not self.loop._waiters, "somebody waits who should have been told"
        assert not self.processes.running
        for flow in self.posted:
            assert self.told[flow], "nobody was told of the end of a flow"
            assert any(news.error is None for news in self.told[flow])
        assert len(self.posted) == len(set(self.posted)), "one key brought two flows forth"
        return story

    def digest(self) -> str:
        return digest(self.disk.journal)
