"""Whoever waits: for the answer to a cause, for the end of a flow, and what they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from then.core.errors import ThenError
from then.core.facts import Flow
from then.core.tasks import Task


class Ticket:
    """Waits for the answer to a cause: set when its facts are durable."""

    __slots__ = ("_done", "answer", "error")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self.answer: Task | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        self._done.release()

    def wait(self) -> Task | None:
        """The record that the cause brought forth.

        Raises:
            ThenError: why it was refused, or why the engine ended.
        """
        self._done.acquire()
        self._done.release()
        if self.error is not None:
            raise self.error
        return self.answer


class FlowNews(NamedTuple):
    """What a waiter for a flow is told: that it ended, or that nothing of it can move."""

    flow: Flow
    held: str | None = None
    is_stuck: bool = False
    error: ThenError | None = None


Waiter: TypeAlias = Callable[[FlowNews], None]
"""Called under the loop's lock: quick, and calls nothing of the loop."""


class Waiters:
    """Who waits for which flow. Each is told once, and forgotten."""

    def __init__(self) -> None:
        self._waiters: dict[str, list[Waiter]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def add(self, flow: str, waiter: Waiter) -> None:
        self._waiters.setdefault(flow, []).append(waiter)

    def take_back(self, flow: str, waiter: Waiter) -> None:
        """Forgets one that waits no more; one that was told is forgotten already."""
        waiters = self._waiters.get(flow, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(flow, None)

    def tell(self, news: FlowNews) -> None:
        for waiter in self._waiters.pop(news.flow.id, ()):
            waiter(news)

    def tell_all(self, error: ThenError) -> None:
        """Whoever waits for a flow waits in vain."""
        waiters, self._waiters = self._waiters, {}
        for flow, group in waiters.items():
            for waiter in group:
                waiter(FlowNews(Flow(flow, "", "", 0), error=error))
