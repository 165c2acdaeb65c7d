"""`retry … from failed` of a call: what fails in it is tried again in its place, so many times over the call."""

from __future__ import annotations

from pathlib import Path

import pytest

import then
from tests.checked import Checked
from tests.world import World
from then.core import facts as f
from then.core.causes import Post
from then.core.errors import RulesRefused
from then.core.policies import Policy, Retry
from then.core.rules import Emit, RuleSet
from then.language.loading import load_path, load_text
from then.language.printer import print_rules

HEAD = """
event go(n: int?) event seen(what: any)
task a(n: int?) -> (m: int?) run process ["a"]
task b(n: int?) run process ["b"]
task own(n: int?) run process ["own"] retry 1 times
task frail(n: int?) run process ["frail"] may fail
task done_with(what: any) run process ["done"]
"""
PAIR = """
procedure pair() -> (count: int)
  first a(n: 1), a(n: 2)
  when every a done then b() then return (count: 2)
end
rule s when go as g then call pair() as r retry {} then done_with(what: r.count) else done_with(what: "none")
"""


def pair(words: str) -> Checked:
    world = Checked(HEAD + PAIR.format(words))
    world.post("go", n=1)
    return world


def said(world: World) -> list[object]:
    return [task.body["what"] for task in world.emitted("done_with")]


def begun(world: World) -> list[tuple[str, int, bool]]:
    """The type and attempt of all that was emitted, and whether it is a further attempt."""
    return [
        (task.type, task.attempt, task.origin is not None) for task in world.emitted() if task.type in ("pair", "a")
    ]


def test_what_failed_is_tried_again_in_its_place_and_the_call_goes_on() -> None:
    world = pair("2 times from failed")
    first, second = world.live("a")
    world.end(second, "failed")
    again = world.live("a")[-1]
    assert (again.origin, again.attempt, again.call, again.body) == (second.id, 2, second.call, {"n": 2})
    world.end(first)
    world.end(again)
    world.end("b")
    assert said(world) == [2]
    assert [kind for kind, *_ in begun(world)] == ["pair", "a", "a", "a"], "what was done stays done"
    assert world.facts(f.TriedAgain) == [f.TriedAgain(second.call or "")]


def test_from_start_the_whole_call_is_made_anew() -> None:
    for words in ("1 times from start", "1 times"):
        world = pair(words)
        world.end("a", "failed")
        world.end("a")
        assert begun(world)[3:] == [("pair", 2, True), ("a", 1, False), ("a", 1, False)]


def test_tries_are_counted_over_the_call_and_not_for_each_task() -> None:
    world = pair("2 times from failed")
    first, second = world.live("a")
    world.end(first, "failed")
    world.end(second, "timed_out")
    third, fourth = world.live("a")
    world.end(third, "failed")
    assert world.live("a") == [fourth], "there were two tries"
    world.end(fourth)
    assert said(world) == ["none"]


def test_a_step_of_a_chain_that_fails_is_waited_for_anew() -> None:
    world = pair("1 times from failed")
    world.end("a")
    world.end("a")
    world.end("b", "failed")
    world.end("b")
    assert said(world) == [2]


def test_the_wait_grows_with_the_tries_of_the_call() -> None:
    world = pair("3 times backoff 10s from failed")
    first, second = world.live("a")
    world.end(first, "failed")
    world.end(second, "failed")
    dues = [task.policy.due - world.terms.time for task in world.live("a") if task.policy and task.policy.due]
    assert [round(due / 1e6) for due in dues] == [10, 20]


def test_a_failed_attempt_is_seen_by_retried_and_by_nothing_else() -> None:
    world = Checked(
        HEAD
        + PAIR.format("1 times from failed")
        + "rule f when a failed then seen(what: 1) rule g when a retried as x then seen(what: x.n)"
    )
    world.post("go", n=1)
    world.end("a", "failed")
    assert [task.body["what"] for task in world.emitted("seen")] == [1]
    assert world.emitted("seen")[0].rule == "g"


def test_the_own_retry_of_a_task_comes_first_and_is_not_counted() -> None:
    world = Checked(HEAD + "procedure p() first own() end rule s when go then call p() retry 1 times from failed")
    root = world.post("go")
    for _ in range(3):
        assert world.outcome(root) is None
        world.end("own", "failed")
    assert world.outcome(root) == "failed"
    assert len(world.facts(f.TriedAgain)) == 1


def test_the_innermost_call_that_has_tries_gives_them_then_the_one_around_it() -> None:
    world = Checked(
        HEAD
        + "procedure deep() first a() end procedure inner() first call deep() end"
        + " procedure outer() first call inner() retry 1 times from failed end"
        + " rule s when go then call outer() retry 1 times from failed"
    )
    root = world.post("go")
    for _ in range(4):
        assert world.outcome(root) is None
        world.end("a", "failed")
    assert world.outcome(root) == "failed"
    # The second try of the outer one is a new call of the inner one, which has its own again.
    assert [task.type for task in world.emitted()] == [
        "outer", "inner", "deep", "a", "a", "inner", "deep", "a", "a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "type", "kind"),
    [
        ("procedure p() first frail() end rule s when go then call p() retry 3 times from failed", "frail", "exit"),
        ("procedure p() first a() end rule s when go then call p() retry 3 times from failed", "a", "unknown"),
        (
            'procedure p() first a() end rule s when go then call p() retry 3 times from failed while error.kind == "x"',
            "a",
            "exit",
        ),
    ],
)
def test_what_may_fail_what_is_in_doubt_and_what_while_leaves_out_uses_no_try(text: str, type: str, kind: str) -> None:
    world = Checked(HEAD + text)
    root = world.post("go")
    world.end(type, "failed", kind)
    assert world.outcome(root) == ("done" if type == "frail" else "failed")


def test_while_looks_at_the_call_and_at_the_error_of_what_failed() -> None:
    world = Checked(
        HEAD + "procedure p(n: int) first a(n: n) end"
        ' rule s when go as g then call p(n: 7) retry 9 times from failed while error.kind == "exit" and n == 7 and attempt < 3'
    )
    root = world.post("go")
    for _ in range(3):
        world.end("a", "failed")
    assert world.outcome(root) == "failed"


def test_a_call_that_is_over_gives_no_tries() -> None:
    world = Checked(
        HEAD + "procedure p() first a(n: 1), a(n: 2) when a done then return () end"
        " rule s when go then call p() retry 3 times from failed"
    )
    root = world.post("go")
    world.end("a")
    world.end("a", "failed")
    assert world.outcome(root) == "failed"
    assert not world.facts(f.TriedAgain)


def test_the_timeout_of_the_call_ends_it_with_what_it_tries() -> None:
    world = Checked(
        HEAD
        + "procedure p() first a() end rule s when go then call p() retry 3 times backoff 1h from failed timeout 1m"
    )
    root = world.post("go")
    world.end("a", "failed")
    world.advance(60)
    assert world.outcome(root) == "failed"
    [call] = world.emitted("p")
    assert world.completed(call).outcome == "timed_out"


# -- how it is written ------------------------------------------------------------------------


def policy_of(rules: RuleSet) -> Policy | None:
    consequence = rules.rules[0].consequence
    assert consequence is not None
    act = consequence.steps[0][0]
    assert isinstance(act, Emit)
    return act.policy


CALL = "task t()\nprocedure p()\n  first t()\nend\nevent e()\nrule r\n  when e\n  then call p() retry {}\n"


def test_the_words_are_read_and_printed() -> None:
    rules = load_text(CALL.format("3 times backoff 1s to 1m jitter from failed")).rules
    assert policy_of(rules) == Policy(Retry(3, 10**6, 60 * 10**6, jitter=True, is_from_failed=True))
    assert policy_of(load_text(print_rules(rules)).rules) == policy_of(rules)
    assert policy_of(load_text(CALL.format("3 times from start")).rules) == Policy(Retry(3))


def test_yaml_and_python_have_them_too(tmp_path: Path) -> None:
    (tmp_path / "p.then").write_text("task t()\nprocedure p() first t() end\nevent e()\n")
    (tmp_path / "a.yaml").write_text(
        "use: p.then\nrules:\n- {name: r, when: {type: e}, then: {call: p, retry: {times: 3, from: failed}}}\n"
    )
    assert policy_of(load_path(tmp_path / "a.yaml", env={}).rules) == Policy(Retry(3, is_from_failed=True))
    assert then.call("p").retry(3, from_failed=True).policy == Policy(then.retry(3, from_failed=True))


@pytest.mark.parametrize(
    "text",
    [
        'task t()\n  run process ["t"]\n  retry 3 times from failed\n',
        "task t()\nevent e()\nrule r when e then t() retry 3 times from start\n",
    ],
)
def test_a_task_has_nothing_in_it_that_could_be_tried_alone(text: str) -> None:
    with pytest.raises(RulesRefused, match="belongs to a `call`: a task has nothing in it that could be tried alone"):
        load_text(text)


def test_a_restart_knows_how_many_tries_are_left() -> None:
    # `Checked` holds every state against its replay and its cells.
    world = pair("1 times from failed")
    world.end("a", "failed")
    [frame] = world.state.waits.frames.values()
    assert frame.tries == 1
    world.give(Post("seen", {"what": 1}))
    assert [one.tries for one in world.state.waits.frames.values()] == [1]
