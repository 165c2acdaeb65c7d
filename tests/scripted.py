"""Scripts in tests: a project with one script, the tasks that it starts, and an engine that runs it."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import then
from then.core.rules import TaskDecl
from then.core.state import State
from then.core.tasks import Json, Task

PATIENCE_S = 180


class Leaving:
    """Where a script that leaves its thread and its test meet."""

    def __init__(self) -> None:
        self.began = 0
        self.is_leaving = threading.Event()
        self.may_leave = threading.Event()
        self.has_left = False


leaving = Leaving()
"""Of the test that runs: a script has no other way to it."""


def project(root: Path, text: str, file: str = "job.py") -> then.Rules:
    """Rules with the task `job`, which runs a script of this text, and what it may start."""
    write(root, text, file)
    rules = then.Rules()
    rules.root = root
    rules.event("note", text=str)
    rules.task("job", run=("script", file))

    @rules.task("work")
    def work(n: int) -> dict[str, int]:
        return {"m": n + 1}

    @rules.task("fails")
    def fails(**body: Json) -> None:
        raise ValueError("as told")

    rules.set.declare(TaskDecl("person"))

    @rules.procedure("twice", n=int, returns={"m": int})
    def twice(n: int) -> Any:
        yield then.emit("work", n=n * 2)

    @twice.when("work", "done")
    def returned(work: Task) -> Any:
        assert work.result is not None
        yield then.return_(m=work.result["m"])

    return rules


def write(root: Path, text: str, file: str = "job.py") -> None:
    (root / file).write_text(textwrap.dedent(text))


def ran(root: Path, text: str, **body: Json) -> Task:
    """The record of a script that was run to its end, in memory."""
    with then.Engine(project(root, text)) as engine:
        return engine.post("job", **body).wait(PATIENCE_S).tasks[0]


def result(root: Path, text: str, **body: Json) -> Json:
    """What it returned."""
    task = ran(root, text, **body)
    assert task.outcome == "done", task.error
    return task.result


def error(root: Path, text: str, **body: Json) -> dict[str, Any]:
    """Why it failed."""
    task = ran(root, text, **body)
    assert task.outcome == "failed", task
    assert task.error is not None
    return task.error


def until(engine: then.Engine, is_so: Callable[[State], object]) -> None:
    """Waits until the engine's state is so, looking at it whenever it has changed, and until that is in the journal."""
    moved = threading.Event()

    def look(page: object) -> None:
        moved.set()

    engine.loop.watchers.append(look)
    try:
        while not engine.loop.look(is_so):
            assert moved.wait(PATIENCE_S), "it never was so"
            moved.clear()
    finally:
        engine.loop.watchers.remove(look)
    engine.loop.drive(must_commit=True)  # What is seen in the state may be in the journal a moment later.


def until_asked(engine: then.Engine, flow: then.Flow) -> None:
    """Waits until the script that is the root of a flow waits for a person."""

    def is_asked(state: State) -> bool:
        script = state.waits.scripts.of.get(flow.id)
        awaited = [state.task(id) for id in script.open.ids] if script is not None and script.open is not None else []
        return any(task is not None and task.type == "person" for task in awaited)

    until(engine, is_asked)


def completes(engine: then.Engine, flow: then.Flow, type: str, **result: Json) -> None:
    """A person answers, as soon as there is something to answer."""
    asked: list[str] = []

    def is_asked(state: State) -> bool:
        asked[:] = [task.id for task in state.live(flow.id) if task.type == type and task.started is not None]
        return bool(asked)

    until(engine, is_asked)
    engine.complete(asked[0], "done", **result)
