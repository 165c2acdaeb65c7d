"""Clauses as quick tests: whether one is true of a record, and nothing else.

The index finds most rules by their keys; what a rule asks besides is tested
here. A test is a function of the record, the flow's variables and an argument,
so that thousands of rules that ask `size > …` share one function and differ in
the argument. Only "is it true?" is answered: false and "cannot say" are the
same to a rule, and why-questions go to `then.core.evaluate`, which these tests
are tested against.

Under Kleene's logic `not` moves inwards, since cannot-say stays what it is:
`not (a and b)` is true where `not a` or `not b` is. So no test is negated.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from then.core import regex
from then.core.evaluate import Compiled, Scope, compile_value
from then.core.fields import MISSING, Reader, reader
from then.core.filters import (
    And,
    Compare,
    Const,
    Contains,
    Expr,
    Field,
    In,
    IsMissing,
    IsNull,
    Matches,
    Name,
    Not,
    Or,
    Source,
    Steps,
)
from then.core.operations import contains, is_in
from then.core.tasks import Json, Task
from then.core.values import equal, is_ordered, kind_of

Variables: TypeAlias = Mapping[str, Json] | None
Test: TypeAlias = Callable[[Task, Variables, Any], bool]
Clause: TypeAlias = tuple[Test, Any]
"""A test and its argument."""
Op: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


class Place(NamedTuple):
    """A field of the record that is looked at."""

    path: Steps
    source: Source = "any"


def place_of(expr: Expr, alias: str | None) -> Place | None:
    """The field that an operand names, its rule's own alias or not before it; null where it is none."""
    if type(expr) is Field:
        return Place(expr.path, expr.source) if expr.record is None or expr.record == alias else None
    if type(expr) is Name and alias is not None and expr.name == alias and expr.path:
        return Place(expr.path)
    return None


def compile_clause(clause: Expr, alias: str | None) -> Clause:
    """The test that is true of exactly those records of which the clause is."""
    clause = positive(clause)
    match clause:
        case And(parts):
            return _all_of, tuple(compile_clause(part, alias) for part in parts)
        case Or(parts):
            return _any_of, tuple(compile_clause(part, alias) for part in parts)
    plain = comparison(clause, alias)
    if plain is not None:
        field, op, value = plain
        return _order_test(field, op, value) if op not in ("==", "!=") else (_equality(field, op), value)
    match clause:
        case Field() | Name() if (place := place_of(clause, alias)) is not None:
            return _is_true(place), None
        case In(item, Const(container)) if (place := place_of(item, alias)) is not None:
            return _membership(place, container, wanted=True)
        case Not(In(item, Const(container))) if (place := place_of(item, alias)) is not None:
            return _membership(place, container, wanted=False)
        case Contains(container, Const(value)) if (place := place_of(container, alias)) is not None:
            return _contains(place), value
        case Matches(text, pattern) if (place := place_of(text, alias)) is not None:
            return _matches(place, wanted=True), regex.Regex(pattern)
        case Not(Matches(text, pattern)) if (place := place_of(text, alias)) is not None:
            return _matches(place, wanted=False), regex.Regex(pattern)
        case IsMissing(of) if (place := place_of(of, alias)) is not None:
            return _presence(place, wanted=False), None
        case Not(IsMissing(of)) if (place := place_of(of, alias)) is not None:
            return _presence(place, wanted=True), None
        case IsNull(of) if (place := place_of(of, alias)) is not None:
            return _equality(place, "=="), None
        case Not(IsNull(of)) if (place := place_of(of, alias)) is not None:
            return _equality(place, "!="), None
    return _evaluated, (compile_value(clause), alias)


def positive(clause: Expr) -> Expr:
    """The same clause with `not` as far inside as it goes; one level is enough, the rest follows."""
    if not isinstance(clause, Not):
        return clause
    of = clause.of
    match of:
        case Not(inner):
            return positive(inner)
        case And(parts):
            return Or(tuple(Not(part) for part in parts))
        case Or(parts):
            return And(tuple(Not(part) for part in parts))
        case Compare(op, left, right):
            return Compare(_OPPOSITES[op], left, right)
    return clause


_OPPOSITES: Final[dict[Op, Op]] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED: Final[dict[Op, Op]] = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ORDERS: Final[dict[str, Callable[[Json, Json], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparison(clause: Expr, alias: str | None) -> tuple[Place, Op, Json] | None:
    """`x op constant`, also where it is written the other way round."""
    if type(clause) is not Compare:
        return None
    if type(clause.right) is Const:
        place = place_of(clause.left, alias)
        return None if place is None else (place, clause.op, clause.right.value)
    if type(clause.left) is Const:
        place = place_of(clause.right, alias)
        return None if place is None else (place, _MIRRORED[clause.op], clause.left.value)
    return None


# -- tests; those of one field are made once for each field --------------------------


def passes(clauses: tuple[Clause, ...], task: Task, variables: Variables) -> bool:
    """Whether all of them are true."""
    for test, argument in clauses:  # noqa: SIM110 (a generator takes twice as long)
        if not test(task, variables, argument):
            return False
    return True


def _all_of(task: Task, variables: Variables, clauses: tuple[Clause, ...]) -> bool:
    return passes(clauses, task, variables)


def _any_of(task: Task, variables: Variables, clauses: tuple[Clause, ...]) -> bool:
    return any(test(task, variables, argument) for test, argument in clauses)


def _never(task: Task, variables: Variables, argument: None) -> bool:
    return False


def _evaluated(task: Task, variables: Variables, argument: tuple[Compiled, str | None]) -> bool:
    run, alias = argument
    return run(Scope(task, {} if alias is None else {alias: task}, variables)) is True


@functools.lru_cache(maxsize=10_000)
def _is_true(place: Place) -> Test:
    read = reader(*place)
    return lambda task, variables, argument: read(task) is True


@functools.lru_cache(maxsize=10_000)
def _equality(place: Place, op: Op) -> Test:
    read = reader(*place)

    def is_equal(task: Task, variables: Variables, wanted: Json) -> bool:
        value = read(task)
        return value is not MISSING and equal(value, wanted)

    def is_other(task: Task, variables: Variables, unwanted: Json) -> bool:
        value = read(task)
        return value is not MISSING and not equal(value, unwanted)

    return is_equal if op == "==" else is_other


def _order_test(place: Place, op: Op, limit: Json) -> Clause:
    if kind_of(limit) not in ("number", "text"):
        return _never, None
    return _order(place, op), limit


@functools.lru_cache(maxsize=10_000)
def _order(place: Place, op: Op) -> Test:
    read, holds = reader(*place), _ORDERS[op]

    def is_ordered_so(task: Task, variables: Variables, limit: Json) -> bool:
        value = read(task)
        # Of one type, and the limit is no boolean: no need to ask. A NaN is in no order.
        if type(value) is type(limit):
            return holds(value, limit)
        return is_ordered(value, limit) and holds(value, limit)

    return is_ordered_so


def _membership(place: Place, container: Json, *, wanted: bool) -> Clause:
    kind = kind_of(container)
    if kind not in ("list", "map"):
        return _never, None
    if kind == "map" or all(is_safe_key(item) for item in container):
        return _in_set(place, wanted), frozenset(container)
    return _in_list(place, wanted), container


def is_safe_key(value: Json) -> bool:
    """Whether Python's dict finds by this key what is equal in JSON, and nothing else: not for 0, 1 and booleans."""
    return type(value) is str or (type(value) in (int, float) and value not in (0, 1) and value == value)  # noqa: PLR0124


@functools.lru_cache(maxsize=10_000)
def _in_set(place: Place, wanted: bool) -> Test:
    read = reader(*place)

    def in_set(task: Task, variables: Variables, items: frozenset[Json]) -> bool:
        value = read(task)
        try:
            return value is not MISSING and (value in items) is wanted
        except TypeError:
            return not wanted  # A list or map: it equals no item, for none is one.

    return in_set


@functools.lru_cache(maxsize=10_000)
def _in_list(place: Place, wanted: bool) -> Test:
    read = reader(*place)

    def in_list(task: Task, variables: Variables, items: list[Json]) -> bool:
        value = read(task)
        return value is not MISSING and is_in(value, items) is wanted

    return in_list


@functools.lru_cache(maxsize=10_000)
def _contains(place: Place) -> Test:
    read = reader(*place)

    def holds(task: Task, variables: Variables, item: Json) -> bool:
        value = read(task)
        return value is not MISSING and contains(value, item) is True

    return holds


@functools.lru_cache(maxsize=10_000)
def _matches(place: Place, wanted: bool) -> Test:
    read = reader(*place)

    def found(task: Task, variables: Variables, pattern: regex.Regex) -> bool:
        value = read(task)
        if not isinstance(value, str):
            return False
        try:
            return pattern.is_found(value) is wanted
        except UnicodeEncodeError:
            return False

    return found


@functools.lru_cache(maxsize=10_000)
def _presence(place: Place, wanted: bool) -> Test:
    read: Reader = reader(*place)
    return lambda task, variables, argument: (read(task) is not MISSING) is wanted
