"""Expressions, records and rules, drawn by Hypothesis from few names and values, so that they often meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
    Matches,
    Name,
    Negative,
    Not,
    Opaque,
    Or,
    Quantified,
    SecretRef,
    Template,
)
from then.core.rules import Consequence, Pattern, Rule, Single, Unmatched
from then.core.tasks import Task

BIG = 2**53
"""From here on a float has no room for each integer."""

numbers = st.sampled_from([0, 1, -1, 2, 3, 0.5, 1.0, 2.0, BIG, BIG + 1, float(BIG), 2**63 - 1, -(2**63), 1e300])
texts = st.sampled_from(["", "a", "ab", "abc", "abd", "b", "é", "v1", "v12", "A", "1"])
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abx"), inner, max_size=2)),
    max_leaves=4,
)
names = st.sampled_from(["a", "b", "c", "took", "type"])
patterns = st.sampled_from(
    [
        "^a",
        "^ab",
        "^abc$",
        "b",
        "^v(?P<n>[0-9])(?P<rest>[0-9]+)?$",
        "^$",
        "^a|b",
        "^ab*",
        "^[ab]",
        "^ab[cx]",
        "^a[b]+$",
        "(?P<n>a)",
        "^abd?",
    ]
)


def matches(text: Expr, pattern: str) -> Expr:
    from then.core.regex import check_pattern

    return Matches(text, pattern, check_pattern(pattern))


def fields(alias: str | None = "r") -> st.SearchStrategy[Expr]:
    path = st.one_of(
        st.tuples(names),
        st.tuples(names, st.sampled_from(["a", "x", 0, 1])),
    )
    return st.one_of(
        st.builds(Field, st.tuples(names)),
        st.builds(Field, path, st.sampled_from(["any", "body", "result"]), st.sampled_from([None, alias, "other"])),
        st.builds(Field, st.sampled_from([("attempt",), ("outcome",), ("error", "kind"), ("id",)]), st.just("own")),
    )


places = st.one_of(
    fields(),
    fields(),
    st.builds(FlowVariable, st.sampled_from([("a",), ("b", "x"), ("gone",)])),
    st.builds(Name, st.sampled_from(["n", "rest", "r", "v"]), st.sampled_from([(), ("a",)])),
)


def _binary(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Arithmetic, st.sampled_from(["+", "-", "*", "/", "%"]), inner, inner),
        st.builds(Negative, inner),
        st.builds(lambda items: Coalesce(tuple(items)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda items: ListOf(tuple(items)), st.lists(inner, max_size=2)),
        st.builds(lambda item: MapOf((("a", item),)), inner),
        st.builds(lambda item: Template(("<", item, ">")), inner),
        st.builds(
            lambda name, item: Function(name, (item,)),
            st.sampled_from(
                ["int", "float", "str", "len", "lower", "trim", "abs", "round", "min", "max", "json", "keys"]
            ),
            inner,
        ),
        st.builds(lambda a, b: Function("split", (a, b)), inner, inner),
    )


operands = st.recursive(
    st.one_of(places, places, st.builds(Const, values), st.just(SecretRef("s")), st.just(LoadRef(("x",)))),
    _binary,
    max_leaves=3,
)


plain_clauses = st.one_of(
    st.builds(lambda place, value: Compare("==", place, Const(value)), fields(), scalars),
    st.builds(lambda place, value: Compare("==", place, Const(value)), fields(), texts),
    st.builds(lambda place, value: Compare("==", Const(value), place), fields(), scalars),
    st.builds(lambda op, a, b: Compare(op, a, Const(b)), st.sampled_from(["!=", "<", "<=", ">", ">="]), fields(), scalars),
    st.builds(lambda op, a, b: Compare(op, Const(b), a), st.sampled_from(["!=", "<", "<=", ">", ">="]), fields(), scalars),
    st.builds(
        lambda place, ends, opens: And(
            (Compare(">" if opens[0] else ">=", place, Const(min(ends))), Compare("<" if opens[1] else "<=", place, Const(max(ends))))
        ),
        fields(),
        st.one_of(st.tuples(numbers, numbers), st.tuples(texts, texts)),
        st.tuples(st.booleans(), st.booleans()),
    ),
    st.builds(In, fields(), st.builds(Const, st.lists(scalars, max_size=3))),
    st.builds(In, fields(), st.builds(Const, st.one_of(values, st.dictionaries(texts, scalars, max_size=2)))),
    st.builds(Contains, fields(), st.builds(Const, scalars)),
    st.builds(matches, fields(), patterns),
    st.builds(IsNull, fields()),
    st.builds(IsMissing, fields()),
    fields(),
)  # fmt: skip
odd_clauses = st.one_of(
    st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), operands, operands),
    st.builds(In, operands, operands),
    st.builds(Contains, operands, operands),
    st.builds(matches, operands, patterns),
    st.builds(IsNull, operands),
    st.builds(IsMissing, operands),
    operands,
    st.just(Opaque(lambda record: record.body["a"] > 0, "positive")),
)


def _connected(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Not, inner),
        st.builds(lambda parts: And(tuple(parts)), st.lists(inner, max_size=3)),
        st.builds(lambda parts: Or(tuple(parts)), st.lists(inner, max_size=3)),
        st.builds(Quantified, st.sampled_from(["some", "every"]), st.just("v"), places, inner),
    )


clauses = st.recursive(st.one_of(plain_clauses, plain_clauses, odd_clauses), _connected, max_leaves=4)
expressions = st.one_of(clauses, operands)

bodies = st.dictionaries(names, values, max_size=4)
types = st.sampled_from(["t", "u.v", "u.w.x", "z"])
endings = st.sampled_from(["done", "done", "failed", "cancelled", "timed_out", "retried", "event", "bare"])


def record(type: str, ending: str, body: Any, result: Any = None, **fields: Any) -> Task:
    outcome: Any = {"retried": "failed", "event": "done", "bare": None}.get(ending, ending)
    return Task(
        type, body, outcome=outcome, result=result, event=ending == "event", settled=ending != "retried",
        started=1_000_000, **fields,
    )  # fmt: skip


records = st.builds(
    record,
    types,
    endings,
    bodies,
    st.one_of(st.none(), bodies),
    id=st.sampled_from(["", "a"]),
    error=st.sampled_from([None, {"kind": "a"}, {}]),
    attempt=st.sampled_from([1, 2]),
    completed=st.sampled_from([1_000_000, 1_500_000, 2_000_000]),
)
variables = st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), values, max_size=2))
families = st.sampled_from(["t", "t", "u.v", "u.*", "*", "y"])
words = st.sampled_from(
    [{"done"}, {"done"}, {"failed", "timed_out"}, {"event"}, {"retried"}, {"done", "failed", "cancelled", "timed_out"}]
)


@st.composite
def rule_lists(draw: st.DrawFn, where: st.SearchStrategy[Expr] = clauses, size_max: int = 8) -> list[Rule]:
    """Rules over several types and families, of both kinds of trigger."""
    rules = []
    for number in range(draw(st.integers(0, size_max))):
        where_drawn = draw(st.one_of(where, where, where, st.none()))
        pattern = Pattern(draw(families), frozenset(draw(words)), where_drawn, draw(st.sampled_from([None, "r"])))
        trigger = Unmatched(pattern) if draw(st.integers(0, 3)) == 0 else Single(pattern)
        rules.append(Rule(f"rule{number}", trigger, Consequence(()), final=draw(st.integers(0, 5)) == 0))
    return rules


# -- close together: one type, one or two fields, few values, so that most clauses meet one that is there

close_scalars = st.sampled_from([None, True, False, 0, 1, 1.0, 2, 3, 4, BIG, BIG + 1, float(BIG)])
close_texts = st.sampled_from(["", "a", "ab", "abc", "abd", "b", "ba"])
close_values = st.one_of(close_scalars, close_texts, close_texts)
close_places = st.builds(Field, st.sampled_from([("a",), ("a",), ("a",), ("a",), ("a",), ("b",), ("c", "x")]))
_orders = st.sampled_from(["<", "<=", ">", ">="])


def _stretch(place: Expr, ends: list[Any], low: str, high: str) -> Expr:
    return And((Compare(low, place, Const(ends[0])), Compare(high, place, Const(ends[1]))))  # type: ignore[arg-type]


_close_ones = st.one_of(
    st.builds(lambda place, value: Compare("==", place, Const(value)), close_places, close_values),
    st.builds(lambda place, value: Compare("==", place, Const(value)), close_places, close_texts),
    st.builds(lambda place, value: Compare("!=", place, Const(value)), close_places, close_values),
    st.builds(lambda op, place, value: Compare(op, place, Const(value)), _orders, close_places, close_values),
    st.builds(lambda op, place, value: Compare(op, Const(value), place), _orders, close_places, close_values),
    st.builds(
        _stretch,
        close_places,
        st.one_of(
            st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), st.tuples(close_texts, close_texts).map(sorted)
        ),
        st.sampled_from([">", ">="]),
        st.sampled_from(["<", "<="]),
    ),
    st.builds(In, close_places, st.builds(Const, st.lists(close_values, max_size=4))),
    st.builds(Contains, close_places, st.builds(Const, close_values)),
    st.builds(matches, close_places, patterns),
    st.builds(IsNull, close_places),
    st.builds(IsMissing, close_places),
    close_places,
)
close_clauses = st.recursive(
    _close_ones,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda parts: And(tuple(parts)), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: Or(tuple(parts)), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=3,
)
close_bodies = st.fixed_dictionaries(
    {"a": st.one_of(close_values, close_texts, st.sampled_from([1, 2, 3, 2.5]), st.lists(close_values, max_size=3))},
    optional={"b": close_values, "c": st.fixed_dictionaries({}, optional={"x": close_values})},
)
close_records = st.builds(record, st.just("t"), st.just("done"), close_bodies)
close_rules = st.lists(st.tuples(close_clauses, st.integers(0, 19)), min_size=1, max_size=12).map(
    lambda drawn: [
        Rule(f"rule{number}", Single(Pattern("t", frozenset(("done",)), where)), Consequence(()), final=chance < 3)
        for number, (where, chance) in enumerate(drawn)
    ]
)
