"""Zones of the IANA database: from instants to what clocks on the wall show, and back.

Instants are seconds since 1970, UTC. What a clock shows is a `datetime`
without a zone. Twice a year in many zones the clocks change: what they show
is then skipped, or comes twice; a `Change` says when that is, and by how much.
Nothing here knows of schedules; `then.core.schedule` calls.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import attrs

from then.core.errors import UnknownName, nearest

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  What a clock shows has no zone.
SECOND: Final = timedelta(seconds=1)

FIRST_S: Final = -62_000_000_000
"""Early in year 5; earlier times are taken for this one. A day and more from what `datetime` can hold."""
LAST_S: Final = 253_300_000_000
"""Late in 9996; there is nothing after it."""

_HERE_ONLY: Final = frozenset(("localtime", "posixrules", "Factory"))
"""Files of some databases that mean another zone on another machine."""


@attrs.frozen
class Change:
    """The clocks of a zone change, near a reading that they skip or show twice."""

    at_s: int
    """The first instant with the offset `after_s`."""
    before_s: int
    """What clocks show less UTC, until then."""
    after_s: int

    @property
    def skipped_s(self) -> int:
        """How much is skipped; negative: how much comes twice."""
        return self.after_s - self.before_s

    @property
    def jumps_from(self) -> datetime:
        """What the clocks would show at the change, had it not been."""
        return shown(self.at_s + self.before_s)

    @property
    def jumps_to(self) -> datetime:
        """What they show at the change."""
        return shown(self.at_s + self.after_s)


@functools.lru_cache(maxsize=1_000)
def zone(name: str) -> tzinfo:
    """The zone of a name such as `Europe/Rome`; `UTC` needs no database.

    Raises:
        UnknownName: the database of this machine, or of the package `tzdata`, has none of this name.
    """
    if name == "UTC":
        return UTC
    # 2 ms that a run without schedules does not have to spend.
    from zoneinfo import ZoneInfo, available_timezones

    if name not in _HERE_ONLY and not name.startswith(("right/", "posix/")):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            # A folder of zones is an OSError, a path out of the database a ValueError.
            pass
    known = sorted(available_timezones() - _HERE_ONLY)
    place = name.replace(" ", "_").lower()
    found = name if len(name) <= 60 else name[:59] + "…"
    for other in known:
        if other.lower() == place or other.lower().endswith("/" + place):
            raise UnknownName("zone", found, hint=f' (did you mean "{other}"?)')
    raise UnknownName("zone", found, hint=nearest(found, known) or ' (zones have names such as "Europe/Rome")')


def shown(local_s: int) -> datetime:
    """Seconds since 1970 of a clock on the wall, as what it shows."""
    return EPOCH + timedelta(seconds=local_s)


def offset_s(where: tzinfo, at_s: int) -> int:
    """What clocks there show less UTC, at an instant."""
    offset = datetime.fromtimestamp(at_s, where).utcoffset()
    assert offset is not None
    return offset // SECOND


def instants(where: tzinfo, reading: datetime) -> tuple[int, int]:
    """When clocks there show this: (first, second), equal where they do once.

    For a reading that is skipped the two are in the wrong order: the offset of before the change
    gives an instant after it, and the other way round.
    """
    # A zone can be asked for the offset of a reading that is not marked as its own, which saves two copies.
    first = where.utcoffset(reading)
    second = where.utcoffset(reading.replace(fold=1))
    assert first is not None
    assert second is not None
    local_s = (reading - EPOCH) // SECOND
    if first == second:
        at_s = local_s - first // SECOND
        return at_s, at_s
    return local_s - first // SECOND, local_s - second // SECOND


def change_at(where: tzinfo, reading: datetime) -> Change | None:
    """The change that skips this reading, or has it shown twice; None for an ordinary one.

    Cost: a bisection of the hours around a change, some 10 µs; 1 µs elsewhere.
    """
    if where is UTC:
        return None
    first, second = instants(where, reading)
    if first == second:
        return None
    # The zone database can be asked for offsets only, not for its changes.
    low, high = min(first, second), max(first, second)
    before, after = offset_s(where, low), offset_s(where, high)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_s(where, middle) == before:
            low = middle
        else:
            high = middle
    return Change(high, before, after)
