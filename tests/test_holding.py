"""Flows that a guard holds: what stands still, what is let go, and what a cancel does to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.world import World
from then.core import breakpoints, guards
from then.core import facts as f
from then.core.causes import AllHeld, Cancel, Post, Release
from then.core.errors import ConfigError
from then.core.evaluate import Scope, compile_value
from then.core.filters import Expr
from then.core.guards import Guards
from then.core.tasks import Json, Task

CYCLE = """
event tick(n: int)
event stop()
event note(what: str)
task a() run process ["a"]
task b() run process ["b"]
rule round when tick as t then tick(n: t.n + 1)
rule on when a done then b()
rule tidy when any cancelled as x then note(what: x.record.type)
"""


RUN_MAX = 100
"""What holds for a hundred events in a row holds for the ten thousand of an engine."""


@pytest.fixture(autouse=True)
def _a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (guards.USUAL.idle_events, guards.USUAL.flow_records) == (10_000, 1_000_000)
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=RUN_MAX))


@pytest.fixture
def run() -> World:
    return World(CYCLE)


def spun(run: World) -> Task:
    """A flow that a cycle of events made the guard hold, with a task that runs beside."""
    root = run.post("a")
    run.post("tick", flow=root.flow, n=0)
    return root


def test_a_rule_that_emits_for_ever_is_held_and_the_reason_names_the_cycle(run: World) -> None:
    root = run.post("tick", n=0)
    flow = run.state.flows[root.flow]
    assert flow.held == (
        f"{RUN_MAX} events in a row without a task that ran: tick by rule round -> …; "
        "mend the rule, then `andthen continue` or `andthen cancel` the flow"
    )
    assert flow.records == RUN_MAX + 1
    assert flow.state == "held"
    [tick] = run.live()
    assert (tick.state, tick.outcome) == ("held", "done")
    still = run.orders[-1]
    assert isinstance(still, AllHeld)
    assert not still.is_stuck


def test_a_cycle_of_two_is_named_whole() -> None:
    run = World("event a() event b() rule ra when a then b() rule rb when b then a()")
    root = run.post("a")
    held = run.state.flows[root.flow].held
    assert held is not None
    assert "b by rule ra -> a by rule rb -> …" in held or "a by rule rb -> b by rule ra -> …" in held


def test_a_task_that_ran_in_between_starts_the_count_anew(run: World) -> None:
    world = World(
        f'event tick(n: int) task a() run process ["a"]'
        f" rule round when tick as t then tick(n: t.n + 1) if t.n < {RUN_MAX - 10} otherwise a()"
        " rule again when a done then tick(n: 0)"
    )
    root = world.post("tick", n=0)
    world.end("a")
    world.end("a")
    assert world.state.flows[root.flow].held is None
    assert world.started() == ["a", "a", "a"]


def test_a_continue_lets_it_go_on_until_the_guard_holds_it_again(run: World) -> None:
    root = run.post("tick", n=0)
    run.give(Release(root.flow))
    flow = run.state.flows[root.flow]
    assert flow.held
    assert flow.records == 2 * RUN_MAX + 1
    assert flow.stopped == flow.live == 1


def test_of_a_held_flow_nothing_is_matched_and_nothing_starts_until_it_is_released(run: World) -> None:
    root = spun(run)
    done = run.end("a", m=1)
    assert run.completed(done).held is not None
    assert run.live("a")[0].state == "held"
    assert run.live("a")[0].outcome == "done"
    assert not run.emitted("b")
    assert run.state.flows[root.flow].stopped == 2
    run.give(Release(root.flow))
    assert run.started() == ["a", "b"]
    assert run.fired(done) == ["on"]


def test_a_task_that_was_waiting_for_a_slot_starts_after_the_release_with_its_priority() -> None:
    run = World(
        CYCLE
        + 'task other() run process ["o"]\n'
        + 'task high() run process ["h"] priority 5\ntask free() run process ["f"] needs {slots: 0}',
        slots=1,
    )
    blocker = run.post("other")
    root = run.post("tick", n=0)
    for type in ("b", "high", "free"):
        run.post(type, flow=root.flow)
    run.end(blocker)
    run.give(Cancel((run.live("tick")[0].id,)))
    assert run.started() == ["other"]
    run.give(Release(root.flow))
    assert run.started() == ["other", "free", "high"]
    run.end("high")
    assert run.started()[-1] == "b"


def test_nobody_is_told_that_a_flow_stands_still_while_a_task_of_it_runs(run: World) -> None:
    spun(run)
    assert not run.held()
    run.end("a")
    assert len(run.held()) == 1


def test_other_flows_go_on(run: World) -> None:
    spun(run)
    other = run.post("a")
    run.end(other)
    run.end("b")
    assert run.outcome(other) == "done"


def test_a_cancelled_flow_that_was_held_ends_and_its_clean_up_runs(run: World) -> None:
    # Its tasks were cancelled and then held, for nobody to see.
    run = World(CYCLE, slots=1)
    blocker = run.post("a")
    root = run.post("tick", n=0)
    run.post("a", flow=root.flow)
    run.give(Cancel((), root.flow))
    assert [task.body for task in run.emitted("note")] == [{"what": "a"}]
    assert run.outcome(root) == "cancelled"
    assert run.outcome(blocker) is None


def test_a_held_event_that_is_cancelled_is_seen_by_no_rule(run: World) -> None:
    root = run.post("tick", n=0)
    emitted = len(run.emitted())
    run.give(Cancel((run.live("tick")[0].id,)))
    assert len(run.emitted()) == emitted
    assert run.outcome(root) == "done"


def test_a_task_that_ran_and_is_held_with_its_outcome_is_let_go_to_no_rule_by_a_cancel(run: World) -> None:
    # It had run, so that it was told to stop, and stayed for ever.
    root = spun(run)
    done = run.end("a")
    run.give(Cancel((), root.flow))
    assert run.fired(done) == []
    assert not run.stopped()
    assert run.outcome(root) == "cancelled"


def test_what_is_not_held_cannot_be_continued(run: World) -> None:
    root = run.post("a")
    for id in (root.id, "0000000000000"):
        with pytest.raises(ConfigError, match="is not held"):
            run.bring(Release(id))


def test_a_flow_with_too_many_records_is_held_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # What went beyond the limit was dropped, and a continue did not bring it back.
    monkeypatch.setattr(guards, "USUAL", Guards(flow_records=10))
    run = World(
        'event go(n: int) task a(n: int) run process ["a"] rule r when go then '
        + ", ".join(f"a(n: {n})" for n in range(12))
    )
    root = run.post("go", n=1)
    assert run.held()[-1].startswith("10 records in one flow; rule r emits more")
    assert not run.started()
    assert len(run.emitted()) == 12
    run.give(Release(root.flow))
    assert len(run.started()) == 12


def test_a_loop_of_tasks_is_held_and_the_reason_names_the_cycle() -> None:
    run = World(
        'event go(n: int) task a(n: int) run process ["a"] task b(n: int) run process ["b"] '
        "rule r when go then a(n: 1) rule s when a done then b(n: 1) rule t when b done then a(n: 1)"
    )
    run.terms.guards = Guards(flow_records=20)
    root = run.post("go", n=1)
    for _ in range(9):
        run.end("a")
        run.end("b")
    run.end("a")
    assert run.held()[-1].startswith("20 records in one flow; rule t emits more: b by rule s -> a by rule t -> …; mend")
    assert run.state.flows[root.flow].held


def test_a_match_that_emits_more_than_its_guard_says_has_failed() -> None:
    run = World(
        "event go(n: int) event told(error: str) event x(n: int) rule r when go then for n in [1, 2, 3, 4] emit x(n: n) "
        'rule s when x then told(error: "no")'
    )
    run.terms.guards = Guards(emissions=3)
    run.post("go", n=1)
    assert [task.body["error"] for task in run.emitted("rule.failed")] == ["more than 3 emissions from one match"]
    assert not run.emitted("x")


def test_release_of_a_flow_that_is_held_while_another_is_does_not_touch_that(run: World) -> None:
    first, second = run.post("tick", n=0), run.post("tick", n=0)
    run.give(Cancel((), first.flow))
    assert run.outcome(first) == "cancelled"
    assert run.state.flows[second.flow].held
    assert run.facts(f.FlowReleased) == [f.FlowReleased()]


def test_a_record_posted_to_a_held_flow_waits_with_it(run: World) -> None:
    root = run.post("tick", n=0)
    posted = run.give(Post("stop", {}, None, root.flow)).answer
    assert posted is not None
    held = run.state.task(posted.id)
    assert held is not None
    assert held.is_held


def test_of_many_breakpoints_only_those_that_a_record_comes_to_are_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: list[Expr] = []

    def noted(where: Expr) -> Callable[[Scope], Json]:
        ready.append(where)
        return compile_value(where)

    monkeypatch.setattr(breakpoints, "compile_value", noted)
    points = "".join(f"breakpoint b{n} after tick where n == {n}\n" for n in range(50))
    run = World("event tick(n: int)\n" + points)
    run.adopt()
    run.post("tick", n=70)
    assert ready == []
    run.post("tick", n=7)
    run.post("tick", n=7)
    assert len(ready) == 1
    assert run.state.holds.points["b7"].hits == 2
