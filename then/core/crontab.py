"""Cron expressions: from text to the sets of minutes, hours and days that they name.

Five fields: minute, hour, day of month, month, day of week. In the long form
seconds stand before them (six fields), and years may stand after (seven).
`L`, `W`, `#` and `?` mean what they do elsewhere; days of the week are 0 to 7,
0 and 7 both Sunday, in either form. What is named here is found in the
calendar by `then.core.calendar`; `then.core.schedule` calls.

A set of numbers is an int with a bit for each: two fields are compared, and
the next number found, in one operation.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import attrs

from then.core.errors import ScheduleRefused, nearest

EXPRESSION_LENGTH_MAX: Final = 1_000
"""Characters; all 60 minutes written out are 169."""

MONTHS: Final = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS: Final = "SUN MON TUE WED THU FRI SAT".split()

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def bits(first: int, last: int, step: int = 1) -> int:
    """The set of every `step`-th number from first to last."""
    return sum(1 << number for number in range(first, last + 1, step))


@attrs.frozen(cache_hash=True)
class Fields:
    """What an expression names; all sets are ints with a bit for each number."""

    seconds: int = 1
    minutes: int = 1
    hours: int = 1
    days: int = bits(1, 31)
    months: int = bits(1, 12)
    weekdays: int = bits(0, 6)
    """0 is Sunday."""
    years: int | None = None
    """None is all of them."""

    days_from_last: tuple[int, ...] = ()
    """0 is the last day of the month (`L`), 3 the third before it (`L-3`)."""
    nearest_weekday: tuple[int, ...] = ()
    """`15W`: the Monday to Friday nearest to that day, in the same month; 0 is the last of the month (`LW`)."""
    nth_weekdays: tuple[tuple[int, int], ...] = ()
    """(weekday, n): `MON#2` is (1, 2), the second Monday; n = 0 is the last one (`5L`)."""

    either_day: bool = False
    """A day fits if its number or its weekday does; else both must. So it is where neither field begins with `*`."""
    is_fixed: bool = False
    """Names a time of day, as cron sees it: neither hour nor minute begins with `*`. See `then.core.schedule`."""


@attrs.frozen
class _Kind:
    """What may stand in one field."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    is_day: bool = False
    """May be `?`."""

    def __str__(self) -> str:
        return self.name

    @property
    def range(self) -> str:
        names = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.low} to {self.high}{names}"


_SECOND: Final = _Kind("second", 0, 59)
_MINUTE: Final = _Kind("minute", 0, 59)
_HOUR: Final = _Kind("hour", 0, 23)
_DAY: Final = _Kind("day of month", 1, 31, is_day=True)
_MONTH: Final = _Kind("month", 1, 12, tuple(MONTHS))
_WEEKDAY: Final = _Kind("day of week", 0, 7, tuple(WEEKDAYS), is_day=True)
_YEAR: Final = _Kind("year", 1970, 9996)

_FIVE: Final = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_FORMS: Final = {5: _FIVE, 6: (_SECOND, *_FIVE), 7: (_SECOND, *_FIVE, _YEAR)}

_ITEM: Final = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)


@functools.lru_cache(maxsize=10_000)
def fields_of(expression: str, *, is_long: bool = False) -> Fields:
    """What an expression names.

    Args:
        expression: five fields, or one of `ALIASES`; capitals and spaces do not matter.
        is_long: six and seven fields too, seconds first, years last.

    Raises:
        ScheduleRefused: it is none; with the place in it, what was found and what may stand there.
    """
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise ScheduleRefused(_quoted(expression), f"{len(expression)} characters; {EXPRESSION_LENGTH_MAX} at most")
    return _Reader(expression, is_long=is_long).fields()


def _quoted(expression: str) -> str:
    """What messages say of an expression; the place in it is given beside."""
    shown = " ".join(expression.split())
    return f'cron "{shown if len(shown) <= 60 else shown[:59] + "…"}"'


class _Reader:
    """One expression on its way to fields; keeps the place for messages."""

    def __init__(self, expression: str, *, is_long: bool) -> None:
        self.expression = expression
        self.is_long = is_long
        self.place = (0, len(expression))
        self.number = 0
        self.kind = _MINUTE

    def refused(self, reason: str) -> ScheduleRefused:
        field = f"field {self.number}, {self.kind}: " if self.number else ""
        offset, length = self.place
        return ScheduleRefused(_quoted(self.expression), field + reason, offset, max(1, length))

    def fields(self) -> Fields:
        words = [(match[0], match.start()) for match in re.finditer(r"\S+", self.expression)]
        if words and words[0][0].startswith("@"):
            words = self._alias(words)
        kinds = self._form(len(words))
        found: dict[_Kind, str] = {}
        sets: dict[_Kind, int] = {}
        self.from_last: list[int] = []
        self.near: list[int] = []
        self.nth: list[tuple[int, int]] = []
        for number, (kind, (word, start)) in enumerate(zip(kinds, words, strict=True), 1):
            self.number, self.kind = number, kind
            found[kind] = word
            sets[kind] = self._field(word, start)
        days = sets[_WEEKDAY]
        return Fields(
            sets.get(_SECOND, 1),
            sets[_MINUTE],
            sets[_HOUR],
            sets[_DAY],
            sets[_MONTH],
            (days | days >> 7) & bits(0, 6),
            sets.get(_YEAR),
            tuple(self.from_last),
            tuple(self.near),
            tuple(self.nth),
            either_day=found[_DAY][0] not in "*?" and found[_WEEKDAY][0] not in "*?",
            is_fixed=not any(found.get(kind, "0").startswith("*") for kind in (_SECOND, _MINUTE, _HOUR)),
        )

    def _alias(self, words: list[tuple[str, int]]) -> list[tuple[str, int]]:
        word = words[0][0].lower()
        if len(words) > 1:
            raise self.refused(f'"{word}" stands alone, without fields')
        if word == "@reboot":
            raise self.refused('"@reboot" is no time; `start NAME()` is posted when its file is run')
        if word not in ALIASES:
            hint = nearest(word, ALIASES) or f" (there are {', '.join(ALIASES)})"
            raise self.refused(f'unknown name "{word}"{hint}')
        return [(name, 0) for name in ALIASES[word].split()]

    def _form(self, count: int) -> tuple[_Kind, ...]:
        if count == 5 or (self.is_long and count in _FORMS):
            return _FORMS[count]
        fields = "1 field" if count == 1 else f"{count} fields"
        order = ", ".join(kind.name for kind in _FIVE)
        if self.is_long:
            raise self.refused(f"{fields}, where there are five ({order}), six (second first) or seven (year last)")
        rest = "; seconds and years are not among them" if count in _FORMS else ""
        raise self.refused(f"{fields}, where there are five: {order}{rest}")

    def _field(self, word: str, start: int) -> int:
        """The numbers that a field names; days that a number does not name are noted."""
        named = 0
        for item in word.split(","):
            self.place = (start, len(item))
            named |= self._item(item.upper())
            start += len(item) + 1
        return named

    def _item(self, item: str) -> int:
        if item == "?" and self.kind.is_day:
            return bits(self.kind.low, self.kind.high)
        special = self._day if self.kind is _DAY else self._weekday if self.kind is _WEEKDAY else None
        if special is not None and special(item):
            return 0
        match = _ITEM.fullmatch(item)
        if match is None:
            raise self.refused(self._what(item))
        low = self.kind.low
        # Both 0 and 7 are Sunday; one that is not asked for by its number is 0.
        high = 6 if self.kind is _WEEKDAY else self.kind.high
        if match["first"] is not None:
            low = self._value(match["first"])
            if match["last"] == match["first"] or (match["last"] is None and match["step"] is None):
                high = low
            elif match["last"] is not None:
                high = self._value(match["last"], is_end=True)
        if low > high and match["last"] is not None:
            raise self.refused(f'"{item}" runs backwards; write it as two, with a comma')
        return bits(low, max(low, high), self._step(match["step"]))

    def _what(self, item: str) -> str:
        what = f'"{item}" names none' if item else "nothing before or after a comma"
        more = {_DAY: "; L, L-3, 15W, LW, ?", _WEEKDAY: "; 5L, MON#2, ?"}.get(self.kind, "")
        return f"{what}; it takes {self.kind.range}; *, 1,2, 1-5, */2{more}"

    def _value(self, text: str, *, is_end: bool = False) -> int:
        if text in self.kind.names:
            value = self.kind.names.index(text) + (1 if self.kind is _MONTH else 0)
            # Friday to Sunday is a range that people write.
            return 7 if is_end and self.kind is _WEEKDAY and value == 0 else value
        if not text.isdecimal():
            raise self.refused(f'unknown name "{text}"{nearest(text, self.kind.names)}; it takes {self.kind.range}')
        # A number of thousands of digits takes its square to read, and is out of range anyway.
        if len(text) > 6 or not self.kind.low <= int(text) <= self.kind.high:
            raise self.refused(f"{text[:20]} is out of range; it takes {self.kind.range}")
        return int(text)

    def _step(self, text: str | None) -> int:
        if text is None:
            return 1
        size = self.kind.high - self.kind.low + 1
        if not text.isdecimal() or len(text) > 6 or not 1 <= int(text) <= size:
            hint = "; for a longer period write `every`" if text.isdecimal() and text.strip("0") else ""
            raise self.refused(f'a step of "{text[:20]}"; steps go from 1 to {size}{hint}')
        return int(text)

    def _day(self, item: str) -> bool:
        """`L`, `L-3`, `LW`, `15W`."""
        if item == "L":
            self.from_last.append(0)
        elif item == "LW":
            self.near.append(0)
        elif match := re.fullmatch(r"L-([0-9]{1,2})", item):
            if not 1 <= int(match[1]) <= 30:
                raise self.refused(f'"{item}": L-1 to L-30 are days before the last one')
            self.from_last.append(int(match[1]))
        elif match := re.fullmatch(r"([0-9]+)W", item):
            self.near.append(self._value(match[1]))
        else:
            return False
        return True

    def _weekday(self, item: str) -> bool:
        """`5L`, `FRIL`, `MON#2`."""
        if item == "L":
            raise self.refused('"L" is the last of which weekday? write 5L or FRIL for the last Friday')
        if match := re.fullmatch(r"(\w+)#(\w*)", item, re.ASCII):
            if match[2] not in ("1", "2", "3", "4", "5"):
                raise self.refused(f'"{item}": a month has a first to a fifth of each weekday, #1 to #5')
            self.nth.append((self._value(match[1]) % 7, int(match[2])))
        elif (match := re.fullmatch(r"(\w+)L", item, re.ASCII)) and (match[1].isdecimal() or match[1] in WEEKDAYS):
            self.nth.append((self._value(match[1]) % 7, 0))
        else:
            return False
        return True
