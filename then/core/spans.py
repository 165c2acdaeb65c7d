"""Spans of time as people give them: `"2h"`, seconds, a timedelta.

Inside the core every span is whole microseconds. What the language reads from
its own texts is `then.language.literals`, in the same units.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeAlias

from then.core.errors import RuleError

UNITS_S: Final = {
    "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3_600), "d": Decimal(86_400),
    "w": Decimal(604_800),
}  # fmt: skip
"""Seconds by unit."""
SPAN_S_MAX: Final = 100 * 366 * 86_400
"""Of what is waited for: added to any time of ours it stays within 64 bits of microseconds."""

Time: TypeAlias = str | float | datetime
"""ISO 8601 (UTC where no zone is given), seconds since 1970, or a datetime with a zone."""
TimeSpan: TypeAlias = str | float | timedelta
"""`"90s"`, `"1.5h"`, `"250ms"`; a number of seconds; a timedelta."""

_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)", re.ASCII)


def span_us(given: TimeSpan, what: str) -> int:
    """A span in microseconds; what is left below one is dropped.

    Args:
        what: how the message names it, such as `timeout`.

    Raises:
        RuleError: it is none, is nothing or less, or is longer than `SPAN_S_MAX`.
    """
    if isinstance(given, timedelta):
        seconds = Decimal(given // timedelta(microseconds=1)) / 1_000_000
    elif isinstance(given, str):
        found = _SPAN.fullmatch(given)
        if found is None:
            raise RuleError(
                f'{what}: "{given[:40]}" is no span of time; write it as "90s", "2h" or "1.5d", or give seconds'
            )
        seconds = Decimal(found[1]) * UNITS_S[found[2]]
    elif is_number(given):
        seconds = Decimal(given) if given == given else Decimal("Infinity")  # noqa: PLR0124 (what is no number equals nothing)
    else:
        raise RuleError(f'{what}: {given!r} is no span of time; give "90s", a number of seconds, or a timedelta')
    if not seconds <= SPAN_S_MAX:
        raise RuleError(f"{what}: {given} is longer than 100 years")
    us = int(seconds * 1_000_000)
    if us <= 0:
        raise RuleError(f"{what}: {given} is no time at all; give a longer one, or leave it out")
    return us


def time_us(given: Time, what: str) -> int:
    """A point in time in microseconds since 1970.

    Raises:
        RuleError: it is none, or a datetime without a zone.
    """
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            raise RuleError(
                f'{what}: "{given[:40]}" is no time; write it as "2026-01-05T10:00", with a zone such as +01:00'
            ) from None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    elif isinstance(given, datetime):
        if given.tzinfo is None:
            raise RuleError(f"{what}: {given.isoformat()} has no zone; give one, such as tzinfo=datetime.UTC")
        moment = given
    elif is_number(given) and abs(given) <= 2**43:
        return round(given * 1_000_000)
    else:
        raise RuleError(f"{what}: {given!r} is no time; give ISO 8601, seconds since 1970, or a datetime")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def is_number(given: object) -> bool:
    """Whether it is a number, which a boolean is not."""
    return isinstance(given, int | float) and not isinstance(given, bool)
