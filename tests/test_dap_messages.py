"""Messages of the Debug Adapter Protocol: what cannot be read, what is not right in a request, and connections that end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dap_client import Adapter, Refused, adapter
from then.dap.link import BACKLOG_BYTES_MAX, Link
from then.dap.wire import Frames, framed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Adapter]:
    with adapter(tmp_path) as found:
        yield found


def taken(data: bytes, *, cut: int) -> list[str]:
    frames, found = Frames(), []
    for start in range(0, len(data), cut):
        frames.feed(data[start : start + cut])
        while (request := frames.take()) is not None:
            found.append(request.command)
    return found


@pytest.mark.parametrize("cut", [1, 2, 7, 50, 10_000])
def test_requests_are_read_however_the_stream_is_cut(cut: int) -> None:
    one = framed({"seq": 1, "type": "request", "command": "threads"})
    two = b"content-type: x\r\n" + framed({"seq": 2, "type": "request", "command": "pausé", "arguments": None})
    assert taken(one + two + one, cut=cut) == ["threads", "pausé", "threads"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello\n", "is no header"),
        (b"GET / HTTP/1.1\r\n\r\n", "is no header"),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "'POST / HTTP/1.1' is no header"),
        (b"\x00\xff\xfe\r\n\r\n", "is no header"),
        (b"a" * 5000, "is no header"),
        (b"Content-Length: -5\r\n\r\n", "is no header"),
        (b"Content-Length: 5 000\r\n\r\n", "is no header"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "is no header"),
        (b"Content-Length: 16777217\r\n\r\n", "a message of 16,777,217 bytes is announced; 16,777,216 are the most"),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", "is no header"),
        (b"Content-Length: 2\n\n{}", "is no header"),
        (b"Content-Length: 2\r\n\r\n[]", "a message is no request"),
        (b"Content-Length: 0\r\n\r\n", "a message is no request"),
        (b'Content-Length: 4\r\n\r\n"\xff"x', "a message is no request"),
        (b"Content-Length: 40000\r\n\r\n" + b"[" * 40000, "a message is no request"),
        (framed({"seq": 1, "type": "request"}), "a message is no request"),
    ],
)
def test_what_is_no_message_ends_the_connection_and_is_told(desk: Adapter, data: bytes, says: str) -> None:
    client = desk.connect()
    client.link.sendall(data)
    told = client.event("output")
    assert told["category"] == "important"
    assert says in told["output"]
    client.end()
    assert desk.ended() == [2]
    assert says in desk.log[0]


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("setBreakpoints", {}, 'request "setBreakpoints": Object missing required field `source`'),
        ("setBreakpoints", {"source": {}, "breakpoints": [{"line": "x"}]}, "Expected `int`, got `str`"),
        ("stackTrace", {"threadId": "1"}, "Expected `int`, got `str`"),
        ("launch", {}, "launch what?"),
        ("launch", {"path": "nowhere.then"}, "nowhere.then"),
        ("launch", {"path": "x", "clock": "virtual"}, 'clock "virtual"'),
        ("variables", {"variablesReference": 7}, "variables 7 are none"),
        ("evaluate", {"expression": "1"}, "no flow is here yet"),
        ("setExceptionBreakpoints", {"filters": ["all"]}, 'filter "all" is none of failed'),
    ],
)
def test_a_request_that_is_not_right_is_answered_with_what_is_wrong(
    desk: Adapter, command: str, arguments: dict[str, Any], says: str
) -> None:
    client = desk.connect()
    client.request("initialize")
    with pytest.raises(Refused) as error:
        client.request(command, **arguments)
    assert says in str(error.value)


def test_arguments_that_are_no_object_are_refused_and_the_session_goes_on(desk: Adapter) -> None:
    client = desk.connect()
    for arguments in ([1], "x", 7):
        client.link.sendall(framed({"seq": 1, "type": "request", "command": "setBreakpoints", "arguments": arguments}))
        with pytest.raises(Refused, match="Expected `object`, got `"):
            client.answer(1)
    client.request("initialize")


def test_half_of_a_surrogate_pair_is_answered_with_an_error_and_the_session_goes_on(desk: Adapter) -> None:
    # It ended the connection, though it is known where the next message begins.
    client = desk.connect()
    text = rb'{"seq": 1, "type": "request", "command": "evaluate", "arguments": {"expression": "x\ud800"}}'
    client.link.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
    with pytest.raises(Refused, match=r'request "evaluate": half of a surrogate pair'):
        client.answer(1)
    client.request("initialize")


def test_a_second_initialize_is_refused_and_the_session_goes_on(desk: Adapter) -> None:
    client = desk.connect()
    client.request("initialize", linesStartAt1=False)
    client.event("initialized")
    with pytest.raises(Refused, match='"initialize" was answered before'):
        client.request("initialize")
    assert client.request("threads") == {"threads": []}


def test_a_client_that_never_reads_is_given_up_and_holds_nobody_up() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
        for _ in range(BACKLOG_BYTES_MAX // 2**20 + 2):
            link.send(b"x" * 2**20)  # Waits for nobody.
        assert link.is_lost
        assert link.read() == b""
        link.close()


def test_who_hangs_up_after_the_end_writes_to_nobody_else() -> None:
    ours, theirs = socket.socketpair()
    link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
    link.close()
    ours.close()
    others = [one for _ in range(4) for one in socket.socketpair()]  # They get the numbers that became free.
    link.hang_up()
    for one in others:
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(1)
    for one in others:
        one.close()


def test_a_signal_that_is_noted_just_before_reading_hangs_up() -> None:
    ours, theirs = socket.socketpair()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
    try:
        link.hear_signals()
        ours.sendall(b"a request")
        signal.raise_signal(signal.SIGUSR1)
        assert link.read() == b""
    finally:
        link.close()
        signal.signal(signal.SIGUSR1, before)
        ours.close()
    assert signal.set_wakeup_fd(-1) == -1
