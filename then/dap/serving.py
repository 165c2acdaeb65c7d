"""The ways to a client: standard input and output, or a port of this machine for those who know the token."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

from then.core.errors import ConfigError
from then.dap.conversation import converse
from then.dap.desk import Desk
from then.dap.link import Link

CLIENTS_MAX: Final = 32


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
    say(f"debug adapter on 127.0.0.1:{listener.getsockname()[1]}, token {token}")
    clients: dict[Link, threading.Thread] = {}

    def serve(link: Link) -> None:
        desk = make_desk(link)
        desk.token = token
        try:
            converse(link, desk, who)
        finally:
            clients.pop(link, None)

    for number in (signal.SIGINT, signal.SIGTERM):  # A job of a script has the first ignored from the beginning.
        signal.signal(number, signal.default_int_handler)
    with listener, contextlib.suppress(KeyboardInterrupt):
        while True:
            connection, _ = listener.accept()
            if len(clients) >= CLIENTS_MAX:
                connection.close()
                continue
            link = Link(connection.fileno(), connection.fileno(), connection.close)
            clients[link] = threading.Thread(target=serve, args=(link,), name="andthen-dap", daemon=True)
            clients[link].start()
    for link, thread in list(clients.items()):
        link.hang_up()
        thread.join()
    return 130
