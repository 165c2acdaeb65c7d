"""Commands that let a flow go on, or change something."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

import msgspec

from then.core.errors import ConfigError
from then.core.tasks import DEPTH_MAX, OUTCOMES, Body, Json
from then.core.values import check_keys
from then.debugger.breaking import BREAKING
from then.debugger.console import Action, Command, Console, Reply
from then.debugger.session import How

WAITS: Final = "it goes on; `wait` waits for it again, `pause` stops it at the next record that ends"


def _wait(console: Console, rest: str = "") -> Reply:
    return _and_wait(console, lambda: None)


def _and_wait(console: Console, act: Callable[[], None]) -> Reply:
    """Lets go on, and tells of the next stop. Ctrl-C interrupts the wait, wherever it comes, and not the engine."""
    try:
        act()
        if not console.waits:
            return Reply()
        stop = console.session.wait()
    except KeyboardInterrupt:
        console.due.clear()
        return Reply(WAITS, {"waits": False})
    assert stop is not None
    return console.stopped(stop)


def _going(how: How) -> Action:
    def run(console: Console, rest: str) -> Reply:
        if how == "until" and not rest:
            raise ConfigError("until: which task, or place? such as `until ship`, `until after pay where amount > 5`")
        if _is_over(console):
            raise ConfigError("the flow has ended; `back` looks at its past, `quit` leaves")
        return _and_wait(console, lambda: console.session.go(how, rest))

    return run


def _is_over(console: Console) -> bool:
    return console.session.at is None and console.session.view.flow.flow.outcome is not None


def _pause(console: Console, rest: str) -> Reply:
    reply = _and_wait(console, console.session.pause)
    return Reply(f"(what runs is not stopped)\n{reply.text}", reply.data)


def _set(console: Console, rest: str) -> Reply:
    path, sign, text = rest.partition("=")
    if not sign:
        raise ConfigError("set: write PATH = JSON, such as `set body.total = 5`")
    console.session.set(path.strip(), value_of(text.strip(), "set: "))
    task = console.session.view.task
    return Reply("", {"id": task.id, "body": task.body, "result": task.result})


def value_of(text: str, what: str = "") -> Json:
    """A value as somebody typed it, in JSON.

    Raises:
        ConfigError: it is none.
        BodyRefused: an object in it has a key twice.
    """
    try:
        value: Json = msgspec.json.decode(text)
        check_keys(text, what.removesuffix(": ") or "value")
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ConfigError(f"{what}{text} is no JSON ({error}); a text stands in quotes") from error
    except RecursionError:
        # Where this Python's parser gives up; one that does not leaves it to whoever makes a record of it.
        raise ConfigError(f"{what}nested deeper than {DEPTH_MAX} levels") from None
    return value


def _skip(console: Console, rest: str) -> Reply:
    result = _object(rest, "skip")
    return _and_wait(console, lambda: console.session.skip(result))


def _jump(console: Console, rest: str) -> Reply:
    if not rest:
        targets = ", ".join(console.session.jump_targets()) or "none"
        raise ConfigError(f"jump: to which rule? for {console.session.view.task.type} there is {targets}")
    return _and_wait(console, lambda: console.session.jump(rest))


def _complete(console: Console, rest: str) -> Reply:
    what, _, text = rest.partition(" ")
    word, _, tail = text.strip().partition(" ")
    outcome, text = (word, tail) if word in OUTCOMES else ("done", text)
    records = console.session.view.flow.records.values()
    asked = [one.task for one in records if one.task.outcome is None and one.task.started is not None]
    found = [task for task in asked if what and (task.type == what or task.id.startswith(what))]
    if len(found) != 1:
        known = ", ".join(f"{task.type} ({task.id})" for task in asked if not task.is_call) or "nothing"
        raise ConfigError(f"complete: which task? {known} runs, or waits for an answer")
    console.session.complete(found[0].id, outcome, _object(text, f"complete {what}"))  # type: ignore[arg-type]
    return Reply(f"{found[0].type} is {outcome.replace('_', ' ')}")


_STUB: Final = re.compile(r"stub\s+([\w.]+)\s*")


def _fork(console: Console, rest: str) -> Reply:
    word, _, left = rest.partition(" ")
    is_real, left = (True, left) if word == "real" else (False, rest)
    stubs: dict[str, Body] = {}
    while left := left.strip():
        head = _STUB.match(left)
        if head is None:
            raise ConfigError(
                'fork: nothing, `real`, or `stub TASK {"field": value}`, several times, belongs behind it'
            )
        try:
            result, end = json.JSONDecoder().raw_decode(left, head.end())
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"fork: {left[head.end() :]} is no JSON ({error})") from error
        stubs[head[1]] = _object(json.dumps(result), f"stub {head[1]}")
        left = left[end:]
    origin = console.session
    session = console.turn_to(origin.fork(real=is_real, stubs=stubs))
    stop = session.wait(0.0)
    at = f"entry {origin.at}" if origin.at is not None else "now"
    told = f"flow {session.flow} is a fork of {origin.flow}, as it is {at}"
    if stop is None:
        return Reply(told, {"fork": session.flow})
    reply = console.stopped(stop)
    return Reply(f"{told}\n{reply.text}", {**(reply.data or {}), "fork": session.flow, "origin": origin.flow})


def _object(text: str, what: str) -> dict[str, object]:
    value = value_of(text.strip() or "{}", f"{what}: ")
    if not isinstance(value, dict):
        raise ConfigError(f"{what}: {text.strip()} is no JSON object")
    return value


def _drop(console: Console, rest: str) -> Reply:
    return _and_wait(console, console.session.drop)


def _retry(console: Console, rest: str) -> Reply:
    return _and_wait(console, console.session.retry)


def _emit(console: Console, rest: str) -> Reply:
    type, _, text = rest.partition(" ")
    if not type:
        raise ConfigError('emit: which record? such as `emit pay {"order": 7}`')
    console.session.emit(type, _object(text, f"emit {type}"))
    return Reply(f"{type} is in this flow")


# -- leaving -----------------------------------------------------------------------------------


def _quit(console: Console, rest: str) -> Reply:
    return Reply(is_last=True)


def _kill(console: Console, rest: str) -> Reply:
    console.session.access.call("cancel", id=console.session.flow)
    return Reply(f"flow {console.session.flow} is cancelled", is_last=True)


MOVING: Final = (
    Command("continue", ("c", "cont"), "", "Goes on to the next breakpoint, or to the end.", _going("continue"), True),
    Command("next", ("n",), "", "To the next record that ends, past what a call does.", _going("next"), True),
    Command("step", ("s",), "", "To the next record that ends, into calls too.", _going("step"), True),
    Command("finish", ("fin", "out", "r"), "", "To the next record that ends after this call.", _going("finish"), True),
    Command("until", ("unt",), "TASK|PLACE", "To a task before it starts, an event, or any place.", _going("until")),
    Command("pause", (), "", "Stops at the next record that ends.", _pause),
    Command("wait", (), "", "Waits for the next stop.", _wait),
    Command("set", (), "PATH = JSON", "Changes body or result of the record that is held.", _set),
    Command("skip", (), "[RESULT]", "Ends the task done with a result, in the place of its run.", _skip),
    Command("jump", ("j",), "RULE", "Has this rule answer the record, in the place of all that would.", _jump),
    Command("complete", (), "TASK [OUTCOME] [RESULT]", "Answers a task that waits for a person.", _complete),
    Command(
        "fork",
        (),
        "[real] [stub TASK RESULT]…",
        "A new flow from this moment; tasks are answered, or with `real` run.",
        _fork,
    ),
    Command("drop", (), "", "Ends the record here: no task is started, no rule sees it.", _drop),
    Command("retry", (), "", "Tries the failure in view again, in its place.", _retry),
    Command("emit", (), "TASK [JSON]", "A record by hand, into this flow.", _emit),
    *BREAKING,
    Command("quit", ("q", "detach", "exit"), "", "Leaves; what is held stays held.", _quit),
    Command("kill", ("k",), "", "Cancels the flow, and leaves.", _kill),
)
