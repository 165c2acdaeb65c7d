"""`idempotent by`: of the records that share a key one runs, the others end with its result."""

from __future__ import annotations

import pytest

from tests.world import World
from then.core.causes import Cancel

RULES = """
event order(id: float, n: int)
task pay(order: float) -> (receipt: str) run process ["true"] idempotent by order
task again(order: float) -> (receipt: str) run process ["true"] idempotent by order retry 1 times
event paid(receipt: str)
rule start when order as o where n == 1 then pay(order: o.id)
rule twice when order as o where n == 2 then pay(order: o.id), pay(order: o.id)
rule retried when order as o where n == 3 then again(order: o.id), again(order: o.id)
rule heard when pay done as p then paid(receipt: p.receipt)
"""


def test_the_second_of_a_key_waits_and_ends_with_the_results_of_the_first() -> None:
    world = World(RULES)
    first, second = world.post("order", id=7, n=1), world.post("order", id=7.0, n=1)
    assert world.started() == ["pay"]
    world.end("pay", receipt="r1")
    assert [task.body for task in world.emitted("paid")] == [{"receipt": "r1"}] * 2
    assert (world.outcome(first), world.outcome(second)) == ("done", "done")
    assert world.started() == ["pay"]


def test_one_that_comes_later_ends_at_once_with_the_result_that_is_kept() -> None:
    world = World(RULES)
    world.post("order", id=7, n=1)
    world.end("pay", receipt="r1")
    late = world.post("order", id=7, n=1)
    assert world.outcome(late) == "done"
    assert world.started() == ["pay"]
    world.post("order", id=8, n=1)
    assert world.started() == ["pay", "pay"]


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "cancelled"])
def test_another_ending_frees_the_key_for_the_oldest_that_waits(outcome: str) -> None:
    world = World(RULES)
    world.post("order", id=7, n=2)
    first, second = world.emitted("pay")
    world.end(first, outcome)  # type: ignore[arg-type]
    assert world.started() == ["pay", "pay"]
    world.end(second, receipt="r2")
    assert [task.body for task in world.emitted("paid")] == [{"receipt": "r2"}]
    assert not world.state.waits.twins["pay 7"].parked


def test_one_that_waits_may_be_cancelled_and_the_first_goes_on() -> None:
    world = World(RULES)
    world.post("order", id=7, n=2)
    first, second = world.emitted("pay")
    world.give(Cancel((second.id,)))
    assert world.started() == ["pay"]
    world.end(first, receipt="r1")
    assert len(world.emitted("paid")) == 1


def test_a_key_that_nobody_holds_any_more_is_forgotten() -> None:
    world = World(RULES)
    world.post("order", id=7, n=1)
    world.end("pay", "failed")
    assert world.state.waits.twins == {}


def test_a_further_attempt_takes_the_place_of_the_first() -> None:
    world = World(RULES)
    root = world.post("order", id=7, n=3)
    world.end("again", "failed")
    assert world.started() == ["again", "again"]
    (retried,) = [task for task in world.live("again") if task.attempt == 2]
    world.end(retried, receipt="r3")
    assert world.outcome(root) == "done"
    assert world.started() == ["again", "again"]
