"""One connection to a client: bytes in, and messages out by a thread of their own, so that no client holds anybody up."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

BACKLOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""So much may wait for a client that does not read; then it is given up."""
READ_BYTES: Final = 256 * 1024


class Link:
    """Two descriptors, which may be one.

    Args:
        close: closes them.
    """

    def __init__(self, source: int, sink: int, close: Callable[[], None]) -> None:
        self._source, self._sink, self._close_them = source, sink, close
        self._bell, self._string = os.pipe()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._is_over = self._is_closed = self._hears_signals = False
        self.is_lost = False
        """The client does not read, or has gone: what is sent goes nowhere."""
        self._turn = threading.Condition()
        os.set_blocking(sink, False)
        self._writer = threading.Thread(target=self._write, name="andthen-dap-out", daemon=True)
        self._writer.start()

    def read(self) -> bytes:
        """What came; nothing where the client has gone, or was given up."""
        try:
            ready, _, _ = select.select([self._source, self._bell], [], [])
            return b"" if self._bell in ready else os.read(self._source, READ_BYTES)
        except BlockingIOError:
            return self.read()  # One socket for both ways, and a signal that there was something.
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        """Hands a message to the writer; from any thread, without waiting."""
        with self._turn:
            if self.is_lost:
                return
            self._waiting.append(data)
            self._bytes += len(data)
            if self._bytes > BACKLOG_BYTES_MAX:
                self._lose()
            self._turn.notify()

    def hear_signals(self) -> None:
        """Each signal that has a handler hangs up; to be called in the main thread, where `close` is called too.

        A handler alone may come too late: one that is noted just before `read` begins to wait runs when that ends.
        """
        os.set_blocking(self._string, False)
        signal.set_wakeup_fd(self._string)
        self._hears_signals = True

    def hang_up(self) -> None:
        """`read` gives nothing more, in whichever thread it waits."""
        with self._turn:
            if not self._is_closed:  # Else its number may be somebody else's by now.
                os.write(self._string, b".")

    def close(self, patience_s: float = 2.0) -> None:
        """Sends what waits, as far as the client reads in that time, and closes."""
        with self._turn:
            self._is_over = True
            self._turn.notify()
        self._writer.join(patience_s)
        with self._turn:
            self._lose()
            self._turn.notify()
        self._writer.join()
        if self._hears_signals:
            signal.set_wakeup_fd(-1)
        with self._turn:
            self._is_closed = True
            for fd in (self._bell, self._string):
                os.close(fd)
        with contextlib.suppress(OSError):
            os.set_blocking(self._sink, True)  # A terminal is shared with who comes after.
        self._close_them()

    def _lose(self) -> None:
        self.is_lost = True
        self._waiting.clear()
        self._bytes = 0
        self.hang_up()

    def _write(self) -> None:
        while True:
            with self._turn:
                while not self._waiting and not self._is_over and not self.is_lost:
                    self._turn.wait()
                if not self._waiting:
                    return
                data = memoryview(self._waiting.popleft())
            while data and not self.is_lost:
                try:
                    # Not for ever: that the client was given up is seen between two looks.
                    select.select([], [self._sink], [], 0.5)
                    sent = os.write(self._sink, data)
                except BlockingIOError:
                    continue
                except OSError:
                    with self._turn:
                        self._lose()
                    return
                with self._turn:
                    self._bytes -= sent
                data = data[sent:]
