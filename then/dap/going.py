"""Requests that let a flow go on, change what is held, or look at another moment of it."""

from __future__ import annotations

from then.core.errors import ConfigError
from then.core.tasks import Body
from then.dap.arguments import (
    FrameArguments,
    GotoArguments,
    GotoTargetsArguments,
    SetVariableArguments,
    ThreadArguments,
)
from then.dap.client import Client, Thread
from then.dap.desk import Desk
from then.dap.looking import source_file
from then.debugger.moving import value_of
from then.debugger.places import place_at_line
from then.debugger.session import How


def go_on(client: Client, desk: Desk, given: ThreadArguments) -> Body:
    _go(client, given.thread_id, "continue")
    return {"allThreadsContinued": False}


def next_(client: Client, desk: Desk, given: ThreadArguments) -> None:
    _go(client, given.thread_id, "next")


def step_in(client: Client, desk: Desk, given: ThreadArguments) -> None:
    _go(client, given.thread_id, "step")


def step_out(client: Client, desk: Desk, given: ThreadArguments) -> None:
    _go(client, given.thread_id, "finish")


def _go(client: Client, number: int, how: How) -> None:
    """Lets the record in view go on. In the past it leads on through what happened."""
    thread = client.stopped(number)
    session = thread.session
    if session.at is not None:
        session.forward(to_end=how == "continue")
        _moment(client, thread)
        return
    if client.is_read_only:
        raise ConfigError("this is only looked at: the flow is not let go on; stepBack leads into its past")
    if session.stop is not None and session.stop.id is not None and not _is_held(thread):
        raise ConfigError(f"flow {thread.flow} is not held any more: somebody else let it go on")
    session.go(how, rule=thread.target)
    client.goes_on(thread, "" if how == "continue" else "step")


def _is_held(thread: Thread) -> bool:
    thread.session.refresh()  # Not as it was when it stopped.
    return thread.session.view.task.is_held


def pause(client: Client, desk: Desk, given: ThreadArguments) -> None:
    """Stops the flow at its next record that ends; what runs is not stopped."""
    thread = client.thread(given.thread_id)
    if thread.is_stopped:
        return
    thread.session.pause()
    thread.asked = "pause"


def goto_targets(client: Client, desk: Desk, given: GotoTargetsArguments) -> Body:
    """The rule at a line, where it is one that could answer the record in view."""
    thread = client.foremost()
    session = thread.session
    if not thread.is_stopped or session.at is not None or not session.view.task.is_held:
        return {"targets": []}
    place, span = place_at_line(
        session.view.edition.rules, source_file(client, given.source), given.line, client.points.root
    )
    name = place.removeprefix("on rule ")
    rows: list[Body] = []
    for rule in session.jump_targets():
        if rule.partition("/")[0] == name:
            client.targets.append(rule)
            rows.append({"id": len(client.targets), "label": rule, "line": span.line})
    return {"targets": rows}


def goto(client: Client, desk: Desk, given: GotoArguments) -> None:
    """That rule alone will answer the record, when it goes on."""
    thread = client.stopped(given.thread_id)
    session = thread.session
    if not 1 <= given.target_id <= len(client.targets):
        raise ConfigError(f"target {given.target_id} is none; gotoTargets gives those that there are")
    rule = client.targets[given.target_id - 1]
    if session.at is not None or not session.view.task.is_held or rule not in session.jump_targets():
        raise ConfigError(f"{session.view.task.type} ({session.view.id}) cannot be answered by {rule}")
    thread.target = rule
    text = f"{rule} alone will answer {session.view.task.type} ({session.view.id})"
    client.after(lambda: client.has_stopped(thread, {"reason": "goto", "description": text, "text": text}))


# -- the past ----------------------------------------------------------------------------------


def step_back(client: Client, desk: Desk, given: ThreadArguments) -> None:
    thread = client.stopped(given.thread_id)
    thread.session.back()
    _moment(client, thread)


def reverse_continue(client: Client, desk: Desk, given: ThreadArguments) -> None:
    thread = client.stopped(given.thread_id)
    thread.session.back(to_hit=True)
    _moment(client, thread)


def _moment(client: Client, thread: Thread) -> None:
    at = thread.session.at
    text = f"(past) entry {at}" if at is not None else "now"
    client.refresh(thread)
    client.after(lambda: client.has_stopped(thread, {"reason": "step", "description": text, "text": text}))


# -- changes -----------------------------------------------------------------------------------


def set_variable(client: Client, desk: Desk, given: SetVariableArguments) -> Body:
    """A value of what is held; it takes effect, and is written down, when that goes on."""
    shown = client.values[given.variables_reference]
    thread, place = client.frame(shown.owner)
    if shown.path is None or place != 0:
        raise ConfigError(f'"{given.name}" cannot be changed: only body and result of what is held now can')
    path = f"{shown.path}{given.name if given.name.startswith('[') else f'.{given.name}'}"
    value = value_of(given.value)
    thread.session.set(path, value)
    client.values.change(given.variables_reference, given.name, value)
    if client.supports_invalidated:
        client.after(lambda: client.event("invalidated", {"areas": ["variables"], "threadId": thread.number}))
    return client.values.body(value, shown.owner, path)


def restart_frame(client: Client, desk: Desk, given: FrameArguments) -> None:
    """Tries a failure again, in its place, by a new record."""
    thread, place = client.frame(given.frame_id)
    if place != 0:
        raise ConfigError("a call is not entered again; the failure in view can be tried again")
    thread.session.retry()
    client.goes_on(thread, "step")
    client.after(lambda: client.has_gone_on(thread))
