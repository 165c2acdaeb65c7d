"""The debugger from a shell: a flow to look at, commands from files or a person, and an exit code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from then.app.engine import Engine
from then.app.posting import posts_of
from then.app.rules import Rules
from then.cli.settings import Settings, say, who
from then.cli.values import read_body, read_words
from then.core.errors import ConfigError
from then.debugger.access import Access, to_engine, to_past, to_running
from then.debugger.beginning import cancel_all, flow_of, set_entry
from then.debugger.console import Console
from then.debugger.session import Session, Stop, looking_back
from then.debugger.terminal import Terminal, lines_of

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
    scripts = [lines_of(file) for file in files]
    rules = Rules().load(path)
    for finding in rules.findings:
        say(finding.text())
    if type is not None and "=" in type:
        words, type = (type, *words), None
    fields = read_body(body)
    texts, values = read_words(words)
    posts = posts_of(rules.edition, type, texts, {**fields, **values}, path)
    is_private = not (settings.state or os.environ.get("THEN_STATE"))
    with Engine(rules, None if is_private else settings.folder) as engine:
        for notice in engine.notices:
            say(notice)
        name = set_entry(engine, posts[0][0], who())
        flows = [engine.post_record(posted, body_).id for posted, body_ in posts]
        session = Session(to_engine(engine), flows[0], who())
        try:
            stop = session.wait()
            engine.breakpoints.remove(name)
            return _talk(settings, session, stop, scripts, is_batch=is_batch)
        finally:
            if is_private:
                cancel_all(engine)


def attach(settings: Settings, flow: str | None, files: Sequence[str], *, is_batch: bool) -> int:
    """A session at a flow of the engine that runs. Gives the exit code."""
    scripts = [lines_of(file) for file in files]
    access = to_running(settings.folder)
    with contextlib.closing(access):
        id = flow_of(access, flow)
        session = Session(access, id, who())
        return _talk(settings, session, session.wait(0.0), scripts, is_batch=is_batch)


def look_back(settings: Settings, flow: str, files: Sequence[str], *, is_batch: bool) -> int:
    """A flow of a state, at its end or before, read-only. Gives the exit code."""
    scripts = [lines_of(file) for file in files]
    access = to_past(settings.folder)
    with contextlib.closing(access):
        id = access.history().find(flow)[1] if flow else _last_failed(access)
        session = Session(access, id)
        return _talk(settings, session, looking_back(session.view), scripts, is_batch=is_batch)


def _last_failed(access: Access) -> str:
    """The flow that failed last.

    Raises:
        ConfigError: none did; with those that there are.
    """
    flows = list(access.history().flows())
    failed = [flow for flow in flows if flow.outcome == "failed"]
    if not failed:
        known = ", ".join(f"{flow.id} ({flow.type}, {flow.outcome or flow.state})" for flow in flows[-5:])
        raise ConfigError(f"--post-mortem: no flow failed here; give the id of one: {known or 'there is none'}")
    return max(failed, key=lambda flow: flow.ended or 0).id


def _talk(
    settings: Settings, session: Session, stop: Stop | None, scripts: Sequence[list[str]], *, is_batch: bool
) -> int:
    console = Console(session)
    terminal = Terminal(console, is_json=settings.is_json, is_batch=is_batch)
    try:
        terminal.follow(stop, scripts)
    finally:
        console.close()
    return terminal.exit_code or _outcome(console.session)


def _outcome(session: Session) -> int:
    flow = session.access.history().flow(session.flow).flow
    if flow.outcome is not None:
        return OK if flow.outcome == "done" else FAILED
    return OK
