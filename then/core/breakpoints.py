"""Breakpoints found by record: which of them a record meets, at a cost that does not grow with their number.

They are looked up by place and type. What a breakpoint asks besides is tested
on the few that are for the type, since one whose condition cannot be said is
counted, and must be seen for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from then.core.declarations import Breakpoint
from then.core.evaluate import Scope, compile_value
from then.core.operations import truth
from then.core.rules import RETRIED, family_covers
from then.core.tasks import Body, Json, Task
from then.core.values import CannotSay

STRANGERS_MAX: Final = 10_000
"""Types of which it is kept what is set for them: what is posted may have any type."""


class Stop(NamedTuple):
    """A breakpoint, made ready."""

    point: Breakpoint
    clause: Callable[[Scope], Json] | None

    def says(self, scope: Scope) -> bool | CannotSay:
        """Whether its condition is true."""
        return True if self.clause is None else truth(self.clause(scope))

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


class Stops:
    """The breakpoints that the flows of one rules version meet, in their order."""

    def __init__(self, points: Iterable[Breakpoint]) -> None:
        self._order: dict[str, int] = {}
        self._places: dict[str, dict[str, list[Stop]]] = {"before": {}, "after": {}}
        self._found: dict[tuple[str, str], tuple[Stop, ...]] = {}
        self.by_rule: dict[str, list[Stop]] = {}
        """`on rule`: by the name of the rule or step."""
        for point in points:
            self._order[point.name] = len(self._order)
            stop = Stop(point, compile_value(point.where) if point.where is not None else None)
            if point.place == "rule":
                self.by_rule.setdefault(point.rule, []).append(stop)
            else:
                self._places[point.place].setdefault(point.family, []).append(stop)

    def before(self, type: str) -> Sequence[Stop]:
        """Those that may hold a task of this type before its start."""
        return self._of("before", type)

    def after(self, record: Task) -> list[Stop]:
        """Those that may hold a record that has ended so."""
        found = self._of("after", record.type)
        word = RETRIED if not record.settled else ""
        return [
            stop for stop in found if not (words := stop.point.outcomes) or record.outcome in words or word in words
        ]

    def on_rules(self, names: Iterable[str]) -> list[Stop]:
        """Those on any of these rules."""
        return [stop for name in names for stop in self.by_rule.get(name, ())]

    def _of(self, place: str, type: str) -> tuple[Stop, ...]:
        found = self._found.get((place, type))
        if found is None:
            families = self._places[place]
            covering = [stop for family in families if family_covers(family, type) for stop in families[family]]
            found = tuple(sorted(covering, key=lambda stop: self._order[stop.point.name]))
            if len(self._found) < STRANGERS_MAX:
                self._found[place, type] = found
        return found

    def rank(self, stop: Stop) -> int:
        """Its place in the order."""
        return self._order[stop.point.name]
