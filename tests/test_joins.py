"""Joins: what meets what, how long a half waits, what an absent part does, and what follows when the rest never comes."""

from __future__ import annotations

import pytest

from tests.checked import Checked
from then.core import facts as f
from then.core.causes import Cancel, Post, Release, Report, Stop
from then.core.tasks import Json

HEAD = """
event go(n: int?) event stop() event seen(what: str)
event x(k: any, n: int?) event y(k: any, n: int?) event z(k: any, n: int?) event gone(k: any)
task a(k: int, n: int?) -> (m: int?) run process ["a"]
task b(k: int, n: int?) -> (m: int?) run process ["b"]
task c(n: any?) run process ["c"]
task d(n: any?) run process ["d"]
"""


def joined(text: str) -> Checked:
    return Checked(HEAD + text)


def told(world: Checked) -> list[object]:
    """What `seen` said, in order."""
    return [task.body["what"] for task in world.emitted("seen")]


# -- all of -------------------------------------------------------------------------------


def test_a_record_that_came_before_the_others_counts() -> None:
    world = joined("rule r when all of a done as p, b done as q by k within 1h then c(n: p.m + q.m)")
    world.post("a", k=1)
    second = world.post("b", k=1)
    world.end("b", m=2)
    assert not world.emitted("c")
    last = world.end("a", m=40)
    [c] = world.emitted("c")
    assert (c.body, c.parent, c.flow, c.rule) == ({"n": 42}, last.id, last.flow, "r")
    assert world.outcome(second) == "done", "a half that has no `on timeout` keeps no flow"


def test_keys_join_by_json_value_and_type() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}{q.n}")')
    left: list[Json] = [1, "1", True, None, [1, {"b": 1, "a": 2}], 2**62]
    right: list[Json] = [1.0, "1", True, None, [1.0, {"a": 2.0, "b": 1}], 2.0**62]
    for type, keys in (("x", left), ("y", right)):
        for n, k in enumerate(keys):
            world.post(type, k=k, n=n)
    assert told(world) == ["00", "11", "22", "33", "44", "55"]


def test_a_key_that_cannot_be_said_joins_nothing_and_is_left_to_the_unmatched() -> None:
    world = joined(
        'rule r when all of x as p, y as q by n within 1h then seen(what: "no") '
        'rule s when unmatched any as u then seen(what: "stray {u.type}")'
    )
    world.post("x", k=1)
    world.post("y", k=1)
    assert told(world) == ["stray x", "stray y"]


def test_a_part_that_waits_is_no_stray() -> None:
    world = joined(
        "rule r when all of x as p, y as q by k within 1h then c() "
        'rule s when unmatched any as u then seen(what: "stray {u.type}")'
    )
    world.post("x", k=1)
    assert told(world) == []
    world.post("z", k=1)
    assert told(world) == ["stray z"]


def test_parts_are_paired_oldest_first_and_used_up() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}{q.n}")')
    for n in (1, 2, 3):
        world.post("x", k=0, n=n)
    for n in (4, 5):
        world.post("y", k=0, n=n)
    assert told(world) == ["14", "25"]
    [wait] = world.state.waits.open_waits()
    assert [[task.body["n"] for task in part] for part in wait.parts] == [[3], []]


def test_two_rules_use_a_record_up_each_for_itself() -> None:
    world = joined(
        'rule r when all of x as p, y as q by k within 1h then seen(what: "r")'
        ' rule s when all of x as p, y as q by k within 1h then seen(what: "s")'
    )
    world.post("x", k=0)
    world.post("y", k=0)
    assert told(world) == ["r", "s"]


def test_one_record_is_one_part_though_it_fits_two() -> None:
    # It met itself.
    world = joined('rule r when all of x as p, x as q by k within 1h then seen(what: "{p.n + q.n}")')
    pairs = []
    for n in (1, 2, 30, 40):
        world.post("x", k=0, n=n)
        pairs.append(told(world))
    assert pairs == [[], ["3"], ["3"], ["3", "70"]], "what fired is used up in both places"


def test_a_clause_that_looks_at_the_parts_to_its_left_chooses_among_them() -> None:
    world = joined('rule r when all of x as p, y as q where q.n > p.n by k within 1h then seen(what: "{p.n}<{q.n}")')
    for n in (5, 1, 3):
        world.post("x", k=0, n=n)
    world.post("y", k=0, n=2)
    world.post("y", k=0, n=4)
    world.post("y", k=0, n=4)
    assert told(world) == ["1<2", "3<4"]
    world.post("y", k=0, n=6)
    assert told(world)[-1] == "5<6"
    [wait] = world.state.waits.open_waits()
    assert [[task.body["n"] for task in part] for part in wait.parts] == [[], [4]], "the rest is still in its order"


def test_a_join_by_flow_sees_its_flow_alone() -> None:
    world = joined("rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by flow then c()")
    first, second = world.post("go"), world.post("go")
    world.end(next(task for task in world.live("a") if task.flow == first.flow))
    world.end(next(task for task in world.live("b") if task.flow == second.flow))
    assert not world.emitted("c")
    world.end("b")
    assert [task.flow for task in world.emitted("c")] == [first.flow]


def test_by_flow_and_key_joins_within_the_flow_and_key() -> None:
    world = joined(
        "rule s when go then a(k: 1), a(k: 2), b(k: 2), b(k: 1)"
        ' rule r when all of a done as p, b done as q by flow, k then seen(what: "{k}{p.k}{q.k}")'
    )
    world.post("go")
    for type in ("a", "a", "b", "b"):
        world.end(type)
    assert told(world) == ["222", "111"]


def test_fields_of_different_names_are_one_key() -> None:
    world = joined('rule r when all of x as p, y as q by p.k == q.n within 1h then seen(what: "{p.k}")')
    world.post("x", k=7)
    world.post("y", k=0, n=7)
    assert told(world) == ["7"]


def test_a_half_filled_join_of_a_flow_ends_with_it_and_one_across_flows_with_its_window() -> None:
    world = joined(
        "rule r when all of a done, b done by flow then c() rule s when all of a done, b done by k within 1h then d()"
    )
    world.post("a", k=1)
    world.end("a")
    assert [wait.rule for wait in world.state.waits.open_waits()] == ["s"]
    world.advance(3590)
    world.post("b", k=1)
    world.end("b")
    assert world.emissions() == ["d by s"]
    world.end("d")
    assert not list(world.state.waits.open_waits())


def test_an_unsettled_attempt_is_no_part() -> None:
    world = Checked(
        'event go() task a() run process ["a"] retry 1 times task b() run process ["b"] task c() run process ["c"]'
        " rule s when go then a(), b() rule r when all of a failed, b done by flow then c()"
    )
    world.post("go")
    world.end("b")
    world.end("a", "failed")
    assert not world.emitted("c")
    world.end("a", "failed")
    assert len(world.emitted("c")) == 1


def test_a_join_that_takes_a_failure_takes_it_up_open_or_complete() -> None:
    text = "rule s when go then a(k: 1), b(k: 1) rule r when all of a failed as p, b done by flow then c()"
    for order in (("a", "b"), ("b", "a")):
        world = joined(text)
        root = world.post("go")
        for type in order:
            world.end(type, "failed" if type == "a" else "done")
        world.end("c")
        assert world.outcome(root) == "done"
    world = joined(text)
    root = world.post("go")
    world.end("a", "failed")
    world.end("b", "failed")
    assert world.outcome(root) == "failed", "of the other failure nobody knows"
    assert not [task for task in world.emitted() if task.type == "c"]


def test_a_join_on_finished_takes_nothing_up() -> None:
    world = joined("rule s when go then a(k: 1), b(k: 1) rule r when all of a finished, b finished by flow then c()")
    root = world.post("go")
    world.end("a", "failed")
    world.end("b")
    world.end("c")
    assert world.outcome(root) == "failed"


def test_a_final_join_ends_the_search_when_it_fires_and_not_before() -> None:
    # Parts were filed without the word.
    world = joined(
        'final rule r when all of x as p, y as q by k within 1h then seen(what: "r")'
        ' rule s when y as q then seen(what: "s{q.n}")'
    )
    world.post("y", k=1, n=1)
    assert told(world) == ["s1"]
    world.post("x", k=2)
    world.post("y", k=2, n=2)
    assert told(world) == ["s1", "r"]


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


# -- any of ---------------------------------------------------------------------------------


def test_any_of_fires_at_the_first_part_and_takes_the_others_in_silence_until_its_window_closes() -> None:
    # It was spent for good.
    world = joined(
        'rule r when any of x as p, y as p by k within 1h then seen(what: "{p.n}")'
        ' rule s when unmatched any as u where type != "seen" then seen(what: "stray")'
    )
    world.post("x", k=0, n=1)
    world.post("y", k=0, n=2)
    world.post("x", k=0, n=3)
    assert told(world) == ["1"]
    world.advance(3600)
    world.post("y", k=0, n=4)
    assert told(world) == ["1", "4"]
    world.advance(3600)
    assert not list(world.state.waits.open_waits())


def test_any_of_by_flow_fires_once_a_flow() -> None:
    world = joined(
        "rule s when go then a(k: 1), b(k: 1) rule r when any of a failed as f, b failed as f by flow then c(n: f.k)"
    )
    root = world.post("go")
    world.end("a", "failed")
    world.end("b", "failed")
    world.end("c")
    assert len(world.emitted("c")) == 1
    assert world.outcome(root) == "done", "it took both"


# -- N times -----------------------------------------------------------------------------------


def test_n_times_uses_up_the_oldest_n() -> None:
    world = joined('rule r when 3 times x as p by k within 1h then seen(what: "{p.n}")')
    for n in range(1, 8):
        world.post("x", k=0, n=n)
    assert told(world) == ["3", "6"]


def test_n_times_slides_with_its_window() -> None:
    world = joined('rule r when 3 times x as p by k within 10m then seen(what: "{p.n}")')
    world.post("x", k=0, n=1)
    world.advance(300)
    world.post("x", k=0, n=2)
    world.advance(301)
    world.post("x", k=0, n=3)
    assert told(world) == [], "the first is out of the window"
    world.post("x", k=0, n=4)
    assert told(world) == ["4"]


def test_n_times_followed_by_another() -> None:
    world = joined(
        'rule r when 2 times x as p followed by y as q by k within 1h then seen(what: "{p.n}{q.n}")'
        ' rule s when unmatched any as u where type != "seen" then seen(what: "stray {u.type}")'
    )
    world.post("y", k=0, n=1)
    world.post("x", k=0, n=2)
    world.post("y", k=0, n=3)
    assert told(world) == ["stray y", "stray y"], "too few came before: it is not taken"
    world.post("x", k=0, n=4)
    world.post("x", k=0, n=5)
    world.post("y", k=0, n=6)
    assert told(world)[2:] == ["46"]
    world.post("y", k=0, n=7)
    assert told(world)[3:] == ["stray y"]


def test_n_times_followed_by_the_same_type_takes_one_more() -> None:
    # The last of the three was its own follower.
    world = joined('rule r when 2 times x as p followed by x as q by k within 1h then seen(what: "{p.n}{q.n}")')
    for n in (1, 2):
        world.post("x", k=0, n=n)
    assert told(world) == []
    for n in (3, 4, 5, 6):
        world.post("x", k=0, n=n)
    assert told(world) == ["23", "56"]


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


# -- else -------------------------------------------------------------------------------------


def test_the_else_runs_when_a_part_ended_otherwise_and_no_other_such_lives() -> None:
    world = joined(
        "rule s when go then a(k: 1), a(k: 1), b(k: 1)"
        " rule r when all of a done as p, b done as q by flow then c() else d(n: q.m ?? 0)"
    )
    root = world.post("go")
    world.end("b", m=7)
    world.end("a", "failed")
    assert not world.emitted("d"), "another a lives"
    last = world.end("a", "failed")
    [d] = world.emitted("d")
    assert (d.rule, d.body, d.parent) == ("r/else", {"n": 7}, last.id)
    world.end("d")
    assert world.outcome(root) == "failed", "the first failure was no part's end for good: nobody took it up"


def test_the_else_takes_the_failure_up() -> None:
    world = joined("rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by flow then c() else d()")
    root = world.post("go")
    failed = world.end("a", "timed_out")
    assert world.fired(failed) == ["r/else"]
    world.end("b")
    world.end("d")
    assert world.outcome(root) == "done"


def test_the_else_answers_what_was_cancelled_and_skipped_too() -> None:
    world = joined(
        "rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by flow then c() else skip c()"
        ' rule t when c cancelled as v then seen(what: "skipped")'
    )
    root = world.post("go")
    world.cancel("a")
    world.end("a", "cancelled")
    assert told(world) == ["skipped"]
    [c] = world.emitted("c")
    assert (c.outcome, c.error and c.error["kind"]) == ("cancelled", "skipped")
    assert "c" not in world.started()
    world.end("b")
    assert world.outcome(root) == "done"


def test_the_else_is_for_records_that_the_clause_means() -> None:
    # Whatever of that type failed ran it.
    world = joined(
        "rule s when go then a(k: 1, n: 1), a(k: 1, n: 9), b(k: 1)"
        " rule r when all of a done as p where n > 5, b done by flow then c() else d()"
    )
    world.post("go")
    world.end(next(task for task in world.live("a") if task.body["n"] == 1), "failed")
    assert not world.emitted("d")
    world.end("a", "failed")
    assert len(world.emitted("d")) == 1


def test_an_else_of_a_later_step_is_no_else_of_the_join() -> None:
    world = joined(
        "rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by flow then c() then c() else d()"
    )
    root = world.post("go")
    world.end("a", "failed")
    world.end("b")
    assert not world.emitted("d")
    assert world.outcome(root) == "failed"


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
    monkeypatch.setattr("then.core.ending.IDLE_RUN_MAX", 5)
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
    monkeypatch.setattr("then.core.ending.IDLE_RUN_MAX", 5)
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


# -- inside procedures ----------------------------------------------------------------------------


def test_a_join_in_a_procedure_sees_the_records_of_its_call_alone() -> None:
    world = joined(
        "procedure both(n: int) -> (m: int) first a(k: n), b(k: n)"
        " when all of a done as p, b done as q then return (m: p.m + q.m) end"
        " rule s when go as g then call both(n: g.n) as r then c(n: r.m)"
    )
    first, second = world.post("go", n=1), world.post("go", n=2)
    a1, a2 = world.live("a")
    b1, b2 = world.live("b")
    world.end(a1, m=1)
    world.end(b2, m=20)
    assert not world.emitted("c")
    world.end(a2, m=2)
    world.end(b1, m=10)
    assert [(task.flow, task.body) for task in world.emitted("c")] == [
        (second.flow, {"n": 22}), (first.flow, {"n": 11}),
    ]  # fmt: skip
    assert not list(world.state.waits.open_waits())


def test_a_window_in_a_procedure_keeps_its_call_open() -> None:
    world = joined(
        "procedure both() -> (ok: bool) first a(k: 1)"
        " when all of a done, b done within 1h then return (ok: true) on timeout then return (ok: false) end"
        ' rule s when go then call both() as r then seen(what: "{r.ok}")'
    )
    root = world.post("go")
    world.end("a")
    assert told(world) == []
    world.advance(3600)
    assert told(world) == ["false"]
    assert world.outcome(root) == "done"


def test_the_half_filled_joins_of_a_call_end_with_it() -> None:
    world = joined(
        "procedure both() first a(k: 1) when all of a done, b done then return () end rule s when go then call both(), d()"
    )
    root = world.post("go")
    world.end("a")
    assert not list(world.state.waits.open_waits())
    assert not world.state.waits.frames
    assert list(world.state.flows[root.flow].waits) == []
    world.end("d")


def test_a_join_at_top_level_observes_a_failure_inside_a_call_and_takes_nothing_up() -> None:
    world = joined(
        "procedure p() first a(k: 1), b(k: 1) end rule s when go then call p() then d()"
        " rule r when all of a failed, b done by flow then c() rule u when all of a done, b done by flow then d() else c()"
    )
    root = world.post("go")
    world.end("a", "failed")
    world.end("b")
    assert world.emissions()[3:] == ["c by u/else", "c by r"]
    world.end("c")
    world.end("c")
    assert world.outcome(root) == "failed"


def test_a_part_is_in_the_facts_of_its_own_flow() -> None:
    world = joined("rule r when all of x, y by k within 1h then c()")
    first = world.post("x", k=1)
    second = world.post("y", k=1)
    found = [(page.flow, type(fact).__name__) for page in world.pages for fact in page.facts
             if isinstance(fact, f.Joined | f.Met)]  # fmt: skip
    # The last that was missing is never kept: the firing uses it up.
    assert found == [(first.flow, "Joined"), (second.flow, "Met")]


def test_a_record_may_wait_in_many_rules_and_be_let_go_by_each() -> None:
    rules = " ".join(f"rule r{n} when all of x, y, z by k within {n + 1}m then c()" for n in range(5))
    world = joined(rules)
    world.post("x", k=1)
    world.post("y", k=1)
    for left in (4, 3, 2, 1, 0):
        world.advance(60)
        assert len(list(world.state.waits.open_waits())) == left


def test_an_event_that_was_cancelled_before_its_match_is_no_part() -> None:
    world = joined("rule r when all of x, y by flow then c() rule h when stop then cancel flow")
    root = world.post("a", k=1)
    world.bring(Post("stop", {}, None, root.flow))
    world.bring(Post("x", {"k": 1}, None, root.flow))
    world.give(Cancel((), root.flow))
    assert not list(world.state.waits.open_waits())
