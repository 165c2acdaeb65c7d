"""From syntax trees to the model: what is written becomes which nodes."""

from __future__ import annotations

import pytest

from then.core.errors import RulesRefused
from then.core.evaluate import evaluate
from then.core.fields import Scope
from then.core.filters import (
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Const,
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
    Or,
    Quantified,
    Template,
    check_depth,
)
from then.core.rules import (
    ANY,
    EVENT,
    FINISHED,
    CancelFlow,
    Consequence,
    Emit,
    EndFlow,
    FieldDecl,
    Pattern,
    Rule,
    Save,
    Single,
    Start,
    TaskDecl,
    TypeRef,
    Unmatched,
)
from then.core.tasks import Task
from then.language.loading import load_text

DECLARED = """\
record item(sku: str, qty: int)
event order(id: int, total: float, tag: str?, items: list[item], name: str)
task pay(order: int, amount: float) -> (receipt: str)
event note(x: any)
"""


def rule_of(text: str) -> Rule:
    (rule,) = load_text(DECLARED + text).rules
    return rule


def where_of(clause: str) -> Expr:
    where = rule_of(f"rule r when order as o where {clause} then note(x: 1)").pattern.where
    assert where is not None
    return where


def value_of(expr: str) -> Expr:
    consequence = rule_of(f"rule r when order as o then note(x: {expr})").consequence
    assert consequence is not None
    (act,) = consequence.steps[0]
    assert isinstance(act, Emit)
    return act.args[0][1]


def body(*path: str | int) -> Field:
    return Field(path, "body")


ID, TOTAL, TAG = body("id"), body("total"), body("tag")

CLAUSES = {
    "id == 1": Compare("==", ID, Const(1)),
    "o.id == 1": Compare("==", ID, Const(1)),
    "id != -1": Compare("!=", ID, Const(-1)),
    "total >= 1.5": Compare(">=", TOTAL, Const(1.5)),
    'tag == "a"': Compare("==", TAG, Const("a")),
    r'tag == "a\nA{{}}"': Compare("==", TAG, Const("a\nA{}")),
    'tag == r"{a}"': Compare("==", TAG, Const("{a}")),
    "record.id == type": Compare("==", Field(("id",), "own"), Field(("type",), "own")),
    "o.record.id == o.type": Compare("==", Field(("id",), "own"), Field(("type",), "own")),
    "body.id == body.else": Compare("==", ID, body("else")),
    "created > 2026-01-05T10:00": Compare(">", Field(("created",), "own"), Const(1767607200)),
    "took < 1.5h": Compare("<", Field(("took",), "own"), Const(5400)),
    "total > 250ms": Compare(">", TOTAL, Const(0.25)),
    "total > 2MiB": Compare(">", TOTAL, Const(2 * 2**20)),
    "id in [1, 2]": In(ID, Const([1, 2])),
    "id not in [1, total]": Not(In(ID, ListOf((Const(1), TOTAL)))),
    '"a" in {a: 1, "b": 2}': In(Const("a"), Const({"a": 1, "b": 2})),
    "items contains {sku: name}": None,
    "tag is null": IsNull(TAG),
    "tag is not null": Not(IsNull(TAG)),
    "tag is missing": IsMissing(TAG),
    "tag is not missing": Not(IsMissing(TAG)),
    "has tag": Not(IsMissing(TAG)),
    'tag ?? name ?? "x" == "y"': Compare("==", Coalesce((TAG, body("name"), Const("x"))), Const("y")),
    "not id == 1": Not(Compare("==", ID, Const(1))),
    "id == 1 or id == 2 and total > 3": Or(
        (Compare("==", ID, Const(1)), And((Compare("==", ID, Const(2)), Compare(">", TOTAL, Const(3)))))
    ),
    "1 + 2 * total - id == 0": Compare(
        "==",
        Arithmetic("-", Arithmetic("+", Const(1), Arithmetic("*", Const(2), TOTAL)), ID),
        Const(0),
    ),
    "-total < 0": Compare("<", Negative(TOTAL), Const(0)),
    "items[0].qty > 1": Compare(">", body("items", 0, "qty"), Const(1)),
    'body.items["a b"] == 1': None,
    "len(items) > 1": Compare(">", Function("len", (body("items"),)), Const(1)),
    "some i in items satisfies i.qty < 100": Quantified(
        "some", "i", body("items"), Compare("<", Name("i", ("qty",)), Const(100))
    ),
    "every i in items satisfies (i.qty < id)": Quantified("every", "i", body("items"), Compare("<", Name("i", ("qty",)), ID)),
    r"name matches /^v(?P<n>\d+)\/x$/ and int(n) > 2": And(
        (
            Matches(body("name"), r"^v(?P<n>\d+)/x$", ("n",)),
            Compare(">", Function("int", (Name("n"),)), Const(2)),
        )
    ),
    '(flow.tag ?? "") == "x"': Compare("==", Coalesce((FlowVariable(("tag",)), Const(""))), Const("x")),
    '"{id}-{name}" == "1-x"': Compare("==", Template((ID, "-", body("name"))), Const("1-x")),
}  # fmt: skip


@pytest.mark.parametrize("clause", [clause for clause, expected in CLAUSES.items() if expected is not None])
def test_a_clause_becomes(clause: str) -> None:
    assert where_of(clause) == CLAUSES[clause]


VALUES = {
    "o.id": Field(("id",), "body", "o"),
    "o": Name("o"),
    "o.body": Field(("body",), "own", "o"),
    "o.record.completed": Field(("completed",), "own", "o"),
    "load x": LoadRef(("x",)),
    "flow.x.y": FlowVariable(("x", "y")),
    "[o.id, 2]": ListOf((Field(("id",), "body", "o"), Const(2))),
    '{a: o.id, "b c": null}': MapOf((("a", Field(("id",), "body", "o")), ("b c", Const(None)))),
    "\"no {o.tag ?? r'none'}.\"": Template(("no ", Coalesce((Field(("tag",), "body", "o"), Const("none"))), ".")),
    "true": Const(True),
    '"{1 + 1}"': Template((Arithmetic("+", Const(1), Const(1)),)),
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_becomes(value: str) -> None:
    assert value_of(value) == VALUES[value]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("order", Pattern("order", frozenset((EVENT,)))),
        ("pay done as p", Pattern("pay", frozenset(("done",)), None, "p")),
        ("pay failed or timed out", Pattern("pay", frozenset(("failed", "timed_out")))),
        ("pay finished", Pattern("pay", FINISHED)),
        ("pay retried", Pattern("pay", frozenset(("retried",)))),
        ("any failed", Pattern(ANY, frozenset(("failed",)))),
        ("any", Pattern(ANY, frozenset((EVENT,)))),
        ("pay done where receipt == order", None),
    ],
)
def test_a_pattern_becomes(text: str, pattern: Pattern | None) -> None:
    if pattern is not None:
        assert rule_of(f"rule r when {text} then note(x: 1)").trigger == Single(pattern)


def test_a_family_ends_in_a_star() -> None:
    (rule,) = load_text("event git.push()\nevent git.tag.new()\nrule r when git.* then git.push() if 1 > 2\n").rules
    assert rule.pattern.family == "git.*"
    (rule,) = load_text("event git.push()\nevent git.tag.new()\nrule r when git.tag.* then git.push()\n").rules
    assert rule.pattern.family == "git.tag.*"


def test_unmatched_any_leaves_out_the_ordinary_end() -> None:
    trigger = rule_of("rule r when unmatched any as r then note(x: r)").trigger
    assert trigger == Unmatched(Pattern(ANY, frozenset((EVENT, "failed", "timed_out", "cancelled")), None, "r"))
    trigger = rule_of("rule r when unmatched pay done as p where receipt == r'x' then note(x: 1)").trigger
    assert trigger == Unmatched(
        Pattern("pay", frozenset(("done",)), Compare("==", Field(("receipt",), "result"), Const("x")), "p")
    )


def test_a_result_field_hides_an_input() -> None:
    (rule,) = load_text(
        "task t(a: int, b: int) -> (a: int)\nrule r when t done as t where a == b then t(a: t.a, b: t.body.a)\n"
    ).rules
    assert rule.pattern.where == Compare("==", Field(("a",), "result"), Field(("b",), "body"))
    assert rule.consequence is not None
    (act,) = rule.consequence.steps[0]
    assert isinstance(act, Emit)
    assert act.args == (("a", Field(("a",), "result", "t")), ("b", Field(("a",), "body", "t")))


def test_a_chain_becomes_steps_and_an_else() -> None:
    rule = rule_of(
        "final rule r when order as o\n"
        "  then pay(order: o.id, amount: 1) as p, save n: o.id\n"
        "  then note(x: p.receipt) if p.order > 1 otherwise cancel flow\n"
        '  then end flow done else end flow failed "no {o.id}", note(x: 1)\n'
    )
    o_id = Field(("id",), "body", "o")
    assert rule.final
    assert rule.consequence == Consequence(
        (
            (Emit("pay", (("order", o_id), ("amount", Const(1))), "p"), Save("n", o_id)),
            (
                Emit(
                    "note",
                    (("x", Field(("receipt",), "result", "p")),),
                    guard=Compare(">", Field(("order",), "body", "p"), Const(1)),
                    otherwise=CancelFlow(),
                ),
            ),
            (EndFlow("done"),),
        ),
        (EndFlow("failed", Template(("no ", o_id))), Emit("note", (("x", Const(1)),))),
    )
    assert rule.source.startswith("final rule r when")
    assert rule.source.endswith("note(x: 1)")


def test_a_task_becomes_a_declaration() -> None:
    text = (
        'let bin = "/bin"\ntask t(a: str, b: int = 1 + 1, c: list[map[int]]?) -> (d: file, e: any?)\n'
        '  run process ["{bin}/x", a, "{b}", load v] env {A: a} env clean cwd "sub" stdin "in"\n'
        "  once priority -2 may fail done on [0, 3] needs {slots: 0}\n"
    )
    declared = load_text(text).rules.tasks["t"]
    assert declared.inputs == (
        FieldDecl("a", TypeRef("str")),
        FieldDecl("b", TypeRef("int"), Const(2)),
        FieldDecl("c", TypeRef("list", (TypeRef("map", (TypeRef("int"),)),), optional=True)),
    )
    assert declared.result == (FieldDecl("d", TypeRef("file")), FieldDecl("e", TypeRef("any", optional=True)))
    assert (declared.once, declared.priority, declared.may_fail, declared.done_on, declared.slots) == (
        True,
        -2,
        True,
        (0, 3),
        0,
    )
    run = declared.run
    assert run is not None
    record = Scope(Task("t", {"a": "A", "b": 7}))
    assert isinstance(run.target, ListOf)
    assert [evaluate(item, record) for item in run.target.items[:3]] == ["/bin/x", "A", "7"]
    assert run.target.items[3] == LoadRef(("v",))
    assert run.options == (
        ("env", MapOf((("A", body("a")),))),
        ("env", Const("clean")),
        ("cwd", Const("sub")),
        ("stdin", Const("in")),
    )


def test_a_task_without_run_is_somebody_elses() -> None:
    assert load_text("task t()\n").rules.tasks["t"] == TaskDecl("t", ())


def test_start_is_known_at_load() -> None:
    rules = load_text('event e(n: int, t: str)\nlet a = 2\nstart e(n: a * 3, t: "x{a}")\n').rules
    assert rules.starts == [Start("e", (("n", Const(6)), ("t", Const("x2"))))]


def test_a_let_is_a_constant_with_its_name() -> None:
    text = 'let a = {b: [10, {c: "x"}]}\nevent e(t: str)\nrule r when e where t == a.b[1].c then e(t: a.b[1]["c"]) if 1 > 2\n'
    (rule,) = load_text(text).rules
    assert rule.pattern.where == Compare("==", body("t"), Const("x", "a.b[1].c"))


@pytest.mark.parametrize(
    "clause",
    [
        f"id == {'+'.join(['id'] * 64)}",
        f"id == {'(' * 40}id{' + 1)' * 40}",
        f"{'not ' * 80}id == 1",
        f"{'-' * 60}id == 1",
    ],
)
def test_nesting_that_is_taken_can_be_evaluated(clause: str) -> None:
    where = where_of(clause)
    check_depth(where)
    assert evaluate(where, Scope(Task("order", {"id": 1}))) in (True, False)


@pytest.mark.parametrize(
    "clause",
    [
        f"id == {'+'.join(['id'] * 70)}",
        f"id == {'('.join(['1 + 1 + 1 + 1 + 1 + '] * 30)}1{')' * 29}",
        f"{'not ' * 200}id == 1",
        f"{'-' * 200}id == 1",
        f"id == {'(' * 100_000}id{')' * 100_000}",
        f"items == {'[' * 100_000}",
        "id == 1 and " * 2_000,
    ],
    ids=["a sum", "sums in sums", "not", "minus", "parentheses", "lists", "an end in the middle"],
)
def test_nesting_without_measure_is_refused(clause: str) -> None:
    with pytest.raises(RulesRefused):
        where_of(clause)


@pytest.mark.slow
def test_thousands_of_rules_load() -> None:
    text = DECLARED + "".join(
        f"rule r{i} when order as o where id == {i} and total > {i} then pay(order: o.id, amount: o.total)\n"
        for i in range(2_000)
    )
    assert len(load_text(text).rules.rules) == 2_000
