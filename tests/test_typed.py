"""Values of declared types: bodies, results, texts of a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.core.errors import BodyRefused
from then.core.filters import Const
from then.core.rules import EventDecl, FieldDecl, RecordDecl, RuleSet, TaskDecl, TypeRef
from then.core.tasks import Json
from then.core.typed import Types


def ref(text: str) -> TypeRef:
    """`list[map[int]]?` as a type."""
    optional = text.endswith("?")
    text = text.removesuffix("?")
    name, bracket, rest = text.partition("[")
    return TypeRef(name, (ref(rest[:-1]),) if bracket else (), optional)


def fields(**types: str) -> tuple[FieldDecl, ...]:
    return tuple(FieldDecl(name, ref(text)) for name, text in types.items())


RULES = RuleSet(
    tasks={
        "pay": TaskDecl(
            "pay",
            (*fields(order="int", amount="float", note="str?"), FieldDecl("times", TypeRef("int"), Const(3))),
            fields(receipt="str", code="int?"),
        ),
        "free": TaskDecl("free"),
    },
    events={"order": EventDecl("order", fields(items="list[item]", ok="bool?"))},
    records={
        "item": RecordDecl("item", fields(sku="str", size="map[int]?")),
        "node": RecordDecl("node", fields(children="list[node]")),
    },
)

GOOD: dict[str, list[Json]] = {
    "int": [0, -5, 2**63 - 1],
    "float": [1, 1.5],
    "str": ["", "é"],
    "bool": [True, False],
    "file": ["a/b"],
    "task": ["pay"],
    "any": [None, 1, "x", [], {}],
    "list[int]": [[], [1, 2]],
    "list[str?]": [[None, "x"]],
    "map": [{}, {"a": None}],
    "map[int]": [{}, {"a": 1}],
    "item": [{"sku": "a"}, {"sku": "a", "size": {"w": 1}}, {"sku": "a", "size": None, "more": 1}],
    "node": [{"children": [{"children": []}]}],
    "int?": [None, 1],
}
BAD: dict[str, list[Json]] = {
    "int": [1.0, True, "1", None, [], {}],
    "float": ["1", True, None],
    "str": [1, None, ["x"]],
    "bool": [0, 1, "true", None],
    "file": [1],
    "list[int]": [None, {}, "x", [1.5], ["a"], [None]],
    "map[int]": [[], {"a": "x"}],
    "item": [{}, {"sku": 1}, [], "x", {"sku": "a", "size": {"w": "x"}}],
    "node": [{"children": [{}]}],
    "int?": ["x", 1.5],
}


@pytest.mark.parametrize("text", GOOD)
def test_values_of_a_type_are_taken(text: str) -> None:
    assert [value for value in GOOD[text] if Types(RULES).check(ref(text))(value)] == []


@pytest.mark.parametrize("text", BAD)
def test_values_of_other_types_are_not(text: str) -> None:
    assert [value for value in BAD[text] if not Types(RULES).check(ref(text))(value)] == []


def test_a_body_gets_its_defaults_and_keeps_what_is_not_declared() -> None:
    types = Types(RULES)
    given = {"order": 1, "amount": 2, "more": True}
    assert types.body("pay", given) == {"order": 1, "amount": 2, "more": True, "times": 3}
    assert given == {"order": 1, "amount": 2, "more": True}
    whole = {"order": 1, "amount": 2, "times": 1}
    assert types.body("pay", whole) is whole


def test_a_body_of_no_declared_type_is_taken_as_it_is() -> None:
    types = Types(RULES)
    for name in ("free", "unknown"):
        assert types.body(name, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("type", "body", "said"),
    [
        ("pay", {"amount": 1}, "pay: order: missing, int is declared"),
        ("pay", {"oder": 1, "amount": 1}, 'pay: order: missing, int is declared (is it given as "oder"?)'),
        ("pay", {"order": "x", "amount": 1}, 'pay: order: the text "x", int is declared'),
        ("pay", {"order": 1, "amount": 1, "note": 3}, "pay: note: the number 3, str? is declared"),
        ("order", {"items": [{"sku": "a"}, {"sku": None}]}, "order: items[1].sku: null, str is declared"),
        ("order", {"items": [{"sku": "a", "size": {"w": []}}]}, "order: items[0].size.w: a list, int is declared"),
        ("order", {"items": [3]}, "order: items[0]: the number 3, item is declared"),
        ("order", {"items": "x" * 100}, f'order: items: the text "{"x" * 37}...", list[item] is declared'),
    ],
)
def test_a_body_that_is_not_as_declared_is_refused_with_the_path(type: str, body: dict[str, Json], said: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        Types(RULES).body(type, body)
    assert str(caught.value) == said


def test_a_result_is_looked_at_like_a_body() -> None:
    types = Types(RULES)
    assert types.result("pay", {"receipt": "x", "other": 1}) is None
    assert types.result("pay", {"receipt": 1}) == "receipt: the number 1, str is declared"
    assert types.result("pay", None) == "receipt: missing, str is declared"
    assert types.result("free", None) is None
    assert types.result("unknown", {"a": 1}) is None


@pytest.mark.parametrize(
    ("type", "name", "text", "value"),
    [
        ("pay", "order", "7", 7),
        ("pay", "amount", "7", 7),
        ("pay", "note", "7", "7"),
        ("pay", "note", "null", "null"),
        ("order", "ok", "true", True),
        ("order", "items", '[{"sku": "a"}]', [{"sku": "a"}]),
        ("free", "x", "7", 7),
        ("free", "x", "seven", "seven"),
        ("free", "x", "NaN", "NaN"),
        ("unknown", "x", '{"a": [1]}', {"a": [1]}),
        ("unknown", "x", "[" * 100_000, "[" * 100_000),
        ("pay", "undeclared", "1", 1),
    ],
)
def test_texts_of_a_command_line_are_read_by_the_declared_type(type: str, name: str, text: str, value: Json) -> None:
    types = Types(RULES)
    assert types.read(type, name, text, types.inputs(type)) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("order", "seven", 'pay: order: the text "seven", int is declared'),
        ("order", "1.5", "pay: order: the number 1.5, int is declared"),
    ],
)
def test_texts_that_are_no_value_of_the_type_are_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        Types(RULES).read("pay", name, text, Types(RULES).inputs("pay"))
    assert str(caught.value).startswith(said)


def test_names_that_are_not_declared_are_told_with_what_was_meant() -> None:
    assert Types(RULES).unknown("pay", ["order", "amuont", "x"]) == ('"amuont" (did you mean "amount"?)', '"x"')
    assert Types(RULES).unknown("free", ["x"]) == ()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([*GOOD]))
def test_an_optional_type_takes_null_and_what_the_type_takes(value: Json, text: str) -> None:
    types = Types(RULES)
    bare = TypeRef(ref(text).name, ref(text).args)
    optional = TypeRef(bare.name, bare.args, optional=True)
    assert (types.check(optional)(value) is None) == (value is None or types.check(bare)(value) is None)


@given(st.lists(JSON, max_size=4), st.sampled_from([*GOOD]))
def test_a_list_is_of_the_type_where_all_its_items_are(items: list[Json], text: str) -> None:
    types = Types(RULES)
    item = types.check(ref(text))
    whole = types.check(TypeRef("list", (ref(text),)))
    assert (whole(items) is None) == all(item(value) is None for value in items)
