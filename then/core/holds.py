"""Breakpoints as a state has them, and the records that they hold: cells beside those of `then.core.state`.

What a breakpoint asks for is known by its text alone (`Breakpoint.text`); what
is kept here is what happened to it: its setting, its hits, whether it is on.
Who decides about hits is `then.core.holding`.

Invariants:
1. `number` grows with every change of the set: the version of the breakpoints.
2. A hold is there as long as its record is live; one that was released is kept,
   so that the record is not held at that place again.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import msgspec

from then.core import facts as f
from then.core.tasks import Body, Json, Task


class Point(msgspec.Struct, array_like=True, gc=False):
    """A breakpoint that is set."""

    name: str
    text: str
    number: int
    """The version of the breakpoints that its setting made; those added by hand are in this order."""
    set_at: int
    version: str | None = None
    """The rules version that brought it; null: it was added by hand."""
    flow: str | None = None
    due: int | None = None
    """When it expires."""
    by: str = ""
    is_on: bool = True
    hits: int = 0
    """Since its setting."""
    last_hit: int | None = None
    unsaid: int = 0
    """How often its condition could not be said."""
    why_unsaid: str = ""
    """Of the last time."""


class Hold(msgspec.Struct, array_like=True, gc=False):
    """A stop at a breakpoint."""

    id: str
    """The record's."""
    flow: str
    breakpoint: str
    place: str
    """`before`, `after`, `rule` and its name, or `step`, its number, `at` and its line."""
    since: int
    hit: int
    """The number of the hit, counted from the setting."""
    shown: dict[str, Json] = {}
    is_released: bool = False

    @property
    def is_before(self) -> bool:
        """Whether it holds what would start; else what would be matched."""
        return self.place == "before"

    @property
    def step(self) -> int | None:
        """The step of a script before which it holds that."""
        word, _, rest = self.place.partition(" ")
        return int(rest.partition(" ")[0]) if word == "step" else None

    def is_at(self, place: str) -> bool:
        """Whether it holds there: `before`, `after` (what has ended, be it on a rule), or a certain step."""
        own = "after" if self.place.startswith("rule ") else self.place
        return own == place


class Answers(msgspec.Struct, array_like=True, gc=False):
    """Of an open fork that starts nothing: what its tasks are answered with."""

    flow: str
    answers: dict[str, f.Recorded]
    """Those that are left, by the record of the origin, in their order."""
    stubs: dict[str, Body]
    asked: dict[str, str] = {}
    """Those that were answered, or wait for a person; of one born in the fork, as which record of the origin it ended."""
    newest: str = ""
    """The last that the fork began with: the answers know it by its id."""


_decode_point = msgspec.msgpack.Decoder(Point).decode
_decode_hold = msgspec.msgpack.Decoder(Hold).decode
_decode_answers = msgspec.msgpack.Decoder(Answers).decode
KINDS = ("break", "hold", "fork")


@attrs.define
class Holds:
    """The breakpoints of a state, by name, its holds, by record, and its forks that start nothing, by flow."""

    points: dict[str, Point] = attrs.field(factory=dict)
    stops: dict[str, Hold] = attrs.field(factory=dict)
    forks: dict[str, Answers] = attrs.field(factory=dict)
    number: int = 0
    may_expire: bool = False
    """Whether a breakpoint ever was set that expires: asked of each turn."""

    @property
    def is_any_on(self) -> bool:
        return any(point.is_on for point in self.points.values())

    def set(self, fact: f.BreakSet, time: int) -> None:
        """A breakpoint is set, in the place of one of its name; its count begins."""
        self.number += 1
        self.may_expire |= fact.due is not None
        self.points.pop(fact.name, None)
        self.points[fact.name] = Point(
            fact.name, fact.text, self.number, time, fact.version, fact.flow, fact.due, fact.by
        )

    def remove(self, name: str) -> None:
        if self.points.pop(name, None) is not None:
            self.number += 1

    def switch(self, name: str, is_on: bool) -> None:
        point = self.points.get(name)
        if point is not None:
            self.number += 1
            point.is_on = is_on

    def hit(self, fact: f.Hit, flow: str, time: int) -> None:
        """A record met a breakpoint, which may be gone."""
        point = self.points.get(fact.name)
        if point is not None and fact.unsaid is not None:
            point.unsaid += 1
            point.why_unsaid = fact.unsaid
        elif point is not None:
            point.hits += 1
            point.last_hit = time
            if fact.is_last:
                self.switch(fact.name, False)
        if fact.stops:
            hits = point.hits if point is not None else 1
            self.stops[fact.id] = Hold(fact.id, flow, fact.name, fact.place, time, hits, fact.shown)

    def release(self, id: str) -> None:
        hold = self.stops.get(id)
        if hold is not None:
            hold.is_released = True

    def holding(self, task: Task) -> Hold | None:
        """The stop that holds a record now; None where a guard does, or nothing."""
        hold = self.stops.get(task.id)
        return hold if hold is not None and task.is_held and not hold.is_released else None

    def at_step(self, id: str) -> bool:
        """Whether a script is held before a step."""
        hold = self.stops.get(id)
        return hold is not None and hold.step is not None and not hold.is_released

    def held_by(self, name: str) -> list[Hold]:
        """What a breakpoint holds now."""
        return [hold for hold in self.stops.values() if hold.breakpoint == name and not hold.is_released]

    # -- cells

    def cell(self, kind: str, key: str) -> object:
        """The value of a cell; None where there is none."""
        if kind == "fork":
            return self.forks.get(key)
        return self.points.get(key) if kind == "break" else self.stops.get(key)

    def load(self, kind: str, rows: Iterable[tuple[str, bytes]]) -> None:
        """Takes up the cells of a kind."""
        if kind == "break":
            found = [_decode_point(data) for _, data in rows]
            self.may_expire = any(point.due is not None for point in found)
            self.points.update((point.name, point) for point in sorted(found, key=lambda point: point.number))
        elif kind == "hold":
            self.stops.update((key, _decode_hold(data)) for key, data in rows)
        else:
            self.forks.update((key, _decode_answers(data)) for key, data in rows)
