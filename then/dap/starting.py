"""Requests that begin and end a session: who asks, which flows, and when they may go."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from then.app.engine import Engine
from then.app.posting import posts_of
from then.app.rules import Rules
from then.core.errors import ConfigError, ProtocolError, ThenError
from then.core.tasks import Body
from then.dap.arguments import Arguments, AttachArguments, DisconnectArguments, InitializeArguments, LaunchArguments
from then.dap.client import Client, Thread
from then.dap.desk import Desk
from then.dap.following import THREADS_MAX, Follower
from then.dap.points import FILTERS
from then.debugger.access import Access, to_engine, to_look_at, to_past, to_running
from then.debugger.beginning import cancel_all, flow_of, set_entry
from then.debugger.session import looking_back

CAPABILITIES: Final = {
    "supportsConfigurationDoneRequest": True,
    "supportsFunctionBreakpoints": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsEvaluateForHovers": True,
    "supportsStepBack": True,
    "supportsSetVariable": True,
    "supportsGotoTargetsRequest": True,
    "supportsRestartFrame": True,
    "supportsCompletionsRequest": True,
    "supportsExceptionInfoRequest": True,
    "supportTerminateDebuggee": True,
    "supportsDelayedStackTraceLoading": True,
    "supportsLogPoints": True,
    "supportsTerminateRequest": True,
    "supportsDataBreakpoints": True,
    "supportsBreakpointLocationsRequest": True,
    "supportsClipboardContext": True,
    "supportsExceptionFilterOptions": True,
    "supportsSingleThreadExecutionRequests": True,
}


def initialize(client: Client, desk: Desk, given: InitializeArguments) -> Body:
    if client.is_initialized:
        raise ProtocolError('request "initialize" was answered before; a connection takes one')
    client.is_initialized = True
    client.supports_invalidated = given.supports_invalidated_event
    client.starts_debugging = given.supports_start_debugging_request
    client.counts_from(1 if given.lines_start_at1 else 0, 1 if given.columns_start_at1 else 0)
    client.after(lambda: client.event("initialized"))
    filters = [
        {"filter": name, "label": label, "description": says, "default": name == "failed",
         "supportsCondition": place is not None}
        for name, (label, says, place) in FILTERS.items()
    ]  # fmt: skip
    return CAPABILITIES | {"exceptionBreakpointFilters": filters}


def launch(client: Client, desk: Desk, given: LaunchArguments) -> None:
    """An engine of its own, and a flow in it. Nothing runs before `configurationDone`."""
    _check_new(client, desk, given.token)
    if given.clock != "real":
        raise ConfigError(f'clock "{given.clock}": there is "real" alone; `andthen test` has a clock of its own')
    path = given.path or desk.path
    if path is None:
        raise ConfigError('launch what? "path" names a file of rules, "post" what is posted')
    rules = Rules().load(path)
    posts = posts_of(rules.edition, given.posted or desk.type, {}, given.body or {}, path)
    state = given.state or desk.private_state
    engine = Engine(rules, state)
    flows: list[str] = []

    def leave(ends: bool | None) -> None:
        if state is None:
            cancel_all(engine)
        elif ends:
            for flow in flows:
                with contextlib.suppress(ThenError):
                    engine.cancel(engine.flow(flow))
        if desk.shared is engine:
            desk.share(None)
        engine.close(wait=False)

    for notice in engine.notices:
        client.say(notice)
    for finding in rules.findings:
        client.say(finding.text(), "important")
    client.access, client.leave = to_engine(engine), leave
    desk.share(engine)
    client.points.are_on = not given.no_debug
    client.points.open(client.access, engine.editions[engine.loop.look(lambda state: state.version)], None)

    def begin() -> None:
        entry = None if given.no_debug else set_entry(engine, posts[0][0], client.who)
        follower = Follower(client, takes_all=True, entry=entry)
        for type, body in posts:
            flows.append(engine.post_record(type, body).id)
            thread = client.follow(flows[-1], is_ours=True)
            thread.asked = "entry" if given.stop_on_entry and len(flows) == 1 else ""
            if not given.no_debug:
                _catch(client, thread)
        _started(client, follower)

    desk.begin = begin
    _begin_where_ready(client, desk)


def attach(client: Client, desk: Desk, given: AttachArguments) -> None:
    """Flows of an engine that runs; or one that is only looked at."""
    _check_new(client, desk, given.token)
    access = _access_of(desk, given)
    client.access = access
    client.leave = lambda ends: _detach(client, access, ends is True)
    flow = flow_of(access, given.flow) if given.flow is not None or given.read_only else None
    history = access.history()
    version = history.flow(flow).flow.version if flow is not None else history.state.version
    client.is_read_only = given.read_only
    client.points.are_on = not given.read_only
    client.points.open(access, access.editions[version], flow)

    def begin() -> None:
        if given.read_only:
            assert flow is not None
            _look_back(client, flow)
            return
        follower = Follower(client, takes_all=flow is None)
        for id in [flow] if flow is not None else _open_flows(access):
            thread = client.follow(id, is_ours=flow is not None)
            _catch(client, thread)
        _started(client, follower)

    desk.begin = begin
    _begin_where_ready(client, desk)


def configuration_done(client: Client, desk: Desk, given: Arguments) -> None:
    client.is_configured = True
    _begin_where_ready(client, desk)


def disconnect(client: Client, desk: Desk, given: DisconnectArguments) -> None:
    leave(client, given.terminate_debuggee)
    client.after(client.terminate)
    client.after(desk.hang_up)


def terminate(client: Client, desk: Desk, given: Arguments) -> None:
    """Cancels the flows; those that were launched, or the one that was attached to."""
    if client.access is None or client.is_read_only:
        client.after(client.terminate)
        return
    for thread in list(client.threads.values()):
        if thread.is_ours:
            client.access.call("cancel", id=thread.flow)
    if not any(thread.is_ours for thread in client.threads.values()):
        client.after(client.terminate)


def leave(client: Client, ends: bool | None = None) -> None:
    """The client goes: its breakpoints go too, what is held stays held. Twice is well."""
    access, client.access = client.access, None
    if access is None:
        return
    if client.follower is not None:
        client.follower.stop()
    for thread in client.threads.values():
        with contextlib.suppress(ThenError):
            thread.console.close()
    client.points.clear()
    client.leave(ends)
    client.threads.clear()


# -- what these share --------------------------------------------------------------------------


def _check_new(client: Client, desk: Desk, token: str | None) -> None:
    desk.check(token)
    if client.access is not None or desk.begin is not None:
        raise ConfigError("this session has begun: one launch or attach is all it takes")


def _access_of(desk: Desk, given: AttachArguments) -> Access:
    shared = desk.shared
    if shared is not None and given.state is None:
        return to_look_at(shared) if given.read_only else to_engine(shared)
    folder = Path(given.state) if given.state is not None else desk.folder
    return to_past(folder) if given.read_only else to_running(folder)


def _detach(client: Client, access: Access, ends: bool) -> None:
    if ends:
        for thread in client.threads.values():
            if thread.is_ours:
                with contextlib.suppress(ThenError):
                    access.call("cancel", id=thread.flow)
    access.close()


def _begin_where_ready(client: Client, desk: Desk) -> None:
    """Both were asked for, in whichever order: it begins, after what is asked now was answered."""
    if client.is_configured and desk.begin is not None and not client.has_begun:
        client.has_begun = True
        client.after(desk.begin)


def _started(client: Client, follower: Follower) -> None:
    client.follower = follower
    follower.start()


def _catch(client: Client, thread: Thread) -> None:
    for what in client.points.catches:
        thread.session.own.catch(what)


def _open_flows(access: Access) -> list[str]:
    """Those that are open, what is held first."""
    state = access.history().state
    held = {hold.flow for hold in state.holds.stops.values() if not hold.is_released}
    return sorted(state.flows, key=lambda id: id not in held)[:THREADS_MAX]


def _look_back(client: Client, flow: str) -> None:
    thread = client.follow(flow, is_ours=True)
    session = thread.session
    session.stop = looking_back(session.view)
    text = session.stop.text
    client.has_stopped(thread, {"reason": "entry", "description": text, "text": text})
