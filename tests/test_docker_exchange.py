"""Single requests to what may be a Docker engine: what comes on a connection, and what may not be sent on one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from tests.seams.executor_suite import PATIENCE_S
from then.executors.docker.exchange import Exchange
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import Address, open_stream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@attrs.frozen
class Engine:
    """The other side of an exchange, played by the test; who asks waits in a thread."""

    exchange: Exchange
    address: Address
    listener: socket.socket
    pool: ThreadPoolExecutor
    stack: contextlib.ExitStack

    def ask(self) -> Future[tuple[int, bytes]]:
        return self.pool.submit(self.exchange.ask, "GET", "/info")

    def accept(self) -> socket.socket:
        link, _ = self.listener.accept()
        link.settimeout(PATIENCE_S)
        return self.stack.enter_context(link)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    path = str(tmp_path / "socket")
    address = Address(f"unix://{path}", "unix", path, 0)
    # Whoever still asks at the end is let go by the end of the connection.
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE_S)
        exchange = Exchange(address)
        stack.callback(exchange.close)
        yield Engine(exchange, address, listener, pool, stack)


def test_a_connection_is_kept_for_the_next_request(engine: Engine) -> None:
    asked = engine.ask()
    link = engine.accept()
    for text in (b"first", b"again"):
        assert link.recv(4096)
        link.sendall(ANSWER + text)
        assert asked.result() == (200, text)
        if text == b"first":
            asked = engine.ask()


@pytest.mark.parametrize(
    "spoil", [socket.socket.close, lambda link: link.sendall(ANSWER + b"stray")], ids=["ended", "stray"]
)
def test_a_kept_connection_that_ended_or_said_more_is_not_used_again(
    engine: Engine, spoil: Callable[[socket.socket], object]
) -> None:
    asked = engine.ask()
    link = engine.accept()
    assert link.recv(4096)
    link.sendall(ANSWER + b"first")
    assert asked.result() == (200, b"first")
    spoil(link)
    asked = engine.ask()
    other = engine.accept()
    assert other.recv(4096)
    other.sendall(ANSWER + b"other")
    assert asked.result() == (200, b"other")


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"SSH-2.0 200 hello\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 fine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_as_none(engine: Engine, answer: bytes) -> None:
    asked = engine.ask()
    link = engine.accept()
    assert link.recv(4096)
    link.sendall(answer)
    with pytest.raises(Unreachable, match="does not speak HTTP"):
        asked.result(PATIENCE_S)


def test_a_stream_that_begins_with_no_http_is_as_none(engine: Engine) -> None:
    asked = engine.pool.submit(open_stream, engine.address, "1.41", "GET", "/events", {})
    link = engine.accept()
    assert link.recv(4096)
    link.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    with pytest.raises(Unreachable, match="does not speak HTTP"):
        asked.result(PATIENCE_S)


def test_a_stream_that_is_refused_without_a_word_is_told_by_its_status(engine: Engine) -> None:
    asked = engine.pool.submit(open_stream, engine.address, "1.41", "POST", "/containers/../wait", {})
    with engine.accept() as link:
        assert link.recv(4096)
        link.sendall(b"HTTP/1.0 301 Moved Permanently\r\n\r\n")
    with pytest.raises(Refused, match="it answers 301"):
        asked.result(PATIENCE_S)


@pytest.mark.parametrize("name", ["a b", "a\r\nb", "a\x00", "a\x7f", "ä"])
def test_a_path_that_could_end_a_request_is_not_sent(name: str) -> None:
    nowhere = Address("unix:///nowhere", "unix", "/nowhere", 0)
    with pytest.raises(Refused, match="no path of a request"):
        Exchange(nowhere).ask("GET", f"/containers/{name}/json")
    with pytest.raises(Refused, match="no path of a request"):
        open_stream(nowhere, "1.41", "POST", f"/containers/{name}/wait", {})
