"""The connection between engine and keeper: frames of fields.

A frame is the length of its fields, the length of the raw data behind them (4
bytes each, little-endian), the fields with a NUL between two, and the raw data.
No field holds a NUL: not argv, nor environment, nor JSON. That takes a third of
the time of JSON, and no module.
"""

from __future__ import annotations

import _socket

RECEIVED_MAX = 1 << 16
"""At once: more would be mapped anew by the allocator each time."""


def frame(*fields: bytes, raw: bytes = b"") -> bytes:
    text = b"\0".join(fields)
    return len(text).to_bytes(4, "little") + len(raw).to_bytes(4, "little") + text + raw


class Frames:
    """What came in, cut into frames."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[list[bytes], bytes]]:
        """The frames that are now complete: their fields and raw data."""
        self.buffer += data
        buffer, at, frames = self.buffer, 0, []
        while len(buffer) - at >= 8:
            fields_end = at + 8 + int.from_bytes(buffer[at : at + 4], "little")
            raw_end = fields_end + int.from_bytes(buffer[at + 4 : at + 8], "little")
            if len(buffer) < raw_end:
                break
            frames.append((bytes(buffer[at + 8 : fields_end]).split(b"\0"), bytes(buffer[fields_end:raw_end])))
            at = raw_end
        del buffer[:at]
        return frames


class Wire:
    """The keeper's end: it never waits for the engine."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.fd = fd
        self.frames = Frames()
        self.unsent = bytearray()

    def receive(self) -> list[tuple[list[bytes], bytes]] | None:
        """The frames that are complete; None when the engine has gone."""
        try:
            data = self.socket.recv(RECEIVED_MAX)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self.frames.feed(data) if data else None

    def send(self, data: bytes) -> None:
        self.unsent += data
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except OSError:
            pass  # It is full, and poll says when to go on; or the engine has gone, and recv will say so.
