"""A loop on a bench: a journal whose appends are seen and refused, and hands for an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import cast

from tests.simulation.parts import SimulatedCommitter, VirtualClock
from then.abc import Cell, Entry, Job, Report
from then.committer import Committer
from then.core import facts as f
from then.core.causes import Adopt, Post, Proceed
from then.core.edition import Edition
from then.core.errors import JournalError
from then.core.folds import restore
from then.core.tasks import Body, Outcome, Task
from then.journals.memory import MemoryJournal
from then.language.loading import load_text
from then.loop import Loop
from then.waiting import FlowNews

TASKS = """
event go(n: int)
event tick(n: int)
task a() run process ["a"]
task b() run process ["b"]
task c() run process ["c"]
task once_only() run process ["o"] once
task ask()
rule r when go then a(), b()
rule s when a done then c()
rule pair when tick then b(), b()
"""


class Paper:
    """A journal in memory whose appends are counted, and refused when told so."""

    def __init__(self) -> None:
        self.memory = MemoryJournal()
        self.appends: list[tuple[int, list[str]]] = []
        """Of each append: how many entries, and the kinds of cells."""
        self.refusal: JournalError | None = None
        self.before: Callable[[], object] = lambda: None

    @property
    def last(self) -> int:
        return self.memory.last

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        self.before()
        if self.refusal is not None:
            raise self.refusal
        cells = list(cells)
        self.memory.append(entries, cells)
        self.appends.append((len(entries), sorted({cell.kind for cell in cells})))

    def carry(self, files: Mapping[str, bytes]) -> bool:
        return False

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        return self.memory.read(after, upto)

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return self.memory.cells(kind, prefix)

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        self.memory.prune(seqs, cells)

    def close(self) -> None:
        self.memory.close()

    def facts(self) -> list[f.Fact]:
        return [fact for entry in self.memory.read() for fact in f.decode(entry.data).facts]


class Hands:
    """An executor that does what the test does."""

    def __init__(self) -> None:
        self.started: list[Task] = []
        self.recovered: list[Task] = []
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.left: list[str] = []
        """What it still has from an engine before."""

    def start(self, jobs: Sequence[Job]) -> None:
        self.started += [job.task for job in jobs]

    def recover(self, jobs: Sequence[Job]) -> None:
        self.recovered += [job.task for job in jobs]

    def inventory(self) -> Sequence[str]:
        return self.left

    def stop(self, id: str, grace_s: float) -> None:
        self.stopped.append(id)

    def forget(self, ids: Sequence[str]) -> None:
        self.forgotten += ids

    def close(self, *, wait: bool) -> None:
        pass


class Bench:
    """A loop on a journal in memory, with hands for processes."""

    def __init__(
        self, paper: Paper | None = None, *, slots: int = 10, rules: str = TASKS, committer: bool = False
    ) -> None:
        self.paper = paper or Paper()
        self.clock = VirtualClock(Random(1))
        self.hands = Hands()
        state = restore(self.paper.cells, lambda after: (entry.data for entry in self.paper.read(after)))
        self.loop = Loop(
            self.paper, state, {"v1": Edition("v1", load_text(rules).rules)}, clock=self.clock, slots=slots, engine=3
        )
        self.committer = SimulatedCommitter()
        if committer:
            self.loop.committer = cast(Committer, self.committer)
        self.loop.attach("process", self.hands)
        self.report = self.loop.reporter("process")

    def open(self) -> Bench:
        if self.loop.state.version != "v1":
            self.loop.ask(Adopt("v1"))
        self.loop.recover()
        self.loop.give(Proceed())
        return self

    def post(self, type: str, key: str | None = None, flow: str | None = None, **body: int) -> Task:
        answer = self.loop.ask(Post(type, body, key, flow))
        assert answer is not None
        return answer

    def end(self, *tasks: Task, outcome: Outcome = "done") -> None:
        error = None if outcome == "done" else {"kind": "exit"}
        result: Body | None = {} if outcome == "done" else None
        now = self.clock.now_us()
        self.report([Report(task.id, outcome, result, error, now - 1, now) for task in tasks])

    def wait(self, flow: str) -> list[FlowNews]:
        told: list[FlowNews] = []
        self.loop.wait_for(flow, told.append)
        return told

    def types(self) -> list[str]:
        return [task.type for task in self.hands.started]
