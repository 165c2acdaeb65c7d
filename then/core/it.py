"""`it`: clauses written in Python, as data.

`it.total > 100` does not compare: it gives the same node that `total > 100` in
a `.then` file gives, so that a rule written in Python can be indexed, printed,
explained and replayed like any other. What Python does not let a class define
(`and`, `or`, `not`, `in`, `is`, `if`) raises, and says what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NoReturn, SupportsIndex, TypeAlias

from then.core.errors import RuleError
from then.core.fields import RECORD_FIELDS
from then.core.filters import (
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Const,
    Contains,
    Expr,
    Field,
    FlowVariable,
    In,
    IsMissing,
    IsNull,
    ListOf,
    MapOf,
    Matches,
    Negative,
    Not,
    Opaque,
    Or,
    Steps,
    check_depth,
)
from then.core.regex import check_pattern
from then.core.tasks import Json, Task, check_json

Operand: TypeAlias = Any
"""A JSON value, an expression, or a list or dict of these."""
Predicate: TypeAlias = Callable[[Task], bool]


class Expression:
    """A value or clause to be: what the operators on `it.NAME` give."""

    __slots__ = ("_given",)

    def __init__(self, expr: Expr) -> None:
        self._given = expr

    def _expr(self) -> Expr:
        return self._given

    # -- comparisons; __eq__ makes it unhashable, which is right: it equals nothing

    def __eq__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._compare("!=", other)

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Operand) -> Expression:
        return self._compare("<", other)

    def __le__(self, other: Operand) -> Expression:
        return self._compare("<=", other)

    def __gt__(self, other: Operand) -> Expression:
        return self._compare(">", other)

    def __ge__(self, other: Operand) -> Expression:
        return self._compare(">=", other)

    def _compare(self, op: Literal["==", "!=", "<", "<=", ">", ">="], other: Operand) -> Expression:
        return Expression(Compare(op, self._expr(), expression_of(other)))

    # -- connectives

    def __and__(self, other: Operand) -> Expression:
        return Expression(And((*_parts(And, self), *_parts(And, other))))

    def __rand__(self, other: Operand) -> Expression:
        return Expression(And((*_parts(And, other), *_parts(And, self))))

    def __or__(self, other: Operand) -> Expression:
        return Expression(Or((*_parts(Or, self), *_parts(Or, other))))

    def __ror__(self, other: Operand) -> Expression:
        return Expression(Or((*_parts(Or, other), *_parts(Or, self))))

    def __invert__(self) -> Expression:
        return Expression(Not(self._expr()))

    # -- arithmetic

    def __add__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("+", self._expr(), expression_of(other)))

    def __radd__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("+", expression_of(other), self._expr()))

    def __sub__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("-", self._expr(), expression_of(other)))

    def __rsub__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("-", expression_of(other), self._expr()))

    def __mul__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("*", self._expr(), expression_of(other)))

    def __rmul__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("*", expression_of(other), self._expr()))

    def __truediv__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("/", self._expr(), expression_of(other)))

    def __rtruediv__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("/", expression_of(other), self._expr()))

    def __mod__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("%", self._expr(), expression_of(other)))

    def __rmod__(self, other: Operand) -> Expression:
        return Expression(Arithmetic("%", expression_of(other), self._expr()))

    def __neg__(self) -> Expression:
        return Expression(Negative(self._expr()))

    # -- clauses that Python has no operator for

    def in_(self, container: Operand) -> Expression:
        """It equals an item of the list (or set), or is a key of the map."""
        if isinstance(container, set | frozenset):
            # In one order, whatever the hashes of this run: the same rules are the same text.
            container = sorted(container, key=lambda item: (type(item).__name__, str(item)))
        return Expression(In(self._expr(), expression_of(container)))

    def contains(self, item: Operand) -> Expression:
        """A list holds an equal item, or a text holds the text."""
        return Expression(Contains(self._expr(), expression_of(item)))

    def matches(self, pattern: str) -> Expression:
        """The regex is found in it; its named groups are bound in the consequence.

        Raises:
            RuleError: RE2 refuses the pattern.
        """
        return Expression(Matches(self._expr(), pattern, check_pattern(pattern)))

    def is_null(self) -> Expression:
        """It is there, and null."""
        return Expression(IsNull(self._expr()))

    def is_missing(self) -> Expression:
        """It is not there. Can always be said."""
        return Expression(IsMissing(self._expr()))

    def has(self) -> Expression:
        """It is there, null or not. Can always be said."""
        return Expression(Not(IsMissing(self._expr())))

    def or_(self, default: Operand) -> Expression:
        """Itself; where it is missing or null, the default."""
        return Expression(Coalesce((*_parts(Coalesce, self), *_parts(Coalesce, default))))

    # -- what Python would take for something else

    def __bool__(self) -> bool:
        raise TypeError(
            "a clause is neither true nor false before there is a record: write & for and, | for or, ~ for not, "
            "with parentheses around each side; (a < x) & (x < b) for a < x < b; x.in_(...) for in"
        )

    def __contains__(self, item: object) -> bool:
        raise TypeError("`in` asks Python, not the record: write x.contains(item), or item.in_(list)")

    def __iter__(self) -> NoReturn:
        raise TypeError("a field has no items before there is a record: write x[0], or x.contains(item)")

    def __len__(self) -> int:
        raise TypeError("a field has no length before there is a record")

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        known = "in_, contains, matches, is_null, is_missing, has, or_"
        raise TypeError(f"a field has no such method ({known}); a field of that name is it[...]")

    def __repr__(self) -> str:
        return f"it: {self._expr()!r}"


class Place(Expression):
    """A field that may have fields: `it.address.city`, `it.items[0]`, `it["type"]`."""

    __slots__ = ("_make", "_path")

    def __init__(self, make: Callable[[Steps], Expr], path: Steps) -> None:
        self._make = make
        self._path = path

    def _expr(self) -> Expr:
        return self._make(self._path)

    def __getattr__(self, name: str) -> Place:
        step = _public(name)  # First: a copy that is being made has no slots yet, and asks for its own.
        return Place(self._make, (*self._path, step))

    def __getitem__(self, step: str | SupportsIndex) -> Place:
        return Place(self._make, (*self._path, _step(step)))


class It:
    """The record that a rule is about; see `then.core.it`."""

    __slots__ = ()

    @property
    def record(self) -> Place:
        """`it.record.NAME`: a field of the record itself, such as `id`, `attempt` or `outcome`."""
        return Place(_own, ())

    @property
    def body(self) -> Place:
        """`it.body.NAME`: an input, also where a field of the result has the same name."""
        return Place(_body, ())

    @property
    def result(self) -> Place:
        """`it.result.NAME`: a field of the result."""
        return Place(_result, ())

    @property
    def flow(self) -> Place:
        """`it.flow.NAME`: a variable of the record's flow."""
        return Place(_flow, ())

    def __getattr__(self, name: str) -> Place:
        return Place(_any, (_public(name),))

    def __getitem__(self, name: str) -> Place:
        if not isinstance(name, str):
            raise TypeError("it[...] takes the name of a field; an index stands behind one: it.items[0]")
        return Place(_any, (name,))

    def __repr__(self) -> str:
        return "it"


it: Final = It()


def of(alias: str) -> Place:
    """Another part of a join, by its alias: `then.of("p").amount`, in the clauses of the parts to its right."""
    return Place(lambda path: _of_part(alias, path), ())


def _of_part(alias: str, path: Steps) -> Expr:
    if not path:
        raise TypeError(f'then.of("{alias}") is the whole record; name a field of it: then.of("{alias}").NAME')
    return Field(path, "any", alias)


def expression_of(value: Operand) -> Expr:
    """The node for what stands beside an operator: an expression, a JSON value, or both mixed.

    Raises:
        BodyRefused: it holds what is neither.
    """
    if isinstance(value, Expression):
        return value._expr()  # noqa: SLF001 (not public, so that `it.x.expr` is a field)
    if isinstance(value, It):
        raise TypeError("it is the whole record; name a field of it: it.NAME")
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list) and _holds_expression(value):
        return ListOf(tuple(expression_of(item) for item in value))
    if isinstance(value, dict) and _holds_expression(list(value.values())):
        return MapOf(tuple((key, expression_of(item)) for key, item in value.items()))
    check_json(value, "it")
    return Const(value)


def where_of(clauses: Iterable[Expression | Predicate]) -> Expr | None:
    """What `rules.when` was given after type and outcome, as one clause; null for none.

    A Python predicate may stand last: what data says is looked at before code runs.

    Raises:
        RuleError: one is no clause, a predicate stands before another, or it is nested too deep.
    """
    given = list(clauses)
    parts: list[Expr] = []
    for position, clause in enumerate(given, 1):
        if isinstance(clause, Expression):
            parts.extend(_parts(And, clause))
        elif callable(clause):
            name = getattr(clause, "__qualname__", None) or repr(clause)
            if position < len(given):
                raise RuleError(f"the predicate {name} stands before other clauses; a Python predicate stands last")
            parts.append(Opaque(clause, name))
        else:
            raise RuleError(
                f"{clause!r} is no clause; write one with `it`: it.x.is_null() for `is None`, it.x.in_(...) for `in`"
            )
    if not parts:
        return None
    where = parts[0] if len(parts) == 1 else And(tuple(parts))
    check_depth(where)
    return where


def _parts(kind: type[And | Or | Coalesce], value: Operand) -> tuple[Expr, ...]:
    """`a & b & c` is one `And` of three: as many as one likes, without nesting."""
    expr = expression_of(value)
    return expr.parts if isinstance(expr, kind) else (expr,)


def _holds_expression(items: list[Json]) -> bool:
    return any(
        isinstance(item, Expression)
        or (isinstance(item, list | tuple) and _holds_expression(list(item)))
        or (isinstance(item, dict) and _holds_expression(list(item.values())))
        for item in items
    )


def _public(name: str) -> str:
    # Copying, pickling and notebooks ask any object for names of this kind.
    if name.startswith("_"):
        raise AttributeError(f'it.{name}: for a field whose name begins with "_" write it["{name}"]')
    return name


def _step(step: str | SupportsIndex) -> str | int:
    if isinstance(step, str):
        return step
    if isinstance(step, int) and not isinstance(step, bool) and step >= 0:
        return step
    raise TypeError(f"[{step!r}]: a step is the name of a field, or an index from 0 on")


def _any(path: Steps) -> Expr:
    return Field(path)


def _body(path: Steps) -> Expr:
    return Field(path, "body") if path else Field(("body",), "own")


def _result(path: Steps) -> Expr:
    return Field(path, "result") if path else Field(("result",), "own")


def _own(path: Steps) -> Expr:
    if not path:
        raise TypeError("it.record is the whole record; name a field of it: it.record.NAME")
    if path[0] not in RECORD_FIELDS:
        raise RuleError(f'a record has no field "{path[0]}" of its own; an input or result field is it.{path[0]}')
    return Field(path, "own")


def _flow(path: Steps) -> Expr:
    if not path:
        raise TypeError("it.flow is no value; name a variable of it: it.flow.NAME")
    return FlowVariable(path)
