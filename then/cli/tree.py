"""The live tree: what runs, for how long, how it ended, why it failed; drawn in place on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from then.abc import Mask
from then.cli.changes import Change
from then.cli.forest import Forest
from then.cli.lines import flow_line
from then.cli.screen import Screen
from then.core.facts import Flow

DRAW_S: Final = 0.1
"""At most so often it is drawn anew: a person reads no quicker, and drawing takes the engine's time."""
FINAL_ROWS: Final = 100
"""The last picture stays and may scroll."""


class LiveTree:
    """The trees of a run's flows on a terminal."""

    def __init__(
        self, out: TextIO, err: TextIO, folder: Path | None, again: Callable[[str], str], mask: Mask, *, has_color: bool
    ) -> None:
        self._out = out
        self._err = err
        self._has_color = has_color
        self._forest = Forest(folder, again, mask, has_color=has_color, is_plain=not _can_draw(out))
        self._screen = Screen(out)
        self._is_dirty = False
        self._drawn_at = 0.0
        self._is_over = False

    @property
    def patience_s(self) -> float | None:
        if self._is_dirty:
            return max(0.0, self._drawn_at + DRAW_S - time.monotonic())
        return DRAW_S if self._forest.running else None

    def changed(self, change: Change) -> None:
        self._forest.change(change)
        self._is_dirty = True
        if time.monotonic() - self._drawn_at >= DRAW_S:
            self._draw()

    def message(self, text: str) -> None:
        if self._is_over:
            self._say(text)
            return
        self._screen.clear()
        self._say(text)
        self._draw()

    def printed(self, text: str) -> None:
        self._screen.clear()
        self._out.write(text + "\n")
        self._is_dirty = True
        if time.monotonic() - self._drawn_at >= DRAW_S:
            self._draw()

    def tick(self) -> None:
        self._draw()

    def passed(self, flow: Flow, now_us: int) -> None:
        if self._is_over:
            self.ended(flow, now_us)
            return
        self._screen.clear()
        self._screen.draw(self._forest.taken(flow.id, self._screen.size[0], FINAL_ROWS, _now_us()))
        self._screen.leave()
        self._out.write(flow_line(flow, now_us, self._has_color) + "\n")
        self._draw()

    def ended(self, flow: Flow, now_us: int) -> None:
        self._finish()
        self._out.write(flow_line(flow, now_us, self._has_color) + "\n")

    def close(self) -> None:
        self._finish()
        self._out.flush()

    def _say(self, text: str) -> None:
        self._out.flush()
        self._err.write(text + "\n")
        self._err.flush()

    def _draw(self) -> None:
        if self._is_over:
            return
        columns, rows = self._screen.size
        self._screen.draw(self._forest.lines(columns, max(2, rows - 1), _now_us()))
        self._drawn_at = time.monotonic()
        self._is_dirty = False

    def _finish(self) -> None:
        """The last picture: as long as it need be, and for good."""
        if self._is_over:
            return
        self._is_over = True
        self._screen.clear()
        self._screen.draw(self._forest.lines(self._screen.size[0], FINAL_ROWS, _now_us()))
        self._screen.leave()


def _now_us() -> int:
    return time.time_ns() // 1000  # noqa: TID251  # Since when something runs is shown against the clock on the wall.


def _can_draw(out: TextIO) -> bool:
    """Whether the encoding has the signs."""
    try:
        "├✓●‖".encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
