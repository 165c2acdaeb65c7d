"""`andthen cancel`: ends what lives."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command, say


@command("cancel")
@click.argument("id", shell_complete=candidates.ids)
@click.option("--only", is_flag=True, help="That record alone, not what descends from it.")
def command_(settings: Settings, id: str, only: bool) -> None:
    """Cancels a record and what descends from it; of an event, or a root that has ended, the flow.

    What waits ends at once; what runs is told to stop, and killed with its whole group 5 seconds later. Prints the
    ids of all that was told to end.
    """
    from then.cli.changing import change
    from then.cli.listing import print_answer

    ids = change(settings, "cancel", id=id, only=only)
    if not ids:
        say(f"nothing of {id} is live")
    print_answer(settings, {"cancelled": ids}, ids)
