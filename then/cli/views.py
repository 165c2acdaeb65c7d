"""Which view a run gets: JSON, the live tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from then.cli.lines import JsonLines, PlainLines, View
from then.cli.settings import Settings, is_terminal


def view_of(settings: Settings) -> View:
    """The view for standard output as it is now."""
    out = sys.stdout
    if settings.is_json:
        return JsonLines(_private(out))
    if is_terminal(out) and os.environ.get("TERM") != "dumb":
        from then.cli.tree import LiveTree

        return LiveTree(out, settings.folder, has_color=settings.has_color(out))
    return PlainLines(out, settings.folder, has_color=False)


def _private(out: TextIO) -> TextIO:
    """Standard output for us alone: what functions of tasks write to it, also from C, goes to standard error."""
    try:
        ours = os.dup(out.fileno())
        out.flush()
        os.dup2(sys.stderr.fileno(), out.fileno())
    except (OSError, ValueError, io.UnsupportedOperation):
        return out
    return open(ours, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115


class _Lines(io.TextIOBase):
    """Takes what is printed and hands on whole lines."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._put(line)
        return len(text)


@contextlib.contextmanager
def prints_caught(view: View, put: Callable[[str], None]) -> Iterator[None]:
    """What functions of tasks print is shown in whole lines: between ours, or above the tree."""
    if isinstance(view, JsonLines):
        yield
        return
    lines = _Lines(put)
    errors = contextlib.nullcontext() if isinstance(view, PlainLines) else contextlib.redirect_stderr(lines)
    with contextlib.redirect_stdout(lines), errors:
        yield
