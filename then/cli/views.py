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


@contextlib.contextmanager
def open_view(settings: Settings, put: Callable[[str], None]) -> Iterator[View]:
    """The view for standard output, which is the view's alone while it is open.

    What functions of tasks print meanwhile is given to `put` in whole lines; with JSON it goes to standard error.
    """
    out = sys.stdout
    with contextlib.ExitStack() as undo:
        if settings.is_json:
            yield JsonLines(undo.enter_context(_private(out)))
            return
        lines = _Lines(put)
        undo.enter_context(contextlib.redirect_stdout(lines))
        if is_terminal(out) and os.environ.get("TERM") != "dumb":
            from then.cli.tree import LiveTree

            undo.enter_context(contextlib.redirect_stderr(lines))
            yield LiveTree(
                out, sys.__stderr__ or out, settings.folder, settings.again, has_color=settings.has_color(out)
            )
            return
        yield PlainLines(out, settings.folder, settings.again, has_color=False)


@contextlib.contextmanager
def _private(out: TextIO) -> Iterator[TextIO]:
    """Standard output for us alone: what else is written there meanwhile, also from C, goes to standard error."""
    out.flush()
    try:
        place = out.fileno()
        ours = os.dup(place)
        os.dup2(sys.stderr.fileno(), place)
    except (OSError, ValueError, io.UnsupportedOperation):
        with contextlib.redirect_stdout(sys.stderr):
            yield out
        return
    try:
        with open(os.dup(ours), "w", encoding="utf-8", errors="backslashreplace") as alone:
            yield alone
    finally:
        sys.stdout.flush()
        os.dup2(ours, place)
        os.close(ours)


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
