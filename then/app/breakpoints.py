"""`engine.breakpoints`: those that are set, added to and taken away while flows run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
from msgspec.structs import replace

from then.core.causes import DropBreakpoint, SetBreakpoint, SwitchBreakpoint
from then.core.declarations import Breakpoint
from then.core.edition import Edition
from then.core.errors import RuleError, UnknownName
from then.core.holds import Hold, Point
from then.core.state import State
from then.core.tasks import check_name
from then.loop import Loop


def breakpoint_of(edition: Edition, text: str) -> Breakpoint | None:
    """What a breakpoint that was added by hand means for flows under these rules; None where they do not know its names."""
    from then.language.breakpoints import read_breakpoint

    try:
        return read_breakpoint(text, edition.rules)
    except RuleError:
        return None


@attrs.frozen
class SetPoint:
    """A breakpoint that is set, and what happened to it."""

    point: Point
    holds: tuple[Hold, ...]
    """What it holds now."""

    @property
    def name(self) -> str:
        return self.point.name

    @property
    def text(self) -> str:
        """As the language writes it."""
        return self.point.text

    @property
    def hits(self) -> int:
        """Since its setting."""
        return self.point.hits

    @property
    def is_on(self) -> bool:
        return self.point.is_on


class Breakpoints:
    """The breakpoints of an engine: those of its rules, and those added here."""

    def __init__(self, loop: Loop, editions: Mapping[str, Edition]) -> None:
        self._loop = loop
        self._editions = editions

    def add(
        self, name: str, place: str, *, prints: str | None = None, flow: str | None = None, who: str = ""
    ) -> SetPoint:
        """Sets one; it meets every record that starts or ends after this returns.

        Args:
            place: what follows `breakpoint NAME` in the language: `"before pay where amount > 500 from hit 3"`.
            prints: it never stops, and prints this text: a logpoint.
            flow: the id of the one open flow that it is for.
            who: sets it.

        Raises:
            RulesRefused: the text, or a name in it, is not right, with the column.
            ConfigError: there is one of this name, or no such open flow.
        """
        from then.language.breakpoints import read_breakpoint
        from then.language.phrases import text_literal

        check_name(name, "breakpoint")
        text = f"breakpoint {name} {place}"
        if prints is not None:
            text = f"logpoint {name} {place} print {text_literal(prints, is_template=False)}"
        version = self._loop.look(lambda state: of.version if (of := state.flows.get(flow)) else state.version)
        point = read_breakpoint(text, self._editions[version].rules)
        self._loop.ask(SetBreakpoint(point.name, text, flow, point.expires_us, who))
        return self[name]

    def remove(self, name: str, *, release: bool = False) -> None:
        """Takes one away that was added; what it holds stays held.

        Args:
            release: what it holds goes on.

        Raises:
            UnknownName: there is none of this name.
            ConfigError: it stands in the rules.
        """
        self._loop.ask(DropBreakpoint(name, release))

    def enable(self, name: str) -> None:
        """Switches one on again."""
        self._loop.ask(SwitchBreakpoint(name, True))

    def disable(self, name: str) -> None:
        """Switches one off; what it holds stays held."""
        self._loop.ask(SwitchBreakpoint(name, False))

    def list(self) -> list[SetPoint]:
        """All of them, in the order of their setting."""
        return self._loop.look(_set_points)

    @property
    def held(self) -> dict[str, Hold]:
        """What is held at breakpoints now, by the id of the record."""
        return self._loop.look(
            lambda state: {id: hold for id, hold in state.holds.stops.items() if not hold.is_released}
        )

    def __getitem__(self, name: str) -> SetPoint:
        found = {point.name: point for point in self.list()}
        if name not in found:
            raise UnknownName("breakpoint", name, found)
        return found[name]

    def __iter__(self) -> Iterator[SetPoint]:
        return iter(self.list())


def _set_points(state: State) -> list[SetPoint]:
    holds = state.holds
    # Copies: what is handed out does not change when flows go on.
    return [SetPoint(replace(point), tuple(holds.held_by(name))) for name, point in holds.points.items()]
