"""What the nodes of an expression do with the values of their operands.

Only nodes that need all their operands: comparisons, arithmetic, functions,
templates. Those that may do with fewer (`and`, `or`, `??`, `some`) are in
`then.core.evaluate`. Both evaluators, the plain and the compiled one, combine
values here, so that an operator means one thing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from then.core import functions, regex
from then.core.filters import (
    Arithmetic,
    Compare,
    Contains,
    Expr,
    Function,
    In,
    IsMissing,
    IsNull,
    ListOf,
    MapOf,
    Matches,
    Negative,
    Not,
    Template,
)
from then.core.tasks import BODY_BYTES_MAX, Json
from then.core.values import CannotSay, described, equal, is_ordered, is_within_limits, kind_of, text_of

_ORDERS: Final[dict[str, Callable[[Json, Json], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SUMS: Final[dict[str, Callable[[Json, Json], Json]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


def combine(expr: Expr, values: Sequence[Json]) -> Json:
    """The node's value from those of its operands, in their order.

    The first operand that cannot be said is the answer; `is missing` alone can always be said.
    """
    if isinstance(expr, IsMissing):
        return isinstance(values[0], CannotSay) and values[0].missing
    for value in values:
        if type(value) is CannotSay:
            return value
    return _MEANINGS[type(expr)](expr, values)


def truth(value: Json) -> Json:
    """The value where it is a clause's: true, false or `CannotSay`; any other has no truth value."""
    if value is True or value is False or isinstance(value, CannotSay):
        return value
    return CannotSay(f"{described(value)} has no truth value")


def compare(op: Literal["==", "!=", "<", "<=", ">", ">="], left: Json, right: Json) -> Json:
    if op == "==":
        return equal(left, right)
    if op == "!=":
        return not equal(left, right)
    if not is_ordered(left, right):
        return CannotSay(f"{described(left)} {op} {described(right)}")
    return _ORDERS[op](left, right)


def is_in(item: Json, container: Json) -> Json:
    kind = kind_of(container)
    if kind == "list":
        return any(equal(item, other) for other in container)
    if kind == "map":
        return kind_of(item) == "text" and item in container
    return CannotSay(f"in {described(container)}; give a list or a map")


def contains(container: Json, item: Json) -> Json:
    kind = kind_of(container)
    if kind == "list":
        return any(equal(item, other) for other in container)
    if kind == "text" and kind_of(item) == "text":
        return item in container
    return CannotSay(f"{described(container)} contains {described(item)}")


def is_match(pattern: str, text: Json) -> Json:
    if not isinstance(text, str):
        return CannotSay(f"{described(text)} matches a regex")
    try:
        return regex.kept(pattern).is_found(text)
    except UnicodeEncodeError:
        return CannotSay("a text with half of a surrogate pair matches a regex")


def calculate(op: Literal["+", "-", "*", "/", "%"], left: Json, right: Json) -> Json:
    kinds = (kind_of(left), kind_of(right))
    if kinds == ("number", "number"):
        if right == 0 and op in ("/", "%"):
            return CannotSay(f"{left} {op} 0")
        try:
            number = _SUMS[op](left, right)
        except OverflowError:
            number = math.inf
        return number if is_within_limits(number) else CannotSay(f"{left} {op} {right} is beyond 64 bits")
    if op == "+" and kinds in (("text", "text"), ("list", "list")):
        size = len(left) + len(right)
        return left + right if size <= BODY_BYTES_MAX else CannotSay(f"limit: a {kinds[0]} of {size}")
    return CannotSay(f"{described(left)} {op} {described(right)}")


def _filled(template: Template, values: Sequence[Json]) -> Json:
    left = iter(values)
    try:
        return functions.joined([part if isinstance(part, str) else text_of(next(left)) for part in template.parts])
    except (TypeError, ValueError, RecursionError) as error:
        return CannotSay(f"a template with what is no JSON: {error}")


def _opposite(value: Json) -> Json:
    return not value if isinstance(value, bool) else truth(value)


def _minus(value: Json) -> Json:
    if kind_of(value) != "number":
        return CannotSay(f"minus {described(value)}")
    # Of an integer by subtraction, which minds the 64 bits; of a float without, which would lose -0.0.
    return calculate("-", 0, value) if isinstance(value, int) else -value


_MEANINGS: Final[dict[type, Callable[[Any, Sequence[Json]], Json]]] = {
    Compare: lambda node, values: compare(node.op, values[0], values[1]),
    Not: lambda node, values: _opposite(values[0]),
    In: lambda node, values: is_in(values[0], values[1]),
    Contains: lambda node, values: contains(values[0], values[1]),
    Matches: lambda node, values: is_match(node.pattern, values[0]),
    IsNull: lambda node, values: values[0] is None,
    Arithmetic: lambda node, values: calculate(node.op, values[0], values[1]),
    Negative: lambda node, values: _minus(values[0]),
    Function: lambda node, values: functions.call(node.name, values),
    Template: _filled,
    ListOf: lambda node, values: list(values),
    MapOf: lambda node, values: {key: value for (key, _), value in zip(node.items, values, strict=True)},
}
