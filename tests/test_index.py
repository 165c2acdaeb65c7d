"""The index against the plain filter, rule by rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import expressions as ex
from tests.expressions import matches
from then.core.filters import And, Compare, Const, Contains, Expr, Field, FlowVariable, In, Opaque, Or
from then.core.index import FilterIndex, match_plainly
from then.core.plans import STRANGERS_MAX
from then.core.rules import Consequence, Match, Pattern, Rule, Single, Unmatched, outcome_words
from then.core.tasks import Json, Task


def said(fired: Sequence[Match]) -> list[tuple[str, dict[str, object]]]:
    return [(match.rule.name, match.bindings) for match in fired]


def agree(rules: list[Rule], records: list[Task], variables: Mapping[str, Json] | None) -> None:
    index = FilterIndex(rules)
    for record in [*records, *records]:
        agree_on(index, rules, record, variables)


def agree_on(index: FilterIndex, rules: list[Rule], record: Task, variables: Mapping[str, Json] | None) -> None:
    singles, unmatched = match_plainly(rules, record, variables), match_plainly(rules, record, variables, Unmatched)
    assert said(index.match(record, variables)) == said(singles)
    assert said(index.match_unmatched(record, variables)) == said(unmatched)
    found = [rule.name for rule in index.find(record)]
    assert [rule.rule.name for rule in singles if rule.rule.name not in found] == []
    if singles or unmatched:
        assert any(index.wants(record.type, word) for word in outcome_words(record))


@given(ex.rule_lists(), st.lists(ex.records, min_size=1, max_size=4), ex.variables)
@settings(max_examples=300)
def test_the_index_gives_what_the_plain_filter_gives(
    rules: list[Rule], records: list[Task], variables: Mapping[str, Json] | None
) -> None:
    agree(rules, records, variables)


@given(ex.close_rules, st.lists(ex.close_records, min_size=4, max_size=8))
@settings(max_examples=500)
def test_rules_that_crowd_around_the_same_values_are_told_apart(rules: list[Rule], records: list[Task]) -> None:
    agree(rules, records, None)


# -- many rules, so that tables are large and crowded --------------------------------------


def rule(number: int, where: Expr | None, *, final: bool = False, **pattern: Any) -> Rule:
    family, words = pattern.get("family", "t"), pattern.get("words", {"done"})
    return Rule(f"rule{number}", Single(Pattern(family, frozenset(words), where)), Consequence(()), final=final)


def place(name: str) -> Field:
    return Field((name,))


def equals(name: str, value: Json) -> Compare:
    return Compare("==", place(name), Const(value))


def wide_stretches(chance: random.Random) -> Expr:
    low = chance.randrange(100)
    return And(
        (
            Compare(chance.choice([">", ">="]), place("a"), Const(low)),
            Compare(chance.choice(["<", "<="]), place("a"), Const(low + chance.choice([0, 1, 5, 50, 100]))),
        )
    )


def one_sided(chance: random.Random) -> Expr:
    op: Any = chance.choice(["<", "<=", ">", ">="])
    return Compare(op, place("a"), Const(chance.choice([chance.randrange(100), chance.random() * 100])))


def texts_in_order(chance: random.Random) -> Expr:
    low, high = sorted(chance.choices("abcdefgh", k=2))
    return And((Compare(">=", place("b"), Const(low)), Compare("<", place("b"), Const(high))))


def long_prefixes(chance: random.Random) -> Expr:
    literal = "abcdefghijklmnopqrst"[: chance.randrange(1, 20)]
    return matches(place("b"), f"^{literal}{chance.choice(['', '', '[a-z]', '$'])}")


def loose_regexes(chance: random.Random) -> Expr:
    return matches(place("b"), f"{chance.choice('abcdefgh')}.?{chance.choice('abcdefgh')}")


def crowds(chance: random.Random) -> Expr:
    fields = [("c", chance.randrange(2, 6)), ("d", chance.choice(["x", "y", "z"])), ("e", chance.choice([True, 1, 2]))]
    return And(tuple(equals(*field) for field in chance.sample(fields, chance.choice([2, 3]))))


def memberships(chance: random.Random) -> Expr:
    return In(place("c"), Const(chance.choices([0, 1, True, False, None, 2, 3, "x"], k=3)))


def items(chance: random.Random) -> Expr:
    return Contains(place("tags"), Const(chance.choice([0, 1, True, "a", "ab", "b", None])))


def choices(chance: random.Random) -> Expr:
    return Or(tuple(chance.choice(SHAPES[:-1])(chance) for _ in range(2)))


SHAPES: list[Callable[[random.Random], Expr]] = [
    wide_stretches, one_sided, texts_in_order, long_prefixes, loose_regexes, crowds, memberships, items, choices,
]  # fmt: skip


def drawn_record(chance: random.Random) -> Task:
    body: dict[str, Json] = {
        "a": chance.choice([chance.randrange(-1, 202), chance.random() * 100, True, "a", None]),
        "b": chance.choice(["abcdefghijklmnopqrst"[: chance.randrange(20)], "abé", "ab\ud800", "ha", chance.choice("abcdefgh")]),
        "c": chance.choice([0, 1, True, False, None, 2, 3, 4, 5, "x", [2]]),
        "d": chance.choice(["x", "y", "z", {}]),
        "e": chance.choice([True, 1, 2, [1]]),
        "tags": chance.choice([[], ["a", "a", True], [1, [1]], "abc", 5, ["ab", None, "b"]]),
    }  # fmt: skip
    for name in chance.sample(sorted(body), chance.choice([0, 0, 1])):
        del body[name]
    return Task("t", body, outcome="done")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.__name__))
def test_among_many_rules_none_is_lost_and_none_found_twice(shape: Callable[[random.Random], Expr]) -> None:
    chance = random.Random(shape.__name__)
    rules = [rule(number, shape(chance), final=chance.random() < 0.002) for number in range(400)]
    index = FilterIndex(rules)
    matched = 0
    for _ in range(60):
        record = drawn_record(chance)
        agree_on(index, rules, record, None)
        matched += len(index.match(record))
    assert matched > 30, "rules and records meet"


# -- cases one by one ------------------------------------------------------------------------


def names(fired: Sequence[Match]) -> list[str]:
    return [match.rule.name for match in fired]


def test_a_final_rule_that_fires_ends_the_search() -> None:
    rules = [rule(0, equals("x", "a")), rule(1, equals("x", "a"), final=True), rule(2, equals("x", "a"))]
    assert names(FilterIndex(rules).match(Task("t", {"x": "a"}, outcome="done"))) == ["rule0", "rule1"]
    tested = And((equals("x", "a"), Compare("!=", place("y"), Const(1))))
    rules = [rule(0, tested, final=True), rule(1, None)]
    assert names(FilterIndex(rules).match(Task("t", {"x": "a", "y": 1}, outcome="done"))) == ["rule1"]
    assert names(FilterIndex(rules).match(Task("t", {"x": "a", "y": 2}, outcome="done"))) == ["rule0"]


def test_rules_of_a_type_a_family_and_every_type_fire_in_their_order() -> None:
    rules = [
        rule(0, None, family="*"),
        rule(1, equals("x", 5), family="deploy.web"),
        rule(2, None, family="deploy.*", final=True),
        rule(3, None, family="*"),
    ]
    index = FilterIndex(rules)
    assert names(index.match(Task("deploy.web", {"x": 5}, outcome="done"))) == ["rule0", "rule1", "rule2"]
    assert names(index.match(Task("deploy.db.eu", {"x": 5}, outcome="done"))) == ["rule0", "rule2"]
    assert names(index.match(Task("deploy", {}, outcome="done"))) == ["rule0", "rule3"]
    assert names(index.match(Task("deployment.x", {}, outcome="done"))) == ["rule0", "rule3"]


def test_how_a_record_ended_says_which_rules_see_it() -> None:
    words = [{"done"}, {"event"}, {"failed", "timed_out"}, {"retried"}, {"cancelled"}]
    index = FilterIndex([rule(number, None, words=word) for number, word in enumerate(words)])
    assert names(index.match(Task("t", outcome="done"))) == ["rule0"]
    assert names(index.match(Task("t", outcome="done", event=True))) == ["rule0", "rule1"]
    assert names(index.match(Task("t"))) == ["rule1"]
    assert names(index.match(Task("t", outcome="timed_out"))) == ["rule2"]
    assert names(index.match(Task("t", outcome="failed", settled=False))) == ["rule3"]
    assert names(index.match(Task("t", outcome="cancelled"))) == ["rule4"]


def test_wants_says_whether_anybody_listens() -> None:
    index = FilterIndex(
        [
            rule(0, equals("x", 1), family="a"),
            rule(1, None, family="deploy.*", words={"failed"}),
            Rule("strays", Unmatched(Pattern("*", frozenset({"cancelled"}))), Consequence(())),
        ]
    )
    assert index.wants("a", "done")
    assert not index.wants("a", "failed")
    assert not index.wants("b", "done")
    assert index.wants("deploy.x", "failed")
    assert not index.wants("deploy", "failed")
    assert index.wants("anything", "cancelled")
    assert not FilterIndex([]).wants("a", "done")


def test_unmatched_rules_are_asked_apart() -> None:
    strays = Rule("strays", Unmatched(Pattern("t", frozenset({"failed"}), equals("x", "a"))), Consequence(()))
    index = FilterIndex([rule(0, None, words={"done"}), strays])
    failed = Task("t", {"x": "a"}, outcome="failed")
    assert index.match(failed) == ()
    assert names(index.match_unmatched(failed)) == ["strays"]
    assert index.match_unmatched(Task("t", {"x": "a"}, outcome="done")) == ()


def test_a_result_field_hides_an_input_of_its_name() -> None:
    index = FilterIndex([rule(0, equals("x", "a")), rule(1, equals("x", "b"))])
    assert names(index.match(Task("t", {"x": "a"}, outcome="done", result={"x": "b"}))) == ["rule1"]
    assert names(index.match(Task("t", {"x": "a"}, outcome="done", result={"x": None}))) == []
    assert names(index.match(Task("t", {"x": "a"}, outcome="done", result={"y": 1}))) == ["rule0"]


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, ("a",), {1, 2}, float("nan"), 10**30, object(), b"a", None, True, "\ud800"]
)
def test_values_that_are_no_keys_and_no_json_are_told_as_the_plain_filter_tells_them(value: Any) -> None:
    asks = [equals("x", "a"), equals("x", 1), one_sided(random.Random(1)), items(random.Random(1))]
    shapes: list[list[Expr]] = [
        [equals("x", "a")],
        [equals("x", 10**30), equals("x", True)],
        [*asks, matches(place("x"), "^a")],
    ]
    for shape in shapes:
        rules = [rule(number, where) for number, where in enumerate(shape)]
        for body in ({"x": value}, {"a": value}, {"tags": value}, {"x": "a", "a": value}):
            agree(rules, [Task("t", body, outcome="done"), Task("t", {}, outcome="done", result=body)], None)


def test_a_body_that_is_none_is_taken_for_an_empty_one() -> None:
    nothing: Any = None
    shapes: list[list[Expr]] = [[equals("x", "a")], [equals("x", "a"), one_sided(random.Random(1))]]
    for shape in shapes:
        rules = [rule(number, where) for number, where in enumerate(shape)]
        agree(rules, [Task("t", nothing, outcome="done"), Task("t", {"x": "a"}, outcome="done", result=5)], None)  # type: ignore[arg-type]


def test_a_list_in_a_field_that_is_looked_up_costs_no_scan_of_the_rules() -> None:
    asked: list[Task] = []

    def is_seen(record: Task) -> bool:
        asked.append(record)
        return True

    seen = Opaque(is_seen, "seen")
    rules = [rule(number, And((equals("x", f"v{number}"), seen))) for number in range(50)]
    rules += [rule(100 + number, equals("x", f"v{number}"), family="s") for number in range(50)]
    index = FilterIndex(rules)
    for kind in ("t", "s"):
        assert index.match(Task(kind, {"x": ["v1"]}, outcome="done")) == ()
    assert asked == [], "no rule was looked at"


def test_flow_variables_are_read_in_clauses() -> None:
    index = FilterIndex([rule(0, Compare("==", place("x"), FlowVariable(("tag",))))])
    record = Task("t", {"x": "v1"}, outcome="done")
    assert names(index.match(record, {"tag": "v1"})) == ["rule0"]
    assert names(index.match(record, {"tag": "v2"})) == []
    assert names(index.match(record)) == []
    assert [found.name for found in index.find(record)] == ["rule0"]


def test_each_record_has_a_match_of_its_own() -> None:
    pattern = Pattern("t", frozenset({"done"}), matches(place("x"), "^v(?P<n>[0-9])"), "r")
    index = FilterIndex([Rule("version", Single(pattern), Consequence(()))])
    one, other = (Task("t", {"x": text}, outcome="done") for text in ("v1", "v2"))
    first, second = index.match(one)[0], index.match(other)[0]
    assert first is not second
    assert (first.record, first.parts, first.bindings) == (one, (one,), {"r": one, "n": "1"})
    assert second.bindings == {"r": other, "n": "2"}
    first.bindings["n"] = "9"
    assert first.bindings["n"] == "1"


def test_types_that_no_rule_names_take_no_room_without_end() -> None:
    index = FilterIndex([rule(0, equals("x", "a"), family="*")])
    for number in range(STRANGERS_MAX + 50):
        assert len(index.match(Task(f"t{number}", {"x": "a"}, outcome="done"))) == 1
    assert sum(map(len, index._singles.by_ending.values())) == STRANGERS_MAX
