"""Requests that look, and change nothing."""

from __future__ import annotations

import os
from typing import Final

from then.core.errors import ConfigError, ThenError
from then.core.source import Span
from then.core.state import FAILURES
from then.core.tasks import Body, Task
from then.core.values import CannotSay
from then.dap.arguments import (
    Arguments,
    BreakpointLocationsArguments,
    CompletionsArguments,
    EvaluateArguments,
    FrameArguments,
    Source,
    SourceArguments,
    StackTraceArguments,
    ThreadArguments,
    VariablesArguments,
)
from then.dap.client import Client, Thread
from then.dap.desk import Desk
from then.dap.values import Shown, whole
from then.debugger.console import json_of
from then.debugger.looking import foretold, said
from then.debugger.places import lines_of, lines_with_places
from then.debugger.view import Frame, View

LINES_MAX: Final = 50
"""Of what a failed task wrote last."""
FOLLOWS: Final = "What would follow"


def threads(client: Client, desk: Desk, given: Arguments) -> Body:
    rows = sorted(client.threads.values(), key=lambda thread: not thread.is_stopped)
    return {"threads": [{"id": thread.number, "name": _name(thread)} for thread in rows]}


def _name(thread: Thread) -> str:
    root = thread.session.access.history().flow(thread.flow).flow.type
    return f"{thread.flow} ({root})"


# -- the stack ---------------------------------------------------------------------------------


def stack_trace(client: Client, desk: Desk, given: StackTraceArguments) -> Body:
    thread = client.thread(given.thread_id)
    if not thread.is_stopped:
        raise ConfigError(f"flow {thread.flow} goes on; a stack is seen when it stands still")
    if not thread.frames:
        thread.frames = thread.session.view.stack()
        if thread.target is not None:
            span = thread.session.view.span(thread.target)
            thread.frames[0] = thread.frames[0]._replace(rule=thread.target, span=span)
    frames = thread.frames
    end = given.start_frame + given.levels if given.levels else len(frames)
    sources: dict[str, Body] = {}
    rows = [
        _frame(client, thread, place, frame, sources)
        for place, frame in enumerate(frames[given.start_frame : end], given.start_frame)
    ]
    return {"stackFrames": rows, "totalFrames": len(frames)}


def _frame(client: Client, thread: Thread, place: int, frame: Frame, sources: dict[str, Body]) -> Body:
    past = " (past)" if thread.session.at is not None else ""
    function = f"{frame.function}, of " if frame.function is not None else ""
    word = "at" if place == 0 else "by"
    by = f", {word} {frame.rule}" if frame.rule is not None and not function else ""
    row: Body = {
        "id": client.frame_number(thread, place), "name": f"{function}{said(frame.task)}{by}{past}", "line": 0, "column": 0,
        "canRestart": place == 0 and frame.task.outcome in FAILURES and not past,
    }  # fmt: skip
    if frame.span is not None:
        row |= {"line": frame.span.line, "column": frame.span.column}
        file = frame.span.file
        if file not in sources:
            sources[file] = source_body(client, thread.session.view, frame.span)
        row["source"] = sources[file]
    return row


def source_body(client: Client, view: View, span: Span) -> Body:
    """Where a text is to be had: its path, where it is there as these rules have it; else by a reference."""
    root = view.access.root(view.flow.flow.version)
    # Scripts are named from the project's root, rules as they were given.
    path = os.path.abspath(span.file if os.path.isfile(span.file) else root / span.file)
    name = os.path.basename(span.file)
    known = lines_of(view.edition.rules, span, root)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read().splitlines() == known:
                return {"name": name, "path": path}
    except (OSError, ValueError):
        pass
    if not known:
        return {"name": name}
    one = (span.file, "\n".join(known) + "\n")
    if one not in client.sources:
        client.sources.append(one)
    return {"name": name, "sourceReference": client.sources.index(one) + 1, "origin": "from the journal"}


def source(client: Client, desk: Desk, given: SourceArguments) -> Body:
    number = given.source_reference
    if not 1 <= number <= len(client.sources):
        raise ConfigError(f"source {number} is none; a frame names those that there are")
    return {"content": client.sources[number - 1][1], "mimeType": "text/x-then"}


def breakpoint_locations(client: Client, desk: Desk, given: BreakpointLocationsArguments) -> Body:
    if client.points.edition is None:
        raise ConfigError("no rules are loaded yet: launch or attach first")
    last = given.end_line if given.end_line is not None else given.line
    lines = lines_with_places(client.points.edition.rules, source_file(client, given.source), client.points.root)
    return {"breakpoints": [{"line": line} for line in lines if given.line <= line <= last]}


def source_file(client: Client, given: Source) -> str:
    """The file that a source means: its path, or the name of one that was told by a reference."""
    reference, path = given.source_reference or 0, given.path
    if 1 <= reference <= len(client.sources):
        return client.sources[reference - 1][0]
    if path is None:
        raise ConfigError("a source needs its path")
    return os.path.normpath(path)


# -- scopes and variables ----------------------------------------------------------------------


def scopes(client: Client, desk: Desk, given: FrameArguments) -> Body:
    thread, place = client.frame(given.frame_id)
    view = client.view(thread, place)
    task, owner = view.task, given.frame_id
    can_change = place == 0 and task.is_held and thread.session.at is None
    names = {name.name: name.value if name.is_json else name.text for name in thread.shown(place).names}
    found: list[tuple[str, str, Body, str | None]] = [("Names", "locals", names, None)] if names else []
    found += [("Body", "arguments", task.body, "body" if can_change and not names else None)]
    if task.result is not None and not task.event:
        has_result = can_change and task.outcome is not None
        found.append(("Result", "returnValue", task.result, "result" if has_result else None))
    if task.error is not None:
        found.append(("Error", "", task.error, None))
    found.append(("Flow variables", "globals", view.variables, None))
    captures = {name: json_of(value) for name, value in view.bindings().items()} if place == 0 else {}
    if captures:
        found.append(("Captures", "locals", captures, None))
    if place == 0 and task.is_held:
        found.append((FOLLOWS, "", _preview(view), None))
    found.append(("Engine", "", _engine(view, task), None))
    rows = []
    for name, hint, value, path in found:
        shown = Shown(owner, value, path, is_prose=name == FOLLOWS)
        row: Body = {
            "name": name, "variablesReference": client.values.add(shown),
            "namedVariables": len(value), "expensive": False,
        }  # fmt: skip
        rows.append({**row, "presentationHint": hint} if hint else row)
    return {"scopes": rows}


def _preview(view: View) -> Body:
    return {f"{number}": line.strip() for number, line in enumerate(foretold(view), 1)}


def _engine(view: View, task: Task) -> Body:
    state = view.state
    return {
        "record": task.id, "state": "held" if task.is_held else task.state, "entry": view.entries[-1],
        "flow": view.flow.flow.id, "flows": len(state.flows), "held": len(state.holds.stops),
        "rules": view.flow.flow.version,
    }  # fmt: skip


def variables(client: Client, desk: Desk, given: VariablesArguments) -> Body:
    return {"variables": client.values.page(given.variables_reference, given.start, given.count, given.filter)}


# -- expressions -------------------------------------------------------------------------------


def evaluate(client: Client, desk: Desk, given: EvaluateArguments) -> Body:
    """An expression of the language; in the context `repl` a command of the debugger."""
    thread, place = client.frame(given.frame_id) if given.frame_id is not None else (client.foremost(), 0)
    if given.context == "repl":
        return _command(client, thread, given.expression)
    value = client.view(thread, place).value(given.expression)
    if given.context == "clipboard":
        return {"result": whole(value), "variablesReference": 0}
    if isinstance(value, CannotSay) and given.context == "hover":
        raise ConfigError(value.reason)
    shown = client.values.body(value, given.frame_id or 0)
    return {**shown, "result": shown.pop("value")}


def _command(client: Client, thread: Thread, line: str) -> Body:
    session = thread.session
    was = (session.at, session.stop)
    reply = thread.console.run(line)
    if thread.console.session is not session:
        return _forked(client, thread, reply.text)
    if client.starts_debugging and reply.data is not None and "attach" in reply.data:
        asked = {"request": "attach", "configuration": reply.data["attach"]}
        client.after(lambda: client.ask("startDebugging", asked))
    if reply.is_last:
        return {"result": reply.text or "`disconnect` leaves", "variablesReference": 0}
    if thread.is_stopped and session.stop is None:
        thread.asked = "step"
        client.after(lambda: client.has_gone_on(thread))
    elif (session.at, session.stop) != was:
        client.after(lambda: client.has_stopped(thread, {"reason": "step", "description": "another moment"}))
    elif line.split(" ", maxsplit=1)[0] in ("set", "task", "t"):
        client.refresh(thread)
        if client.supports_invalidated:
            client.after(lambda: client.event("invalidated", {"areas": ["all"]}))
    return {"result": reply.text, "variablesReference": 0}


def _forked(client: Client, thread: Thread, text: str) -> Body:
    """A new flow is a thread of its own; this one stays what it was."""
    flow = thread.console.session.flow
    thread.console.session = thread.session

    def follow() -> None:
        new = client.follow(flow, is_ours=thread.is_ours)
        new.is_fork = True
        for what in client.points.catches:
            new.session.own.catch(what)

    client.after(follow)
    return {"result": text, "variablesReference": 0}


def completions(client: Client, desk: Desk, given: CompletionsArguments) -> Body:
    thread = client.frame(given.frame_id)[0] if given.frame_id is not None else client.foremost()
    line = given.text[: max(0, given.column - 1)]
    word = line.rpartition(" ")[2]
    try:
        names = thread.console.completions(line)
    except ThenError:
        names = []
    start = len(line) - len(word)
    return {"targets": [{"label": name, "start": start, "length": len(word)} for name in names]}


# -- failures ----------------------------------------------------------------------------------


def exception_info(client: Client, desk: Desk, given: ThreadArguments) -> Body:
    thread = client.stopped(given.thread_id)
    task = thread.session.view.task
    if task.outcome not in FAILURES:
        raise ConfigError(f"{task.type} ({task.id}) is {task.outcome or task.state}: no failure")
    error = task.error or {}
    message = str(error.get("message", ""))
    details: Body = {"message": message, "typeName": str(error.get("kind", task.outcome))}
    rows = [f"{name}: {whole(value)}" for name, value in error.items() if name not in ("kind", "message")]
    text = "\n".join([*rows, *thread.session.access.written(task.id, "err", LINES_MAX)])
    if text:
        details["stackTrace"] = text
    return {
        "exceptionId": str(error.get("kind", task.outcome)),
        "description": f"{said(task)}: {message}" + (f", attempt {task.attempt}" if task.attempt > 1 else ""),
        "breakMode": "always",
        "details": details,
    }
