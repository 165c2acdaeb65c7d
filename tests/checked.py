"""A world that is held, after every step, against the replay of its pages, and against its cells with the rest of them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from tests.readings import Cells, due_of, restored, store, told
from tests.world import World
from then.app.rules import Rules
from then.core.causes import Cause, Step
from then.core.folds import turn
from then.core.state import State

MANY = 40
"""Live records from which on only some steps are looked at: what a state says is read whole each time."""


class Checked(World):
    """One engine, stepped by hand, whose every state has to be what a restart would find."""

    def __init__(self, rules: str | Rules, *, slots: int = 100, kinds: Iterable[str] = ("process", "python")) -> None:
        super().__init__(rules, slots=slots, kinds=kinds)
        self._replay = State()
        self._replay.version = "v1"
        self._cells: Cells = {}
        self._chance = Random(1)
        self._seen = 0

    def bring(self, cause: Cause) -> Step:
        done = super().bring(cause)
        for page in self.pages[self._seen :]:
            turn(self._replay, page)
        self._seen = len(self.pages)
        if len(self.state.tasks) < MANY or self._chance.random() < 0.02:
            self._check()
        return done

    def _check(self) -> None:
        state = self.state
        now = told(state)
        assert told(self._replay) == now, "the replay of the facts tells another state"
        assert due_of(self._replay).items() >= due_of(state).items(), "a replay forgets a time"
        extra = set(due_of(self._replay)) - set(due_of(state))
        # To what is told to stop already a further time does nothing.
        assert {kind for kind, of in extra if of not in state.stopping} <= {"expires"}, (
            "a replay has a time that has come"
        )
        assert not state.waits.quiet
        if self._chance.random() < 0.3:
            store(self._cells, state.cells())
        if ("meta", "state") in self._cells:
            again = restored(self._cells, self.pages)
            again.version = again.version or "v1"
            assert told(again) == now, "cells with the facts after them tell another state"
            dues, dues_again = due_of(state), due_of(again)
            assert {kind for kind, _ in set(dues_again) ^ set(dues)} <= {"expires", "timeout", "deadline"}
            assert all(at == dues.get(of, at) for of, at in dues_again.items()), "a restart moves a time"
            assert again.last_id <= state.last_id
        check_calls(state)


def check_calls(state: State) -> None:
    """Invariants 1 of `then.core.state` and `then.core.waits`."""
    live = list(state.live())
    waits = list(state.waits.open_waits())
    for id, flow in state.flows.items():
        kept = sum(wait.keeps and wait.flow == id for wait in waits)
        assert flow.live == sum(task.flow == id for task in live) + kept > 0
        assert flow.stopped == sum(task.is_held for task in live if task.flow == id)
    for frame in state.waits.frames.values():
        kept = sum(wait.keeps and wait.scope == frame.id for wait in waits)
        assert frame.live == sum(task.call == frame.id for task in live) + kept
        assert frame.flow in state.flows
    for wait in waits:
        assert any(wait.parts) or wait.is_spent or wait.answered
        assert wait.due is not None or wait.scope, "a half that would be kept for ever"
    assert set(state.pending) <= set(state.tasks)
