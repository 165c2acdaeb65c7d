"""Who debugs an engine: as long as somebody does, what is held is no reason for a run to end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Debuggers:
    """Those that are attached, each by the connection that it came on; one whose connection ends has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: set[object] = set()
        self.leave_watchers: list[Callable[[], None]] = []
        """Called when the last one has left; from any thread."""

    def __bool__(self) -> bool:
        return bool(self._here)

    def come(self, one: object) -> None:
        with self._lock:
            self._here.add(one)

    def leave(self, one: object) -> None:
        """Whoever was never here leaves as well."""
        with self._lock:
            was_here = one in self._here
            self._here.discard(one)
            is_last = was_here and not self._here
        if is_last:
            for watcher in list(self.leave_watchers):
                watcher()
