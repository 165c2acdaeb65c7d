"""The plain truth: values, the three outcomes of clauses, what is bound, and why."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import expressions as ex
from then.core.evaluate import (
    OVER_LIMIT,
    SHOWN_ITEMS,
    Explanation,
    Scope,
    Verdict,
    compile_value,
    decide,
    evaluate,
    explain,
)
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
    Function,
    In,
    IsMissing,
    IsNull,
    ListOf,
    LoadRef,
    MapOf,
    Name,
    Negative,
    Not,
    Opaque,
    Or,
    Quantified,
    SecretRef,
    Template,
)
from then.core.tasks import Json, Task
from then.core.values import CannotSay, equal

HERE = Field(("x",))
GONE = Field(("gone",))
TRUE, FALSE, UNSAID = Const(True), Const(False), Compare("==", GONE, Const(1))


def ev(expr: Expr, body: Mapping[str, Json] | None = None, **bindings: Json) -> Json:
    return evaluate(expr, Scope(Task("t", dict(body or {}), outcome="done"), bindings))


def same(left: Json, right: Json) -> bool:
    """Equal in value and kind: 1 is not 1.0 here, and a reason not another."""
    return repr(left) == repr(right)


def cannot(value: Json, reason: str) -> bool:
    return isinstance(value, CannotSay) and value.reason == reason


# -- equality and order ----------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "is_equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (None, False, False),
        (None, None, True),
        (2**53 + 1, float(2**53), False),
        (2**53, float(2**53), True),
        (2**63 - 1, float(2**63), False),
        ("é", "e\u0301", False),
        ([1, [2]], [1.0, [2]], True),
        ([1], [True], False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {}, False),
        ([], {}, False),
        (0.1 + 0.2, 0.3, False),
    ],
)
def test_equality_is_by_json_type_and_value(left: Json, right: Json, is_equal: bool) -> None:
    assert ev(Compare("==", HERE, Const(right)), {"x": left}) is is_equal
    assert ev(Compare("==", Const(right), HERE), {"x": left}) is is_equal
    assert ev(Compare("!=", HERE, Const(right)), {"x": left}) is not is_equal


def test_equality_of_deep_values_needs_no_stack() -> None:
    one: Json = 1
    other: Json = True
    for _ in range(100_000):
        one, other = [one], [other]
    assert equal(one, one)
    assert not equal(one, other)


@pytest.mark.parametrize(
    ("left", "op", "right", "value"),
    [
        (1, "<", 1.5, True),
        (2**53, "<", float(2**53), False),
        (2**53 + 1, ">", float(2**53), True),
        ("a", "<", "b", True),
        ("Z", "<", "a", True),
        ("é", ">", "z", True),
        (1, "<=", 1.0, True),
    ],
)
def test_order_is_between_numbers_or_between_texts(left: Json, op: str, right: Json, value: bool) -> None:
    assert ev(Compare(op, HERE, Const(right)), {"x": left}) is value  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [(1, "1"), (True, 0), (None, None), ([1], [2]), ({}, {}), (float("nan"), 1)])
def test_an_order_of_unlike_types_cannot_be_said(pair: tuple[Json, Json]) -> None:
    for op in ("<", "<=", ">", ">="):
        assert isinstance(ev(Compare(op, HERE, Const(pair[1])), {"x": pair[0]}), CannotSay)


def test_a_reason_says_what_was_compared() -> None:
    assert cannot(ev(Compare("<", HERE, Const(1)), {"x": "a"}), "a text < a number")
    assert cannot(ev(Compare("!=", GONE, Const(1))), "gone is missing")
    assert cannot(ev(Compare("==", Field(("a", 0, "b-c")), Const(1))), 'a[0]["b-c"] is missing')


# -- Kleene's logic ------------------------------------------------------------------

VALUES: dict[bool | None, Expr] = {True: TRUE, False: FALSE, None: UNSAID}


@pytest.mark.parametrize("left", [True, False, None])
@pytest.mark.parametrize("right", [True, False, None])
def test_connectives_follow_kleene(left: bool | None, right: bool | None) -> None:
    def said(expr: Expr) -> bool | None:
        value = ev(expr)
        return None if isinstance(value, CannotSay) else value

    pair = (left, right)
    is_and = False if False in pair else None if None in pair else True
    is_or = True if True in pair else None if None in pair else False
    assert said(And((VALUES[left], VALUES[right]))) is is_and
    assert said(Or((VALUES[left], VALUES[right]))) is is_or
    assert said(Not(VALUES[left])) is (None if left is None else not left)
    items = ListOf((Const(left), Const(right)))
    condition = Not(Compare("==", Const(0), Coalesce((Name("i"), Const(None)))))
    for kind, expected in (("some", is_or), ("every", is_and)):
        # Null is no truth value: it stands for what cannot be said.
        assert said(Quantified(kind, "i", items, Name("i"))) is expected  # type: ignore[arg-type]
    assert said(Quantified("every", "i", items, condition)) is True


def test_an_empty_and_is_true_and_an_empty_or_is_false() -> None:
    assert ev(And(())) is True
    assert ev(Or(())) is False
    assert ev(Quantified("some", "i", Const([]), UNSAID)) is False
    assert ev(Quantified("every", "i", Const([]), UNSAID)) is True


def test_what_is_neither_true_nor_false_has_no_truth_value() -> None:
    assert cannot(ev(And((Const(1),))), "a number has no truth value")
    assert cannot(ev(Or((Const("true"), FALSE))), "a text has no truth value")
    assert cannot(ev(Not(Const(None))), "null has no truth value")
    assert ev(Or((Const(1), TRUE))) is True
    assert decide(Const(1), Scope()).value == CannotSay("a number has no truth value")


def test_an_outcome_that_cannot_be_said_is_taken_for_neither() -> None:
    with pytest.raises(TypeError, match="compare the outcome with `is True`"):
        bool(CannotSay("x is missing"))


# -- missing and null ------------------------------------------------------------------


def test_missing_and_null_are_two_things() -> None:
    assert ev(IsNull(HERE), {"x": None}) is True
    assert ev(IsNull(HERE), {"x": 0}) is False
    assert cannot(ev(IsNull(GONE)), "gone is missing")
    assert ev(IsMissing(GONE)) is True
    assert ev(IsMissing(HERE), {"x": None}) is False
    assert ev(Compare("==", HERE, Const(None)), {"x": None}) is True
    assert isinstance(ev(Compare("==", GONE, Const(None))), CannotSay)


def test_is_missing_can_always_be_said() -> None:
    assert ev(IsMissing(Arithmetic("/", Const(1), Const(0)))) is False
    assert ev(IsMissing(Arithmetic("/", GONE, Const(0)))) is True
    assert ev(IsMissing(SecretRef("s"))) is False


def test_a_default_stands_in_for_missing_and_for_null() -> None:
    assert ev(Coalesce((GONE, HERE, Const(3))), {"x": None}) == 3
    assert ev(Coalesce((HERE, Const(3))), {"x": 0}) == 0
    assert ev(Coalesce((HERE, GONE)), {"x": None}) == CannotSay("gone is missing", missing=True)
    assert ev(Coalesce((GONE, HERE)), {"x": None}) is None
    assert ev(Coalesce((Function("int", (GONE,)), Const(7)))) == 7
    assert isinstance(ev(Coalesce((Arithmetic("/", Const(1), Const(0)), Const(7)))), CannotSay)


# -- names --------------------------------------------------------------------------------

RECORD = Task(
    "build",
    {"ref": "main", "both": "input", "items": [{"qty": 1}], "type": "mine", "nulled": 1},
    id="a1",
    outcome="failed",
    result={"both": "result", "code": 3, "nulled": None},
    error={"kind": "exit"},
    created=1_500_000,
    started=2_000_000,
    completed=4_500_000,
)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (Field(("ref",)), "main"),
        (Field(("both",)), "result"),
        (Field(("both",), "body"), "input"),
        (Field(("nulled",)), None),
        (Field(("code",)), 3),
        (Field(("type",)), "mine"),
        (Field(("type",), "own"), "build"),
        (Field(("outcome",)), "failed"),
        (Field(("error", "kind")), "exit"),
        (Field(("took",)), 2.5),
        (Field(("completed",)), 4.5),
        (Field(("created",), "own"), 1.5),
        (Field(("id",), "own"), "a1"),
        (Field(("state",), "own"), "completed"),
        (Field(("parent",), "own"), None),
        (Field(("result", "code"), "own"), 3),
        (Field(("items", 0, "qty")), 1),
        (Field(("ref",), record="b"), "main"),
        (Name("b", ("ref",)), "main"),
        (Name("n"), "text"),
        (Name("map", ("a", 1)), 6),
        (Field(("a", 1), record="map"), 6),
        (FlowVariable(("tag",)), "v1"),
        (FlowVariable(("limits", "max")), 9),
    ],
)
def test_a_name_stands_for_what_semantics_say(place: Expr, value: Json) -> None:
    bindings: dict[str, Json] = {"b": RECORD, "n": "text", "map": {"a": [5, 6]}}
    scope = Scope(RECORD, bindings, {"tag": "v1", "limits": {"max": 9}})
    assert same(evaluate(place, scope), value)
    assert same(compile_value(place)(scope), value)


@pytest.mark.parametrize(
    "place",
    [
        Field(("id",)),
        Field(("code",), "body"),
        Field(("ref",), "result"),
        Field(("items", -1)),
        Field(("items", 1)),
        Field(("items", "0")),
        Field(("ref", 0)),
        Field(("nulled", "x")),
        Field(("nonsense",), "own"),
        Field(("event",), "own"),
        Field(("ref",), record="other"),
        Name("other"),
        FlowVariable(("gone",)),
    ],
)
def test_what_is_not_there_is_missing(place: Expr) -> None:
    value = evaluate(place, Scope(RECORD))
    assert isinstance(value, CannotSay)
    assert value.missing
    assert same(compile_value(place)(Scope(RECORD)), value)


def test_a_record_is_a_value() -> None:
    value = ev(Name("b"), b=RECORD)
    assert value["type"] == "build"
    assert value["result"] == RECORD.result
    assert value["completed"] == 4.5
    assert ev(Template((Name("b", ("items",)),)), b=RECORD) == '[{"qty":1}]'


def test_in_a_consequence_no_record_is_that_record() -> None:
    assert cannot(evaluate(Field(("ref",)), Scope(None, {"b": RECORD})), "ref is missing")
    assert evaluate(Field(("ref",), record="b"), Scope(None, {"b": RECORD})) == "main"


# -- containers and regexes -------------------------------------------------------------------


def test_in_looks_at_items_and_at_keys() -> None:
    assert ev(In(HERE, Const([1.0, "a"])), {"x": 1}) is True
    assert ev(In(HERE, Const([1])), {"x": True}) is False
    assert ev(In(HERE, Const([[1]])), {"x": [1.0]}) is True
    assert ev(In(HERE, Const({"a": 0})), {"x": "a"}) is True
    assert ev(In(HERE, Const({"a": 0})), {"x": 0}) is False
    assert cannot(ev(In(HERE, Const("abc")), {"x": "a"}), "in a text; give a list or a map")
    assert cannot(ev(In(GONE, Const([]))), "gone is missing")


def test_a_list_contains_an_item_and_a_text_a_text() -> None:
    assert ev(Contains(HERE, Const(1)), {"x": [True, 1.0]}) is True
    assert ev(Contains(HERE, Const(1)), {"x": [True]}) is False
    assert ev(Contains(HERE, Const("bc")), {"x": "abc"}) is True
    assert cannot(ev(Contains(HERE, Const(1)), {"x": "1"}), "a text contains a number")
    assert cannot(ev(Contains(HERE, Const("a")), {"x": {"a": 1}}), "a map contains a text")


def test_a_regex_is_found_anywhere_in_a_text() -> None:
    assert ev(ex.matches(HERE, "b+"), {"x": "abbc"}) is True
    assert ev(ex.matches(HERE, "^b"), {"x": "ab"}) is False
    assert cannot(ev(ex.matches(HERE, "b"), {"x": 5}), "a number matches a regex")
    assert cannot(ev(ex.matches(HERE, "b"), {"x": "\ud800"}), "a text with half of a surrogate pair matches a regex")


def test_groups_bind_in_later_clauses_and_in_the_consequence() -> None:
    version = ex.matches(HERE, r"^v(?P<major>\d+)(\.(?P<minor>\d+))?$")
    late = Compare(">=", Function("int", (Name("major"),)), Const(2))
    assert decide(And((version, late)), Scope(Task("t", {"x": "v2.1"}))) == Verdict(True, {"major": "2", "minor": "1"})
    assert decide(And((version, late)), Scope(Task("t", {"x": "v2"}))) == Verdict(True, {"major": "2"})
    assert decide(And((version, late)), Scope(Task("t", {"x": "v1.0"}))).value is False
    assert decide(version, Scope(Task("t", {"x": "v2"}))).groups == {"major": "2"}
    too_early = decide(And((late, version)), Scope(Task("t", {"x": "v2"})))
    assert too_early == Verdict(CannotSay("major is missing", missing=True), {"major": "2"})


def test_groups_of_a_clause_that_need_not_be_true_bind_nothing() -> None:
    clause = ex.matches(HERE, r"(?P<n>\d)")
    scope = Scope(Task("t", {"x": "5"}))
    assert decide(Or((clause, FALSE)), scope) == Verdict(True, {})
    assert decide(Not(Not(clause)), scope) == Verdict(True, {})
    assert decide(And((Or((clause, FALSE)), Compare("==", Name("n"), Const("5")))), scope).value is not True
    nested = And((And((clause, TRUE)), Compare("==", Name("n"), Const("5"))))
    assert decide(nested, scope) == Verdict(True, {"n": "5"})


# -- arithmetic, texts ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "op", "right", "value"),
    [
        (1, "+", 2, 3),
        (1, "+", 0.5, 1.5),
        (7, "/", 2, 3.5),
        (6, "/", 2, 3.0),
        (-7, "%", 3, 2),
        ("a", "+", "b", "ab"),
        ([1], "+", ["a"], [1, "a"]),
        (2**62, "+", 2**62 - 1, 2**63 - 1),
    ],
)
def test_arithmetic_on_numbers_texts_and_lists(left: Json, op: str, right: Json, value: Json) -> None:
    assert same(ev(Arithmetic(op, Const(left), Const(right))), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "op", "right", "reason"),
    [
        (2**62, "+", 2**62, f"{2**62} + {2**62} is beyond 64 bits"),
        (1, "/", 0, "1 / 0"),
        (1.0, "%", 0, "1.0 % 0"),
        (1e308, "*", 10, "1e+308 * 10 is beyond 64 bits"),
        (10**400, "*", 1.5, None),
        (True, "+", 1, "a boolean + a number"),
        ("a", "+", 1, "a text + a number"),
        ("a", "*", 3, "a text * a number"),
        (float("nan"), "+", 1, "nan + 1 is beyond 64 bits"),
    ],
)
def test_arithmetic_that_has_no_value_cannot_be_said(left: Json, op: str, right: Json, reason: str | None) -> None:
    value = ev(Arithmetic(op, Const(left), Const(right)))  # type: ignore[arg-type]
    assert isinstance(value, CannotSay)
    assert reason is None or value.reason == reason


def test_minus_keeps_to_64_bits() -> None:
    assert ev(Negative(Const(5))) == -5
    assert same(ev(Negative(Const(0.0))), -0.0)
    assert isinstance(ev(Negative(Const(-(2**63)))), CannotSay)
    assert cannot(ev(Negative(Const("5"))), "minus a text")


def test_a_template_holds_texts_as_they_are_and_all_else_as_json() -> None:
    template = Template(("n=", HERE, " ", Const("é"), " ", Const([1, "a"]), " ", Const(None)))
    assert ev(template, {"x": 1.0}) == 'n=1.0 é [1,"a"] null'
    assert cannot(ev(Template(("a", GONE))), "gone is missing")


def test_lists_and_maps_are_built_of_values() -> None:
    assert ev(MapOf((("a", ListOf((HERE, Const(2)))),)), {"x": 1}) == {"a": [1, 2]}
    assert cannot(ev(ListOf((Const(1), GONE))), "gone is missing")


def test_references_stay_references() -> None:
    assert ev(LoadRef(("total", "a", 0))) == {"type": "load", "name": ["total", "a", 0]}
    assert cannot(ev(SecretRef("key")), "secret key has no value in a record")


def test_a_predicate_that_raises_cannot_be_said() -> None:
    def predicate(record: Task) -> bool:
        return bool(record.body["x"] > 1)

    assert ev(Opaque(predicate, "big"), {"x": 2}) is True
    assert ev(Opaque(predicate, "big"), {"x": 1}) is False
    assert cannot(ev(Opaque(predicate, "big")), "big raised KeyError: 'x'")


# -- limits -----------------------------------------------------------------------------------------


def nested(depth: int, condition: Expr) -> Expr:
    for n in range(depth):
        condition = Quantified("some", f"v{n}", Field(("xs",)), condition)
    return condition


def test_loops_in_loops_end_at_the_limit() -> None:
    body = {"xs": list(range(100))}
    assert ev(nested(2, Compare("==", Name("v0"), Const(-1))), body) is False
    endless = nested(4, Compare("==", Name("v0"), Const(-1)))
    assert ev(endless, body) == OVER_LIMIT
    assert ev(Or((endless, TRUE)), body) == OVER_LIMIT
    assert ev(Or((TRUE, endless)), body) is True
    assert decide(endless, Scope(Task("t", body))).value == OVER_LIMIT
    assert explain(endless, Scope(Task("t", body))).value == OVER_LIMIT
    assert compile_value(endless)(Scope(Task("t", body))) == OVER_LIMIT


def test_what_a_loop_looks_through_counts_as_well() -> None:
    body = {"xs": list(range(1_100)), "other": list(range(1_000)), "long": "a" * 10_000_000}
    in_other = Quantified("every", "v", Field(("xs",)), Contains(Field(("other",)), Const("no")))
    assert ev(Quantified("some", "v", Field(("xs",)), Contains(Field(("other",)), Const("no"))), body) == OVER_LIMIT
    assert ev(in_other, body) is False, "the first item decides it"
    assert ev(Quantified("some", "v", Field(("xs",)), Contains(Field(("long",)), Const("b"))), body) == OVER_LIMIT
    counted = Quantified("some", "v", Field(("xs",)), Compare(">", Function("len", (Field(("other",)),)), Const(9_999)))
    assert ev(counted, body) is False, "to count items is to look through none"


def test_outside_of_loops_there_is_no_limit() -> None:
    many = list(range(1_500_000))
    assert ev(In(Const(-1), HERE), {"x": many}) is False


# -- explanations ------------------------------------------------------------------------------------


def told(explanation: Explanation) -> Json:
    """What a node comes to by what its children came to, written a second time and otherwise."""
    values = [child.value for child in explanation.children]
    match explanation.expr:
        case And():
            return False if False in _said(values) else _unsaid(values, otherwise=True)
        case Or():
            return True if True in _said(values) else _unsaid(values, otherwise=False)
        case Not():
            return _unsaid(values, otherwise=values[0] is False)
        case Quantified(kind):
            items, *conditions = values
            if not isinstance(items, list):
                return CannotSay("")
            decisive = kind == "some"
            return decisive if decisive in _said(conditions) else _unsaid(conditions, otherwise=not decisive)
        case IsMissing():
            return isinstance(values[0], CannotSay) and values[0].missing
        case Compare(op) if op in ("==", "!="):
            unsaid = [value for value in values if isinstance(value, CannotSay)]
            return unsaid[0] if unsaid else equal(values[0], values[1]) is (op == "==")
    return explanation.value


def _said(values: list[Json]) -> list[bool]:
    return [value for value in values if value is True or value is False]


def _unsaid(values: list[Json], *, otherwise: bool) -> Json:
    return otherwise if len(_said(values)) == len(values) else CannotSay("")


def check_tree(explanation: Explanation) -> None:
    expected = told(explanation)
    if isinstance(expected, CannotSay):
        assert isinstance(explanation.value, CannotSay), explanation
    else:
        assert same(explanation.value, expected), explanation
    for child in explanation.children:
        check_tree(child)


@given(ex.expressions, ex.records, ex.variables)
@settings(max_examples=400)
def test_an_explanation_adds_up_to_the_decision(expr: Expr, record: Task, variables: dict[str, Json] | None) -> None:
    scope = Scope(record, {"r": record}, variables)
    explanation = explain(expr, scope)
    assert same(explanation.value, evaluate(expr, scope))
    check_tree(explanation)
    verdict = decide(expr, scope)
    assert (verdict.value is True) is (explanation.value is True)
    unmet = explanation.first_unmet
    assert (unmet is None) is (explanation.value is True)
    assert unmet is None or unmet.value is not True


@given(ex.expressions, ex.records, ex.variables)
@settings(max_examples=400)
def test_what_is_compiled_gives_what_is_evaluated(expr: Expr, record: Task, variables: dict[str, Json] | None) -> None:
    scope = Scope(record, {"r": record, "n": "a", "v": [1]}, variables)
    run = compile_value(expr)
    assert same(run(scope), evaluate(expr, scope))
    assert same(run(scope), run(scope))


@given(ex.close_clauses, st.lists(ex.close_records, min_size=1, max_size=4))
@settings(max_examples=300)
def test_compiled_clauses_over_values_that_are_there(expr: Expr, records: list[Task]) -> None:
    run = compile_value(expr)
    for record in records:
        assert same(run(Scope(record)), evaluate(expr, Scope(record)))
        check_tree(explain(expr, Scope(record)))


def test_an_explanation_names_the_values_of_that_moment() -> None:
    clause = And((Compare(">", HERE, Const(0)), Compare("<=", HERE, FlowVariable(("max",))), IsMissing(GONE)))
    explanation = explain(clause, Scope(Task("t", {"x": 250}), {}, {"max": 100}))
    assert explanation.value is False
    assert [child.value for child in explanation.children] == [True, False, True]
    unmet = explanation.first_unmet
    assert unmet is not None
    assert unmet.expr == clause.parts[1]
    assert unmet.reason == "x = 250, flow.max = 100"
    unsaid = explain(clause, Scope(Task("t", {"x": 250}))).first_unmet
    assert unsaid is not None
    assert unsaid.reason == "flow.max is missing"
    long = explain(Compare("==", HERE, Const(1)), Scope(Task("t", {"x": "a" * 100})))
    assert long.reason == f'x = "{"a" * 56}...'


def test_clauses_that_no_longer_matter_are_explained_all_the_same() -> None:
    explanation = explain(Or((TRUE, Compare("==", HERE, Const(1)))), Scope(Task("t", {"x": 2})))
    assert explanation.value is True
    assert [child.value for child in explanation.children] == [True, False]


def test_of_a_loop_the_item_that_decides_is_shown() -> None:
    scope = Scope(Task("t", {"xs": [*range(500), "a", 7]}))
    found = explain(Quantified("some", "v", Field(("xs",)), Compare("==", Name("v"), Const("a"))), scope)
    assert [child.value for child in found.children[1:]] == [True]
    unsaid = explain(Quantified("every", "v", Field(("xs",)), Compare("<", Name("v"), Const(500))), scope)
    assert [child.reason for child in unsaid.children[1:]] == ["a text < a number"]
    missed = explain(Quantified("some", "v", Field(("xs",)), Compare("==", Name("v"), Const(None))), scope)
    assert [child.value for child in missed.children[1:]] == [False] * SHOWN_ITEMS
