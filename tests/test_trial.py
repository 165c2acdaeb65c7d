"""Tests beside the rules: played, judged, explained, and counted."""

from __future__ import annotations

import pytest

from then.analysis.coverage import Coverage
from then.analysis.trial import Restless, Trial
from then.analysis.verdicts import Verdict, judge
from then.core.edition import Edition
from then.core.scenarios import Answer, Expect, Stub
from then.language.loading import load_text
from then.language.packing import pack, unpack

SHOP = """
event order(id: int, total: float = 10.0)
task pay(order: int, amount: float) -> (receipt: str)
  run process ["pay", "{order}"]
task ship(order: int, receipt: str)
  run process ["ship"]
task ask(who: str) -> (answer: str)
task notify(who: str, text: str)

rule start
  when order as o where total > 0
  then pay(order: o.id, amount: o.total) as p
  then ship(order: o.id, receipt: p.receipt)
  else notify(who: "dev", text: "order {o.id} is not paid")
rule lost when ship failed as s then ask(who: "ops")
rule answered when ask done as a then notify(who: "ops", text: a.answer)
"""

DONE = '  stub pay done (receipt: "r1")\n'


def edition(rules: str) -> Edition:
    return Edition("v1", load_text(rules).rules)


def verdict(lines: str, rules: str = SHOP, coverage: Coverage | None = None) -> Verdict:
    """What comes of one test."""
    loaded = edition(f'{rules}\ntest "it"\n{lines}\nend\n')
    return judge(loaded.rules.scenarios[0], loaded, coverage)


def told(lines: str, rules: str = SHOP) -> list[str]:
    """What is said of a test that fails, without its places."""
    failures = verdict(lines, rules).failures
    return [
        line.partition(": ")[2] if line[0] != " " else line.strip() for f in failures for line in f.text().split("\n")
    ]


def passes(lines: str, rules: str = SHOP) -> bool:
    found = verdict(lines, rules)
    assert found.is_passed, [failure.text() for failure in found.failures]
    return True


# -- what is played -------------------------------------------------------------------


def test_nothing_is_executed_and_a_task_without_stub_stays_running() -> None:
    assert passes("post order(id: 1)\nadvance 52w\nexpect pay(order: 1) once by rule start\nexpect no ship")


def test_a_stub_answers_and_the_chain_goes_on_before_the_next_line() -> None:
    assert passes(f'{DONE}post order(id: 1)\nexpect ship(order: 1, receipt: "r1") once by rule start/1')


def test_a_stub_answers_what_runs_already() -> None:
    assert passes(f"post order(id: 1)\nexpect no ship\n{DONE}expect ship")


def test_a_later_stub_takes_the_place_of_the_first_and_ends_what_hangs_by_it() -> None:
    assert passes(f"stub pay hangs\npost order(id: 1)\nadvance 1h\nexpect no ship\n{DONE}expect ship")


def test_answers_come_in_turn_each_as_often_as_it_says() -> None:
    lines = """
      stub pay failed 2 times, then timed out, then done (receipt: "r")
      post order(id: 1) post order(id: 2) post order(id: 3)
      expect no ship expect notify 3 times by rule start/1/else
      post order(id: 4) post order(id: 5)
      expect ship 2 times
    """
    assert passes(lines)


def test_the_last_answer_with_a_count_is_given_so_often_and_then_no_more() -> None:
    assert passes('stub pay done (receipt: "r") 1 times\npost order(id: 1) post order(id: 2)\nexpect ship once')


def test_a_task_that_is_answered_later_took_so_long() -> None:
    rules = """
    event go() task w() run process ["w"] task slow(took: float)
    rule a when go then w()
    rule b when w done as d where took > 20s then slow(took: d.record.took)
    """
    assert passes("stub w hangs\npost go()\nadvance 1h\nstub w done\nexpect slow(took: 3600) once by rule b", rules)
    assert passes("stub w done\npost go()\nexpect no slow", rules)


def test_a_task_of_a_person_is_stubbed_like_any() -> None:
    lines = f'{DONE}stub ship failed\nstub ask done (answer: "leave it")\npost order(id: 1)\n'
    assert passes(lines + 'expect notify(who: "ops", text: "leave it") once by rule answered')


def test_a_failed_process_has_an_exit_code_and_what_the_stub_says_of_its_error() -> None:
    rules = """
    event go() task w() -> (n: int?) run process ["w"]
    task heard(kind: str, code: int, n: int)
    rule a when go then w()
    rule b when w failed as f then heard(kind: f.error.kind, code: f.code ?? -1, n: f.n ?? -1)
    """
    assert passes('stub w failed\npost go()\nexpect heard(kind: "exit", code: 1, n: -1)', rules)
    assert passes('stub w failed (code: 3, n: 7)\npost go()\nexpect heard(kind: "exit", code: 3, n: 7)', rules)
    assert passes('stub w failed (kind: "http5xx")\npost go()\nexpect heard(kind: "http5xx", code: -1, n: -1)', rules)


def test_a_done_process_ends_with_the_first_code_that_it_is_done_on() -> None:
    rules = """
    event go() task w() run process ["w"] done on [3, 0] task heard(code: int)
    rule a when go then w()
    rule b when w done as d then heard(code: d.code)
    """
    assert passes("stub w done\npost go()\nexpect heard(code: 3)", rules)


def test_outcomes_other_than_failed_have_their_kinds() -> None:
    rules = """
    event go() task w() task heard(kind: str)
    rule a when go then w()
    rule b when w timed out or cancelled as f then heard(kind: f.error.kind ?? "none")
    """
    assert passes(
        'stub w timed out, then cancelled\npost go()\npost go()\nexpect heard(kind: "timeout")\n'
        'expect heard(kind: "cancelled")',
        rules,
    )


def test_what_is_cancelled_ends_at_once() -> None:
    rules = """
    event go() event halt() task w() run process ["w"] task tidy()
    rule a when go then w()
    rule b when w done then end flow failed "enough"
    rule c when w cancelled then tidy()
    rule d when go as g then x()
    task x() run process ["x"]
    rule e when x done then cancel flow
    """
    assert passes("stub x done\npost go()\nexpect tidy once by rule c\nexpect no flow.ended", rules)
    assert passes(
        'stub x done\nstub tidy done\npost go()\nexpect flow.ended(type: "go", outcome: "cancelled") once', rules
    )


def test_the_end_of_a_flow_is_expected_like_a_record_whether_or_not_a_rule_waits_for_it() -> None:
    lines = f'{DONE}stub ship done\npost order(id: 1)\nexpect flow.ended(type: "order", outcome: "done") once'
    listening = SHOP + "event over() rule ends when flow.ended as e then over()"
    assert passes(lines)
    assert passes(lines + "\nexpect over once by rule ends", listening)


def test_what_the_test_posts_is_not_emitted() -> None:
    assert passes("post order(id: 1)\nexpect no order")


def test_a_test_begins_at_its_given_time_and_time_moves_by_advance_alone() -> None:
    rules = """
    event go(n: int) task w(at: float) rule a when go as g then w(at: g.record.created)
    """
    lines = "given now 2026-01-05T10:00\npost go(n: 1)\nadvance 90s\npost go(n: 2)\n"
    assert passes(lines + "expect w(at: 1767607200.0) once expect w(at: 1767607290.0) once", rules)


def test_a_rule_that_fails_is_an_event_and_is_noted() -> None:
    rules = "event go(x: any) task w(n: int) rule a when go as g then w(n: int(g.x))"
    assert passes('post go(x: "seven")\nexpect rule.failed(rule: "a") once\nexpect no w', rules)
    assert "note      rule a failed: w(n: …) cannot be said" in "\n".join(
        told('post go(x: "seven")\nexpect w(n: 7)', rules)
    )


def test_rules_that_bring_forth_each_other_without_time_end_the_test_with_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("then.analysis.trial.STEPS_MAX", 500)
    rules = 'event go() task w() run process ["w"] rule a when go then w() rule b when w done then w()'
    (line, *_) = told("stub w done\npost go()\nexpect no w", rules)
    assert line == "no rest after 500 steps without time: w by b → …"


# -- time ---------------------------------------------------------------------------------

TIMED = """
event order(id: int)
event refund(order: int)
task pay(order: int) -> (receipt: str)
  run process ["pay"]
  retry 5 times backoff 1m to 10m
  timeout 1h
task reserve(order: int)
  run process ["reserve"]
task ship(order: int)
task notify(text: str)
rule start when order as o then pay(order: o.id), reserve(order: o.id)
rule pack
  when all of pay done as p, reserve done as r, no refund by order within 2h
  then ship(order: order)
  on timeout then notify(text: "order {order} waits for {missing}")
rule remind when order as o then notify(text: "remember {o.id}") after 24h
rule calm when ship done as s then cancel notify where text == "remember {s.order}"
"""


def test_attempts_that_a_retry_takes_up_are_answered_one_by_one_and_counted_once() -> None:
    lines = """
      post order(id: 7)
      stub pay failed (kind: "busy") 2 times, then done (receipt: "r1")
      stub reserve done
      advance 1m    expect no ship
      advance 119s  expect no ship
      advance 1s    expect ship(order: 7) once by rule pack
      expect pay once
    """
    assert passes(lines, TIMED)


def test_an_attempt_that_hangs_is_ended_by_its_timeout_and_the_next_one_answered() -> None:
    lines = """
      stub pay hangs, then done (receipt: "r")  stub reserve done
      post order(id: 7)
      advance 60m  expect no ship
      advance 1m   expect ship once
    """
    assert passes(lines, TIMED)


def test_a_window_that_closes_is_what_advance_reaches() -> None:
    lines = """
      stub pay done (receipt: "r")  stub reserve hangs
      post order(id: 7)
      advance 119m  expect no notify by rule pack
      advance 1m    expect notify(text: "order 7 waits for reserve") once by rule pack
      expect no ship
    """
    assert passes(lines, TIMED)


def test_what_is_put_off_counts_from_its_time_on() -> None:
    lines = """
      post order(id: 7)
      advance 23h  expect no notify(text: "remember 7")
      advance 1h   expect notify(text: "remember 7") once by rule remind
    """
    assert passes(lines, TIMED)


def test_what_is_cancelled_before_its_time_never_counts() -> None:
    lines = """
      stub pay done (receipt: "r") stub reserve done stub ship done
      post order(id: 7)
      advance 4d
      expect ship once  expect no notify
    """
    assert passes(lines, TIMED)


def test_timers_of_the_rules_run_from_the_beginning_of_the_test_on() -> None:
    rules = """
    event scan() event report(day: str) event vacuum() task look() run process ["look"]
    every 15m start scan()
    every weekday at 06:30 in "Europe/Rome" start report(day: today)
    cron "0 3 1 * *" start vacuum()
    rule a when scan then look()
    """
    lines = """
      given now 2026-01-05T10:00
      stub look done
      advance 1h  expect scan 4 times by rule scan  expect look 4 times by rule a
      advance 1d  expect report(day: "2026-01-06") once  expect no vacuum
      advance 4w  expect vacuum once  expect scan 2788 times
    """
    assert passes(lines, rules)


APPROVAL = """
event go(what: str)
task ask(who: str) -> (answer: str)
task deploy() task tell(text: str)
procedure approve(who: str) -> (ok: bool)
  first ask(who: who) timeout 4h
  rule yes when ask done as a where answer == "yes" then return (ok: true)
  when ask done then return (ok: false)
  when ask timed out then return (ok: false)
end
rule start
  when go as g
  then call approve(who: "ada") as a
  then deploy() if a.ok otherwise tell(text: "{g.what} waits")
"""


def test_calls_are_played_with_their_own_rules() -> None:
    assert passes('stub ask done (answer: "yes")\npost go(what: "x")\nexpect deploy once by rule start/1', APPROVAL)
    assert passes('post go(what: "x")\nadvance 4h\nexpect tell(text: "x waits")\nexpect approve once', APPROVAL)
    assert passes('post go(what: "x")\nexpect ask(who: "ada") once by rule approve', APPROVAL)


TRIED_APPROVAL = APPROVAL.replace('"ada") as a', '"ada") as a retry 1 times backoff 1m timeout 1h').replace(
    '"{g.what} waits")', '"{g.what} waits")\n  else tell(text: "{g.what} failed")'
)


def test_a_stub_of_a_procedure_answers_its_calls_and_its_rules_are_not_run() -> None:
    # Whoever tests the caller had to know which tasks the procedure emits.
    for lines in (
        (
            'stub approve done (ok: true) post go(what: "x") expect approve(who: "ada") once'
            " expect no ask expect deploy once expect no tell"
        ),
        (
            'stub approve failed (kind: "busy") 1 times, then done (ok: false) post go(what: "x") expect no tell'
            ' advance 1m expect tell(text: "x waits") once expect no ask'
        ),
        'stub approve failed post go(what: "x") advance 1m expect tell(text: "x failed") once',
        (
            'stub approve hangs post go(what: "x") advance 59m expect no tell'
            ' advance 2h expect tell(text: "x failed") once expect no ask'
        ),
        'stub approve hangs post go(what: "x") stub approve done (ok: true) expect deploy once',
    ):
        assert passes(lines, TRIED_APPROVAL), lines


def test_a_call_that_began_before_its_stub_goes_its_own_way() -> None:
    lines = (
        'post go(what: "x") stub approve done (ok: false) expect no tell stub ask done (answer: "yes") expect deploy'
    )
    assert passes(lines, APPROVAL)


def test_rules_of_procedures_are_covered_too() -> None:
    counted = covered('stub ask done (answer: "no")\npost go(what: "x")\nexpect tell', APPROVAL).rules()
    assert [(one.rule.name, one.fired) for one in counted] == [
        ("start", 1), ("approve.yes", 0), ("approve.2", 1), ("approve.3", 0),
    ]  # fmt: skip
    assert counted[1].clauses[0].lacks == "true"


def test_a_chain_that_waits_for_a_call_says_so() -> None:
    assert "rule      start/1 waits for approve" in told('post go(what: "x")\nexpect deploy', APPROVAL)


# -- what is said of a failure ----------------------------------------------------------------


def test_a_failure_says_what_was_expected_what_came_nearest_and_what_differs() -> None:
    assert told('stub pay failed\npost order(id: 1)\nexpect notify(who: "ops") once by rule start') == [
        'expected notify(who: "ops") once by rule start, got none',
        'nearest   notify(who: "dev", text: "order 1 is not paid") by rule start/1/else',
        'who is "dev", not "ops"',
        "running   notify, unanswered: `stub notify done` would answer",
    ]


def test_a_failure_says_which_rule_did_it_instead() -> None:
    lines = told("stub pay failed\npost order(id: 1)\nexpect notify by rule lost")
    assert lines[0] == "expected notify by rule lost, got none"
    assert "by rule start/1/else, not lost" in lines


def test_a_failure_begins_with_its_place() -> None:
    (failure,) = verdict("expect pay").failures
    assert failure.text().startswith("rules.then:19:1: expected pay, got none\n")


def test_what_was_not_to_be_is_listed_with_the_rules_that_did_it() -> None:
    assert told(f"{DONE}given now 2026-01-05T10:00\nadvance 90m\npost order(id: 1)\nexpect no ship") == [
        "expected no ship, got 1",
        'got       ship(order: 1, receipt: "r1") by rule start/1 after 1h 30m',
    ]


def test_a_task_that_no_stub_answers_is_told_with_the_stub_that_would() -> None:
    lines = told("post order(id: 1)\nexpect ship")
    assert 'running   pay, unanswered: `stub pay done (receipt: "…")` would answer' in lines
    assert "rule      start/1 waits for pay" in lines


def test_the_proposed_stub_is_one_that_loads() -> None:
    rules = """
    record item(sku: str, qty: int, note: str?)
    event go()
    task w() -> (a: int, b: float, c: bool, d: str, e: list[item], f: map, g: item, h: any, i: str?, j: file)
    task x() rule a when go then w() rule b when w done then x()
    """
    (line,) = (line for line in told("post go()\nexpect x", rules) if "unanswered" in line)
    stub = line.split("`")[1]
    assert passes(f"{stub}\npost go()\nexpect x", rules)


def test_what_hangs_by_its_stub_is_not_said_to_want_one() -> None:
    assert "unanswered" not in "".join(told("stub pay hangs\npost order(id: 1)\nexpect ship"))


def test_a_clause_that_kept_a_rule_from_firing_is_shown_with_what_its_places_held() -> None:
    lines = told("post order(id: 1, total: 0)\nexpect pay")
    assert "rule      start did not fire: on order(id: 1, total: 0), `total > 0` is false (total is 0)" in lines
    assert "emitted   nothing" in lines


def test_a_rule_that_never_met_its_record_says_what_it_waits_for() -> None:
    assert "rule      lost did not fire: no `ship failed` came" in told("expect ask")


def test_a_half_filled_join_says_what_it_waits_for() -> None:
    lines = told('stub pay done (receipt: "r")\npost order(id: 7)\nexpect ship', TIMED)
    assert "rule      pack waits for `reserve done` (order 7)" in lines


def test_what_is_put_off_is_told_as_the_nearest() -> None:
    lines = told('post order(id: 7)\nadvance 23h\nexpect notify(text: "remember 7")', TIMED)
    assert 'nearest   notify(text: "remember 7") by rule remind after 23h' not in lines
    assert "due in 1h: it does not count before" in lines


def test_what_the_test_posted_is_told_as_the_nearest() -> None:
    assert "posted by the test, not emitted" in told("post order(id: 1)\nexpect order(id: 1)")


def test_all_that_failed_is_told() -> None:
    lines = told("post order(id: 1)\nexpect ship\nexpect notify\nexpect pay 2 times")
    assert [line for line in lines if line.startswith("expected")] == [
        "expected ship, got none",
        "expected notify, got none",
        "expected pay 2 times, got 1",
    ]


# -- what was covered ----------------------------------------------------------------------------


def covered(lines: str, rules: str) -> Coverage:
    loaded = edition(f'{rules}\ntest "it"\n{lines}\nend\n')
    coverage = Coverage(loaded.rules)
    assert judge(loaded.rules.scenarios[0], loaded, coverage).is_passed
    return coverage


CLAUSES = """
event mail(size: int, sender: str, tag: str?)
task keep()
task drop()
rule big
  when mail as m where size > 10 and (tag is missing or tag is not null) and not (sender == "x" or sender == "y")
  then keep() then drop()
  else drop()
rule regex when mail where sender matches /^(?P<who>\\w)@(?P<n>\\d+)$/ and int(n) > 3 then drop()
"""


def test_clauses_are_counted_apart_by_the_plain_evaluator() -> None:
    coverage = covered('post mail(size: 1, sender: "x")\npost mail(size: 20, sender: "z")', CLAUSES)
    big, regex = coverage.rules()
    assert [(clause.text, clause.lacks) for clause in big.clauses] == [
        ("size > 10", ""),
        ("tag is missing", "false"),
        ("tag is not null", "true or false"),
        ('sender == "x"', ""),
        ('sender == "y"', "true"),
    ]
    assert [clause.lacks for clause in regex.clauses] == ["true", "true or false"]


def test_a_clause_sees_what_the_regex_before_it_bound() -> None:
    _, regex = covered('post mail(size: 1, sender: "a@1")\npost mail(size: 1, sender: "a@5")', CLAUSES).rules()
    assert [clause.lacks for clause in regex.clauses] == ["false", ""]
    assert regex.fired == 1


def test_firings_and_steps_are_counted() -> None:
    big, _ = covered('stub keep done\npost mail(size: 20, sender: "z")', CLAUSES).rules()
    assert (big.fired, big.steps) == (1, {"big/1": 1, "big/1/else": 0})


WINDOWS = """
event order(id: int) event rung(door: str)
task pay(id: int) task pick(id: int) task tell(text: str)
rule begin when order as o then pay(id: o.id), pick(id: o.id)
rule both when all of pay done, pick done by id within 1h
  then tell(text: "both")
  else tell(text: "neither")
  on timeout then tell(text: "late") then tell(text: "very late")
rule calm when rung as r by door quiet for 5m then tell(text: "calm")
every 1h start order(id: 1)
"""


def test_what_fires_when_a_window_ends_is_counted() -> None:
    # Rules of `quiet for` were said never to have fired, `on timeout` and the `else` of a join were left out.
    lines = 'stub pay done\nstub tell done\npost order(id: 1)\npost rung(door: "x")\nadvance 59m\nexpect tell once'
    _, both, calm = covered(lines, WINDOWS).rules()
    assert (both.fired, both.steps) == (0, {"both/else": 0, "both/late": 0, "both/late/1": 0})
    assert calm.fired == 1

    _, both, _ = covered(f"{lines}\nadvance 1m", WINDOWS).rules()
    assert (both.fired, both.steps) == (0, {"both/else": 0, "both/late": 1, "both/late/1": 1})


def test_the_else_of_a_join_is_counted_and_not_as_the_join() -> None:
    _, both, _ = covered("stub pay failed\npost order(id: 1)", WINDOWS).rules()
    assert (both.fired, both.steps) == (0, {"both/else": 1, "both/late": 0, "both/late/1": 0})


def test_what_a_timer_starts_is_counted() -> None:
    begin, *_ = covered("advance 1h\nexpect pay once by rule begin", WINDOWS).rules()
    assert begin.fired == 1


PROCEDURES = """
event go(n: int)
task a(n: int) task b(n: int)
procedure p(n: int, do: task)
  first do(n: n)
  when do done as d where d.body.n < n then b(n: 1)
  when a done where record.attempt > n then b(n: 2)
end
procedure q() first a(n: 3) when a done where n == 7 then b(n: 3) end
rule r when go as g then call p(n: g.n, do: a)
"""


def test_clauses_in_a_procedure_see_its_arguments_and_the_records_of_its_calls_only() -> None:
    # They were decided without the arguments, so that nothing could be said, and over records of any call.
    _, handed, named, other = covered("stub a done\npost go(n: 3)", PROCEDURES).rules()
    assert [clause.lacks for clause in handed.clauses] == ["true"]
    assert [clause.lacks for clause in named.clauses] == ["true"]
    assert [clause.lacks for clause in other.clauses] == ["true or false"]


def test_a_clause_points_to_its_place() -> None:
    big, _ = covered("", CLAUSES).rules()
    assert [str(clause.span) for clause in big.clauses[:2]] == ["rules.then:6:24", "rules.then:6:39"]


def test_clauses_over_flow_variables_see_them_as_the_rules_do() -> None:
    rules = """
    event go(n: int) task w(n: int)
    rule a when go as g then save limit: g.n, w(n: g.n)
    rule b when w done where n >= flow.limit then w(n: 0)
    """
    _, rule = covered("stub w done 1 times\npost go(n: 3)\nexpect w(n: 0) once by rule b", rules).rules()
    assert (rule.fired, [clause.lacks for clause in rule.clauses]) == (1, ["false"])


# -- as data ---------------------------------------------------------------------------------------


def test_tests_are_kept_with_compiled_rules() -> None:
    rules = load_text(f'{SHOP}\ntest "it"\n{DONE}post order(id: 1)\nexpect no ship by rule start/1\nend').rules
    again = unpack(pack(rules), rules.sources)
    assert again.scenarios == rules.scenarios
    assert len(again.scenarios) == 1


def test_a_test_is_data() -> None:
    (scenario,) = load_text(f'{SHOP}\ntest "it"\n{DONE}expect no ship by rule start/1\nend').rules.scenarios
    stub, expect = scenario.lines
    assert isinstance(stub, Stub)
    assert stub.answers == (Answer("done", {"receipt": "r1"}),)
    assert isinstance(expect, Expect)
    assert (expect.type, expect.is_absent, expect.rule) == ("ship", True, "start/1")


def test_an_advance_with_too_many_due_times_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("then.analysis.trial.TICKS_MAX", 2)
    trial = Trial(edition(TIMED))
    trial.stub("pay", [(Answer("failed"), None)])
    trial.post("order", {"id": 1})
    with pytest.raises(Restless, match="more than 2 times something is due in one advance"):
        trial.advance(3_600_000_000)


def test_what_fires_when_a_window_ends_is_counted_where_it_emits_nothing() -> None:
    # It was known by its emissions only.
    rules = """
event order(id: int) event rung(door: str)
task pay(id: int) task pick(id: int)
rule begin when order as o then pay(id: o.id), pick(id: o.id)
rule both when all of pay done, pick done by id within 1h then save whole: true on timeout then save late: missing
rule calm when rung by door quiet for 5m then save calm: true
"""
    lines = 'stub pay done\npost order(id: 1)\npost rung(door: "x")\nadvance 59m'
    _, both, _ = covered(lines, rules).rules()
    assert (both.fired, both.steps) == (0, {"both/late": 0})
    _, both, calm = covered(f"{lines}\nadvance 1m", rules).rules()
    assert (both.fired, both.steps, calm.fired) == (0, {"both/late": 1}, 1)
