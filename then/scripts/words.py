"""The words of scripts: `run`, `wait` and the others. Each is a step, which is recorded before anything follows from it.

They work in the thread of a script, and nowhere else.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast, overload

import msgspec

from then.core.errors import RuleError
from then.core.spans import TimeSpan, span_us
from then.core.tasks import Body, Json, Task, check_json, check_name, own_copy
from then.scripts.play import Play, TaskFailed

WHAT_MAX: Final = 200
"""Characters of a step as it is recorded; of a longer one the begin, and a hash of the whole."""

_json = msgspec.json.Encoder(order="sorted").encode
_NOTHING: Final = object()


class _Own(threading.local):
    play: Play | None = None
    awaited: Any = None
    """Of a script with `async def main`: what its event loop waits for."""


own = _Own()


def playing() -> Play:
    """The run of the script that this thread is in.

    Raises:
        RuleError: it is in none.
    """
    if own.play is None:
        raise RuleError("run, wait and the others work in the thread of a script's main; here is none")
    return own.play


class Handle:
    """What a script has started. `wait(handle)`, in `async def main` also `await handle`, gives its record."""

    __slots__ = ("id", "name", "type")

    def __init__(self, id: str, type: str, name: str) -> None:
        self.id = id
        self.type = type
        self.name = name

    def wait(self, timeout: TimeSpan | None = None) -> Task:
        """The same as `wait(handle)`."""
        return wait(self, timeout=timeout)

    def __await__(self) -> Generator[Any, None, Task]:
        if own.awaited is None:
            return wait(self)
        record = yield from own.awaited(self).__await__()
        return _good([record])[0]

    def __repr__(self) -> str:
        return f"<Handle {self.name} {self.id}>"


def run(*what: str, **body: Json) -> Handle:
    """Starts a task: `run("build", ref="main")`, or a container: `run(host, name, image, args=[…])`.

    It starts when the step is durable; this does not wait for it to end.

    Args:
        what: the type of a declared task; or host, name and image of a container.
        body: its inputs; of a container, its options.

    Raises:
        StepRefused: the body is not as declared.
    """
    if len(what) == 1:
        return _start("run", what[0], what[0], body)
    if len(what) != 3:
        raise RuleError(
            f'run takes the type of a task, run("build", ref="main"), or host, name and image; here are {len(what)}'
        )
    host, name, image = what
    return _start("run", "Docker", name, {"action": "run", "host": host, "name": name, "image": image, **body})


def call(procedure: str, /, **arguments: Json) -> Handle:
    """Calls a procedure; its handle is settled when it has returned.

    Raises:
        StepRefused: an argument is not as declared.
    """
    return _start("call", procedure, procedure, arguments)


def _start(word: Literal["run", "call"], type: str, name: str, body: Body) -> Handle:
    play = playing()
    _check_text(word, type)
    check_name(type, "task")
    check_json(body, type)
    n = len(play.order)
    id = play.step(word, _what(word, type, body), type, own_copy(body)).value
    play.order.append(id)
    play.started.setdefault(name, []).append(id)
    play.labels[id] = f"{name}#{n + 1}"
    return Handle(id, type, name)


def _check_text(word: str, name: object) -> None:
    if not isinstance(name, str):
        raise RuleError(f"{word}({name!r}): a name is expected, as text")


def emit(event: str, /, **body: Json) -> None:
    """Emits an event, or starts a task of which the script hears nothing more.

    Raises:
        StepRefused: the body is not as declared.
    """
    _check_text("emit", event)
    check_name(event, "event")
    check_json(body, event)
    playing().step("emit", _what("emit", event, body), event, own_copy(body))


@overload
def wait(what: Handle, /, *, timeout: TimeSpan | None = None) -> Task: ...
@overload
def wait(what: str, /, *, timeout: TimeSpan | None = None) -> Any: ...
@overload
def wait(what: Sequence[Handle | str] | None = None, /, *, timeout: TimeSpan | None = None) -> list[Task]: ...
@overload
def wait(*, any: Sequence[Handle | str], timeout: TimeSpan | None = None) -> Task: ...


def wait(
    what: Handle | str | Sequence[Handle | str] | None = None,
    /,
    *,
    any: Sequence[Handle | str] | None = None,  # noqa: A002 (as the language says it)
    timeout: TimeSpan | None = None,
) -> Task | list[Task]:
    """Waits until what was started has ended; holds neither thread nor process meanwhile.

    `wait(handle)` and `wait("name")` give a record; several of a name are all waited for, and the last is given.
    `wait([a, b])`, and `wait()` or `wait("")` for all that the script has started, give a list, in that order.
    `wait(any=[a, b])` gives the first that has ended.

    Args:
        what: handles, or names: the type of a task, the name of a container.
        any: one of these is enough.
        timeout: `"90s"`, seconds or a timedelta.

    Raises:
        TaskFailed: one ended otherwise than done. That counts as taken up.
        TimeoutError: the time was over before.
        RuleError: nothing of that name was started.
    """
    play = playing()
    limit = None if timeout is None else span_us(timeout, "wait: timeout")
    if any is not None and what:
        raise RuleError("wait takes what it waits for, or any=[…], and not both")
    if any is not None:
        ids = _ids(play, _several(any, "any="))
        if not ids:
            raise RuleError("wait(any=[]) would wait for ever: give at least one")
    elif what is None or what == "":
        ids = list(play.order)
    else:
        ids = _ids(play, [what] if isinstance(what, Handle | str) else _several(what, ""))
    records = _waited(play, ids, any is not None, limit)
    _good(records)
    if any is not None:
        return records[0]
    return records[-1] if what and isinstance(what, Handle | str) else records


def _several(what: object, before: str) -> Sequence[Handle | str]:
    """What a wait was given, where it is a list of what can be waited for.

    Raises:
        RuleError: it is not; for a while a script sleeps.
    """
    # Sets are in another order each time.
    found: list[Any] = (
        list(what) if isinstance(what, Iterable) and not isinstance(what, AbstractSet | bytes) else [None]
    )
    if all(isinstance(one, Handle | str) for one in found):
        return found
    hint = f"; to let time pass, sleep({what!r})" if isinstance(what, int | float | timedelta) else ""
    raise RuleError(
        f"wait({before}{what!r}): a handle that run gave, the name of a task, or a list of these is waited for{hint}"
    )


def _ids(play: Play, what: Sequence[Handle | str]) -> list[str]:
    found: dict[str, None] = {}
    for one in what:
        if isinstance(one, Handle):
            found[one.id] = None
        elif one in play.started:
            found.update(dict.fromkeys(play.started[one]))
        else:
            known = ", ".join(play.started) or "nothing yet"
            raise RuleError(f"wait({one!r}): this script has started nothing of that name; it has started {known}")
    return list(found)


def _waited(play: Play, ids: list[str], is_any: bool, limit: int | None) -> list[Task]:
    if not ids:
        return []
    names = [play.labels.get(id, id) for id in ids]
    within = f" within {limit / 1e6:g}s" if limit is not None else ""
    what = _cut(f"wait {'any of ' if is_any else ''}{', '.join(names)}{within}")
    answer = play.step("wait", what, ids=ids, is_any=is_any, timeout_us=limit)
    if answer.value is None:
        raise TimeoutError(f"{what}: the time was over before")
    return list(answer.records)


def wait_any(handles: Sequence[Handle]) -> Task:
    """The first of some that has ended, however it did: for an event loop."""
    return _waited(playing(), [handle.id for handle in handles], True, None)[0]


def _good(records: list[Task]) -> list[Task]:
    bad = next((record for record in records if record.outcome != "done"), None)
    if bad is not None:
        raise TaskFailed(bad, records)
    return records


def load(name: str, /) -> Json:
    """The value of a flow variable, as it is now.

    Raises:
        CannotLoad: nothing has saved it.
    """
    _check_text("load", name)
    return own_copy(playing().step("load", _what("load", name), name).value)


def save(name: str, value: Json, /) -> None:
    """Writes a flow variable."""
    check_name(name, "flow variable")
    check_json({"value": value}, f"save {name}")
    playing().step("save", _what("save", name, value), name, value=own_copy(value))


def sleep(span: TimeSpan, /) -> None:
    """Lets time pass (`"2h"`, seconds, a timedelta); holds neither thread nor process meanwhile."""
    if span in (0, timedelta(0)):
        return
    us = span_us(span, "sleep")
    playing().step("wait", f"sleep {us / 1e6:g}s", timeout_us=us)


def now() -> datetime:
    """The time, in UTC; the same when the script is run again."""
    play = playing()
    us = play.step("say", "now", value=play.clock_us()).value
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def random() -> float:
    """A number drawn from 0 to 1, 1 left out; the same when the script is run again."""
    play = playing()
    return cast(float, play.step("say", "random", value=play.draw()).value)


def log(message: str, /, **fields: Json) -> None:
    """Writes a line into the journal, once, and to the script's output."""
    play, message = playing(), str(message)
    check_json(fields, "log")
    was_there = play.is_replaying
    play.step("say", _what("log", message, fields) if fields else _what("log", message))
    if not was_there:
        play.write(message + (f" {_json(fields).decode()}" if fields else "") + "\n")


def _what(word: str, name: str, value: Json = _NOTHING) -> str:
    """A step in one line; the same for the same, and another for another."""
    shown = f"{word} {name}" if value is _NOTHING or value == {} else f"{word} {name} {_json(value).decode()}"
    return _cut(shown)


def _cut(shown: str) -> str:
    if len(shown) <= WHAT_MAX:
        return shown
    digest = hashlib.sha256(shown.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return f"{shown[: WHAT_MAX - 20]}… #{digest}"


GIVEN: Final = {
    "run": run, "wait": wait, "load": load, "save": save, "call": call, "emit": emit, "sleep": sleep, "now": now,
    "random": random, "log": log, "TaskFailed": TaskFailed,
}  # fmt: skip
"""What a script finds as globals."""
