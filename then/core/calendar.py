"""The calendar: which days and times of day fit the fields of a schedule, and which comes next.

What clocks on the wall show, without zones and without their changes: those
are `then.core.zones`, and put together with this in `then.core.schedule`.
A month is looked at as a whole, as an int with a bit for each day, so that
the next day that fits is found without going through those that do not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

from then.core.crontab import Fields, bits

YEAR_MAX: Final = 9996
"""The last year in which anything is looked for; instants and offsets near it still fit a `datetime`."""

_WEEK: Final = bits(0, 28, 7)
_LENGTHS: Final = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def next_in(numbers: int, start: int) -> int:
    """The smallest number of a set that is not below start; -1 for none."""
    rest = numbers >> start
    return start + (rest & -rest).bit_length() - 1 if rest else -1


@functools.lru_cache(maxsize=4_096)
def days_in(fields: Fields, year: int, month: int) -> int:
    """The days of a month that fit, as a set."""
    # Monday is 0 in Python and 1 in crontabs.
    first = (date(year, month, 1).weekday() + 1) % 7
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = _LENGTHS[month] + (is_leap and month == 2)
    everyday = bits(1, last)

    days = fields.days
    for before in fields.days_from_last:
        if before < last:
            days |= 1 << last - before
    for day in fields.nearest_weekday:
        if day <= last:
            days |= 1 << _nearest_weekday(day or last, first, last)

    by_weekday = 0
    for weekday in range(7):
        of_month = (_WEEK << 1 + (weekday - first) % 7) & everyday
        if fields.weekdays >> weekday & 1:
            by_weekday |= of_month
        for wanted, nth in fields.nth_weekdays:
            if wanted == weekday:
                by_weekday |= _nth(of_month, nth)

    return everyday & (days | by_weekday if fields.either_day else days & by_weekday)


def _nearest_weekday(day: int, first: int, last: int) -> int:
    """The Monday to Friday nearest to a day, within its month."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < last else day - 2
    return day


def _nth(days: int, nth: int) -> int:
    """Of a set the n-th day, as a set; the last one for 0, and none where there are fewer."""
    if nth == 0:
        return 1 << days.bit_length() - 1
    for _ in range(nth - 1):
        days &= days - 1
    return days & -days


def has_days(fields: Fields) -> bool:
    """Whether any day of any year fits.

    A month is told by its length and the weekday of its first: years repeat after 28, but for the
    centuries that are not leap years, which are like other years.
    """
    # 2000 to 2027 are all the kinds there are.
    kinds: set[tuple[int, bool]] = set()
    years = fields.years if fields.years is not None else bits(2000, 2027)
    year = next_in(years, 0)
    while year >= 0:
        kind = (date(year, 1, 1).weekday(), date(year, 3, 1).toordinal() - date(year, 2, 1).toordinal() == 29)
        if kind not in kinds:
            kinds.add(kind)
            if any(fields.months >> month & 1 and days_in(fields, year, month) for month in range(1, 13)):
                return True
        year = next_in(years, year + 1)
    return False


def next_reading(fields: Fields, start: datetime) -> datetime | None:
    """The first reading of a clock that fits, at or after start; None if there is none until `YEAR_MAX`.

    Cost: a few µs; for what comes once in decades, one for each month that it names.
    """
    clock = _time_from(fields, start.hour, start.minute, start.second)
    from_day = start.day if clock is not None else start.day + 1
    for year, month in _months(fields, start.year, start.month):
        is_first = year == start.year and month == start.month
        day = next_in(days_in(fields, year, month), from_day if is_first else 1)
        if day < 0:
            continue
        if clock is None or not is_first or day != start.day:
            clock = _time_from(fields, 0, 0, 0)
            assert clock is not None
        return datetime(year, month, day, *clock)  # noqa: DTZ001  What a clock shows has no zone.
    return None


def _months(fields: Fields, year: int, month: int) -> Iterator[tuple[int, int]]:
    """The months that are named, from one on."""
    if fields.years is not None and not fields.years >> year & 1:
        year, month = next_in(fields.years, year), 1
    while 0 <= year <= YEAR_MAX:
        month = next_in(fields.months, month)
        while month >= 0:
            yield year, month
            month = next_in(fields.months, month + 1)
        year, month = year + 1 if fields.years is None else next_in(fields.years, year + 1), 1


def _time_from(fields: Fields, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
    """The first time of day that fits, at or after one; None if that is tomorrow's."""
    if fields.hours >> hour & 1:
        if fields.minutes >> minute & 1 and (later := next_in(fields.seconds, second)) >= 0:
            return hour, minute, later
        if (later := next_in(fields.minutes, minute + 1)) >= 0:
            return hour, later, next_in(fields.seconds, 0)
    later = next_in(fields.hours, hour + 1)
    return None if later < 0 else (later, next_in(fields.minutes, 0), next_in(fields.seconds, 0))
