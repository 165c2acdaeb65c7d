"""Expressions and clauses, as data.

The nodes that a `where`, a guard, an argument or a template is made of,
whichever way it was written (`.then`, YAML, Python's `it`). Nothing here
evaluates: the plain truth is `then.core.evaluate`, the quick one
`then.core.index`; one is tested against the other.

A clause has three outcomes: true, false, and *cannot say* (a missing field, a
value of the wrong type). Units inside expressions: seconds for durations and
for times (since 1970, UTC), bytes for sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

import attrs

from then.core.errors import RuleError
from then.core.source import Span
from then.core.tasks import Json, Task

Steps: TypeAlias = tuple[str | int, ...]
"""A path into a value: keys of objects and indexes of lists."""

Source = Literal["any", "body", "result", "own"]


def _span() -> Span | None:
    # A span is where a node was written, not what it says: left out of == and repr.
    return attrs.field(default=None, eq=False, repr=False, kw_only=True)  # type: ignore[no-any-return]


@attrs.frozen
class Const:
    """A value known at load: a literal, or what a `let` or `load … from` gave."""

    value: Json = attrs.field(eq=repr)
    # By repr, because Python holds 1, 1.0 and True for the same, and a list for unhashable.
    name: str | None = None
    """How it was written where it was not a literal: `limits.max`."""
    span: Span | None = _span()


@attrs.frozen
class Field:
    """A field of a record: `total`, `o.total`, `record.id`, `result.x`, `it.ref`."""

    path: Steps
    """At least one step; the first is the field's name."""
    source: Source = "any"
    """`any`: the result, then the body, then the record's own (`OWN_FIELDS`); `own`: what `record.` says."""
    record: str | None = None
    """The alias of the record; None is the record that is being filtered."""
    span: Span | None = _span()


@attrs.frozen
class Name:
    """A bound value that is no record: a regex group, join key, parameter, loop variable."""

    name: str
    path: Steps = ()
    span: Span | None = _span()


@attrs.frozen
class FlowVariable:
    """`flow.NAME`: a variable of the record's flow."""

    path: Steps
    span: Span | None = _span()


@attrs.frozen
class LoadRef:
    """`load x`, `{type: load, name: [x]}`: a flow variable, read when the task is given to its executor."""

    path: Steps
    span: Span | None = _span()


@attrs.frozen
class SecretRef:
    """`secret x`: a reference; its value is in no record."""

    name: str
    span: Span | None = _span()


@attrs.frozen
class Template:
    """Text with `{expr}` in it: text parts and expressions in order."""

    parts: tuple[str | Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class ListOf:
    items: tuple[Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class MapOf:
    items: tuple[tuple[str, Expr], ...]
    span: Span | None = _span()


@attrs.frozen
class Not:
    of: Expr
    span: Span | None = _span()


@attrs.frozen
class And:
    parts: tuple[Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class Or:
    parts: tuple[Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class Compare:
    """Equality by JSON type and value; order between numbers, or between texts."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr
    span: Span | None = _span()


@attrs.frozen
class In:
    """`x in [..]`; `in` a map looks at its keys. `not in` is a Not around it."""

    item: Expr
    container: Expr
    span: Span | None = _span()


@attrs.frozen
class Contains:
    """A list holds an equal item, or a text holds a text."""

    container: Expr
    item: Expr
    span: Span | None = _span()


@attrs.frozen
class Matches:
    """A regular expression is found in a text; its named groups are bound where it is."""

    text: Expr
    pattern: str
    groups: tuple[str, ...] = ()
    span: Span | None = _span()


@attrs.frozen
class IsNull:
    of: Expr
    span: Span | None = _span()


@attrs.frozen
class IsMissing:
    """`x is missing`; `has x` is a Not around it. Never "cannot say"."""

    of: Expr
    span: Span | None = _span()


@attrs.frozen
class Coalesce:
    """`a ?? b`: the first that is neither missing nor null."""

    parts: tuple[Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class Arithmetic:
    """`+ - * / %` on numbers, `+` on two texts or two lists too; beyond 64 bits and by zero it cannot be said."""

    op: Literal["+", "-", "*", "/", "%"]
    left: Expr
    right: Expr
    span: Span | None = _span()


@attrs.frozen
class Negative:
    of: Expr
    span: Span | None = _span()


@attrs.frozen
class Function:
    """A function of `FUNCTIONS`."""

    name: str
    args: tuple[Expr, ...]
    span: Span | None = _span()


@attrs.frozen
class Quantified:
    """`some i in xs satisfies …` is an `or` over the items, `every` an `and`."""

    kind: Literal["some", "every"]
    variable: str
    items: Expr
    condition: Expr
    span: Span | None = _span()


@attrs.frozen
class Opaque:
    """A Python predicate over the record; allowed as the last clause, shown as opaque."""

    predicate: Callable[[Task], bool] = attrs.field(repr=False)
    name: str
    span: Span | None = _span()


Expr: TypeAlias = (
    Const | Field | Name | FlowVariable | LoadRef | SecretRef | Template | ListOf | MapOf
    | Not | And | Or | Compare | In | Contains | Matches | IsNull | IsMissing | Coalesce
    | Arithmetic | Negative | Function | Quantified | Opaque
)  # fmt: skip

FUNCTIONS: dict[str, tuple[int, int]] = {
    "int": (1, 1), "float": (1, 1), "str": (1, 1), "len": (1, 1), "lower": (1, 1), "upper": (1, 1),
    "trim": (1, 1), "abs": (1, 1), "round": (1, 2), "min": (1, 8), "max": (1, 8), "json": (1, 1),
    "sh": (1, 1), "split": (2, 2), "join": (2, 2), "keys": (1, 1), "env": (1, 1),
}  # fmt: skip
"""Name: how many arguments, least and most. `env` is for `let` only: it is read once, at load."""

DEPTH_MAX: Final = 100
"""Nesting of an expression: the plain evaluator takes a few frames of the stack for each level."""


# By class, since the plain evaluator asks at each node.
_OPERANDS: Final[dict[type, Callable[[Any], tuple[Expr, ...]]]] = {
    **dict.fromkeys((Const, Field, Name, FlowVariable, LoadRef, SecretRef, Opaque), lambda node: ()),
    **dict.fromkeys((Not, IsNull, IsMissing, Negative), lambda node: (node.of,)),
    **dict.fromkeys((And, Or, Coalesce), attrgetter("parts")),
    **dict.fromkeys((Compare, Arithmetic), attrgetter("left", "right")),
    Template: lambda node: tuple(part for part in node.parts if not isinstance(part, str)),
    ListOf: attrgetter("items"),
    MapOf: lambda node: tuple(value for _, value in node.items),
    In: attrgetter("item", "container"),
    Contains: attrgetter("container", "item"),
    Matches: lambda node: (node.text,),
    Function: attrgetter("args"),
    Quantified: attrgetter("items", "condition"),
}


def operands(expr: Expr) -> tuple[Expr, ...]:
    """The expressions that a node is directly made of, in the order of writing."""
    return _OPERANDS[type(expr)](expr)


def walk(expr: Expr) -> Iterator[Expr]:
    """The node and all below it, parents first. No recursion, so depth cannot end it."""
    todo = [expr]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(operands(node)))


def check_depth(expr: Expr) -> None:
    """Nothing, where the expression is nested no deeper than can be evaluated.

    Raises:
        RuleError: with the place of the outermost node.
    """
    todo = [(expr, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > DEPTH_MAX:
            raise RuleError(f"an expression nested deeper than {DEPTH_MAX} levels; split it", expr.span)
        todo.extend((operand, depth + 1) for operand in operands(node))


def flow_names(expr: Expr) -> frozenset[str]:
    """The flow variables that an expression reads: what a match fact has to hold."""
    return frozenset(str(node.path[0]) for node in walk(expr) if isinstance(node, FlowVariable))


def conjuncts(expr: Expr) -> tuple[Expr, ...]:
    """The clauses that must all hold: an `And` taken apart, one inside another too."""
    if not isinstance(expr, And):
        return (expr,)
    if not any(type(part) is And for part in expr.parts):
        return expr.parts
    return tuple(clause for part in expr.parts for clause in conjuncts(part))


def path_text(steps: Steps) -> str:
    """`items[0].qty`, as one would write it."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def place_text(node: Field | Name | FlowVariable) -> str:
    """`o.total`, `record.id`, `flow.tag`: a place as reasons and messages name it."""
    path = path_text(node.path)
    match node:
        case Name(name):
            return f"{name}.{path}" if path else name
        case FlowVariable():
            return f"flow.{path}"
        case Field(_, source, record):
            words = [record or "", {"any": "", "own": "record"}.get(source, source), path]
            return ".".join(word for word in words if word)
