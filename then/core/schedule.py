"""Schedules: when a thing is due that is due again and again. Pure: no clock is read.

`Every` is a period on the clock that never changes; `Daily` and `Cron` follow
the clocks of a zone. `next_after` gives one time, `occurrences` those between
two. Times are integers, microseconds since 1970, UTC. What a cron expression
names is `then.core.crontab`, the days of it `then.core.calendar`, the clocks
of a zone `then.core.zones`. Timers, and what is made up for, are elsewhere.

Theory of operation. A schedule of a zone names readings of a clock on the
wall. In order of reading they are found by `calendar.next_reading`; what is
left is to go from readings to instants, where clocks change, as Debian's cron
does:

1. A schedule of *fixed* time (`Daily`; `Cron` where neither hour nor minute
   begins with `*`) is due once for each reading. One that is skipped is due at
   the instant of the change, all that are skipped together once; one that
   comes twice is due the first time.
2. Any other schedule follows the clocks: due whenever they show a reading, so
   twice for one that comes twice and never for one that is skipped.
3. Where three hours or more are skipped (a zone that crosses the date line,
   `Pacific/Apia` without its 30 December 2011), 1 is 2.

Within one offset, readings and instants have the same order. A change forward
keeps it. A change back does not: readings from `jumps_to` to `jumps_from` come
twice. A search that begins there (and no other can meet the second time before
the first) looks at the rest of the first time, then at the second from its
beginning, then goes on after it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

import attrs

from then.core import zones
from then.core.calendar import has_days, next_reading
from then.core.crontab import Fields, bits, fields_of
from then.core.errors import ScheduleRefused, UnknownName

PERIOD_MIN_US: Final = 1_000
"""1 ms, the shortest unit of the language; the engine does not get to shorter ones anyway."""
CORRECTION_S: Final = 3 * 3_600
"""From here on Debian's cron takes what is skipped for a clock that was set right."""
SKIPS_MAX: Final = 500
"""Changes of the clocks, two or three a year, that may skip all that a schedule names before it is given up:
`*/5 2 * 3 SUNL` is the hour that Rome never has."""

DAYS: Final = {
    "day": bits(0, 6),
    "weekday": bits(1, 5),
    "monday": 1 << 1,
    "tuesday": 1 << 2,
    "wednesday": 1 << 3,
    "thursday": 1 << 4,
    "friday": 1 << 5,
    "saturday": 1 << 6,
    "sunday": 1 << 0,
}
"""The words after `every`, and the days of the week that they are; 0 is Sunday."""

_UNITS_US: Final = {
    "w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000,
}  # fmt: skip


@attrs.frozen
class Every:
    """`every 15m`: a period; no zone and no change of clocks touches it.

    Raises:
        ScheduleRefused: the period is shorter than `PERIOD_MIN_US`, nothing or negative.
    """

    period_us: int
    anchor_us: int = 0
    """What it counts from: due one period after, two periods after, and so on."""

    def __attrs_post_init__(self) -> None:
        if self.period_us < PERIOD_MIN_US:
            raise ScheduleRefused(self.text(), f"the shortest period is {_duration(PERIOD_MIN_US)}")

    def text(self) -> str:
        """As it is written in the language; the anchor is not."""
        return f"every {_duration(self.period_us)}"

    __str__ = text


@attrs.frozen
class Daily:
    """`every weekday at 06:30 in "Europe/Rome"`: a time of day, on some days of the week.

    Raises:
        ScheduleRefused: there is no such time of day.
        UnknownName: no such word for days, or no such zone.
    """

    days: str
    """A word of `DAYS`."""
    hour: int = 0
    minute: int = 0
    zone: str = "UTC"
    """A name of the IANA database."""

    def __attrs_post_init__(self) -> None:
        if self.days not in DAYS:
            raise UnknownName("day", self.days, DAYS)
        _check_clock(self.text(), self.hour, self.minute)
        zones.zone(self.zone)

    def text(self) -> str:
        """As it is written in the language."""
        return f"every {self.days} at {self.hour:02}:{self.minute:02}{_in_zone(self.zone)}"

    __str__ = text


@attrs.frozen
class Cron:
    """`cron "0 3 1 * *" in "Europe/Rome"`.

    Raises:
        ScheduleRefused: the expression is none, or names days that no calendar has.
        UnknownName: no such zone.
    """

    expression: str
    """As it was written."""
    zone: str = "UTC"
    """A name of the IANA database."""
    is_long: bool = False
    """May have seconds first, and years last; not in the language, where it has five fields."""

    def __attrs_post_init__(self) -> None:
        if not has_days(fields_of(self.expression, is_long=self.is_long)):
            raise ScheduleRefused(f'cron "{self.expression}"', "never comes: no month that it names has such a day")
        zones.zone(self.zone)

    def text(self) -> str:
        """As it is written in the language; the long form, which is not in it, likewise."""
        return f'cron "{" ".join(self.expression.split())}"{_in_zone(self.zone)}'

    __str__ = text


Schedule: TypeAlias = Every | Daily | Cron


def clock(text: str) -> tuple[int, int]:
    """Hour and minute of the time after `at`: `06:30`.

    Raises:
        ScheduleRefused: there is no such time of day.
    """
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if match is None:
        raise ScheduleRefused(f"at {text}", "a time of day is written 06:30")
    hour, minute = int(match[1]), int(match[2])
    _check_clock(f"at {text}", hour, minute)
    return hour, minute


def _check_clock(found: str, hour: int, minute: int) -> None:
    if not 0 <= hour <= 23 or not 0 <= minute <= 59:
        midnight = "; midnight is 00:00 of the day that begins" if (hour, minute) == (24, 0) else ""
        raise ScheduleRefused(found, f"the times of a day are 00:00 to 23:59{midnight}")


def cron_long(expression: str, zone: str, now_us: int) -> Cron:
    """A cron expression of five, six (second first) or seven fields (year last), that has a time left.

    Raises:
        ScheduleRefused: it is none, never comes, or all of its times are before now.
        UnknownName: no such zone.
    """
    cron = Cron(expression, zone, is_long=True)
    if next_after(cron, now_us) is None:
        raise ScheduleRefused(
            f'cron "{expression}"', "no time is left: all that it names has passed; name a later year"
        )
    return cron


def next_after(schedule: Schedule, time_us: int) -> int | None:
    """The first time after a time; None if there is none before the year 9997.

    Promises: it is greater than time_us, and grows with it.

    None too if all that it names is skipped (`SKIPS_MAX`).

    Cost: some 20 µs, 60 near a change of the clocks; what is given up takes 50 ms.
    """
    if isinstance(schedule, Every):
        passed = max(0, (time_us - schedule.anchor_us) // schedule.period_us)
        due_us = schedule.anchor_us + (passed + 1) * schedule.period_us
        return due_us if due_us <= zones.LAST_S * 1_000_000 else None
    after_s = max(time_us // 1_000_000, zones.FIRST_S)
    if after_s >= zones.LAST_S:
        return None
    due_s = _next_s(_fields(schedule), zones.zone(schedule.zone), after_s)
    return None if due_s is None else due_s * 1_000_000


def occurrences(schedule: Schedule, after_us: int, until_us: int) -> Iterator[int]:
    """The times after one time, up to another and with it, in order; found as they are asked for."""
    due_us = next_after(schedule, after_us)
    while due_us is not None and due_us <= until_us:
        yield due_us
        due_us = next_after(schedule, due_us)


def _fields(schedule: Daily | Cron) -> Fields:
    if isinstance(schedule, Cron):
        return fields_of(schedule.expression, is_long=schedule.is_long)
    return _daily_fields(schedule)


@functools.lru_cache(maxsize=10_000)
def _daily_fields(schedule: Daily) -> Fields:
    return Fields(minutes=1 << schedule.minute, hours=1 << schedule.hour, weekdays=DAYS[schedule.days], is_fixed=True)


def _next_s(fields: Fields, where: tzinfo, after_s: int) -> int | None:
    if where is UTC:
        found = next_reading(fields, zones.shown(after_s + 1))
        return None if found is None else (found - zones.EPOCH) // zones.SECOND
    seen = datetime.fromtimestamp(after_s, where)
    reading = seen.replace(tzinfo=None, fold=0)
    change = zones.change_at(where, reading)
    start = reading + zones.SECOND
    if change is not None:
        # The search begins where readings come twice: see the head of the module.
        if fields.is_fixed and seen.fold:
            start = change.jumps_from
        elif not fields.is_fixed:
            twice = _next_twice(fields, where, start, change, is_second=bool(seen.fold))
            if twice is not None:
                return twice
            start = change.jumps_from
    for _ in range(SKIPS_MAX):
        found = next_reading(fields, start)
        if found is None:
            return None
        first, second = zones.instants(where, found)
        # One that comes twice is due the first time; one that is skipped has them the wrong way round.
        if first <= second:
            return first
        change = zones.change_at(where, found)
        assert change is not None
        if fields.is_fixed and change.skipped_s < CORRECTION_S:
            return change.at_s
        start = change.jumps_to
    return None


def _next_twice(fields: Fields, where: tzinfo, start: datetime, change: zones.Change, *, is_second: bool) -> int | None:
    """The next instant within the readings that come twice: the rest of the first time, then the second."""
    found = next_reading(fields, start)
    if found is not None and found < change.jumps_from:
        return zones.instants(where, found)[is_second]
    if not is_second:
        found = next_reading(fields, change.jumps_to)
        if found is not None and found < change.jumps_from:
            return zones.instants(where, found)[1]
    return None


def _duration(period_us: int) -> str:
    """In the largest unit that it is a whole number of."""
    for unit, unit_us in _UNITS_US.items():
        if period_us and period_us % unit_us == 0:
            return f"{period_us // unit_us}{unit}"
    return f"{period_us / 1_000:g}ms" if period_us else "0s"


def _in_zone(zone: str) -> str:
    return "" if zone == "UTC" else f' in "{zone}"'
