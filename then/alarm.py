"""The machine's clock, and a thread that rings when it is time.

There is one where something is due; an engine of which nothing is due has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from then.abc import Clock

CLOCK_STEP_US: Final = 100_000
"""More than a clock drifts between two looks: it was set."""
TOGETHER_S: Final = 0.01
LOOKS_MAX: Final = 20
LOOK_S: Final = 30.0
"""It rings at least so often while something is due: the machine's clock may have been set."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000  # noqa: TID251 (this is the clock)

    monotonic = staticmethod(time.monotonic)


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


class Timekeeper:
    """Has an engine woken when something is due, and notices that the machine's clock was set."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._alarm: Alarm | None = None
        self._due: int | None = None
        self._offset_us = self._offset()

    def step_us(self) -> int:
        """By how much the machine's clock was set since this was last asked; 0 where it only drifts, which all that is due follows."""
        before, self._offset_us = self._offset_us, self._offset()
        step_us = self._offset_us - before
        if abs(step_us) <= CLOCK_STEP_US:
            return 0
        self._due = None
        return step_us

    def set(self, due: int | None) -> None:
        """Rings when that time has come: microseconds since 1970; None: when set again."""
        if due == self._due:
            return
        self._due = due
        if due is not None:
            if self._alarm is None:
                self._alarm = Alarm(self._rung)
            self._alarm.set(max(0.0, (due - self._clock.now_us()) / 1e6))

    def close(self) -> None:
        """Rings no more."""
        if self._alarm is not None:
            self._alarm.close()

    def _rung(self) -> None:
        self._due = None
        self._ring()

    def _offset(self) -> int:
        """Of the clock on the wall to the one that is never set, read together: nobody is to stand still between the two."""
        for _ in range(LOOKS_MAX):
            before, now_us, after = self._clock.monotonic(), self._clock.now_us(), self._clock.monotonic()
            if after - before < TOGETHER_S:
                break
        return now_us - round(before * 1e6)
