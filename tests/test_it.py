"""`it`: that Python gives the nodes that a text would, and says so where it cannot."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from then.core.errors import BodyRefused, RuleError
from then.core.evaluate import Scope, evaluate
from then.core.filters import (
    DEPTH_MAX,
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
)
from then.core.it import Expression, expression_of, it, where_of
from then.core.tasks import Task

X, Y = Field(("x",)), Field(("y",))
ONE = Const(1)


@pytest.mark.parametrize(
    ("written", "node"),
    [
        (it.x, X),
        (it["x"], X),
        (it["class"], Field(("class",))),
        (it["contains"], Field(("contains",))),
        (it.contains, Field(("contains",))),
        (it.a.b[0]["c d"], Field(("a", "b", 0, "c d"))),
        (it.body.x, Field(("x",), "body")),
        (it.body["x"], Field(("x",), "body")),
        (it.result.x, Field(("x",), "result")),
        (it["result"], Field(("result",))),
        (it.result, Field(("result",), "own")),
        (it.record.id, Field(("id",), "own")),
        (it.record.error.kind, Field(("error", "kind"), "own")),
        (it.flow.limits.max, FlowVariable(("limits", "max"))),
        (it.x == 1, Compare("==", X, ONE)),
        (it.x != 1, Compare("!=", X, ONE)),
        (it.x < 1, Compare("<", X, ONE)),
        (it.x <= 1, Compare("<=", X, ONE)),
        (it.x > 1, Compare(">", X, ONE)),
        (it.x >= 1, Compare(">=", X, ONE)),
        (1 < it.x, Compare(">", X, ONE)),  # noqa: SIM300 (that is what is tested)
        (it.x == it.y, Compare("==", X, Y)),
        (it.x == None, Compare("==", X, Const(None))),  # noqa: E711 (a clause)
        (it.x + 1, Arithmetic("+", X, ONE)),
        (1 + it.x, Arithmetic("+", ONE, X)),
        (it.x - 1, Arithmetic("-", X, ONE)),
        (1 - it.x, Arithmetic("-", ONE, X)),
        (it.x * 1, Arithmetic("*", X, ONE)),
        (1 * it.x, Arithmetic("*", ONE, X)),
        (it.x / 1, Arithmetic("/", X, ONE)),
        (1 / it.x, Arithmetic("/", ONE, X)),
        (it.x % 1, Arithmetic("%", X, ONE)),
        (1 % it.x, Arithmetic("%", ONE, X)),
        (-it.x, Negative(X)),
        (~(it.x == 1), Not(Compare("==", X, ONE))),
        ((it.x == 1) & it.y, And((Compare("==", X, ONE), Y))),
        ((it.x == 1) | it.y, Or((Compare("==", X, ONE), Y))),
        (True & it.x, And((Const(True), X))),
        (False | it.x, Or((Const(False), X))),
        (it.x & it.y & it.x, And((X, Y, X))),
        (it.x | it.y | it.x, Or((X, Y, X))),
        ((it.x & it.y) | it.x, Or((And((X, Y)), X))),
        (it.x.in_([1, "a"]), In(X, Const([1, "a"]))),
        (it.x.in_((1,)), In(X, Const([1]))),
        (it.x.in_({"b", "a", "c"}), In(X, Const(["a", "b", "c"]))),
        (it.x.in_(frozenset((2, "a", 1))), In(X, Const([1, 2, "a"]))),
        (it.x.in_({"a": 1}), In(X, Const({"a": 1}))),
        (it.x.in_([it.y, 1]), In(X, ListOf((Y, ONE)))),
        (it.x == {"a": [it.y]}, Compare("==", X, MapOf((("a", ListOf((Y,))),)))),
        (it.x.contains("a"), Contains(X, Const("a"))),
        (it.x.matches(r"^v(?P<n>\d+)"), Matches(X, r"^v(?P<n>\d+)", ("n",))),
        (it.x.is_null(), IsNull(X)),
        (it.x.is_missing(), IsMissing(X)),
        (it.x.has(), Not(IsMissing(X))),
        (it.x.or_(1), Coalesce((X, ONE))),
        (it.x.or_(it.y).or_(1) == 1, Compare("==", Coalesce((X, Y, ONE)), ONE)),
    ],
)
def test_an_expression_is_the_node_that_it_looks_like(written: Expression, node: Expr) -> None:
    assert expression_of(written) == node


def test_a_clause_of_it_decides_about_records() -> None:
    clause = expression_of((it.total > 100) & ~it.tag.has() & it.record.id.matches("^a"))
    assert evaluate(clause, Scope(Task("t", {"total": 250}, id="a1"))) is True
    assert evaluate(clause, Scope(Task("t", {"total": 250, "tag": None}, id="a1"))) is False


def test_what_python_decides_by_itself_is_refused_with_what_to_write() -> None:
    clause: Any = it.x == 1
    field: Any = it.x
    with pytest.raises(TypeError, match=r"write & for and, \| for or, ~ for not"):
        bool(clause and it.y)
    with pytest.raises(TypeError, match="~ for not"):
        bool(not clause)
    with pytest.raises(TypeError, match=r"\(a < x\) & \(x < b\)"):
        bool(1 < it.x < 5)
    with pytest.raises(TypeError, match=r"x.in_\(...\) for in"):
        bool(it.x in ["a", "b"])
    with pytest.raises(TypeError, match=r"x.contains\(item\)"):
        bool("a" in field)
    with pytest.raises(TypeError, match="no items before there is a record"):
        list(field)
    with pytest.raises(TypeError, match="no length before there is a record"):
        len(field)
    with pytest.raises(TypeError, match=r"no such method \(in_, contains, matches"):
        field.startswith("a")
    with pytest.raises(TypeError, match="unhashable"):
        hash(field)


def test_names_and_indexes_are_checked_when_they_are_written() -> None:
    field: Any = it.x
    root: Any = it
    with pytest.raises(TypeError, match=r"\[-1\]: a step is the name of a field, or an index from 0 on"):
        field[-1]
    with pytest.raises(TypeError, match="an index from 0 on"):
        field[True]
    with pytest.raises(TypeError, match="takes the name of a field"):
        root[0]
    with pytest.raises(AttributeError, match=r'write it\["_x"\]'):
        it._x  # noqa: B018
    with pytest.raises(
        RuleError, match=r'a record has no field "colour" of its own; an input or result field is it\.colour'
    ):
        expression_of(it.record.colour)
    with pytest.raises(TypeError, match=r"name a field of it: it\.record\.NAME"):
        expression_of(it.record)
    with pytest.raises(TypeError, match=r"name a variable of it: it\.flow\.NAME"):
        expression_of(it.flow)
    with pytest.raises(TypeError, match=r"name a field of it: it\.NAME"):
        expression_of(it)


def test_constants_are_json() -> None:
    for value in (float("nan"), 2**63, {1: 2}, b"a", object(), [float("inf")]):
        with pytest.raises(BodyRefused):
            it.x == value  # noqa: B015


def test_a_regex_is_checked_when_it_is_written() -> None:
    with pytest.raises(RuleError, match="there are no backreferences here"):
        it.x.matches(r"(a)\1")


def test_clauses_of_a_rule_are_one() -> None:
    assert where_of([]) is None
    assert where_of([it.x]) == X
    assert where_of([it.x & it.y, it.x == 1]) == And((X, Y, Compare("==", X, ONE)))


def test_a_python_predicate_stands_last_and_is_shown_as_opaque() -> None:
    def late(record: Task) -> bool:
        return record.attempt > 1

    where = where_of([it.x, late])
    assert isinstance(where, And)
    assert where.parts[0] == X
    assert isinstance(where.parts[1], Opaque)
    assert where.parts[1].name.endswith("late")
    with pytest.raises(RuleError, match="a Python predicate stands last"):
        where_of([late, it.x])


def test_what_is_no_clause_is_refused() -> None:
    anything: list[Any] = [it.x is None]
    with pytest.raises(RuleError, match=r"False is no clause; write one with `it`: it.x.is_null\(\)"):
        where_of(anything)


def test_many_alternatives_need_no_nesting_and_deep_nesting_is_refused() -> None:
    clause: Expression = it.x == 0
    for n in range(5_000):
        clause = clause | (it.x == n)
    assert where_of([clause]) is not None
    for _ in range(DEPTH_MAX):
        clause = ~clause
    with pytest.raises(RuleError, match=f"nested deeper than {DEPTH_MAX} levels"):
        where_of([clause])


def test_it_can_be_shown_and_copied() -> None:
    assert repr(it) == "it"
    assert "Compare" in repr(it.x == 1)
    assert expression_of(copy.copy(it.x)) == X
    assert not hasattr(it, "__wrapped__")
