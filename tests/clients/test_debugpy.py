"""debugpy, at the Python of a script that is held before a step: its own breakpoints, the step, and nothing done."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import then
from tests.clients.conftest import lacking
from tests.dap_client import DapClient, adapter
from tests.scripted import PATIENCE_S, write
from then.app.rules import Rules
from then.core.errors import ConfigError
from then.debugger.access import to_engine
from then.debugger.console import Console
from then.debugger.session import Session

RULES = """
event go(names: list[str])
task person(name: str)
task fan(names: list[str])
  run script "fan.py"
rule begin when go as g then fan(names: g.names)
"""
FAN = """\
from beside import shout


def main(names, **rest):
    for name in names:
        loud = shout(name)
        run("person", name=loud)
"""
WAITS = """\
import asyncio


async def ask(name):
    handle = run("person", name=name)
    await handle


async def main(names, **rest):
    await asyncio.gather(*(ask(name) for name in names))
"""


@pytest.fixture(autouse=True)
def _has_debugpy() -> None:
    if find_spec("debugpy") is None:
        lacking("debugpy is not here (pip install debugpy)")


def project(folder: Path, script: str = FAN) -> str:
    (folder / "fan.then").write_text(RULES)
    write(folder, script, "fan.py")
    write(folder, "def shout(name):\n    text = name.upper()\n    return text\n", "beside.py")
    return str(folder / "fan.then")


@contextmanager
def held(folder: Path, place: str, script: str = FAN) -> Iterator[Console]:
    """A flow whose script is held at a place, under a console."""
    with then.Engine(Rules().load(project(folder, script))) as engine:
        engine.breakpoints.add("b", place)
        flow = engine.post("go", names=["ann", "bo"])
        console = Console(Session(to_engine(engine), flow.id, "eve"))
        assert console.session.wait(PATIENCE_S) is not None, "nothing stops it"
        try:
            yield console
        finally:
            console.close()


@contextmanager
def attached(configuration: dict[str, Any], lines: dict[str, list[int]]) -> Iterator[DapClient]:
    """An editor at what was handed over, with breakpoints of its own."""
    where = configuration["connect"]
    with socket.create_connection((where["host"], where["port"]), PATIENCE_S) as link:
        link.settimeout(None)
        client = DapClient(link)
        client.request("initialize", adapterID="debugpy", pathFormat="path")
        asked = client.send("attach", **configuration)
        client.event("initialized")
        for path, numbers in lines.items():
            client.request(
                "setBreakpoints", source={"path": path}, breakpoints=[{"line": number} for number in numbers]
            )
        client.request("configurationDone")
        client.answer(asked)
        yield client


def stop(client: DapClient) -> tuple[int, list[tuple[str, int]], dict[str, str]]:
    """The thread that stops next, its frames as functions and lines, and the names of the innermost."""
    thread: int = client.event("stopped")["threadId"]
    frames = client.request("stackTrace", threadId=thread)["stackFrames"]
    names = client.scope(frames[0]["id"], "Locals")
    return thread, [(one["name"], one["line"]) for one in frames], {name: row["value"] for name, row in names.items()}


def test_it_stops_at_its_own_breakpoints_and_at_the_step_and_the_flow_stays_where_it_is(tmp_path: Path) -> None:
    with held(tmp_path, 'on step of fan at "fan.py:7" from hit 2') as console:
        before = console.session.access.journal.last
        reply = console.run("debugpy")
        assert reply.data is not None
        assert reply.text.startswith(f"debugpy listens on 127.0.0.1:{reply.data['attach']['connect']['port']}: ")
        with attached(reply.data["attach"], {str(tmp_path / "beside.py"): [3]}) as client:
            for name in ("'ANN'", "'BO'"):
                thread, frames, names = stop(client)
                assert frames[:2] == [("shout", 3), ("main", 6)]
                assert names["text"] == name
                client.request("next", threadId=thread)
                thread, frames, _ = stop(client)
                assert frames[0] == ("main", 7), "out of the function, on in the script"
                client.request("continue", threadId=thread)
            thread, frames, names = stop(client)
            assert frames[0] == ("main", 7), "the step at which the script is held"
            assert (names["name"], names["loud"]) == ("'bo'", "'BO'")
            client.request("continue", threadId=thread)
            client.event("terminated")
        assert console.session.access.journal.last == before
        people = [
            one.task.body["name"] for one in console.session.view.flow.records.values() if one.task.type == "person"
        ]
        assert people == ["ANN"], "what the second run would start is not there"


def test_where_coroutines_wait_it_stops_at_the_first(tmp_path: Path) -> None:
    with held(tmp_path, "on step of fan from hit 3", WAITS) as console:
        reply = console.run("debugpy")
        assert reply.data is not None
        with attached(reply.data["attach"], {}) as client:
            thread, frames, names = stop(client)
            assert (frames, names["names"]) == ([("main", 10)], "['ann', 'bo']")
            client.request("continue", threadId=thread)
            client.event("terminated")


def test_it_ends_with_the_next_and_with_the_debugger(tmp_path: Path) -> None:
    with held(tmp_path, "on step of fan") as console:
        for end in (lambda: console.run("debugpy"), console.close):
            reply = console.run("debugpy")
            assert reply.data is not None
            with attached(reply.data["attach"], {}) as client:
                stop(client)
                end()
                client.event("terminated")
        console.run("task go")
        with pytest.raises(ConfigError, match="is no script under way"):
            console.run("debugpy")


def test_an_editor_that_can_is_asked_to_attach(tmp_path: Path) -> None:
    rules = project(tmp_path)
    with adapter(tmp_path) as desk:
        client = desk.connect()
        client.request("initialize", adapterID="then", supportsStartDebuggingRequest=True)
        client.request("launch", path=rules, post="go", body={"names": ["ann"]})
        client.request("setFunctionBreakpoints", breakpoints=[{"name": "on step of fan"}])
        client.request("configurationDone")
        client.event("stopped")
        client.request("evaluate", expression="debugpy", context="repl")
        asked = client.until(lambda one: one["type"] == "request")
        assert (asked["command"], asked["arguments"]["request"]) == ("startDebugging", "attach")
        with attached(asked["arguments"]["configuration"], {}) as editor:
            thread, frames, _ = stop(editor)
            assert frames[0] == ("main", 7)
            editor.request("continue", threadId=thread)
            editor.event("terminated")


def test_a_script_that_ends_otherwise_than_at_its_step_tells_the_editor_why(tmp_path: Path) -> None:
    with held(tmp_path, "on step of fan from hit 2") as console:
        write(tmp_path, FAN.replace("name=loud", "name=loud + '!'"), "fan.py")
        reply = console.run("debugpy")
        assert reply.data is not None
        with attached(reply.data["attach"], {}) as client:
            assert client.event("output", category="stderr")["output"].startswith(
                "fan.py ends here: fan.py:7: step 1 is "
            )
            client.event("terminated")
