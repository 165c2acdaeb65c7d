"""`every X done`: what belongs to the set, when it is full, and what closes it."""

from __future__ import annotations

from tests.checked import Checked
from tests.world import World
from then.core import facts as f
from then.core.causes import Move, Retry
from then.core.edition import Edition

HEAD = """
event go(ns: list[int]) event more(ns: list[int]) event seen(what: str)
task a(n: int) -> (m: int?) run process ["a"]
task b(n: int) -> (m: int?) run process ["b"]
task c(n: any?) run process ["c"]
"""
FAN = "rule s when go as g then for n in g.ns emit a(n: n) "


def sets(text: str) -> Checked:
    return Checked(HEAD + text)


def test_a_set_fires_when_all_that_the_flow_emitted_is_done() -> None:
    world = sets(FAN + "rule r when every a done then c()")
    root, other = world.post("go", ns=[1, 2, 3]), world.post("go", ns=[1])
    mine = [task for task in world.live("a") if task.flow == root.flow]
    world.end(mine[2])
    world.end(mine[0])
    assert not world.emitted("c")
    last = world.end(mine[1])
    [c] = world.emitted("c")
    assert (c.flow, c.parent, c.rule) == (root.flow, last.id, "r")
    world.end("a")
    assert [task.flow for task in world.emitted("c")] == [root.flow, other.flow]


def test_a_set_of_none_is_full_at_once() -> None:
    world = sets(FAN + "rule r when every a done then c()")
    root = world.post("go", ns=[])
    assert world.emissions() == ["c by r"]
    assert world.fired(root) == ["s", "r"]


def test_a_set_that_has_some_already_is_not_full_for_a_loop_over_none() -> None:
    world = sets(FAN + "rule t when more as g then for n in g.ns emit a(n: n) rule r when every a done then c()")
    root = world.post("go", ns=[1])
    world.post("more", flow=root.flow, ns=[])
    assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_a_loop_over_none_in_a_later_step_fills_its_set_too() -> None:
    # Only rules were asked for it, no continuations.
    world = sets("rule s when go as g then c() then for n in g.ns emit a(n: n) rule r when every a done then b(n: 1)")
    world.post("go", ns=[])
    world.end("c")
    assert world.emissions() == ["c by s", "b by r"]


def test_what_a_completion_emits_before_the_set_is_looked_at_belongs_to_it() -> None:
    world = sets(FAN + "rule t when a done as x where n > 0 then a(n: x.n - 1) rule r when every a done then c()")
    world.post("go", ns=[2, 1])
    for _ in range(4):
        world.end("a")
        assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_a_set_fires_once_and_what_comes_later_is_in_none() -> None:
    world = sets(FAN + "rule t when more as g then for n in g.ns emit a(n: n) rule r when every a done then c()")
    root = world.post("go", ns=[1])
    world.end("a")
    world.post("more", flow=root.flow, ns=[1])
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_one_that_ends_otherwise_closes_the_set_and_runs_its_else() -> None:
    world = sets(FAN + "rule r when every a done then c(n: 0) else c(n: 1)")
    root = world.post("go", ns=[1, 2, 3])
    world.end("a")
    failed = world.end("a", "failed")
    assert world.fired(failed) == ["r/else"]
    world.end("a", "failed")
    assert [task.body["n"] for task in world.emitted("c")] == [1]
    world.end("c")
    assert world.outcome(root) == "failed", "the first failure was taken up, the second by nobody"


def test_a_set_without_else_takes_no_failure_up() -> None:
    world = sets(FAN + "rule r when every a done then c()")
    root = world.post("go", ns=[1, 2])
    world.end("a", "failed")
    world.end("a")
    assert not world.emitted("c")
    assert world.outcome(root) == "failed"


def test_the_else_of_a_later_step_is_no_else_of_the_set() -> None:
    # It ran, and took the failure up.
    world = sets(FAN + "rule r when every a done then b(n: 1) then c() else c()")
    root = world.post("go", ns=[1])
    world.end("a", "failed")
    assert not world.emitted("c")
    assert world.outcome(root) == "failed"


def test_a_set_of_finished_waits_for_all_however_they_end() -> None:
    world = sets(FAN + "rule r when every a finished then c()")
    root = world.post("go", ns=[1, 2])
    world.end("a", "failed")
    world.end("a")
    world.end("c")
    assert world.outcome(root) == "failed"
    assert len(world.emitted("c")) == 1


def test_a_set_narrowed_by_a_clause_minds_those_alone() -> None:
    world = sets(FAN + "rule r when every a done where n > 1 then c(n: 0) else c(n: 1)")
    world.post("go", ns=[1, 2, 3])
    one, two, three = world.live("a")
    world.end(one, "failed")
    world.end(two)
    assert not world.emitted("c")
    world.end(three)
    assert [task.body["n"] for task in world.emitted("c")] == [0]
    world.post("go", ns=[1, 2])
    world.end(world.live("a")[1], "failed")
    assert [task.body["n"] for task in world.emitted("c")] == [0, 1]


def test_a_clause_over_the_result_counts_what_failed_without_one() -> None:
    # It could not be said, so that a failure passed for one that the set does not mean.
    world = sets(FAN + "rule r when every a done where (m ?? 9) > 1 then c(n: 0) else c(n: 1)")
    world.post("go", ns=[1, 2])
    world.end("a", "failed")
    assert [task.body["n"] for task in world.emitted("c")] == [1]


def test_a_posted_record_is_in_no_set() -> None:
    # The root ended, and the set of what it had emitted was one short.
    world = sets("rule s when a done as x where n > 5 then a(n: 1), a(n: 2) rule r when every a done then c()")
    world.post("a", n=9)
    world.end("a")
    world.end("a")
    assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_an_act_that_was_dropped_is_in_no_set() -> None:
    # It was counted, and the set never full.
    world = sets(
        "rule s when go as g then for n in g.ns emit a(n: n) at most once per 1h by n rule r when every a done then c()"
    )
    world.post("go", ns=[1, 1, 2, 1])
    assert len(world.live("a")) == 2
    world.end("a")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_what_is_tried_again_counts_once() -> None:
    world = Checked(
        'event go() task a(n: int) run process ["a"] retry 2 times task c() run process ["c"]'
        " rule s when go then a(n: 1), a(n: 2) rule r when every a done then c()"
    )
    world.post("go")
    world.end("a", "failed")
    world.end("a", "failed")
    world.end("a")
    assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_what_a_person_tries_again_counts_again() -> None:
    world = sets(FAN + "rule r when every a done where n > 1 then c()")
    world.post("go", ns=[1, 2, 3])
    one, two, three = world.live("a")
    failed = world.end(one, "failed")
    again = world.give(Retry(failed, None)).answer
    assert again is not None
    world.end(again)
    world.end(two)
    assert not world.emitted("c")
    world.end(three)
    assert len(world.emitted("c")) == 1


def test_what_is_skipped_closes_further_sets() -> None:
    world = sets(
        FAN + "rule r when every a done then for n in [1, 2] emit b(n: n) else skip b(n: 1), skip b(n: 2)"
        ' rule u when every b done then c() else seen(what: "no b")'
    )
    root = world.post("go", ns=[1])
    world.end("a", "failed")
    assert [task.outcome for task in world.emitted("b")] == ["cancelled", "cancelled"]
    assert [task.body["what"] for task in world.emitted("seen")] == ["no b"]
    assert world.outcome(root) == "done"


def test_a_set_in_a_procedure_is_of_its_call() -> None:
    world = sets(
        "procedure each(ns: list[int]) -> (m: int) first for n in ns emit a(n: n)"
        " when every a done then return (m: len(ns)) end"
        " rule s when go as g then call each(ns: g.ns) as r then c(n: r.m)"
    )
    world.post("go", ns=[1, 2])
    world.post("go", ns=[7])
    for _ in range(2):
        world.end("a")
    assert [task.body["n"] for task in world.emitted("c")] == [2]
    world.end("a")
    assert [task.body["n"] for task in world.emitted("c")] == [2, 1]
    assert not world.state.waits.tallies, "they ended with their calls"


def test_a_set_of_none_in_a_procedure_returns_from_its_call() -> None:
    # It returned from the call outside of it, where there was one.
    world = sets(
        "procedure each(ns: list[int]) -> (m: int) first for n in ns emit a(n: n)"
        " when every a done then return (m: 5) end"
        " procedure outer(ns: list[int]) -> (m: int) first call each(ns: ns) as r then return (m: r.m + 1) end"
        " rule s when go as g then call outer(ns: g.ns) as r then c(n: r.m)"
    )
    root = world.post("go", ns=[])
    assert [task.body["n"] for task in world.emitted("c")] == [6]
    world.end("c")
    assert world.outcome(root) == "done"


def test_a_set_of_a_task_that_was_handed_over_waits_for_that() -> None:
    # What it was called in the procedure was looked for, and nothing has that type.
    world = sets(
        "procedure each(ns: list[int], do: task) first for n in ns emit do(n: n) when every do done then return () end"
        " rule s when go as g then call each(ns: g.ns, do: a), call each(ns: g.ns, do: b) then c()"
    )
    world.post("go", ns=[1, 2])
    assert [task.type for task in world.emitted()][2:] == ["a", "a", "b", "b"]
    for type in ("a", "b", "a"):
        world.end(type)
    assert not world.emitted("c")
    world.end("b")
    assert len(world.emitted("c")) == 1
    root = world.post("go", ns=[])
    assert len(world.emitted("c")) == 2
    world.end("c")
    world.end("c")
    assert world.outcome(root) == "done"


def test_a_set_at_top_level_holds_what_calls_emit() -> None:
    world = sets(
        "procedure p(n: int) first a(n: n) end rule s when go then a(n: 0), call p(n: 1) rule r when every a done then c()"
    )
    world.post("go", ns=[])
    world.end("a")
    assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_a_set_that_new_rules_bring_counts_what_lives() -> None:
    world = World(HEAD + FAN)
    root = world.post("go", ns=[1, 2, 3])
    world.end("a")
    world.editions["v2"] = Edition("v2", World(HEAD + FAN + "rule r when every a done then c()").rules)
    world.give(Move(root.flow, "v2"))
    world.end("a")
    assert not world.emitted("c")
    world.end("a")
    assert len(world.emitted("c")) == 1


def test_a_set_closes_with_a_flow_that_is_cancelled() -> None:
    world = sets(FAN + "rule r when every a finished then c()")
    root = world.post("go", ns=[1, 2])
    world.cancel(flow=root.flow)
    world.end("a", "cancelled")
    world.end("a", "cancelled")
    assert not world.emitted("c")
    assert world.outcome(root) == "cancelled"


def test_the_index_of_an_item_is_at_hand() -> None:
    world = sets("rule s when go as g then for i, n in g.ns emit a(n: n * 10 + i)")
    world.post("go", ns=[5, 6])
    assert [task.body["n"] for task in world.emitted("a")] == [50, 61]


def test_the_end_of_a_flow_names_the_joins_and_sets_that_it_leaves_half_filled() -> None:
    # The final rule keeps a record from the set. That fewer came, no failure did, or none that fits, is as often meant.
    world = sets(
        FAN + "rule pair when all of a done, b done by flow then c() "
        "rule odd when all of b done, no a done by flow then c() "
        "rule bad when all of a done, b failed by flow then c() "
        "rule dear when all of a done, b done where n > 1 by flow then c() "
        "rule often when 4 times a done by flow then c() "
        "final rule big when a done where n == 3 then c(n: 0) "
        "rule whole when every a done then c() "
    )
    world.post("go", ns=[1, 2, 3])
    for _ in range(3):
        world.end("a")
    world.end("c")
    assert ends(world) == [("done", ["pair", "whole"])]


def test_the_end_of_a_flow_names_nothing_where_all_was_filled_or_it_was_cancelled() -> None:
    world = sets(FAN + "rule pair when all of a done, b done by flow then c() rule t when a done as x then b(n: x.n)")
    world.post("go", ns=[1])
    for type in ("a", "b", "c"):
        world.end(type)
    cancelled = world.post("go", ns=[1, 2])
    world.end("a")
    world.cancel(flow=cancelled.flow)
    for task in world.live():
        world.end(task, "cancelled")
    assert ends(world) == [("done", None), ("cancelled", None)]


def ends(world: World) -> list[tuple[str, list[str] | None]]:
    return [(fact.outcome, fact.unfilled) for fact in world.facts(f.FlowEnded) if isinstance(fact, f.FlowEnded)]
