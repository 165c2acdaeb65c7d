"""The ways to a client: standard input and output, or a port of this machine for those who know the token."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

from then.core.errors import ConfigError
from then.dap.conversation import converse
from then.dap.desk import Desk
from then.dap.link import Link

CLIENTS_MAX: Final = 32
LATEST_S: Final = 30.0
"""So long a client may take until it gives the token."""
PAUSE_S: Final = 1.0
"""After one could not be taken, as where all descriptors are in use."""


def serve_standard(make_desk: Callable[[Link], Desk], who: str) -> int:
    """One client, on standard input and output. Gives an exit code.

    Whatever else is printed in this process, by functions of tasks too, goes to standard error.
    """
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)

    def close() -> None:
        os.close(source)
        os.close(sink)

    link = Link(source, sink, close)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # As if the client had left: what it launched is not left behind.
        signal.signal(number, lambda number, frame: link.hang_up())
    link.hear_signals()
    return converse(link, make_desk(link), who)


def serve_port(make_desk: Callable[[Link], Desk], who: str, port: int, say: Callable[[str], None]) -> int:
    """Clients on a port of 127.0.0.1, until Ctrl-C.

    Raises:
        ConfigError: the port is taken.
    """
    token = os.environ.get("THEN_DAP_TOKEN") or secrets.token_urlsafe(16)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"--dap-port {port}: {(error.strerror or str(error)).lower()}; 0 takes a free one") from error
    listener.listen(CLIENTS_MAX)
    listener.setblocking(False)  # Who asked to be let in may have gone again.
    clients: dict[Link, threading.Thread] = {}

    def serve(link: Link) -> None:
        desk = make_desk(link)
        desk.token = token
        try:
            converse_in_time(link, desk, who)
        finally:
            clients.pop(link, None)

    with listener, _signals() as bell:
        say(f"debug adapter on 127.0.0.1:{listener.getsockname()[1]}, token {token}")
        while bell not in select.select([listener.fileno(), bell], [], [])[0]:
            try:
                link = _accepted(listener, is_full=len(clients) >= CLIENTS_MAX)
            except BlockingIOError:
                continue
            except OSError as error:
                say(f"a client could not be taken: {(error.strerror or str(error)).lower()}")
                select.select([bell], [], [], PAUSE_S)
                continue
            if link is None:
                continue
            clients[link] = threading.Thread(target=serve, args=(link,), name="andthen-dap", daemon=True)
            clients[link].start()
    for link, thread in list(clients.items()):
        link.hang_up()
        thread.join()
    return 130


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that is ready to be read from the first signal on that ends this, wherever the main thread is then.

    What a handler raises may come too late: that of a signal noted just before `accept` begins to wait runs when that
    ends. After the first the next one interrupts, in case a client holds up the end.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]  # A job of a script has the first ignored from the beginning.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As `nohup` has it: then it is to go on.
        numbers.append(signal.SIGHUP)
    bell, string = os.pipe()
    os.set_blocking(string, False)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    before = signal.set_wakeup_fd(string)
    try:
        yield bell
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
        signal.set_wakeup_fd(before)
        os.close(bell)
        os.close(string)


def converse_in_time(link: Link, desk: Desk, who: str, latest_s: float = LATEST_S) -> None:
    """Answers a client; one that has not said the token by then holds no place any longer."""

    def cut_off() -> None:
        desk.log(f"a client was cut off: no launch or attach came in {latest_s:g} s")
        link.hang_up()

    limit = threading.Timer(latest_s, cut_off)
    limit.daemon = True
    desk.let_in = limit.cancel
    limit.start()
    try:
        converse(link, desk, who)
    finally:
        limit.cancel()


def _accepted(listener: socket.socket, *, is_full: bool) -> Link | None:
    connection, _ = listener.accept()
    try:
        if not is_full:
            return Link(connection.fileno(), connection.fileno(), connection.close)
    except OSError:
        connection.close()
        raise
    connection.close()
    return None
