"""Where a script is, and what its names hold: it is run once more from its begin, up to the step that it is at.

What it has done is answered from the journal, and the step that it is at is not
taken, so nothing happens by this but what the script does between its steps
(`docs/scripts.md`, "How it goes on"). Nothing of a script is kept in a process:
after a crash, and of any moment of the past, this tells the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

from then.core.causes import Ask, Told
from then.core.fields import record_json
from then.core.filters import Const
from then.core.rules import RuleSet
from then.core.scripts import Recorded
from then.core.tasks import Json, Task
from then.core.values import json_text
from then.scripts.play import Play, Unwound
from then.scripts.running import run_script

LIMIT_S: Final = 5.0
"""So long a script may take to its step: it computes there what it computes each time that it goes on."""
TEXT_MAX: Final = 1000
"""Characters of a value that is no JSON."""


class Name(NamedTuple):
    """What a name of a function holds."""

    name: str
    value: Json
    """As JSON; of anything else null."""
    text: str
    is_json: bool = True


class ScriptFrame(NamedTuple):
    """One function of a script that is under way."""

    function: str
    line: int
    names: tuple[Name, ...]


class Whereabouts(NamedTuple):
    """Where a script is."""

    file: str
    """From the project's root."""
    frames: tuple[ScriptFrame, ...]
    """Its functions, the innermost first; of coroutines that wait each with what it awaits."""
    step: str = ""
    """What it asks for there, in one line."""
    wrong: str | None = None
    """Why that cannot be told."""


def file_of(type: str, rules: RuleSet) -> str | None:
    """The file of the script that a type of tasks runs, from the project's root; None where it runs none."""
    return scripts_of(rules).get(type)


def scripts_of(rules: RuleSet) -> Mapping[str, str]:
    """The files of scripts, by the types of tasks that run them."""
    runs = {name: task.run for name, task in rules.tasks.items()}
    return {
        name: str(run.target.value)
        for name, run in runs.items()
        if run is not None and run.kind == "script" and isinstance(run.target, Const)
    }


def whereabouts(task: Task, recorded: Recorded | None, root: Path, file: str) -> Whereabouts:
    """Where a script is that has taken these steps. Nothing is asked of any engine.

    Cost: what the script computes between its steps; `LIMIT_S` at most.
    """
    found: list[Whereabouts] = []
    path = str(root / file)

    def arrive(ask: Ask | None, n: int) -> Told:
        what = ask.what if ask is not None else recorded.open.what if recorded is not None and recorded.open else ""
        found.append(Whereabouts(file, tuple(map(_frame, frames_in(path))), what))
        raise Unwound

    # What it would draw, or read off the clock, there is not recorded yet: it is asked for, and not answered.
    play = Play(task, recorded, arrive, lambda: 0.0, lambda: 0, file)

    def run() -> None:
        try:
            run_script(play, root)
        except Unwound:
            pass
        except BaseException as error:  # noqa: BLE001 (whatever a script raises)
            if not found:
                found.append(Whereabouts(file, (), wrong=f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=run, name="andthen-whereabouts", daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if thread.is_alive() and thread.ident is not None:
        import ctypes

        play.is_over = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Unwound))
    if found:
        return found[0]
    why = f"it did not come to its step within {LIMIT_S:g} s" if thread.is_alive() else "it ends before its next step"
    return Whereabouts(file, (), wrong=why)


def frames_in(path: str) -> Iterator[FrameType]:
    """The frames of a file that are under way in this thread, the innermost first; of coroutines each with what it awaits."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the one way to a caller's names)
    is_any = False
    while frame is not None:
        if frame.f_code.co_filename == path and frame.f_code.co_name != "<module>":
            is_any = True
            yield frame
        frame = frame.f_back
    if is_any:
        return
    import asyncio

    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return  # It is no coroutine either: a step of its module.
    for task in sorted(tasks, key=lambda one: int("".join(filter(str.isdigit, one.get_name())) or 0)):
        awaited: list[FrameType] = []
        inner: Any = task.get_coro()
        while getattr(inner, "cr_frame", None) is not None:
            awaited.append(inner.cr_frame)
            inner = inner.cr_await
        yield from (one for one in reversed(awaited) if one.f_code.co_filename == path)


def _frame(frame: FrameType) -> ScriptFrame:
    names = (_name(name, value) for name, value in frame.f_locals.items() if not name.startswith("."))
    return ScriptFrame(frame.f_code.co_name, frame.f_lineno, tuple(names))


def _name(name: str, value: object) -> Name:
    if isinstance(value, Task):
        value = record_json(value)
    try:
        plain = msgspec.json.decode(msgspec.json.encode(value))
    except Exception:  # noqa: BLE001 (whatever a value is: it is shown as it shows itself)
        return Name(name, None, _shown(value), False)
    return Name(name, plain, json_text(plain))


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 (its own)
        text = f"({type(value).__name__}, whose repr raises {type(error).__name__})"
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
