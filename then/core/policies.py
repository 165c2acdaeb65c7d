"""How often and how long a task is tried: what a declaration, an act or an emission says of it.

Plain values, since an emission carries them in its record: a restart, and a
reader, needs no rule to know them. All spans of time are microseconds.
"""

from __future__ import annotations

import msgspec

TIMES_MAX = 1_000_000
"""Attempts after the first that may be asked for."""

WAIT_US_MAX = 7 * 86_400 * 1_000_000
"""A wait between attempts does not grow beyond a week by itself."""


class Retry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`retry 5 times backoff 1s to 1m jitter`: further attempts after a failure."""

    times: int
    """Attempts after the first."""
    backoff_us: int = 0
    """The wait before the second attempt."""
    backoff_max_us: int | None = None
    """The wait grows up to this; null: up to `WAIT_US_MAX`."""
    factor: float = 2.0
    """By which it grows from one attempt to the next."""
    jitter: bool = False
    """The wait is drawn from the full range, 0 to what it would be."""
    condition: str | None = None
    """Where the rules keep the clause of `while`; null: there is none."""

    def wait_us(self, attempt: int, draw: float) -> int:
        """The wait after the attempt of that number (1, 2, …) failed.

        Args:
            draw: chance, 0 <= draw < 1; used where there is jitter.
        """
        limit = WAIT_US_MAX if self.backoff_max_us is None else self.backoff_max_us
        wait = float(self.backoff_us)
        for _ in range(attempt - 1):
            if wait >= limit or self.factor == 1:
                break
            wait *= self.factor
        wait = min(wait, limit)
        return int(wait * draw) if self.jitter else int(wait)


class Policy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one record is tried: what its declaration says, and the act or emission beyond it. Null: nothing is said.

    The points in time are microseconds since 1970, UTC; they are set when the record is born.
    """

    retry: Retry | None = None
    timeout_us: int | None = None
    """From the start of an attempt to its end."""
    fail_fast: bool = False
    """A failure in this call that nothing takes up cancels what else lives in it."""
    due: int | None = None
    """It may start then: of `after`, `at` and the wait before a further attempt."""
    is_due_by_clock: bool = False
    """When the clock shows it (`at`), and not after a span."""
    deadline: int | None = None
    """It ends then, and is not tried again; what its call emits inherits it."""
    expires: int | None = None
    """It ends then where it has not started."""
