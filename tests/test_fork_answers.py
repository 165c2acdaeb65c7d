"""What the tasks of forks are answered with: by ids of their own, so many in a step, and when they are due."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.checked import Checked
from tests.world import World
from then.core import facts as f
from then.core import guards
from then.core.causes import Fork, Release
from then.core.forks import recorded
from then.core.guards import Guards
from then.core.state import State
from then.core.tasks import Body, Task

HEAD = """
event go(n: int) event told(of: str) event seen(what: any)
task a(of: str?, n: int?) -> (m: int?, by: any?) run process ["a"]
task b(of: str?, n: int?) -> (m: int?, by: any?) run process ["b"]
task c(of: str?, n: int?) -> (m: int?, by: any?) run process ["c"]
"""


def fork(world: World, flow: str, upto: int, stubs: dict[str, Body] | None = None) -> str:
    """A fork of a flow after so many pages of it, let go; its id."""
    pages = [page for page in world.pages if page.flow == flow]
    over = frozenset(fact.id for page in pages[:upto] for fact in page.facts if isinstance(fact, f.Completed))
    ended = [
        f.ended(world.born[fact.id], fact) for page in pages for fact in page.facts if isinstance(fact, f.Completed)
    ]
    answer = world.give(Fork(flow, upto, pages[:upto], recorded(ended, {}, over), stubs or {})).answer
    assert answer is not None
    world.give(Release(answer.flow))
    return answer.flow


def of_type(world: World, flow: str, type: str) -> list[Body]:
    return [task.body for task in world.emitted(type) if task.flow == flow]


@pytest.mark.parametrize("upto", [1, 2, 3, 4])
def test_a_task_whose_body_holds_an_id_is_answered_and_an_id_in_a_result_is_of_the_fork(upto: int) -> None:
    world = Checked(
        HEAD + "rule one when go as g then a(of: g.record.id)"
        " rule two when a done as x then b(of: x.record.id)"
        " rule three when b done as x then told(of: x.record.id)"
        " rule next when told as t then c(of: t.of)"
        " rule four when c done as x then seen(what: x.by)"
    )
    root = world.post("go", n=1)
    [a] = world.live("a")
    world.end("a")
    [b] = world.live("b")
    world.end("b")
    [c] = world.live("c")
    world.end("c", by={"all": [root.id, a.id, b.id, c.id]})
    assert world.outcome(root) == "done"
    starts = len(world.started())

    id = fork(world, root.flow, upto)
    assert world.outcome(id) == "done", "all of it was answered"
    assert len(world.started()) == starts
    of = {name: next(task.id for task in world.born.values() if (task.flow, task.type) == (id, name)) for name in "abc"}
    assert of_type(world, id, "seen") == [{"what": {"all": [id, of["a"], of["b"], of["c"]]}}]


def test_half_filled_joins_are_found_by_the_ids_of_the_fork() -> None:
    world = Checked(
        HEAD + "rule one when go as g then a(of: g.record.id), b(of: g.record.id)"
        ' rule both when all of a done as p, b done as q by flow, of then seen(what: "both")'
    )
    root = world.post("go", n=1)
    world.end("a")
    pages = sum(page.flow == root.flow for page in world.pages)
    world.end("b")
    assert of_type(world, root.flow, "seen") == [{"what": "both"}]
    assert of_type(world, fork(world, root.flow, pages), "seen") == [{"what": "both"}]


def test_what_is_due_at_a_time_of_the_clock_is_due_at_that_time_in_a_fork() -> None:
    world = Checked(HEAD + 'rule one when go then a(n: 1) at "2040-06-01T00:00:00+02:00", b(n: 1) after 1h')
    root = world.post("go", n=1)
    world.advance(60)
    id = fork(world, root.flow, sum(page.flow == root.flow for page in world.pages))
    due = {
        (task.type, task.flow == id): task.policy.due
        for task in world.state.live()
        if task.policy is not None and task.policy.due is not None
    }
    assert due["a", True] == due["a", False]
    assert due["b", True] > due["b", False]


def test_a_fork_whose_rules_go_on_and_on_is_held_and_goes_on_by_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=20, flow_records=200))
    world = Checked(HEAD + "rule one when go then a(n: 0) rule two when a done as x then a(n: x.n + 1)")
    root = world.post("go", n=1)
    id = fork(world, root.flow, 1, {"a": {"m": 1}})
    assert world.state.flows[id].held == (
        "20 tasks of this fork were answered in one step; where its rules go on and on, cancel it,"
        f" else `andthen continue {id}` answers as many again"
    )
    assert len(of_type(world, id, "a")) == 21
    world.give(Release(id))
    assert len(of_type(world, id, "a")) == 41
    assert world.state.flows[root.flow].held is None


def looks(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often all that lives of a fork was gone through while so many tasks of it were answered."""
    world = World(
        HEAD + "event many(ks: list[int])"
        " rule one when many as g then for k in g.ks emit a(n: 1)"
        " rule two when a done as x then b(n: x.m)"
    )
    root = world.post("many", ks=list(range(count)))
    for m in range(count):
        world.end("a", m=m)
    for _ in range(count):
        [b] = world.live("b")[:1]
        world.end(b, m=b.body["n"])
    looked = 0
    live = State.live

    def counted(state: State, flow: str | None = None) -> Iterator[Task]:
        nonlocal looked
        looked += flow is not None
        return live(state, flow)

    with monkeypatch.context() as patched:
        patched.setattr(State, "live", counted)
        id = fork(world, root.flow, 1)
    assert world.outcome(id) == "done"
    assert of_type(world, id, "b") == [{"n": m} for m in range(count)], "in their order"
    return looked


def test_what_lives_of_a_fork_is_not_gone_through_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(5, monkeypatch) == looks(50, monkeypatch)
