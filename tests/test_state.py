"""State is a reading of the facts: replay of any prefix, and cells with a tail, give what the engine itself held."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from tests.checked import check_calls
from tests.readings import Cells, in_line, replayed, restored, store, told
from tests.rulesets import EVENTS, N_MAX, TASKS, outcome_of, random_rules
from tests.world import World
from then.core import facts as f
from then.core import guards
from then.core.causes import Cancel, Post, Proceed, Release, Report, Retry, Tick
from then.core.chains import Chain
from then.core.folds import evolve, turn
from then.core.guards import Guards
from then.core.ids import id_number, id_text, id_time_us, next_id
from then.core.state import State


def drive(run: World, chance: Random, seed: int) -> None:
    """One cause at random: what the world may bring at this moment."""
    state = run.state
    if state.pending and chance.random() < 0.7:
        run.bring(Proceed())
        return
    live = [task for task in state.live() if task.outcome is None]
    moves = ["post", "end", "end", "end", "end", "cancel", "retry", "late", "release", "tick"]
    move = chance.choice(moves)
    if move == "post":
        key = chance.choice((None, None, "k1", "k2"))
        flow = chance.choice((None, None, *sorted(state.flows)))
        body = {"n": 1 if key else chance.randint(0, N_MAX)}
        type = "e0" if key else chance.choice((*EVENTS, *TASKS))
        run.bring(Post(type, body, key, flow, chance.choice((0, 0, 2, -2))))
    elif move == "end":
        can = [task for task in live if task.id in state.running or task.started is not None]
        if can:
            task = chance.choice(can)
            outcome = outcome_of(task, seed)
            error = None if outcome == "done" else {"kind": "exit"}
            now = run.terms.time
            started = task.started or (None if chance.random() < 0.1 else now - 5)
            run.bring(Report(task.id, outcome, {"m": 1} if outcome == "done" else None, error, started, now))
    elif move == "cancel" and live and chance.random() < 0.3:
        task = chance.choice(live)
        run.bring(Cancel((task.id,), task.flow if chance.random() < 0.3 else None))
    elif move == "retry":
        failed = [over for over in state.past if over.untaken and chance.random() < 0.3]
        for over in failed[:1]:
            record = run.born[next(iter(over.untaken))]
            if not record.event:
                run.bring(Retry(record, None if over.id in state.flows else over))
    elif move == "late" and run.born:
        id = chance.choice(sorted(run.born))
        if state.task(id) is None:
            run.bring(Report(id, "done", {}, None, 1, run.terms.time, run.born[id].flow))
    elif move == "release":
        held = [id for id, flow in state.flows.items() if flow.held is not None]
        if held:
            run.bring(Release(chance.choice(held)))
    elif move == "tick" and (due := state.waits.next_due) is not None:
        run.terms.time = max(run.terms.time, due)
        run.bring(Tick())


@pytest.fixture(autouse=True)
def _guards_hold_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=6))


@pytest.mark.parametrize("seed", range(12))
def test_the_replay_of_every_prefix_is_the_state_that_wrote_it(seed: int) -> None:
    chance = Random(f"state {seed}")
    run = World(random_rules(seed, is_wild=True), slots=chance.randint(1, 4))
    replay = replayed(())
    done = 0
    for _ in range(150):
        drive(run, chance, seed)
        for page in run.pages[done:]:
            turn(replay, page)
        done = len(run.pages)
        assert told(replay) == told(run.state)
        assert replay.last_id <= run.state.last_id
    assert done > 30


@pytest.mark.parametrize("seed", range(12))
def test_cells_and_the_tail_after_them_give_the_same_as_the_facts_from_the_first(seed: int) -> None:
    chance = Random(f"cells {seed}")
    run = World(random_rules(seed, is_wild=True), slots=chance.randint(1, 4))
    cells: Cells = {}
    for _ in range(150):
        drive(run, chance, seed)
        if chance.random() < 0.15:
            store(cells, run.state.cells())
        if chance.random() < 0.3:
            again = restored(cells, run.pages)
            assert told(again) == told(replayed(run.pages)) if ("meta", "state") in cells else True
            assert again.last_id <= run.state.last_id
    store(cells, run.state.cells())
    assert told(restored(cells, [])) == told(run.state)
    check_readings(cells, run)


def check_readings(cells: Cells, run: World) -> None:
    """Trace, past and window cells find every entry, every flow that ended, every record."""
    trace: dict[str, list[int]] = {}
    for (kind, key), data in sorted(cells.items()):
        if kind == "trace":
            trace.setdefault(key.split("/")[0], []).extend(msgspec.msgpack.decode(data))
    expected: dict[str, list[int]] = {}
    for seq, page in enumerate(run.pages, 1):
        if page.flow:
            expected.setdefault(page.flow, []).append(seq)
    assert trace == expected
    live = {key for kind, key in cells if kind == "task"}
    assert live == set(run.state.tasks)
    ended = {key for kind, key in cells if kind == "past"}
    assert ended == {task.flow for task in run.born.values()} - set(run.state.flows)
    windows = sorted((key, *msgspec.msgpack.decode(data)) for (kind, key), data in cells.items() if kind == "window")
    for seq, page in enumerate(run.pages, 1):
        for fact in page.facts:
            if isinstance(fact, f.Posted | f.Emitted):
                [found] = [w for w in windows if w[0] == max(key for key, _, _ in windows if key <= fact.task.id)]
                assert found[1] <= seq <= found[2]


def test_a_record_that_is_born_and_ends_between_two_checkpoints_touches_no_cell() -> None:
    run = World('task a() run process ["a"] rule r when a done then a()')
    run.post("a")
    run.state.cells()
    for _ in range(5):
        run.end("a")
    changed = run.state.cells()
    assert [(kind, data is None) for kind, _, data in changed if kind == "task"] == [("task", True), ("task", False)]


def test_a_cell_that_is_written_and_then_gone_is_taken_away() -> None:
    run = World('event go() task a() run process ["a"] task b() run process ["b"] rule r when go then a() then b()')
    cells: Cells = {}
    run.post("go")
    store(cells, run.state.cells())
    assert {kind for kind, _ in cells} == {"task", "flow", "chain", "meta", "trace", "window"}
    run.end("a")
    run.end("b")
    store(cells, run.state.cells())
    assert {kind for kind, _ in cells} == {"past", "meta", "trace", "window"}


def test_a_flow_that_is_reopened_leaves_its_past_cell() -> None:
    run = World('task a() run process ["a"]')
    cells: Cells = {}
    root = run.post("a", key="x")
    run.end("a", "failed")
    store(cells, run.state.cells())
    assert ("past", root.flow) in cells
    again = run.give(Retry(root, replayed(run.pages).past[-1])).answer
    assert again is not None
    store(cells, run.state.cells())
    assert ("past", root.flow) not in cells
    assert ("flow", root.flow) in cells
    run.end(again)
    store(cells, run.state.cells())
    assert ("past", root.flow) in cells
    assert ("flow", root.flow) not in cells


def test_what_lives_of_one_flow_is_found_without_decoding_what_others_left() -> None:
    run = World('event go() task a() run process ["a"] rule r when go then a(), a()')
    cells: Cells = {}
    first, second = run.post("go"), run.post("go")
    store(cells, run.state.cells())
    state = restored(cells, [])
    assert [task.id for task in state.live()] == sorted(state.tasks)
    of_second = [task.id for task in state.live(second.flow)]
    assert len(of_second) == 2
    for id in of_second:
        state.tasks[id] = b"what no decoder takes"
    assert [task.flow for task in state.live(first.flow)] == [first.flow] * 2


def test_what_is_told_to_stop_is_so_after_a_start_from_cells() -> None:
    run = World('task a() run process ["a"]')
    cells: Cells = {}
    root = run.post("a")
    run.cancel(root)
    store(cells, run.state.cells())
    assert restored(cells, []).stopping == {root.id}


def test_a_chain_that_a_retry_wrote_anew_is_gone_from_the_cells_when_it_ends() -> None:
    # Written anew it passed for new, and its cell stayed for ever.
    rules = 'event go() task a() run process ["a"] task b() run process ["b"] task c() run process ["c"]'
    run = World(rules + " rule r when go then a(), b() then c()")
    cells: Cells = {}
    root = run.post("go")
    failed = run.end("a", "failed")
    chain = Chain(failed.cont or "", root.flow, "r", 1, {failed.id: False}, {}, {}, {})
    fresh = run.give(Retry(failed, None, chain)).answer
    assert fresh is not None
    store(cells, run.state.cells())
    evolve(run.state, f.Waited(chain.id, "r", 1, [fresh.id], {}, {}, {}), root.flow, 0)
    run.end(fresh, "failed")
    store(cells, run.state.cells())
    assert not [key for kind, key in cells if kind == "chain"]


def test_what_is_held_and_failed_counts_after_a_start_from_cells() -> None:
    # The cell of the flow was not written again: its failure was forgotten, and it ended well.
    run = World('event tick(n: int) task a() run process ["a"] rule r when tick as t then tick(n: t.n)')
    cells: Cells = {}
    root = run.post("a")
    run.post("tick", flow=root.flow, n=0)
    store(cells, run.state.cells())
    run.end("a", "failed")
    store(cells, run.state.cells())
    flow = restored(cells, []).flows[root.flow]
    assert (list(flow.untaken), flow.stopped, flow.live) == ([root.id], 2, 2)


# -- invariants of the module ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20, 30))
def test_the_invariants_of_the_state_hold_after_every_step(seed: int) -> None:
    chance = Random(f"invariants {seed}")
    run = World(random_rules(seed, is_wild=True), slots=chance.randint(1, 4))
    for _ in range(200):
        drive(run, chance, seed)
        check_invariants(run.state)


def check_invariants(state: State) -> None:
    live = list(state.live())
    for id in state.flows:
        mine = [key for key in state.waits.ties.of(id) if "\0" not in key]
        assert set(mine) == {chain.id for chain in state.chains.values() if chain.flow == id}
    check_calls(state)
    assert {task.flow for task in live} <= set(state.flows)
    for task in live:
        assert task.outcome is None or task.id in state.pending or task.is_held, "invariant 2"
    queued = in_line(state)
    for id in state.pending:
        record = state.task(id)
        assert record is not None, "invariant 3"
        assert record.outcome is not None or record.is_call
    for task in live:
        is_due = task.policy is None or task.policy.due is None
        may_start = task.outcome is None and task.started is None and not task.is_held and not task.is_call and is_due
        if may_start and not state.flows[task.flow].held:
            assert task.id in queued, "invariant 4"
    assert state.slots_used == sum(state.running.values())
    assert set(state.running) <= set(state.tasks)
    assert state.stopping <= set(state.tasks)
    assert set(state.stuck) <= set(state.tasks)


# -- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 1 << 40, 123456789012345678])
def test_an_id_is_its_number_in_thirteen_characters(number: int) -> None:
    assert id_number(id_text(number)) == number
    assert len(id_text(number)) == 13


def test_ids_sort_like_their_numbers() -> None:
    chance = Random(7)
    numbers = sorted(chance.getrandbits(63) for _ in range(1000))
    assert sorted(map(id_text, numbers)) == [id_text(number) for number in numbers]


def test_ids_of_one_engine_only_grow_and_carry_its_number_and_time() -> None:
    chance, last, seen = Random(8), 0, set()
    time = 1_780_000_000_000_000
    for _ in range(20_000):
        time += chance.choice((0, 0, 0, 1000, 1, -5_000_000))
        number = next_id(last, time, 9)
        assert number > last
        assert number & 1023 == 9
        seen.add(number)
        last = number
    assert len(seen) == 20_000
    fresh = next_id(0, time, 9)
    assert id_time_us(id_text(fresh)) == time // 1000 * 1000


def test_an_id_after_a_start_is_none_that_was_given_before_though_the_clock_stepped_back() -> None:
    # The wait of a Python continuation has the newest id of its step, and a replay forgot it.
    run = World('event go() task a() run process ["a"] task b() run process ["b"] rule r when go then a() then b()')
    run.post("go")
    again = replayed(run.pages)
    assert next_id(again.last_id, 0, 7) > max(id_number(id) for id in (*run.born, *run.state.chains))
