"""How often and how long a task is tried: what a declaration, an act or an emission says of it.

Plain values, since an emission carries them in its record: a restart, and a
reader, needs no rule to know them. All spans of time are microseconds.
"""

from __future__ import annotations

import msgspec

from then.core.errors import RuleError
from then.core.spans import TimeSpan, is_number, span_us

TIMES_MAX = 1_000_000
"""Attempts after the first that may be asked for."""

WAIT_US_MAX = 7 * 86_400 * 1_000_000
"""A wait between attempts does not grow beyond a week by itself."""

FACTOR_MAX = 1_000
"""By which a wait may grow."""


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
    is_from_failed: bool = False
    """Of a call: what failed in it is tried again, in its place, so many times in all; else the whole call."""

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


def retry(
    times: int,
    *,
    backoff: TimeSpan | None = None,
    to: TimeSpan | None = None,
    factor: float = 2.0,
    jitter: bool = False,
    from_failed: bool = False,
) -> Retry:
    """How a task is tried again: `then.retry`.

    Args:
        times: attempts after the first, 1 to `TIMES_MAX`.
        backoff: the wait before the second attempt (`"1s"`, seconds, a timedelta); None: none.
        to: up to which the wait grows; None: up to a week.
        factor: by which it grows from one attempt to the next, 1 to `FACTOR_MAX`.
        jitter: each wait is drawn, from 0 to what it would be.
        from_failed: of a call: what failed in it is tried again, so many times in all; else the call, from its start.

    Raises:
        RuleError: one of them is out of its range.
    """
    if not is_number(times) or times != int(times) or not 1 <= times <= TIMES_MAX:
        raise RuleError(
            f"retry: attempts after the first are a whole number from 1 to {TIMES_MAX:,}; here is {times!r}"
        )
    if not is_number(factor) or not 1 <= factor <= FACTOR_MAX:
        raise RuleError(f"retry: the wait grows by a factor from 1 to {FACTOR_MAX:,}; here is {factor!r}")
    if backoff is None and to is not None:
        raise RuleError("retry: to=… is where the wait grows to; give its begin too, by backoff=…")
    backoff_us = 0 if backoff is None else span_us(backoff, "retry backoff")
    most_us = None if to is None else span_us(to, "retry to")
    if most_us is not None and most_us < backoff_us:
        raise RuleError(f"retry: a wait from {backoff} to {to} shrinks; it grows from the first to the second")
    return Retry(times, backoff_us, most_us, float(factor), jitter, is_from_failed=from_failed)


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
    twin: str | None = None
    """`idempotent by`: its key; of those that share it one runs."""
    expires: int | None = None
    """It ends then where it has not started."""
