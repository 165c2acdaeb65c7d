"""Timers in Python: `rules.every("15m", "scan")`, `rules.cron("0 3 * * *", "vacuum")`, as data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

import attrs

from then.core.errors import RuleError, UnknownName
from then.core.filters import Const, Expr, Field, Name
from then.core.it import expression_of
from then.core.rules import RuleSet, TimerDecl
from then.core.schedule import DAYS, Cron, Daily, Every, Schedule, clock
from then.core.source import Span
from then.core.spans import TimeSpan, span_us
from then.core.tasks import Json, check_name

Overlap = Literal["skip", "queue", "allow"]
CatchUp = Literal["none", "once", "all"]

_DUE: Final = ("today", "now")


@attrs.frozen
class Posting:
    """What a timer posts, and what becomes of times that cannot be kept."""

    type: str
    body: Mapping[str, Json] | None = None
    overlap: Overlap = "skip"
    catch_up: CatchUp = "once"


def period(given: TimeSpan, at: str | None, zone: str, span: Span | None) -> Schedule:
    """The schedule of `every`: a span, or a word for days with a time of day.

    Raises:
        RuleError: there is no such schedule.
    """
    try:
        if isinstance(given, str) and given in DAYS:
            return Daily(given, *(clock(at) if at is not None else (0, 0)), zone)
        if at is not None or zone != "UTC":
            raise RuleError(f"every {given} is the same everywhere: `at` and `zone` belong to {', '.join(DAYS)}")
        return Every(span_us(given, "every"))
    except RuleError as error:
        error.span = span
        raise


def cron(expression: str, zone: str, span: Span | None) -> Schedule:
    """The schedule of `cron`.

    Raises:
        RuleError: it is none, never comes, or there is no such zone.
    """
    try:
        return Cron(expression, zone)
    except RuleError as error:
        error.span = span
        raise


def declare_timer(rules: RuleSet, schedule: Schedule, posting: Posting, span: Span | None) -> None:
    """Adds a timer; it is named as what it posts.

    Raises:
        RuleError: it posts a procedure, or a word is none of those there are.
    """
    type = check_name(posting.type)
    if type in rules.procedures:
        raise RuleError(f'"{type}" is a procedure: post an event, and let a rule call it', span)
    for what, word, known in (
        ("overlap", posting.overlap, ("skip", "queue", "allow")),
        ("catch_up", posting.catch_up, ("none", "once", "all")),
    ):
        if word not in known:
            raise UnknownName(f"word for {what}", word, span=span, hint=f"; there are {', '.join(known)}")
    args = tuple((key, _due(expression_of(value), span)) for key, value in (posting.body or {}).items())
    rules.declare(TimerDecl(type, schedule, type, args, posting.overlap, posting.catch_up, span=span))


def _due(expr: Expr, span: Span | None) -> Expr:
    """A value; `it.today` and `it.now` are the time that it is due."""
    if isinstance(expr, Const):
        return expr
    if isinstance(expr, Field) and expr.record is None and expr.path[0] in _DUE and len(expr.path) == 1:
        return Name(str(expr.path[0]))
    raise RuleError(
        f"a timer posts JSON values, and it.today or it.now, the time that it is due; here is {expr!r}", span
    )


def is_period(given: object) -> bool:
    """Whether what `every` is given first is a span of time, and no type."""
    return isinstance(given, int | float | timedelta) or (isinstance(given, str) and given[:1].isdigit())
