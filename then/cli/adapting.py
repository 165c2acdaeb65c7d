"""The debugger for editors, from a shell: `--dap` and `--dap-port`."""

from __future__ import annotations

import os

from then.cli.breaking import who
from then.cli.settings import Settings, say
from then.dap.desk import Desk, Served
from then.dap.link import Link
from then.dap.serving import serve_port, serve_standard


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
