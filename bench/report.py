"""Lines of the result table: ours, the other's, their ratio, the bar and the verdict."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.rounds import Sampled

DOCS = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Bar:
    """What a ratio (or a figure) has to be."""

    value: float | None
    """None where only a stretch is set."""
    stretch: float | None = None
    at_most: bool = False
    """The bar is a ceiling."""
    unit: str = "×"

    def verdict(self, ratio: float) -> str:
        if self.stretch is not None and self._holds(ratio, self.stretch):
            return "stretch"
        if self.value is None:
            return "below stretch"
        return "met" if self._holds(ratio, self.value) else "MISSED"

    def _holds(self, ratio: float, bound: float) -> bool:
        return ratio <= bound if self.at_most else ratio >= bound

    def shown(self, bound: float | None) -> str:
        if bound is None:
            return ""
        return f"{'≤' if self.at_most else '≥'} {bound:g}{self.unit}"


@dataclass(frozen=True)
class Line:
    """One comparison of one piece of work."""

    row: str
    """The number of the row, as in docs/performance.md."""
    work: str
    ours: str
    against: str
    """Who is compared with, and what it is."""
    theirs: str
    ratio: float | None
    bar: Bar | None = None
    verdict: str = ""
    rounds: str = ""
    """How many of the rounds counted."""
    note: str = ""


def compare(
    row: str, work: str, ours: Sampled | None, theirs: Sampled | None, *,
    against: str, unit: str, bar: Bar | None = None, note: str = "", absent: str = "peer absent",
    inverse: bool = False,
) -> Line:  # fmt: skip
    """The line that sets one measurement against another of the same rounds.

    Args:
        inverse: the ratio is theirs to ours (how many times quicker we are, where figures are times).
        absent: what the verdict says where the other was not measured.
    """
    shown_ours = quantity(ours.median, unit) if ours else "–"
    shown_theirs = quantity(theirs.median, unit) if theirs else "–"
    line = Line(row, work, shown_ours, against, shown_theirs, None, bar, note=note)
    if ours is None:
        return _replaced(line, verdict="not there yet")
    if theirs is None:
        return _replaced(line, verdict=absent)
    ratio = ours.ratio_to(theirs)
    if inverse:
        ratio = 1 / ratio
    verdict = bar.verdict(ratio) if bar else ""
    if not (ours.is_settled and theirs.is_settled):
        verdict = f"{verdict} (not settled)".strip()
    rounds = ours.rounds if theirs is ours or theirs.is_anchor else f"{ours.rounds}, {theirs.rounds}"
    return _replaced(line, ratio=ratio, verdict=verdict, rounds=rounds)


def figure(row: str, work: str, value: float | None, bar: Bar, *, against: str = "", theirs: str = "",
           ratio: float | None = None, rounds: str = "", note: str = "") -> Line:  # fmt: skip
    """The line of a figure with an absolute bar (memory, seconds)."""
    if value is None:
        return Line(row, work, "–", against, theirs, None, bar, "not there yet", "", note)
    return Line(row, work, quantity(value, bar.unit), against, theirs, ratio, bar, bar.verdict(value), rounds, note)


def _replaced(line: Line, **changes: object) -> Line:
    return Line(**{**line.__dict__, **changes})  # type: ignore[arg-type]


def number(value: float) -> str:
    """Three digits that say something: `12,345`, `0.031`, `4.7`."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    for digits, bound in ((1, 10), (2, 1), (3, 0.1)):
        if abs(value) >= bound:
            return f"{value:.{digits}f}".removesuffix("." + "0" * digits)
    return f"{value:.4f}"


def quantity(value: float, unit: str) -> str:
    return f"{number(value)}{unit}" if unit in ("×", "/s") else f"{number(value)} {unit.strip()}".strip()


# -- print and publish ----------------------------------------------------------

HEAD = ("row", "work", "ours", "against", "theirs", "ratio", "bar", "stretch", "verdict", "rounds")


def cells(line: Line) -> tuple[str, ...]:
    bar = line.bar
    return (
        line.row, line.work, line.ours, line.against, line.theirs,
        "" if line.ratio is None else f"{number(line.ratio)}×",
        bar.shown(bar.value) if bar else "", bar.shown(bar.stretch) if bar else "", line.verdict, line.rounds,
    )  # fmt: skip


def text(lines: Sequence[Line]) -> str:
    """An aligned table for a terminal, notes below it."""
    rows = [HEAD, *(cells(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join((*shown, *(f"  {note}" for note in notes(lines))))


def markdown(lines: Sequence[Line]) -> str:
    rows = [HEAD, ("---",) * len(HEAD), *(cells(line) for line in lines)]
    shown = ["| " + " | ".join(row) + " |" for row in rows]
    found = notes(lines)
    return "\n".join((*shown, *([""] if found else []), *(f"- {note}" for note in found)))


def notes(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(f"{line.row} {line.work}: {line.note}" for line in lines if line.note))


def machine() -> str:
    """What it was measured on, in one line; no name, no path."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def publish(name: str, lines: Sequence[Line], conditions: str, path: Path = DOCS) -> None:
    """Puts a row's table between its two marks in docs/performance.md.

    Raises:
        SystemExit: the page has no such marks.
    """
    begin, end = f"<!-- measured: {name} -->", "<!-- end -->"
    page = path.read_text()
    head, mark, rest = page.partition(begin)
    _, closing, tail = rest.partition(end)
    if not (mark and closing):
        sys.exit(f"docs/{path.name}: no {begin} … {end} to publish into")
    path.write_text(f"{head}{begin}\n\n{markdown(lines)}\n\nMeasured on {conditions}.\n\n{end}{tail}")


def write_json(path: Path, lines: Sequence[Line]) -> None:
    """One object a line, appended."""
    with path.open("a") as file:
        for line in lines:
            file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")


@dataclass
class Findings:
    """What a row found: its lines, and answers that were wrong."""

    lines: list[Line] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
