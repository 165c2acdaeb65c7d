"""The engine's end of the keeper: finds it or starts it."""

from __future__ import annotations

import os
import socket
import sys
import time
import weakref
from pathlib import Path

from then.core.errors import ExecutorError
from then.executors.keeper.wire import frame

PROTOCOL = "1"
PROGRAM = Path(__file__).with_name("keeper") / "__main__.py"

_links: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_started: list[int] = []
"""Keepers that this process started: each is reaped when it has ended."""


def connect(folder: Path) -> socket.socket:
    """A connection to the keeper of a state folder; starts one where none listens.

    The answer of a keeper that begins is not waited for: orders may be sent at once.

    Raises:
        ExecutorError: it cannot be started.
    """
    reap()
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # 108 bytes are the limit for the path of a socket; by the descriptor of its folder it is short.
        at = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            link.connect(f"/proc/self/fd/{at}/keeper.sock")
        finally:
            os.close(at)
    except OSError:
        link.close()
        link = _start(folder)
    entries = [name + b"=" + value for name, value in os.environb.items()]
    _links.add(link)
    try:
        link.sendall(frame(b"hello", PROTOCOL.encode(), *entries))
    except OSError:
        pass  # It was just ending: who reads from it is told, and connects again.
    return link


def has_traces(folder: Path) -> bool:
    """Whether a keeper lives, or one that is gone may have left something open."""
    try:
        log = (folder / "keeper.log").read_bytes()
    except FileNotFoundError:
        return False
    # Its first line says which boot; a keeper that ended well leaves no other.
    return log.count(b"\n") != 1 or (folder / "keeper.sock").exists()


def now_us() -> int:
    """For what is noted without the engine: stamps are recorded facts to it."""
    return time.time_ns() // 1000  # noqa: TID251


def _start(folder: Path) -> socket.socket:
    if not sys.executable:
        raise ExecutorError(
            "process: this Python does not know its own program (sys.executable is empty), which the keeper of processes needs"
        )
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    # It lives in a session of its own: what closes the terminal or ends the engine's group is not meant for it.
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    argv = [sys.executable, "-I", "-S", str(PROGRAM), str(folder), "3"]
    try:
        os.set_inheritable(its.fileno(), True)
        pid = os.posix_spawn(
            sys.executable,
            argv,
            os.environ,
            file_actions=[*silent, (os.POSIX_SPAWN_DUP2, its.fileno(), 3)],
            setsid=True,
        )
    except OSError as error:
        ours.close()
        raise ExecutorError(
            f"process: {sys.executable}: {error.strerror}; the keeper of processes cannot be started"
        ) from error
    finally:
        its.close()
    _started.append(pid)
    return ours


def reap() -> None:
    """Takes leave of keepers that have ended, so that no zombie stays."""
    for pid in list(_started):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid  # Somebody else waited for it.
        if ended:
            _started.remove(pid)


def _close_in_fork() -> None:
    """A fork of the engine must not keep the connection open: the next engine would wait for it to end."""
    for link in list(_links):
        link.close()


os.register_at_fork(after_in_child=_close_in_fork)
