"""Joins, procedures, loops and policies back to text, and to bytes: what is read again is the same."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.consequences import rule_sets
from tests.test_printer import assert_same
from then.core.filters import Const, Field
from then.core.policies import Policy, Retry
from then.core.rules import Consequence, Emit, Join, Part, Pattern, Rule, RuleSet, Single, TaskDecl, TimerDecl
from then.core.schedule import Cron, Every
from then.language.format import format_text
from then.language.loading import load_text
from then.language.packing import Unpackable, pack, unpack
from then.language.phrases import Unprintable
from then.language.printer import print_rule, print_rules

DONE = frozenset(("done",))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rule_sets())
def test_printed_rules_of_every_form_are_read_as_the_same_rules(rules: RuleSet) -> None:
    printed = print_rules(rules)
    assert_same(rules, load_text(printed).rules)
    assert format_text(printed, "printed.then") == printed


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rule_sets())
def test_unpacked_rules_of_every_form_are_the_rules_that_were_packed(rules: RuleSet) -> None:
    assert_same(rules, unpack(pack(rules), rules.sources))


FLOWS = """
let limit = 3
secret key from env "KEY"
secret odd from file "a \\"b\\".txt"
event order(id: int, host: str, tags: list[str])
task pay(id: int) -> (receipt: str)
  run python "shop:pay" with {key: secret key}
  retry 5 times backoff 1s to 1m factor 3 jitter while error.kind in ["exit", "signal"] and id > limit
  timeout 30s
  deadline 90m
  expires 1d
  limit 4 at once by id
  needs {slots: 0, cores: 2, memory: 1GiB, license.toolA: id, lock.db: shared, lock.x: exclusive}
  idempotent by id
  finally order(id: id, host: "", tags: [])
every 15m start order(id: 1, host: today, tags: [])
every 90s start order(id: 2, host: "", tags: []) overlap queue
every weekday at 06:30 in "Europe/Rome" start order(id: 3, host: "at {now}", tags: []) catch up all
cron "0  3 L * MON#2" in "Asia/Tokyo" start pay(id: limit) catch up none
rule chain when all of order as o where id > limit, pay done as p where receipt != o.host by id within 90m
  then pay(id: id) as q after 24h then cancel pay where id == q.id, skip pay(id: 1)
  else order(id: id, host: "", tags: [])
  on timeout then order(id: id, host: "{missing}", tags: []) at most once per 1h by id
rule named when any of order as o, pay failed as p by o.id == p.id, body.id within 1h then end flow done
procedure slow(n: int) -> (ok: bool) deadline 2h may fail first pay(id: n) when pay done then return (ok: true) end
procedure quick(n: int) deadline 90s first pay(id: n) end
rule hosts when order as o then for i, tag in o.tags emit order(id: i, host: tag, tags: [])
"""


def test_declarations_timers_and_joins_are_printed_and_packed() -> None:
    rules = load_text(FLOWS).rules
    assert sorted(rules.timers) == ["order", "order.2", "order.3", "pay"]
    assert_same(rules, load_text(print_rules(rules)).rules)
    assert_same(rules, unpack(pack(rules), rules.sources))


def test_a_rule_of_a_procedure_is_printed_with_all_of_it() -> None:
    rules = load_text(
        "event e(n: int)\nprocedure p(n: int) first e(n: n) when e then return () rule last when e then return ()\n"
        "finally e(n: 2) end\ntask t(n: int) finally e(n: n)\n"
    ).rules
    procedure = rules.procedures["p"]
    whole = print_rule(procedure.first, rules)
    assert whole.startswith("procedure p(n: int)\n  first e(n: n)\n  when e then return ()\n  rule last\n")
    assert whole.endswith("  finally e(n: 2)\nend\n")
    for rule in (*procedure.rules, rules.endings["p"]):
        assert print_rule(rule, rules) == whole
    assert print_rule(rules.endings["t"], rules) == "task t(n: int)\n  finally e(n: n)\n"


def joined(*keys: Field, alias: str | None = None) -> RuleSet:
    parts = tuple(Part(Pattern("x", DONE, None, alias), (key,)) for key in keys)
    return RuleSet([Rule("r", Join("all", parts, ("",), within_us=1_000), Consequence(((Emit("x"),),)))])


def acted(emit: Emit) -> RuleSet:
    return RuleSet([Rule("r", Single(Pattern("x", DONE)), Consequence(((emit,),)))])


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (joined(Field(("a",), "body"), Field(("b",), "body")), "has no name, and its key is another field"),
        (acted(Emit("x", policy=Policy(Retry(3, jitter=True)))), "without a wait has nothing that grows"),
        (RuleSet(timers={"x": TimerDecl("x", Cron("0 0 0 * * *", is_long=True), "x")}), "more than the five fields"),
        (RuleSet(timers={"a b": TimerDecl("a b", Every(1_000), "a b")}), "is no name in the language"),
        (RuleSet(tasks={"t": TaskDecl("t", retry_while=Const(True))}), "inputs of the task .* are not declared"),
    ],
)
def test_what_the_language_cannot_say_is_refused(rules: RuleSet, reason: str) -> None:
    with pytest.raises(Unprintable, match=reason):
        print_rules(rules)


def test_what_follows_a_window_in_python_is_not_packed() -> None:
    join = Join("all", (Part(Pattern("x", DONE)),), is_by_flow=True, within_us=1, late_generator=lambda: None)
    with pytest.raises(Unpackable):
        pack(RuleSet([Rule("r", join, Consequence(((Emit("x"),),)))]))
