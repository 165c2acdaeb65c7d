"""One thread that takes in the outputs of all containers, and wakes who asked for a time.

A stream is a socket with frames of eight bytes of head: which of the two
outputs, and how much. A container whose output we do not take in stands still,
as a process does on a full pipe.

Source: https://docs.docker.com/reference/api/engine/, ContainerAttach, "Stream format".
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

CHUNK_BYTES: Final = 1 << 18
TURNS_MAX: Final = 4
"""So many chunks of one stream before it is another's turn."""
STREAMS: Final = ("out", "out", "err")
"""By the first byte of a frame; 0 is standard input, which nobody sends."""


class Sink(Protocol):
    """Where an output goes."""

    def append(self, stream: str, data: memoryview) -> None: ...


class Frames:
    """Parts a stream into the two outputs."""

    def __init__(self, sink: Sink, skipped: dict[str, int] | None = None) -> None:
        """`skipped` bytes of each are there already."""
        self._sink = sink
        self._skipped = skipped or {}
        self._head = b""
        self._left = 0
        self._stream = "out"

    def feed(self, data: bytes) -> None:
        """Takes in what came next.

        Raises:
            OSError: it cannot be written.
        """
        view = memoryview(data)
        parts: list[tuple[str, memoryview]] = []
        while view:
            if not self._left:
                need = 8 - len(self._head)
                self._head += bytes(view[:need])
                view = view[need:]
                if len(self._head) < 8:
                    break
                self._stream = STREAMS[min(self._head[0], 2)]
                self._left = int.from_bytes(self._head[4:], "big")
                self._head = b""
                continue
            parts.append((self._stream, view[: self._left]))
            self._left -= len(parts[-1][1])
            view = view[len(parts[-1][1]) :]
        for stream, part in _joined(parts):
            skipped = min(self._skipped.get(stream, 0), len(part))
            if skipped:
                self._skipped[stream] -= skipped
            if len(part) > skipped:
                self._sink.append(stream, part[skipped:])


def _joined(parts: list[tuple[str, memoryview]]) -> list[tuple[str, memoryview]]:
    """Neighbours of one output as one: a write for many short lines."""
    joined = []
    for stream, group in itertools.groupby(parts, lambda part: part[0]):
        views = [view for _, view in group]
        joined.append((stream, views[0] if len(views) == 1 else memoryview(b"".join(views))))
    return joined


class Answer:
    """A stream that is one answer, given at its end."""

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> None:
        self.data += data


class Flow:
    """One stream on its way."""

    def __init__(self, link: socket.socket, frames: Frames | Answer, ended: Callable[[bool], None]) -> None:
        """`ended` is called once, with whether all that came could be written."""
        self.link = link
        self.ended = ended
        self._frames = frames
        self._lock = threading.Lock()
        self._is_cut = False

    def feed(self, data: bytes) -> None:
        """Takes in what came next.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            if not self._is_cut:
                self._frames.feed(data)

    def cut(self) -> None:
        """Takes in nothing more: when this returns, all is written that this stream ever writes."""
        with self._lock:
            self._is_cut = True


class Pump:
    """The thread; it is there while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._wake_fd = -1
        self._asked: list[Callable[[], None]] = []
        self._times: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._flows: set[Flow] = set()
        """All that were added and have not ended: also those that the thread has not come to yet."""
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, flow: Flow) -> None:
        flow.link.setblocking(False)
        with self._lock:
            is_late = self._is_closed
            if not is_late:
                self._flows.add(flow)
                self._ask(lambda: self._register(flow))
        if is_late:
            flow.link.close()

    def drop(self, flow: Flow) -> None:
        """Lets go of a stream, of which nothing more is taken in; its end is told."""
        flow.cut()
        with self._lock:
            self._ask(lambda: self._end(flow, is_whole=False))

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Calls this after a time, in the thread of the pump: it must be quick."""
        due = time.monotonic() + delay_s
        with self._lock:
            self._ask(lambda: heapq.heappush(self._times, (due, next(self._count), call)))

    def close(self, *, wait: bool) -> None:
        """Lets go of all streams and times, and tells nobody."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)
        if thread is not None and wait and thread is not threading.current_thread():
            thread.join()

    def _ask(self, call: Callable[[], None]) -> None:
        """Under the lock: hands a call to the thread, while there is to be one."""
        if self._is_closed:
            return
        self._asked.append(call)
        if self._thread is None:
            self._selector = selectors.DefaultSelector()
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._selector.register(self._wake_fd, selectors.EVENT_READ, None)
            self._thread = threading.Thread(target=self._run, name="then-docker-output", daemon=True)
            self._thread.start()
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        assert self._selector is not None
        while True:
            with self._lock:
                if self._is_closed:
                    break
                asked, self._asked = self._asked, []
            for call in asked:
                call()
            now = time.monotonic()
            while self._times and self._times[0][0] <= now:
                heapq.heappop(self._times)[2]()
            patience = max(0.0, self._times[0][0] - time.monotonic()) if self._times else None
            for key, _ in self._selector.select(patience):
                if key.data is None:
                    os.eventfd_read(self._wake_fd)
                else:
                    self._take(key.data)
        for flow in self._flows:
            flow.link.close()
        with self._lock:
            self._selector.close()
            os.close(self._wake_fd)
            self._wake_fd = -1

    def _register(self, flow: Flow) -> None:
        assert self._selector is not None
        self._selector.register(flow.link, selectors.EVENT_READ, flow)
        if isinstance(flow.link, ssl.SSLSocket) and flow.link.pending():
            self._take(flow)

    def _take(self, flow: Flow) -> None:
        turns = 0
        while turns < TURNS_MAX or (isinstance(flow.link, ssl.SSLSocket) and flow.link.pending()):
            turns += 1
            try:
                data = flow.link.recv(CHUNK_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError:
                data = b""
            if not data:
                self._end(flow, is_whole=True)
                return
            try:
                flow.feed(data)
            except OSError:
                # No room: what is missing is asked for again when the container has ended.
                self._end(flow, is_whole=False)
                return
            if len(data) < CHUNK_BYTES:
                return

    def _end(self, flow: Flow, *, is_whole: bool) -> None:
        assert self._selector is not None
        if flow.link.fileno() < 0:
            return
        try:
            self._selector.unregister(flow.link)
        except KeyError:
            pass  # It was dropped before it was taken in.
        flow.link.close()
        self._flows.discard(flow)
        flow.ended(is_whole)
