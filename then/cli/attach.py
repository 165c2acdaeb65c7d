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
@click.option("--batch", is_flag=True, help="Read no commands but those of -x; the first that is refused ends it.")
def command_(settings: Settings, flow: str | None, files: tuple[str, ...], batch: bool) -> int:
    """Looks at an open flow of the running engine, and lets it go on step by step.

    Without FLOW it takes one that is held, or the only one. Leaving lets the engine be: what is held stays held, the
    breakpoints of steps and watches go.
    """
    from then.cli.debugging import attach

    return attach(settings, flow, files, is_batch=batch)
