"""The loop when the journal cannot go on, when we are at fault, and after a start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.loop_bench import TASKS, Bench
from tests.simulation.parts import Crash
from then.committer import FULL_RETRY_S
from then.core import facts as f
from then.core.causes import Adopt, Cancel, Post, Proceed
from then.core.edition import Edition
from then.core.errors import InternalError, JournalFailed, JournalFull
from then.core.tasks import Task
from then.language.loading import load_text


@pytest.fixture
def bench() -> Bench:
    return Bench().open()


# -- a disk that has no room -------------------------------------------------------------------------


@pytest.fixture
def full() -> Bench:
    """A loop with a task that runs, whose disk fills up as the task ends."""
    bench = Bench(committer=True).open()
    bench.root = bench.post("a")  # type: ignore[attr-defined]
    bench.paper.refusal = JournalFull("here")
    return bench


def test_a_full_disk_pauses_and_loses_nothing(full: Bench) -> None:
    told: list[bool] = []
    full.loop.fullness_watchers.append(told.append)
    root: Task = full.root  # type: ignore[attr-defined]
    full.end(root)
    assert full.loop.is_full
    assert full.committer.is_armed
    assert full.types() == ["a"], "nothing acts on what is not written"
    with pytest.raises(JournalFull):
        full.post("a")
    full.end(full.hands.started[0], outcome="failed")
    full.clock.pass_by(1)
    wait_s = full.loop.commit_old()
    assert wait_s == pytest.approx(2 * FULL_RETRY_S, abs=0.01)
    assert wait_s is not None
    full.paper.refusal = None
    full.clock.pass_by(wait_s)
    assert full.loop.commit_old() is None
    assert told == [True, False]
    assert full.types() == ["a", "c"]
    assert [fact.outcome for fact in full.paper.facts() if isinstance(fact, f.Completed | f.Late)] == ["done", "failed"]
    full.post("a")


def test_a_disk_that_stays_full_is_asked_less_and_less_and_not_at_every_completion(full: Bench) -> None:
    # Each completion asked it again, and so did the committer every half second for as long as it was full.
    tries: list[float] = []
    full.paper.before = lambda: tries.append(full.clock.monotonic())
    full.end(full.root)  # type: ignore[attr-defined]
    began = tries[0]
    for _ in range(20):
        wait_s = full.loop.commit_old()
        assert wait_s is not None
        full.end(full.root)  # type: ignore[attr-defined]
        full.clock.pass_by(wait_s)
    assert [round(later - began, 1) for later in tries[:7]] == [0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5]
    assert {round(after - before, 1) for before, after in pairwise(tries[4:])} == {5.0}


def test_what_waits_for_room_goes_in_at_the_next_try_and_the_patience_begins_anew(full: Bench) -> None:
    root: Task = full.root  # type: ignore[attr-defined]
    full.end(root)
    for _ in range(6):
        full.clock.pass_by(full.loop.commit_old() or 0)
    full.paper.refusal = None
    appends = len(full.paper.appends)
    assert full.loop.commit_old() is None
    assert len(full.paper.appends) == appends + 1
    full.paper.refusal = JournalFull("here")
    full.end(full.hands.started[-1])
    assert full.loop.commit_old() == pytest.approx(FULL_RETRY_S, abs=0.01)


def test_the_end_of_a_flow_on_a_full_disk_is_told_when_there_is_room(full: Bench) -> None:
    root = full.post("b") if not full.loop.is_full and full.paper.refusal is None else None
    assert root is None
    full.paper.refusal = None
    root = full.post("b")
    full.paper.refusal = JournalFull("here")
    full.end(root)
    told = full.wait(root.flow)
    assert not told
    assert full.loop.past(root.flow) is None
    full.paper.refusal = None
    full.clock.pass_by(1)
    full.loop.commit_old()
    assert [news.flow.outcome for news in told] == ["done"]


def test_a_disk_without_room_for_a_checkpoint_alone_is_asked_again() -> None:
    bench = Bench(committer=True).open()
    bench.post("b")
    bench.paper.refusal = JournalFull("here")
    with pytest.raises(JournalFull):
        bench.loop.prune(lambda state: ((), ()))
    bench.paper.refusal = None
    bench.clock.pass_by(1)
    bench.loop.commit_old()
    assert not bench.loop.is_full
    bench.post("b")


def test_closing_on_a_full_disk_leaves_what_was_not_written_to_the_next_start(full: Bench) -> None:
    root: Task = full.root  # type: ignore[attr-defined]
    full.end(root)
    told = full.wait(root.flow)
    full.loop.close()
    assert told[0].error is not None
    full.paper.refusal = None
    again = Bench(full.paper).open()
    assert [task.id for task in again.hands.started] == [root.id]


# -- a journal that failed, and faults of ours ------------------------------------------------------------


def test_a_write_that_failed_ends_the_engine_and_tells_everybody(bench: Bench) -> None:
    root = bench.post("a")
    told = bench.wait(root.flow)
    bench.paper.refusal = JournalFailed("here", "input/output error")
    with pytest.raises(JournalFailed):
        bench.post("b")
    bench.paper.refusal = None
    assert isinstance(told[0].error, JournalFailed)
    with pytest.raises(JournalFailed):
        bench.post("b")
    bench.end(root)
    bench.loop.close()
    again = Bench(bench.paper).open()
    assert [task.type for task in again.hands.started] == ["a"], "what was acknowledged is there, and nothing else"


def test_an_end_that_a_failed_write_took_along_is_no_end(bench: Bench) -> None:
    root = bench.post("b")
    bench.paper.refusal = JournalFailed("here", "input/output error")
    bench.end(root)
    assert bench.loop.past(root.flow) is None
    assert isinstance(bench.wait(root.flow)[0].error, JournalFailed)


class Breaking(Edition):
    """Rules that break while they are looked at: a fault that no guard of ours foresees."""

    def may_fail(self, type: str) -> bool:
        raise ZeroDivisionError("a fault")


def test_a_fault_of_ours_ends_the_engine_and_not_the_thread_that_met_it(bench: Bench) -> None:
    root = bench.post("b")
    told = bench.wait(root.flow)
    bench.loop._terms.editions = {"v1": Breaking("v1", load_text(TASKS).rules)}
    bench.end(root, outcome="failed")
    failure = bench.loop.failure
    assert isinstance(failure, InternalError)
    assert "ZeroDivisionError: a fault" in str(failure)
    assert told[0].error is failure
    with pytest.raises(InternalError):
        bench.post("b")


def test_an_interrupt_in_the_middle_of_a_step_ends_the_engine_and_goes_on_to_who_is_to_hear_it(bench: Bench) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    bench.paper.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.post("b")
    assert isinstance(bench.loop.failure, InternalError)
    bench.paper.before = lambda: None
    bench.loop.close()
    assert not [fact for fact in bench.paper.facts() if isinstance(fact, f.Posted)]


def test_a_crash_leaves_what_was_acknowledged() -> None:
    bench = Bench().open()
    root = bench.post("go", n=1)

    def crash() -> None:
        raise Crash

    bench.paper.before = crash
    with pytest.raises(Crash):
        bench.end(bench.hands.started[0])
    bench.paper.before = lambda: None
    again = Bench(bench.paper).open()
    assert sorted(again.types()) == ["a", "b"]
    assert again.loop.state.flows[root.flow].live == 2


# -- taking up what an engine before left --------------------------------------------------------------------


def reopened(bench: Bench, left: Sequence[str] = ()) -> Bench:
    """The next engine, after a kill; its executor still has these."""
    again = Bench(bench.paper)
    again.hands.left = list(left)
    return again.open()


def test_what_still_runs_is_recovered_and_what_was_never_started_is_started(bench: Bench) -> None:
    bench.post("go", n=1)
    a, b = bench.hands.started
    again = reopened(bench, [a.id])
    assert [task.id for task in again.hands.recovered] == [a.id]
    assert [task.id for task in again.hands.started] == [b.id]
    assert again.loop.state.slots_used == 2


def test_a_once_task_whose_start_is_a_fact_is_never_simply_started(bench: Bench) -> None:
    root = bench.post("once_only")
    again = reopened(bench)
    assert not again.hands.started
    assert [task.id for task in again.hands.recovered] == [root.id]


def test_nothing_is_started_before_the_executors_were_asked_also_where_rules_change() -> None:
    # The rules that came were journalled first, and that step gave out what still ran.
    bench = Bench().open()
    root = bench.post("a")
    again = Bench(bench.paper)
    again.hands.left = [root.id]
    again.loop.ask(Adopt("v1"))
    assert not again.hands.started
    again.loop.recover()
    again.loop.give(Proceed())
    assert not again.hands.started
    assert [task.id for task in again.hands.recovered] == [root.id]


def test_what_was_told_to_stop_and_still_runs_is_told_again(bench: Bench) -> None:
    root = bench.post("a")
    bench.loop.ask(Cancel((root.id,)))
    again = reopened(bench, [root.id])
    assert [task.id for task in again.hands.recovered] == [root.id]
    assert again.hands.stopped == [root.id]


def test_what_was_told_to_stop_and_is_gone_ends_cancelled_and_does_not_run_again(bench: Bench) -> None:
    root = bench.post("a")
    bench.loop.ask(Cancel((root.id,)))
    again = reopened(bench)
    assert not again.hands.started
    over = again.loop.past(root.flow)
    assert over is not None
    [ended] = [fact for fact in again.paper.facts() if isinstance(fact, f.Completed)]
    assert ended.outcome == "cancelled"


def test_what_is_told_to_stop_before_its_start_was_given_out_never_starts() -> None:
    # The stop went to an executor that did not know it yet, and the start came after.
    bench = Bench().open()
    # Both come while somebody else has the lock, and share a commit.
    post = Post("a", {})
    [task] = bench.loop.look(lambda state: [bench.loop._step(post, None, None), *state.live()][1:])
    assert isinstance(task, Task)
    bench.loop.give(Cancel((task.id,)))
    assert not bench.hands.started
    assert not bench.hands.stopped
    assert bench.loop.past(task.flow) is not None


def test_a_task_that_cannot_be_launched_fails_and_is_matched_like_any() -> None:
    rules = 'task a(n: int?) run process ["a", 10 / n] event told(kind: str) rule r when a failed as x then told(kind: x.error.kind)'
    bench = Bench(rules=rules).open()
    bench.post("a", n=0)
    assert not bench.hands.started
    [told] = [fact.task for fact in bench.paper.facts() if isinstance(fact, f.Emitted)]
    assert told.body == {"kind": "spawn"}


def test_an_executor_that_comes_later_gets_what_waited_for_it() -> None:
    bench = Bench()
    del bench.loop.executors["process"]
    bench.loop._terms.kinds = frozenset()
    bench.open()
    root = bench.post("a")
    assert bench.loop.state.stuck == {root.id: "process"}
    bench.loop.attach("process", bench.hands)
    bench.loop.give(Proceed())
    assert [task.id for task in bench.hands.started] == [root.id]
    assert not bench.loop.state.stuck


def test_a_loop_that_drains_starts_nothing_more_but_for_the_flows_it_is_told() -> None:
    bench = Bench().open()
    kept, other = bench.post("a"), bench.post("a")
    bench.loop.drain([kept.flow])
    bench.end(kept, other)
    assert bench.types() == ["a", "a", "c"]
    assert bench.hands.started[-1].flow == kept.flow


def test_watchers_get_pages_when_they_are_durable_in_journal_order(bench: Bench) -> None:
    pages: list[f.Page] = []
    bench.loop.watchers.append(pages.append)
    bench.post("go", n=1)
    bench.end(*bench.hands.started)
    written = [f.decode(entry.data) for entry in bench.paper.read()]
    assert pages == written[-len(pages) :]
    assert len(pages) == 3


def test_a_watcher_that_leaves_takes_no_page_from_those_behind_it(bench: Bench) -> None:
    # As another thread does, at any moment.
    pages: list[f.Page] = []
    starts: list[Task] = []

    def leaves(page: f.Page) -> None:
        bench.loop.watchers.remove(leaves)

    def leaves_too(task: Task, time_us: int) -> None:
        bench.loop.start_watchers.remove(leaves_too)

    bench.loop.watchers += [leaves, pages.append]
    bench.loop.start_watchers += [leaves_too, lambda task, _: starts.append(task)]
    bench.post("a")
    assert len(pages) == 1
    assert len(starts) == 1
