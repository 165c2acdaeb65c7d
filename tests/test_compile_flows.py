"""Joins, procedures, loops, policies and timers: what is written becomes which model."""

from __future__ import annotations

from pathlib import Path

import pytest

from then.core.errors import RulesRefused
from then.core.filters import (
    And,
    Compare,
    Const,
    Expr,
    Field,
    Function,
    In,
    ListOf,
    MapOf,
    Matches,
    Name,
    SecretRef,
    Template,
)
from then.core.policies import Policy, Retry
from then.core.rules import (
    EVENT,
    FINISHED,
    AtMost,
    Called,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emit,
    Ended,
    Join,
    Limit,
    Loop,
    Need,
    Part,
    Pattern,
    Return,
    Rule,
    RuleSet,
    SecretDecl,
    Single,
    Skip,
    TaskDecl,
    TimerDecl,
)
from then.core.schedule import Cron, Daily, Every
from then.language.format import format_text
from then.language.loading import check_path, load_path, load_text
from then.language.printer import print_rules

DECLARED = """\
event order(id: int, host: str, tags: list[str])
event gone(id: int)
task pay(id: int, host: str) -> (receipt: str)
task note(x: any)
"""
DONE = frozenset(("done",))
EVENTS = frozenset((EVENT,))
HOUR_US = 3_600_000_000
SHOP = Path(__file__).parent / "language/shop/shop.then"


def rule_of(text: str) -> Rule:
    (rule,) = load_text(DECLARED + text).rules.rules
    return rule


def join_of(text: str) -> Join:
    trigger = rule_of(f"rule r when {text}").trigger
    assert isinstance(trigger, Join)
    return trigger


def act_of(text: str) -> object:
    consequence = rule_of(f"rule r when order as o then {text}").consequence
    assert consequence is not None
    (act,) = consequence.steps[0]
    return act


def body(name: str, record: str | None = None) -> Field:
    return Field((name,), "body", record)


def noted(x: Expr) -> Consequence:
    return Consequence(((Emit("note", (("x", x),)),),))


ID = body("id")


# -- joins --------------------------------------------------------------------------

JOINS = {
    "all of order as o, pay done as p, no gone by id within 1h then note(x: id)": Join(
        "all",
        (
            Part(Pattern("order", EVENTS, None, "o"), (ID,)),
            Part(Pattern("pay", DONE, None, "p"), (ID,)),
            Part(Pattern("gone", EVENTS), (ID,), is_absent=True),
        ),
        ("id",),
        within_us=HOUR_US,
    ),
    "all of order as o, pay done as p by o.id == p.id, o.host == p.receipt within 1h then note(x: id)": Join(
        "all",
        (
            Part(Pattern("order", EVENTS, None, "o"), (ID, body("host"))),
            Part(Pattern("pay", DONE, None, "p"), (ID, Field(("receipt",), "result"))),
        ),
        ("id", ""),
        within_us=HOUR_US,
    ),
    "any of pay failed as f, gone as f by flow then note(x: f.id)": Join(
        "any",
        (Part(Pattern("pay", frozenset(("failed",)), None, "f")), Part(Pattern("gone", EVENTS, None, "f"))),
        is_by_flow=True,
    ),
    "all of order, pay done by flow, host within 1h then note(x: host)": Join(
        "all",
        (Part(Pattern("order", EVENTS), (body("host"),)), Part(Pattern("pay", DONE), (body("host"),))),
        ("host",),
        is_by_flow=True,
        within_us=HOUR_US,
    ),
    "5 times pay failed followed by pay done as ok by host within 1h then note(x: ok.receipt)": Join(
        "times",
        (
            Part(Pattern("pay", frozenset(("failed",))), (body("host"),)),
            Part(Pattern("pay", DONE, None, "ok"), (body("host"),)),
        ),
        ("host",),
        within_us=HOUR_US,
        count=5,
    ),
    "every pay finished where id > 1 then note(x: 1)": Join(
        "every", (Part(Pattern("pay", FINISHED, Compare(">", ID, Const(1)))),), is_by_flow=True
    ),
    "order as o by host quiet for 1h then note(x: o.id)": Join(
        "quiet", (Part(Pattern("order", EVENTS, None, "o"), (body("host"),)),), ("host",), within_us=HOUR_US
    ),
}


@pytest.mark.parametrize("text", JOINS)
def test_a_join_becomes(text: str) -> None:
    assert join_of(text) == JOINS[text]


def test_the_key_of_what_is_not_declared_is_a_part_of_the_record() -> None:
    join = join_of("all of order as o, any failed as f by body.id, record.flow within 1h then note(x: id)")
    assert [part.keys for part in join.parts] == [(ID, Field(("flow",), "own"))] * 2
    assert join.names == ("id", "flow")


def test_an_alias_hides_the_key_of_its_name() -> None:
    join = join_of("all of order as id, pay done by id within 1h then note(x: id.host)")
    assert join.names == ("",)


def test_a_clause_is_split_into_what_one_record_decides_and_what_they_decide_together() -> None:
    join = join_of(
        r"all of order as o where host matches /^(?P<zone>\w+)/ and zone != 'x', "
        "pay done as p where id > 1 and host == o.host and (receipt == zone or id == 7) and p.id < 9 "
        "by id within 1h then note(x: zone)".replace("'x'", '"x"')
    )
    first, second = join.parts
    zone = Matches(body("host"), r"^(?P<zone>\w+)", ("zone",))
    assert first.pattern.where == And((zone, Compare("!=", Name("zone"), Const("x"))))
    assert first.where_joined is None
    assert second.pattern.where == And((Compare(">", ID, Const(1)), Compare("<", ID, Const(9))))
    assert isinstance(second.where_joined, And)
    assert second.where_joined.parts[0] == Compare("==", body("host"), body("host", "o"))
    assert len(second.where_joined.parts) == 2


def test_a_group_that_is_bound_when_the_parts_meet_is_looked_at_then() -> None:
    join = join_of(
        "all of order as o, pay done as p where o.host matches /(?P<zone>.)/ and receipt == zone and id > 1 "
        "by id within 1h then note(x: zone)"
    )
    assert join.parts[1].pattern.where == Compare(">", ID, Const(1))
    assert isinstance(join.parts[1].where_joined, And)


def test_what_follows_a_window_and_what_follows_where_nothing_can_be_filled() -> None:
    rule = rule_of(
        "rule r when all of order as o, pay done as p by id within 1h then note(x: p.id) else note(x: id) "
        'on timeout then note(x: "{id}: {missing}")'
    )
    assert isinstance(rule.trigger, Join)
    assert rule.trigger.late == noted(Template((Name("id"), ": ", Name("missing"))))
    first = noted(body("id", "p")).steps
    assert rule.consequence == Consequence(first, noted(Name("id")).steps[0])


# -- acts -----------------------------------------------------------------------------

X = (("x", ID),)
ACTS = {
    "note(x: 1) retry 3 times backoff 1s to 1m factor 1.5 jitter timeout 30s": Emit(
        "note", (("x", Const(1)),), policy=Policy(Retry(3, 1_000_000, 60_000_000, 1.5, True), 30_000_000)
    ),
    "note(x: 1) retry 2 times while error.kind == r'exit' and x == 1": Emit(
        "note",
        (("x", Const(1)),),
        policy=Policy(Retry(2)),
        retry_while=And(
            (Compare("==", Field(("error", "kind"), "own"), Const("exit")), Compare("==", body("x"), Const(1)))
        ),
    ),
    "note(x: 1) after 90s": Emit("note", (("x", Const(1)),), after=Const(90)),
    "note(x: 1) at o.host": Emit("note", (("x", Const(1)),), at=body("host", "o")),
    "note(x: 1) at most once per 1h by o.id": Emit(
        "note", (("x", Const(1)),), at_most=AtMost(HOUR_US, body("id", "o"))
    ),
    "note(x: 1) at most once per 1h if o.id > 1 otherwise cancel flow": Emit(
        "note",
        (("x", Const(1)),),
        guard=Compare(">", body("id", "o"), Const(1)),
        otherwise=CancelFlow(),
        at_most=AtMost(HOUR_US),
    ),
    "for tag in o.tags emit note(x: tag) timeout 1s if o.id > 1": Loop(
        "tag",
        body("tags", "o"),
        Emit("note", (("x", Name("tag")),), policy=Policy(timeout_us=1_000_000)),
        guard=Compare(">", body("id", "o"), Const(1)),
    ),
    "for i, tag in [o.id, 2] emit note(x: [i, tag])": Loop(
        "tag",
        ListOf((body("id", "o"), Const(2))),
        Emit("note", (("x", ListOf((Name("i"), Name("tag")))),)),
        "i",
    ),
    "cancel pay where id == o.id": CancelTasks("pay", Compare("==", ID, body("id", "o"))),
    "cancel pay": CancelTasks("pay"),
    "skip note(x: o.id)": Skip("note", (("x", body("id", "o")),)),
}


@pytest.mark.parametrize("text", ACTS)
def test_an_act_becomes(text: str) -> None:
    assert act_of(text) == ACTS[text]


# -- procedures --------------------------------------------------------------------------

PROCEDURES = """\
event order(id: int, hosts: list[str])
task ping(host: str)
procedure each(hosts: list[str], do: task) -> (n: int)
  first for h in hosts emit do(host: h)
  when do failed as d where body.host in hosts then do(host: d.body.host)
  final rule last when every do done then return (n: len(hosts))
  when all of do done as a, ping done as b then call each(hosts: hosts, do: do) fail fast
  finally ping(host: hosts[0])
end
rule r when order as o then call each(hosts: o.hosts, do: ping) as e then ping(host: str(e.n)) else cancel flow
task tidy(host: str) finally ping(host: host)
"""


def procedures() -> RuleSet:
    return load_text(PROCEDURES).rules


def test_a_procedure_becomes_rules_of_its_own() -> None:
    each = procedures().procedures["each"]
    do = Name("do")
    assert each.first == Rule(
        "each",
        Called("each"),
        Consequence(((Loop("h", Name("hosts"), Emit("do", (("host", Name("h")),), callee=do)),),)),
    )
    assert [(rule.name, rule.final) for rule in each.rules] == [
        ("each.1", False),
        ("each.last", True),
        ("each.3", False),
    ]
    first, last, third = each.rules
    assert isinstance(first.trigger, Single)
    where = In(Field(("host",), "body"), Name("hosts"))
    assert first.trigger.pattern == Pattern("do", frozenset(("failed",)), where, "d", callee="do")
    assert last.trigger == Join("every", (Part(Pattern("do", DONE, callee="do")),), is_by_flow=True)
    assert last.consequence == Consequence(((Return((("n", Function("len", (Name("hosts"),))),)),),))
    assert isinstance(third.trigger, Join)
    assert (third.trigger.names, third.trigger.is_by_flow, third.trigger.within_us) == ((), False, None)
    assert third.consequence == Consequence(
        ((Emit("each", (("hosts", Name("hosts")), ("do", do)), policy=Policy(fail_fast=True)),),)
    )


def test_the_text_of_a_procedure_stands_in_its_rules() -> None:
    each = procedures().procedures["each"]
    assert each.first.source == PROCEDURES[PROCEDURES.index("procedure") : PROCEDURES.index("\n  when do failed")]
    assert each.rules[0].source == "when do failed as d where body.host in hosts then do(host: d.body.host)"
    assert each.rules[1].source.startswith("final rule last when every")


def test_a_call_is_an_emission_of_the_procedure_and_a_task_is_handed_over_by_its_name() -> None:
    (rule,) = procedures().rules
    assert rule.consequence == Consequence(
        (
            (Emit("each", (("hosts", body("hosts", "o")), ("do", Const("ping"))), "e"),),
            (Emit("ping", (("host", Function("str", (Field(("n",), "result", "e"),))),)),),
        ),
        (CancelFlow(),),
    )


def test_an_end_is_a_rule_with_the_inputs_as_names() -> None:
    endings = procedures().endings
    assert endings == {
        "each": Rule("each.finally", Ended("each"), Consequence(((Emit("ping", (("host", Name("hosts", (0,))),)),),))),
        "tidy": Rule("tidy.finally", Ended("tidy"), Consequence(((Emit("ping", (("host", Name("host")),)),),))),
    }


def test_one_procedure_of_a_file_brings_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "lib.then").write_text(PROCEDURES)
    (tmp_path / "main.then").write_text(
        'use each from "lib.then"\ntask other(host: str)\nevent go()\nrule m when go then call each(hosts: [], do: other)\n'
    )
    rules = load_path(tmp_path / "main.then", env={}).rules
    assert sorted(rules.procedures) == ["each"]
    assert sorted(rules.tasks) == ["other", "ping"]
    assert sorted(rules.endings) == ["each"]
    assert [rule.name for rule in rules] == ["m"]


def test_rules_that_stand_beside_a_procedure_may_call_it() -> None:
    known = procedures()
    rules = load_text('rule s when order then call each(hosts: ["a"], do: ping)\n', known=known).rules
    assert [rule.name for rule in rules] == ["s"]
    assert (rules.procedures, rules.endings, rules.tasks) == ({}, {}, {})


# -- tasks, secrets, timers -------------------------------------------------------------------


def test_what_stands_after_the_run_line_becomes() -> None:
    text = """
    let zone = "eu"
    secret key from env "KEY"
    task t(id: int, n: int)
      run process ["t"] env {KEY: secret key}
      retry 5 times backoff 1s while error.kind == "exit" and id > 1
      timeout 30s deadline 2h expires 1d limit 4 at once by zone
      needs {cores: 0.5, memory: 1GiB, license.toolA: n, lock.db: shared, lock.x: exclusive, slots: 0}
      idempotent by id
    """
    rules = load_text(text).rules
    task = rules.tasks["t"]
    assert task == TaskDecl(
        "t",
        task.inputs,
        None,
        task.run,
        slots=0,
        policy=Policy(Retry(5, 1_000_000), 30_000_000),
        retry_while=And(
            (Compare("==", Field(("error", "kind"), "own"), Const("exit")), Compare(">", ID, Const(1)))
        ),
        deadline_us=2 * HOUR_US,
        expires_us=24 * HOUR_US,
        limit=Limit(4, Const("eu", "zone")),
        needs=(
            Need("cores", Const(0.5)), Need("memory", Const(2**30)), Need("license.toolA", body("n")),
            Need("lock.db", Const("shared")), Need("lock.x", Const("exclusive")),
        ),
        idempotent_by=ID,
    )  # fmt: skip
    assert task.run is not None
    ((name, options),) = task.run.options
    assert name == "env"
    assert options == MapOf((("KEY", SecretRef("key")),))
    assert rules.secrets == {"key": SecretDecl("key", "env", "KEY")}


def test_timers_are_named_as_what_they_post() -> None:
    rules = load_text(
        """
        event tick(n: int, day: str?)
        task scan()
        every 15m start tick(n: 1) overlap allow
        every weekday at 06:30 in "Europe/Rome" start tick(n: 2, day: today) catch up all
        cron "0 3 1 * *" start scan() overlap queue catch up none
        """
    ).rules
    assert rules.timers == {
        "tick": TimerDecl("tick", Every(900_000_000), "tick", (("n", Const(1)),), "allow"),
        "tick.2": TimerDecl(
            "tick.2", Daily("weekday", 6, 30, "Europe/Rome"), "tick", (("n", Const(2)), ("day", Name("today"))),
            catch_up="all",
        ),
        "scan": TimerDecl("scan", Cron("0 3 1 * *"), "scan", (), "queue", "none"),
    }  # fmt: skip


def test_a_place_in_a_cron_expression_is_pointed_at() -> None:
    (finding,) = (each for each in _found('event e()\ncron "0 61 * * *" start e()\nrule r when e then end flow done\n'))
    line, caret = finding.split("\n")[1:]
    assert line[caret.index("^") : caret.rindex("^") + 1] == "61"


def _found(text: str) -> list[str]:
    from then.language.loading import check_text

    return [finding.text() for finding in check_text(text)]


# -- the whole example -----------------------------------------------------------------------------


def test_the_shop_is_compiled_and_nothing_is_wrong_in_it() -> None:
    found = check_path(SHOP, env={})
    assert {finding.number for finding in found} == {"T601"}, "the optional fields of its first rule"
    rules = load_path(SHOP, env={}).rules
    assert sorted(rules.procedures) == ["apologise", "approve", "each_host"]
    assert sorted(rules.timers) == ["report", "stock.scan", "vacuum"]
    assert [rule.name for rule in rules][:4] == ["ignore_tests", "start", "release", "pack"]


def test_what_rules_beside_these_may_emit_is_not_called_missing() -> None:
    alone = (
        'task a() run process ["a"]\ntask b() run process ["b"]\nrule r when all of a done, b done by flow then a()\n'
    )
    assert [finding.number for finding in load_text(alone).findings] == ["T612"]
    known = load_text("task other()\n", "beside.then").rules
    assert load_text(alone, known=known).findings == ()


def test_the_shop_is_in_the_layout_and_comes_back_from_its_text() -> None:
    assert format_text(SHOP.read_text(), SHOP.name) == SHOP.read_text()
    rules = load_path(SHOP, env={}).rules
    again = load_text(print_rules(rules)).rules
    assert (again.rules, again.procedures, again.timers, again.tasks) == (
        rules.rules, rules.procedures, rules.timers, rules.tasks,
    )  # fmt: skip


def test_sets_that_are_put_together_keep_the_timers_of_both() -> None:
    text = "event tick()\nevery {} start tick()\nrule r{} when tick then end flow done\n"
    first = load_text(text.format("1m", 1)).rules
    first.timers["tick.2"] = first.timers["tick"]
    second = RuleSet()
    second.declare(first.timers["tick"])
    second.extend(RuleSet(timers=dict(first.timers)))
    assert {name: timer.name for name, timer in second.timers.items()} == {
        name: name for name in ("tick", "tick.2", "tick.3")
    }


def test_a_procedure_has_a_deadline_and_may_fail() -> None:
    text = "task a() procedure p() {} first a() end"
    for words, deadline_us, may_fail in (
        ("", None, False), ("deadline 2h", 7_200_000_000, False), ("may fail deadline 1s", 1_000_000, True),
    ):  # fmt: skip
        declared = load_text(text.format(words)).rules.procedures["p"]
        assert (declared.deadline_us, declared.may_fail) == (deadline_us, may_fail)
    with pytest.raises(RulesRefused, match="`deadline` is there twice"):
        load_text(text.format("deadline 2h deadline 3h"))
    with pytest.raises(RulesRefused, match="no time at all"):
        load_text(text.format("deadline 0s"))
