"""Expressions as data: what they equal, what they are made of, how they are named."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given

from tests import expressions as ex
from then.core import filters
from then.core.errors import RuleError
from then.core.filters import (
    DEPTH_MAX,
    And,
    Compare,
    Const,
    Expr,
    Field,
    FlowVariable,
    Name,
    Not,
    Or,
    Template,
    check_depth,
    conjuncts,
    flow_names,
    operands,
    place_text,
    walk,
)
from then.core.source import Span

X = Field(("x",))


def test_constants_are_equal_where_they_are_written_alike() -> None:
    assert Const(1) == Const(1)
    assert Const(1) != Const(1.0)
    assert Const(1) != Const(True)
    assert Const([0]) != Const([False])
    assert hash(Const([1, {"a": 2}])) == hash(Const([1, {"a": 2}]))


def test_where_a_node_was_written_is_no_part_of_it() -> None:
    assert Field(("x",), span=Span("a.then", 3)) == X
    assert "span" not in repr(Field(("x",), span=Span("a.then", 3))).replace("span=None", "")


def test_every_node_knows_what_it_is_made_of() -> None:
    assert set(filters._OPERANDS) == set(get_args(Expr))


@given(ex.expressions)
def test_a_walk_meets_each_node_parents_first(expr: Expr) -> None:
    met = list(walk(expr))
    assert met[0] is expr
    assert len(met) == 1 + sum(len(list(walk(operand))) for operand in operands(expr))


def test_a_walk_goes_in_the_order_of_writing() -> None:
    expr = And((Template(("a", X, "b", Name("n"))), Compare("==", X, Const(1))))
    assert [type(node).__name__ for node in walk(expr)] == [
        "And", "Template", "Field", "Name", "Compare", "Field", "Const",
    ]  # fmt: skip


def test_nesting_has_a_limit() -> None:
    expr: Expr = X
    for _ in range(DEPTH_MAX - 1):
        expr = Not(expr)
    check_depth(expr)
    with pytest.raises(RuleError) as refused:
        check_depth(Not(expr, span=Span("a.then", 7, 3)))
    assert refused.value.message == f"an expression nested deeper than {DEPTH_MAX} levels; split it"
    for _ in range(100_000):
        expr = Not(expr)
    with pytest.raises(RuleError):
        check_depth(expr)


def test_flow_variables_are_known_by_name() -> None:
    expr = Or((Not(FlowVariable(("a", "b"))), Compare("==", X, FlowVariable(("c",)))))
    assert flow_names(expr) == {"a", "c"}
    assert flow_names(X) == frozenset()


def test_clauses_that_must_all_hold_are_taken_apart() -> None:
    a, b, c = (Compare("==", X, Const(n)) for n in range(3))
    assert conjuncts(And((a, And((b, And((c,))))))) == (a, b, c)
    assert conjuncts(Or((a, b))) == (Or((a, b)),)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Field(("total",)), "total"),
        (Field(("items", 0, "qty"), record="o"), "o.items[0].qty"),
        (Field(("id",), "own"), "record.id"),
        (Field(("id",), "own", "o"), "o.record.id"),
        (Field(("x",), "body"), "body.x"),
        (Field(("a b",)), '["a b"]'),
        (Name("n"), "n"),
        (Name("n", ("a", 1)), "n.a[1]"),
        (FlowVariable(("tag",)), "flow.tag"),
    ],
)
def test_places_are_named_as_one_would_write_them(place: Field | Name | FlowVariable, text: str) -> None:
    assert place_text(place) == text
