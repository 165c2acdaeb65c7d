"""Calls: how a procedure begins, returns once, fails, unwinds, is cut short, and what its rules see."""

from __future__ import annotations

import pytest

from tests.checked import Checked
from tests.world import World
from then.core import facts as f
from then.core import guards
from then.core.causes import Post, Proceed, Release, Report
from then.core.facts import Fault
from then.core.guards import Guards

HEAD = """
event go(n: int?) event stop() event seen(what: str) event tell()
task a(n: int?) -> (m: int?) run process ["a"]
task b(n: int?) -> (m: int?) run process ["b"]
task c(n: any?) run process ["c"]
task d(n: any?) run process ["d"]
"""


def calls(text: str) -> Checked:
    return Checked(HEAD + text)


def told(world: World) -> list[object]:
    return [task.body["what"] for task in world.emitted("seen")]


def faults(world: World) -> list[str]:
    return [fact.text for fact in world.facts(Fault) if isinstance(fact, Fault)]


# -- begin and return ---------------------------------------------------------------------


def test_a_call_is_a_record_that_runs_until_it_is_returned_from() -> None:
    world = calls(
        "procedure p(n: int) -> (m: int) first a(n: n) when a done as x then return (m: x.m + n) end"
        " rule s when go as g then call p(n: g.n) as r then c(n: r.m)"
    )
    root = world.post("go", n=1)
    [call] = world.live("p")
    assert (call.is_call, call.state, call.body, call.parent) == (True, "running", {"n": 1}, root.id)
    [a] = world.live("a")
    assert (a.call, a.parent, a.rule) == (call.id, call.id, "p")
    world.end("a", m=41)
    done = world.completed(call)
    assert (done.outcome, done.result) == ("done", {"m": 42})
    [c] = world.emitted("c")
    assert (c.body, c.parent, c.rule, c.call) == ({"n": 42}, call.id, "s/1", None)
    world.end("c")
    assert world.outcome(root) == "done"
    assert not world.state.waits.frames


def test_the_first_steps_see_the_flow_variables() -> None:
    # They were given none.
    world = calls("procedure p() first a(n: flow.v) end rule s when go then save v: 7, call p()")
    world.post("go")
    assert world.emitted("a")[0].body == {"n": 7}


def test_a_call_without_a_continuation_simply_completes_and_rules_see_it() -> None:
    world = calls('procedure p() first a() end rule s when go then call p() rule t when p done then seen(what: "p")')
    root = world.post("go")
    world.end("a")
    assert told(world) == ["p"]
    assert world.outcome(root) == "done"


def test_a_call_that_nobody_returns_from_ends_with_its_last_task() -> None:
    world = calls("procedure p() first a(), b() when a done then c() end rule s when go then call p() then d()")
    world.post("go")
    [call] = world.live("p")
    world.end("a")
    world.end("b")
    assert not world.emitted("d"), "what its rules brought forth lives"
    world.end("c")
    assert (world.completed(call).outcome, world.completed(call).result) == ("done", {})
    assert len(world.emitted("d")) == 1


def test_a_procedure_that_does_nothing_is_done_at_once() -> None:
    world = calls("procedure p(n: int) first a() if n > 5 end rule s when go then call p(n: 1) then d()")
    world.post("go")
    assert len(world.emitted("d")) == 1


def test_a_second_return_is_a_fault_and_no_second_continuation() -> None:
    world = calls(
        "procedure p() -> (m: int) first a(n: 1), a(n: 2), b() when a done as x then return (m: x.n) end"
        " rule s when go then call p() as r then c(n: r.m)"
    )
    root = world.post("go")
    world.end("a")
    world.end("a")
    world.end("b")
    assert [task.body["n"] for task in world.emitted("c")] == [1]
    assert faults(world) == ["a second return of this call"]
    world.end("c")
    assert world.outcome(root) == "done"


def test_a_return_in_a_chain_and_one_by_a_rule_on_the_same_record_are_not_both_done() -> None:
    world = calls(
        "procedure p() -> (m: int) first a() then return (m: 1) when a done then return (m: 2) end"
        ' rule s when go then call p() as r then c(n: r.m) rule t when a done then seen(what: "t")'
    )
    world.post("go")
    world.end("a")
    assert [task.body["n"] for task in world.emitted("c")] == [1]
    assert faults(world) == []
    assert told(world) == [], "a return ends the search"


def test_a_return_where_no_call_is_open_is_a_fault_without_effect() -> None:
    world = calls("procedure p() first a() end rule s when go then return (), d()")
    root = world.post("go")
    assert faults(world) == ["a return where no call is open"]
    world.end("d")
    assert world.outcome(root) == "done"


def test_a_result_that_is_not_as_declared_fails_the_call() -> None:
    world = calls(
        "procedure p() -> (m: int) first a() when a done as x then return (m: x.m) end"
        " rule s when go then call p() then d() else c()"
    )
    world.post("go")
    [call] = world.live("p")
    world.end("a")
    # Nothing to return: the rule failed, and nothing took that up.
    assert world.completed(call).outcome == "failed"
    assert [task.type for task in world.emitted()][-1] == "c"


def test_what_still_lives_after_a_return_goes_on_and_the_rules_of_the_procedure_see_it() -> None:
    # The frame was gone with the last record, before that was matched.
    world = calls(
        "procedure p() first a(), b() when a done then return () when b done as x then d(n: x.m)"
        ' when d done then seen(what: "d") end rule s when go then call p() then c()'
    )
    root = world.post("go")
    world.end("a")
    world.end("c")
    world.end("b", m=3)
    assert world.emitted("d")[0].body == {"n": 3}
    world.end("d")
    assert told(world) == ["d"]
    assert world.outcome(root) == "done"
    assert not world.state.waits.frames


def test_a_failure_after_the_return_fails_the_flow() -> None:
    world = calls("procedure p() first a(), b() when a done then return () end rule s when go then call p() then c()")
    root = world.post("go")
    world.end("a")
    world.end("c")
    world.end("b", "failed")
    assert world.outcome(root) == "failed"


# -- who sees what -----------------------------------------------------------------------------


def test_a_record_is_shown_to_continuations_then_to_its_procedure_then_to_the_top_level() -> None:
    world = calls(
        'rule t when a done then seen(what: "t")'
        ' procedure p() first a() then seen(what: "chain") when a done then seen(what: "p") end'
        " rule s when go then call p()"
    )
    world.post("go")
    a = world.end("a")
    assert world.fired(a) == ["p/1", "p.1", "t"]


def test_final_and_return_in_a_procedure_end_the_whole_search() -> None:
    world = calls(
        'procedure p() first a(), b() final rule x when a done then seen(what: "x") when a done then seen(what: "no")'
        ' when b done then return () when b done then seen(what: "no") end'
        ' rule s when go then call p() rule t when a done then seen(what: "t") rule u when b done then seen(what: "u")'
    )
    world.post("go")
    world.end("a")
    world.end("b")
    assert told(world) == ["x"]
    assert faults(world) == []


def test_a_join_that_returns_ends_the_search() -> None:
    # It went on to further rules, and a second return was a fault.
    world = calls(
        "procedure p() -> (m: int) first a(), b() when all of a done, b done then return (m: 1)"
        " when b done then return (m: 2) end rule s when go then call p() as r then c(n: r.m)"
    )
    world.post("go")
    world.end("a")
    world.end("b")
    assert [task.body["n"] for task in world.emitted("c")] == [1]
    assert faults(world) == []


def test_rules_of_other_procedures_do_not_see_it_also_not_those_further_out() -> None:
    world = calls(
        'procedure inner() first a() end procedure outer() first call inner() when a done then seen(what: "outer")'
        ' when inner done then seen(what: "inner done") end'
        " rule s when go then call outer()"
    )
    world.post("go")
    world.end("a")
    assert told(world) == ["inner done"]


def test_a_part_of_a_procedures_join_is_no_stray() -> None:
    world = calls(
        "procedure p() first tell(), a() when all of tell, a done then return () end rule s when go then call p()"
        ' rule u when unmatched tell then seen(what: "stray")'
    )
    world.post("go")
    world.end("a")
    assert told(world) == []


# -- failure ----------------------------------------------------------------------------------


def test_a_failure_that_no_rule_took_up_unwinds_once_its_siblings_have_ended() -> None:
    world = calls("procedure p() first a(), b() end rule s when go then call p() then c() else d()")
    root = world.post("go")
    [call] = world.live("p")
    world.end("a", "failed", "mine")
    assert world.live("p")
    world.end("b")
    done = world.completed(call)
    assert (done.outcome, done.error and done.error["kind"]) == ("failed", "mine")
    assert world.emissions()[-1] == "d by s/1/else"
    world.end("d")
    assert world.outcome(root) == "done"


def test_a_failure_unwinds_call_by_call_until_one_takes_it() -> None:
    world = calls(
        "procedure inner() first a() end procedure middle() first call inner() end"
        " procedure outer() first call middle() when middle failed as e then b() end"
        " rule s when go then call outer() then c()"
    )
    root = world.post("go")
    world.end("a", "timed_out", "timeout")
    assert len(world.emitted("b")) == 1
    world.end("b")
    world.end("c")
    assert world.outcome(root) == "done"


def test_a_failure_that_nothing_takes_up_fails_the_flow_once() -> None:
    world = calls(
        "procedure inner() first a() end procedure outer() first call inner() end rule s when go then call outer()"
    )
    root = world.post("go")
    world.end("a", "failed")
    assert world.outcome(root) == "failed"
    flow = world.state.past[-1]
    assert len(flow.untaken) == 1, "the outermost call stands for those in it"


def test_a_rule_at_top_level_observes_a_failure_inside_a_call_and_takes_nothing_up() -> None:
    world = calls(
        "procedure p() first a() end rule s when go then call p() then c() else d()"
        ' rule t when a failed then seen(what: "t") rule u when unmatched p failed then seen(what: "u")'
    )
    world.post("go")
    world.end("a", "failed")
    assert told(world) == ["t"]
    assert len(world.emitted("d")) == 1


def test_an_unmatched_rule_observes_a_failure_inside_a_call_as_well() -> None:
    world = calls(
        "procedure p() first a() end rule s when go then call p() then c() else d()"
        ' rule u when unmatched a failed then seen(what: "u")'
    )
    world.post("go")
    world.end("a", "failed")
    assert told(world) == ["u"]
    assert len(world.emitted("d")) == 1


def test_a_rule_of_the_procedure_takes_a_failure_up() -> None:
    world = calls("procedure p() first a() when a failed then b() end rule s when go then call p() then c() else d()")
    world.post("go")
    world.end("a", "failed")
    world.end("b")
    assert world.emissions()[-1] == "c by s/1"


def test_a_rule_that_fails_in_a_procedure_fails_its_call() -> None:
    world = calls('procedure p() first seen(what: "{flow.nothing}") end rule s when go then call p() then c() else d()')
    world.post("go")
    assert [task.type for task in world.emitted()] == ["p", "rule.failed", "d"]


def test_fail_fast_cancels_what_else_lives_in_the_call() -> None:
    world = calls(
        "procedure inner() first b() end procedure p() first a(), call inner() end"
        " rule s when go then call p() fail fast then c() else d()"
    )
    root = world.post("go")
    [call] = world.live("p")
    world.end("a", "failed")
    assert world.stopped() == ["b"]
    world.end("b", "cancelled")
    assert world.completed(call).outcome == "failed"
    world.end("d")
    assert world.outcome(root) == "done"


def test_a_call_in_which_something_was_cancelled_is_cancelled_where_nothing_returned() -> None:
    world = calls("procedure p() first a(), b() end rule s when go then call p() then c() else d()")
    root = world.post("go")
    [call] = world.live("p")
    world.cancel("a")
    world.end("a", "cancelled")
    world.end("b")
    assert world.completed(call).outcome == "cancelled"
    assert world.emissions() == ["p by s", "a by p", "b by p"], "cancelled is no failure"
    assert world.outcome(root) == "done"


# -- cancellation -------------------------------------------------------------------------------


def test_cancelling_a_call_ends_all_that_lives_in_it() -> None:
    world = calls(
        "procedure inner() first b() then c() end procedure p() first a(), call inner() end rule s when go then call p(), d()"
    )
    root = world.post("go")
    outer, inner = world.live("p")[0], world.live("inner")[0]
    world.cancel("p")
    assert world.completed(outer).outcome == world.completed(inner).outcome == "cancelled"
    assert sorted(world.stopped()) == ["a", "b"]
    world.end("a", "cancelled")
    world.end("b")
    assert "c" not in [task.type for task in world.live()], "its chain is gone with it"
    world.end("d")
    assert world.outcome(root) == "done"


def test_cancel_flow_ends_each_record_once_though_calls_hold_others() -> None:
    # What the call had ended already was ended again: law 1.
    world = Checked(
        HEAD + "procedure inner() first a(), b() end procedure p() first call inner(), c() end"
        " rule s when go then call p() rule h when stop then cancel flow",
        slots=1,
    )
    root = world.post("go")
    world.post("stop", flow=root.flow)
    ended = [fact.id for fact in world.facts(f.Completed) if isinstance(fact, f.Completed)]
    assert len(ended) == len(set(ended))
    world.end(next(task for task in world.live() if task.id in world.state.running), "cancelled")
    assert world.outcome(root) == "cancelled"


def test_a_call_that_is_cancelled_before_it_began_never_begins() -> None:
    # It was still to be begun, and the engine ended on it.
    world = calls("procedure p() first a() end rule s when go then tell(), call p() rule h when tell then cancel flow")
    root = world.post("go")
    assert world.emissions() == ["tell by s", "p by s"]
    assert world.outcome(root) == "cancelled"


def test_cancel_x_reaches_calls() -> None:
    world = calls("procedure p(n: int) first a(n: n) end rule s when go then call p(n: 1), call p(n: 2)"
                  " rule h when stop then cancel p where n == 2")  # fmt: skip
    root = world.post("go")
    world.post("stop", flow=root.flow)
    assert [task.body["n"] for task in world.live("p")] == [1]
    assert world.stopped() == ["a"]


# -- finally -------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled"])
def test_finally_runs_once_however_the_body_ended(outcome: str) -> None:
    world = calls(
        "procedure p(n: int) first a() when a done then return () finally c(n: n) end rule s when go then call p(n: 4)"
    )
    root = world.post("go")
    if outcome == "cancelled":
        world.cancel("p")
    world.end("a", outcome)  # type: ignore[arg-type]
    [c] = world.emitted("c")
    assert (c.body, c.rule, c.call) == ({"n": 4}, "p.finally", None)
    world.end("c")
    assert world.outcome(root) == ("failed" if outcome == "failed" else "done")


def test_what_a_finally_emits_outlives_the_cancellation_that_it_follows_and_no_later_one() -> None:
    world = calls(
        "procedure p() first a() finally c(n: 1) end rule s when go then call p() rule h when stop then cancel flow"
    )
    root = world.post("go")
    world.post("stop", flow=root.flow)
    world.end("a", "cancelled")
    [c] = world.emitted("c")
    assert world.live("c") == [c]
    world.post("stop", flow=root.flow)
    world.end("c", "cancelled")
    assert world.outcome(root) == "cancelled"
    assert len(world.emitted("c")) == 1


def test_finally_of_a_task_waits_for_its_last_attempt_and_takes_nothing_up() -> None:
    world = Checked(
        'event go() event seen(what: str) task a(n: int) run process ["a"] retry 1 times finally seen(what: "end {n}")'
        ' rule s when go then a(n: 3) rule u when unmatched a failed as x then seen(what: "stray")'
    )
    root = world.post("go")
    world.end("a", "failed")
    assert told(world) == []
    world.end("a", "failed")
    assert told(world) == ["end 3", "stray"], "nobody else heard of it"
    assert world.outcome(root) == "done"


def test_what_is_skipped_has_no_end_to_clean_up_after() -> None:
    world = Checked(
        'event go() event seen(what: str) task a() run process ["a"] task b() run process ["b"] finally seen(what: "end")'
        " rule s when go then a() rule r when every a done then b() else skip b()"
    )
    world.post("go")
    world.end("a", "failed")
    assert told(world) == []


# -- times -----------------------------------------------------------------------------------------


def test_the_timeout_of_a_call_ends_what_lives_in_it() -> None:
    world = calls("procedure p() first a(), b() end rule s when go then call p() timeout 1m then c() else d()")
    root = world.post("go")
    [call] = world.live("p")
    world.end("b")
    world.advance(59)
    assert world.live("p")
    world.advance(2)
    done = world.completed(call)
    assert (done.outcome, done.error and done.error["kind"]) == ("timed_out", "timeout")
    assert world.stopped() == ["a"]
    world.end("a", "cancelled")
    world.end("d")
    assert world.outcome(root) == "done"


def test_a_call_is_tried_again_as_a_whole() -> None:
    world = calls(
        "procedure p(n: int) -> (m: int) first a(n: n) when a done as x then return (m: x.m) end"
        " rule s when go then call p(n: 1) as r retry 2 times backoff 10s then c(n: r.m) else d()"
    )
    root = world.post("go")
    first = world.live("p")[0]
    world.end("a", "failed")
    assert not world.completed(first).settled
    [second] = world.live("p")
    assert (second.attempt, second.origin, second.state) == (2, first.id, "waiting")
    world.advance(11)
    world.end("a", m=9)
    assert [task.body["n"] for task in world.emitted("c")] == [9]
    world.end("c")
    assert world.outcome(root) == "done"


def test_a_call_that_was_put_off_begins_once() -> None:
    # After a restart it was begun again: that its time had come was forgotten.
    world = calls("procedure p() first a() end rule s when go then call p() after 1m")
    world.post("go")
    assert not world.emitted("a")
    world.advance(61)
    world.advance(3600)
    assert len(world.emitted("a")) == 1


# -- recursion -----------------------------------------------------------------------------------

DOWN = (
    'event go(n: int) event stop() task leaf() -> (m: int) run process ["l"] task c(n: int) run process ["c"]'
    " procedure down(n: int) -> (m: int)"
    " first call down(n: n - 1) as r if n > 0 otherwise leaf()"
    " when down done as r then return (m: r.m + 1) when leaf done as x then return (m: x.m) end"
    " rule s when go as g then call down(n: g.n) as r then c(n: r.m) rule h when stop then cancel flow"
)


def test_recursion_a_thousand_deep_returns_to_where_it_began() -> None:
    world = World(DOWN)
    root = world.post("go", n=1000)
    assert len(world.live("down")) == 1001
    world.end("leaf", m=0)
    assert [task.body["n"] for task in world.emitted("c")] == [1000]
    world.end("c")
    assert world.outcome(root) == "done"
    assert not world.state.waits.frames


def test_a_failure_unwinds_a_thousand_calls() -> None:
    world = World(DOWN)
    root = world.post("go", n=1000)
    world.end("leaf", "failed")
    assert world.outcome(root) == "failed"
    assert len(world.state.past[-1].untaken) == 1


@pytest.mark.parametrize("how", ["flow", "call"])
def test_a_thousand_calls_in_one_another_are_cancelled(how: str) -> None:
    # Each went through the next: Python's own stack was not so deep.
    world = World(DOWN)
    root = world.post("go", n=1000)
    if how == "flow":
        world.post("stop", flow=root.flow)
    else:
        world.cancel(world.live("down")[0])
    world.end("leaf", "cancelled")
    assert world.outcome(root) == ("cancelled" if how == "flow" else "done")
    ended = [fact.id for fact in world.facts(f.Completed) if isinstance(fact, f.Completed)]
    assert len(ended) == len(set(ended)) == 1002


def test_calls_too_deep_in_one_another_hold_the_flow_and_name_the_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(call_depth=20))
    world = World(DOWN)
    root = world.post("go", n=1000)
    assert "20 calls in one another: down -> down" in world.held()[-1]
    world.give(Release(root.flow))
    assert len(world.live("down")) == 22, "each further one is asked for"
    world.cancel(flow=root.flow)
    assert world.outcome(root) == "cancelled"


# -- what a procedure is handed -----------------------------------------------------------------------


def test_a_task_that_was_handed_over_is_what_its_parameter_names() -> None:
    world = calls(
        "procedure each(ns: list[int], do: task) -> (m: int) first for n in ns emit do(n: n)"
        " when do failed as x then return (m: x.body.n) when every do done then return (m: 0) end"
        " procedure twice(do: task) -> (m: int) first call each(ns: [1, 2], do: do) as r then return (m: r.m) end"
        " rule s when go then call twice(do: b) as r then c(n: r.m)"
    )
    world.post("go")
    assert [task.type for task in world.emitted()] == ["twice", "each", "b", "b"]
    world.end(world.live("b")[1], "failed")
    assert [task.body["n"] for task in world.emitted("c")] == [2]


def test_a_parameter_that_names_no_task_is_no_match() -> None:
    world = World(
        HEAD + "procedure p(do: task) first do(n: 1) when do done then return () end rule s when go then call p(do: a)"
    )
    world.bring(Post("go", {}))
    while world.state.pending:
        world.bring(Proceed())
    [a] = world.live("a")
    world.give(Report(a.id, "done", {}, None, 1, 2))
    assert not world.state.flows
