"""The past: the state as it was when an entry of the journal had been written, by the folds of every start."""

from __future__ import annotations

from then.abc import Journal
from then.core import facts as f
from then.core.folds import turn
from then.core.state import State


def state_at(journal: Journal, upto: int) -> State:
    """The state that the entries up to one tell. Nothing is changed, and nothing done again.

    What was pruned is not in it: flows that ended long ago.

    Cost: grows with the entries before it.
    """
    state = State()
    for entry in journal.read(0, upto):
        state.seq = entry.seq - 1  # Where entries are missing they were pruned.
        turn(state, f.decode(entry.data))
    return state


def entry_at(journal: Journal, seq: int) -> f.Page:
    """One entry."""
    return next(f.decode(entry.data) for entry in journal.read(seq - 1, seq))
