"""Pages of the journal as changes of records: what was waiting runs, what ran has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from then.core import facts as f
from then.core.facts import edited, ended
from then.core.tasks import State, Task

ASKED: Final = "a person"
"""Who does a task that runs from its birth on."""


class Change(NamedTuple):
    """A record whose state has changed."""

    task: Task
    state: State
    reason: str | None = None
    """Why it is held; `ASKED` where a person does it."""


class Changes:
    """Follows the records of an engine; keeps those that are live.

    Args:
        live: records that are live already.
    """

    def __init__(self, live: Iterable[Task] = ()) -> None:
        self.live: dict[str, Task] = {task.id: task for task in live}

    def begun(self, task: Task, time_us: int) -> Change:
        """A task was given to its executor; its own start is known when it has ended."""
        shown = replace(self.live.get(task.id, task), started=time_us)
        self.live[task.id] = shown
        return Change(shown, "running")

    def of(self, page: f.Page) -> Iterator[Change]:
        """The changes on a page, in order."""
        held = {fact.id for fact in page.facts if isinstance(fact, f.Held)}
        for fact in page.facts:
            match fact:
                case f.Posted(task=task) | f.Emitted(task=task):
                    if task.id in held and task.outcome is None:
                        task = replace(task, started=None)
                    self.live[task.id] = task
                    is_asked = task.outcome is None and task.started is not None
                    yield Change(task, task.state, ASKED if is_asked else None)
                case f.Completed(id=id):
                    change = self._completed(fact)
                    if change is not None:
                        yield change
                case f.Held(id=id, reason=reason):
                    yield from self._turn(id, True, reason)
                case f.Released(id=id, is_asked=is_asked):
                    if is_asked and id in self.live:
                        self.live[id] = replace(self.live[id], started=page.time)
                    yield from self._turn(id, False, ASKED if is_asked else None)
                case f.Edited(id=id) if id in self.live:
                    self.live[id] = edited(self.live[id], fact)
                case f.Loaded(id=id, body=body) if id in self.live:
                    self.live[id] = replace(self.live[id], body=body)
                case f.Taken(id=id):
                    yield from self._taken(id)
                case _:
                    pass

    def _completed(self, fact: f.Completed) -> Change | None:
        task = self.live.pop(fact.id, None)
        if task is None:
            return None
        task = ended(task, fact)
        if fact.held is not None:
            task = self.live[fact.id] = replace(task, is_held=True)
            return Change(task, "held", fact.held)
        return Change(task, "completed")

    def _turn(self, id: str, is_held: bool, reason: str | None) -> Iterator[Change]:
        task = self.live.get(id)
        if task is not None:
            started = None if is_held else task.started  # One that a person does was not asked for yet.
            task = self.live[id] = replace(task, is_held=is_held, started=started)
            yield Change(task, task.state, reason)

    def _taken(self, id: str) -> Iterator[Change]:
        """An event goes to its match, which was shown when it came; or a record that was held with its outcome."""
        task = self.live.pop(id, None)
        if task is not None and task.is_held:
            yield Change(replace(task, is_held=False), "completed")
