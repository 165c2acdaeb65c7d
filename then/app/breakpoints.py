"""`engine.breakpoints`: those that are set, added to and taken away while flows run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import attrs
from msgspec.structs import replace

from then.app.generators import source_hash
from then.core.causes import DropBreakpoint, SetBreakpoint, SwitchBreakpoint
from then.core.declarations import Breakpoint
from then.core.edition import Edition
from then.core.errors import RuleError, UnknownName
from then.core.holds import Hold, Point
from then.core.it import Expression, where_of
from then.core.rules import RuleSet
from then.core.source import Span
from then.core.spans import TimeSpan, span_us
from then.core.state import State
from then.core.tasks import Task, check_name
from then.loop import Loop


def breakpoint_of(edition: Edition, text: str) -> Breakpoint | None:
    """What a breakpoint that was added by hand means for flows under these rules; None where they do not know its names."""
    from then.language.breakpoints import read_breakpoint

    try:
        return read_breakpoint(text, edition.rules)
    except RuleError:
        return None


class PointOptions(NamedTuple):
    """What a breakpoint in Python says beside its place and its clause."""

    from_hit: int = 1
    once: bool = False
    expires: TimeSpan | None = None
    show: tuple[str, ...] = ()
    prints: str | None = None


def place_of(
    before: str | None,
    after: str | Sequence[str] | None,
    on_rule: str | None,
    on_step: str | Sequence[str] | None,
    span: Span | None,
) -> str:
    """The place as the language writes it.

    Raises:
        RuleError: none is given, or several are.
    """
    from then.language.phrases import text_literal

    if sum(place is not None for place in (before, after, on_rule, on_step)) != 1:
        raise RuleError("a breakpoint needs one place: before=TASK, after=TASK, on_rule=RULE or on_step=TASK", span)
    if before is not None:
        return f"before {before}"
    if on_step is not None:
        script, *lines = (on_step,) if isinstance(on_step, str) else on_step
        if len(lines) > 1:
            raise RuleError('on_step takes a task and one line of its script: ("fan", "fan.py:7")', span)
        return f"on step of {script}" + "".join(f" at {text_literal(line, is_template=False)}" for line in lines)
    if after is None:
        return f"on rule {on_rule}"
    family, *words = (after,) if isinstance(after, str) else after
    return f"after {family} {' or '.join(word.replace('_', ' ') for word in words)}".rstrip()


def point_of(
    rules: RuleSet,
    name: str,
    place: str,
    where: Expression | Callable[[Task], bool] | None,
    options: PointOptions,
    span: Span | None,
) -> Breakpoint:
    """A breakpoint that was written in Python.

    Raises:
        RuleError: it is not right; what is wrong with its text has the place in Python.
    """
    from then.language.breakpoints import read_breakpoint
    from then.language.phrases import Phrases, Unprintable, text_literal
    from then.language.rule_texts import span_text
    from then.language.scope import Scope, Shape

    check_name(name, "breakpoint")
    clause = where_of([where]) if where is not None else None
    shown = ""
    if clause is not None:
        try:
            shown = f" where {Phrases(Scope('clause', {}, Shape('this', is_loose=True))).text(clause)}"
        except Unprintable:
            shown = f" where {_code(where)}"
    rest = f" from hit {options.from_hit}" if options.from_hit != 1 else ""
    rest += " once" if options.once else ""
    rest += f" show {', '.join(options.show)}" if options.show else ""
    prints = f" print {text_literal(options.prints, is_template=False)}" if options.prints is not None else ""
    if prints and (rest or options.expires is not None):
        raise RuleError(f'logpoint "{name}" never stops: from_hit, once, expires and show belong to a breakpoint', span)
    word = "logpoint" if prints else "breakpoint"
    try:
        point = read_breakpoint(f"{word} {name} {place}{rest}{prints}", rules, is_strict=False)
    except RuleError as error:
        raise RuleError(str(error), span) from error
    expires_us = span_us(options.expires, "expires") if options.expires is not None else None
    # Python says it again in its text, by which a change of it is known.
    text = f"{word} {name} {place}{shown}{rest}{f' expires {span_text(expires_us)}' if expires_us else ''}{prints}"
    return attrs.evolve(point, where=clause, expires_us=expires_us, text=text, span=span)


def _code(where: Expression | Callable[[Task], bool] | None) -> str:
    """By what a change of it is known."""
    return repr(where) if where is None or isinstance(where, Expression) else source_hash(where)


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

    def __init__(self, loop: Loop, editions: Mapping[str, Edition], root: Path) -> None:
        self._loop = loop
        self._editions = editions
        self._root = root
        """Where scripts are found."""

    def add(
        self,
        name: str,
        place: str,
        *,
        prints: str | None = None,
        flow: str | None = None,
        who: str = "",
        replaces: bool = False,
    ) -> SetPoint:
        """Sets one; it meets every record that starts or ends after this returns.

        Args:
            place: what follows `breakpoint NAME` in the language: `"before pay where amount > 500 from hit 3"`.
            prints: it never stops, and prints this text: a logpoint.
            flow: the id of the one open flow that it is for.
            who: sets it.
            replaces: one of this name that was added makes room for it; hits are counted anew.

        Raises:
            RulesRefused: the text, or a name in it, is not right, with the column.
            RuleError: it is for a line of a script at which no step stands.
            ConfigError: there is one of this name, or no such open flow.
        """
        from then.app.script_files import never_stops
        from then.language.breakpoints import read_breakpoint
        from then.language.phrases import text_literal

        check_name(name, "breakpoint")
        text = f"breakpoint {name} {place}"
        if prints is not None:
            text = f"logpoint {name} {place} print {text_literal(prints, is_template=False)}"
        version = self._loop.look(lambda state: of.version if (of := state.flows.get(flow)) else state.version)
        rules = self._editions[version].rules
        point = read_breakpoint(text, rules)
        if (why := never_stops(point, rules, self._root)) is not None:
            raise RuleError(f'breakpoint "{name}" would never stop: {why}')
        self._loop.ask(SetBreakpoint(point.name, text, flow, point.expires_us, who, replaces))
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
