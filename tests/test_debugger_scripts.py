"""Scripts under the debugger: stopped before their steps, with what their names hold, in this life and in the next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import then
from tests.scripted import PATIENCE_S, completes, until, write
from then.app.rules import Rules
from then.core.errors import ConfigError
from then.debugger.access import to_engine, to_past
from then.debugger.console import Console
from then.debugger.session import Session, Stop

RULES = """
event go(names: list[str])
task person(name: str)
task fan(names: list[str]) -> (asked: int)
  run script "fan.py"
rule begin when go as g then fan(names: g.names)
"""
FAN = """\
def start(names):
    handles = []
    for name in names:
        handles.append(run("person", name=name))
    return handles


def main(names, **rest):
    count = len(names)
    handles = start(names)
    first = wait(handles[0])
    wait(handles)
    return {"asked": count}
"""


class Debugged:
    """A flow whose script is stopped at a place, and a console at it."""

    def __init__(self, engine: then.Engine, place: str) -> None:
        self.engine = engine
        engine.breakpoints.add("b", place)
        self.flow = engine.post("go", names=["ann", "bo"])
        self.session = Session(to_engine(engine), self.flow.id, "eve")
        self.console = Console(self.session)
        self.stop()

    def stop(self) -> Stop:
        found = self.session.wait(PATIENCE_S)
        assert found is not None, "nothing stops it"
        return found

    def go(self, how: Any = "step") -> Stop:
        self.session.go(how)
        return self.stop()

    def names(self) -> list[tuple[str, int, dict[str, str]]]:
        """By function, innermost first: its line, and what its names hold."""
        return locals_of(self.session)


def locals_of(session: Session) -> list[tuple[str, int, dict[str, str]]]:
    script = session.view.script
    assert script is not None
    assert script.wrong is None, script.wrong
    return [(one.function, one.line, {name.name: name.text for name in one.names}) for one in script.frames]


def innermost(session: Session) -> list[tuple[str, int, dict[str, str]]]:
    """The innermost function of the script in view; none where it has not begun, or comes to no further step."""
    script = session.view.script
    return locals_of(session)[:1] if script is not None and script.wrong is None else []


def opened(folder: Path, script: str = FAN, state: Path | None = None) -> then.Engine:
    (folder / "fan.then").write_text(RULES)
    write(folder, script, "fan.py")
    return then.Engine(Rules().load(folder / "fan.then"), state)


AT_RUN = 'on step of fan at "fan.py:4" once'


def test_a_script_stops_before_its_line_with_what_its_names_hold(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        shop = Debugged(engine, AT_RUN)
        assert [task.type for task in shop.flow.tasks] == ["go", "fan"], "what the line would start is not there"
        assert shop.names() == [
            ("start", 4, {"names": '["ann","bo"]', "handles": "[]", "name": '"ann"'}),
            ("main", 10, {"names": '["ann","bo"]', "rest": "{}", "count": "2"}),
        ]
        assert [(frame.function, str(frame.span)) for frame in shop.session.view.stack()] == [
            ("start", "fan.py:4:1"),
            ("main", "fan.py:10:1"),
        ]
        assert shop.console.run("preview").text == 'fan would go on with `run person {"name":"ann"}`'
        assert shop.console.run("print count").text == "2"
        assert shop.console.run("where").text.split("\n")[0].startswith("#0  start (fan.py:4), of fan (")


def test_a_step_leads_to_the_next_run_or_wait_and_at_last_to_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        shop = Debugged(engine, AT_RUN)
        lines = [shop.session.view.here]
        for _ in range(2):
            assert shop.go().reason == "step"
            lines.append(shop.session.view.here)
        assert [span.line for span in lines if span is not None] == [4, 4, 11]
        shop.session.go("next")
        completes(engine, shop.flow, "person")
        shop.stop()
        ((_, line, names),) = shop.names()
        assert (line, names["first"][:30]) == (12, '{"attempt":1,"body":{"name":"a')
        shop.session.go("step")
        completes(engine, shop.flow, "person")
        assert shop.stop().text.startswith("step: after fan done (")
        assert shop.session.view.task.result == {"asked": 2}
        assert [point.name for point in engine.breakpoints.list()] == ["b"]
        shop.session.go()
        assert shop.stop().reason == "ended"


def test_what_is_held_at_a_step_is_held_there_in_the_next_life_with_the_same_names(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with opened(tmp_path, state=state) as engine:
        shop = Debugged(engine, AT_RUN)
        shop.go()
        was, flow = shop.names(), shop.flow.id
    with opened(tmp_path, state=state) as engine:
        session = Session(to_engine(engine), flow)
        stop = session.wait(0.0)
        assert stop is not None
        assert stop.text.startswith("breakpoint step_")
        assert [(function, line, set(names)) for function, line, names in locals_of(session)] == [
            (function, line, set(names)) for function, line, names in was
        ]
        assert session.view.flow.flow.records == 3, "it has not gone on"
        session.go()
        completes(engine, engine.flow(flow), "person")
        completes(engine, engine.flow(flow), "person")
        assert engine.flow(flow).wait(PATIENCE_S).outcome == "done"


def test_a_script_that_waits_and_one_of_the_past_tell_where_they_are_too(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with opened(tmp_path, state=state) as engine:
        shop = Debugged(engine, AT_RUN)
        shop.session.go()
        fan = shop.flow.tasks[1]
        until(engine, lambda state: state.waits.scripts.is_waiting(fan.id))
        engine.loop.drive(must_commit=True)
        shop.session.look_at("fan")
        assert [(function, line) for function, line, _ in shop.names()] == [("main", 11)]
        completes(engine, shop.flow, "person")
        completes(engine, shop.flow, "person")
        flow = shop.flow.wait(PATIENCE_S)
    past = Session(to_past(state), flow.id)
    past.look_at("fan")
    assert past.view.script is None, "it has ended"
    seen = list[tuple[str, int]]()
    for _ in past.access.history().seqs(flow.id)[2:]:
        past.back()
        past.look_at("fan")
        seen += [(function, line) for function, line, _ in innermost(past)]
    past.access.close()
    assert list(dict.fromkeys(reversed(seen)))[-2:] == [("main", 11), ("main", 12)]


def test_a_line_is_moved_to_the_next_step_and_one_behind_the_last_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        console = Debugged(engine, AT_RUN).console
        assert console.run("break 9 if flow.x is missing").text == (
            'breakpoint b1 on step of fan at "fan.py:11" where flow.x is missing'
        )
        assert console.run("tbreak fan.py:5").text == 'breakpoint b2 on step of fan at "fan.py:11" once'
        assert "B     11" in console.run("ll").text
        with pytest.raises(ConfigError) as refused:
            console.run("break fan.py:13")
        assert str(refused.value) == "fan.py:13: no step (`run`, `wait`, …) stands there or after it"


def test_a_script_that_was_edited_before_its_step_says_why_its_names_cannot_be_told(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        shop = Debugged(engine, AT_RUN)
        shop.go()
        write(tmp_path, FAN.replace("name=name", 'name="x"'), "fan.py")
        shop.session.refresh()
        script = shop.session.view.script
        assert script is not None
        assert script.wrong is not None
        assert script.wrong.startswith('ScriptDiffers: fan.py:4: step 1 is `run person {"name":"x"}`')
        with pytest.raises(ConfigError, match="ScriptDiffers"):
            shop.console.run("info locals")


def test_its_body_is_not_changed_and_who_drops_it_cancels_it(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        shop = Debugged(engine, AT_RUN)
        with pytest.raises(ConfigError, match="is under way: the steps that it has taken stand on its body"):
            shop.session.set("body.names", [])
        shop.session.drop()
        assert shop.stop().reason == "ended"
        assert shop.flow.tasks[1].outcome == "cancelled"


ASYNC = """\
async def ask(name):
    handle = run("person", name=name)
    return await handle


async def main(names, **rest):
    import asyncio
    await asyncio.gather(*(ask(name) for name in names))
    return {"asked": len(names)}
"""


def test_of_coroutines_each_shows_what_it_awaits(tmp_path: Path) -> None:
    with opened(tmp_path, ASYNC) as engine:
        shop = Debugged(engine, 'on step of fan at "fan.py:2" from hit 2 once')
        assert [(function, line) for function, line, _ in shop.names()] == [("ask", 2)]
        shop.session.go()
        until_asked_of(engine, shop)
        shop.session.look_at("fan")
        assert [(function, line) for function, line, _ in shop.names()] == [("main", 8), ("ask", 3), ("ask", 3)]
        completes(engine, shop.flow, "person")
        completes(engine, shop.flow, "person")
        assert shop.flow.wait(PATIENCE_S).outcome == "done"


def until_asked_of(engine: then.Engine, shop: Debugged) -> None:
    """Waits until the script waits, and that is in the journal."""
    fan = shop.flow.tasks[1]
    until(engine, lambda state: state.waits.scripts.is_waiting(fan.id))
    engine.loop.drive(must_commit=True)


CATCHES = """\
def main(names, **rest):
    try:
        run("person", name=names[0])
    except BaseException:
        return {"asked": 0}
    return {"asked": 1}
"""


def test_a_script_that_catches_what_takes_it_off_its_thread_has_not_ended_by_that(tmp_path: Path) -> None:
    with opened(tmp_path, CATCHES) as engine:
        shop = Debugged(engine, "on step of fan once")
        assert shop.flow.tasks[1].outcome is None
        shop.session.go()
        completes(engine, shop.flow, "person")
        assert shop.flow.wait(PATIENCE_S).tasks[1].result == {"asked": 1}


def test_where_debugpy_is_not_installed_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "debugpy", None)
    with opened(tmp_path) as engine:
        shop = Debugged(engine, AT_RUN)
        with pytest.raises(ConfigError, match=r"install andthen\[debugpy\]"):
            shop.console.run("debugpy")
        shop.console.run("task go")
        with pytest.raises(ConfigError, match=r"go .* is no script under way"):
            shop.console.run("debugpy")
