"""What the release of a held record would bring, and which of many breakpoints a record meets."""

from __future__ import annotations

import pytest

from tests.test_breakpoints import released, shop
from tests.world import World
from then.core.breakpoints import Stops
from then.core.evaluate import Scope
from then.core.fields import MISSING
from then.core.folds import turn
from then.core.state import State
from then.core.tasks import Task
from then.debugger.preview import preview
from then.language.breakpoints import read_breakpoint
from then.language.loading import load_text


def replayed(run: World) -> State:
    """The state of a world once more, to be given away."""
    state = State()
    for page in run.pages:
        turn(state, page)
    return state


@pytest.mark.parametrize("breakpoint_", ["after pay", "after reserve", "on rule pack", "after order", "after ship"])
def test_a_preview_is_what_the_release_then_brings(breakpoint_: str) -> None:
    run = shop(f"breakpoint b {breakpoint_}")
    run.post("order", id=1, total=1)
    for _ in range(9):
        held = [task for task in run.live() if task.is_held]
        for task in held:
            seen = preview(replayed(run), run.editions, task.id)
            emitted = len(run.emitted())
            released(run, task)
            assert list(seen.fired) == run.fired(task)
            now = run.emitted()[emitted:]
            assert [(one.type, one.body, one.rule) for one in seen.emitted] == [
                (one.type, one.body, one.rule) for one in now
            ]
        running = [task for task in run.live() if task.state == "waiting" and task.type != "ask"]
        if not running:
            break
        run.end(running[0], receipt="r")
    assert run.state.flows == {}


def test_a_preview_sees_the_record_as_it_would_be_edited() -> None:
    rules = 'event go() task a(n: int) run process ["a"] event big() rule r when go then a(n: 1) rule s when a done where n > 5 then big()\n'
    run = shop("breakpoint b after a", rules=rules)
    run.post("go")
    task = run.end("a")
    [held] = run.live("a")
    assert preview(replayed(run), run.editions, held.id).fired == ()
    assert preview(replayed(run), run.editions, held.id, {"n": 9}).fired == ("s",)
    assert task.id == held.id


MANY = """
event go(n: int?, s: str?)
task t(n: any?, s: any?) run process ["t"]
"""
WHERE = ("", " where n == {k}", ' where s == "{k}" and n > 2', " where n > {k}", " where has n and n == {k}", " where n == null",
         " where n == true", " where not n == {k}", " where n == {k} or s == \"a\"", " where n == {k}.0")  # fmt: skip


def test_of_many_for_one_type_none_is_passed_over_that_stops_or_cannot_be_said() -> None:
    rules = load_text(MANY).rules
    points = [
        read_breakpoint(f"breakpoint b{k} after t{WHERE[k % len(WHERE)].format(k=k // 10)}", rules) for k in range(200)
    ]
    stops = Stops(points)
    plain = [Stops([point]) for point in points]
    for n in (MISSING, None, True, False, 0, 1, 3, 3.0, 7, "3", [3], {"a": 3}):
        for s in (MISSING, "a", "3", 4):
            body = {name: value for name, value in (("n", n), ("s", s)) if value is not MISSING}
            record = Task("t", body, id="x", flow="x", outcome="done")
            scope = Scope(record, {}, {})
            found = stops.after(record)
            wanted = [one for single in plain for one in single.after(record) if one.says(scope) is not False]
            assert [one.point.name for one in found if one.says(scope) is not False] == [
                one.point.name for one in wanted
            ]
    assert len(stops.after(Task("t", {"n": 3, "s": "x"}, outcome="done"))) < len(points) * 3 // 4
