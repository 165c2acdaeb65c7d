"""Rules tried out in virtual time: the pure core, and nothing that could run a task.

Theory of operation. A trial is a state, a number for the time, and a list of
all records. It feeds `then.core.engine.step` as the loop does, but keeps no
journal and has no executor: what the core orders to be started is answered by
a stub, at once, or stays running.

1. Time moves in `advance` only, from one due time to the next.
2. Before a call returns the rules have come to rest: no event is unmatched,
   and every attempt that a stub answers is answered.
3. An attempt is answered by the stub that stands for its task when it starts;
   one that still runs when a stub is set is answered then.

Who calls: `then.analysis.verdicts`, which judges the tests of `.then` files,
and `then.testing`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from msgspec.structs import replace

from then.analysis.coverage import TELLING, Coverage, firings
from then.core import facts as f
from then.core.causes import Adopt, Cause, Order, Over, Post, Proceed, Report, Start, Stop, Tick, Told
from then.core.causes import Step as Stepped
from then.core.claims import Capacity
from then.core.edition import FLOW_ENDED, SCRIPT, Edition
from then.core.engine import Terms, step
from then.core.facts import Flow, ended
from then.core.launch import launch_options
from then.core.rules import TaskDecl
from then.core.scenarios import BEGIN_US, END_US, Answer
from then.core.state import RULE_FAILED, State
from then.core.tasks import Body, Outcome, Task
from then.core.waits import Wait
from then.scripts.trying import Trying

STEPS_MAX: Final = 50_000
"""Between two lines of a test, or between two due times: tasks that bring forth each other would take for ever."""
TICKS_MAX: Final = 1_000_000
"""Due times in one advance: a year of half minutes."""
TRAIL_LENGTH: Final = 6
SLOTS: Final = 1_000_000_000
"""Tasks wait for limits that rules set, not for the size of a machine."""

Reply: TypeAlias = Answer | Callable[[Task], Answer]
"""How an attempt ends; of a function, when it is asked about that attempt."""


class Restless(Exception):
    """Rules that bring forth more and more while no time passes, or an advance with too many due times."""


class Trial:
    """One world of records, alone and at its own time.

    Args:
        edition: the rules; shared by as many trials as one likes.
        now_us: when it begins, microseconds since 1970, UTC.
        coverage: counts what fires and what clauses come to.
        root: the project's, where scripts are found; without it a script runs on like any task without a stub.
    """

    def __init__(
        self,
        edition: Edition,
        now_us: int = BEGIN_US,
        coverage: Coverage | None = None,
        root: Path | None = None,
    ) -> None:
        self.edition = edition
        self.scripts = Trying(root, self._bring, lambda: self.now_us) if root is not None else None
        self.coverage = coverage
        self.begin_us = now_us
        self.records: dict[str, Task] = {}
        """All of them by id, as they are now, in the order in which they came."""
        self.own: set[str] = set()
        """The ids of those that were posted by this trial, not emitted."""
        self.ends: list[Task] = []
        """`flow.ended` of each flow that ended, also where no rule waits for it."""
        self.notes: list[str] = []
        """What went wrong beside: rules that failed, flows that a guard holds."""
        self.hanging: set[str] = set()
        """Running by their stub's will."""
        self.dues: dict[str, int] = {}
        """When what is put off is due."""
        self._has_begun = False
        self._fired: set[str] = set()
        self._stubs: dict[str, deque[tuple[Reply, int | None]]] = {}
        self._running: dict[str, int] = {}
        """Since when."""
        self._fresh: deque[str] = deque()
        """Of those, the ones that a stub was not asked for yet."""
        self._stops: deque[Task] = deque()
        self._state = State(version=edition.version)
        kinds = frozenset(runner.kind for runner in edition.runners.values())
        self._terms = Terms(
            now_us, {edition.version: edition}, SLOTS, kinds=kinds, capacity=_boundless(edition),
            answered=self._stubs.keys(),
        )  # fmt: skip

    @property
    def now_us(self) -> int:
        return self._terms.time

    # -- what a test does ----------------------------------------------------------

    def begin(self, now_us: int) -> None:
        """Sets the time; before anything was posted."""
        assert not self._has_begun
        self.begin_us = self._terms.time = now_us

    def post(self, type: str, body: Body) -> Task:
        """A record from outside, the root of a new flow; gives it as it was posted.

        Raises:
            BodyRefused: it is not as declared.
            Restless: the rules do not come to rest.
        """
        self._set_timers()
        answer = self._bring(Post(type, body)).answer
        assert answer is not None
        self.own.add(answer.id)
        self._rest()
        return answer

    def stub(self, type: str, replies: Iterable[tuple[Reply, int | None]]) -> None:
        """What answers the attempts of a task from here on, those that run included; or calls that begin from here on.

        Args:
            replies: each with the number of attempts that it is for; None for one, or, of the last, for all.
        """
        self._stubs[type] = deque(replies)
        for id in self._running:
            if self.records[id].type == type:
                self.hanging.discard(id)
                self._fresh.append(id)
        self._rest()

    def advance(self, by_us: int) -> None:
        """Lets time pass, from due time to due time.

        Raises:
            Restless: too much is due.
        """
        self._set_timers()
        until = self._terms.time + by_us
        assert until < END_US, "a trial ends before the year 2200"
        ticks = 0
        while (due := self._state.waits.next_due) is not None and due <= until:
            ticks += 1
            if ticks > TICKS_MAX:
                raise Restless(f"more than {TICKS_MAX:,} times something is due in one advance")
            self._terms.time = max(due, self._terms.time)
            self._bring(_TICK)
            self._rest()
        self._terms.time = until

    # -- looking ---------------------------------------------------------------------

    def emitted(self, type: str) -> Iterator[Task]:
        """What rules, timers and the engine brought forth of a type; of several attempts the one that is settled.

        Left out: what `skip` completed without running it, and what `after` or `at` puts off as long as it is.
        """
        if type == FLOW_ENDED:
            yield from self.ends
            return
        for task in self.records.values():
            if task.type != type or task.id in self.own or not task.settled or is_skipped(task):
                continue
            if task.id not in self.dues or task.origin is not None:
                yield task

    def unanswered(self) -> dict[str, list[Task]]:
        """By type what runs since no stub answers it; what hangs by its stub is left out."""
        found: dict[str, list[Task]] = {}
        for task in self.running():
            if task.id not in self.hanging and not self._is_played(task):
                found.setdefault(task.type, []).append(task)
        return found

    def running(self) -> list[Task]:
        """What has begun and did not end, in the order of the beginnings."""
        return [self.records[id] for id in self._running]

    def awaited(self, rule: str) -> dict[str, list[str]]:
        """By step of a chain of that rule, the types of the tasks that it waits for."""
        found: dict[str, list[str]] = {}
        for chain in self._state.chains.values():
            if chain.rule == rule:
                types = [self.records[id].type for id, lives in chain.waiting.items() if lives and id in self.records]
                found[f"{rule}/{chain.step}"] = types
        return found

    def open_joins(self) -> Iterable[Wait]:
        """Half-filled ones."""
        return self._state.waits.open_waits()

    def has_fired(self, rule: str) -> bool:
        return rule in self._fired

    def flow(self, id: str) -> Flow | None:
        """A flow that is open."""
        return self._state.flows.get(id)

    def _set_timers(self) -> None:
        """From when the test begins, `every` and `cron` run as they do elsewhere."""
        if not self._has_begun:
            self._has_begun = True
            self._terms.began = self.begin_us
            if self.edition.rules.timers:
                self._bring(Adopt(self.edition.version))

    # -- the machine --------------------------------------------------------------------

    def _bring(self, cause: Cause) -> Stepped:
        done = step(self._state, cause, self._terms)
        telling: list[f.Fact] = []
        for page in done.pages:
            for fact in page.facts:
                kind = type(fact)
                if kind in _BIRTHS:
                    self._take_born(fact.task)  # type: ignore[union-attr]
                elif kind in _TAKEN:
                    self._take(fact)
                if kind in TELLING:
                    telling.append(fact)
        fired = firings(telling) if telling else ()
        self._fired.update(fired)
        if self.coverage is not None:
            self.coverage.look(done.pages, fired, self.records, self._state)
        for order in done.orders:
            self._obey(order)
        # No journal asks for them, and a year has very many.
        self._state.past.clear()
        self._state.trace.clear()
        return done

    def _take_born(self, task: Task) -> None:
        self.records[task.id] = task
        if task.policy is not None and task.policy.due is not None:
            self.dues[task.id] = task.policy.due
        elif task.outcome is None:
            if task.started is not None and not task.is_held and not task.is_call:
                self._begin(task)  # A person's task: it runs as soon as it is there.
        elif task.type == RULE_FAILED:
            self.notes.append(f"rule {task.body['rule']} failed: {task.body['error']}")
        elif task.type == FLOW_ENDED:
            self.ends.append(task)

    def _take(self, fact: f.Fact) -> None:
        match fact:
            case f.Completed(id=id):
                self.records[id] = ended(self.records[id], fact)
                self._running.pop(id, None)
            case f.Ripened(id=id):
                self.dues.pop(id, None)
                if self.edition.kind_of(self.records[id].type) is None:
                    self._begin(self.records[id])
            case f.Entered(id=id) if self.records[id].type in self._stubs:
                self._begin(self.records[id])
            case f.Loaded(id=id, body=body):
                self.records[id] = replace(self.records[id], body=body)
            case f.FlowHeld(reason=reason):
                self.notes.append(f"a flow is held: {reason}")
            case f.Fault(text=text):
                self.notes.append(text)
            case _:
                pass

    def _obey(self, order: Order) -> None:
        match order:
            case Start(task=task):
                self._begin(task)
            case Told():
                if self.scripts is not None and not self.scripts.tell(order):
                    self._fresh.append(order.id)
            case Stop(task=task):
                self._stops.append(task)
            case Over(flow=flow) if not self.edition.announces_ends and flow.type != FLOW_ENDED:
                body: Body = {"flow": flow.id, "type": flow.type, "outcome": flow.outcome, "text": flow.text}
                now = self.now_us
                self.ends.append(
                    Task(FLOW_ENDED, body, flow=flow.id, outcome="done", created=now, completed=now, event=True)
                )
            case _:
                pass

    def _begin(self, task: Task) -> None:
        self._running[task.id] = self.now_us
        self._fresh.append(task.id)

    def _rest(self) -> None:
        """Goes on until nothing more follows without time."""
        steps = 0
        while self._state.pending or self._fresh or self._stops:
            steps += 1
            if steps > STEPS_MAX:
                raise Restless(f"no rest after {STEPS_MAX:,} steps without time: {self._trail()}")
            if self._stops:
                # Nothing of it is there to end slowly.
                self._report(self._stops.popleft().id, "cancelled", None, {"kind": "cancelled", "message": "stopped"})
            elif self._state.pending:
                self._bring(_PROCEED)
            else:
                self._answer(self._fresh.popleft())

    def _trail(self) -> str:
        last = list(self.records.values())[-TRAIL_LENGTH:]
        steps = dict.fromkeys(f"{task.type} by {task.rule}" if task.rule else task.type for task in last)
        return " → ".join([*steps, "…"])

    def _answer(self, id: str) -> None:
        task = self.records[id]
        replies = self._stubs.get(task.type)
        if id not in self._running:
            return
        if not replies:
            self._play_script(task)
            return
        reply, times = replies[0]
        if times is not None:
            replies.popleft()
            if times > 1:
                replies.appendleft((reply, times - 1))
            elif not replies:
                replies.append((Answer(None), None))  # So many were said, and no more.
        elif len(replies) > 1:
            replies.popleft()
        answer = reply if isinstance(reply, Answer) else reply(task)
        if answer.outcome is None:
            self.hanging.add(id)
            return
        result, error = reported(answer, self.edition.rules.tasks.get(task.type))
        self._report(id, answer.outcome, result, error)

    def _is_played(self, task: Task) -> bool:
        """Whether it is a script that is run here."""
        return self.scripts is not None and self.edition.kind_of(task.type) == SCRIPT and task.type not in self._stubs

    def _play_script(self, task: Task) -> None:
        """A script without a stub is run itself, as far as it goes: it is what is tested, as rules are."""
        if self.scripts is None or not self._is_played(task):
            return
        target = str(launch_options(task, self.edition)["target"])
        ended = self.scripts.play(task, target, self._state.waits.scripts.recorded(task.id))
        if ended is not None:
            self._report(task.id, *ended)

    def _report(self, id: str, outcome: Outcome, result: Body | None, error: Body | None) -> None:
        began = self._running.get(id)
        if began is not None:
            self._bring(Report(id, outcome, result, error, began, self.now_us, self.records[id].flow))


_BIRTHS: Final = frozenset((f.Emitted, f.Posted))
_TICK: Final = Tick()
_PROCEED: Final = Proceed()
_TAKEN: Final = frozenset((f.Completed, f.Ripened, f.Entered, f.Loaded, f.FlowHeld, f.Fault))
"""What a trial hears of beside births."""


def is_skipped(task: Task) -> bool:
    """Whether a rule skipped it: it never ran."""
    return task.outcome == "cancelled" and task.error is not None and task.error.get("kind") == "skipped"


_KINDS: Final = {"cancelled": "cancelled", "timed_out": "timeout"}


def reported(answer: Answer, declared: TaskDecl | None) -> tuple[Body | None, Body | None]:
    """Result and error that an executor would report: of a process with an exit code, as its declaration has it."""
    kind = declared.run.kind if declared is not None and declared.run is not None else None
    fields, is_done = answer.fields, answer.outcome == "done"
    if is_done:
        code = declared.done_on[0] if declared is not None else 0
        return ({"code": code, **fields} if kind == "process" else dict(fields)), None
    known = {field.name for field in (declared.result if declared is not None else None) or ()}
    result: Body = {name: value for name, value in fields.items() if name in known or name == "code"}
    error: Body = {name: value for name, value in fields.items() if name not in result}
    if answer.outcome != "failed":
        return result or None, {"kind": _KINDS[answer.outcome or ""], **error}
    if kind == "process" and error.get("kind", "exit") == "exit":
        code = result.setdefault("code", 1)
        return result, {"kind": "exit", "code": code, "message": f"exited with code {code}", **error}
    usual = "exception" if kind is not None or (declared is not None and declared.function is not None) else "exit"
    return result or None, {"kind": usual, "message": "as the stub says", **error}


def _boundless(edition: Edition) -> Capacity:
    """A machine on which every need is met: what holds a task back in a test is its rules."""
    named = {need.name: 2**40 for task in edition.rules.tasks.values() for need in task.needs}
    return Capacity(SLOTS, 2.0**20, 2**60, named)
