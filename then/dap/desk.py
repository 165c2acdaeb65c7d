"""What a connection has of the process that serves it: defaults of the command line, the token, an engine to share."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

import attrs

from then.app.engine import Engine
from then.core.errors import ConfigError


@attrs.define
class Served:
    """What all connections of a process share."""

    engine: Engine | None = None
    """The one that a client launched: others may attach to it."""


@attrs.define(eq=False)
class Desk:
    """One connection's end of its process."""

    folder: Path
    """The state folder of the command line, for `attach`."""
    hang_up: Callable[[], None]
    """Reads nothing more from this client."""
    log: Callable[[str], None]
    served: Served = attrs.field(factory=Served)
    path: str | None = None
    """The rules that the command line names, for `launch`."""
    type: str | None = None
    private_state: str | None = None
    """The state folder for `launch`; None: it keeps nothing."""
    token: str | None = None
    """What a client has to know; None: who has the connection may use it."""
    let_in: Callable[[], object] = attrs.field(default=lambda: None)
    """Called when the client has shown that it may come in."""
    is_refused: bool = False
    """Nothing more is answered."""
    begin: Callable[[], None] | None = None
    """Lets flows go, or looks at those that do; set by `launch` and `attach`."""

    @property
    def shared(self) -> Engine | None:
        return self.served.engine

    def share(self, engine: Engine | None) -> None:
        self.served.engine = engine

    def check(self, token: str | None) -> None:
        """Nothing, where a client may come in.

        Raises:
            ConfigError: it does not know the token; it is sent away.
        """
        if self.token is None or (token is not None and hmac.compare_digest(token.encode(), self.token.encode())):
            self.let_in()
            return
        self.is_refused = True
        self.log("a client was refused: it gave no token" if token is None else "a client was refused: wrong token")
        self.hang_up()
        raise ConfigError('the token is missing or wrong; give "token" as `andthen` printed it')
