"""The simulation has teeth: bugs planted into the engine, each of which it has to find.

A bug is a function of ours put out of joint. Each is one that somebody might
write, and that the tests of the parts would not see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import attrs
import pytest
from msgspec.structs import replace

from tests.simulation import test_simulation
from tests.simulation.checker import restored
from tests.simulation.parts import SimulatedExecutor
from then.core import attempts, claims, ending, engine, folds, granting, lives, windows
from then.core import facts as f
from then.core.causes import Cause, Order, Over, Report, Start, Step
from then.core.dues import Dues
from then.core.engine import Terms, _Stepper
from then.core.state import State
from then.core.tasks import Task
from then.core.waits import Waits
from then.loop import Loop
from then.starting import forget
from then.waiting import FlowNews

SEEDS_MAX: Final = 400
Plant: TypeAlias = pytest.MonkeyPatch
Bug: TypeAlias = Callable[[Plant], None]


def an_order_is_carried_out_before_its_commit(plant: Plant) -> None:
    """Law 3 gone."""
    commit = Loop._commit

    def early(loop: Loop) -> bool:
        orders, loop._batch.gated = loop._batch.gated, []
        loop._dispatcher.carry_out(orders)
        return commit(loop)

    plant.setattr(Loop, "_commit", early)


def an_answer_is_given_before_its_commit(plant: Plant) -> None:
    """A post that returned is lost with the disk that had no room for it."""
    commit = Loop._commit

    def early(loop: Loop) -> bool:
        tickets, loop._batch.tickets = loop._batch.tickets, []
        for ticket in tickets:
            ticket.settle()
        return commit(loop)

    plant.setattr(Loop, "_commit", early)


def the_end_of_a_flow_is_told_before_its_commit(plant: Plant) -> None:
    commit = Loop._commit

    def early(loop: Loop) -> bool:
        for order in loop._batch.gated:
            if isinstance(order, Over):
                loop._waiters.tell(FlowNews(order.flow))
        return commit(loop)

    plant.setattr(Loop, "_commit", early)


def a_completion_is_stepped_twice(plant: Plant) -> None:
    """A late report is looked at like the first."""
    report = _Stepper.report

    def twice(stepper: _Stepper, cause: Report) -> None:
        task = stepper.state.task(cause.id)
        report(stepper, cause)
        if task is not None and task.outcome is None and not stepper.state.flows[task.flow].held:
            stepper.ended.append(stepper.ended[-1])

    plant.setattr(_Stepper, "report", twice)


def a_late_report_completes_again(plant: Plant) -> None:
    add = _Stepper.add

    def unaware(stepper: _Stepper, flow: str, fact: f.Fact) -> None:
        if isinstance(fact, f.Late):
            fact = f.Completed(fact.id, fact.outcome, fact.result, fact.error, None, stepper.terms.time)
        add(stepper, flow, fact)

    plant.setattr(_Stepper, "add", unaware)


def cells_are_written_in_a_transaction_of_their_own(plant: Plant) -> None:
    """A crash between the two leaves a journal that is older than its cells."""
    commit = Loop._commit

    def apart(loop: Loop) -> bool:
        cells = list(loop.state.cells())
        loop.journal._disk.journal.append((), [loop_cell(cell) for cell in cells])  # type: ignore[attr-defined]
        return commit(loop)

    def loop_cell(cell: tuple[str, str, bytes | None]) -> Any:
        from then.abc import Cell

        return Cell(*cell)

    plant.setattr(Loop, "_commit", apart)


def a_cell_that_changed_is_forgotten(plant: Plant) -> None:
    """A chain that waited at one checkpoint has lost a member at the next."""
    touch = State.touch

    def forgetful(state: State, kind: str, key: str, is_new: bool = False) -> None:
        if kind != "chain" or is_new:
            touch(state, kind, key, is_new)

    plant.setattr(State, "touch", forgetful)


def a_cell_that_is_gone_stays(plant: Plant) -> None:
    drop = State.drop

    def hoarding(state: State, kind: str, key: str) -> None:
        if kind != "task" or state.dirty[kind].get(key) is False:
            drop(state, kind, key)
        else:
            state.dirty[kind].pop(key, None)

    plant.setattr(State, "drop", hoarding)


def the_trace_of_a_tail_is_not_restored(plant: Plant) -> None:
    """A reader loses entries of a flow that an engine before wrote after its last checkpoint."""
    turn = folds.turn

    def blind(state: State, page: f.Page) -> None:
        turn(state, page)
        state.trace.clear()

    plant.setattr(folds, "turn", blind)


def the_last_id_is_not_restored(plant: Plant) -> None:
    """Ids of the engine before are given again when the clock stands still or steps back."""
    turn = folds.turn

    def young(state: State, page: f.Page) -> None:
        last = state.last_id
        turn(state, page)
        state.last_id = last

    plant.setattr(folds, "turn", young)


def a_chain_goes_on_at_each_member(plant: Plant) -> None:
    go_on = _Stepper.go_on

    def eager(stepper: _Stepper, chain: Any, record: Task, edition: Any, fired: list[str]) -> tuple[bool, bool]:
        if record.outcome == "done":
            chain.waiting.clear()
        return go_on(stepper, chain, record, edition, fired)

    plant.setattr(_Stepper, "go_on", eager)


def a_chain_that_is_loaded_forgets_whom_it_waits_for(plant: Plant) -> None:
    load = folds.load

    def forgetful(state: State, kind: str, rows: Iterable[tuple[str, bytes]]) -> None:
        load(state, kind, rows)
        if kind == "chain":
            for chain in state.chains.values():
                chain.waiting = dict(list(chain.waiting.items())[:1])

    plant.setattr(folds, "load", forgetful)


def what_still_runs_is_not_asked_for(plant: Plant) -> None:
    """Law 4 gone: a process that outlived its engine is started once more."""
    plant.setattr(SimulatedExecutor, "inventory", lambda executor: [])


def an_executor_may_forget_before_the_commit(plant: Plant) -> None:
    """The only copy of an exit is let go while it is not durable."""
    commit = Loop._commit

    def early(loop: Loop) -> bool:
        forget(loop._batch.reported)
        return commit(loop)

    plant.setattr(Loop, "_commit", early)


def the_start_of_a_once_task_is_not_waited_for(plant: Plant) -> None:
    step = engine.step

    def hasty(state: State, cause: Cause, terms: Terms) -> Step:
        done = step(state, cause, terms)
        orders: list[Order] = [
            replace(order, after_commit=False) if isinstance(order, Start) else order for order in done.orders
        ]
        return replace(done, orders=orders)

    plant.setattr("then.loop.step", hasty)


def a_slot_is_not_given_back(plant: Plant) -> None:
    completed = lives._completed

    def greedy(state: State, fact: f.Completed, flow: str, time: int) -> None:
        used = state.slots_used
        completed(state, fact, flow, time)
        if fact.outcome == "timed_out":
            state.slots_used = used

    plant.setitem(folds.FOLDS, f.Completed, greedy)


def a_half_of_a_step_is_written(plant: Plant) -> None:
    """Pages of one step in two transactions: the firing is there, what it emitted is not."""
    commit = Loop._commit

    def halved(loop: Loop) -> bool:
        entries = loop._batch.entries
        if len(entries) > 1:
            loop.journal.append(entries[:1])
            loop._batch.entries = entries[1:]
        return commit(loop)

    def split(loop: Loop, cause: Cause, *rest: Any) -> bool:
        before = len(loop._batch.entries)
        result = real_step(loop, cause, *rest)
        fresh = loop._batch.entries[before:]
        for entry in fresh:
            page = f.decode(entry.data)
            if len(page.facts) > 1:
                loop.state.seq += 1
                loop._batch.entries[before:] = [
                    type(entry)(entry.seq, f.encode(f.Page(page.flow, page.time, page.facts[:1]))),
                    type(entry)(entry.seq + 1, f.encode(f.Page(page.flow, page.time, page.facts[1:]))),
                ]
                break
        return result

    real_step = Loop._step
    plant.setattr(Loop, "_step", split)
    plant.setattr(Loop, "_commit", halved)


def what_was_told_to_stop_is_forgotten_by_a_restart(plant: Plant) -> None:
    def forgetful(journal: Any) -> State:
        state = restored(journal)
        state.stopping.clear()
        return state

    plant.setattr("tests.simulation.run.restored", forgetful)


def a_join_loses_what_came_before_the_wait(plant: Plant) -> None:
    """Law 8 gone: a part counts only where another is there already."""
    joined = Waits.joined

    def late(waits: Waits, fact: f.Joined, flow: str, wait: Any) -> Any:
        if wait is None and fact.part == 0 and fact.parts > 1:
            fact = replace(fact, part=1)
        return joined(waits, fact, flow, wait)

    plant.setattr(Waits, "joined", late)


def a_half_of_a_join_is_lost_by_a_restart(plant: Plant) -> None:
    plant.setattr(Waits, "load_waits", lambda waits, rows: ())


def what_a_join_took_is_not_used_up(plant: Plant) -> None:
    """A stale half meets a fresh one, again and again."""
    met = Waits.met

    def sparing(waits: Waits, fact: f.Met, wait: Any) -> Any:
        return met(waits, replace(fact, used=fact.used[1:]) if len(fact.used) == 2 else fact, wait)

    plant.setattr(Waits, "met", sparing)


def a_window_does_not_end(plant: Plant) -> None:
    take_due = Waits.take_due

    def deaf(waits: Waits, now: int) -> tuple[str, str] | None:
        due = take_due(waits, now)
        return take_due(waits, now) if due is not None and due[0] == "wait" else due

    plant.setattr(Waits, "take_due", deaf)


def a_window_ends_twice(plant: Plant) -> None:
    """What is out of it is still there when it has ended."""
    end_window = windows._too_late

    def twice(*given: Any) -> list[str]:
        return end_window(*given) + end_window(*given)

    plant.setattr(windows, "_too_late", twice)


def a_call_returns_twice(plant: Plant) -> None:
    """Law 7 gone: the second return completes it again, and what waited for it goes on again."""
    give_back = ending.give_back

    def generous(at: Any, record: Task, call: str | None, result: Any) -> None:
        task = at.state.task(call) if call is not None else None
        give_back(at, record, call, result)
        if task is not None and at.ended and at.ended[-1].id == task.id:
            at.ended.append(at.ended[-1])

    plant.setattr("then.core.emitting.give_back", generous)


def a_call_ends_while_something_in_it_lives(plant: Plant) -> None:
    end_frame = lives._end_frame

    def hasty(state: State, frame: Any) -> None:
        if frame.live == 1:
            frame.live = 0
        end_frame(state, frame)

    plant.setattr(lives, "_end_frame", hasty)


def the_failures_in_a_call_are_lost_by_a_restart(plant: Plant) -> None:
    def forgetful(journal: Any) -> State:
        state = restored(journal)
        for frame in state.waits.frames.values():
            frame.untaken = {}
        return state

    plant.setattr("tests.simulation.run.restored", forgetful)


def a_retry_forgets_its_count(plant: Plant) -> None:
    try_again = attempts.next_attempt

    def fresh(at: Any, task: Task, chain: Any, policy: Any) -> Task:
        return try_again(at, replace(task, attempt=1) if task.attempt == 2 else task, chain, policy)

    plant.setattr(attempts, "next_attempt", fresh)


def an_attempt_loses_its_place_in_the_chain(plant: Plant) -> None:
    plant.setattr(attempts, "rejoin", lambda at, task, chain, id: None)


def a_time_is_lost_by_a_restart(plant: Plant) -> None:
    load = folds.load

    def forgetful(state: State, kind: str, rows: Iterable[tuple[str, bytes]]) -> None:
        load(state, kind, rows)
        if kind == "task":
            state.waits.dues = Dues()

    plant.setattr(folds, "load", forgetful)


def a_time_that_came_comes_again_after_a_restart(plant: Plant) -> None:
    """The fold does not say that it came: a replay finds it due."""
    forget_due = Waits.forget_due

    def hoarding(waits: Waits, kind: str, of: str) -> None:
        if kind not in ("start", "at"):
            forget_due(waits, kind, of)

    plant.setattr(Waits, "forget_due", hoarding)


def a_set_forgets_what_ended_before_a_restart(plant: Plant) -> None:
    touch = State.touch

    def forgetful(state: State, kind: str, key: str, is_new: bool = False) -> None:
        if kind != "tally" or is_new:
            touch(state, kind, key, is_new)

    plant.setattr(State, "touch", forgetful)


def a_lock_that_somebody_has_alone_is_shared(plant: Plant) -> None:
    take = claims._take

    def lenient(task: str, need: Any, amount: Any, capacity: Any) -> Any:
        return take(task, need, "shared" if amount == "exclusive" else amount, capacity)

    plant.setattr(claims, "_take", lenient)


def a_limit_is_one_too_many(plant: Plant) -> None:
    limit = claims._limit

    def generous(task: str, of: Any, *given: Any) -> Any:
        return limit(task, attrs.evolve(of, count=of.count + 1), *given)

    plant.setattr(claims, "_limit", generous)


def what_runs_after_a_restart_takes_nothing(plant: Plant) -> None:
    """A limit is exceeded by what starts beside it."""
    run_again = granting.run_again

    def free(state: State, terms: Terms, task: Task, slots: int) -> None:
        run_again(state, terms, replace(task, needs=None), slots)

    plant.setattr("then.starting.run_again", free)


BUGS: Final[tuple[Bug, ...]] = (
    an_order_is_carried_out_before_its_commit,
    an_answer_is_given_before_its_commit,
    the_end_of_a_flow_is_told_before_its_commit,
    a_completion_is_stepped_twice,
    a_late_report_completes_again,
    cells_are_written_in_a_transaction_of_their_own,
    a_cell_that_changed_is_forgotten,
    a_cell_that_is_gone_stays,
    the_trace_of_a_tail_is_not_restored,
    the_last_id_is_not_restored,
    a_chain_goes_on_at_each_member,
    a_chain_that_is_loaded_forgets_whom_it_waits_for,
    what_still_runs_is_not_asked_for,
    an_executor_may_forget_before_the_commit,
    the_start_of_a_once_task_is_not_waited_for,
    a_slot_is_not_given_back,
    a_half_of_a_step_is_written,
    what_was_told_to_stop_is_forgotten_by_a_restart,
    a_join_loses_what_came_before_the_wait,
    a_half_of_a_join_is_lost_by_a_restart,
    what_a_join_took_is_not_used_up,
    a_window_does_not_end,
    a_window_ends_twice,
    a_call_returns_twice,
    a_call_ends_while_something_in_it_lives,
    the_failures_in_a_call_are_lost_by_a_restart,
    a_retry_forgets_its_count,
    an_attempt_loses_its_place_in_the_chain,
    a_time_is_lost_by_a_restart,
    a_time_that_came_comes_again_after_a_restart,
    a_set_forgets_what_ended_before_a_restart,
    a_lock_that_somebody_has_alone_is_shared,
    a_limit_is_one_too_many,
    what_runs_after_a_restart_takes_nothing,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.run.TURNS_MAX", 3000)
    bug(monkeypatch)
    for seed in range(SEEDS_MAX):
        try:
            (test_simulation.wild if seed % 2 else test_simulation.calm)(seed)
        except Exception as found:
            print(f"found by seed {seed}: {type(found).__name__}: {found}")
            return
    pytest.fail(f"{bug.__name__} was not found by {SEEDS_MAX} seeds")
