"""A turn of the loop: causes that share a step, and what was stepped and waits for its commit."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

import msgspec

from then.abc import Cell, Entry, Executor
from then.core import facts as f
from then.core.causes import Cause, Order, Report, Reports
from then.core.state import State
from then.waiting import Ticket

Brought: TypeAlias = tuple[Cause, Ticket | None, Executor | None]
"""A cause, who waits for its answer, and the executor that keeps a report until it is durable."""
DELAY_S: Final = 0.002
"""How long a commit may be put off while there is other work: bounds what a crash runs again."""
KEPT_DELAY_S: Final = 0.008
"""The same where executors keep all of it until it is durable: a crash of the engine runs nothing again."""
STAND_INS: Final = 2
"""After so many delays the committer makes a commit that nobody made: later than who put it off would."""
REPORTS_MAX: Final = 128
"""How many reports share a step at most: they share a row of the journal, and are decided in one go."""


class Batch(msgspec.Struct):
    """What was stepped and is not durable yet. A Struct, since one is made for each commit: 0.4 µs against 1.5.

    In the collector's books: frames of the error that its commit fails with know it, and its tickets know the error.
    """

    entries: list[Entry] = []
    pages: list[f.Page] = []
    gated: list[Order] = []
    tickets: list[Ticket] = []
    reported: list[tuple[Executor, str]] = []
    cells: tuple[Cell, ...] = ()
    """The checkpoint that goes with it."""
    lenient: int = 0
    """How many of `gated` a script asked for that goes on, and may ask for more: they may wait for that."""
    is_kept: bool = True
    """All of it came of reports that an executor keeps until they are durable."""
    began: float = 0.0
    """When its first step was, by the monotonic clock."""
    notes: tuple[Cell, ...] = ()
    """Other cells that go with it: the text of a rules version."""

    @property
    def delay_s(self) -> float:
        """How long its commit may be put off."""
        return KEPT_DELAY_S if self.is_kept else DELAY_S


def changed_cells(state: State) -> tuple[Cell, ...]:
    """What a checkpoint writes; there may be a hundred thousand, so that what they are made of is let go meanwhile."""
    changed = state.cells()
    changed.reverse()
    return tuple(Cell(*changed.pop()) for _ in range(len(changed)))


def together(inbox: deque[Brought]) -> Brought:
    """The next of the inbox, with those behind it that can share its step: reports of one executor."""
    cause, ticket, executor = inbox.popleft()
    if ticket is not None or (type(cause) is not Report and type(cause) is not Reports):
        return cause, ticket, executor
    found: list[Report] = [cause] if type(cause) is Report else [*cause.reports]  # type: ignore[union-attr]
    while inbox and len(found) < REPORTS_MAX:
        cause, ticket, other = inbox[0]
        kind = type(cause)
        if ticket is not None or other is not executor or (kind is not Report and kind is not Reports):
            break
        if kind is Report:
            found.append(cause)  # type: ignore[arg-type]
        else:
            found.extend(cause.reports)  # type: ignore[union-attr]
        inbox.popleft()
    return found[0] if len(found) == 1 else Reports(found), None, executor
