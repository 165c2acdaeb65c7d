"""Commands to a state: to the engine that lives there, or to one opened for a moment that starts nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final, NamedTuple

from then.app.client import connect
from then.app.commands import OPS, Commands
from then.app.engine import Engine, Opening
from then.core.errors import JournalLocked
from then.core.tasks import Json
from then.journals.opening import find

PATIENCE_S: Final = 5.0
"""An engine that begins or ends has the lock and no socket: it is asked again for so long."""
RETRY_S: Final = 0.05
STOPS_S: Final = 7.0
"""What was told to stop is waited for: its grace of 5 s, and a little."""


class Told(NamedTuple):
    """The answer to a command."""

    answer: Json
    by_engine: bool
    """A running engine gave it; else it is in the journal, for the next one."""
    notices: tuple[str, ...] = ()
    """What was brought about beside: flows that moved to other rules."""


def tell(folder: Path, op: str, **arguments: Json) -> Told:
    """Carries a command out; what it changed is durable when this returns.

    Raises:
        ThenError: it was refused, or the state cannot be opened.
        ConfigError: the folder holds no journal, or no rules.
    """
    may_be_bare = op == "break_add"  # What comes first meets it.
    if not may_be_bare:
        find(folder)
    tries = round(PATIENCE_S / RETRY_S)
    while True:
        client = connect(folder)
        if client is not None:
            with client:
                return Told(client.call(op, **arguments), True)
        try:
            engine = Engine(None, folder, opening=Opening(is_desk=True, may_be_bare=may_be_bare))
        except JournalLocked:
            tries -= 1
            if tries == 0:
                raise
            threading.Event().wait(RETRY_S)
            continue
        with engine:
            answer = OPS[op](Commands(engine), **arguments)
            _wait_for_stops(engine)
            return Told(answer, False, tuple(engine.notices))


def _wait_for_stops(engine: Engine) -> None:
    """Waits for the processes that were told to stop, as far as that goes."""
    moved = threading.Event()
    engine.loop.watchers.append(lambda page: moved.set())
    end = engine.clock.monotonic() + STOPS_S
    while engine.loop.look(lambda state: bool(state.stopping)):
        left = end - engine.clock.monotonic()
        if left <= 0:
            return
        moved.wait(left)
        moved.clear()
