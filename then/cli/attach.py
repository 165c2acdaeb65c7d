"""`andthen attach`: the debugger, at a flow of a running engine."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("attach")
@click.argument("flow", required=False, shell_complete=candidates.flow_ids)
@click.option(
    "-x", "files", metavar="FILE", multiple=True, type=click.Path(), help="Carry out the commands in a file first."
)
@click.option("--dap", is_flag=True, help="Speak the Debug Adapter Protocol on standard input and output: for editors.")
@click.option(
    "--dap-port", type=click.IntRange(0, 65535), metavar="N", help="The same on a port of 127.0.0.1, with a token."
)
@click.option("--batch", is_flag=True, help="Read no commands but those of -x; the first that is refused ends it.")
def command_(
    settings: Settings, flow: str | None, files: tuple[str, ...], dap: bool, dap_port: int | None, batch: bool
) -> int:
    """Looks at an open flow of the running engine, and lets it go on step by step.

    Without FLOW it takes one that is held, or the only one. Leaving lets the engine be: what is held stays held, the
    breakpoints of steps and watches go.
    """
    if dap or dap_port is not None:
        from then.cli.adapting import adapt, refuse_beside

        refuse_beside({"FLOW": flow is not None, "-x": files, "--batch": batch})
        return adapt(settings, dap_port)
    from then.cli.debugging import attach

    return attach(settings, flow, files, is_batch=batch)
