"""Flows at rest are the flows they were."""

from __future__ import annotations

import gc
import os
import platform
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import then
from tests.world import World
from then.core import facts as f
from then.core.copies import gather
from then.core.facts import Flow, Origin
from then.core.resting import Flows
from then.core.state import State
from then.freeing import give_back
from then.journals.batch import cells_of
from then.turns import changed_cells


def rested() -> Flows:
    flows = Flows()
    flows["a"] = Flow("a", "go", "v1", 1, live=1)
    flows["b"] = Flow("b", "go", "v2", 2, live=2, variables={"x": 1})
    flows.rest("b", f.encode(flows["b"]))
    return flows


def test_one_at_rest_is_there_like_any_other() -> None:
    flows = rested()
    assert len(flows) == 2
    assert sorted(flows) == sorted(flows.keys()) == sorted(dict(flows)) == ["a", "b"]
    assert "b" in flows
    assert "c" not in flows
    assert flows.get("c") is None
    assert {id: flow.live for id, flow in flows.items()} == {"a": 1, "b": 2}
    assert sorted(flow.id for flow in flows.values()) == ["a", "b"]
    assert dict(flows.versions()) == {"a": "v1", "b": "v2"}
    assert flows["b"].variables == {"x": 1}
    with pytest.raises(KeyError):
        flows["c"]


def test_who_asks_for_one_at_rest_may_change_it() -> None:
    flows = rested()
    flows["b"].live = 5
    flows["b"].variables["y"] = 2
    assert flows.get("b") is flows["b"]
    assert (flows["b"].live, flows["b"].variables) == (5, {"x": 1, "y": 2})
    assert len(flows) == 2


def test_one_that_is_taken_out_is_gone() -> None:
    flows = rested()
    assert flows.pop("b").live == 2
    assert flows.pop("a").live == 1
    assert not flows
    flows.take_up([("c", f.encode(Flow("c", "go", "v1", 3)))])
    assert flows
    assert flows.pop("c").created == 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"outcome": "done", "ended": 9},
        {"stopped": 1},
        {"calls": 300},
        {"origin": Origin("c", 3)},
        {"skipped": 1 << 16},
        {"waits": {}},
        {"live": 1 << 40, "variables": {"x": [None, 0]}, "trail": ["t by rule r"]},
    ],
)
def test_one_at_rest_is_what_it_was_whatever_its_last_fields_are(changes: dict[str, Any]) -> None:
    flow = Flow("a", "go", "v1", 1, **changes)
    flows = Flows()
    flows["a"] = flow
    data = f.encode(flow)
    flows.rest("a", data)
    is_plain = not changes.keys() - {"live", "variables", "trail"}
    # Its id is its key, and eight fields at the end are a byte each.
    assert len(data) - len(flows._resting["a"]) == (9 if is_plain else 1)
    assert dict(flows.versions()) == {"a": "v1"}
    assert flows["a"] == flow
    assert f.encode(flows["a"]) == data


def test_what_a_large_step_laid_to_rest_is_put_together_and_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("then.core.copies.SCATTERING", 50)
    world = World(
        'event go(xs: list[int]) task f(i: int) run process ["true"]'
        " rule fan when go as g then for x in g.xs emit f(i: x) after 1h"
    )
    world.post("go", xs=list(range(50)))
    world.post("f", i=-1)
    state = world.state
    changed_cells(state)
    before, times, live = dict(state.tasks), dict(state.waits.dues.items()), list(state.live())
    gather(state)
    assert list(state.tasks) == list(before)
    assert state.tasks == before
    assert dict(state.waits.dues.items()) == times
    assert list(state.live()) == live
    kept = {id: id for id in before}
    owners = {of: of for (_, of), _ in state.waits.dues.items()}
    gathered = [id for id in state.tasks if id is not kept[id]]
    assert len(gathered) == 50
    assert all(id is owners[id] and state.tasks[id] is not before[id] for id in gathered)
    # Nothing is copied where few came to rest beside what there is.
    gather(state)
    assert [id for id in state.tasks if id is owners.get(id)] == gathered


def test_an_engine_puts_together_what_a_large_step_laid_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("then.core.copies.SCATTERING", 50)
    monkeypatch.setattr("then.loop.CHECKPOINT_FACTS", 50)
    rules = then.Rules()

    @rules.task("far")
    def far(n: int) -> None:
        raise AssertionError("it is due in an hour")

    @rules.when("load")
    def load(load: then.Task) -> Iterator[then.Emission]:
        for n in range(60):
            yield then.emit("far", n=n).after("1h")

    with then.Engine(rules, state=tmp_path / "state") as engine:
        gathered: list[bool] = []

        def noted(state: State) -> None:
            before = list(state.tasks)
            gather(state)
            gathered.append(all(new is not old for new, old in zip(state.tasks, before, strict=True)))

        monkeypatch.setattr("then.loop.gather", noted)
        engine.post("load")
        # Whoever commits answers first: what follows is over when the lock is free.
        assert engine.loop.look(lambda state: set(map(type, state.tasks.values()))) == {bytes}
        assert True in gathered


def test_memory_is_given_back_when_so_many_came_to_rest_by_several_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("then.loop.SCATTERING", 50)
    monkeypatch.setattr("then.loop.CHECKPOINT_ENTRIES", 1)
    given: list[int] = []
    rules = then.Rules()

    @rules.task("far")
    def far(n: int) -> None:
        raise AssertionError("it is due in an hour")

    @rules.when("load")
    def load(load: then.Task) -> then.Emission:
        return then.emit("far", n=load.body["n"]).after("1h")

    with then.Engine(rules, state=tmp_path / "state", durability="process") as engine:
        monkeypatch.setattr("then.loop.give_back", lambda: given.append(len(engine.loop.state.tasks)))
        for n in range(120):
            engine.post("load", n=n)
        # Whoever commits answers first: what follows is over when the lock is free.
        engine.loop.look(lambda state: None)
    first, second = given
    assert first >= 50
    assert second - first >= 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")
def test_memory_that_was_let_go_between_what_stays_is_given_back() -> None:
    blocks = [bytes([1]) * 20_000 for _ in range(3_000)]
    stays = blocks[::100]
    del blocks
    before = resident_bytes()
    give_back()
    assert before - resident_bytes() > 30_000_000
    assert len(stays) == 30


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_checkpoint_of_very_many_that_rest_takes_little_beside_what_it_writes() -> None:
    # For each there were a tuple, a cell, a key and its place in a dict, a row, and what it is encoded twice.
    count = 2_000
    world = World(
        'event go(xs: list[int]) task f(i: int) run process ["true"]'
        " rule fan when go as g then for x in g.xs emit f(i: x) after 1h"
    )
    world.post("go", xs=list(range(count)))
    world.pages.clear()
    gc.collect()
    tracemalloc.start()
    try:
        cells = changed_cells(world.state)
        puts = cells_of(cells).puts
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    written_bytes = sum(len(data) for _, _, data in puts)
    assert len(puts) > count
    assert peak_bytes - written_bytes < 300 * count
