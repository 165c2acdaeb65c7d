"""The socket of a running engine: `engine.sock` in the state folder, for those who may write there.

A request is a line of JSON, `{"op": "cancel", "id": "0k3f"}`, its answer a line
`{"ok": …}` or `{"error": {"number": …, "exit_code": …, "text": …}}`. The mode of
the socket, 0600, is what lets nobody else in. Each connection has a thread of
its own, since a command waits until its fact is durable; a further one listens,
and sees to retention now and then.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from then.app.client import SOCKET
from then.app.commands import OPS, Commands
from then.app.engine import Engine
from then.app.retention import has_old, prune
from then.core.errors import InternalError, JournalError, ThenError
from then.core.rows import runs_now
from then.core.tasks import BODY_BYTES_MAX, Body, Task
from then.core.values import check_keys

LINE_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""A body as JSON text, and room for escapes."""
CONNECTIONS_MAX: Final = 64
RETENTION_EVERY_S: Final = 3600.0
ANSWER_S: Final = 5.0
"""So long an engine that ends waits for its last answers to be given."""
WAITS: Final = frozenset(("wait", "watch", "attach"))
"""What is asked only to wait, until the engine ends if need be."""
LOOK_EVERY_S: Final = 2.0
"""So often it is looked whether the state folder is still there: an engine at rest writes nothing that would tell."""


class Control:
    """Listens for commands to an engine, from construction to `close`.

    Args:
        retention_s: flows that ended longer ago, in seconds, are taken away at the start and each hour; None: never.
    """

    def __init__(self, engine: Engine, folder: Path, *, retention_s: float | None) -> None:
        self._engine = engine
        self._folder = os.path.abspath(folder)
        self._folder_stat = os.stat(folder)
        self._retention_s = retention_s
        self._starts = _Starts(engine)
        self._commands = Commands(engine, self._starts.since)
        self._links: set[socket.socket] = set()
        self._owed: set[socket.socket] = set()
        """Those of them on which something was asked that is not answered yet; who only waits is not among them."""
        self._lock = threading.Condition()
        self._is_closed = False
        self._listener = _listen(folder)
        self._bell, self._string = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="andthen-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answers what is being done, and nothing more; the socket is taken away. Twice is well."""
        if self._is_closed:
            return
        self._is_closed = True
        self._string.close()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._starts.close()
        with self._lock:
            # What ends the last flow of a run is done before it is answered: who asked hears of it all the same.
            self._lock.wait_for(lambda: not self._owed, ANSWER_S)
            links = list(self._links)
        for link in links:
            _shut(link)

    def _run(self) -> None:
        """Takes connections up until the bell rings, by its other end being closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            clock = self._engine.clock
            due, is_open = clock.monotonic(), True
            while is_open:
                if self._retention_s is not None and clock.monotonic() >= due:
                    self._forget_old(self._retention_s)
                    due = clock.monotonic() + RETENTION_EVERY_S
                for key, _ in selector.select(LOOK_EVERY_S):
                    if key.fileobj is self._bell:
                        is_open = False
                    else:
                        self._accept()
                self._look_at_folder()
        if self._has_folder():
            # In another that came in its place lies the socket of another.
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, SOCKET))
        self._listener.close()
        self._bell.close()

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return  # It has gone again.
        with self._lock:
            if len(self._links) >= CONNECTIONS_MAX:
                link.close()
                return
            self._links.add(link)
        threading.Thread(target=self._serve, args=(link,), name="andthen-command", daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        try:
            with link, link.makefile("rb") as lines:
                while line := lines.readline(LINE_BYTES_MAX + 1):
                    link.sendall(msgspec.json.encode(self._answer(line, link)) + b"\n")
                    self._settle(link)
                    if len(line) > LINE_BYTES_MAX:
                        return
        except OSError:
            pass  # Whoever asked has gone.
        finally:
            for name in self._engine.debuggers.leave(link):
                # It may have been taken away before; and an engine that has ended forgets nothing.
                with contextlib.suppress(ThenError):
                    self._engine.breakpoints.remove(name)
            self._settle(link)
            with self._lock:
                self._links.discard(link)

    def _settle(self, link: socket.socket) -> None:
        with self._lock:
            self._owed.discard(link)
            self._lock.notify_all()

    def _answer(self, line: bytes, link: socket.socket) -> Body:
        try:
            request = msgspec.json.decode(line, type=dict[str, object])
            check_keys(line, "request")
            op = str(request.pop("op"))
            if op not in WAITS:
                with self._lock:
                    self._owed.add(link)
            if op == "attach":
                return {"ok": self._engine.debuggers.come(link)}
            run: Callable[..., object] = OPS[op]
            return {"ok": run(self._commands, **request)}
        except ThenError as error:
            return _refusal(error)
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            return _refusal(
                InternalError(f"a request that this engine does not understand: {type(error).__name__}: {error}")
            )
        except Exception as error:  # noqa: BLE001  # Told to who asked; the engine goes on.
            return _refusal(InternalError(f"{type(error).__name__}: {error}"))

    def _look_at_folder(self) -> None:
        """Where it has gone something is written: that is what ends the engine, and tells why."""
        if self._engine.loop.failure is None and not self._has_folder():
            with contextlib.suppress(ThenError):
                self._engine.loop.prune(lambda state: ((), ()))

    def _has_folder(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._folder), self._folder_stat)
        except OSError:
            return False

    def _forget_old(self, older_s: float) -> None:
        # A full disk, or an engine that has ended: told by those whose work it is.
        with contextlib.suppress(ThenError):
            if has_old(self._engine, older_s):
                prune(self._engine, older_s=older_s)


class _Starts:
    """Since when tasks run: what the journal does not tell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begun: dict[str, int] = {}
        self._look_again_at = 4096
        engine.loop.start_watchers.append(self._note)

    def _note(self, task: Task, now_us: int) -> None:
        begun = self._begun
        begun[task.id] = now_us
        if len(begun) >= self._look_again_at:
            running = self._engine.loop.state.running
            self._begun = {id: since for id, since in begun.items() if id in running}
            self._look_again_at = 2 * len(self._begun) + 4096

    def since(self) -> dict[str, int | None]:
        return self._engine.loop.look(lambda state: {id: self._begun.get(id) for id in runs_now(state)})

    def close(self) -> None:
        self._engine.loop.start_watchers.remove(self._note)


def _listen(folder: Path) -> socket.socket:
    """The socket. The lock on the state is ours, so one that lies there is stale."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        (folder / SOCKET).unlink(missing_ok=True)
        # On Linux the file gets the mode of the descriptor: there is no moment at which others may connect.
        os.fchmod(listener.fileno(), 0o600)
        # 108 bytes are the limit for the path of a socket; by the descriptor of its folder it is short.
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{at}/{SOCKET}")
        finally:
            os.close(at)
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise JournalError(
            f"{folder}: no socket can be made there ({error.strerror}); give --state a folder on a local disk"
        ) from error
    listener.setblocking(False)
    return listener


def _shut(link: socket.socket) -> None:
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # Its thread was quicker.


def _refusal(error: ThenError) -> Body:
    return {"error": {"number": error.number, "exit_code": error.exit_code, "text": str(error)}}
