"""Windows of joins: how long a half waits and for whom, what an absent part does, silence, and what is held."""

from __future__ import annotations

import pytest

from tests.checked import Checked
from tests.joining import HEAD, joined, told
from then.core import guards
from then.core.causes import Release, Report, Stop
from then.core.guards import Guards

# -- windows -------------------------------------------------------------------------------


def test_a_stale_half_never_meets_a_fresh_one() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}{q.n}")')
    world.post("x", k=0, n=1)
    world.advance(3600)
    world.post("y", k=0, n=2)
    world.advance(3590)
    world.post("x", k=0, n=3)
    assert told(world) == ["32"]


def test_a_window_counts_though_no_tick_came_in_time() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}{q.n}")')
    world.post("x", k=0, n=1)
    world.terms.time += 3_600_000_000
    world.post("y", k=0, n=2)
    assert told(world) == []
    world.post("x", k=0, n=3)
    assert told(world) == ["32"]


def test_a_record_that_is_heard_of_late_does_not_meet_what_came_after_its_window() -> None:
    # An engine that was down collects an end of three hours ago; only the new one was looked at.
    world = joined("rule r when all of a done as p, b done as q by k within 1h then c()")
    late = world.post("a", k=1)
    world.advance(4 * 3600)
    world.post("b", k=1)
    world.end("b")
    then = world.terms.time - 3 * 3_600_000_000
    world.give(Report(late.id, "done", {}, None, then - 10, then))
    assert not world.emitted("c")
    [wait] = world.state.waits.open_waits()
    assert [[task.type for task in part] for part in wait.parts] == [[], ["b"]]


def test_the_window_runs_from_the_first_part_and_then_from_the_next() -> None:
    world = joined(
        'rule r when all of x as p, y as q by k within 1h then c() on timeout then seen(what: "{p.n} waits for {missing}")'
    )
    world.post("x", k=0, n=1)
    world.advance(1800)
    world.post("x", k=0, n=2)
    world.advance(1801)
    assert told(world) == ["1 waits for y"]
    world.post("y", k=0, n=3)
    assert [task.type for task in world.emitted()] == ["seen", "c"], "the second is still in its own window"
    world.advance(7200)
    assert told(world) == ["1 waits for y"]


def test_on_timeout_belongs_to_the_flow_of_the_first_part_and_keeps_it() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then c() on timeout then seen(what: "{k}")')
    first = world.post("x", k=7)
    other = world.post("x", k=8)
    assert world.outcome(first) is None
    world.post("y", k=8)
    assert [task.type for task in world.emitted()] == ["c"]
    world.end("c")
    assert world.outcome(other) == "done", "its window is over"
    world.advance(3600)
    [seen] = world.emitted("seen")
    assert (seen.parent, seen.flow, seen.rule, seen.body) == (first.id, first.flow, "r/late", {"what": "7"})
    assert world.outcome(first) == "done"


def test_of_several_flows_in_one_window_only_the_first_is_kept() -> None:
    world = Checked(
        HEAD + "rule r when all of x as p, y as q, z as s by k within 1h then c() "
        'on timeout then seen(what: "{p.n ?? 0} {q.n ?? 0} {missing}")'
    )
    first = world.post("y", k=0, n=1)
    second = world.post("x", k=0, n=2)
    assert (world.outcome(first), world.outcome(second)) == (None, "done")
    world.advance(3600)
    # The record of the lower part was taken for the first, and its flow was over.
    [seen] = world.emitted("seen")
    assert (seen.flow, seen.body["what"]) == (first.flow, "0 1 x, z")
    world.advance(3600)
    assert told(world) == ["0 1 x, z"], "of the second nobody waits for a time-out: its flow is over"
    assert not list(world.state.waits.open_waits())


def test_what_a_firing_leaves_keeps_the_flow_of_what_is_left() -> None:
    world = joined('rule r when all of a done as p, y as q by k within 1h then c() on timeout then seen(what: "{p.n}")')
    first, second = world.post("a", k=0, n=1), world.post("a", k=0, n=2)
    world.end(first)
    world.advance(60)
    # The second lives because of another task of its flow.
    world.post("b", flow=second.flow, k=5)
    world.end(second)
    world.post("y", k=0)
    world.end("c")
    assert world.outcome(first) == "done"
    world.end("b")
    assert world.outcome(second) is None, "its own window is open"
    world.advance(3600)
    assert told(world) == ["2"]
    assert world.outcome(second) == "done"


def test_a_window_in_a_flow_keeps_it_until_it_ends() -> None:
    world = joined(
        "rule s when go then a(k: 1) rule r when all of a done, b done by flow within 1h then c()"
        ' on timeout then seen(what: "{missing}")'
    )
    root = world.post("go")
    world.end("a")
    assert world.outcome(root) is None
    assert not world.held()
    world.advance(3600)
    assert told(world) == ["b"]
    assert world.outcome(root) == "done"


def test_a_step_after_on_timeout_goes_on_like_any() -> None:
    world = joined(
        'rule r when all of x as p, y as q by k within 1h then c() on timeout then d(n: k) then seen(what: "{p.n}")'
    )
    root = world.post("x", k=3, n=4)
    world.advance(3600)
    [d] = world.emitted("d")
    assert (d.rule, d.body) == ("r/late", {"n": 3})
    world.end("d")
    [seen] = world.emitted("seen")
    assert (seen.rule, seen.body) == ("r/late/1", {"what": "4"})
    assert world.outcome(root) == "done"


def test_cancel_flow_in_on_timeout_cancels_what_lives() -> None:
    # No record was old enough for it: where the match began was not known outside of a match.
    world = joined(
        "rule s when go then a(k: 1), d() rule r when all of a done, b done by flow within 1h then c()"
        ' on timeout then cancel flow, seen(what: "late")'
    )
    root = world.post("go")
    world.end("a")
    world.advance(3600)
    assert world.stopped() == ["d"]
    assert told(world) == ["late"], "what the same match emits is not touched"
    world.end("d", "cancelled")
    assert world.outcome(root) == "cancelled"


def test_cancel_x_in_on_timeout_reaches_it() -> None:
    world = joined(
        "rule s when go then a(k: 1), d(n: 1), d(n: 2) rule r when all of a done, b done by flow within 1h then c()"
        " on timeout then cancel d where n == 2"
    )
    world.post("go")
    world.end("a")
    world.advance(3600)
    assert [order.task.body for order in world.orders if isinstance(order, Stop)] == [{"n": 2}]


def test_a_cancelled_flow_waits_for_no_window() -> None:
    world = joined(
        "rule s when go then a(k: 1), d() rule r when all of a done, b done by flow within 1h then c()"
        ' on timeout then seen(what: "late") rule h when stop then cancel flow'
    )
    root = world.post("go")
    world.end("a")
    world.post("stop", flow=root.flow)
    world.end("d", "cancelled")
    assert world.outcome(root) == "cancelled"
    assert told(world) == []
    assert not list(world.state.waits.open_waits())


def test_cancelling_a_flow_leaves_the_parts_of_others() -> None:
    world = joined(
        'rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}") on timeout then seen(what: "late {p.n}")'
    )
    first = world.post("x", k=0, n=1)
    second = world.post("a", k=0)
    world.post("x", flow=second.flow, k=0, n=2)
    world.cancel(flow=first.flow)
    assert world.outcome(first) == "cancelled"
    world.end("a")
    assert world.outcome(second) is None, "the window is its own now"
    world.advance(3600)
    assert told(world) == ["late 2"]
    assert world.outcome(second) == "done"


def test_flow_ended_comes_after_the_windows_of_the_flow() -> None:
    world = joined(
        'rule r when all of x as p, y as q by k within 1h then c() on timeout then seen(what: "late")'
        ' rule e when flow.ended as e where e.body.type == "x" then seen(what: "ended x")'
    )
    world.post("x", k=0)
    assert told(world) == []
    world.advance(3600)
    assert told(world) == ["late", "ended x"]


# -- absent parts ------------------------------------------------------------------------------


def test_an_absent_part_that_came_closes_the_join_unfired() -> None:
    world = joined('rule r when all of x as p, y as q, no gone by k within 1h then seen(what: "{p.n}{q.n}")')
    world.post("x", k=0, n=1)
    world.post("gone", k=0)
    world.post("y", k=0, n=2)
    assert told(world) == []
    world.post("x", k=1, n=3)
    world.post("gone", k=0)
    world.post("y", k=1, n=4)
    assert told(world) == ["34"], "another key"


def test_an_absent_part_counts_over_the_window_before_that_moment() -> None:
    world = joined('rule r when all of x as p, y as q, no gone by k within 1h then seen(what: "{p.n}{q.n}")')
    world.post("gone", k=0)
    world.advance(3500)
    world.post("x", k=0, n=1)
    world.advance(60)
    world.post("y", k=0, n=2)
    assert told(world) == [], "it came within the hour"
    world.post("x", k=0, n=3)
    world.post("y", k=0, n=4)
    # The absent one was forgotten with the parts that it had closed.
    assert told(world) == [], "and still is within the hour"
    world.advance(60)
    world.post("x", k=0, n=5)
    world.post("y", k=0, n=6)
    assert told(world) == ["56"]


def test_a_later_absent_part_changes_nothing() -> None:
    world = joined('rule r when all of x as p, y as q, no gone by k within 1h then seen(what: "{p.n}")')
    world.post("x", k=0, n=1)
    world.post("y", k=0)
    world.post("gone", k=0)
    assert told(world) == ["1"]


def test_an_absent_part_without_a_window_is_looked_for_in_the_whole_flow() -> None:
    world = joined(
        'rule s when go then a(k: 1) then b(k: 1) rule r when all of a done, b done, no gone by flow then seen(what: "r")'
    )
    for is_gone in (True, False):
        root = world.post("go")
        if is_gone:
            world.post("gone", flow=root.flow, k=9)
        world.end("a")
        world.end("b")
    assert told(world) == ["r"]


def test_the_window_of_a_part_does_not_end_with_that_of_an_absent_one() -> None:
    # The absent one had come first, and the time-out came an hour too early, and then again.
    world = joined(
        'rule r when all of x as p, y as q, no gone by k within 2h then c() on timeout then seen(what: "{p.n}")'
    )
    world.post("gone", k=0)
    world.advance(3600)
    world.post("x", k=0, n=1)
    world.advance(3601)
    assert told(world) == []
    world.advance(3600)
    assert told(world) == ["1"]
    world.advance(7200)
    assert told(world) == ["1"]


def test_an_absent_part_sees_what_stands_left_of_it() -> None:
    world = joined(
        'rule r when all of x as p, y as q, no z as s where s.n > p.n by k within 1h then seen(what: "{p.n}")'
    )
    world.post("z", k=0, n=5)
    world.post("z", k=0, n=2)
    world.post("x", k=0, n=9)
    world.post("y", k=0)
    assert told(world) == ["9"]
    world.post("x", k=0, n=3)
    world.post("y", k=0)
    assert told(world) == ["9"]


# -- quiet for -----------------------------------------------------------------------------------


def test_quiet_for_fires_for_the_last_of_its_key_in_the_flow_of_that() -> None:
    world = joined('rule r when x as p by k quiet for 30s then seen(what: "{p.n}")')
    first = world.post("x", k=0, n=1)
    world.advance(20)
    second = world.post("x", k=0, n=2)
    world.post("x", k=1, n=9)
    assert world.outcome(first) == "done", "it is not the last any more"
    world.advance(20)
    assert told(world) == []
    assert world.outcome(second) is None
    world.advance(11)
    assert told(world) == ["2", "9"]
    assert world.emitted("seen")[0].flow == second.flow
    assert world.outcome(second) == "done"
    world.advance(100)
    assert len(told(world)) == 2


# -- holding, and what a held flow does with windows ----------------------------------------------


def test_a_window_ends_in_a_held_flow_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=5))
    world = joined(
        "rule t when x as e where k == 0 then x(k: 0) "
        'rule r when all of y as p, z as q by k within 1h then c() on timeout then seen(what: "late")'
    )
    root = world.post("y", k=1)
    world.post("x", flow=root.flow, k=0)
    assert world.state.flows[root.flow].held
    world.advance(3600)
    assert told(world) == ["late"]
    assert world.state.flows[root.flow].held


def test_what_is_released_takes_part_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=5))
    world = joined(
        "rule t when x as e where k == 0 and n < 7 then x(k: 0, n: e.n + 1) "
        "rule r when all of a done as p, b done as q by flow then c()"
    )
    root = world.post("a", k=1)
    world.post("b", flow=root.flow, k=1)
    world.post("x", flow=root.flow, k=0, n=0)
    world.end("a")
    world.end("b")
    assert not world.emitted("c"), "both are held with the flow"
    world.give(Release(root.flow))
    assert len(world.emitted("c")) == 1
