"""Chains: what waits for what, what is bound, what a failure does, and the continuations of Python."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import then
from tests.world import World
from then.core import facts as f
from then.core.causes import Move, Post, Proceed, Release, Retry
from then.core.chains import Chain
from then.core.edition import Edition
from then.core.tasks import Outcome, Task

TASKS = "event go(n: int?) event seen(what: str)\n" + "\n".join(
    f'task {name}(n: int?) -> (m: int?) run process ["{name}"]' for name in "abcd"
)


def chain(text: str, more: str = "") -> World:
    return World(f"{TASKS}\nrule r when go as g then {text}\n{more}")


def reconstructed(world: World, failed: Task) -> Chain:
    """The chain as a reader of the journal would give it back; of chains with one member only."""
    waited = [fact for fact in world.facts(f.Waited) if isinstance(fact, f.Waited) and fact.id == failed.cont][-1]
    return Chain(
        waited.id, failed.flow, waited.rule, waited.step, {failed.id: False}, waited.aliases, dict(waited.records),
        waited.values, waited.call, waited.by_unmatched, waited.otherwise,
    )  # fmt: skip


def test_a_further_then_waits_until_all_before_it_are_done() -> None:
    world = chain("a(), b() then c() then d()")
    root = world.post("go")
    assert world.emissions() == ["a by r", "b by r"]
    world.end("a")
    assert world.emissions() == ["a by r", "b by r"]
    world.end("b")
    world.end("c")
    assert world.emissions() == ["a by r", "b by r", "c by r/1", "d by r/2"]
    world.end("d")
    assert world.outcome(root) == "done"
    assert not world.state.chains


def test_a_continuation_has_the_record_that_completed_the_step_as_parent() -> None:
    world = chain("a(), b() then c()")
    world.post("go")
    last = world.end("b")
    assert not world.emitted("c")
    last = world.end("a")
    [c] = world.emitted("c")
    assert c.parent == last.id
    assert world.fired(last) == ["r/1"]


def test_aliases_of_actions_are_bound_after_the_next_then() -> None:
    world = chain("a(n: 1) as x, b(n: 2) as y then c(n: x.m) as z then d(n: x.m + y.m + z.m + g.n)")
    world.post("go", n=1000)
    world.end("b", m=20)
    world.end("a", m=3)
    assert world.emitted("c")[0].body == {"n": 3}
    world.end("c", m=400)
    assert world.emitted("d")[0].body == {"n": 1423}


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "cancelled"])
def test_a_member_that_ends_otherwise_drops_the_rest_and_its_siblings_go_on(outcome: Outcome) -> None:
    world = chain("a(), b() then c()")
    root = world.post("go")
    world.end("a", outcome)
    assert world.outcome(root) is None
    assert not world.state.chains
    world.end("b")
    assert not world.emitted("c")
    assert world.outcome(root) == ("done" if outcome == "cancelled" else "failed")


@pytest.mark.parametrize("outcome", ["failed", "timed_out"])
def test_the_else_takes_the_failure_up_and_its_name_says_so(outcome: Outcome) -> None:
    world = chain("a() then b() else c(n: g.n)")
    root = world.post("go", n=4)
    failed = world.end("a", outcome)
    [c] = world.emitted("c")
    assert (c.rule, c.body, c.parent) == ("r/1/else", {"n": 4}, failed.id)
    assert world.fired(failed) == ["r/1/else"]
    world.end("c")
    assert world.outcome(root) == "done"


def test_an_else_is_not_for_what_was_cancelled() -> None:
    world = chain("a() then b() else c()")
    world.post("go")
    world.end("a", "cancelled")
    assert not world.emitted("c")


def test_the_else_answers_the_last_then_only() -> None:
    world = chain("a() then b() then c() else d()")
    root = world.post("go")
    world.end("a", "failed")
    assert not world.emitted("d")
    assert world.outcome(root) == "failed"
    root = world.post("go")
    world.end("a")
    world.end("b", "failed")
    assert world.emissions()[-1] == "d by r/2/else"
    world.end("d")
    assert world.outcome(root) == "done"


def test_of_two_members_that_fail_one_runs_the_else_and_the_other_fails_the_flow() -> None:
    world = chain("a(), b() then c() else d()")
    root = world.post("go")
    world.end("a", "failed")
    world.end("b", "failed")
    assert len(world.emitted("d")) == 1
    world.end("d")
    assert world.outcome(root) == "failed"


def test_a_guard_that_is_false_or_cannot_be_said_leaves_out_its_act() -> None:
    world = chain("a(), b() if g.n > 5 then c()")
    world.post("go", n=1)
    world.end("a")
    assert world.emissions() == ["a by r", "c by r/1"]
    world.post("go")
    assert world.emissions()[2:] == ["a by r"]


def test_a_step_of_which_nothing_is_left_ends_the_chain() -> None:
    world = chain("a() then b() if g.n > 5 then c()")
    root = world.post("go", n=1)
    world.end("a")
    assert world.emissions() == ["a by r"]
    assert world.outcome(root) == "done"


def test_a_step_that_only_saves_waits_for_nothing() -> None:
    world = chain("save x: 1 then a() then save x: 2 then b()")
    root = world.post("go")
    assert [task.type for task in world.emitted()] == ["a"]
    world.end("a")
    assert [task.type for task in world.emitted()] == ["a", "b"]
    assert world.state.flows[root.flow].variables == {"x": 2}


def test_a_final_rule_does_not_suppress_a_continuation_and_other_rules_see_the_record_too() -> None:
    world = chain(
        "a() then b()",
        'rule s when a done then seen(what: "s") final rule t when a done then seen(what: "t")'
        ' rule u when a done then seen(what: "u")',
    )
    world.post("go")
    a = world.end("a")
    assert world.fired(a) == ["r/1", "s", "t"], "continuations first, then rules in order"


def test_an_event_may_be_waited_for() -> None:
    world = chain('seen(what: "x") then a()')
    world.post("go")
    assert world.emissions() == ["seen by r", "a by r/1"]


def test_a_value_that_cannot_be_said_in_a_later_step_becomes_rule_failed_under_its_name() -> None:
    world = chain('a() as x then seen(what: "m is {x.m}")')
    root = world.post("go")
    world.end("a")
    [failed] = world.emitted("rule.failed")
    assert failed.rule == failed.body["rule"] == "r/1"
    assert world.outcome(root) == "failed"


def test_what_a_chain_of_an_unmatched_rule_brings_forth_descends_from_it_as_well() -> None:
    world = World(
        f'{TASKS}\nrule r when unmatched go then a() then b()\nrule s when unmatched b failed then seen(what: "s")'
    )
    root = world.post("go")
    world.end("a")
    world.end("b", "failed")
    assert world.emissions() == ["a by r", "b by r/1"]
    assert world.outcome(root) == "failed"


# -- retry ---------------------------------------------------------------------------


def test_a_retried_member_goes_on_with_its_chain() -> None:
    world = chain("a(n: 1) as x then b(n: x.m)")
    root = world.post("go")
    failed = world.end("a", "failed")
    assert world.outcome(root) == "failed"
    over = world.state.past[-1]
    again = world.give(Retry(failed, over, reconstructed(world, failed))).answer
    assert again is not None
    assert (again.attempt, again.origin, again.body, again.rule, again.parent) == (2, failed.id, {"n": 1}, "r", root.id)
    world.end(again, m=7)
    assert world.emitted("b")[0].body == {"n": 7}
    world.end("b")
    assert world.outcome(root) == "done"


def test_a_member_that_lives_on_while_its_sibling_is_retried_still_counts() -> None:
    # The chain came back under another id, and what the sibling brought went to the old one.
    world = chain("a() as x, b() as y then c(n: x.m + y.m)")
    root = world.post("go")
    failed = world.end("a", "failed")
    known = reconstructed(world, failed)
    [b] = world.live("b")
    known.waiting[b.id] = True
    world.give(Retry(failed, None, known))
    world.end("b", m=2)
    world.end("a", m=40)
    assert [task.body for task in world.emitted("c")] == [{"n": 42}]
    world.end("c")
    assert world.outcome(root) == "done"


def test_two_members_that_failed_and_are_both_retried_complete_their_step() -> None:
    world = chain("a() as x, b() as y then c(n: x.m + y.m)")
    root = world.post("go")
    first = world.end("a", "failed")
    second = world.end("b", "failed")
    for failed in (first, second):
        known = reconstructed(world, failed)
        known.waiting = {first.id: False, second.id: False}
        world.give(Retry(failed, world.state.past[-1] if root.flow not in world.state.flows else None, known))
    world.end("b", m=2)
    world.end("a", m=40)
    assert [task.body for task in world.emitted("c")] == [{"n": 42}]
    world.end("c")
    assert world.outcome(root) == "done"
    assert not world.state.chains


def test_a_chain_whose_member_ended_while_the_retry_was_asked_for_is_asked_for_again() -> None:
    world = chain("a(), b() then c()")
    world.post("go")
    failed = world.end("a", "failed")
    known = reconstructed(world, failed)
    known.waiting[world.live("b")[0].id] = True
    world.end("b")
    pages = len(world.pages)
    assert world.bring(Retry(failed, world.state.past[-1], known)).answer is None
    assert len(world.pages) == pages


def test_a_chain_of_which_a_part_was_never_retried_ends_with_its_flow() -> None:
    world = chain("a(), b() then c()")
    root = world.post("go")
    first = world.end("a", "failed")
    second = world.end("b", "failed")
    known = reconstructed(world, first)
    known.waiting[second.id] = False
    world.give(Retry(first, world.state.past[-1], known))
    world.end("a")
    assert world.outcome(root) == "failed"
    assert not world.state.chains, "nothing of it is left behind"


# -- a continuation that is no longer there ---------------------------------------------


def without(world: World, text: str) -> None:
    """Other rules for the open flows."""
    world.editions["v2"] = Edition("v2", World(f"{TASKS}\n{text}").rules)
    for id in list(world.state.flows):
        world.give(Move(id, "v2"))


def test_a_continuation_that_is_gone_holds_the_flow_and_goes_on_once_it_is_back() -> None:
    # The chain was dropped before its continuation was looked for: a continue then went nowhere.
    world = chain("a() as x then b(n: x.m)")
    root = world.post("go")
    without(world, "rule other when go then a()")
    world.end("a", m=3)
    assert world.held()[-1].startswith("the continuation r/1 is not in these rules any more")
    assert not world.emitted("b")
    world.give(Release(root.flow))
    assert not world.emitted("b"), "held again: it is still not there"
    assert world.state.flows[root.flow].held
    world.give(Move(root.flow, "v1"))
    world.give(Release(root.flow))
    assert world.emitted("b")[0].body == {"n": 3}
    world.end("b")
    assert world.outcome(root) == "done"


def test_an_event_whose_continuation_is_gone_is_held_as_well() -> None:
    world = chain('seen(what: "x") then a()')
    world.bring(Post("go", {}))
    world.bring(Proceed())
    [root] = world.state.flows.values()
    world.editions["v2"] = Edition("v2", World(f"{TASKS}\nrule other when go then a()").rules)
    world.give(Move(root.id, "v2"))
    assert world.state.flows[root.id].held
    world.give(Move(root.id, "v1"))
    world.give(Release(root.id))
    assert world.emissions() == ["seen by r", "a by r/1"]


# -- Python ----------------------------------------------------------------------------


def python_rules() -> then.Rules:
    rules = then.Rules()
    for name in "abc":
        rules.task(name, run=("process", [name]))

    @rules.continuation
    def after(a: Task, n: int) -> Iterator[then.Emission]:
        yield then.emit("b", n=n, got=a.result and a.result.get("m"))

    @rules.continuation
    def sorry(a: Task, n: int) -> Iterator[then.Emission]:
        yield then.emit("c", n=n, why=a.outcome)

    @rules.when("go")
    def start(go: Task) -> Iterator[then.Emission]:
        yield then.emit("a", then=after, otherwise=sorry, bind={"n": 5})

    @rules.when("go.bare")
    def bare(go: Task) -> Iterator[then.Emission]:
        yield then.emit("a", otherwise=sorry, bind={"n": 6})

    return rules


def test_a_python_continuation_gets_the_record_by_position_and_what_was_bound_by_keyword() -> None:
    world = World(python_rules())
    world.post("go")
    a = world.end("a", m=2)
    assert world.fired(a) == ["after"]
    assert [(task.type, task.body, task.rule) for task in world.emitted()[1:]] == [("b", {"n": 5, "got": 2}, "after")]


def test_a_python_otherwise_takes_the_failure_up() -> None:
    world = World(python_rules())
    root = world.post("go")
    world.end("a", "timed_out")
    assert world.emitted("c")[0].body == {"n": 5, "why": "timed_out"}
    world.end("c")
    assert world.outcome(root) == "done"


def test_an_otherwise_alone_leaves_a_done_task_to_the_rules() -> None:
    world = World(python_rules())
    root = world.post("go.bare")
    a = world.end("a")
    assert world.fired(a) == []
    assert world.outcome(root) == "done"
    assert not world.state.chains


def test_what_is_bound_has_to_be_json() -> None:
    rules = python_rules()

    @rules.when("go.odd")
    def odd(go: Task) -> Iterator[then.Emission]:
        yield then.emit("a", then="after", bind={"n": {1, 2}})

    world = World(rules)
    world.post("go.odd")
    assert "set is no JSON value" in world.emitted("rule.failed")[0].body["error"]


def test_a_function_that_is_no_continuation_is_refused_by_name() -> None:
    rules = then.Rules()

    @rules.when("go")
    def start(go: Task) -> Iterator[then.Emission]:
        yield then.emit("a", then="nowhere")

    world = World(rules)
    world.post("go")
    assert '"nowhere" is no registered continuation' in world.emitted("rule.failed")[0].body["error"]
