"""Texts for people: durations, cells of tables, and what a task wrote made safe for a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

LINE_CHARACTERS_MAX: Final = 64 * 1024
"""Longer lines are cut in views; the file has them whole."""

# Everything that a terminal takes for a command: CSI, OSC and the like up to their end, and two-character escapes.
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_COLOR: Final = re.compile(r"\x1b\[[0-9;:]*m")
# Other control characters, and those that turn the direction of what follows; tab and line feed stay.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def duration(seconds: float) -> str:
    """`4 ms`, `2.1 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0.0995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, below, size, small in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size * (60 if size < 3600 else 24) or size == 86400:
            return f"{whole // size} {unit} {whole % size // small} {below}"
    raise AssertionError(seconds)


def clean(text: str) -> str:
    """One line without anything that moves a cursor: escapes are taken out, other control characters shown."""
    text = _ESCAPE.sub("", text)
    return _CONTROL.sub(_escaped, text).replace("\t", " ").replace("\n", " ")


def clean_output(text: str) -> str:
    """Output of a task for a terminal: colours stay, whatever else would move or change it is taken out.

    A carriage return ends a line as it would on a terminal: what it overwrites is dropped.
    """
    lines = []
    for line in text.split("\n"):
        seen = line.rstrip("\r").rpartition("\r")[2]
        kept = "".join(part if _COLOR.fullmatch(part) else _CONTROL.sub(_escaped, part) for part in _parts(seen))
        if len(kept) > LINE_CHARACTERS_MAX:
            kept = f"{kept[:LINE_CHARACTERS_MAX]}… ({len(kept) - LINE_CHARACTERS_MAX} more characters)"
        lines.append(kept + "\x1b[0m" if "\x1b" in kept else kept)
    return "\n".join(lines)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _parts(text: str) -> Iterable[str]:
    """Text and colours in turn; other escapes are left out."""
    at = 0
    for found in _ESCAPE.finditer(text):
        yield text[at : found.start()]
        if _COLOR.fullmatch(found[0]):
            yield found[0]
        at = found.end()
    yield text[at:].replace("\x1b", "\\x1b")


def width(text: str) -> int:
    """Columns that a text takes on a terminal; colours take none."""
    text = _COLOR.sub("", text)
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text in so many columns, its end marked where some is left out. It has no colours."""
    if len(text) <= columns and text.isascii():
        return text
    if width(text) <= columns:
        return text
    left, kept = columns - 1, []
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], columns: int | None) -> Iterable[str]:
    """Rows in columns as wide as their widest cell; the last one is cut to the width of the terminal, if there is one."""
    cells = [tuple(head), *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(width(row[place]) for row in cells) for place in range(len(head))]
    for row in cells:
        line = "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        yield line if columns is None else cut(line, columns)
