"""What must hold of the journal of any run, however often it crashed."""

from __future__ import annotations

import hashlib
from collections import Counter

import msgspec

from then.abc import Journal
from then.analysis.history import History
from then.core import facts as f
from then.core.folds import restore, turn
from then.core.state import State
from then.core.tasks import Task


def pages(journal: Journal) -> list[f.Page]:
    return [f.decode(entry.data) for entry in journal.read()]


def digest(journal: Journal) -> str:
    """All that was written, as one number."""
    found = hashlib.sha256()
    for entry in journal.read():
        found.update(entry.data)
    for kind in ("chain", "flow", "key", "meta", "past", "task", "trace", "window"):
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
        "seq": state.seq,
        "version": state.version,
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
    return replay


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
                if isinstance(fact, f.Posted) and fact.version is not None:
                    self.flows[page.flow] = None
            case f.Completed(id=id, outcome=outcome):
                self.completed[id] += 1
                assert self.completed[id] == 1, "law 1: a task completes once"
                assert self.records[id].outcome is None, "law 1: an event is completed from the first"
                self.outcomes[id] = outcome
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
                pass

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
                        del self.chains[id]
                case f.Emitted(task=task) if (
                    task.rule and "/" in task.rule and not task.rule.endswith("else") and task.attempt == 1
                ):
                    rule = task.rule.split("/")[0]
                    assert any(self._is_filled(waited) for waited in ended.get(rule, ())), (
                        f"{task.rule} went on too early"
                    )
                case _:
                    pass

    def _is_filled(self, waited: f.Waited) -> bool:
        return all(self.outcomes.get(member) == "done" for member in waited.members)

    def _check_parents(self, written: list[f.Page]) -> None:
        """Law 2: what a rule emitted stands in the transaction of the match that it fired in."""
        retried = {task.id for task in self.records.values() if task.attempt > 1}
        for place, page in enumerate(written):
            for fact in page.facts:
                if not isinstance(fact, f.Emitted) or fact.task.id in retried:
                    continue
                task = fact.task
                assert task.parent is not None
                assert task.parent in self.matched, f"{task.type} by {task.rule} has a parent that was never matched"
                at, rules = self.matched[task.parent]
                assert at == place, "half of a match is in another transaction"
                assert task.rule in rules, f"{task.rule} emitted and did not fire"

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
