"""The world of a simulated engine: a clock, a disk and executors, all moved by one source of chance.

What is here stands behind the seams of `then.abc`. Loop, core and journal in
memory are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from random import Random
from typing import Final, Literal, TypeAlias

import attrs
from msgspec.structs import replace

from tests.rulesets import outcome_of
from then.abc import Cell, Entry, Job, Report, ReportTo
from then.alarm import Timekeeper
from then.core import facts as f
from then.core.errors import JournalFailed, JournalFull
from then.core.tasks import Body, Outcome, Task
from then.journals.memory import MemoryJournal

BEGIN_US: Final = 1_780_000_000_000_000
SLACK_US: Final = 10_000
"""By so much it is not known when the clock was set: it is read beside the one that never is."""
Fate: TypeAlias = Literal["well", "crash before", "crash after", "full", "failed"]


class Crash(BaseException):
    """The engine is killed here: no code of ours runs any more that could know of it."""


class VirtualClock:
    """Time that passes because it is asked for; it also jumps, and the wall clock steps back."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._elapsed = 0
        self._base = BEGIN_US
        self._highest = BEGIN_US

    def now_us(self) -> int:
        self._elapsed += self._chance.choice((0, 1, 7, 90))
        return self.latest_us

    def monotonic(self) -> float:
        # The same time: were the two to drift apart, an engine would take the wall clock for one that was set.
        self._elapsed += self._chance.choice((0, 10, 100, 1000))
        return 100.0 + self._elapsed / 1e6

    @property
    def latest_us(self) -> int:
        """What it showed last."""
        return self._base + self._elapsed

    @property
    def highest_us(self) -> int:
        """What it showed when it was furthest."""
        return max(self._highest, self.latest_us)

    def pass_by(self, seconds: float) -> None:
        self._elapsed += int(seconds * 1e6)

    @property
    def elapsed_us(self) -> int:
        """What no setting of the clock changes."""
        return self._elapsed

    def step(self, seconds: float) -> None:
        """Somebody sets the clock on the wall."""
        self._highest = self.highest_us
        self._base += int(seconds * 1e6)


class Disk:
    """What survives a crash: the journal, and what is known of it for the laws."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.born: dict[str, Task] = {}
        """Records whose birth is durable, with the body that they start with."""
        self.started: set[str] = set()
        """Starts of `once` tasks that are durable."""
        self.ended_flows: set[str] = set()
        self.moved: dict[str, int] = {}
        """By how much the clock had been set when a record was put off."""
        self.set_by = 0
        self.ripe: dict[str, int] = {}
        """The same when its time had come."""
        self.stopping: set[str] = set()
        """Tasks of which it is durable that they were told to stop."""

    def due(self, id: str) -> int | None:
        """When a record that was put off may start, by the clock as it is set now."""
        policy = self.born[id].policy if id in self.born else None
        if policy is None or policy.due is None:
            return None
        since = self.moved.get(id, self.set_by)
        return policy.due + self.ripe.get(id, self.set_by) - since

    def took(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            for fact in f.decode(entry.data).facts:
                match fact:
                    case f.Posted(task=task) | f.Emitted(task=task):
                        self.born[task.id] = task
                        if task.policy is not None and not task.policy.is_due_by_clock:
                            self.moved[task.id] = self.set_by
                    case f.Ripened(id=id):
                        self.ripe[id] = self.set_by
                    case f.ClockSet(by_us=by_us):
                        self.set_by += by_us
                    case f.Loaded(id=id, body=body):
                        self.born[id] = replace(self.born[id], body=body)
                    case f.Started(id=id):
                        self.started.add(id)
                    case f.Stopping(id=id):
                        self.stopping.add(id)
                    case _:
                        pass
            page = f.decode(entry.data)
            for fact in page.facts:
                if isinstance(fact, f.FlowEnded):
                    self.ended_flows.add(page.flow)
                elif isinstance(fact, f.FlowReopened):
                    self.ended_flows.discard(page.flow)


class FragileJournal:
    """The journal as one engine has it open: each append has a fate."""

    def __init__(self, disk: Disk, fate: Callable[[], Fate]) -> None:
        self._disk = disk
        self._fate = fate
        self._has_failed = False

    @property
    def last(self) -> int:
        return self._disk.journal.last

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        fate = "failed" if self._has_failed else self._fate()
        if fate == "crash before":
            raise Crash
        if fate == "full":
            raise JournalFull("in the simulation")
        if fate == "failed":
            self._has_failed = True
            raise JournalFailed("in the simulation", "input/output error")
        self._disk.journal.append(entries, cells)
        self._disk.took(entries)
        if fate == "crash after":
            raise Crash

    def carry(self, files: Mapping[str, bytes]) -> bool:
        return False

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        return self._disk.journal.read(after, upto)

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return self._disk.journal.cells(kind, prefix)

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        self._disk.journal.prune(seqs, cells)

    def close(self) -> None:
        pass


@attrs.define
class Machine:
    """Where processes run: it goes on when the engine is gone."""

    running: dict[str, Job] = attrs.field(factory=dict)
    ended: dict[str, Report] = attrs.field(factory=dict)
    """Ends that the engine has not told to forget."""
    starts: dict[str, int] = attrs.field(factory=dict)
    stopping: set[str] = attrs.field(factory=set)


class SimulatedExecutor:
    """Runs nothing; holds what it was given until the simulation ends it.

    Args:
        machine: what it runs on; a new one for each engine where tasks end with it.
        outlives: tasks go on without the engine, and ends are kept until they are to be forgotten.
        seed: outcomes are a function of it and the record.
        quick: the types of which it takes rows; it begins one of a row when the one before has ended.
    """

    def __init__(
        self,
        report: ReportTo,
        clock: VirtualClock,
        disk: Disk,
        machine: Machine,
        seed: int,
        *,
        outlives: bool,
        quick: AbstractSet[str] = frozenset(),
    ) -> None:
        self._report = report
        self._clock = clock
        self._disk = disk
        self.machine = machine
        self._seed = seed
        self._outlives = outlives
        self.reported: list[Report] = []
        self.quick = quick
        self.behind: dict[str, list[Job]] = {}
        """By who runs: those of its row that were not begun."""
        self.rows = 0

    # -- the seam -------------------------------------------------------------

    def start(self, jobs: Sequence[Job]) -> None:
        first = ""
        for job in jobs:
            self._check_start(job)
            if job.follows:
                assert first, "one that follows nobody"
                assert job.task.type in self.quick
                self.behind.setdefault(first, []).append(job)
                self.rows += 1
                continue
            first = job.task.id
            self.machine.starts[job.task.id] = self.machine.starts.get(job.task.id, 0) + 1
            self.machine.running[job.task.id] = job

    def recover(self, jobs: Sequence[Job]) -> None:
        doubt: list[Report] = []
        for job in jobs:
            id = job.task.id
            if id in self.machine.running:
                continue
            if id in self.machine.ended:
                doubt.append(self.machine.ended[id])
            elif job.options.get("once"):
                doubt.append(Report(id, "failed", None, {"kind": "unknown"}, None, self._clock.now_us()))
            else:
                self.start([job])
        if doubt:
            self._report(doubt)

    def inventory(self) -> Sequence[str]:
        return [*self.machine.running, *self.machine.ended]

    def stop(self, id: str, grace_s: float) -> None:
        if id in self.machine.running:
            self.machine.stopping.add(id)
        for row in self.behind.values():
            for job in [job for job in row if job.task.id == id]:
                row.remove(job)
                self._report([Report(id, "cancelled", None, {"kind": "cancelled"}, None, self._clock.now_us())])

    def forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.machine.ended.pop(id, None)

    def close(self, *, wait: bool) -> None:
        pass

    # -- the simulation's side --------------------------------------------------

    def finish(self, ids: Sequence[str], is_stopped: Callable[[], bool]) -> None:
        """Ends tasks and reports them in one call."""
        reports = [self._end(id, is_stopped()) for id in ids]
        self.reported += reports
        self._report(reports)

    def finish_row(self, id: str, count: int, is_stopped: Callable[[], bool]) -> None:
        """Ends the first of a row and some behind it, and reports them in one call."""
        ids = [id, *(job.task.id for job in self.behind.get(id, [])[: count - 1])]
        self.finish(ids, is_stopped)

    def take_back(self, id: str) -> list[str]:
        """The ids behind one, of which it takes none any more."""
        return [job.task.id for job in self.behind.pop(id, [])]

    def finish_unseen(self, id: str) -> None:
        """A process ends while no engine is there."""
        self._end(id, is_stopped=False)

    def report_again(self, report: Report) -> None:
        self._report([report])

    def _end(self, id: str, is_stopped: bool) -> Report:
        job = self.machine.running.pop(id)
        row = self.behind.pop(id, [])
        if row:
            self.machine.running[row[0].task.id] = row[0]
            self.behind[row[0].task.id] = row[1:]
        outcome: Outcome = outcome_of(job.task, self._seed)
        if id in self.machine.stopping:
            self.machine.stopping.discard(id)
            outcome = "cancelled" if is_stopped else outcome
        result: Body | None = {"m": job.task.body["n"]} if outcome == "done" else None
        error: Body | None = None if outcome == "done" else {"kind": "cancelled" if outcome == "cancelled" else "exit"}
        now = self._clock.now_us()
        report = Report(id, outcome, result, error, now - 3, now)
        if self._outlives:
            self.machine.ended[id] = report
        return report

    def _check_start(self, job: Job) -> None:
        task = job.task
        born = self._disk.born.get(task.id)
        assert born is not None, f"law 3: {task.type} was started before what emitted it was durable"
        due = self._disk.due(task.id)
        assert due is None or self._clock.highest_us >= due - SLACK_US, f"{task.type} was started before its time"
        assert born.body == task.body, f"{task.type} was started with a body that is not in the journal"
        assert task.id not in self._disk.stopping, f"{task.type} was told to stop, and is started"
        assert task.id not in self.machine.running, f"{task.type} is started while it runs"
        waiting = [job.task.id for row in self.behind.values() for job in row]
        assert task.id not in waiting, f"{task.type} is started while it waits in a row"
        self._check_limits(task)
        if self._outlives:
            assert not self.machine.starts.get(task.id), f"{task.type} was started twice on a machine that goes on"
        if job.options.get("once"):
            assert task.id in self._disk.started, f"{task.type} is marked once, and its start is not durable"
            assert not self.machine.starts.get(task.id), f"{task.type} is marked once, and was started twice"

    def _check_limits(self, task: Task) -> None:
        """`l0` runs twice at once for each n; `p0` shares a lock that `l1` has alone."""
        running = [job.task for job in self.machine.running.values()]
        types = [one.type for one in running]
        if task.type == "l0":
            twins = [one for one in running if one.type == "l0" and one.body["n"] == task.body["n"]]
            assert len(twins) < 2, "a limit is exceeded"
        assert task.type != "p0" or "l1" not in types, "a lock that one has alone is shared"
        assert task.type != "l1" or not {"p0", "l1"} & {*types}, "a lock that others have is had alone"


class SimulatedTimekeeper(Timekeeper):
    """Wakes nobody: the simulation looks by itself what is due."""

    def set(self, due: int | None) -> None:
        pass


class SimulatedCommitter:
    """Stands in for the committer's thread: the simulation runs it when it likes."""

    def __init__(self) -> None:
        self.is_armed = False
        self.is_hurried = False

    def arm(self, delay_s: float = 0.0) -> None:
        self.is_armed = True

    def hurry(self) -> None:
        self.is_hurried = True

    def close(self) -> None:
        pass
