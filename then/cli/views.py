"""Which view a run gets: JSON, the live tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from then.abc import Mask
from then.cli.lines import JsonLines, PlainLines, View
from then.cli.settings import Settings, is_terminal


@contextlib.contextmanager
def open_view(settings: Settings, put: Callable[[str], None], mask: Mask) -> Iterator[View]:
    """The view for standard output, which is the view's alone while it is open.

    What functions of tasks print meanwhile is given to `put` in whole lines; with JSON it goes to standard error.
    Neither there nor here it shows what the mask knows.
    """
    out = sys.stdout
    with contextlib.ExitStack() as undo:
        if settings.is_json:
            alone = undo.enter_context(_private(out))
            undo.enter_context(contextlib.redirect_stdout(_Masked(sys.stdout, mask)))
            undo.enter_context(contextlib.redirect_stderr(_Masked(sys.stderr, mask)))
            yield JsonLines(alone)
            return
        lines = _Lines(put, mask)
        undo.enter_context(contextlib.redirect_stdout(lines))
        if is_terminal(out) and os.environ.get("TERM") != "dumb":
            from then.cli.tree import LiveTree

            undo.enter_context(contextlib.redirect_stderr(lines))
            yield LiveTree(
                out, sys.__stderr__ or out, settings.folder, settings.again, mask, has_color=settings.has_color(out)
            )
            return
        undo.enter_context(contextlib.redirect_stderr(_Masked(sys.stderr, mask)))
        yield PlainLines(out, settings.folder, settings.again, mask, has_color=False)


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
    """Takes what is printed and hands on whole lines, masked."""

    def __init__(self, put: Callable[[str], None], mask: Mask) -> None:
        self._put = put
        self._mask = mask
        self._stream = mask.stream()
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        shown = text
        if not self._mask.is_empty:
            # A value of several lines is found before it falls into lines.
            shown = self._stream.feed(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")
        *lines, self._rest = (self._rest + shown).split("\n")
        for line in lines:
            self._put(line)
        return len(text)


class _Masked:
    """A stream whose texts are masked as they are written; all else is the stream's own."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask

    def write(self, text: str) -> int:
        self._stream.write(self._mask.text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
