"""Breakpoints of one client: what it asks for in lines, names and filters, set as breakpoints of the engine.

They are for all flows, or for the one that was attached to. Until rules are
there, which a client need not wait for, they are noted and not verified.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import attrs

from then.core.edition import Edition
from then.core.errors import ConfigError, RuleError, ThenError
from then.core.tasks import Body
from then.debugger.access import Access
from then.debugger.places import place_at_line, place_of

Kind = Literal["breakpoint", "function breakpoint", "exception"]
FILTERS: Final[dict[str, tuple[str, str, str | None]]] = {
    "failed": ("Failures", "A task failed, or did not end in time.", "after any failed or timed out"),
    "timeout": ("Timeouts", "A task did not end in time.", "after any timed out"),
    "unhandled": ("Failures that nothing takes up", "No rule, caller or retry is for it.", None),
    "no-match": ("Records that no rule is for", "A record ended, and nothing fired on it.", None),
}
"""Title, description and place of what may be stopped on; without a place the session looks at each stop itself."""
SHOWN_MAX: Final = 200
"""Characters of what a client wrote that a message repeats."""
_HITS: Final = re.compile(r"(>=|>|==|=|)\s*(\d{1,9})")


@attrs.frozen
class Wanted:
    """What a client asks for."""

    kind: Kind
    file: str = ""
    line: int = 0
    text: str = ""
    """A place, or a task's name."""
    condition: str = ""
    hits: str = ""
    prints: str | None = None


@attrs.define(eq=False)
class Point:
    """One that a client asked for."""

    id: int
    wanted: Wanted
    name: str | None = None
    """Under which it is set; None where it is not."""
    line: int | None = None
    wrong: str | None = "no rules are loaded yet"


class Points:
    """Those of one client.

    Args:
        event: tells the client of something.
    """

    def __init__(self, who: str, event: Callable[[str, Body], None]) -> None:
        self._who = who
        self._event = event
        self._prefix = f"dap_{os.getpid()}_{secrets.token_hex(2)}"
        self._groups: dict[str, list[Point]] = {}
        """By source, or by what kind they are."""
        self._last = 0
        self._access: Access | None = None
        self.edition: Edition | None = None
        self._flow: str | None = None
        self.root = Path()
        """The project's, where its files are found."""
        self.catches: list[str] = []
        """Filters that each session sets for itself."""
        self.are_on = True

    def open(self, access: Access, edition: Edition, flow: str | None) -> None:
        """Rules are there: what was asked for before is set now, and the client told."""
        self._access, self.edition, self._flow = access, edition, flow
        self.root = access.root(edition.version)
        for point in self._all():
            self._set(point)
            self._event("breakpoint", {"reason": "changed", "breakpoint": self._body(point)})

    def replace(self, group: str, wanted: list[Wanted]) -> list[Body]:
        """Sets those of a group, in the place of what was asked for before; what stays as it is keeps its count."""
        before = self._groups.get(group, [])
        kept: list[Point] = []
        for one in wanted:
            same = next((point for point in before if point.wanted == one), None)
            if same is not None:
                before.remove(same)
                kept.append(same)
                continue
            self._last += 1
            kept.append(Point(self._last, one))
        for point in before:
            self._remove(point)
        self._groups[group] = kept
        for point in kept:
            if point.name is None:
                self._set(point)
        return [self._body(point) for point in kept]

    def clear(self) -> None:
        """Takes all of them away; what they hold stays held."""
        for point in self._all():
            self._remove(point)
        self._groups.clear()

    def named(self, name: str) -> Point | None:
        """The one that is set under a name."""
        return next((point for point in self._all() if point.name == name), None)

    def ids(self, names: set[str]) -> list[int]:
        """The numbers of those that are set under these names."""
        return [point.id for point in self._all() if point.name in names]

    def is_logpoint(self, name: str) -> bool:
        point = self.named(name)
        return point is not None and point.wanted.prints is not None

    def _all(self) -> list[Point]:
        return [point for points in self._groups.values() for point in points]

    def _set(self, point: Point) -> None:
        access, edition, wanted = self._access, self.edition, point.wanted
        if access is None or edition is None:
            return
        point.wrong = None
        try:
            place = self._place(point, edition)
            _check(place, wanted, edition)
            if not self.are_on:
                return
            name = f"{self._prefix}_{point.id}"
            access.call(
                "break_add", name=name, place=place, prints=wanted.prints, flow=self._flow, who=self._who, mine=True
            )
            point.name = name
        except ThenError as error:
            point.wrong = str(error)

    def _place(self, point: Point, edition: Edition) -> str:
        wanted = point.wanted
        if wanted.file:
            place, span = place_at_line(edition.rules, wanted.file, wanted.line, self.root)
            point.line = span.line
        else:
            place = place_of(edition.rules, wanted.text, root=self.root)
        if wanted.condition:
            head, where, clause = place.partition(" where ")
            place = f"{head} where {f'({clause}) and ' if where else ''}({wanted.condition})"
        return f"{place}{_hits(wanted.hits)}"

    def _remove(self, point: Point) -> None:
        if point.name is not None and self._access is not None:
            try:
                self._access.call("break_rm", name=point.name)
            except ThenError:
                pass  # Somebody took it away, or the engine has gone.
        point.name = None

    def _body(self, point: Point) -> Body:
        body: Body = {"id": point.id, "verified": point.wrong is None}
        if point.wrong is not None:
            body["message"] = point.wrong
        if point.line is not None:
            body["line"] = point.line
        return body


def _check(place: str, wanted: Wanted, edition: Edition) -> None:
    """Nothing, where a breakpoint may stand there.

    Raises:
        ConfigError: what is wrong with it, and in which column of what the client wrote.
    """
    from then.language.breakpoints import read_breakpoint
    from then.language.phrases import text_literal

    head, tail = "breakpoint look ", ""
    if wanted.prints is not None:
        head, tail = "logpoint look ", f" print {text_literal(wanted.prints, is_template=False)}"
    try:
        read_breakpoint(f"{head}{place}{tail}", edition.rules)
    except RuleError as error:
        column = error.span.column - len(head) if error.span is not None else 0
        written, begin = wanted.condition or wanted.text, place.find(wanted.condition or wanted.text)
        if wanted.prints is not None and column > len(place):
            written, begin = wanted.prints, len(f'{place} print "')
        at = column - begin if begin >= 0 else 0
        # What stands behind a condition is ours.
        message = (
            error.message.replace('found ")"; here must', "the text ends; here must")
            if at > len(written)
            else error.message
        )
        said = written if len(written) <= SHOWN_MAX else f"{written[:SHOWN_MAX]}…"
        raise ConfigError(
            f"{said or place}: {f'column {min(at, len(written) + 1)}: ' if at > 0 else ''}{message}"
        ) from error


def _hits(text: str) -> str:
    """`5`, `>=5`, `>5` as the language says it.

    Raises:
        ConfigError: it is something else.
    """
    if not text.strip():
        return ""
    found = _HITS.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f'hits "{text}": write 5 for the fifth alone, >=5 for it and all later ones')
    sign, number = found[1], int(found[2])
    if sign == ">":
        return f" from hit {number + 1}"
    return f" from hit {max(number, 1)}" + ("" if sign == ">=" else " once")
