"""A terminal as far as `andthen` needs one: what is written moves a cursor over rows of text."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 180.0
"""A hang is a failure; no test waits for a time to pass."""
_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Picture:
    """Rows of text and a cursor; rows that scrolled away are kept."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.lines: list[str] = [""]
        self._row = 0
        self._column = 0
        self._rest = ""

    def write(self, text: str) -> None:
        """Takes what was written; an escape that is cut in two waits for its end."""
        text, self._rest = self._rest + text, ""
        tail = text.rfind("\x1b")
        if tail >= 0 and not re.match(r"\x1b\[[0-9;?]*[A-Za-z]", text[tail:]):
            text, self._rest = text[:tail], text[tail:]
        at = 0
        while at < len(text):
            part = _PART.match(text, at)
            assert part is not None, f"a terminal is told {text[at : at + 20]!r}"
            at = part.end()
            self._do(*part.groups())

    def _do(self, number: str | None, order: str | None, end: str | None, words: str | None) -> None:
        if order == "A":
            first = max(0, len(self.lines) - self.rows)
            self._row = max(first, self._row - int(number or 1))
        elif order == "K":
            self.lines[self._row] = self.lines[self._row][: self._column]
        elif order == "J":
            self.lines[self._row] = self.lines[self._row][: self._column]
            del self.lines[self._row + 1 :]
        elif order == "m":
            pass
        elif end == "\r":
            self._column = 0
        elif end == "\n":
            self._down()
        elif words is not None:
            for character in words:
                self._put(character)
        else:
            raise AssertionError((number, order))

    def _down(self) -> None:
        self._row += 1
        self._column = 0
        if self._row == len(self.lines):
            self.lines.append("")

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._down()
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)


class Terminal:
    """An `andthen` at a terminal of a given size."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 90, rows: int = 24, **environment: str) -> None:
        self.picture = Picture(columns, rows)
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "then", *arguments],
            cwd=folder,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8", **environment},
        )
        os.close(its)
        self.raw = b""

    def look_until(self, is_there: Callable[[str], object]) -> str:
        """What is to be seen, as soon as it is so; the test fails when the program ends before."""
        end = time.monotonic() + PATIENCE_S
        while not is_there(self.picture.text):
            assert time.monotonic() < end, f"not to be seen in {PATIENCE_S} s:\n{self.picture.text}"
            assert self._read(), f"it ended with {self.process.wait()}, and this to be seen:\n{self.picture.text}"
        return self.picture.text

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Waits for its end. Gives the exit code."""
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE_S)
        assert ready, f"nothing new in {PATIENCE_S} s:\n{self.picture.text}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Its end of the terminal was closed.
            return False
        self.raw += data
        self.picture.write(data.decode(errors="replace"))
        return bool(data)
