"""Short requests to a Docker engine: an exchange of HTTP/1.1 each, on connections that are kept from one to the next.

A session of the SDK takes four times as long for what each container asks for:
it reads a head as mail, and looks for cookies, proxies and ways to send the
request elsewhere. An engine on a socket knows none of these.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from then.executors.docker.transport import (
    ANSWER_S,
    HEAD_BYTES_MAX,
    Address,
    broken,
    check_target,
    connect,
    number_of,
    status_of,
)

KEPT_MAX: Final = 16
CHUNK_BYTES: Final = 1 << 16
EMPTY: Final = (204, 304)
"""Answers of which only the head comes."""


class Exchange:
    """Requests to one engine; may be used by several threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._kept: list[socket.socket] = []
        """Those that nobody uses now; taken and given back in one step each."""
        self._is_closed = False

    def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        """The status of the answer, and its body.

        Raises:
            Refused: the path is none.
            Unreachable: none came. Whether the request did is not known.
        """
        check_target(path)
        about = "" if data is None else "Content-Type: application/json\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\n{about}Content-Length: {len(data or b'')}\r\n\r\n"
        link = self._link()
        try:
            link.sendall(head.encode() + (data or b""))
            status, text, is_kept = _answer(link)
        except OSError as error:
            # The others were opened before this one broke.
            self.drop_kept()
            raise broken(link, error) from error
        except BaseException:
            link.close()
            raise
        if is_kept and not self._is_closed and len(self._kept) < KEPT_MAX:
            self._kept.append(link)
        else:
            link.close()
        return status, text

    def drop_kept(self) -> None:
        """Lets go of all connections that nobody uses."""
        while self._kept:
            try:
                self._kept.pop().close()
            except IndexError:
                return  # Somebody took the last one.

    def close(self) -> None:
        """Keeps no connection from now on."""
        self._is_closed = True
        self.drop_kept()

    def __del__(self) -> None:
        self.close()

    def _link(self) -> socket.socket:
        while True:
            try:
                link = self._kept.pop()
            except IndexError:
                link = connect(self._address)
                link.settimeout(ANSWER_S)
                return link
            if _is_quiet(link):
                return link
            link.close()


def _is_quiet(link: socket.socket) -> bool:
    """Whether nothing came after the last answer: neither its end, nor what would be taken for the next answer."""
    if isinstance(link, ssl.SSLSocket) and link.pending():
        return False
    ears = select.poll()
    ears.register(link, select.POLLIN)
    return not ears.poll(0)


def _answer(link: socket.socket) -> tuple[int, bytes, bool]:
    """Status and body, and whether the connection may be used again."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(link)
        if len(data) > HEAD_BYTES_MAX:
            raise ConnectionResetError("the head of the answer does not end")
    first, *lines = data[:end].lower().split(b"\r\n")
    body = data[end + 4 :]
    status = status_of(first)
    fields = dict(line.partition(b":")[::2] for line in lines)
    is_kept = first.startswith(b"http/1.1") and fields.get(b"connection", b"").strip() != b"close"
    if status in EMPTY:
        return status, b"", is_kept and not body
    if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
        body, rest = _unchunked(link, body)
        return status, body, is_kept and not rest
    if b"content-length" in fields:
        size = number_of(fields[b"content-length"])
        pieces = [body]
        left = size - len(body)
        while left > 0:
            pieces.append(_more(link))
            left -= len(pieces[-1])
        return status, b"".join(pieces), is_kept and left == 0
    while more := link.recv(CHUNK_BYTES):
        body += more
    return status, body, False


def _unchunked(link: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """A body that comes in parts, each with its size before it; and what came after it."""
    whole = bytearray()
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += _more(link)
        size = number_of(data[:end].partition(b";")[0], 16)
        pieces, have = [data[end + 2 :]], len(data) - end - 2
        while have < size + 2:
            pieces.append(_more(link))
            have += len(pieces[-1])
        data = b"".join(pieces)
        whole += data[:size]
        data = data[size + 2 :]
        if not size:
            return bytes(whole), data


def _more(link: socket.socket) -> bytes:
    data = link.recv(CHUNK_BYTES)
    if not data:
        raise ConnectionResetError("the connection ended before the end of the answer")
    return data
