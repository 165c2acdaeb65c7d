"""What a client is told: responses and events, in the order that it may rely on.

Invariants:
1. All that is sent is sent under `lock`, so that nothing comes between a response
   and the request it is for, and what a request brings about is told after its response.
2. `terminated` is told once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from then.core.tasks import Body, Json


class Voice:
    """Messages to one client, numbered.

    Args:
        send: takes a message; it does not wait for who reads it.
    """

    def __init__(self, send: Callable[[Body], None]) -> None:
        self._send = send
        self._seq = 0
        self._less: dict[str, int] = {}
        """By how much a client counts lines and columns lower, where it counts them from 0."""
        self._after: list[Callable[[], None]] = []
        self.lock = threading.RLock()
        self.is_over = False
        """`terminated` was told."""

    def counts_from(self, line: int, column: int) -> None:
        """What the client calls the first line, and the first column: 0 or 1."""
        less = {"line": 1 - line, "endLine": 1 - line, "column": 1 - column, "endColumn": 1 - column}
        self._less = {name: by for name, by in less.items() if by}

    def heard(self, arguments: Body) -> Body:
        """Arguments with a place in them, counted as here: from 1."""
        return _moved(arguments, self._less) if self._less else arguments

    def send(self, message: Body) -> None:
        self._seq += 1
        if self._less:
            # Nothing of a task stands in there but as text: whatever is called a line is one.
            message = _moved(message, {name: -by for name, by in self._less.items()})
        self._send({"seq": self._seq, **message})

    def event(self, name: str, body: Body | None = None) -> None:
        with self.lock:
            self.send({"type": "event", "event": name, **({"body": body} if body is not None else {})})

    def ask(self, command: str, arguments: Body) -> None:
        """Asks the client for something; nothing waits for what it answers."""
        with self.lock:
            self.send({"type": "request", "command": command, "arguments": arguments})

    def say(self, text: str, category: str = "console", **more: Json) -> None:
        """A line in the client's console."""
        self.event("output", {"category": category, "output": f"{text}\n", **more})

    def after(self, action: Callable[[], None]) -> None:
        """Does something after the response to the request under way."""
        self._after.append(action)

    def take_after(self) -> list[Callable[[], None]]:
        taken, self._after = self._after, []
        return taken

    def terminate(self) -> None:
        """Tells that the session is over; once."""
        if not self.is_over:
            self.is_over = True
            self.event("terminated")


def _moved(value: Json, by: Mapping[str, int]) -> Any:
    """The same with its lines and columns moved; 0, which is none, stays."""
    if isinstance(value, list):
        return [_moved(item, by) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: max(0, item + by[name]) if name in by and type(item) is int else _moved(item, by)
        for name, item in value.items()
    }
