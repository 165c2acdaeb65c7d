"""`andthen continue`: lets go on what is held."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("continue")
@click.argument("id", shell_complete=candidates.ids)
def command_(settings: Settings, id: str) -> None:
    """Lets a held record, or a held flow, go on."""
    from then.cli.changing import change
    from then.cli.listing import print_answer

    went = change(settings, "continue", id=id)
    print_answer(settings, {"id": went}, [went])
