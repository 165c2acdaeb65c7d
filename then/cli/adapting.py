"""The debugger for editors, from a shell: `--dap` and `--dap-port`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from then.cli.settings import Settings, say, who
from then.core.errors import ConfigError
from then.dap.desk import Desk, Served
from then.dap.link import Link
from then.dap.serving import serve_port, serve_standard


def refuse_beside(given: Mapping[str, object]) -> None:
    """Refuses words that are for a person's session.

    Raises:
        ConfigError: one was given.
    """
    for name, value in given.items():
        if value:
            raise ConfigError(
                f"{name}: --dap and --dap-port take none; "
                "what is posted or looked at the client says in its `launch` or `attach`"
            )


def adapt(settings: Settings, port: int | None, path: str | None = None, type: str | None = None) -> int:
    """Serves clients of the Debug Adapter Protocol. Gives the exit code.

    Args:
        port: of this machine; None: standard input and output.
        path: the rules for a `launch` that names none.
        type: likewise what is posted.
    """
    served = Served()
    state = settings.state or os.environ.get("THEN_STATE")

    def desk(link: Link) -> Desk:
        return Desk(settings.folder, link.hang_up, say, served, path, type, state)

    if port is None:
        return serve_standard(desk, who())
    return serve_port(desk, who(), port, say)
