"""`andthen ps`: tasks that are live."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command

STATES = ("waiting", "running", "held", "completed")


@command("ps")
@click.option("-a", "--all", "is_all", is_flag=True, help="Completed ones too.")
@click.option("--flow", metavar="ID", shell_complete=candidates.flow_ids, help="Of this flow only.")
@click.option(
    "--type", metavar="TYPE", shell_complete=candidates.types, help="Of this type, or family such as deploy.*, only."
)
@click.option("--state-is", type=click.Choice(STATES), help="In this state only.")
def command_(settings: Settings, is_all: bool, flow: str | None, type: str | None, state_is: str | None) -> None:
    """Lists tasks that wait, run or are held.

    Where no engine lives, processes that one has left run on, and all else waits for the next.
    """
    from then.app.reading import open_reading
    from then.cli.listing import live_records, print_records, records_of
    from then.core.rules import family_covers

    with open_reading(settings.folder) as reading:
        history = reading.history()
        id = history.find(flow)[1] if flow is not None else None
        found = (
            records_of(reading, history, id)
            if is_all or state_is == "completed"
            else live_records(reading, history, id, settings.again)
        )
        family = "*" if type is None else type
        shown = (seen for seen in found if family_covers(family, seen.task.type) and state_is in (None, seen.state))
        print_records(settings, shown, history.state.flows)
