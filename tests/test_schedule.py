"""Schedules: what comes next, held to a minute-by-minute truth; and what is refused, with its text."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cron_loop import MINUTE_US, Fits, cron_times, month_days
from then.core.crontab import MONTHS, WEEKDAYS
from then.core.errors import ScheduleRefused, UnknownName
from then.core.schedule import Cron, Daily, Every, Schedule, clock, cron_long, next_after, occurrences

DAY_US = 86_400_000_000


def us(text: str, zone: str = "UTC", fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(moment.timestamp() * 1_000_000)


def shown(schedule: Schedule, after: str, count: int = 1) -> list[str]:
    """The next times as clocks of the schedule's zone show them, with the offset."""
    zone = UTC if isinstance(schedule, Every) else ZoneInfo(schedule.zone)
    due_us: int | None = us(after, "UTC" if isinstance(schedule, Every) else schedule.zone)
    found: list[str] = []
    for _ in range(count):
        assert due_us is not None
        due_us = next_after(schedule, due_us)
        if due_us is None:
            return [*found, "never"]
        found.append(datetime.fromtimestamp(due_us / 1_000_000, zone).isoformat(" ", "minutes"))
    return found


# -- the nights when clocks change, against cron's own loop ---------------------------------------------------

NIGHTS = [
    ("Europe/Rome", "2026-03-29"),
    ("Europe/Rome", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Sao_Paulo", "2018-02-18"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("Asia/Kolkata", "2026-03-29"),
    ("Pacific/Apia", "2011-12-30"),
    ("Antarctica/Casey", "2010-03-05"),
]


def _is_nearest_weekday(day: datetime, wanted: int) -> bool:
    """By its words: of the Mondays to Fridays of the month the one with the least distance; a Friday before a Monday."""
    days = [one for one in month_days(day) if one.weekday() < 5]
    target = day.replace(day=wanted)
    return min(days, key=lambda one: (abs(one - target), one)).date() == day.date()


EXPRESSIONS: list[tuple[str, bool, Fits]] = [
    ("* * * * *", False, lambda t: True),
    ("*/15 * * * *", False, lambda t: t.minute % 15 == 0),
    ("30 * * * *", False, lambda t: t.minute == 30),
    ("@hourly", False, lambda t: t.minute == 0),
    ("*/20 2 * * *", False, lambda t: t.hour == 2 and t.minute % 20 == 0),
    ("15 */2 * * *", False, lambda t: t.hour % 2 == 0 and t.minute == 15),
    ("30 2 * * *", True, lambda t: (t.hour, t.minute) == (2, 30)),
    ("15 2 * * *", True, lambda t: (t.hour, t.minute) == (2, 15)),
    ("30 1 * * *", True, lambda t: (t.hour, t.minute) == (1, 30)),
    ("45 1 * * *", True, lambda t: (t.hour, t.minute) == (1, 45)),
    ("0 3 * * *", True, lambda t: (t.hour, t.minute) == (3, 0)),
    ("@daily", True, lambda t: (t.hour, t.minute) == (0, 0)),
    ("30 0,23 * * *", True, lambda t: t.hour in (0, 23) and t.minute == 30),
    ("0,30 0-3 * * *", True, lambda t: t.hour <= 3 and t.minute in (0, 30)),
    ("10-50/20 1-23/2 * * *", True, lambda t: t.hour % 2 == 1 and t.minute in (10, 30, 50)),
    ("0-59/7 2 * * *", True, lambda t: t.hour == 2 and t.minute % 7 == 0),
    ("30 2 * * SUN", True, lambda t: t.weekday() == 6 and (t.hour, t.minute) == (2, 30)),
    ("30 2 1-7 * SUN", True, lambda t: (t.weekday() == 6 or t.day <= 7) and (t.hour, t.minute) == (2, 30)),
    ("0 12 * MAR,OCT,NOV 7L", True, lambda t: t.month in (3, 10, 11) and t.weekday() == 6
     and t.hour == 12 and t.minute == 0 and (t + timedelta(days=7)).month != t.month),
    ("5 0 1,L,15W * ?", True, lambda t: (t.hour, t.minute) == (0, 5)
     and (t.day == 1 or (t + timedelta(days=1)).day == 1 or _is_nearest_weekday(t, 15))),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "night"), NIGHTS)
def test_over_the_night_when_clocks_change_times_are_those_of_crons_loop(zone: str, night: str) -> None:
    start_us, end_us = us(night) - DAY_US, us(night) + 2 * DAY_US
    for expression, is_fixed, fits in EXPRESSIONS:
        expected = cron_times(fits, ZoneInfo(zone), start_us, end_us, is_fixed=is_fixed)
        found = list(occurrences(Cron(expression, zone), start_us, end_us))
        assert found == expected, expression


@pytest.mark.parametrize(("zone", "night"), NIGHTS)
def test_the_next_time_is_the_same_from_wherever_it_is_asked(zone: str, night: str) -> None:
    """Asked from within an hour that comes twice, libraries gave times that had passed."""
    start_us, end_us = us(night) - DAY_US // 2, us(night) + DAY_US
    for expression, _, _ in EXPRESSIONS[1:]:
        schedule = Cron(expression, zone)
        times = [*occurrences(schedule, start_us, end_us), next_after(schedule, end_us)]
        for asked_us in range(start_us, end_us, 13 * MINUTE_US + 1):
            due_us = next(due_us for due_us in times if due_us is None or due_us > asked_us)
            assert next_after(schedule, asked_us) == due_us, (expression, asked_us)


@pytest.mark.slow
def test_a_year_of_days_in_words_is_that_of_crons_loop() -> None:
    start_us, end_us = us("2026-01-01"), us("2027-01-01")
    times = cron_times(
        lambda t: t.weekday() < 5 and (t.hour, t.minute) == (2, 30), ZoneInfo("Europe/Rome"), start_us, end_us,
        is_fixed=True,
    )  # fmt: skip
    assert list(occurrences(Daily("weekday", 2, 30, "Europe/Rome"), start_us, end_us)) == times
    assert len(times) == 261


def test_a_time_that_is_skipped_is_due_right_after_the_change() -> None:
    assert shown(Daily("day", 2, 30, "Europe/Rome"), "2026-03-28T12:00", 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:30+02:00",
    ]
    assert shown(Cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T12:00", 2) == [
        "2026-10-04 02:30+11:00",
        "2026-10-05 02:15+11:00",
    ]
    assert shown(Daily("day", zone="America/Sao_Paulo"), "2018-11-03T12:00") == ["2018-11-04 01:00-02:00"]


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    assert shown(Daily("day", 2, 30, "Europe/Rome"), "2026-10-24T12:00", 2) == [
        "2026-10-25 02:30+02:00",
        "2026-10-26 02:30+01:00",
    ]


def test_times_that_are_skipped_together_are_one_time() -> None:
    assert shown(Cron("0,20,40 2 * * *", "Europe/Rome"), "2026-03-29T01:00", 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:00+02:00",
    ]


def test_a_wildcard_follows_the_clock() -> None:
    assert shown(Cron("*/30 2 * * *", "Europe/Rome"), "2026-10-25T01:00", 5) == [
        "2026-10-25 02:00+02:00",
        "2026-10-25 02:30+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 02:30+01:00",
        "2026-10-26 02:00+01:00",
    ]
    assert shown(Cron("*/30 2 * * *", "Europe/Rome"), "2026-03-29T01:00") == ["2026-03-30 02:00+02:00"]


def test_a_date_that_a_zone_never_had_is_left_out() -> None:
    assert shown(Daily("friday", 6, 30, "Pacific/Apia"), "2011-12-24T00:00") == ["2012-01-06 06:30+14:00"]


def test_a_period_knows_no_zones() -> None:
    every = Every(15 * MINUTE_US, us("2026-03-29T00:50"))
    assert shown(every, "2026-03-29T00:50", 2) == ["2026-03-29 01:05+00:00", "2026-03-29 01:20+00:00"]
    assert next_after(every, us("2020-01-01")) == us("2026-03-29T01:05")
    assert next_after(every, us("2026-03-29T01:04") + 59_999_999) == us("2026-03-29T01:05")


# -- the calendar -------------------------------------------------------------------------------------------


def months(expression: str, year: int = 2026) -> list[str]:
    """The days of a year on which it is due, as month-day."""
    times = occurrences(Cron(expression), us(f"{year}-01-01") - 1, us(f"{year + 1}-01-01") - 1)
    return [datetime.fromtimestamp(due_us / 1_000_000, UTC).strftime("%m-%d") for due_us in times]


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 L 1-4 *", "01-31 02-28 03-31 04-30"),
        ("0 0 L-3 1,2 *", "01-28 02-25"),
        ("0 0 L-30 1-3 *", "01-01 03-01"),
        ("0 0 LW 1-6 *", "01-30 02-27 03-31 04-30 05-29 06-30"),
        ("0 0 15W 2,3,8 *", "02-16 03-16 08-14"),
        ("0 0 1W 8,11 *", "08-03 11-02"),
        ("0 0 31W 1-5 *", "01-30 03-31 05-29"),
        ("0 0 28W 2 *", "02-27"),
        ("0 0 * 1,2 5L", "01-30 02-27"),
        ("0 0 * 1,2 fril", "01-30 02-27"),
        ("0 0 ? 1,2 MON#2", "01-12 02-09"),
        ("0 0 * 1-3 MON#5", "03-30"),
        ("0 0 * 1 1#1,5L", "01-05 01-30"),
        ("0 0 13 * 5", None),
        ("0 0 13 2 FRI", "02-06 02-13 02-20 02-27"),
        ("0 0 */10 2 FRI", ""),
        ("0 0 1-31/10 5 FRI", "05-01 05-08 05-11 05-15 05-21 05-22 05-29 05-31"),
        ("0 0 13 2 */5", "02-13"),
        ("0 0 1 jan-mar ?", "01-01 02-01 03-01"),
        ("0 0 1-7 1 7", "01-01 01-02 01-03 01-04 01-05 01-06 01-07 01-11 01-18 01-25"),
        ("0 0 ? 1 SAT-SUN", "01-03 01-04 01-10 01-11 01-17 01-18 01-24 01-25 01-31"),
        ("0 0 ? 1 SUN-SUN", "01-04 01-11 01-18 01-25"),
        ("0 0 28/2 1 *", "01-28 01-30"),
        ("0 0 1-7 1 ?", "01-01 01-02 01-03 01-04 01-05 01-06 01-07"),
        ("0 0 8-14 1 *", "01-08 01-09 01-10 01-11 01-12 01-13 01-14"),
        ("0 0 */3 1 1/2", "01-07 01-16 01-19 01-28"),
        ("@yearly", "01-01"),
        ("@weekly", None),
        ("@MONTHLY", " ".join(f"{month:02}-01" for month in range(1, 13))),
    ],
)
def test_days_are_those_that_the_expression_names(expression: str, days: str | None) -> None:
    found = months(expression)
    if days is not None:
        assert found == days.split()
    else:
        assert len(found) == {"0 0 13 * 5": 61, "@weekly": 52}[expression]


def test_of_a_later_day_the_first_time_is_due() -> None:
    assert shown(Cron("0 6,18 15 2 *"), "2026-01-15T12:00", 2) == ["2026-02-15 06:00+00:00", "2026-02-15 18:00+00:00"]
    assert shown(Cron("0 6,18 15 1 *"), "2026-01-15T12:00", 2) == ["2026-01-15 18:00+00:00", "2027-01-15 06:00+00:00"]


def test_what_comes_once_in_decades_is_found() -> None:
    assert shown(Cron("0 0 29 2 *"), "2096-03-01T00:00") == ["2104-02-29 00:00+00:00"]
    assert shown(Cron("0 0 29 2 */7"), "2088-03-01T00:00") == ["2128-02-29 00:00+00:00"]
    assert shown(Cron("0 0 ? 2 SUN#5"), "2088-03-01T00:00") == ["2128-02-29 00:00+00:00"]


def test_what_the_clocks_always_skip_comes_to_an_end() -> None:
    assert next_after(Cron("*/5 2 * 3 SUNL", "Europe/Rome"), us("2026-01-01")) is None


def test_there_is_a_first_and_a_last_time() -> None:
    assert next_after(Cron("@daily", "America/New_York"), -(10**30)) is not None
    for schedule in (Every(DAY_US), Daily("day"), Cron("* * * * *", "Asia/Kolkata")):
        assert next_after(schedule, 10**30) is None
    assert next_after(Every(10**30), 0) is None


# -- seconds and years ----------------------------------------------------------------------------------------


def test_six_fields_begin_with_seconds() -> None:
    start_us = us("2026-05-01T12:00")
    schedule = cron_long("*/20 30 6 * * MON-FRI", "UTC", start_us)
    assert [(due - us("2026-05-04T06:30")) / 1_000_000 for due in itertools.islice(
        occurrences(schedule, start_us, start_us + 5 * DAY_US), 4)] == [0, 20, 40, DAY_US / 1_000_000]  # fmt: skip


def test_seven_fields_end_with_years() -> None:
    start_us = us("2026-05-01")
    times = list(occurrences(cron_long("5 0 0 1 1 ? 2025-2031/2,2040", "UTC", start_us), start_us, us("2099-01-01")))
    assert times == [us(f"{year}-01-01T00:00:05") for year in (2027, 2029, 2031, 2040)]
    assert next_after(cron_long("0 0 12 29 2 ? 2096-2104", "UTC", us("2097-01-01")), us("2097-01-01")) == us(
        "2104-02-29T12:00"
    )


def test_the_long_form_takes_five_fields_and_names_too() -> None:
    assert next_after(cron_long("30 6 * * *", "UTC", 0), 0) == us("1970-01-01T06:30")
    assert next_after(cron_long("@daily", "UTC", 0), 0) == us("1970-01-02")


def test_the_long_form_meets_the_clocks_as_the_short_one_does() -> None:
    start_us = us("2026-10-25T00:59", "Europe/Rome")
    for short, long in (("30 2 * * *", "0 30 2 * * ?"), ("*/30 2 * * *", "0 */30 2 * * ?")):
        until_us = start_us + 4 * DAY_US
        assert list(occurrences(Cron(short, "Europe/Rome"), start_us, until_us)) == list(
            occurrences(cron_long(long, "Europe/Rome", start_us), start_us, until_us)
        )
    every_second = cron_long("* 30 2 * * *", "Europe/Rome", start_us)
    assert len(list(occurrences(every_second, start_us, start_us + DAY_US // 2))) == 120


def test_one_with_no_time_left_is_refused() -> None:
    with pytest.raises(ScheduleRefused) as refused:
        cron_long("0 0 0 1 1 ? 2020-2026", "UTC", us("2026-01-01"))
    assert str(refused.value) == (
        'cron "0 0 0 1 1 ? 2020-2026": no time is left: all that it names has passed; name a later year'
    )
    last = cron_long("0 0 0 1 1 ? 2020-2026", "UTC", us("2026-01-01") - 1)
    assert next_after(last, us("2026-01-01") - 1) == us("2026-01-01")


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "meant", "reason"),
    [
        ("61 * * * *", "61", "field 1, minute: 61 is out of range; it takes 0 to 59"),
        ("0  24 * * *", "24", "field 2, hour: 24 is out of range; it takes 0 to 23"),
        ("0 0 1,32 * *", "32", "field 3, day of month: 32 is out of range; it takes 1 to 31"),
        ("0 0 0 * *", "0", "field 3, day of month: 0 is out of range; it takes 1 to 31"),
        ("0 0 1 13 *", "13", "field 4, month: 13 is out of range; it takes 1 to 12, or JAN to DEC"),
        ("0 0 * * 8", "8", "field 5, day of week: 8 is out of range; it takes 0 to 7, or SUN to SAT"),
        ("0 0 * * TEU", "TEU",
         'field 5, day of week: unknown name "TEU" (did you mean "TUE"?); it takes 0 to 7, or SUN to SAT'),
        ("0 0 32W * *", "32W", "field 3, day of month: 32 is out of range; it takes 1 to 31"),
        ("0 0 L-31 * *", "L-31", 'field 3, day of month: "L-31": L-1 to L-30 are days before the last one'),
        ("0 0 * * L", "L",
         'field 5, day of week: "L" is the last of which weekday? write 5L or FRIL for the last Friday'),
        ("0 0 * * MON#6", "MON#6",
         'field 5, day of week: "MON#6": a month has a first to a fifth of each weekday, #1 to #5'),
        ("1,,2 * * * *", "",
         "field 1, minute: nothing before or after a comma; it takes 0 to 59; *, 1,2, 1-5, */2"),
        ("0 ? * * *", "?", 'field 2, hour: "?" names none; it takes 0 to 23; *, 1,2, 1-5, */2'),
        ("22-2 * * * *", "22-2", 'field 1, minute: "22-2" runs backwards; write it as two, with a comma'),
        ("*/0 * * * *", "*/0", 'field 1, minute: a step of "0"; steps go from 1 to 60'),
        ("*/90 * * * *", "*/90",
         'field 1, minute: a step of "90"; steps go from 1 to 60; for a longer period write `every`'),
        ("@dayly", "@dayly", 'unknown name "@dayly" (did you mean "@daily"?)'),
        ("@daily 5", "@daily 5", '"@daily" stands alone, without fields'),
        ("@reboot", "@reboot", '"@reboot" is no time; `start NAME()` is posted when its file is run'),
        ("* * * *", "* * * *", "4 fields, where there are five: minute, hour, day of month, month, day of week"),
        ("0 0 6 * * *", "0 0 6 * * *",
         "6 fields, where there are five: minute, hour, day of month, month, day of week; seconds and years are not among them"),
        ("", "", "0 fields, where there are five: minute, hour, day of month, month, day of week"),
    ],
)  # fmt: skip
def test_an_expression_is_refused_with_its_place_and_what_would_be_right(
    expression: str, meant: str, reason: str
) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        Cron(expression)
    error = refused.value
    assert str(error) == f'cron "{" ".join(expression.split())}": {reason}'
    assert (error.found, error.reason) == (f'cron "{" ".join(expression.split())}"', reason)
    assert expression[error.offset :].startswith(meant)
    assert error.length == max(1, len(meant))


@pytest.mark.parametrize(
    "expression",
    ["30 2 31 2 *", "0 0 30 2 ?", "0 0 31 4,6,9,11 *", "0 0 L-29 2 *", "0 0 30W 2 *", "0 0 31 JUN-JUN */2"],
)
def test_what_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        Cron(expression)
    assert str(refused.value) == f'cron "{expression}": never comes: no month that it names has such a day'


def test_what_comes_on_some_weekday_or_leap_day_is_not_refused() -> None:
    for expression in ("0 0 31 2 MON", "0 0 29 2 *", "0 0 ? 2 MON#5", "0 0 1-7 2 */7", "0 0 L-28 2 *"):
        assert next_after(Cron(expression), 0) is not None


def test_what_never_comes_in_the_years_that_are_left_is_refused() -> None:
    with pytest.raises(ScheduleRefused, match="never comes"):
        cron_long("0 0 0 29 2 ? 2097-2103", "UTC", 0)
    with pytest.raises(ScheduleRefused, match="field 7, year: 1969 is out of range; it takes 1970 to 9996"):
        cron_long("0 0 0 1 1 ? 1969", "UTC", 0)
    with pytest.raises(ScheduleRefused, match=r"8 fields, where there are five \(.*\), six \(second first\)"):
        cron_long("0 0 0 1 1 ? 2030 5", "UTC", 0)


def test_a_long_expression_is_cut_in_its_message() -> None:
    with pytest.raises(ScheduleRefused) as refused:
        Cron("1," * 600 + "1 * * * *")
    assert str(refused.value) == f'cron "{("1," * 600)[:59]}…": 1209 characters; 1000 at most'


@pytest.mark.parametrize(
    ("period_us", "text"),
    [(0, "every 0s"), (-5_000_000, "every -5s"), (100, "every 0.1ms")],
)
def test_a_period_of_nothing_is_refused(period_us: int, text: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        Every(period_us)
    assert str(refused.value) == f"{text}: the shortest period is 1ms"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("25:00", "the times of a day are 00:00 to 23:59"),
        ("12:60", "the times of a day are 00:00 to 23:59"),
        ("24:00", "the times of a day are 00:00 to 23:59; midnight is 00:00 of the day that begins"),
        ("6.30", "a time of day is written 06:30"),
        ("6:3", "a time of day is written 06:30"),
        ("٠٦:٣٠", "a time of day is written 06:30"),
    ],
)
def test_a_time_that_no_day_has_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        clock(text)
    assert str(refused.value) == f"at {text}: {reason}"


def test_a_day_without_such_a_time_or_name_is_refused() -> None:
    assert clock("06:30") == (6, 30)
    with pytest.raises(ScheduleRefused, match="every day at 25:00: the times of a day are 00:00 to 23:59"):
        Daily("day", 25)
    with pytest.raises(UnknownName, match='unknown day "mondays"'):
        Daily("mondays")


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Roma", 'unknown zone "Europe/Roma" (did you mean "Europe/Rome"?)'),
        ("europe/rome", 'unknown zone "europe/rome" (did you mean "Europe/Rome"?)'),
        ("Rome", 'unknown zone "Rome" (did you mean "Europe/Rome"?)'),
        ("new york", 'unknown zone "new york" (did you mean "America/New_York"?)'),
        ("Europe", 'unknown zone "Europe" (did you mean "Europe/Rome"?)'),
        ("../../etc/passwd", 'unknown zone "../../etc/passwd" (zones have names such as "Europe/Rome")'),
        ("", 'unknown zone "" (zones have names such as "Europe/Rome")'),
        ("localtime", 'unknown zone "localtime"'),
        ("right/Europe/Rome", 'unknown zone "right/Europe/Rome"'),
        ("a\0b", 'unknown zone "a\0b"'),
        ("x" * 5_000, f'unknown zone "{"x" * 59}…"'),
    ],
)
def test_a_zone_that_nobody_knows_is_refused_with_the_nearest(zone: str, text: str) -> None:
    for make in (lambda: Daily("day", zone=zone), lambda: Cron("@daily", zone), lambda: cron_long("@daily", zone, 0)):
        with pytest.raises(UnknownName) as refused:
            make()
        assert str(refused.value).startswith(text)


def test_a_schedule_tells_its_wording() -> None:
    assert str(Every(900_000_000)) == "every 15m"
    assert str(Every(5_400_000_000)) == "every 90m"
    assert str(Every(1_500_000)) == "every 1500ms"
    assert str(Every(1_500)) == "every 1.5ms"
    assert str(Every(14 * DAY_US)) == "every 2w"
    assert str(Daily("weekday", 6, 30, "Europe/Rome")) == 'every weekday at 06:30 in "Europe/Rome"'
    assert str(Daily("day")) == "every day at 00:00"
    assert str(Cron("0  3 1 * mon")) == 'cron "0 3 1 * mon"'
    assert Cron("@daily", "Asia/Kolkata").text() == 'cron "@daily" in "Asia/Kolkata"'


# -- drawn at random ------------------------------------------------------------------------------------------

ZONES = ("UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata",
         "Europe/Dublin", "Africa/Casablanca", "Antarctica/Troll", "America/St_Johns")  # fmt: skip


@st.composite
def _field(draw: st.DrawFn, low: int, high: int, names: tuple[str, ...] = ()) -> tuple[str, frozenset[int]]:
    """The text of a field, and what it names."""
    shape = draw(st.sampled_from(["*", "*/n", "list"]))
    if shape == "*":
        return "*", frozenset(range(low, high + 1))
    if shape == "*/n":
        step = draw(st.integers(1, high - low + 1))
        return f"*/{step}", frozenset(range(low, high + 1, step))
    texts: list[str] = []
    named: set[int] = set()
    ranges = st.tuples(st.integers(low, high), st.integers(0, 9), st.integers(1, 5))
    for first, length, step in draw(st.lists(ranges, min_size=1, max_size=3)):
        last = min(high, first + length)
        is_named = draw(st.booleans())
        first_text = names[first - low] if names and is_named else str(first)
        if length == 0:
            texts.append(first_text)
            named.add(first)
        else:
            texts.append(f"{first_text}-{last}/{step}" if step > 1 else f"{first_text}-{last}")
            named.update(range(first, last + 1, step))
    return ",".join(texts), frozenset(named)


@st.composite
def _expressions(draw: st.DrawFn) -> tuple[str, bool, Fits]:
    minute, minutes = draw(_field(0, 59))
    hour, hours = draw(_field(0, 23))
    day, days = draw(_field(1, 28))
    month, named = draw(_field(1, 12, tuple(MONTHS)))
    weekday, weekdays = draw(_field(0, 6, tuple(WEEKDAYS)))
    is_either = not day.startswith("*") and not weekday.startswith("*")
    if day == "*":
        days = frozenset(range(1, 32))
    elif day.startswith("*/"):
        days = frozenset(range(1, 32, int(day[2:])))

    def fits(at: datetime) -> bool:
        by_day, by_weekday = at.day in days, at.isoweekday() % 7 in weekdays
        fits_day = by_day or by_weekday if is_either else by_day and by_weekday
        return at.minute in minutes and at.hour in hours and at.month in named and fits_day

    is_fixed = not minute.startswith("*") and not hour.startswith("*")
    return f"{minute} {hour} {day} {month} {weekday}", is_fixed, fits


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(_expressions(), st.sampled_from(ZONES), st.sampled_from(NIGHTS), st.integers(-3 * 1440, 3 * 1440))
def test_of_any_expression_nothing_is_left_out_and_nothing_is_added(
    drawn: tuple[str, bool, Fits], zone: str, night: tuple[str, str], minutes: int
) -> None:
    expression, is_fixed, fits = drawn
    start_us = us(night[1]) + minutes * MINUTE_US
    end_us = start_us + 2 * DAY_US
    # Where cron would make up for what was skipped before the window, the window begins earlier for both.
    expected = cron_times(fits, ZoneInfo(zone), start_us - DAY_US, end_us, is_fixed=is_fixed)
    found = list(occurrences(Cron(expression, zone), start_us, end_us))
    assert found == [due_us for due_us in expected if due_us > start_us]


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(_expressions(), st.sampled_from(ZONES), st.integers(0, 4_000_000_000_000_000))
def test_times_grow_and_fit_the_fields(drawn: tuple[str, bool, Fits], zone: str, start_us: int) -> None:
    expression, is_fixed, fits = drawn
    where = ZoneInfo(zone)
    due_us = start_us
    for _ in range(20):
        following = next_after(Cron(expression, zone), due_us)
        assert following is not None
        assert following > due_us
        assert next_after(Cron(expression, zone), following - 1) == following
        due_us = following
        at = datetime.fromtimestamp(due_us / 1_000_000, where)
        before = datetime.fromtimestamp(due_us / 1_000_000 - 1, where)
        # Right after a change, a fixed one is due that was skipped.
        assert fits(at.replace(tzinfo=None)) or (is_fixed and at.utcoffset() != before.utcoffset())


@settings(deadline=None, max_examples=200)
@given(st.integers(1_000, 10**16), st.integers(0, 10**16), st.integers(0, 10**16))
def test_a_period_is_kept_from_its_anchor_on(period_us: int, anchor_us: int, time_us: int) -> None:
    due_us = next_after(Every(period_us, anchor_us), time_us)
    assert due_us is not None
    assert due_us > max(time_us, anchor_us)
    assert (due_us - anchor_us) % period_us == 0
    assert due_us - period_us <= max(time_us, anchor_us)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(st.text("0123456789*/,-?LW#@ SUNMOJ", max_size=30) | st.text(max_size=30), st.booleans())
def test_any_text_is_an_expression_or_is_refused_in_words(text: str, is_long: bool) -> None:
    try:
        schedule = Cron(text, is_long=is_long)
    except ScheduleRefused:
        return
    assert (next_after(schedule, 0) or 1) > 0
