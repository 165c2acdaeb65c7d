"""How a flow comes to be debugged: posted and held at its first record, or found among those that are open."""

from __future__ import annotations

import contextlib
from typing import Final

from then.app.engine import Engine
from then.core.errors import ConfigError, ThenError
from then.debugger.access import Access

ENTRY: Final = "debug_entry"


def set_entry(engine: Engine, type: str, who: str) -> str:
    """Holds the next record of a type; gives the breakpoint's name."""
    taken = {point.name for point in engine.breakpoints.list()}
    name, number = ENTRY, 1
    while name in taken:
        number += 1
        name = f"{ENTRY}_{number}"
    rules = engine.rules.set
    is_started = type in rules.tasks or type in rules.procedures
    engine.breakpoints.add(name, f"{'before' if is_started else 'after'} {type} once", who=who)
    return name


def cancel_all(engine: Engine) -> None:
    """Ends what is open in an engine that keeps nothing: with its end nobody could ever go on with it."""
    for flow in engine.loop.look(lambda state: list(state.flows)):
        with contextlib.suppress(ThenError):
            engine.cancel(flow)


def flow_of(access: Access, given: str | None) -> str:
    """The flow that is meant: by the beginning of an id of it; else one that is held, or the only one.

    Raises:
        ConfigError: none is, or several may be.
    """
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
