"""The truth about schedules: the loop of Debian's cron, minute by minute, and fields as sets that were written out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
MINUTE_US = 60_000_000

Fits = Callable[[datetime], bool]


def cron_times(fits: Fits, where: tzinfo, start_us: int, end_us: int, *, is_fixed: bool) -> list[int]:
    """When cron runs a job, at whole minutes after start until end; a minute in which it does so twice counts once.

    It has two clocks, in minutes: what the one on the wall shows, and a virtual one that never goes back. They are
    compared each minute; what the wall skipped by less than three hours is made up for by jobs of a fixed time.

    Source: cron.c of cron 3.0, `main`, as changed for daylight saving time.
    """
    virtual, *walls = _walls(where, start_us, end_us)
    found = []
    for number, wall in enumerate(walls, 1):
        ahead = wall - virtual
        if ahead == 1 or not -180 < ahead <= 180:
            virtual = wall
            is_due = fits(_shown(wall))
        elif ahead <= 0:
            is_due = not is_fixed and fits(_shown(wall))
        else:
            is_due = any(map(fits, map(_shown, range(virtual + 1, wall + 1)))) if is_fixed else fits(_shown(wall))
            virtual = wall
        if is_due:
            found.append(start_us + number * MINUTE_US)
    return found


@functools.lru_cache(maxsize=32)
def _walls(where: tzinfo, start_us: int, end_us: int) -> list[int]:
    """What the clock on the wall shows at each minute, in minutes since 1970."""
    zoned = (datetime.fromtimestamp(now_us // 1_000_000, where) for now_us in range(start_us, end_us + 1, MINUTE_US))
    return [(now.replace(tzinfo=None) - EPOCH) // timedelta(minutes=1) for now in zoned]


@functools.lru_cache(maxsize=50_000)
def _shown(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=minute)


def month_days(day: datetime) -> Iterator[datetime]:
    """All days of the month that a day is in."""
    first = day.replace(day=1)
    for number in range(31):
        if (one := first + timedelta(days=number)).month == day.month:
            yield one
