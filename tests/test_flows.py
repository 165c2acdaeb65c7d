"""How flows end: failures taken up or not, `end flow`, `cancel flow`, cancelled records, `flow.ended`, retries."""

from __future__ import annotations

import pytest

from tests.world import World
from then.core import facts as f
from then.core.causes import Cancel, Post, Report, Retry
from then.core.tasks import Outcome

TASKS = "event go()\nevent note(what: str)\n" + "\n".join(f'task {name}() run process ["{name}"]' for name in "abcd")


def world(rules: str = "", slots: int = 100) -> World:
    return World(f"{TASKS}\n{rules}", slots=slots)


# -- failures ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "outcome", "end"),
    [
        ("a failed", "failed", "done"),
        ("a failed", "timed_out", "failed"),
        ("a timed out", "timed_out", "done"),
        ("a failed or timed out", "timed_out", "done"),
        ("a finished", "failed", "failed"),
        ("any failed", "failed", "done"),
        ("a done", "failed", "failed"),
        ("a done", "cancelled", "done"),
    ],
)
def test_a_failure_is_taken_up_by_a_rule_whose_pattern_says_so(pattern: str, outcome: Outcome, end: Outcome) -> None:
    run = world(f'rule r when {pattern} then note(what: "x")')
    root = run.post("a")
    run.end("a", outcome)
    assert run.outcome(root) == end


def test_a_failure_cancels_nothing() -> None:
    run = world("rule r when go then a(), b()")
    root = run.post("go")
    run.end("a", "failed")
    assert run.outcome(root) is None
    run.end("b")
    assert run.outcome(root) == "failed"


def test_a_task_that_may_fail_takes_its_own_failure_up() -> None:
    run = World('task a() run process ["a"] may fail')
    root = run.post("a")
    run.end("a", "failed")
    assert run.outcome(root) == "done"


def test_a_final_rule_that_takes_a_failure_up_does_so_for_all() -> None:
    run = world('final rule r when a failed then note(what: "x") rule s when any failed then b()')
    root = run.post("a")
    run.end("a", "failed")
    assert run.outcome(root) == "done"
    assert run.emissions() == ["note by r"]


# -- flow.ended ---------------------------------------------------------------------------


def test_the_end_of_a_flow_is_announced_in_a_flow_of_its_own_whose_end_announces_nothing() -> None:
    run = world('rule r when flow.ended as e then a() if e.body.outcome == "failed"')
    root = run.post("a")
    run.end("a", "failed")
    [ended] = [task for task in run.born.values() if task.type == "flow.ended"]
    assert ended.body == {"flow": root.flow, "type": "a", "outcome": "failed", "text": None}
    assert ended.flow == ended.id != root.flow
    assert run.fired(ended) == ["r"]
    run.end("a", "failed")
    assert run.outcome(ended) == "failed"
    assert len([task for task in run.born.values() if task.type == "flow.ended"]) == 1


def test_no_end_is_announced_where_no_rule_listens_and_unmatched_ones_do_not() -> None:
    run = world('rule strays when unmatched any then note(what: "x")')
    run.post("a")
    run.end("a")
    assert not [task for task in run.born.values() if task.type == "flow.ended"]


# -- end flow -----------------------------------------------------------------------------


def test_end_flow_sets_outcome_and_text_and_cancels_what_lives() -> None:
    run = world('rule r when go then a(), b() rule s when a done then end flow failed "enough"', slots=1)
    root = run.post("go")
    [b] = run.live("b")
    run.end("a")
    assert run.completed(b).outcome == "cancelled"
    assert run.outcome(root) == "failed"
    [over] = run.facts(f.FlowEnded)
    assert over == f.FlowEnded("failed", "enough")


def test_end_flow_done_stands_though_a_failure_was_taken_up_by_nobody() -> None:
    run = world("rule r when a failed then b() rule s when b failed then end flow done rule t when a done then b()")
    root = run.post("a")
    run.end("a")
    run.end("b", "failed")
    assert run.outcome(root) == "done"


def test_what_the_same_match_emitted_before_or_after_end_flow_is_not_touched() -> None:
    # What an earlier rule of the same match had emitted was cancelled with the rest.
    run = world(
        "rule start when go then a(), d()"
        " rule first when a done then b() then d()"
        ' rule second when a done then end flow failed "no", c()'
    )
    root = run.post("go")
    [d] = run.live("d")
    run.end("a")
    assert run.stopped() == ["d"]
    assert [task.type for task in run.live()] == ["d", "b", "c"]
    run.end("b")
    assert [task.type for task in run.live()] == ["d", "c", "d"], "its chain goes on as well"
    run.end("c")
    for one in run.live("d"):
        run.end(one, "cancelled")
    assert run.completed(d).outcome == "cancelled"
    assert run.outcome(root) == "failed"


# -- cancel flow --------------------------------------------------------------------------


def test_cancel_flow_ends_what_waits_in_the_same_step_and_orders_what_runs_to_stop() -> None:
    run = world("rule r when go then a(), b() rule s when note then cancel flow", slots=1)
    root = run.post("go")
    a, b = run.live()
    pages = len(run.pages)
    run.post("note", flow=root.flow, what="stop")
    assert run.completed(b).outcome == "cancelled"
    assert run.completed(b).error == {"kind": "cancelled"}
    assert run.stopped() == ["a"]
    assert len(run.pages) == pages + 2, "the post, and its match with all that it ended"
    assert run.outcome(root) is None, "a is not gone yet"
    run.end(a, "cancelled")
    assert run.outcome(root) == "cancelled"


def test_rules_on_cancelled_run_as_clean_up() -> None:
    run = world("rule s when note then cancel flow, c() rule t when any cancelled as x then d()")
    root = run.post("a")
    run.post("note", flow=root.flow, what="x")
    run.end("a", "cancelled")
    assert run.emissions() == ["c by s", "d by t"]
    assert run.outcome(root) is None
    run.end("c")
    run.end("d")
    assert run.outcome(root) == "cancelled"


def test_a_half_filled_chain_is_gone_with_cancel_flow_though_its_member_still_ends_well() -> None:
    # The stop came too late, the member was done, and the chain went on in a cancelled flow.
    run = world("rule r when go then a(), b() then c() rule s when note then cancel flow")
    root = run.post("go")
    run.end("a")
    run.post("note", flow=root.flow, what="x")
    run.end("b")
    assert not run.emitted("c")
    assert run.outcome(root) == "cancelled"
    assert not run.state.chains


def test_a_failure_after_cancel_flow_does_not_change_its_outcome() -> None:
    run = world("rule s when note then cancel flow")
    root = run.post("a")
    run.post("note", flow=root.flow, what="x")
    run.end("a", "failed")
    assert run.outcome(root) == "cancelled"


# -- cancelled by a person -------------------------------------------------------------------


def test_cancelling_a_waiting_task_ends_it_at_once_and_a_running_one_when_it_is_gone() -> None:
    run = world("rule r when go then a(), b()", slots=1)
    root = run.post("go")
    a, b = run.live()
    run.cancel(a, b)
    assert run.completed(b).outcome == "cancelled"
    assert run.completed(b).started is None
    assert run.stopped() == ["a"]
    run.cancel(a)
    assert run.stopped() == ["a"], "it is told once"
    run.end(a, "cancelled")
    assert run.outcome(root) == "done", "cancelled is no failure"


def test_a_cancelled_flow_ends_all_that_lives_at_that_moment_whatever_was_read_before() -> None:
    run = world("rule r when a done then b()")
    root = run.post("a")
    run.end("a")
    run.give(Cancel((root.id,), root.flow))
    assert run.stopped() == ["b"]
    run.end("b", "cancelled")
    assert run.outcome(root) == "cancelled"


def test_cancelling_a_flow_that_has_ended_changes_nothing() -> None:
    run = world()
    root = run.post("a")
    run.end("a")
    pages = len(run.pages)
    run.give(Cancel((root.id,), root.flow))
    run.give(Cancel((root.id,)))
    assert len(run.pages) == pages


def test_an_event_that_is_cancelled_before_its_match_is_seen_by_no_rule() -> None:
    run = world('rule r when note then b() rule s when go then note(what: "x"), note(what: "y")')
    run.bring(Post("go", {}))
    root = next(iter(run.state.flows))
    run.give(Cancel((), root))
    assert run.emissions() == []
    assert run.outcome(root) == "cancelled"


def test_a_task_that_is_done_before_its_stop_arrives_is_done() -> None:
    run = world("rule r when a done then b()")
    root = run.post("a")
    run.cancel(root)
    run.end("a")
    assert run.completed(root).outcome == "done"
    assert run.emissions() == ["b by r"]


# -- retry ------------------------------------------------------------------------------------


def test_a_retry_is_a_new_attempt_with_the_same_key_that_takes_the_failure_up_and_reopens_the_flow() -> None:
    run = world()
    root = run.post("a")
    run.end("a", "failed")
    assert run.outcome(root) == "failed"
    over = run.state.past[-1]
    again = run.give(Retry(root, over)).answer
    assert again is not None
    assert (again.attempt, again.origin, again.key, again.flow) == (2, root.id, root.id, root.flow)
    assert run.outcome(root) is None
    third = None
    run.end(again, "failed")
    third = run.give(Retry(again, run.state.past[-1])).answer
    assert third is not None
    assert (third.attempt, third.origin) == (3, root.id)
    run.end(third)
    assert run.outcome(root) == "done"
    assert run.started() == ["a", "a", "a"]


def test_a_flow_that_was_cancelled_and_is_reopened_ends_by_what_happens_then() -> None:
    run = world("rule r when a failed then cancel flow")
    root = run.post("a")
    run.end("a", "failed")
    assert run.outcome(root) == "cancelled"
    again = run.give(Retry(root, run.state.past[-1])).answer
    assert again is not None
    run.end(again)
    assert run.outcome(root) == "done"


def test_a_retry_in_an_open_flow_that_thought_it_ended_does_not_reset_it() -> None:
    run = world("rule r when go then a(), b()")
    root = run.post("go")
    first, second = run.end("a", "failed"), run.end("b", "failed")
    over = run.state.past[-1]
    run.give(Retry(first, over))
    run.give(Retry(second, over))
    assert run.state.flows[root.flow].live == 2
    run.end("a")
    run.end("b")
    assert run.outcome(root) == "done"


def test_flow_counts_every_record_of_it_and_what_lives() -> None:
    run = world("rule r when go then a(), b()")
    root = run.post("go")
    flow = run.state.flows[root.flow]
    assert (flow.records, flow.live) == (3, 2)
    run.end("a")
    assert (flow.records, flow.live) == (3, 1)


def test_a_report_on_a_task_of_a_held_or_ended_flow_finds_its_place() -> None:
    run = world()
    root = run.post("a")
    run.end("a")
    run.give(Report(root.id, "cancelled", None, None, None, run.terms.time, root.flow, "person"))
    [late] = run.facts(f.Late)
    assert isinstance(late, f.Late)
    assert late.by == "person"
