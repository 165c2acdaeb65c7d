"""Further attempts: how many, when, which failures, and what chains, rules and people see of them."""

from __future__ import annotations

import attrs
import pytest

from tests.checked import Checked
from then.core import facts as f
from then.core.causes import Retry
from then.core.edition import Edition
from then.core.tasks import Outcome


def tried(words: str, more: str = "", act: str = "") -> Checked:
    return Checked(
        'event go() event seen(what: str) event stop() task a(n: int?) -> (m: int?) run process ["a"] '
        f'{words} task b(n: int?) run process ["b"] rule s when go then a(n: 1) as x {act} then b(n: x.m) {more}'
    )


def waits_us(world: Checked) -> list[int]:
    """How long each further attempt was put off."""
    return [
        task.policy.due - task.created if task.policy is not None and task.policy.due is not None else 0
        for task in world.emitted("a") if task.attempt > 1
    ]  # fmt: skip


def fail_all(world: Checked, outcome: Outcome = "failed") -> None:
    while world.live("a"):
        world.advance(100_000)
        world.end("a", outcome)


def test_five_times_are_five_after_the_first() -> None:
    world = tried("retry 5 times")
    root = world.post("go")
    fail_all(world)
    tries = world.emitted("a")
    assert [task.attempt for task in tries] == [1, 2, 3, 4, 5, 6]
    assert {task.origin for task in tries[1:]} == {tries[0].id}
    assert {task.key for task in tries} == {tries[0].id}
    assert {(task.parent, task.rule) for task in tries} == {(root.id, "s")}
    assert world.outcome(root) == "failed"


def test_an_attempt_that_is_tried_again_is_not_settled_and_seen_as_retried_alone() -> None:
    world = tried(
        "retry 1 times",
        'rule t when a retried as y then seen(what: "retried {y.record.outcome}") rule u when a failed then seen(what: "failed")'
        ' rule v when a finished then seen(what: "finished") rule w when unmatched a failed or timed out then seen(what: "stray")',
    )
    root = world.post("go")
    first = world.end("a", "timed_out")
    assert (world.completed(first).outcome, world.completed(first).settled) == ("timed_out", False)
    world.end("a", "failed")
    assert [task.body["what"] for task in world.emitted("seen")] == ["retried timed_out", "failed", "finished"]
    assert world.outcome(root) == "done"


def test_the_chain_goes_on_with_the_attempt_that_came_through() -> None:
    world = tried("retry 3 times")
    world.post("go")
    world.end("a", "failed")
    world.end("a", "failed")
    world.end("a", m=7)
    assert [task.body for task in world.emitted("b")] == [{"n": 7}]


def test_the_else_answers_the_last_attempt() -> None:
    world = Checked(
        'event go() task a() run process ["a"] retry 1 times task b() run process ["b"] task c() run process ["c"]'
        " rule s when go then a() then b() else c()"
    )
    world.post("go")
    world.end("a", "failed")
    assert not world.emitted("c")
    world.end("a", "failed")
    assert len(world.emitted("c")) == 1


def test_the_wait_doubles_up_to_its_limit() -> None:
    world = tried("retry 6 times backoff 1s to 10s")
    world.post("go")
    fail_all(world)
    assert waits_us(world) == [1_000_000, 2_000_000, 4_000_000, 8_000_000, 10_000_000, 10_000_000]


def test_an_attempt_starts_when_its_wait_is_over_and_holds_nothing_meanwhile() -> None:
    world = tried("retry 1 times backoff 30s")
    root = world.post("go")
    world.end("a", "failed")
    assert world.started() == ["a"]
    assert world.state.slots_used == 0
    assert world.outcome(root) is None, "a wait for the next attempt is a timer: the flow lives"
    world.advance(29)
    assert world.started() == ["a"]
    world.advance(2)
    assert world.started() == ["a", "a"]


def test_jitter_is_drawn_from_the_full_range_and_recorded() -> None:
    world = tried("retry 200 times backoff 10s to 10s jitter")
    world.post("go")
    chance = 0.0
    while world.live("a"):
        chance = (chance + 0.61803398875) % 1
        world.terms.chance = chance
        world.advance(11)
        world.end("a", "failed")
    waits = waits_us(world)
    assert len(waits) == 200
    assert 0 <= min(waits) < 500_000
    assert 9_500_000 < max(waits) < 10_000_000
    assert abs(sum(waits) / 200 - 5_000_000) < 500_000


def test_several_that_fail_in_one_step_draw_differently() -> None:
    world = Checked(
        'event go() task a(n: int) run process ["a"] retry 1 times backoff 100s to 100s jitter timeout 1m'
        " rule s when go then for n in [1, 2, 3, 4] emit a(n: n)"
    )
    world.post("go")
    for task in world.live("a"):
        world.end(task, "failed")
    assert len({task.policy.due for task in world.live("a") if task.policy}) == 4


@pytest.mark.parametrize(("kind", "tries"), [("exit", 2), ("timeout", 2), ("lost", 2), ("unknown", 1), ("deadline", 1)])
def test_what_may_have_run_or_is_too_late_is_not_tried_again(kind: str, tries: int) -> None:
    world = tried("retry 1 times")
    world.post("go")
    world.end("a", "failed", kind)
    assert len(world.emitted("a")) == tries


def test_a_clause_says_which_failures_are_tried_again() -> None:
    world = tried('retry 9 times while error.kind == "http5xx" or attempt < 2')
    world.post("go")
    world.end("a", "failed", "exit")
    world.end("a", "failed", "http5xx")
    world.end("a", "failed", "exit")
    assert len(world.emitted("a")) == 3
    assert not world.live("a")


def test_a_clause_that_cannot_be_said_is_no_yes() -> None:
    world = tried("retry 9 times while error.nothing == 1")
    world.post("go")
    world.end("a", "failed")
    assert len(world.emitted("a")) == 1


def test_an_act_says_more_than_the_declaration() -> None:
    world = tried("retry 1 times", act='retry 3 times while error.kind == "exit"')
    world.post("go")
    fail_all(world)
    assert len(world.emitted("a")) == 4


def test_a_posted_task_is_tried_as_declared() -> None:
    # What came from outside had no policy.
    world = tried("retry 1 times backoff 1s timeout 1m")
    root = world.post("a")
    world.advance(61)
    assert world.stopped() == ["a"]
    world.end("a", "cancelled")
    assert world.completed(root).outcome == "timed_out"
    world.advance(2)
    world.end("a")
    assert world.outcome(root) == "done"


def test_a_deadline_counts_from_the_first_attempt() -> None:
    world = tried("retry 9 times backoff 25s to 25s deadline 1m")
    root = world.post("go")
    world.end("a", "failed")
    world.advance(26)
    world.end("a", "failed")
    world.advance(26)
    world.advance(10)
    assert world.stopped() == ["a"]
    last = world.live("a")[0]
    world.end("a", "cancelled")
    done = world.completed(last)
    assert (done.outcome, done.error and done.error["kind"], done.settled) == ("timed_out", "deadline", True)
    assert len(world.emitted("a")) == 3
    assert world.outcome(root) == "failed"


def test_an_attempt_that_would_begin_after_the_deadline_is_not_made() -> None:
    world = tried("retry 9 times backoff 2m deadline 1m")
    world.post("go")
    first = world.completed(world.end("a", "failed"))
    assert (first.outcome, first.settled) == ("failed", True), "its time was not over when it failed"
    assert len(world.emitted("a")) == 1


def test_what_a_call_emits_inherits_its_deadline() -> None:
    world = Checked(
        'event go() task a(n: int) run process ["a"] deadline 1h task b(n: int) run process ["b"] deadline 1m'
        " procedure inner() first a(n: 1), b(n: 2) end procedure p() first call inner() end rule s when go then call p()"
    )
    # Said in Python; the language has no word for it yet.
    world.rules.procedures["p"] = attrs.evolve(world.rules.procedures["p"], deadline_us=600_000_000)
    world.editions["v1"] = Edition("v1", world.rules)
    world.post("go")
    [a], [b], [call] = world.live("a"), world.live("b"), world.live("p")
    assert a.policy is not None
    assert b.policy is not None
    assert a.policy.deadline == call.created + 600_000_000
    assert b.policy.deadline == b.created + 60_000_000


def test_a_timeout_ends_each_attempt_for_itself() -> None:
    world = tried("retry 1 times timeout 1m")
    root = world.post("go")
    world.advance(61)
    assert world.stopped() == ["a"]
    world.end("a", "cancelled")
    assert world.outcome(root) is None
    world.advance(59)
    assert world.stopped() == ["a"]
    world.advance(2)
    assert world.stopped() == ["a", "a"]
    world.end("a", "cancelled")
    assert world.outcome(root) == "failed"


def test_a_task_that_ends_while_it_is_stopped_ended_as_it_did() -> None:
    world = tried("timeout 1m")
    world.post("go")
    world.advance(61)
    world.end("a", m=5)
    assert [task.body for task in world.emitted("b")] == [{"n": 5}]


def test_who_cancels_a_task_whose_time_is_over_wants_no_further_attempt() -> None:
    # It ended as timed out all the same, and was tried again.
    world = tried("retry 5 times timeout 1m")
    root = world.post("go")
    world.advance(61)
    world.cancel("a")
    last = world.end("a", "cancelled")
    assert world.completed(last).outcome == "cancelled"
    assert len(world.emitted("a")) == 1
    assert world.outcome(root) == "done"


def test_a_cancelled_flow_tries_nothing_again() -> None:
    world = tried("retry 5 times backoff 1m", "rule h when stop then cancel flow")
    root = world.post("go")
    world.end("a", "failed")
    world.post("stop", flow=root.flow)
    assert world.outcome(root) == "cancelled"
    assert not world.state.waits.dues


def test_an_attempt_expires_from_when_it_might_start() -> None:
    # The moment of the first attempt held for the second, which expired before it could begin.
    world = Checked(
        'event go() task a(n: int) run process ["a"] retry 3 times backoff 2m expires 1m rule s when go then a(n: 1)',
        slots=1,
    )
    root = world.post("go")
    world.advance(90)
    assert world.live("a")[0].id in world.state.running, "what has started does not expire"
    world.end("a", "failed")
    world.advance(121)
    assert world.started() == ["a", "a"]
    world.end("a")
    assert world.outcome(root) == "done"


def test_a_person_tries_again_without_the_times_of_before() -> None:
    world = tried("deadline 1m")
    root = world.post("go")
    failed = world.end("a", "failed")
    world.advance(3600)
    again = world.give(Retry(failed, world.state.past[-1])).answer
    assert again is not None
    assert (again.attempt, again.policy and again.policy.deadline) == (2, None)
    world.end(again)
    assert world.outcome(root) == "done"


def test_the_person_who_is_asked_again_is_asked_when_it_is_due() -> None:
    # What nobody runs was started as it was born.
    world = Checked("event go() task ask(n: int) retry 1 times backoff 1m timeout 10m rule s when go then ask(n: 1)")
    root = world.post("go")
    first = world.live("ask")[0]
    assert first.started is not None
    world.end("ask", "failed")
    second = world.live("ask")[0]
    assert second.state == "waiting"
    world.advance(61)
    second = world.live("ask")[0]
    assert second.state == "running"
    world.advance(590)
    assert world.outcome(root) is None
    world.advance(11)
    assert world.outcome(root) == "failed"


def test_an_unsettled_attempt_leaves_no_failure_behind() -> None:
    world = tried("retry 2 times")
    root = world.post("go")
    world.end("a", "failed")
    assert not world.state.flows[root.flow].untaken
    facts = [fact for fact in world.facts(f.Completed) if isinstance(fact, f.Completed)]
    assert [fact.settled for fact in facts] == [False]
