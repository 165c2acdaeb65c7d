"""A journal read beside its engine, or after it: what `ps`, `flows`, `show` and `log` look at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from then.abc import Journal, Mask
from then.analysis.history import FlowHistory, History, Record
from then.app.editions import Editions
from then.app.rules import Rules
from then.core.errors import ThenError
from then.core.rules import RuleSet
from then.core.tasks import Task
from then.executors.kept import Kept, read_kept


class Running(NamedTuple):
    """What runs of a state."""

    since: dict[str, int | None]
    """Since when, in microseconds, by id."""
    by_engine: bool
    """An engine lives that runs it; else nobody is there to take up what comes of it."""


class Veil(NamedTuple):
    """What is known here of the secrets that a task's output may hold."""

    mask: Mask
    """Has the values of those that the rules of the flow declare, as far as they can be read here."""
    unknown: list[str]
    """Those that the task was given and that cannot be read here: `token (env "TOKEN")`."""


class Frame(NamedTuple):
    """A line of a backtrace: a record, or a call that it runs in."""

    task: Task
    place: str | None
    """File and line of the rule that brought it forth."""
    back: str | None
    """The step that goes on where a call returns."""
    back_place: str | None


class Reading:
    """A state folder that is looked at. Nothing in it is changed."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder = folder
        self.journal = journal
        self._rules: dict[str, RuleSet | None] = {}

    def history(self) -> History:
        """What is durable now; made anew for each question."""
        return History(self.journal)

    def rules(self) -> Rules:
        """The rules last in force.

        Raises:
            ConfigError: there are none, or they were written in a program.
            RulesRefused: they do not load any more.
        """
        return Editions(self.journal).load(self.history().state.version)

    def rules_of(self, history: History, flow: str) -> RuleSet | None:
        """The rules of an open flow, or those in force; None where they do not load here."""
        open_flow = history.state.flows.get(flow)
        version = open_flow.version if open_flow is not None else history.state.version
        if version not in self._rules:
            self._rules[version] = None
            with contextlib.suppress(ThenError):
                self._rules[version] = Editions(self.journal).load(version).set
        return self._rules[version]

    def backtrace(self, record: Record, history: FlowHistory) -> list[Frame]:
        """A record and the calls that it runs in, the innermost first; nothing for a record that is in no call."""
        stack = history.stack(record.task)
        editions = Editions(self.journal)
        found = []
        for task in (record.task, *stack) if stack else ():
            version = history.records[task.id].version or history.flow.version
            chain = history.chains.get(task.cont) if task.cont is not None and task.is_call else None
            back = f"{chain.rule}/{chain.step}" if chain is not None and chain.step else chain.rule if chain else None
            places = [editions.place(version, name) if name is not None else None for name in (task.rule, back)]
            found.append(Frame(task, places[0], back, places[1]))
        return found

    def veil(self, record: Record, history: FlowHistory) -> Veil:
        """What to mask in the output of a record, and what cannot be.

        Variables and files are read; a program is not run and no plugin asked, for to look at something is not to do anything.
        """
        from then.app.secrets import look_up

        mask = Mask()
        unknown: dict[str, None] = {}
        editions = Editions(self.journal)
        for version in {history.flow.version, record.version or history.flow.version}:
            kept = editions.kept(version)
            if kept is None:
                continue
            unread = look_up(kept.secrets, Path(kept.root), mask)
            for name in kept.given.get(record.task.type, ()):
                if name in unread:
                    source, reference = kept.secrets[name]
                    unknown[f'{name} ({source} "{reference}")'] = None
        return Veil(mask, list(unknown))

    def running(self) -> Running:
        """What runs: by the engine that lives here, else by what its keeper has written down."""
        from then.app.client import connect

        client = connect(self.folder)
        if client is None:
            return Running(read_kept(self.folder).running, by_engine=False)
        with client:
            return Running(client.call("running"), by_engine=True)

    def has_engine(self) -> bool:
        """Whether an engine lives here: it listens, or has the lock as one that begins or ends."""
        from then.app.client import connect

        client = connect(self.folder)
        if client is None:
            return _is_locked(self.folder)
        client.close()
        return True

    def kept(self) -> Kept:
        """What the keeper of this folder keeps."""
        return read_kept(self.folder)


def _is_locked(folder: Path) -> bool:
    """Whether somebody has the lock. It is not tried: an engine that comes at this moment must get it."""
    try:
        lock = (folder / "lock").stat()
        rows = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    return any(words[1] == "FLOCK" and place in words for words in map(str.split, rows))


@contextlib.contextmanager
def open_reading(folder: Path) -> Iterator[Reading]:
    """A reading of a state folder.

    Raises:
        ConfigError: it holds no journal.
        JournalError: it cannot be read.
    """
    from then.journals.sqlite import open_sqlite

    journal = open_sqlite(folder, read_only=True)
    try:
        yield Reading(folder, journal)
    finally:
        journal.close()
