"""Rules back to text: what is printed and read again is the same."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.core.errors import RulesRefused
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
    MapOf,
    Matches,
    Name,
    Negative,
    Not,
    Or,
    Quantified,
    Template,
)
from then.core.rules import (
    Consequence,
    Emit,
    EndFlow,
    EventDecl,
    FieldDecl,
    Pattern,
    Rule,
    RuleSet,
    Single,
    TaskDecl,
    TypeRef,
    Unmatched,
)
from then.language.findings import Findings
from then.language.format import format_text
from then.language.loading import load_text
from then.language.parser import parse_expression
from then.language.phrases import Phrases, Unprintable
from then.language.printer import print_rule, print_rules
from then.language.resolve import Resolver
from then.language.scope import ANY_TYPE, Scope, Shape
from then.language.units import Unit

ROOT = Path(__file__).parent.parent
RULES = sorted(ROOT.glob("rules/**/*.then"))
CHUNKS = [
    pytest.param(chunk, id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "tests/language").glob("check_*.then"))
    for number, chunk in enumerate(path.read_text().split("\n---\n"), 1)
]


def assert_same(first: RuleSet, second: RuleSet) -> None:
    assert second.rules == first.rules
    assert second.records == first.records
    assert second.events == first.events
    assert second.tasks == first.tasks
    assert second.starts == first.starts
    assert second.procedures == first.procedures
    assert second.endings == first.endings
    assert second.secrets == first.secrets
    assert second.timers == first.timers


# -- rule sets -----------------------------------------------------------------


@pytest.mark.parametrize("text", CHUNKS)
def test_printed_rules_are_read_as_the_same_rules(text: str) -> None:
    try:
        rules = load_text(text, env={"SOME": "thing"}).rules
    except RulesRefused:
        return
    printed = print_rules(rules)
    assert_same(rules, load_text(printed).rules)
    assert format_text(printed, "printed.then") == printed


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.parent.name)
def test_the_examples_are_printed_and_read_as_the_same_rules(path: Path) -> None:
    rules = load_text(path.read_text(), path.name, root=path.parent).rules
    assert_same(rules, load_text(print_rules(rules), path.name, root=path.parent).rules)


def test_a_rule_is_printed_in_the_one_layout() -> None:
    rules = load_text(
        """
        let limit = 100
        event order(id: int, total: float, type: str)
        task pay(order: int) -> (receipt: str)
        event told(text: str, of: map)
        final rule big when order as o where total > limit and type == "x" and record.type != "y"
        then pay(order: o.id) as p then told(text: "{o.id}: {{{p.receipt}}}", of: {"a b": [1, -2.5], c: null}) if has o.total
        otherwise end flow failed "no \\"total\\"\\n" else told(text: r'{x}', of: o.body)
        """
    ).rules
    assert print_rule(rules.rules[0], rules) == (
        "final rule big\n"
        '  when order as o where total > limit and type == "x" and record.type != "y"\n'
        "  then pay(order: o.id) as p\n"
        '  then told(text: "{o.id}: {{{p.receipt}}}", of: {"a b": [1, -2.5], c: null}) if has o.total\n'
        '       otherwise end flow failed "no \\"total\\"\\n"\n'
        '  else told(text: "{{x}}", of: o.body)\n'
    )
    assert_same(rules, load_text(print_rules(rules)).rules)


def test_a_set_begins_with_as_much_of_its_constants_as_it_uses() -> None:
    rules = load_text(
        """
        let limits = {max: 5, min: 1, steps: [{a: 1}, {a: 2}]}
        event order(total: float)
        rule r when order as o where total > limits.max or total == limits.steps[1].a then end flow done
        """
    ).rules
    printed = print_rules(rules)
    assert printed.startswith("let limits = {max: 5, steps: [null, {a: 2}]}\n")
    assert_same(rules, load_text(printed).rules)


def test_python_has_no_text() -> None:
    rules = RuleSet()
    rules.add(Rule("mine", Single(Pattern("x", frozenset(("done",)))), generator=lambda x: None))
    rules.declare(TaskDecl("build", function=dict))
    with pytest.raises(Unprintable, match=r'the rule "mine" is a Python function'):
        print_rule(rules.rules[0], rules)
    assert print_rules(rules) == "# task build is a Python function\n# rule mine is a Python function\n"


@pytest.mark.parametrize("name", ["my-type", "1st", "a..b", "ä"])
def test_a_name_that_the_language_does_not_have_is_refused(name: str) -> None:
    rule = Rule("r", Unmatched(Pattern("x", frozenset(("done",)))), Consequence(((Emit(name),),)))
    with pytest.raises(Unprintable, match="is no name in the language"):
        print_rule(rule, RuleSet())


# -- expressions -----------------------------------------------------------------

NAMES = st.sampled_from(["a", "total", "not", "load", "type", "body", "result", "i", "o", "flow", "x1"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["{", "}", '"', "\\", "\n", "{{a}}", "\\n", "#", "\u202e", "\U0001f600", "a/b", "'"]
)
VALUES = st.none() | st.booleans() | st.integers(0, 2**63 - 1) | st.floats(0, allow_infinity=False) | TEXTS
PATHS = st.lists(NAMES | st.integers(0, 9) | TEXTS.filter(bool), max_size=2).map(tuple)


def clauses(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    regexes = st.text("ab.*()|[]/ ", max_size=6).map(
        lambda text: "".join(c if c in "ab/ " else f"\\{c}" for c in text) or "a"
    )
    return st.one_of(
        st.builds(Not, inner), st.builds(And, several), st.builds(Or, several), st.builds(Coalesce, several),
        st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner, inner), st.builds(In, inner, inner),
        st.builds(Contains, inner, inner), st.builds(Matches, inner, regexes), st.builds(IsNull, inner),
        st.builds(IsMissing, inner), st.builds(Arithmetic, st.sampled_from(["+", "-", "*", "/", "%"]), inner, inner),
        st.builds(Negative, inner.filter(lambda expr: not isinstance(expr, Const))),
        st.builds(Function, st.just("len"), st.tuples(inner)),
        st.builds(Quantified, st.sampled_from(["some", "every"]), st.just("i"), inner, inner),
        st.builds(ListOf, st.lists(inner.filter(lambda expr: not isinstance(expr, Const)), min_size=1, max_size=2).map(tuple)),
        st.builds(MapOf, st.lists(st.tuples(TEXTS, inner.filter(lambda expr: not isinstance(expr, Const))), min_size=1,
                                  max_size=2, unique_by=lambda pair: pair[0]).map(tuple)),
        st.builds(Template, st.lists(inner, min_size=1, max_size=2).map(tuple)),
    )  # fmt: skip


EXPRESSIONS: st.SearchStrategy[Expr] = st.recursive(
    st.one_of(
        st.builds(Const, VALUES),
        st.builds(Field, st.tuples(NAMES, PATHS).map(lambda pair: (pair[0], *pair[1])), st.sampled_from(["body", "result"])),
        st.builds(Field, st.tuples(st.sampled_from(["type", "id", "body"])), st.just("own")),
        st.builds(Field, st.tuples(NAMES), st.just("body"), st.just("p")),
        st.builds(FlowVariable, st.tuples(NAMES, PATHS).map(lambda pair: (pair[0], *pair[1]))),
        st.builds(Name, st.sampled_from(["g"]), PATHS),
    ),
    clauses,
    max_leaves=8,
)  # fmt: skip


def scope() -> Scope:
    """A clause with fields whose names are those of other things."""
    shape = Shape("order", dict.fromkeys(("a", "total", "not", "load", "i", "x1"), ANY_TYPE), {"total": ANY_TYPE})
    other = Shape("pay", {"a": ANY_TYPE, "total": ANY_TYPE})
    return Scope("clause", {}, shape, "o", {"o": shape, "p": other}, {"g": ANY_TYPE})


def read(text: str) -> Expr:
    findings = Findings()
    unit = Unit("x.then", "x.then", text, findings)
    expr = Resolver(unit).expr(parse_expression(text, "x.then"), scope())
    findings.check()
    return expr


@given(EXPRESSIONS)
def test_a_printed_expression_is_read_as_the_same_expression(expr: Expr) -> None:
    text = Phrases(scope()).text(expr)
    assert Phrases(scope()).text(read(text)) == text
    assert read(text) == expr


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Field(("total",), "result"), "total"),
        (Field(("total",), "body"), "body.total"),
        (Field(("type",), "own"), "type"),
        (Field(("id",), "own"), "record.id"),
        (Field(("load",), "body"), "o.load"),
        (Field(("body",), "own"), "body"),
        (Field(("a", "b c", 0), "body"), 'a["b c"][0]'),
        (Not(IsMissing(Field(("a",), "body"))), "has a"),
        (Not(IsNull(Field(("a",), "body"))), "a is not null"),
        (Not(In(Field(("a",), "body"), Const([1, "x"]))), 'a not in [1, "x"]'),
        (Or((And((Const(1), Const(2))), Const(3))), "1 and 2 or 3"),
        (And((Or((Const(1), Const(2))), Const(3))), "(1 or 2) and 3"),
        (Arithmetic("-", Const(1), Arithmetic("-", Const(2), Const(3))), "1 - (2 - 3)"),
        (Arithmetic("*", Arithmetic("+", Const(1), Const(2)), Const(-3)), "(1 + 2) * -3"),
        (Matches(Field(("a",), "body"), r"^/x\.(y)"), r"a matches /^\/x\.(y)/"),
        (Template(("a ", Const("b"), "{")), '"a {\\"b\\"}{{"'),
        (Template((MapOf((("k", Field(("a",), "body")),)),)), '"{ {k: a} }"'),
        (Const("\u202e\u00e4\n"), '"\\u202eä\\n"'),
        (Const("limits", "limits.max"), "limits.max"),
    ],
)
def test_an_expression_reads_as_a_person_would_write_it(expr: Expr, text: str) -> None:
    assert Phrases(scope()).text(expr) == text


def test_a_path_into_a_variable_is_printed_and_read() -> None:
    rules = load_text('event a(x: any) rule r when a then a(x: load m.hosts[0]["a b"]), a(x: [load m, load n.k])').rules
    assert 'a(x: load m.hosts[0]["a b"]), a(x: [load m, load n.k])' in print_rules(rules)
    assert_same(rules, load_text(print_rules(rules)).rules)


def test_an_event_and_its_defaults_are_printed() -> None:
    rules = RuleSet()
    fields = (FieldDecl("tag", TypeRef("list", (TypeRef("str"),), optional=True), Const(["a"])),)
    rules.declare(EventDecl("order.placed", fields))
    act = EndFlow("failed", cast("Expr", Const("gone")))
    rules.add(Rule("r", Single(Pattern("order.placed", frozenset(("event",)))), Consequence(((act,),))))
    assert print_rules(rules) == (
        'event order.placed(tag: list[str]? = ["a"])\n\nrule r\n  when order.placed\n  then end flow failed "gone"\n'
    )
