"""Joins: what meets what, how long a half waits, what an absent part does, and what follows when the rest never comes."""

from __future__ import annotations

import pytest

from tests.checked import Checked
from tests.joining import HEAD, joined, told
from then.core import facts as f
from then.core.causes import Adopt, Cancel, Post
from then.core.edition import Edition
from then.core.tasks import Json
from then.language.loading import load_text

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


def test_a_wait_of_which_nothing_is_left_is_said_to_be_used_up_whole() -> None:
    world = joined('rule r when all of x as p, y as q by k within 1h then seen(what: "{p.n}{q.n}")')
    for type, n in (("x", 1), ("x", 2), ("y", 3), ("y", 4)):
        world.post(type, k=0, n=n)
    met = [fact for fact in world.facts() if isinstance(fact, f.Met)]
    assert [(fact.is_whole, len(fact.used)) for fact in met] == [(False, 2), (True, 2)]
    assert not list(world.state.waits.open_waits())
    assert not len(world.state.waits.dues)
    assert told(world) == ["13", "24"]


def changed(world: Checked, rules: str) -> None:
    """These rules come in force."""
    world.editions["v2"] = Edition("v2", load_text(HEAD + rules).rules)
    world.give(Adopt("v2"))


@pytest.mark.parametrize("late", ["", " on timeout then d()"])
@pytest.mark.parametrize(("first", "rest"), [("x", "yz"), ("x", "zy"), ("xz", "y")])
@pytest.mark.parametrize("is_more", [True, False])
def test_what_waits_is_taken_up_by_its_rule_with_a_part_more_or_less(
    is_more: bool, first: str, rest: str, late: str
) -> None:
    # A part that was new was looked for behind the end of what had come.
    two, three = (
        f'rule r when all of x as p, y as q{more} by k within 1h then seen(what: "{{p.n}}{{q.n}}"){late}'
        for more in ("", ", z as o")
    )
    world = joined(two if is_more else three)
    for type in first:
        world.post(type, k=1, n=4)
    changed(world, three if is_more else two)
    for type in rest:
        world.post(type, k=1, n=2)
    assert told(world) == (["42"] if not is_more or "z" in rest else [])


def test_the_else_of_a_rule_with_a_part_less_runs_beside_what_waits_for_that_part() -> None:
    text = 'rule r when all of a done as p, b done as q{} by k within 1h then c() else seen(what: "no")'
    world = joined(text.format(", z as o"))
    world.post("z", k=1)
    changed(world, text.format(""))
    world.post("a", k=1)
    world.end("a", "failed")
    assert told(world) == ["no"]


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


def test_the_else_runs_once_for_what_was_born_together() -> None:
    # It ran again for the other part, when that failed too.
    world = joined(
        "rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by k within 1h then c() else d()"
        ' on timeout then seen(what: "late")'
    )
    for ends in (("failed", "failed"), ("failed", "done"), ("failed", "cancelled")):
        root = world.post("go")
        before = len(world.emitted("d"))
        world.end("a", ends[0])
        world.end("b", ends[1])
        assert len(world.emitted("d")) == before + 1, ends
        world.end("d")
        assert world.outcome(root) == "done", "its else takes up all of it"
        world.advance(3600)
    assert told(world) == [], "the other half does not wait for what will not come"


def test_what_is_born_after_the_else_is_a_join_of_its_own() -> None:
    world = joined(
        "rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done by k within 1h then c() else d()"
    )
    world.post("go")
    world.end("a", "failed")
    old = world.live("b")[0]
    world.post("go")
    fresh = world.live("b")[1]
    world.end(fresh)
    world.end("a")
    assert len(world.emitted("c")) == 1
    world.end(old)
    world.post("go")
    world.end("a")
    assert len(world.emitted("c")) == 1, "the old half was answered by the else"
    world.end("b")
    assert [len(world.emitted(type)) for type in "cd"] == [2, 1]


def test_the_else_that_has_run_is_forgotten_with_its_window_and_its_flow() -> None:
    for key in ("by k within 1h", "by flow"):
        world = joined(
            f"rule s when go then a(k: 1), b(k: 1) rule r when all of a done, b done {key} then c() else d()"
        )
        root = world.post("go")
        world.end("a", "failed")
        world.end("d")
        assert len(list(world.state.waits.open_waits())) == 1
        if "within" in key:
            world.advance(3601)
        world.end("b")
        if "within" in key:
            world.advance(3601)
        assert world.outcome(root) == "done"
        assert not list(world.state.waits.open_waits())


def test_two_parts_of_one_kind_are_paired_in_the_order_of_their_coming() -> None:
    # The newer came first: it was looked for among the others before it stood for its second part.
    world = joined('rule r when all of x as p, x as q by k within 1h then seen(what: "{p.n}{q.n}")')
    for n in range(1, 6):
        world.post("x", k=0, n=n)
    assert told(world) == ["12", "34"]


def test_a_record_of_two_kinds_fills_one_of_them() -> None:
    world = joined('rule r when all of x as p, x as q where n > 5 by k within 1h then seen(what: "{p.n}{q.n}")')
    for n in (7, 8, 1, 2, 9):
        world.post("x", k=0, n=n)
    assert told(world) == ["78", "19"]


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
    assert world.state.waits.ties.of(root.flow) == []
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
