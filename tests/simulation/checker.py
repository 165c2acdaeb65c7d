"""What must hold of the journal of any run, however often it crashed."""

from __future__ import annotations

import hashlib
from collections import Counter

import msgspec

from tests.checked import check_calls
from tests.readings import told_of_waits
from then.abc import Journal
from then.analysis.history import History
from then.core import facts as f
from then.core.folds import restore, turn
from then.core.state import State
from then.core.tasks import Task

CELLS = (
    "chain", "ended", "flow", "frame", "key", "mark", "meta", "past", "script", "stride", "tally", "task", "trace",
    "wait", "window",
)  # fmt: skip


def pages(journal: Journal) -> list[f.Page]:
    return [f.decode(entry.data) for entry in journal.read()]


def digest(journal: Journal) -> str:
    """All that was written, as one number."""
    found = hashlib.sha256()
    for entry in journal.read():
        found.update(entry.data)
    for kind in CELLS:
        for key, data in journal.cells(kind):
            found.update(key.encode() + data)
    return found.hexdigest()


def plain(state: State) -> dict[str, object]:
    """A state in plain values, as far as the journal tells it."""
    return {
        "tasks": {task.id: msgspec.to_builtins(task) for task in state.live()},
        "flows": {id: msgspec.to_builtins(flow) for id, flow in sorted(state.flows.items())},
        "chains": {id: msgspec.to_builtins(chain) for id, chain in sorted(state.chains.items())},
        "keys": {key: msgspec.to_builtins(value) for key, value in sorted(state.keys.items())},
        "pending": sorted(state.pending),
        "stopping": sorted(state.stopping),
        "stop kinds": dict(sorted(state.stop_kinds.items())),
        "seq": state.seq,
        "version": state.version,
        "points": {name: msgspec.to_builtins(point) for name, point in sorted(state.holds.points.items())},
        "holds": {id: msgspec.to_builtins(hold) for id, hold in sorted(state.holds.stops.items())},
        "breakpoints version": state.holds.number,
        **told_of_waits(state),
    }


def restored(journal: Journal) -> State:
    return restore(journal.cells, lambda after: (entry.data for entry in journal.read(after)))


def check_reader(journal: Journal, story: Story) -> None:
    """A reader finds every record by its id, and every flow with all that happened in it."""
    history = History(journal)
    found = {flow.id: flow.outcome for flow in history.flows()}
    assert found == story.flows
    for flow in story.flows:
        told = history.flow(flow)
        assert set(told.records) == {id for id, task in story.records.items() if task.flow == flow}
        for id, record in told.records.items():
            assert record.task.outcome == story.outcomes.get(id)
            assert record.fired == story.matched.get(id, (0, []))[1]
    for id in list(story.records)[::7]:
        assert history.find(id) == (id, story.records[id].flow)


def check_replay(journal: Journal) -> State:
    """Invariant 5: the facts from the first on give what cells and tail give."""
    replay = State()
    for page in pages(journal):
        turn(replay, page)
    now = restored(journal)
    assert plain(now) == plain(replay), "cells with their tail tell something else than the facts"
    assert now.last_id >= replay.last_id
    check_calls(now)
    return replay


def _is_one_step(written: list[f.Page]) -> bool:
    """Whether pages are of one step, which turns to another flow, whose window ended, and back."""
    return len({page.time for page in written}) == 1 and len({page.flow for page in written}) > 1


class Story:
    """The facts of a journal, read by a sceptic."""

    def __init__(self, journal: Journal) -> None:
        self.records: dict[str, Task] = {}
        self.completed: Counter[str] = Counter()
        self.matched: dict[str, tuple[int, list[str]]] = {}
        self.outcomes: dict[str, str] = {}
        self.flows: dict[str, str | None] = {}
        self.chains: dict[str, f.Waited] = {}
        """Open ones."""
        self.entered: dict[str, int] = {}
        """Calls, with the place where they began."""
        self.put_off: set[str] = set()
        """What waits for its time."""
        self.dues: dict[str, int] = {}
        """Of those that wait for a span to be over, when it is, by the clock as it was set last."""
        self.used: set[tuple[str, str]] = set()
        """Rules, and the records that they used up as parts."""
        self.held: set[str] = set()
        """What was held with its outcome."""
        self.late: set[tuple[str, str]] = set()
        """Rules, and the first parts whose windows ended; of these rule sets each emits one record then."""
        self.steps: Counter[str] = Counter()
        """Of each script, how many have their answer."""
        self.waiting: dict[str, int] = {}
        """Scripts that wait, each with the number of that step."""
        self.asked: dict[int, Counter[tuple[str, str | None]]] = {}
        """By place in the journal, what scripts started there: who, and from which line."""
        for place, page in enumerate(pages(journal)):
            assert page.facts, "an entry that says nothing"
            for fact in page.facts:
                self._read(place, page, fact)
            self._check_chains(page)
        self._check_parents(pages(journal))

    def _read(self, place: int, page: f.Page, fact: f.Fact) -> None:
        match fact:
            case f.Posted(task=task) | f.Emitted(task=task):
                assert task.id not in self.records, "an id was given twice"
                assert task.flow == page.flow
                self.records[task.id] = task
                if task.outcome is not None:
                    self.outcomes[task.id] = task.outcome
                if task.policy is not None and task.policy.due is not None:
                    self.put_off.add(task.id)
                    if not task.policy.is_due_by_clock:
                        self.dues[task.id] = task.policy.due
                if task.rule is not None and task.rule.endswith("/late") and task.attempt == 1:
                    window = (task.rule, task.parent or "")
                    assert window not in self.late, "a window ended twice"
                    self.late.add(window)
                if isinstance(fact, f.Posted) and fact.version is not None:
                    self.flows[page.flow] = None
            case f.Completed(id=id, outcome=outcome, held=held):
                self.completed[id] += 1
                if held is not None:
                    self.held.add(id)
                assert self.completed[id] == 1, "law 1: a task completes once"
                assert self.records[id].outcome is None, "law 1: an event is completed from the first"
                self.outcomes[id] = outcome
                self.put_off.discard(id)
            case f.Met(key=key, used=used):
                parts = {(key.split("\0")[0], id) for id in used}
                assert not parts & self.used, "a record was used up twice"
                self.used |= parts
            case f.Entered(id=id):
                assert id not in self.entered, "a call began twice"
                assert id not in self.put_off, "a call began before its time"
                self.entered[id] = place
            case f.ClockSet(by_us=by_us):
                for id in self.dues:
                    self.dues[id] += by_us
            case f.Ripened(id=id):
                assert id in self.put_off, "a time came twice"
                self.put_off.discard(id)
                task = self.records[id]
                due = self.dues.get(id, task.policy.due if task.policy is not None else None)
                assert due is not None
                assert page.time >= due, "a time came too early"
                if task.event:
                    self.outcomes[id] = "done"
            case f.Matched(id=id, rules=rules):
                assert id not in self.matched, "law 2: a record is matched once"
                self.matched[id] = (place, rules)
            case f.FlowEnded(outcome=outcome):
                assert self.flows[page.flow] is None, "a flow ended twice"
                self.flows[page.flow] = outcome
            case f.FlowReopened():
                assert self.flows[page.flow] is not None
                self.flows[page.flow] = None
            case _:
                self._read_script(place, fact)

    def _read_script(self, place: int, fact: f.Fact) -> None:
        match fact:
            case f.Asked(id=id, n=n):
                self._check_step(id, n)
                self.steps[id] += 1
                if fact.what.split()[0] in ("run", "call", "emit") and fact.refused is None:
                    self.asked.setdefault(place, Counter())[id, fact.place] += 1
            case f.Awaited(id=id, n=n):
                self._check_step(id, n)
                self.waiting[id] = n
            case f.Answered(id=id, n=n):
                assert self.waiting.pop(id) == n, "an answer to another step"
                self.steps[id] += 1
            case _:
                pass

    def _check_step(self, id: str, n: int) -> None:
        """A script takes each step once, one after the other, and none when it has ended."""
        assert id not in self.outcomes, "a script that has ended takes a step"
        assert id not in self.waiting, "a script that waits takes a step"
        assert n == self.steps[id], "a step was taken twice, or left out"

    def _check_chains(self, page: f.Page) -> None:
        """A step goes on once, in the transaction that ends its wait, when all that it waited for is done."""
        ended: dict[str, list[f.Waited]] = {}
        for fact in page.facts:
            match fact:
                case f.Waited(id=id):
                    self.chains[id] = fact
                case f.Dropped(id=id):
                    assert id in self.chains, "a chain ended twice"
                    waited = self.chains.pop(id)
                    ended.setdefault(waited.rule, []).append(waited)
                case f.FlowEnded():
                    mine = [
                        id for id, waited in self.chains.items() if self.records[waited.members[0]].flow == page.flow
                    ]
                    for id in mine:
                        members = self.chains.pop(id).members
                        assert not all(self._came_through(member) for member in members), "a step that never went on"
                case f.Emitted(task=task) if task.rule and task.rule.rpartition("/")[2].isdigit() and task.attempt == 1:
                    rule = task.rule.rpartition("/")[0]
                    assert any(self._is_filled(waited) for waited in ended.get(rule, ())), (
                        f"{task.rule} went on too early"
                    )
                case _:
                    pass

    def _came_through(self, member: str) -> bool:
        """Whether the last attempt of what a chain waits for is done."""
        key = self.records[member].key
        last = max((task for task in self.records.values() if task.key == key), key=lambda task: task.attempt)
        is_let_go = last.id in self.held and last.id not in self.matched  # Cancelled where it was held: to no rule.
        return self.outcomes.get(last.id) == "done" and not is_let_go

    def _is_filled(self, waited: f.Waited) -> bool:
        return all(self.outcomes.get(member) == "done" for member in waited.members)

    def _check_parents(self, written: list[f.Page]) -> None:
        """Law 2: what a rule emitted stands in the transaction of the match that it fired in."""
        for place, page in enumerate(written):
            started: Counter[tuple[str, str | None]] = Counter()
            has_window = any(isinstance(fact, f.Parted) for fact in page.facts)
            for fact in page.facts:
                if not isinstance(fact, f.Emitted) or fact.task.attempt > 1:
                    continue
                task = fact.task
                assert task.parent is not None
                if self.entered.get(task.parent) == place:
                    continue  # The first steps of a call.
                if (task.parent, task.rule) in self.asked.get(place, ()):
                    started[task.parent, task.rule] += 1
                    continue  # By a step of a script, which stands beside it.
                if has_window and self._is_in_time(place, task):
                    continue  # A window ended.
                assert task.parent in self.matched, f"{task.type} by {task.rule} has a parent that was never matched"
                at, rules = self.matched[task.parent]
                assert at == place or _is_one_step(written[place : at + 1]), "half of a match is in another transaction"
                assert task.rule in rules, f"{task.rule} emitted and did not fire"
            assert started == self.asked.get(place, Counter()), "a step of a script that started nothing, or twice"

    def _is_in_time(self, place: int, task: Task) -> bool:
        """Whether what stands in a page with the end of a window was emitted by no match in it."""
        at, rules = self.matched.get(task.parent or "", (-1, []))
        return at != place or task.rule not in rules

    def check_attempts(self) -> None:
        """Each attempt but the last is followed by one, and there are no more than were asked for."""
        tries: dict[str, list[Task]] = {}
        for task in self.records.values():
            tries.setdefault(task.key, []).append(task)
        for attempts in tries.values():
            assert [task.attempt for task in attempts] == list(range(1, len(attempts) + 1)), "an attempt too many"

    def check_calls(self) -> None:
        """Law 7: a call returns once; what waited for it went on once, which `_check_chains` sees."""
        for id, task in self.records.items():
            if task.is_call:
                assert self.completed[id] == 1
                assert id in self.entered or self.outcomes[id] in ("cancelled", "timed_out", "failed")

    def emissions(self) -> Counter[tuple[object, ...]]:
        """What came of all, without ids and times: what a run with crashes must share with one without."""
        return Counter(
            (task.type, task.body.get("n"), task.rule, self.outcomes[id])
            for id, task in self.records.items()
        )  # fmt: skip

    def ends(self) -> Counter[tuple[str, str | None]]:
        return Counter((self.records[flow].type, outcome) for flow, outcome in self.flows.items())

    def check_end(self) -> None:
        """Invariant 1, at rest: all that was posted and emitted has completed, and every flow has ended."""
        assert set(self.outcomes) == set(self.records), "a record that never completed"
        assert all(outcome is not None for outcome in self.flows.values()), "a flow that never ended"
        assert {task.flow for task in self.records.values()} == set(self.flows)
        assert not self.put_off, "a time that was lost"
        self.check_attempts()
        self.check_calls()
