"""The loop: what is durable before what, which commits are put off, and that nobody is left waiting."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from tests.loop_bench import Bench, Paper
from then import loop as loop_module
from then.abc import Cell, Report
from then.committer import Committer
from then.core import facts as f
from then.core.causes import Cancel, Release
from then.core.errors import ConfigError, JournalError
from then.core.tasks import Task
from then.loop import Loop
from then.turns import DELAY_S, KEPT_DELAY_S
from then.waiting import FlowNews


@pytest.fixture
def bench() -> Bench:
    return Bench().open()


# -- what is durable before what ---------------------------------------------------------


def test_an_answer_is_durable_when_it_is_given(bench: Bench) -> None:
    root = bench.post("a")
    assert f.Posted(root, None, "v1") in bench.paper.facts()


def test_a_task_is_started_after_the_commit_of_what_emitted_it(bench: Bench) -> None:
    seen: list[list[str]] = []
    bench.paper.before = lambda: seen.append(bench.types())
    bench.post("a")
    assert seen == [[]]
    assert bench.types() == ["a"]


def test_reports_of_one_call_share_a_commit(bench: Bench) -> None:
    bench.post("go", n=1)
    before = len(bench.paper.appends)
    bench.end(*bench.hands.started)
    assert [entries for entries, _ in bench.paper.appends[before:]] == [1]


def test_an_executor_forgets_a_report_only_when_it_is_durable(bench: Bench) -> None:
    root = bench.post("a")
    bench.paper.before = lambda: seen.append(list(bench.hands.forgotten))
    seen: list[list[str]] = []
    bench.end(root)
    assert seen[0] == []
    assert bench.hands.forgotten == [root.id]
    bench.end(root)
    assert bench.hands.forgotten == [root.id, root.id], "a late one too"


def test_an_executor_that_keeps_nothing_is_not_told_to_forget(bench: Bench) -> None:
    root = bench.post("a")
    report = bench.loop.reporter("process", forgets=False)
    report([Report(root.id, "done", {}, None, 1, 2)])
    assert not bench.hands.forgotten


def test_cells_are_written_in_one_transaction_with_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", 3)
    bench = Bench().open()
    bench.post("a")
    bench.post("a")
    bench.post("a")
    [checkpoint] = [append for append in bench.paper.appends if append[1]]
    assert checkpoint[0] == 1
    assert {"flow", "meta", "task", "trace", "window"} <= set(checkpoint[1])


def test_a_note_is_written_with_the_next_commit_or_at_the_close(bench: Bench) -> None:
    bench.loop.note(Cell("rules", "v2", b"text"))
    assert not list(bench.paper.cells("rules"))
    bench.post("a")
    assert list(bench.paper.cells("rules")) == [("v2", b"text")]
    bench.loop.note(Cell("rules", "v3", b"text"))
    bench.loop.close()
    assert [key for key, _ in bench.paper.cells("rules")] == ["v2", "v3"]


# -- commits that are put off ----------------------------------------------------------------


def test_a_commit_is_put_off_where_a_durable_task_could_be_started_at_once() -> None:
    bench = Bench(slots=1, committer=True).open()
    bench.post("tick", n=1)
    commits = len(bench.paper.appends)
    [first] = bench.hands.started
    bench.end(first)
    assert bench.types() == ["b", "b"]
    assert len(bench.paper.appends) == commits, "not written yet"
    assert bench.committer.is_armed
    assert bench.loop.commit_old() is not None, "too young"
    bench.clock.pass_by(1)
    assert bench.loop.commit_old() is None
    assert len(bench.paper.appends) == commits + 1
    assert bench.hands.forgotten == [first.id]


def stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stops the clock, which shows another time at each look; gives what moves it on."""
    now_s = [bench.clock.monotonic()]
    monkeypatch.setattr(bench.clock, "monotonic", lambda: now_s[0])
    return lambda seconds: now_s.append(now_s.pop() + seconds)


@pytest.mark.parametrize("keeps", [True, False])
def test_the_end_of_a_task_that_would_run_again_is_put_off_for_less_long(
    monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    bench = Bench(slots=1, committer=True).open()
    bench.post("tick", n=1)
    commits = len(bench.paper.appends)
    pass_by = stopped(bench, monkeypatch)
    [first] = bench.hands.started
    bench.loop.reporter("process", forgets=keeps)([Report(first.id, "done", {}, None, 1, 2)])
    pass_by(1.5 * DELAY_S)
    bench.loop.commit_old()
    assert len(bench.paper.appends) == commits + (not keeps)
    pass_by(KEPT_DELAY_S)
    bench.loop.commit_old()
    assert len(bench.paper.appends) == commits + 1


def test_a_commit_is_put_off_for_as_long_as_the_least_patient_in_it_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(slots=2, committer=True).open()
    bench.post("tick", n=1)
    bench.post("tick", n=2)
    commits = len(bench.paper.appends)
    pass_by = stopped(bench, monkeypatch)
    bench.end(bench.hands.started[0])
    other = bench.hands.started[-1]  # Of the second flow, so that neither has ended.
    bench.loop.reporter("process", forgets=False)([Report(other.id, "done", {}, None, 1, 2)])
    assert len(bench.paper.appends) == commits
    pass_by(1.5 * DELAY_S)
    bench.loop.commit_old()
    assert len(bench.paper.appends) == commits + 1


def test_without_a_committer_no_commit_is_put_off() -> None:
    bench = Bench(slots=1).open()
    bench.post("tick", n=1)
    commits = len(bench.paper.appends)
    bench.end(bench.hands.started[0])
    assert bench.types() == ["b", "b"]
    assert len(bench.paper.appends) == commits + 1


def test_the_end_of_a_flow_is_never_put_off() -> None:
    bench = Bench(slots=1, committer=True).open()
    first, _ = bench.post("b"), bench.post("b")
    told = bench.wait(first.flow)
    bench.end(first)
    assert [news.flow.outcome for news in told] == ["done"]
    assert f.FlowEnded("done") in bench.paper.facts()


def test_the_start_of_a_once_task_waits_for_its_commit() -> None:
    bench = Bench(slots=1, committer=True).open()
    first = bench.post("b")
    second = bench.post("once_only")
    seen: list[list[str]] = []
    bench.paper.before = lambda: seen.append(bench.types())
    bench.end(first)
    assert seen == [["b"]]
    assert bench.types() == ["b", "once_only"]
    assert f.Started(second.id) in bench.paper.facts()


def test_the_committers_thread_makes_a_commit_that_nobody_made() -> None:
    bench = Bench(slots=1).open()
    bench.post("tick", n=1)
    written = threading.Event()
    bench.loop.committer = Committer(bench.loop)
    bench.paper.before = written.set
    bench.end(bench.hands.started[0])
    assert bench.types() == ["b", "b"]
    bench.clock.pass_by(1)
    assert written.wait(30)
    bench.loop.close()


# -- nobody is left waiting ---------------------------------------------------------------------


def look(bench: Bench, meanwhile: Callable[[], None]) -> None:
    bench.loop.look(lambda state: meanwhile())


def ask_whether_a_commit_is_due(bench: Bench, meanwhile: Callable[[], None]) -> None:
    monotonic = bench.clock.monotonic

    def slow() -> float:
        bench.clock.monotonic = monotonic  # type: ignore[method-assign]
        meanwhile()
        return monotonic()

    bench.loop._batch.began = bench.clock.monotonic()
    bench.loop._batch.notes += (Cell("rules", "x", b""),)
    bench.loop.is_full = True
    bench.clock.monotonic = slow  # type: ignore[method-assign]
    bench.loop.commit_old()
    bench.loop.is_full = False


@pytest.mark.parametrize("hold", [look, ask_whether_a_commit_is_due])
def test_a_report_that_finds_the_lock_taken_is_seen_to_by_who_had_it(
    bench: Bench, hold: Callable[[Bench, Callable[[], None]], None]
) -> None:
    # It stayed in the inbox until the next one came, if one came.
    root = bench.post("a")

    def from_elsewhere() -> None:
        other = threading.Thread(target=bench.end, args=(root,))
        other.start()
        other.join()

    hold(bench, from_elsewhere)
    assert not bench.loop._inbox
    assert bench.types() == ["a", "c"]


def test_where_there_is_a_committer_it_is_hurried_for_them() -> None:
    bench = Bench(committer=True).open()
    root = bench.post("a")

    def from_elsewhere() -> None:
        other = threading.Thread(target=bench.end, args=(root,))
        other.start()
        other.join()

    look(bench, from_elsewhere)
    assert bench.committer.is_hurried


def test_threads_that_report_at_once_lose_nothing() -> None:
    paper = Paper()
    bench = Bench(paper, slots=10_000).open()
    bench.loop.committer = Committer(bench.loop)
    roots = [bench.post("a") for _ in range(200)]
    groups = [roots[at::8] for at in range(8)]
    gate = threading.Barrier(8)

    def work(group: list[Task]) -> None:
        gate.wait()
        for task in group:
            bench.end(task)
            bench.loop.look(lambda state: len(state.tasks))

    threads = [threading.Thread(target=work, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.loop.close()
    completed = [fact for fact in paper.facts() if isinstance(fact, f.Completed)]
    assert len(completed) == len({fact.id for fact in completed}) == 200
    assert bench.types().count("c") == 200


# -- who waits for a flow -----------------------------------------------------------------------


def test_whoever_waits_is_told_once_when_the_flow_has_ended(bench: Bench) -> None:
    root = bench.post("b")
    told = bench.wait(root.flow)
    bench.end(root)
    [news] = told
    assert (news.flow.outcome, news.error, news.held) == ("done", None, None)
    again = bench.wait(root.flow)
    assert [news.flow.outcome for news in again] == ["done"], "at once, for one that has ended"


def test_a_waiter_that_was_taken_back_is_not_told_and_not_kept(bench: Bench) -> None:
    root = bench.post("b")
    told: list[FlowNews] = []
    take_back = bench.loop.wait_for(root.flow, told.append)
    take_back()
    take_back()
    assert not bench.loop._waiters
    bench.end(root)
    assert not told


def test_whoever_waits_for_a_flow_that_stands_still_is_told_at_once(bench: Bench) -> None:
    bench.loop.executors.clear()
    bench.loop._terms.kinds = frozenset()
    root = bench.post("a")
    [news] = bench.wait(root.flow)
    assert news.is_stuck
    told: list[FlowNews] = []
    bench.loop.wait_for(root.flow, told.append, is_told=True)
    assert not told
    bench.loop.ask(Cancel((root.id,)))
    assert [news.flow.outcome for news in told] == ["done"]


def test_whoever_waits_while_other_things_are_not_written_is_told_when_they_are() -> None:
    # Nobody told it, for it had been told to those who waited before.
    bench = Bench(slots=1, committer=True).open()
    bench.post("tick", n=1)
    standing = bench.post("ask")
    bench.loop.state.flows[standing.flow].held = "as told"
    bench.end(bench.hands.started[0])
    assert bench.loop._batch.entries
    told = bench.wait(standing.flow)
    assert not told
    bench.clock.pass_by(1)
    bench.loop.commit_old()
    assert [news.held for news in told] == ["as told"]


def test_whoever_waits_when_the_engine_is_closed_is_told(bench: Bench) -> None:
    told = bench.wait(bench.post("a").flow)
    bench.loop.close()
    assert [str(news.error) for news in told] == ["this engine is closed"]
    assert [str(news.error) for news in bench.wait("0000000000000")] == ["this engine is closed"]


def test_a_flow_that_ended_is_known_after_the_close(bench: Bench) -> None:
    root = bench.post("b")
    bench.end(root)
    bench.loop.close()
    assert [news.flow.outcome for news in bench.wait(root.flow)] == ["done"]


# -- refusals -------------------------------------------------------------------------------------


def test_what_is_refused_changes_nothing_and_the_engine_goes_on(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="is not held"):
        bench.loop.ask(Release("0000000000000"))
    assert bench.loop.failure is None
    bench.post("a")


def test_after_the_close_nothing_is_taken_up(bench: Bench) -> None:
    root = bench.post("a")
    bench.loop.close()
    bench.loop.close()
    with pytest.raises(JournalError, match="this engine is closed"):
        bench.post("a")
    bench.end(root)
    assert not [fact for fact in bench.paper.facts() if isinstance(fact, f.Completed)]


def test_a_loop_whose_journal_failed_is_let_go() -> None:
    def failed() -> weakref.ref[Loop]:
        bench = Bench().open()
        bench.paper.refusal = JournalError("out of order")
        with pytest.raises(JournalError, match="out of order"):
            bench.post("a")
        return weakref.ref(bench.loop)

    loop = failed()
    gc.collect()
    assert loop() is None
