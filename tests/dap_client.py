"""A client of the Debug Adapter Protocol, for tests: on a pair of sockets, in this process."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from then.dap.conversation import converse
from then.dap.desk import Desk, Served
from then.dap.link import Link

PATIENCE_S: Final = 180.0
"""How long a message is waited for before a test fails; nothing depends on how long it takes."""


class Refused(Exception):
    """A request was answered with an error."""


class DapClient:
    """One connection; all that came is kept in order."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.seen: list[dict[str, Any]] = []
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._seq = 0
        self._unread: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        file = self.link.makefile("rb")
        try:
            while header := file.readline():
                length = int(header.split(b":")[1])
                file.readline()
                self._inbox.put(msgspec.json.decode(file.read(length)))
        except (OSError, ValueError):
            pass
        self._inbox.put(None)

    def send(self, command: str, **arguments: Any) -> int:
        self._seq += 1
        text = msgspec.json.encode({"seq": self._seq, "type": "request", "command": command, "arguments": arguments})
        self.link.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        return self._seq

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of the response."""
        return self.answer(self.send(command, **arguments))

    def answer(self, seq: int) -> dict[str, Any]:
        """
        Raises:
            Refused: it is an error.
        """
        found = self.until(lambda one: one["type"] == "response" and one["request_seq"] == seq)
        if not found["success"]:
            raise Refused(found["message"])
        body: dict[str, Any] = found.get("body", {})
        return body

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """The body of the next event of a name, with these fields in it."""
        found = self.until(
            lambda one: (
                one["type"] == "event"
                and one["event"] == name
                and all(one.get("body", {}).get(key) == value for key, value in fields.items())
            )
        )
        body: dict[str, Any] = found.get("body", {})
        return body

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message of a kind that was not taken yet."""
        for number, one in enumerate(self._unread):
            if is_it(one):
                return self._unread.pop(number)
        while True:
            message = self._inbox.get(timeout=PATIENCE_S)
            assert message is not None, f"the connection ended; it said {self.seen[-3:]}"
            self.seen.append(message)
            if is_it(message):
                return message
            self._unread.append(message)

    def end(self) -> None:
        """All that still comes, until the other end closes."""
        while (message := self._inbox.get(timeout=PATIENCE_S)) is not None:
            self.seen.append(message)
            self._unread.append(message)

    def order(self) -> list[str]:
        """What came, in order: `initialize`, `*initialized`."""
        return [one["command"] if one["type"] == "response" else f"*{one['event']}" for one in self.seen]

    # -- what most tests do --------------------------------------------------------------

    def begin(self, how: str = "launch", *, lines: dict[str, list[dict[str, Any]]] | None = None, **given: Any) -> None:
        """All that comes before the flow goes."""
        self.request("initialize", adapterID="then")
        self.event("initialized")
        self.request(how, **given)
        for path, points in (lines or {}).items():
            self.request("setBreakpoints", source={"path": path}, breakpoints=points)
        self.request("configurationDone")

    def top(self, thread: int) -> dict[str, Any]:
        """The innermost frame."""
        frame: dict[str, Any] = self.request("stackTrace", threadId=thread)["stackFrames"][0]
        return frame

    def scope(self, frame: int, name: str) -> dict[str, dict[str, Any]]:
        """The variables of a scope, by name."""
        reference = self.scope_number(frame, name)
        rows = self.request("variables", variablesReference=reference)["variables"]
        return {row["name"]: row for row in rows}

    def scope_number(self, frame: int, name: str) -> int:
        scopes = self.request("scopes", frameId=frame)["scopes"]
        number: int = next(one["variablesReference"] for one in scopes if one["name"] == name)
        return number


class Adapter:
    """What clients connect to: one process, as it were."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = Served()
        self.log: list[str] = []
        self.codes: list[int] = []
        self._threads: list[threading.Thread] = []
        self._clients: list[socket.socket] = []

    def connect(self, token: str | None = None) -> DapClient:
        """A client; `token` is what it will have to know."""
        ours, theirs = socket.socketpair()
        link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
        desk = Desk(self.folder / ".then", link.hang_up, self.log.append, self.served, token=token)
        thread = threading.Thread(target=lambda: self.codes.append(converse(link, desk, "ann")), daemon=True)
        thread.start()
        self._threads.append(thread)
        self._clients.append(ours)
        return DapClient(ours)

    def ended(self) -> list[int]:
        """The exit codes of all connections, once all have ended."""
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        return self.codes

    def close(self) -> None:
        for link in self._clients:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.ended()
        for link in self._clients:
            link.close()


@contextmanager
def adapter(folder: Path) -> Iterator[Adapter]:
    found = Adapter(folder)
    try:
        yield found
    finally:
        found.close()
