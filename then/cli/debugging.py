"""The debugger from a shell: a flow to look at, commands from files or a person, and an exit code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from then.app.engine import Engine
from then.app.posting import posts_of
from then.app.rules import Rules
from then.cli.breaking import who
from then.cli.settings import Settings, say
from then.cli.values import read_body, read_words
from then.cli.working import load
from then.core.errors import ConfigError, ThenError
from then.debugger.access import Access, to_engine, to_past, to_running
from then.debugger.console import Console
from then.debugger.session import Session, Stop
from then.debugger.terminal import Terminal

ENTRY: Final = "debug_entry"
OK, FAILED = 0, 1


def begin(
    settings: Settings,
    path: str,
    type: str | None,
    words: Sequence[str],
    body: str | None,
    files: Sequence[str],
    *,
    is_batch: bool,
) -> int:
    """A record is posted and held at once. Gives the exit code."""
    rules = load(path)
    if type is not None and "=" in type:
        words, type = (type, *words), None
    fields = read_body(body)
    texts, values = read_words(words)
    posts = posts_of(rules.edition, type, texts, {**fields, **values}, path)
    is_private = not (settings.state or os.environ.get("THEN_STATE"))
    with Engine(rules, None if is_private else settings.folder) as engine:
        for notice in engine.notices:
            say(notice)
        name = _set_entry(engine, rules, posts[0][0])
        flows = [engine.post_record(posted, body_).id for posted, body_ in posts]
        session = Session(to_engine(engine), flows[0], who())
        try:
            stop = session.wait()
            engine.breakpoints.remove(name)
            return _talk(settings, session, stop, files, is_batch=is_batch)
        finally:
            if is_private:
                # Nobody could ever go on with it.
                for flow in flows:
                    with contextlib.suppress(ThenError):
                        engine.cancel(engine.flow(flow))


def _set_entry(engine: Engine, rules: Rules, type: str) -> str:
    """Holds the next record of a type."""
    taken = {point.name for point in engine.breakpoints.list()}
    name, number = ENTRY, 1
    while name in taken:
        number += 1
        name = f"{ENTRY}_{number}"
    is_started = type in rules.set.tasks or type in rules.set.procedures
    engine.breakpoints.add(name, f"{'before' if is_started else 'after'} {type} once", who=who())
    return name


def attach(settings: Settings, flow: str | None, files: Sequence[str], *, is_batch: bool) -> int:
    """A session at a flow of the engine that runs. Gives the exit code."""
    access = to_running(settings.folder)
    with contextlib.closing(access):
        id = _flow_of(access, flow)
        session = Session(access, id, who())
        return _talk(settings, session, session.wait(0.0), files, is_batch=is_batch)


def _flow_of(access: Access, given: str | None) -> str:
    """The flow that is meant: by the beginning of an id of it; else one that is held, or the only one."""
    history = access.history()
    if given is not None:
        return history.find(given)[1]
    open_flows = list(history.state.flows.values())
    held = {hold.flow for hold in history.state.holds.stops.values() if not hold.is_released}
    found = [one.id for one in open_flows if one.id in held] or [one.id for one in open_flows]
    if len(found) != 1:
        what = "no flow is open here" if not found else f"which flow? {', '.join(found[:5])}"
        raise ConfigError(f"{what}; `andthen flows` lists them")
    return found[0]


def look_back(settings: Settings, flow: str, files: Sequence[str], *, is_batch: bool) -> int:
    """A flow of a state, at its end or before, read-only. Gives the exit code."""
    access = to_past(settings.folder)
    with contextlib.closing(access):
        id = access.history().find(flow)[1]
        session = Session(access, id)
        over = session.view.flow.flow
        stop = Stop("ended", f"flow {id} {over.outcome or over.state}, {over.records} records", id, session.view.id)
        return _talk(settings, session, stop, files, is_batch=is_batch)


def _talk(settings: Settings, session: Session, stop: Stop | None, files: Sequence[str], *, is_batch: bool) -> int:
    terminal = Terminal(Console(session), is_json=settings.is_json, is_batch=is_batch)
    try:
        terminal.follow(stop, [Path(file) for file in files])
    finally:
        session.own.clear()  # What is held stays held.
    return terminal.exit_code or _outcome(session)


def _outcome(session: Session) -> int:
    flow = session.access.history().flow(session.flow).flow
    if flow.outcome is not None:
        return OK if flow.outcome == "done" else FAILED
    return OK
