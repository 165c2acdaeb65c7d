"""Who debugs an engine: as long as somebody does, what is held is no reason for a run to end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Debuggers:
    """Those that are attached, each by the connection that it came on; one whose connection ends has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: dict[object, str] = {}
        self._own: dict[str, list[str]] = {}
        self._count = 0
        self.leave_watchers: list[Callable[[], None]] = []
        """Called when the last one has left; from any thread."""

    def __bool__(self) -> bool:
        return bool(self._here)

    def come(self, one: object) -> str:
        """Gives the name under which it sets breakpoints of its own."""
        with self._lock:
            self._count += 1
            name = self._here[one] = str(self._count)
            self._own[name] = []
        return name

    def own(self, name: str, point: str) -> bool:
        """Notes that a breakpoint goes when its debugger leaves. False where that has left already."""
        with self._lock:
            own = self._own.get(name)
            if own is not None:
                own.append(point)
        return own is not None

    def leave(self, one: object) -> list[str]:
        """Whoever was never here leaves as well. Gives its breakpoints, which are to go."""
        with self._lock:
            name = self._here.pop(one, None)
            own = self._own.pop(name, []) if name is not None else []
            is_last = name is not None and not self._here
        if is_last:
            for watcher in list(self.leave_watchers):
                watcher()
        return own
