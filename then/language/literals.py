"""Numbers of the language: durations, sizes, times.

Inside expressions durations are seconds, sizes bytes, and times seconds since
1970, UTC; whole ones are integers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from then.core.errors import RuleSyntaxError
from then.core.spans import SPAN_S_MAX, UNITS_S
from then.core.values import is_within_limits

UNITS_BYTES: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_UNIT: Final = re.compile(r"(-?[0-9.]+)([A-Za-z]+)")


def int_value(text: str) -> int:
    """An integer of 64 bits.

    Raises:
        RuleSyntaxError: it is beyond them.
    """
    # Reading an integer takes the square of its digits.
    if len(text) > 20 or not is_within_limits(value := int(text)):
        raise RuleSyntaxError(f"the number {_short(text)} is beyond 64 bits; give it as text")
    return value


def float_value(text: str) -> float:
    """A finite number.

    Raises:
        RuleSyntaxError: it is too large to be one.
    """
    value = float(text)
    if not is_within_limits(value):
        raise RuleSyntaxError(f"the number {_short(text)} is too large")
    return value


def duration_s(text: str) -> int | float:
    """`1.5h`: 5400; `250ms`: 0.25.

    Raises:
        RuleSyntaxError: it is beyond 64 bits.
    """
    number, unit = _split(text)
    seconds = Decimal(number) * UNITS_S[unit]
    if abs(seconds) >= 2**63:
        raise RuleSyntaxError(f"the duration {_short(text)} is too long")
    return int(seconds) if seconds == seconds.to_integral_value() else float(seconds)


def duration_us(text: str) -> int:
    """`1.5ms`: 1500; what is left below a microsecond is dropped.

    Raises:
        RuleSyntaxError: it is longer than `SPAN_S_MAX`.
    """
    number, unit = _split(text)
    seconds = Decimal(number) * UNITS_S[unit]
    if abs(seconds) > SPAN_S_MAX:
        raise RuleSyntaxError(f"the duration {_short(text)} is longer than 100 years")
    return int(seconds * 1_000_000)


def size_bytes(text: str) -> int:
    """`512MiB`: 536870912.

    Raises:
        RuleSyntaxError: it is beyond 64 bits.
    """
    number, unit = _split(text)
    value = int_value(number) * UNITS_BYTES[unit]
    if not is_within_limits(value):
        raise RuleSyntaxError(f"the size {_short(text)} is beyond 64 bits")
    return value


def timestamp_s(text: str) -> int:
    """`2026-01-05T10:00`, UTC: seconds since 1970.

    Raises:
        RuleSyntaxError: there is no such day or minute.
    """
    sign = -1 if text.startswith("-") else 1
    try:
        moment = datetime.fromisoformat(text.removeprefix("-").removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as error:
        raise RuleSyntaxError(f"{text} is no time: {error}") from None
    return sign * int(moment.timestamp())


def _split(text: str) -> tuple[str, str]:
    match = _UNIT.fullmatch(text)
    assert match is not None, text
    return match[1], match[2]


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
