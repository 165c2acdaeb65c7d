"""What ends with a flow or a call: the same keys, whatever came before."""

from __future__ import annotations

from tests.readings import restored, store, told
from tests.world import World
from then.core.ties import Ties

RULES = """
event go(k: int)
task a(k: int) run process ["a"]
task b(k: int) run process ["b"]
event e(k: int)
rule fan when go as g then a(k: g.k), b(k: g.k)
rule meet when all of a done, b done by flow, k within 1h then e(k: 0) on timeout then e(k: 1)
rule chained when go as g then a(k: 7) then b(k: 8)
"""


def test_one_key_and_several_are_given_in_one_order() -> None:
    ties = Ties()
    for key in ("c", "a", "b", "a"):
        ties.add("flow", key)
    ties.add("other", "x")
    ties.drop("flow", "b")
    ties.drop("flow", "never there")
    ties.drop("nobody", "a")
    assert ties.items() == [("flow", ["a", "c"]), ("other", ["x"])]
    assert ties.take("flow") == ["a", "c"]
    ties.drop("other", "x")
    assert ties.items() == []


def test_the_last_of_several_keys_leaves_nothing_behind() -> None:
    ties = Ties()
    ties.add("flow", "a")
    ties.add("flow", "b")
    ties.drop("flow", "a")
    ties.drop("flow", "b")
    assert ties.items() == []


def test_a_checkpoint_does_not_write_what_a_flow_waits_for_with_the_flow() -> None:
    """A flow with very many keys was written whole at each checkpoint, and the cost was the square of them."""
    run = World(RULES)
    root = run.post("go", k=0)
    for number in range(50):
        run.post("go", flow=root.flow, k=number + 1)
        run.end("a")
    assert len(run.state.waits.ties.of(root.flow)) > 50
    cells = {(kind, key): data for kind, key, data in run.state.cells()}
    flow = cells["flow", root.flow]
    assert flow is not None
    assert len(flow) < 250
    run.end("b")
    changed = [(kind, key) for kind, key, _ in run.state.cells() if kind != "meta"]
    assert len([kind for kind, _ in changed if kind in ("wait", "chain")]) <= 2


def test_a_start_finds_again_what_ends_with_a_flow() -> None:
    run = World(RULES)
    root = run.post("go", k=1)
    run.end("a")
    cells: dict[tuple[str, str], bytes] = {}
    store(cells, run.state.cells())
    again = restored(cells, run.pages)
    assert again.waits.ties.of(root.flow)
    assert told(again) == told(run.state)
