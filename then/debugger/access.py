"""How a session gets at a flow: commands to its engine, and the journal beside it.

A session changes things by the commands of `then.app.commands` alone, and sees
what the journal tells: so an engine of this process, one behind a socket, and
a state that no engine has are the same to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from then.abc import Journal
from then.analysis.history import History
from then.app.commands import OPS, Commands
from then.app.editions import Editions
from then.app.engine import Engine
from then.core.edition import Edition
from then.core.errors import ConfigError, ThenError
from then.core.tasks import Json
from then.debugger.past import state_at
from then.executors.outputs import Stream, tail


@attrs.frozen
class Access:
    """Commands to an engine, and a reader of its journal."""

    journal: Journal
    editions: Mapping[str, Edition]
    call: Callable[..., Json]
    """Carries out an operation of `then.app.commands.OPS`, given its name and arguments.

    A breakpoint that is `mine` goes when this access ends, be it by a kill.
    """
    close: Callable[[], None]
    written: Callable[[str, Stream, int], list[str]] = attrs.field(default=lambda id, stream, lines: [])
    """The last lines that a task wrote to a stream; none where they are not to be had masked."""
    _now: History = attrs.field(init=False, default=attrs.Factory(lambda self: History(self.journal), takes_self=True))

    def root(self, version: str) -> Path:
        """The root of the project that rules were loaded from."""
        kept = Editions(self.journal).kept(version)
        return Path(kept.root) if kept is not None else Path()

    def history(self, upto: int | None = None) -> History:
        """What is durable now; or what was when an entry of the journal had been written. Its state is not changed."""
        if upto is not None:
            return History(self.journal, state_at(self.journal, upto))
        self._now.read_on()
        return self._now


def to_engine(engine: Engine) -> Access:
    """To an engine of this process."""
    commands = Commands(engine)

    def call(op: str, *, mine: bool = False, **arguments: Json) -> Json:
        return OPS[op](commands, **arguments)  # What is mine ends with this process.

    def written(id: str, stream: Stream, lines: int) -> list[str]:
        return tail(engine._task_folder(), id, lines, stream, engine.secrets.mask)  # noqa: SLF001 (made with its first use)

    return Access(engine.loop.journal, engine.editions, call, lambda: None, written)


def to_running(folder: Path) -> Access:
    """To the engine that lives in a state folder, over its socket.

    Raises:
        ConfigError: none does.
    """
    from then.app.client import connect
    from then.journals.sqlite import open_sqlite

    name = ""

    def call(op: str, *, mine: bool = False, **arguments: Json) -> Json:
        if mine:
            arguments["debugger"] = name
        # A connection each: one that was waited on and interrupted would still have its answer to come.
        client = connect(folder)
        if client is None:
            raise ConfigError(_none_runs(folder))
        with client:
            return client.call(op, **arguments)

    journal = open_sqlite(folder, read_only=True)
    client = connect(folder)
    try:
        if client is None:
            raise ConfigError(_none_runs(folder))
        name = client.call("attach")  # Until this connection ends, somebody is here.
    except ThenError:
        journal.close()
        raise

    def close() -> None:
        client.close()
        journal.close()

    return Access(journal, Editions(journal), call, close)


def _none_runs(folder: Path) -> str:
    return f"no engine runs in {folder}: `andthen resume` starts one, `andthen debug --post-mortem FLOW` looks without"


def to_past(folder: Path) -> Access:
    """To a state folder that is only looked at, whether or not an engine has it.

    Raises:
        ConfigError: it holds no journal.
    """
    from then.journals.sqlite import open_sqlite

    journal = open_sqlite(folder, read_only=True)
    return Access(journal, Editions(journal), _refuse, journal.close)


def to_look_at(engine: Engine) -> Access:
    """To an engine of this process of which nothing is to be changed."""
    return attrs.evolve(to_engine(engine), call=_refuse)


def _refuse(op: str, *, mine: bool = False, **arguments: Json) -> Json:
    raise ConfigError("this is post-mortem, nothing is changed; `andthen attach` goes to a running engine")
