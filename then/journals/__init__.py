"""The journals: ordered entries and named cells, in memory and in SQLite.

The seam is `then.abc.Journal`, its law `tests/seams/journal_suite.py`, its
promises to operators `docs/journal.md`. Names here are found on first use, so
that nobody pays for SQLite who keeps no state; typed code imports them from
their modules.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "MemoryJournal": "then.journals.memory",
    "SqliteJournal": "then.journals.sqlite",
    "open_memory": "then.journals.memory",
    "open_sqlite": "then.journals.sqlite",
}

__all__ = ["MemoryJournal", "SqliteJournal", "open_memory", "open_sqlite"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
