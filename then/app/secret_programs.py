"""Programs that print a secret: run without a shell, in a group of their own, for a limited time."""

from __future__ import annotations

import atexit
import os
import select
import signal
import time
from pathlib import Path
from typing import IO, Final

LIMIT_S: Final = 30.0
"""A vault that has not answered by then will not; a person that is asked for a PIN by then has gone."""
_CHUNK_BYTES: Final = 1 << 16

_running: set[int] = set()
"""Groups of programs that were not waited for yet: they end with this process."""


class Unreadable(Exception):
    """Why a value cannot be read, and what to do, in words that hold nothing of it. A plugin may raise it."""


def output_of(reference: str, root: Path, bytes_max: int) -> bytes:
    """What a program writes to its standard output; at most one byte more than `bytes_max`.

    Its standard input is empty; its standard error is dropped, for it may hold
    the value. When this returns, or raises, its whole group has ended.

    Args:
        reference: program and arguments, as a shell would split them; no shell sees them.
        root: the folder that it runs in.

    Raises:
        Unreadable: it cannot be started, fails, or does not end in time.
    """
    import subprocess

    argv = _split(reference)
    try:
        process = subprocess.Popen(
            argv,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(f'program "{argv[0]}": {reason}; install it, make it executable, or give its path') from None
    _running.add(process.pid)
    assert process.stdout is not None
    deadline = time.monotonic() + LIMIT_S
    try:
        with process.stdout as pipe:
            data = _read(pipe, deadline, bytes_max)
        if len(data) <= bytes_max:
            _wait(process.pid, deadline)
    except TimeoutError:
        raise Unreadable(
            f"the program did not end within {LIMIT_S:.0f} s and was killed; run it by hand: does it ask for something?"
        ) from None
    finally:
        # Not reaped yet: the number of its group is nobody else's.
        os.killpg(process.pid, signal.SIGKILL)
        _running.discard(process.pid)
        code = process.wait()
    if code and len(data) <= bytes_max:
        how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
        raise Unreadable(f"the program {how}; run it by hand to see why")
    return data


def _end_all() -> None:
    """This process ends, and with it the threads that would have killed what takes too long."""
    for group in list(_running):
        os.killpg(group, signal.SIGKILL)


atexit.register(_end_all)


def _split(reference: str) -> list[str]:
    import shlex

    try:
        argv = shlex.split(reference)
    except ValueError as error:
        raise Unreadable(f"no command: {error}; quote as for a shell") from None
    if not argv:
        raise Unreadable("no command; name a program and its arguments")
    return argv


def _read(pipe: IO[bytes], deadline: float, bytes_max: int) -> bytes:
    data = b""
    poll = select.poll()
    poll.register(pipe.fileno(), select.POLLIN)
    while len(data) <= bytes_max:
        if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise TimeoutError
        chunk = os.read(pipe.fileno(), _CHUNK_BYTES)
        if not chunk:
            break
        data += chunk
    return data[: bytes_max + 1]


def _wait(pid: int, deadline: float) -> None:
    """Until it has ended; it is left to be reaped."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise TimeoutError
    finally:
        os.close(fd)
