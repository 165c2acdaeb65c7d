"""Messages of the protocol as bytes: a header that says how long, then JSON. No socket is read here.

Source: the Debug Adapter Protocol, "Base Protocol".
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final, Literal

import msgspec

from then.core.errors import ProtocolError
from then.core.tasks import Json
from then.core.values import HALF_PAIR

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""A client that says more is not read on."""
HEADER_BYTES_MAX: Final = 4096
_LINE: Final = re.compile(rb"[a-z-]+\s*:.*", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"content-length\s*:\s*(\d{1,18})\s*", re.IGNORECASE)


class Request(msgspec.Struct, frozen=True):
    """What a client asks; `response` where it answers what it was asked, which nothing here does."""

    seq: int
    type: Literal["request", "response"]
    command: str
    arguments: Json = None
    """An object, as the request is told where it is none."""


class HalfPair(Exception):
    """A request with half of a surrogate pair, which is no text; it can be told who asks what."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


_decode = msgspec.json.Decoder(Request).decode


class Frames:
    """Requests out of a stream of bytes, however that is cut.

    Raises:
        ProtocolError: from `take`: what came is none; what follows it cannot be read.
        HalfPair: from `take`: what follows it can.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._length: int | None = None

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> Request | None:
        """The next request; None as long as it is not whole."""
        if self._length is None:
            self._length = self._header()
        if self._length is None or len(self._data) < self._length:
            return None
        text, self._data = bytes(self._data[: self._length]), self._data[self._length :]
        self._length = None
        try:
            return _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise HalfPair(_decode(HALF_PAIR.sub("?", text.decode()))) from error
            raise ProtocolError(f"a message is no request: {error}") from error

    def _header(self) -> int | None:
        end = self._data.find(b"\r\n\r\n", 0, HEADER_BYTES_MAX)
        if end < 0:
            if len(self._data) >= HEADER_BYTES_MAX:
                raise ProtocolError(f"{_shown(self._data)} is no header; it begins with Content-Length: and a number")
            # What cannot become a header is said at once: whoever sent it may wait for an answer.
            line = bytes(self._data[:15]).lower()
            is_cut = b"\n" in self._data.replace(b"\r\n", b"")
            if is_cut or (line and b":" not in line and not _may_be_header(line)):
                raise ProtocolError(f"{_shown(self._data)} is no header; it begins with Content-Length: and a number")
            return None
        lines, self._data = bytes(self._data[:end]).split(b"\r\n"), self._data[end + 4 :]
        # What a browser was made to send to this port has a length and a body too.
        wrong = next((line for line in lines if _LINE.fullmatch(line) is None), None)
        lengths = [found[1] for line in lines if (found := _LENGTH.fullmatch(line)) is not None]
        if wrong is not None or len(lengths) != 1:
            raise ProtocolError(f"{_shown(wrong or lines[0])} is no header; it needs one Content-Length: and a number")
        if int(lengths[0]) > FRAME_BYTES_MAX:
            raise ProtocolError(
                f"a message of {int(lengths[0]):,} bytes is announced; {FRAME_BYTES_MAX:,} are the most that is read"
            )
        return int(lengths[0])


def _may_be_header(line: bytes) -> bool:
    return all(char in b"abcdefghijklmnopqrstuvwxyz-" for char in line)


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data[:40]).decode(errors="backslashreplace"))


def framed(message: Json) -> bytes:
    """A message with its header."""
    text = msgspec.json.encode(message)
    return b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
