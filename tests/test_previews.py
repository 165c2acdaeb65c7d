"""What the release of a held record would bring, and which of many breakpoints a record meets."""

from __future__ import annotations

import pytest

from tests.readings import told
from tests.test_breakpoints import released, shop
from tests.world import World
from then.core.breakpoints import Stops
from then.core.copies import copied_whole
from then.core.evaluate import Scope
from then.core.fields import MISSING
from then.core.folds import turn
from then.core.state import State
from then.core.tasks import Task
from then.debugger.preview import Preview, first_fired, preview
from then.language.breakpoints import read_breakpoint
from then.language.loading import load_text


def replayed(run: World) -> State:
    """The state of a world once more, to be given away."""
    state = State()
    for page in run.pages:
        turn(state, page)
    return state


def looked_at(run: World, task: Task) -> Preview:
    """A preview, which is the same on a state that was replayed for it and on a copy, and changes nothing."""
    seen, state = preview(replayed(run), run.editions, task.id), replayed(run)
    before = told(state)
    assert preview(copied_whole(state), run.editions, task.id) == seen
    assert first_fired(copied_whole(state), run.editions, task.id) == seen.fired
    assert told(state) == before
    return seen


@pytest.mark.parametrize("breakpoint_", ["after pay", "after reserve", "on rule pack", "after order", "after ship"])
def test_a_preview_is_what_the_release_then_brings(breakpoint_: str) -> None:
    run = shop(f"breakpoint b {breakpoint_}")
    run.post("order", id=1, total=1)
    for _ in range(9):
        held = [task for task in run.live() if task.is_held]
        for task in held:
            seen = looked_at(run, task)
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


DEEP = """
event go(left: int)
task sink(left: int) run process ["sink"]
rule go_down when go as g then call down(left: g.left)
procedure down(left: int)
  first sink(left: left)
  rule further when sink done as s where s.left > 0 then call down(left: s.left - 1) then return ()
  rule ground when sink done as s where s.left == 0 then return ()
end
breakpoint b after sink where left == 0
"""


def test_the_rule_of_a_deep_stack_is_named_without_returning_from_all_its_calls() -> None:
    run = shop(rules=DEEP)
    run.post("go", left=30)
    for _ in range(31):
        run.end("sink")
    [held] = run.live("sink")
    state = replayed(run)
    tried = copied_whole(state)
    assert first_fired(tried, run.editions, held.id) == ("down.ground",)
    assert sum(task.is_call for task in tried.live()) == 30
    # Calls further out are not even copied.
    lent = sum(mine is its for mine, its in zip(tried.waits.frames.values(), state.waits.frames.values(), strict=False))
    assert lent >= 28
    assert looked_at(run, held).ends == "done"


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
