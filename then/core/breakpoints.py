"""Breakpoints found by record: which of them a record meets, at a cost that does not grow with their number.

They are looked up by place and type. Where many are for one type, those that ask
for one value of a field are found by that value. The rest of a condition is tested
on those that were found, since one that cannot be said is counted, and must be
seen for that: where the field is missing, all that ask for it are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from then.core.declarations import Breakpoint
from then.core.evaluate import Scope, compile_value
from then.core.fields import MISSING, Reader, reader
from then.core.filters import Compare, Const, Expr, Field, conjuncts
from then.core.operations import truth
from then.core.rules import RETRIED, family_covers
from then.core.tasks import Body, Json, Task
from then.core.values import CannotSay, kind_of

CROWDED: Final = 16
"""So many for one type are tested one by one."""
STRANGERS_MAX: Final = 10_000
"""Types of which it is kept what is set for them: what is posted may have any type."""


class Stop:
    """A breakpoint, its condition made ready when it is asked for: of many, most are never come to."""

    __slots__ = ("_clause", "point")

    def __init__(self, point: Breakpoint) -> None:
        self.point = point
        self._clause: Callable[[Scope], Json] | None = None

    def says(self, scope: Scope) -> bool | CannotSay:
        """Whether its condition is true."""
        where = self.point.where
        if where is None:
            return True
        clause = self._clause
        if clause is None:
            clause = self._clause = compile_value(where)
        says: bool | CannotSay = truth(clause(scope))
        return says

    def shown(self, scope: Scope) -> Body:
        """What its `show` names, as far as that can be said."""
        values = [(name, compile_value(expr)(scope)) for name, expr in self.point.show]
        return {name: value for name, value in values if not isinstance(value, CannotSay)}

    def printed(self, scope: Scope) -> str | None:
        """What a logpoint says."""
        if self.point.prints is None:
            return None
        value = compile_value(self.point.prints)(scope)
        return f"cannot be said: {value.reason}" if isinstance(value, CannotSay) else str(value)


class Shelf:
    """The breakpoints of one place and type, in order."""

    __slots__ = ("_always", "_keyed", "_rank", "stops")

    def __init__(self, stops: Sequence[Stop]) -> None:
        self.stops = stops
        self._rank = {stop.point.name: number for number, stop in enumerate(stops)}
        self._always: list[Stop] = []
        self._keyed: dict[Reader, tuple[dict[tuple[str, Json], list[Stop]], list[Stop]]] = {}
        for stop in stops:
            asked = _asked(stop.point.where) if len(stops) > CROWDED else None
            if asked is None:
                self._always.append(stop)
                continue
            read, value = asked
            table, every = self._keyed.setdefault(read, ({}, []))
            table.setdefault((kind_of(value), value), []).append(stop)
            every.append(stop)

    def find(self, record: Task) -> Sequence[Stop]:
        """Those whose condition may be true of a record, or cannot be said; never too few."""
        if not self._keyed:
            return self.stops
        found = [*self._always]
        for read, (table, every) in self._keyed.items():
            value = read(record)
            if value is MISSING:
                found += every
            elif (kind := kind_of(value)) in _SCALARS:
                found += table.get((kind, value), ())
        return found if len(found) < 2 else sorted(found, key=lambda stop: self._rank[stop.point.name])


_SCALARS: Final = frozenset(("null", "boolean", "number", "text"))


def _asked(where: Expr | None) -> tuple[Reader, Json] | None:
    """A field, and the one value without which a condition is false; None where it asks for no such."""
    for clause in conjuncts(where) if where is not None else ():
        if (
            isinstance(clause, Compare)
            and clause.op == "=="
            and isinstance(clause.left, Field)
            and clause.left.record is None
            and isinstance(clause.right, Const)
            and kind_of(clause.right.value) in _SCALARS
        ):
            return reader(clause.left.path, clause.left.source), clause.right.value
    return None


class Stops:
    """The breakpoints that the flows of one rules version meet, in their order."""

    def __init__(self, points: Iterable[Breakpoint]) -> None:
        self._order: dict[str, int] = {}
        self._places: dict[str, dict[str, list[Stop]]] = {"before": {}, "after": {}, "step": {}}
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self.by_rule: dict[str, list[Stop]] = {}
        """`on rule`: by the name of the rule or step."""
        for point in points:
            self._order[point.name] = len(self._order)
            stop = Stop(point)
            if point.place == "rule":
                self.by_rule.setdefault(point.rule, []).append(stop)
            else:
                self._places[point.place].setdefault(point.family, []).append(stop)

    def has_before(self, type: str) -> bool:
        """Whether one may hold a task of this type before its start."""
        return bool(self._shelf("before", type).stops)

    def before(self, record: Task) -> Sequence[Stop]:
        """Those that may hold a task before its start."""
        return self._shelf("before", record.type).find(record)

    def after(self, record: Task) -> list[Stop]:
        """Those that may hold a record that has ended so."""
        found = self._shelf("after", record.type).find(record)
        if not found:
            return []
        word = RETRIED if not record.settled else ""
        return [
            stop for stop in found if not (words := stop.point.outcomes) or record.outcome in words or word in words
        ]

    def at_step(self, record: Task, place: str) -> list[Stop]:
        """Those that may hold a script before a step that it takes at this place, `fan.py:7`."""
        lines = [(stop, stop.point.line) for stop in self._shelf("step", record.type).find(record)]
        return [stop for stop, line in lines if not line or place == line or place.endswith(f"/{line}")]

    def on_rules(self, names: Iterable[str]) -> list[Stop]:
        """Those on any of these rules."""
        return [stop for name in names for stop in self.by_rule.get(name, ())]

    def _shelf(self, place: str, type: str) -> Shelf:
        found = self._shelves.get((place, type))
        if found is None:
            families = self._places[place]
            covering = [stop for family in families if family_covers(family, type) for stop in families[family]]
            found = Shelf(sorted(covering, key=self.rank))
            if len(self._shelves) < STRANGERS_MAX:
                self._shelves[place, type] = found
        return found

    def rank(self, stop: Stop) -> int:
        """Its place in the order."""
        return self._order[stop.point.name]
