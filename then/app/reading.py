"""A journal read beside its engine, or after it: what `ps`, `flows`, `show` and `log` look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from then.abc import Journal
from then.analysis.history import History
from then.app.editions import Editions
from then.app.rules import Rules


class Reading:
    """A state folder that is looked at. Nothing in it is changed."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder = folder
        self.journal = journal

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

    def running(self) -> dict[str, int | None] | None:
        """What the engine that lives here runs: since when, in microseconds, by id; None where none lives."""
        from then.app.client import connect

        client = connect(self.folder)
        if client is None:
            return None
        with client:
            found: dict[str, int | None] = client.call("running")
            return found


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
