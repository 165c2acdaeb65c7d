"""What is started, when, and in which order: slots, priorities, `once`, variables, people, executors that are not here."""

from __future__ import annotations

import pytest

import then
from tests.world import World
from then.core import facts as f
from then.core import guards
from then.core.causes import AllHeld, Cancel, Post, Proceed, Report, Start
from then.core.guards import Guards


def starts(run: World) -> list[Start]:
    return [order for order in run.orders if isinstance(order, Start)]


# -- slots and priorities -----------------------------------------------------------------


def test_no_more_tasks_run_at_once_than_there_are_slots_and_the_oldest_goes_first() -> None:
    run = World('event go() task a(n: int) run process ["a"] rule r when go then a(n: 1), a(n: 2), a(n: 3)', slots=2)
    run.post("go")
    assert [order.task.body["n"] for order in starts(run)] == [1, 2]
    run.end(starts(run)[1].task)
    assert [order.task.body["n"] for order in starts(run)] == [1, 2, 3]
    assert run.state.slots_used == 2


def test_a_higher_priority_is_taken_first_and_of_equal_ones_the_oldest() -> None:
    run = World(
        'event go() task low() run process ["a"]'
        ' task high() run process ["a"] priority 7 task plain() run process ["a"]'
        " rule r when go then plain(), low(), high(), plain(), high()",
        slots=1,
    )
    run.post("go")
    for _ in range(4):
        run.end(starts(run)[-1].task)
    assert run.started() == ["high", "high", "plain", "low", "plain"]


def test_a_posted_record_may_have_a_priority_below_all_others() -> None:
    run = World('task a(n: int) run process ["a"]', slots=1)
    run.give(Post("a", {"n": 0}))
    run.give(Post("a", {"n": 1}, priority=-1))
    run.give(Post("a", {"n": 2}))
    run.give(Post("a", {"n": 3}, priority=1))
    for _ in range(3):
        run.end(starts(run)[-1].task)
    assert [order.task.body["n"] for order in starts(run)] == [0, 3, 2, 1]


def test_a_task_that_needs_no_slot_takes_none() -> None:
    run = World(
        'event go() task free() run process ["a"] needs {slots: 0} task a() run process ["a"]'
        " rule r when go then a(), a(), free(), free()",
        slots=1,
    )
    run.post("go")
    assert sorted(run.started()) == ["a", "free", "free"]
    assert run.state.slots_used == 1


def test_a_slot_is_given_back_once_however_the_task_ended() -> None:
    run = World('task a() run process ["a"]', slots=3)
    for outcome in ("done", "failed", "cancelled", "timed_out"):
        root = run.post("a")
        run.end(root, outcome)
        run.give(Report(root.id, "done", None, None, None, 1))
    assert run.state.slots_used == 0
    assert not run.state.running


# -- once ------------------------------------------------------------------------------------


def test_the_start_of_a_task_marked_once_is_a_fact_before_it_is_given_out() -> None:
    run = World('task a() run process ["a"] once task b() run process ["b"]')
    root = run.post("a")
    assert run.facts(f.Started) == [f.Started(root.id)]
    [start] = starts(run)
    assert start.after_commit
    assert start.task.started == run.terms.time
    run.post("b")
    assert not starts(run)[1].after_commit


# -- flow variables --------------------------------------------------------------------------


LOADING = """
event go()
task a(x: any, deep: any?) run process ["a"]
event seen(x: any)
rule r when go then save v: {k: [10, 20]}, a(x: load v, deep: {list: [load v]})
rule s when a done as t then seen(x: t.x)
"""


def test_variables_are_put_into_the_body_at_the_start_and_that_is_what_rules_see() -> None:
    run = World(LOADING)
    run.post("go")
    [start] = starts(run)
    assert start.task.body == {"x": {"k": [10, 20]}, "deep": {"list": [{"k": [10, 20]}]}}
    assert start.after_commit, "the body is journalled before the start"
    assert run.facts(f.Loaded) == [f.Loaded(start.task.id, start.task.body)]
    run.end("a")
    assert run.emitted("seen")[0].body == {"x": {"k": [10, 20]}}


def test_a_variable_is_the_one_of_the_start_and_not_of_the_emission() -> None:
    run = World(
        'event go() task a(x: any) run process ["a"] rule r when go then save v: 1, a(x: load v), a(x: load v)'
        " rule s when a done then save v: 2",
        slots=1,
    )
    run.post("go")
    run.end("a")
    assert [order.task.body for order in starts(run)] == [{"x": 1}, {"x": 2}]


def test_a_path_into_a_variable_is_followed() -> None:
    rules = then.Rules()
    rules.task("a", run=("process", ["a"]))
    run = World(rules)
    root = run.give(Post("a", {"x": {"type": "load", "name": ["v", "k", 1]}})).answer
    assert root is not None
    assert run.completed(root).error == {"kind": "load", "message": 'flow variable "v" was never saved'}


def test_a_variable_that_was_never_saved_fails_the_task_which_is_matched_like_any() -> None:
    run = World(
        'event go() event told(kind: str) task a(x: any) run process ["a"] rule r when go then a(x: load v)'
        " rule s when a failed as t then told(kind: t.error.kind)"
    )
    root = run.post("go")
    assert run.emitted("told")[0].body == {"kind": "load"}
    assert not run.started()
    assert run.outcome(root) == "done"


def test_a_failure_to_load_that_emits_itself_again_is_held_by_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    # It went round within one step, up to a million records.
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=100))
    run = World(
        'event go() task a(x: any) run process ["a"] rule r when go then a(x: load v) rule s when a failed then a(x: load v)'
    )
    root = run.post("go")
    assert run.state.flows[root.flow].held
    assert 100 <= run.state.flows[root.flow].records <= 110
    assert "a by rule s" in run.held()[-1]


# -- people, and executors that are not here -----------------------------------------------------


def test_a_persons_task_runs_until_somebody_completes_it_and_takes_no_slot() -> None:
    run = World("event go() task ask(who: str) -> (ok: bool) rule r when ask done as a then go() if a.ok", slots=0)
    root = run.post("ask", who="me")
    assert root.state == "running"
    assert not run.started()
    run.give(Report(root.id, "done", {"ok": True}, None, root.started, run.terms.time, root.flow, "person"))
    assert run.emissions() == ["go by r"]
    assert run.outcome(root) == "done"


def test_a_persons_task_that_is_cancelled_ends_at_once() -> None:
    run = World("task ask()")
    root = run.post("ask")
    run.cancel(root)
    assert run.completed(root).outcome == "cancelled"
    assert not run.stopped()


def test_an_emission_that_nothing_is_known_to_run_fails_as_no_executor() -> None:
    rules = then.Rules()

    @rules.when("go")
    def start(go: then.Task) -> then.Emission:
        return then.emit("nowhere")

    run = World(rules)
    root = run.post("go")
    [task] = run.emitted()
    assert (task.outcome, task.error and task.error["kind"]) == ("failed", "no_executor")
    assert run.outcome(root) == "failed"


def test_a_task_whose_executor_is_not_here_waits_and_is_named() -> None:
    run = World('task a() run process ["a"] task b() run python "m:f"', kinds=["python"])
    root = run.post("a")
    assert run.live("a")[0].state == "waiting"
    still = [order for order in run.orders if isinstance(order, AllHeld)][-1]
    assert still.is_stuck
    assert still.reason == f'task {root.id} (a) needs the executor "process", which is not here'
    assert run.outcome(root) is None


def test_a_flow_of_which_something_else_still_runs_does_not_stand_still() -> None:
    run = World(
        'event go() task a() run process ["a"] task b() run python "m:f" rule r when go then a(), b()', kinds=["python"]
    )
    root = run.post("go")
    assert not run.held()
    run.end("b")
    assert "(a) needs the executor" in run.held()[-1]
    run.cancel("a")
    assert run.outcome(root) == "done"
    assert not run.state.stuck


def test_flows_that_an_ending_engine_was_not_told_to_finish_start_nothing() -> None:
    run = World('task a() run process ["a"] task b() run process ["b"] rule r when a done then b()')
    kept, other = run.post("a"), run.post("a")
    run.terms.only = frozenset((kept.flow,))
    run.end(kept)
    run.end(other)
    assert run.started() == ["a", "a", "b"]


def test_nothing_is_started_before_it_was_asked_what_still_runs() -> None:
    run = World('task a() run process ["a"]')
    run.terms.may_start = False
    run.post("a")
    assert not run.started()
    run.terms.may_start = True
    run.bring(Proceed())
    assert run.started() == ["a"]


def test_what_was_told_to_stop_is_not_started() -> None:
    run = World('task a() run process ["a"]')
    root = run.post("a")
    run.give(Cancel((root.id,)))
    # As after a restart: what ran is waiting again.
    run.state.running.clear()
    run.state.enqueue(run.live("a")[0])
    run.bring(Proceed())
    assert run.started() == ["a"]


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_slots_used_are_the_slots_of_what_runs(slots: int) -> None:
    run = World('task a() run process ["a"] rule r when a done then a(), a()', slots=slots)
    run.post("a")
    for _ in range(20):
        run.end(starts(run)[-1].task)
        assert run.state.slots_used == sum(run.state.running.values()) <= slots


LOADED = """
event go(title: any)
task f(title: str) run process ["true"]
rule a when go as g then save title: g.title, f(title: load title)
"""


def test_a_variable_may_stand_for_a_typed_field_and_is_checked_when_it_is_put_there() -> None:
    world = World(LOADED)
    world.post("go", title="x")
    assert [task.body for task in world.live("f")] == [{"title": "x"}]
    assert world.started() == ["f"]
    wrong = world.post("go", title=5)
    (ended,) = [fact for fact in world.facts(f.Completed) if isinstance(fact, f.Completed) and fact.error]
    assert ended.error == {"kind": "load", "message": "f: title: the number 5, str is declared"}
    assert world.outcome(wrong) == "failed"
