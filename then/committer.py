"""The thread that makes the commits that nobody else makes.

Whoever brings a completion commits it (`then.loop`). What is left: a commit
that was put off while there was other work, reports that come from an event
loop, which no commit may stop, and a disk that had no room.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

FULL_RETRY_S: Final = 0.5
FULL_RETRY_MAX_S: Final = 5.0
"""How long a full disk is left alone between two tries, at first and at most; no kernel tells when there is room."""


class Patience:
    """How long a full disk is left alone: half a second, then twice as long each time, up to 5 s."""

    def __init__(self) -> None:
        self._wait_s = self._until_s = 0.0

    def refused(self, now_s: float) -> float:
        """There was no room. Gives the seconds until the next try."""
        self._wait_s = min(max(2 * self._wait_s, FULL_RETRY_S), FULL_RETRY_MAX_S)
        self._until_s = now_s + self._wait_s
        return self._wait_s

    def left_s(self, now_s: float) -> float:
        """Seconds until the next try; 0: now."""
        return max(0.0, self._until_s - now_s)

    def end(self) -> None:
        """There was room, or the next try is the last."""
        self._wait_s = self._until_s = 0.0


class Driven(Protocol):
    """What is committed for: `then.loop.Loop`."""

    def drive(self, must_commit: bool = False) -> None:
        """Works off what came in."""

    def commit_old(self) -> float | None:
        """Commits what is old enough. Gives the seconds to look again after; None: nothing waits."""


class Committer:
    """A thread that commits what was put off, when nobody did until then."""

    def __init__(self, loop: Driven) -> None:
        self.is_armed = False
        self._loop = loop
        self._delay_s = 0.0
        self._is_hurried = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="andthen-commit", daemon=True)
        self._thread.start()

    def arm(self, delay_s: float) -> None:
        """Looks after this time, in seconds, whether a commit is due; nothing where it looks sooner."""
        if not self.is_armed or delay_s < self._delay_s:
            self._delay_s = delay_s
            self.is_armed = True
            self._wake.set()

    def hurry(self) -> None:
        """Works the inbox off now, in this thread rather than the caller's (an event loop's)."""
        self._is_hurried = True
        self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            # Cleared before the work: who arms from here on is served by it, or wakes this again.
            self._wake.clear()
            if self._closing.is_set():
                return
            if self._is_hurried:
                self._is_hurried = False
                self._loop.drive(must_commit=True)
            if self.is_armed:
                self._stand_in()

    def _stand_in(self) -> None:
        delay_s: float | None = self._delay_s
        while delay_s is not None and not self._closing.is_set() and not self._is_hurried:
            self._wake.wait(delay_s)
            self._wake.clear()
            self.is_armed = False
            delay_s = self._loop.commit_old()
            if delay_s is not None:
                self._delay_s = delay_s
                self.is_armed = True
        if self._is_hurried or self._closing.is_set():
            self._wake.set()
