"""What happens in an engine, brought to the one thread that shows it and hears signals."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from then.core import facts as f
from then.core.tasks import Task
from then.loop import Loop
from then.waiting import FlowNews

BACKLOG_MAX: Final = 10_000
"""So many items may wait to be shown; then the engine waits for whoever reads our output."""


class Begun(NamedTuple):
    """A task was given to its executor."""

    task: Task
    time_us: int


class Signalled(NamedTuple):
    number: int


class Fullness(NamedTuple):
    """The disk has no room any more, or has some again."""

    is_full: bool


class Alone(NamedTuple):
    """The last debugger has left."""


class Printed(NamedTuple):
    """A line that a function of a task printed."""

    text: str


Item: TypeAlias = f.Page | Begun | FlowNews | Signalled | Fullness | Alone | Printed


class Feed:
    """A queue from the engine's threads, and from signal handlers, to one reader; made before the engine moves.

    Watchers are called under the loop's lock, and wait here while the backlog is
    too long. So whoever reads must not ask the loop for anything meanwhile, but
    within `resting`.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        # Its `put` may be interrupted by a signal handler that puts too.
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._is_bounded = False
        self._blocked = 0
        self.live: list[Task] = list(loop.state.live())
        """Records that were live before anything moved."""
        self.flows: list[str] = list(loop.state.flows)
        """Flows that were open then."""
        loop.watchers.append(self._watch)
        loop.start_watchers.append(self._begin)
        loop.fullness_watchers.append(lambda is_full: self.put(Fullness(is_full)))

    def put(self, item: Item) -> None:
        """Adds an item; from any thread, and from a signal handler."""
        self._items.put(item)

    def take(self, timeout_s: float | None) -> Item | None:
        """The next item; None when none came in time."""
        self._is_bounded = True
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if self._blocked and self._items.qsize() < BACKLOG_MAX // 2:
            with self._room:
                self._room.notify_all()
        return item

    @contextlib.contextmanager
    def resting(self) -> Iterator[Loop]:
        """The loop, which waits for nobody meanwhile. One within another is well."""
        was_bounded, self._is_bounded = self._is_bounded, False
        with self._room:
            self._room.notify_all()
        try:
            yield self._loop
        finally:
            self._is_bounded = was_bounded

    def close(self) -> None:
        """Nobody reads any more."""
        self._loop.watchers.remove(self._watch)
        self._loop.start_watchers.remove(self._begin)
        self._is_bounded = False
        with self._room:
            self._room.notify_all()

    def _watch(self, page: f.Page) -> None:
        self._items.put(page)
        if self._items.qsize() > BACKLOG_MAX and self._is_bounded:
            with self._room:
                self._blocked += 1
                while self._items.qsize() > BACKLOG_MAX // 2 and self._is_bounded:
                    self._room.wait(1.0)  # A notice that came between question and wait is made up for.
                self._blocked -= 1

    def _begin(self, task: Task, now_us: int) -> None:
        self._items.put(Begun(task, now_us))
