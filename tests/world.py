"""The pure engine in a test's hands: causes in, facts and orders out; time is a number, and nothing runs.

What the engine orders is kept, for the test to answer. Every page is kept too,
so that a state can be compared with the replay of what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable

from then.app.rules import Rules
from then.core import facts as f
from then.core.causes import Adopt, AllHeld, Cancel, Cause, Order, Over, Post, Proceed, Report, Start, Step, Stop, Tick
from then.core.edition import Edition
from then.core.engine import Terms, step
from then.core.rules import RuleSet
from then.core.state import State
from then.core.tasks import Body, Json, Outcome, Task
from then.language.breakpoints import read_breakpoint
from then.language.loading import load_text

BEGIN_US = 1_780_000_000_000_000
"""Some day in 2026."""


class World:
    """One engine, stepped by hand.

    Args:
        rules: a text in the language, or rules from Python.
        kinds: the executors that are here.
    """

    def __init__(self, rules: str | Rules, *, slots: int = 100, kinds: Iterable[str] = ("process", "python")) -> None:
        self.rules: RuleSet = load_text(rules).rules if isinstance(rules, str) else rules.set
        self.state = State()
        self.editions = {"v1": Edition("v1", self.rules)}
        self.terms = Terms(BEGIN_US, self.editions, slots, 7, frozenset(kinds))
        self.terms.breakpoint_of = lambda edition, text: read_breakpoint(text, edition.rules)
        self.pages: list[f.Page] = []
        self.orders: list[Order] = []
        self.born: dict[str, Task] = {}
        """Every record as it was born, in order."""
        self.steps = 0
        self.state.version = "v1"

    def adopt(self) -> None:
        """The rules come in force: their breakpoints are set."""
        self.give(Adopt("v1"))

    # -- causes ------------------------------------------------------------------

    def bring(self, cause: Cause) -> Step:
        """One step."""
        self.terms.time += 1000
        done = step(self.state, cause, self.terms)
        self.steps += 1
        for page in done.pages:
            # What is kept is what a journal would give back: nothing is shared with the state.
            self.pages.append(f.decode(f.encode(page)))
            for fact in page.facts:
                if isinstance(fact, f.Posted | f.Emitted):
                    self.born[fact.task.id] = fact.task
        self.orders += done.orders
        return done

    def rest(self) -> None:
        """Steps until no event is left to match."""
        while self.state.pending:
            self.bring(Proceed())

    def give(self, cause: Cause) -> Step:
        """One cause, and what follows by itself."""
        done = self.bring(cause)
        self.rest()
        return done

    def post(self, type: str, key: str | None = None, flow: str | None = None, **body: Json) -> Task:
        answer = self.give(Post(type, body, key, flow)).answer
        assert answer is not None
        return answer

    def end(self, which: str | Task, outcome: Outcome = "done", error: str = "exit", **result: Json) -> Task:
        """Reports on a task: a record, or the oldest live one of a type."""
        task = which if isinstance(which, Task) else self.live(which)[0]
        failure: Body | None = None if outcome == "done" else {"kind": error, "message": "as told"}
        now = self.terms.time
        self.give(Report(task.id, outcome, dict(result) if outcome == "done" else None, failure, now - 500, now))
        return task

    def cancel(self, *which: str | Task, flow: str | None = None) -> None:
        tasks = [one if isinstance(one, Task) else self.live(one)[0] for one in which]
        self.give(Cancel(tuple(task.id for task in tasks), flow))

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due in it happens when it is due."""
        until = self.terms.time + int(seconds * 1e6)
        while (due := self.state.waits.next_due) is not None and due <= until:
            self.terms.time = max(self.terms.time, due - 1000)
            self.give(Tick())
        self.terms.time = max(self.terms.time, until)

    # -- looking -------------------------------------------------------------------

    def live(self, type: str | None = None) -> list[Task]:
        return [task for task in self.state.live() if type is None or task.type == type]

    def started(self) -> list[str]:
        """Types that were given to an executor, in order."""
        return [order.task.type for order in self.orders if isinstance(order, Start)]

    def stopped(self) -> list[str]:
        return [order.task.type for order in self.orders if isinstance(order, Stop)]

    def outcome(self, flow: str | Task) -> Outcome | None:
        """How a flow ended; None while it is open."""
        id = flow if isinstance(flow, str) else flow.flow
        found = [order.flow.outcome for order in self.orders if isinstance(order, Over) and order.flow.id == id]
        return found[-1] if found and id not in self.state.flows else None

    def held(self) -> list[str]:
        """The reasons for which flows stood still."""
        return [order.reason for order in self.orders if isinstance(order, AllHeld)]

    def facts(self, *kinds: type) -> list[f.Fact]:
        return [fact for page in self.pages for fact in page.facts if not kinds or isinstance(fact, kinds)]

    def emitted(self, type: str | None = None) -> list[Task]:
        """Records as they were emitted, in order."""
        return [fact.task for fact in self.facts() if isinstance(fact, f.Emitted) and type in (None, fact.task.type)]

    def emissions(self) -> list[str]:
        """`type by rule` of every emission, in order."""
        return [f"{task.type} by {task.rule}" for task in self.emitted()]

    def fired(self, record: Task) -> list[str]:
        """The rules that fired on a record."""
        return [
            name for fact in self.facts() if isinstance(fact, f.Matched) and fact.id == record.id for name in fact.rules
        ]

    def completed(self, record: Task) -> f.Completed:
        found = [fact for fact in self.facts() if isinstance(fact, f.Completed) and fact.id == record.id]
        assert len(found) == 1, "law 1"
        return found[0]
