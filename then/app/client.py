"""The commands' end of the socket of a running engine."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from then.core.errors import JournalError, ThenError
from then.core.tasks import Json

SOCKET: Final = "engine.sock"


class Refused(ThenError):
    """What a running engine refused, in its own words; number and exit code are those of its error."""

    number = "T510"

    def __init__(self, text: str, number: str, exit_code: int) -> None:
        super().__init__(text)
        self.number = number  # type: ignore[misc]
        self.exit_code = exit_code  # type: ignore[misc]


class Client:
    """A connection to the engine of a state folder."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._file = link.makefile("rb")

    def call(self, op: str, **arguments: Json) -> Json:
        """Asks for something and waits for the answer; what it changed is durable then.

        Raises:
            ThenError: the engine refused it.
            JournalError: the engine went away; whether it did it is not known.
        """
        try:
            self._link.sendall(msgspec.json.encode({"op": op, **arguments}) + b"\n")
            line = self._file.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise JournalError("the engine went away before it answered; look by `andthen ps` what came of it")
        answer = msgspec.json.decode(line)
        error = answer.get("error")
        if error is not None:
            raise Refused(error["text"], error["number"], error["exit_code"])
        return answer["ok"]

    def close(self) -> None:
        self._file.close()
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(folder: Path) -> Client | None:
    """A connection to the engine that lives in a state folder; None where none does."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # 108 bytes are the limit for the path of a socket; by the descriptor of its folder it is short.
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            link.connect(f"/proc/self/fd/{at}/{SOCKET}")
        finally:
            os.close(at)
    except OSError:
        link.close()
        return None
    return Client(link)
