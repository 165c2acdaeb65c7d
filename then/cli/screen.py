"""A few lines at the bottom of a terminal that are drawn anew in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TextIO

from then.cli.texts import width

UNKNOWN: Final = (80, 24)


class Screen:
    """Draws lines over those that it drew before. Whoever writes something else clears them first."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._drawn: list[int] = []
        """The widths of the lines that are there, from which their rows follow, also in a window made narrower."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            found = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return UNKNOWN
        return (found.columns or UNKNOWN[0], found.lines or UNKNOWN[1])

    def draw(self, lines: Sequence[str]) -> None:
        """Puts these lines in the place of the ones before; none may be wider than the terminal."""
        text = self._up() + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        self._drawn = [width(line) for line in lines]
        self._out.write(text)
        self._out.flush()

    def leave(self) -> None:
        """What is drawn stays as it is; the next goes below."""
        self._drawn = []

    def clear(self) -> None:
        """Takes away what is drawn."""
        self._out.write(self._up() + "\x1b[J")
        self._out.flush()
        self._drawn = []

    def _up(self) -> str:
        columns = self.size[0]
        rows = sum(max(1, -(-each // columns)) for each in self._drawn)
        # What was typed meanwhile, such as ^C, stands in the row of the cursor.
        return f"\r\x1b[{rows}A" if rows else "\r"
