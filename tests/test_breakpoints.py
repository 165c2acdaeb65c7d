"""Breakpoints: what holds a record, for how long, and who sees it meanwhile."""

from __future__ import annotations

import pytest

from tests.checked import Checked
from tests.world import World
from then.core import facts as f
from then.core.causes import Cancel, DropBreakpoint, Proceed, Release, Report, SetBreakpoint, Start, SwitchBreakpoint
from then.core.errors import BodyRefused, ConfigError, UnknownName
from then.core.tasks import Body, Json, Task

SHOP = """
event order(id: int, total: int)
task pay(order: int, amount: int) -> (receipt: str) run process ["pay"]
task reserve(order: int) run process ["reserve"]
task ship(order: int, receipt: str) run process ["ship"]
task label(order: int) run process ["label"]
task ask(order: int) timeout 1h
event shipped(order: int)
rule placed when order as o then pay(order: o.id, amount: o.total), reserve(order: o.id)
rule pack when all of pay done as p, reserve done as r by p.order == r.order, flow
  then ship(order: p.order, receipt: p.receipt) then label(order: p.order) then shipped(order: p.order)
"""


def shop(*breakpoints: str, slots: int = 100, rules: str = SHOP) -> Checked:
    run = Checked(rules + "\n".join(breakpoints), slots=slots)
    run.adopt()
    return run


def released(run: World, task: Task, body: Body | None = None, result: Body | None = None) -> None:
    run.give(Release(task.id, body, result, "ann"))


def states(run: World) -> dict[str, str]:
    return {task.type: task.state for task in run.live()}


def hits(run: World, name: str) -> int:
    return run.state.holds.points[name].hits


# -- before a start -------------------------------------------------------------------------


def test_a_task_is_held_before_its_start_and_starts_only_after_release() -> None:
    run = shop("breakpoint big before pay where amount > 500")
    root = run.post("order", id=1, total=900)
    assert run.started() == ["reserve"]
    assert states(run) == {"pay": "held", "reserve": "running"} or states(run)["pay"] == "held"
    [pay] = run.live("pay")
    hold = run.state.holds.stops[pay.id]
    assert (hold.breakpoint, hold.place, hold.hit, hold.since) == ("big", "before", 1, run.terms.time)
    released(run, pay)
    assert run.started() == ["reserve", "pay"]
    run.end("pay", receipt="r1")
    run.end("reserve")
    assert run.started()[2:] == ["ship"]
    run.end("ship")
    run.end("label")
    assert run.outcome(root) == "done"
    assert not run.state.holds.stops


def test_what_the_condition_leaves_out_goes_past_and_is_no_hit() -> None:
    run = shop("breakpoint big before pay where amount > 500")
    run.post("order", id=1, total=100)
    assert run.started() == ["pay", "reserve"]
    assert hits(run, "big") == 0


def test_the_slot_of_a_task_that_is_held_goes_to_the_next() -> None:
    run = shop("breakpoint stop before pay", slots=1)
    run.post("order", id=1, total=1)
    assert run.started() == ["reserve"]


def test_a_timeout_begins_at_the_release() -> None:
    rules = 'event go() task slow() run process ["s"] timeout 10s rule r when go then slow()\n'
    run = shop("breakpoint b before slow", rules=rules)
    root = run.post("go")
    run.advance(60)
    [slow] = run.live("slow")
    assert slow.state == "held"
    released(run, slow)
    run.advance(9)
    assert not run.stopped()
    run.advance(2)
    assert run.stopped() == ["slow"]
    run.give(Report(slow.id, "cancelled", None, {"kind": "cancelled"}, None, run.terms.time))
    assert run.outcome(root) == "failed"


def test_what_expires_goes_on_expiring_while_it_is_held() -> None:
    rules = 'event go() task slow() run process ["s"] expires 10s rule r when go then slow()\n'
    run = shop("breakpoint b before slow", rules=rules)
    root = run.post("go")
    run.advance(11)
    assert run.outcome(root) == "failed"
    assert run.completed(run.emitted("slow")[0]).outcome == "timed_out"


def test_a_resource_is_claimed_at_the_release() -> None:
    rules = 'event go(n: int) task one(n: int) run process ["s"] limit 1 at once rule r when go as g then one(n: g.n)\n'
    run = World(rules + "breakpoint b before one where n == 1")
    run.adopt()
    run.post("go", n=1)
    run.post("go", n=2)
    assert [order.task.body for order in run.orders if isinstance(order, Start)] == [{"n": 2}]
    held = next(task for task in run.live("one") if task.is_held)
    released(run, held)
    assert len(run.started()) == 1, "the other has it"
    run.end(next(task for task in run.live("one") if not task.is_held and task.id != held.id))
    assert len(run.started()) == 2


def test_nobody_is_asked_for_what_is_held_and_its_time_begins_at_the_release() -> None:
    rules = "event go() task ask() timeout 1h event done() rule r when go then ask() then done()\n"
    run = shop("breakpoint b before ask", rules=rules)
    root = run.post("go")
    [ask] = run.live("ask")
    assert (ask.state, ask.started) == ("held", None)
    run.advance(7200)
    assert run.live("ask")[0].state == "held"
    released(run, ask)
    assert run.live("ask")[0].state == "running"
    run.advance(3590)
    assert run.outcome(root) is None
    run.end("ask")
    assert run.outcome(root) == "done"


def test_a_call_is_held_before_its_first_steps_with_its_arguments_to_be_changed() -> None:
    rules = """
    event go() task work(n: int) run process ["w"]
    procedure both(n: int) first work(n: n) when work done then return () end
    rule r when go then call both(n: 1)
    """
    run = shop("breakpoint b before both", rules=rules)
    root = run.post("go")
    assert states(run) == {"both": "held"}
    assert run.held() == ["held at a breakpoint"]
    released(run, run.live("both")[0], {"n": 7})
    assert run.live("work")[0].body == {"n": 7}
    run.end("work")
    assert run.outcome(root) == "done"


def test_each_attempt_is_held_for_itself() -> None:
    rules = 'event go() task a() run process ["a"] retry 2 times rule r when go then a()\n'
    run = shop("breakpoint b before a", rules=rules)
    run.post("go")
    for attempt in (1, 2):
        [task] = run.live("a")
        assert (task.attempt, task.state) == (attempt, "held")
        released(run, task)
        run.end("a", "failed")
    assert hits(run, "b") == 3


# -- after an end ---------------------------------------------------------------------------


def test_a_completed_record_is_held_and_nothing_sees_it_until_the_release() -> None:
    run = shop("breakpoint b after pay done")
    root = run.post("order", id=1, total=9)
    run.end("reserve")
    pay = run.end("pay", receipt="r1")
    assert run.completed(pay).held == "held at breakpoint b (after pay)"
    assert (run.live("pay")[0].state, run.live("pay")[0].outcome) == ("held", "done")
    assert run.fired(pay) == []
    assert run.started() == ["pay", "reserve"]
    released(run, pay)
    assert run.fired(pay) == ["pack"]
    assert run.started()[2:] == ["ship"]
    run.end("ship")
    run.end("label")
    assert run.outcome(root) == "done"


def test_completion_and_hold_are_one_step_and_release_firings_and_emissions_another() -> None:
    rules = 'event go() task a() run process ["a"] task b() run process ["b"] rule r when go then a() rule s when a done then b()\n'
    run = shop("breakpoint p after a", rules=rules)
    run.post("go")
    [task] = run.live("a")
    done = run.bring(Report(task.id, "done", {}, None, 1, run.terms.time))
    assert [type(fact) for page in done.pages for fact in page.facts] == [f.Hit, f.Completed]
    done = run.bring(Release(task.id))
    assert [type(fact) for page in done.pages for fact in page.facts] == [f.Taken, f.Emitted, f.Matched]


def test_a_join_sees_the_record_as_it_was_edited_and_the_original_is_kept() -> None:
    run = shop("breakpoint b after pay")
    run.post("order", id=1, total=9)
    run.end("reserve")
    pay = run.end("pay", receipt="wrong")
    released(run, pay, result={"receipt": "right"})
    assert run.emitted("ship")[0].body == {"order": 1, "receipt": "right"}
    assert run.completed(pay).result == {"receipt": "wrong"}
    [edited] = run.facts(f.Edited)
    assert isinstance(edited, f.Edited)
    assert (edited.result, edited.by) == ({"receipt": "right"}, "ann")


def test_an_edit_that_the_declaration_refuses_changes_nothing() -> None:
    run = shop("breakpoint b after pay", "breakpoint c before ship")
    run.post("order", id=1, total=9)
    run.end("reserve")
    pay = run.end("pay", receipt="r")
    with pytest.raises(ConfigError, match="receipt"):
        run.bring(Release(pay.id, None, {"receipt": 5}))
    with pytest.raises(BodyRefused):
        run.bring(Release(pay.id, {"order": "one", "amount": 1}))
    assert run.live("pay")[0].state == "held"
    released(run, pay)
    [ship] = run.live("ship")
    with pytest.raises(ConfigError, match="has no result yet"):
        run.bring(Release(ship.id, None, {"receipt": 5}))
    assert not run.facts(f.Edited)


def test_an_event_is_held_before_its_match_and_its_body_can_be_changed() -> None:
    run = shop("breakpoint b after order")
    order = run.post("order", id=1, total=9)
    assert states(run) == {"order": "held"}
    assert run.state.flows[order.flow].state == "held"
    released(run, order, {"id": 1, "total": 77})
    assert run.live("pay")[0].body["amount"] == 77
    assert hits(run, "b") == 1


def test_an_attempt_that_is_not_the_last_is_held_and_the_next_follows_from_its_release() -> None:
    rules = 'event go() task a(n: int) run process ["a"] retry 2 times backoff 1m rule r when go then a(n: 1)\n'
    run = shop("breakpoint b after a failed", rules=rules)
    root = run.post("go")
    first = run.end("a", "failed")
    assert [task.attempt for task in run.live("a")] == [1]
    run.advance(600)
    released(run, first, {"n": 2})
    assert [(task.attempt, task.body) for task in run.live("a")] == [(2, {"n": 2})]
    assert run.started() == ["a"]
    run.advance(61)
    run.end("a")
    assert run.outcome(root) == "done"


def test_the_callers_of_a_procedure_see_a_held_call_only_from_its_release() -> None:
    rules = """
    event go() task work() run process ["w"] event after() task next() run process ["n"]
    procedure both() -> (n: int) first work() when work done then return (n: 1) end
    rule r when go then call both() as b then next()
    """
    run = shop("breakpoint b after both done where n == 1", rules=rules)
    root = run.post("go")
    run.end("work")
    assert states(run) == {"both": "held"}
    assert run.held() == ["held at a breakpoint"]
    released(run, run.live("both")[0], result={"n": 2})
    assert run.started() == ["work", "next"]
    run.end("next")
    assert run.outcome(root) == "done"


def test_a_flow_whose_open_call_holds_all_that_lives_is_held() -> None:
    rules = """
    event go() task work() run process ["w"]
    procedure both() first work() when work done then return () end
    rule r when go then call both()
    """
    run = shop("breakpoint b before work", rules=rules)
    root = run.post("go")
    assert states(run) == {"both": "running", "work": "held"}
    assert run.held() == ["held at a breakpoint"]
    assert run.state.flows[root.flow].state == "held"


def test_a_twin_ends_with_the_result_as_it_was_edited() -> None:
    rules = 'event go() task a(k: int) -> (n: int) run process ["a"] idempotent by k rule r when go then a(k: 1)\n'
    run = shop("breakpoint b after a once", rules=rules)
    run.post("go")
    run.post("go")
    first = run.end("a", n=1)
    assert states(run) == {"a": "waiting"} or len(run.live("a")) == 2
    released(run, first, result={"n": 2})
    ends = [fact.result for fact in run.facts(f.Completed) if isinstance(fact, f.Completed)]
    assert ends == [{"n": 1}, {"n": 2}]


def test_a_part_that_was_held_counts_from_its_release() -> None:
    rules = """
    event a(k: int) event b(k: int) event met(k: int) event late(k: int)
    rule r when all of a as x, b as y by x.k == y.k within 1h then met(k: k) on timeout then late(k: k)
    """
    run = shop("breakpoint p after a", rules=rules)
    a = run.post("a", k=1)
    run.advance(7200)
    released(run, a)
    run.advance(1800)
    run.post("b", k=1)
    assert run.emissions() == ["met by r"]


# -- on a rule ------------------------------------------------------------------------------


def test_a_breakpoint_on_a_join_holds_the_record_that_would_make_it_fire() -> None:
    run = shop("breakpoint b on rule pack show p.receipt, r.order")
    run.post("order", id=1, total=9)
    pay = run.end("pay", receipt="r1")
    assert run.fired(pay) == []
    assert not run.state.holds.stops, "it is only a part"
    reserve = run.end("reserve")
    hold = run.state.holds.stops[reserve.id]
    assert (hold.place, hold.shown) == ("rule pack", {"p.receipt": "r1", "r.order": 1})
    assert run.started() == ["pay", "reserve"]
    released(run, reserve)
    assert run.started()[2:] == ["ship"]


def test_a_breakpoint_on_a_step_of_a_chain_holds_the_record_that_it_would_follow() -> None:
    run = shop("breakpoint b on rule pack/1 show p.receipt")
    run.post("order", id=1, total=9)
    run.end("pay", receipt="r1")
    run.end("reserve")
    ship = run.end("ship")
    assert run.state.holds.stops[ship.id].shown == {"p.receipt": "r1"}
    assert run.started()[-1] == "ship"
    released(run, ship)
    assert run.started()[-1] == "label"


def test_a_rule_that_an_earlier_final_one_leaves_no_turn_does_not_stop() -> None:
    rules = "event go(n: int) event x() event y() final rule a when go where n == 1 then x() rule b when go then y()\n"
    run = shop("breakpoint p on rule b", rules=rules)
    run.post("go", n=1)
    assert run.emissions() == ["x by a"]
    run.post("go", n=2)
    assert states(run) == {"go": "held"}


def test_a_rule_of_a_procedure_is_met_in_its_calls() -> None:
    rules = """
    event go() task work() run process ["w"]
    procedure both(n: int) first work() rule yes when work done if n > 0 then return () end
    rule r when go then call both(n: 1)
    """.replace(" if n > 0", "")
    run = shop("breakpoint b on rule both.yes", rules=rules)
    root = run.post("go")
    work = run.end("work")
    assert run.state.holds.stops[work.id].place == "rule both.yes"
    released(run, work)
    assert run.outcome(root) == "done"


# -- hits, order, once, expiry ------------------------------------------------------------------


def test_hits_are_counted_from_the_setting_and_the_nth_is_the_first_that_stops() -> None:
    run = shop("breakpoint b before pay from hit 3")
    for id in range(4):
        run.post("order", id=id, total=1)
    assert run.started().count("pay") == 2
    assert hits(run, "b") == 4


def test_once_switches_itself_off_at_its_stop() -> None:
    run = shop("breakpoint b before pay from hit 2 once")
    for id in range(4):
        run.post("order", id=id, total=1)
    assert run.started().count("pay") == 3
    assert not run.state.holds.points["b"].is_on
    assert not run.state.is_watched


def test_an_expired_breakpoint_holds_nothing_more_and_lets_nothing_go() -> None:
    run = shop("breakpoint b before pay expires 1h")
    run.post("order", id=1, total=1)
    run.advance(3601)
    run.post("order", id=2, total=1)
    assert run.started().count("pay") == 1
    assert len([task for task in run.live("pay") if task.is_held]) == 1


def test_of_several_the_first_in_order_holds_and_none_of_them_holds_it_there_again() -> None:
    run = shop("breakpoint one after pay", "breakpoint two after any", "breakpoint three on rule note",
               rules=SHOP + "event noted() rule note when pay done then noted()\n")  # fmt: skip
    run.post("order", id=1, total=1)
    order = run.live("order")[0]
    released(run, order)
    pay = run.end("pay", receipt="r")
    assert run.state.holds.stops[pay.id].breakpoint == "one"
    released(run, pay)
    assert run.fired(pay) == ["note"]
    assert [hits(run, name) for name in ("one", "two", "three")] == [1, 3, 1]


def test_a_condition_that_cannot_be_said_does_not_stop_and_is_counted() -> None:
    run = shop("breakpoint b after any where body.weight > 3")
    run.post("order", id=1, total=1)
    assert run.started() == ["pay", "reserve"]
    point = run.state.holds.points["b"]
    assert (point.hits, point.unsaid) == (0, 1)
    assert "weight is missing" in point.why_unsaid


def test_a_logpoint_never_stops_and_what_it_says_is_in_the_journal() -> None:
    run = shop('logpoint l before pay where amount > 5 print "{amount} for order {order}"')
    run.post("order", id=1, total=9)
    assert run.started() == ["pay", "reserve"]
    [hit] = run.facts(f.Hit)
    assert isinstance(hit, f.Hit)
    assert (hit.text, hit.stops) == ("9 for order 1", False)


def test_a_family_and_any_hold_every_type_of_theirs() -> None:
    rules = 'event go() task x.a() run process ["a"] task x.b() run process ["b"] task y() run process ["y"] rule r when go then x.a(), x.b(), y()\n'
    run = shop("breakpoint b before x.*", rules=rules)
    run.post("go")
    assert run.started() == ["y"]


# -- set while flows run ------------------------------------------------------------------------


def add(run: World, name: str, text: str, **more: Json) -> None:
    run.give(SetBreakpoint(name, f"breakpoint {name} {text}", **more))


def test_it_sees_every_record_whose_start_or_completion_is_after_its_setting() -> None:
    run = shop(slots=1)
    run.post("order", id=1, total=1)
    assert run.started() == ["pay"]
    add(run, "late", "before any")
    add(run, "end", "after pay")
    pay = run.end("pay", receipt="r")
    assert run.completed(pay).held is not None
    assert run.live("reserve")[0].state == "held"


def test_one_that_is_scoped_to_a_flow_holds_nothing_of_others() -> None:
    run = shop("breakpoint first before reserve from hit 9")
    first, second = run.post("order", id=1, total=1), run.post("order", id=2, total=1)
    add(run, "mine", "after pay", flow=second.flow)
    for task in run.live("pay"):
        run.end(task, receipt="r")
    assert [task.flow for task in run.live() if task.is_held] == [second.flow]
    assert first.flow != second.flow


def test_switched_off_it_holds_nothing_and_what_it_held_stays_held() -> None:
    run = shop("breakpoint b before pay")
    run.post("order", id=1, total=1)
    run.give(SwitchBreakpoint("b", False))
    run.post("order", id=2, total=1)
    assert run.started().count("pay") == 1
    assert [task.state for task in run.live("pay")].count("held") == 1
    run.give(SwitchBreakpoint("b", True))
    run.post("order", id=3, total=1)
    assert [task.state for task in run.live("pay")].count("held") == 2


def test_taken_away_it_leaves_what_it_held_or_lets_it_go() -> None:
    run = shop()
    add(run, "a", "before pay")
    add(run, "b", "before reserve")
    run.post("order", id=1, total=1)
    run.give(DropBreakpoint("a"))
    assert not run.started()
    run.give(DropBreakpoint("b", releases=True))
    assert run.started() == ["reserve"]
    assert not run.state.is_watched
    released(run, run.live("pay")[0])
    assert run.started() == ["reserve", "pay"]


def test_names_are_unique_and_what_stands_in_the_rules_stays_there() -> None:
    run = shop("breakpoint b before pay")
    with pytest.raises(ConfigError, match="there is a breakpoint"):
        add(run, "b", "before reserve")
    with pytest.raises(ConfigError, match="stands in the rules"):
        run.bring(DropBreakpoint("b"))
    with pytest.raises(UnknownName):
        run.bring(SwitchBreakpoint("c", True))
    with pytest.raises(ConfigError, match="no open flow"):
        add(run, "d", "before pay", flow="0000000000000")


def test_the_match_of_a_record_says_which_breakpoints_it_went_past() -> None:
    run = shop("breakpoint b before ship")
    run.post("order", id=1, total=1)
    add(run, "c", "before label")
    run.end("pay", receipt="r")
    reserve = run.end("reserve")
    versions = [fact.breakpoints for fact in run.facts(f.Matched) if isinstance(fact, f.Matched)]
    assert versions == [1, 2]
    assert reserve.id


# -- cancelled, and continued whole --------------------------------------------------------------


def test_a_held_task_that_is_cancelled_ends_as_cancelled_and_is_not_held_again() -> None:
    run = shop("breakpoint b before pay", "breakpoint c after pay")
    run.post("order", id=1, total=1)
    [pay] = run.live("pay")
    run.give(Cancel((pay.id,)))
    assert run.completed(pay).outcome == "cancelled"
    assert not run.live("pay")


def test_a_held_completed_record_that_is_cancelled_is_let_go_to_no_rule() -> None:
    run = shop("breakpoint c after pay")
    run.post("order", id=1, total=1)
    run.end("reserve")
    pay = run.end("pay", receipt="r")
    run.give(Cancel((pay.id,)))
    assert run.fired(pay) == []
    assert run.completed(pay).outcome == "done"


def test_a_cancelled_flow_leaves_nothing_held() -> None:
    run = shop("breakpoint c after any", "breakpoint b before reserve")
    root = run.post("order", id=1, total=1)
    released(run, run.live("order")[0])
    run.give(Cancel((), root.flow))
    [pay] = run.live("pay")
    run.give(Report(pay.id, "cancelled", None, {"kind": "cancelled"}, 1, run.terms.time))
    assert run.outcome(root) == "cancelled"


def test_a_flow_is_continued_whole_by_its_id() -> None:
    run = shop("breakpoint b before any")
    root = run.post("order", id=1, total=1)
    assert run.held() == ["held at a breakpoint"]
    run.give(Release(root.flow))
    assert run.started() == ["pay", "reserve"]
    with pytest.raises(ConfigError, match="is not held"):
        run.bring(Release(root.flow))


def test_who_completes_a_held_task_of_a_person_ends_it() -> None:
    rules = "event go() task ask() event done() rule r when go then ask() then done()\n"
    run = shop("breakpoint b before ask", rules=rules)
    root = run.post("go")
    run.end("ask")
    assert run.outcome(root) == "done"
    assert run.state.flows == {}


def test_a_task_that_was_released_and_waits_for_a_slot_is_not_held_again() -> None:
    run = shop("breakpoint b before pay", slots=1)
    run.post("order", id=1, total=1)
    assert run.started() == ["reserve"]
    [pay] = run.live("pay")
    released(run, pay)
    assert run.live("pay")[0].state == "waiting"
    add(run, "c", "before any")
    run.bring(Proceed())
    run.end("reserve")
    assert run.started() == ["reserve", "pay"]


def test_a_task_that_was_released_starts_only_when_the_release_is_durable() -> None:
    # It was started at once, for its emission was durable: after a crash it was held, and had run.
    run = shop("breakpoint b before pay")
    run.post("order", id=1, total=1)
    released(run, run.live("pay")[0])
    [start] = [order for order in run.orders if isinstance(order, Start) and order.task.type == "pay"]
    assert start.after_commit


def test_a_record_that_a_guard_holds_after_a_breakpoint_let_it_start_goes_on_with_its_flow() -> None:
    # The guard's release passed it over, as one that a breakpoint holds.
    rules = 'event go() task a() run process ["a"] rule r when go then a() rule s when a done then a()\n'
    run = World(rules + "breakpoint b before a once")
    run.adopt()
    root = run.post("go")
    [task] = run.live("a")
    released(run, task)
    run.state.flows[root.flow].held = "a guard"
    run.end(task)
    assert run.live("a")[0].state == "held"
    run.give(Release(root.flow))
    assert run.fired(task) == ["s"]
