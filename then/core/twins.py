"""Twins: records of one type and key, of which one runs and the others end with its result.

`idempotent by`: the first that lives runs, later ones are parked. When it is
done, so are they, and whoever comes within the retention; when it ends
otherwise the oldest that is parked takes its place. Ids only: results are kept
where records are, and what ends is ended by the engine, which tells of it here.

Invariants:
1. Of one key at most one record runs: the first. A key with parked ones has a first that lives.
2. A key whose first is done has nothing parked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import attrs

from then.core.claims import key_text
from then.core.tasks import Json, Outcome


def twin_key(type: str, value: Json) -> str:
    """The key of a record: the same for one type and values that are equal as JSON."""
    return f"{type} {key_text(value)}"  # No type has a space in it.


class Joined(NamedTuple):
    """What a record that is not the first of its key joins."""

    first: str
    is_done: bool
    """It ends at once, with the first's result; else it is parked."""


class After(NamedTuple):
    """What the end of a record brings to others of its key."""

    joining: tuple[str, ...] = ()
    """End as `done`, with its result; oldest first."""
    successor: str | None = None
    """Was parked, and takes its place: it waits for its start from now on."""


@attrs.define
class _Key:
    first: str
    is_done: bool = False
    parked: OrderedDict[str, None] = attrs.field(factory=OrderedDict)


class Twins:
    """Who is the first of each key, and who waits for it.

    Cost: of each call, the same however many there are; of an end that is `done`, grows with those that join it.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}
        self._key_of: dict[str, str] = {}

    def add(self, id: str, key: str) -> Joined | None:
        """A record was born, or is found after a restart. None: it is the first of its key, and runs.

        After a restart those that ended `done` and are kept come first (`keep`), then the firsts, then the parked
        ones, each in order of their ids.
        """
        assert id not in self._key_of
        known = self._keys.get(key)
        if known is None:
            self._keys[key] = _Key(id)
            self._key_of[id] = key
            return None
        if not known.is_done:
            known.parked[id] = None
            self._key_of[id] = key
        return Joined(known.first, known.is_done)

    def keep(self, id: str, key: str) -> None:
        """A record that ended `done` before the restart, and whose result is kept."""
        assert key not in self._keys
        self._keys[key] = _Key(id, is_done=True)
        self._key_of[id] = key

    def ended(self, id: str, outcome: Outcome) -> After:
        """A record that was added is settled. One that never was brings nothing, nor does one that was parked."""
        key = self._key_of.get(id)
        if key is None:
            return After()
        known = self._keys[key]
        if id != known.first:
            del known.parked[id], self._key_of[id]
            return After()
        if known.is_done:
            return After()
        if outcome == "done":
            known.is_done = True
            joining = tuple(known.parked)
            known.parked.clear()
            for other in joining:
                del self._key_of[other]
            return After(joining)
        del self._key_of[id]
        if not known.parked:
            del self._keys[key]
            return After()
        known.first, _ = known.parked.popitem(last=False)
        return After(successor=known.first)

    def replace(self, id: str, attempt: str) -> None:
        """The next attempt of the first takes its place, where the failed one was not settled. A parked one has none."""
        key = self._key_of.pop(id)
        known = self._keys[key]
        assert known.first == id
        known.first = attempt
        self._key_of[attempt] = key

    def drop(self, ids: Iterable[str]) -> None:
        """The results of these records are kept no more: the next of their keys runs. Others are passed over."""
        for id in ids:
            key = self._key_of.get(id)
            if key is not None and self._keys[key].is_done:
                del self._keys[key], self._key_of[id]

    def first_of(self, id: str) -> str | None:
        """Whom a parked record waits for; None where it is not parked."""
        key = self._key_of.get(id)
        if key is None or self._keys[key].first == id:
            return None
        return self._keys[key].first
