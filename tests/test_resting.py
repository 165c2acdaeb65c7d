"""Flows at rest are the flows they were."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.world import World
from then.core import facts as f
from then.core.facts import Flow
from then.core.resting import Flows
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
