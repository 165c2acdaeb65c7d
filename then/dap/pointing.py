"""Requests that set breakpoints."""

from __future__ import annotations

from then.core.errors import ConfigError, ThenError
from then.core.tasks import Body
from then.dap.arguments import (
    DataBreakpointInfoArguments,
    SetBreakpointsArguments,
    SetDataBreakpointsArguments,
    SetExceptionBreakpointsArguments,
    SetFunctionBreakpointsArguments,
)
from then.dap.client import Client, Thread
from then.dap.desk import Desk
from then.dap.looking import source_file
from then.dap.points import FILTERS, Wanted


def set_breakpoints(client: Client, desk: Desk, given: SetBreakpointsArguments) -> Body:
    file = source_file(client, given.source)
    wanted = [
        Wanted(
            "breakpoint", file, one.line, condition=one.condition or "", hits=one.hit_condition or "",
            prints=one.log_message or None,
        )
        for one in given.breakpoints
    ]  # fmt: skip
    rows = client.points.replace(f"file {file}", wanted)
    for row, one in zip(rows, given.breakpoints, strict=True):
        row.setdefault("line", one.line)
        row["source"] = {"path": file}
    return {"breakpoints": rows}


def set_function_breakpoints(client: Client, desk: Desk, given: SetFunctionBreakpointsArguments) -> Body:
    wanted = [
        Wanted("function breakpoint", text=one.name, condition=one.condition or "", hits=one.hit_condition or "")
        for one in given.breakpoints
    ]
    return {"breakpoints": client.points.replace("functions", wanted)}


def set_exception_breakpoints(client: Client, desk: Desk, given: SetExceptionBreakpointsArguments) -> Body:
    asked = [(name, "") for name in given.filters]
    asked += [(one.filter_id, one.condition or "") for one in given.filter_options]
    unknown = [name for name, _ in asked if name not in FILTERS]
    if unknown:
        raise ConfigError(f'filter "{unknown[0]}" is none of {", ".join(FILTERS)}')
    wanted = [
        Wanted("exception", text=place, condition=condition)
        for name, condition in asked
        if (place := FILTERS[name][2]) is not None
    ]
    rows = iter(client.points.replace("exceptions", wanted))
    catches = [(name, condition) for name, condition in asked if FILTERS[name][2] is None]
    client.points.catches = [name for name, condition in catches if not condition]
    for thread in client.threads.values():
        if not client.is_read_only:
            _catch(client, thread)
    found = []
    for name, condition in asked:
        if FILTERS[name][2] is not None:
            found.append(next(rows))
        elif condition:
            found.append({"verified": False, "message": f'"{name}" takes no condition'})
        else:
            found.append({"verified": True})
    return {"breakpoints": found}


def _catch(client: Client, thread: Thread) -> None:
    own = thread.session.own
    for what in list(own.catches):
        if what not in client.points.catches:
            own.forget(what)
    for what in client.points.catches:
        own.catch(what)


def data_breakpoint_info(client: Client, desk: Desk, given: DataBreakpointInfoArguments) -> Body:
    """Only variables of the flow are watched."""
    if given.variables_reference:
        shown = client.values[given.variables_reference]
        thread, _ = client.frame(shown.owner)
        if shown.value != thread.session.view.variables:
            return {"dataId": None, "description": f"{given.name} is no variable of the flow: only those are watched"}
    else:
        thread = client.frame(given.frame_id)[0] if given.frame_id is not None else client.foremost()
    name = given.name.removeprefix("flow.")
    return {
        "dataId": f"{thread.flow}/{name}", "description": f"flow.{name}", "accessTypes": ["write"],
        "canPersist": False,
    }  # fmt: skip


def set_data_breakpoints(client: Client, desk: Desk, given: SetDataBreakpointsArguments) -> Body:
    if client.is_read_only:
        raise ConfigError("this is only looked at: nothing stops there")
    wanted: dict[str, list[str]] = {}
    rows: list[Body] = []
    for one in given.breakpoints:
        flow, _, path = one.data_id.partition("/")
        rows.append(_data_row(client, flow, path, one.access_type, one.condition or one.hit_condition))
        if rows[-1]["verified"]:
            wanted.setdefault(flow, []).append(path)
    for thread in client.threads.values():
        own = thread.session.own
        paths = wanted.get(thread.flow, [])
        for path in [watch.path for watch in own.watches.values() if watch.path not in paths]:
            own.forget(path)
        watched = {watch.path for watch in own.watches.values()}
        for path in paths:
            if path not in watched:
                own.watch(path, thread.session.view)
    return {"breakpoints": rows}


def _data_row(client: Client, flow: str, path: str, access: str | None, condition: str | None) -> Body:
    wrong = None
    if flow not in client.threads:
        wrong = f"flow {flow} is not followed here"
    elif access not in (None, "write"):
        wrong = f'access "{access}": only writes are seen'
    elif condition:
        wrong = "a watched variable takes no condition"
    else:
        try:
            client.threads[flow].session.view.value(f"flow.{path}")
        except ThenError as error:
            wrong = str(error)
    return {"verified": wrong is None, **({"message": wrong} if wrong is not None else {})}
