"""How the keeper hears of signals: through a descriptor, as of everything else."""

from __future__ import annotations

import _signal
import os

PR_SET_CHILD_SUBREAPER = 36
HEARD = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGIO)
"""A child has ended; we are to end; somebody waits for a file that we have a lease of."""
# A terminal that closes is no reason to end.
IGNORED = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGPIPE)
INFO_BYTES = 128
"""The size of a signal in what a signalfd gives; its number is the first byte."""


class Signals:
    """What is heard of signals, readable at `fd`."""

    def __init__(self) -> None:
        for number in IGNORED:
            _signal.signal(number, _signal.SIG_IGN)
        numbers = [number for number in range(1, 65) if number not in (32, 33)]  # Those are the C library's.
        self.to_default = tuple(number for number in numbers if _signal.getsignal(number) == _signal.SIG_IGN)
        """What a child must be freed of: what is ignored here, by us or by who started us."""
        self.is_reaper = call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        """Whether orphaned descendants become children of ours, so that a stop finds them."""
        # Half the system calls of a handler, and none of Python's: they are as many as processes.
        mask = bytearray(INFO_BYTES)
        for number in HEARD:
            mask[(number - 1) // 8] |= 1 << (number - 1) % 8
        fd = call("signalfd", -1, bytes(mask), os.O_NONBLOCK | os.O_CLOEXEC)
        self.step = INFO_BYTES if fd is not None and fd >= 0 else 1
        if fd is not None and fd >= 0:
            self.fd = fd
            _signal.pthread_sigmask(_signal.SIG_BLOCK, HEARD)
        else:
            self.fd, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
            for number in HEARD:
                _signal.signal(number, lambda _number, _at: None)

    def read(self) -> bytes:
        """The numbers of those that came."""
        return os.read(self.fd, 32 * INFO_BYTES)[:: self.step]


def call(name: str, *arguments: object) -> int | None:
    """Calls a function of the C library that Python has no name for; None where that cannot be."""
    try:
        # `ctypes` itself costs 10 ms; the C module beneath it does.
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 2), name)  # type: ignore[arg-type]
        return int(_ctypes.call_function(address, arguments))
    except (ImportError, OSError, AttributeError):
        return None
