"""A thread that rings when it is time: for what an engine does because time has come.

There is one where something is due; an engine of which nothing is due has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 30.0
"""It rings at least so often while something is due: the machine's clock may have been set."""


class Alarm:
    """Rings once for each time that it is set to."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._due: float | None = None
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="andthen-alarm", daemon=True)
        self._thread.start()

    def set(self, delay_s: float) -> None:
        """Rings after this time, in seconds, and not when it was set to before."""
        with self._changed:
            self._due = time.monotonic() + min(delay_s, LOOK_S)
            self._changed.notify()

    def close(self) -> None:
        """It rings no more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closing and (self._due is None or self._due > time.monotonic()):
                    self._changed.wait(None if self._due is None else self._due - time.monotonic())
                if self._is_closing:
                    return
                self._due = None
            self._ring()
