"""The debugger on a terminal, or fed from a file: lines are read, replies written. All else is in the console."""

from __future__ import annotations

import cmd
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from then.core.errors import ConfigError, ThenError
from then.debugger.console import Console, Reply, logged_text
from then.debugger.session import Logged, Stop

HISTORY_LINES: Final = 1000


class Terminal(cmd.Cmd):
    """One session of commands.

    Args:
        is_json: one JSON object a stop, and for each command that has something to say.
        is_batch: nothing is read from standard input, and the first command that is refused ends it.
    """

    identchars = cmd.Cmd.identchars + "-"

    def __init__(self, console: Console, *, is_json: bool = False, is_batch: bool = False) -> None:
        super().__init__()
        self._console = console
        self._is_json = is_json
        self._is_batch = is_batch
        self.exit_code = 0
        """Of a batch that was ended by a refusal."""
        console.hears = console.session.hear = self._hear

    # -- the ways in -----------------------------------------------------------------------

    def follow(self, stop: Stop | None, scripts: Iterable[Sequence[str]]) -> None:
        """Shows the first stop, carries out lines of files, then reads what is typed."""
        if stop is not None:
            self._write(self._console.stopped(stop))
        for lines in scripts:
            if self._all_of(lines):
                return
        if self._is_batch:
            return
        if sys.stdin.isatty():
            self._talk()
        else:
            self._all_of(line.rstrip("\n") for line in sys.stdin)

    def _all_of(self, lines: Iterable[str]) -> bool:
        """Carries out lines that nobody types, each shown with what it brings about. Whether the session is over."""
        for line in lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue  # An empty line in a file is for its reader.
            if not self._is_json:
                sys.stdout.write(f"{self.prompt}{line}\n")
            if self.onecmd(line):
                return True
        return False

    def _talk(self) -> None:
        kept = _history_file()
        _read_history(kept)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A job of a script has it ignored from the beginning; here it is a key.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                try:
                    self.cmdloop()
                    return
                except KeyboardInterrupt:
                    sys.stdout.write("\n")
        finally:
            _write_history(kept)

    # -- what `cmd` asks for ---------------------------------------------------------------

    @property
    def prompt(self) -> str:  # type: ignore[override]
        """`(then) `; with the type of the record that is held."""
        if self._console.recording is not None:
            return "> "
        session = self._console.session
        if session.at is not None:
            return "(then:past) "
        held = session.stop is not None and session.stop.id is not None
        return f"(then:{session.view.task.type}) " if held else "(then) "

    def onecmd(self, line: str) -> bool:
        """Carries a line out. Whether the session is over."""
        if line == "EOF":
            sys.stdout.write("\n")
            return True
        source, _, name = line.strip().partition(" ")
        try:
            if source == "source" and name and self._console.recording is None:
                return self._all_of(lines_of(name.strip()))
            reply = self._console.run(line)
        except ThenError as error:
            return self._refused(str(error), error.exit_code)
        except OSError as error:
            return self._refused(f"{line}: {(error.strerror or str(error)).lower()}", 2)
        self._write(reply)
        return reply.is_last or self._all_due()

    def _all_due(self) -> bool:
        """Carries out what is to be done at the stop that was just told. Whether the session is over."""
        while self._console.due:
            line = self._console.due.popleft()
            try:
                reply = self._console.run(line)
            except ThenError as error:
                self._console.due.clear()
                return self._refused(str(error), error.exit_code)
            self._write(reply)
            if reply.is_last:
                return True
        return False

    def emptyline(self) -> bool:
        """Does a step again."""
        return self.onecmd("")

    def completenames(self, text: str, *ignored: object) -> list[str]:
        return self._console.completions(text)

    def completedefault(self, *given: object) -> list[str]:
        line = str(given[1])
        try:
            return self._console.completions(line)
        except ThenError:
            return []

    # -- the way out -----------------------------------------------------------------------

    def _refused(self, text: str, code: int) -> bool:
        if self._is_json:
            self._write(Reply(text, {"refused": text}))
        else:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        self.exit_code = code if self._is_batch else 0
        return self._is_batch

    def _hear(self, one: Logged) -> None:
        self._write(Reply(logged_text(one), {"log": one.text, "breakpoint": one.breakpoint, "id": one.id}))

    def _write(self, reply: Reply) -> None:
        if self._is_json:
            data = reply.data if reply.data is not None else {"text": reply.text} if reply.text else None
            if data is not None:
                sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
        elif reply.text:
            sys.stdout.write(f"{reply.text}\n")
        sys.stdout.flush()


def lines_of(file: str) -> list[str]:
    """The commands in a file.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start + 1} is no UTF-8; commands are text") from error


def _history_file() -> Path:
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder) / "andthen" / "debug_history"


def _read_history(kept: Path) -> None:
    try:
        import readline

        readline.set_history_length(HISTORY_LINES)
        readline.read_history_file(kept)
    except (ImportError, OSError):
        return  # The first time there is none; some Pythons have no readline.


def _write_history(kept: Path) -> None:
    try:
        import readline

        kept.parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(kept)
    except (ImportError, OSError):
        return
