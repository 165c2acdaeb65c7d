"""What is said of a task beside its function: how often, how long, how many, with what; as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from then.core.errors import RuleError, UnknownName
from then.core.filters import Const, Expr, Field
from then.core.it import Expression, expression_of, where_of
from then.core.policies import Policy, Retry, retry
from then.core.rules import Limit, Need, TaskDecl
from then.core.source import Span
from then.core.spans import TimeSpan, is_number, span_us
from then.core.tasks import Json
from then.language.literals import UNITS_BYTES

LOCK_WORDS: Final = ("shared", "exclusive")
PRIORITY_MAX: Final = 2**63 - 1


@attrs.frozen
class Said:
    """What `rules.task` was told, as it was told."""

    retry: int | Retry | None = None
    retry_while: Expression | None = None
    timeout: TimeSpan | None = None
    deadline: TimeSpan | None = None
    expires: TimeSpan | None = None
    limit: int | tuple[int, Expression] | None = None
    needs: Mapping[str, Json | Expression] | None = None
    idempotent_by: Expression | None = None


def with_policies(task: TaskDecl, said: Said, span: Span | None) -> TaskDecl:
    """The task with all that is said of it.

    Raises:
        RuleError: a number or a span makes no sense where it stands; with the place.
    """
    try:
        return _with(task, said)
    except RuleError as error:
        error.message = f'task "{task.name}": {error.message}'
        error.span = error.span or span
        raise


def _with(task: TaskDecl, said: Said) -> TaskDecl:
    tries = said.retry if said.retry is None or isinstance(said.retry, Retry) else retry(said.retry)
    _check_whole("slots: how many it takes", task.slots, 0, 1_000_000)
    _check_whole("priority", task.priority, -PRIORITY_MAX, PRIORITY_MAX)
    for code in task.done_on:
        _check_whole("done_on: an exit code", code, -64, 255)
    timeout_us = None if said.timeout is None else span_us(said.timeout, "timeout")
    if said.retry_while is not None and tries is None:
        raise RuleError("retry_while says when there is another attempt: give retry=… too")
    slots, needs = _needs(said.needs or {}, task.slots)
    return attrs.evolve(
        task,
        policy=None if tries is None and timeout_us is None else Policy(tries, timeout_us),
        retry_while=None if said.retry_while is None else where_of([said.retry_while]),
        deadline_us=None if said.deadline is None else span_us(said.deadline, "deadline"),
        expires_us=None if said.expires is None else span_us(said.expires, "expires"),
        limit=None if said.limit is None else _limit(said.limit),
        idempotent_by=None if said.idempotent_by is None else _input(said.idempotent_by),
        slots=slots,
        needs=needs,
    )


def _check_whole(what: str, given: object, least: int, most: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise RuleError(f"{what} is a whole number from {least:,} to {most:,}; here is {given!r}")


def _limit(given: object) -> Limit:
    if isinstance(given, tuple) and (len(given) != 2 or not isinstance(given[1], Expression)):
        raise RuleError("limit: how many, or how many by what, as in (4, it.region)")
    count, by = given if isinstance(given, tuple) else (given, None)
    _check_whole("limit: how many run at once", count, 1, 1_000_000)
    return Limit(count, None if by is None else _input(by))


def _needs(given: Mapping[str, Json | Expression], slots: int) -> tuple[int, tuple[Need, ...]]:
    needs = []
    for name, amount in given.items():
        if name == "slots":
            if amount not in (0, 1):
                raise RuleError(f"needs slots: 0 or 1 of them; here is {amount!r}")
            slots = 1 if amount == 1 else 0
        elif name.startswith("lock."):
            if amount not in LOCK_WORDS:
                raise UnknownName("way to hold a lock", str(amount), hint=f"; there are {', '.join(LOCK_WORDS)}")
            needs.append(Need(name, Const(amount)))
        else:
            needs.append(Need(name, _amount(name, amount)))
    return slots, tuple(needs)


def _amount(name: str, given: Any) -> Expr:
    if isinstance(given, str):
        number, unit = given[:-3], given[-3:]
        if not number.isdecimal() or unit not in UNITS_BYTES:
            raise RuleError(f'needs {name}: "{given}" is no amount; a number, or a size such as "512MiB"')
        given = int(number) * UNITS_BYTES[unit]
    if isinstance(given, Expression):
        return _input(given)
    if not is_number(given) or given <= 0:
        raise RuleError(f"needs {name}: {given!r} is not more than nothing; where it needs none, leave it out")
    if name == "memory" and given != int(given):
        raise RuleError(f'needs memory: whole bytes, or a size such as "512MiB"; here is {given!r}')
    return Const(given)


def _input(given: Expression) -> Expr:
    """A field of the task's inputs: what it hands back is not there yet."""
    expr = expression_of(given)
    if isinstance(expr, Field) and expr.source == "any" and expr.record is None:
        return Field(expr.path, "body")
    return expr
