"""`andthen flows`: flows, and how they ended."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("flows")
@click.option("--open", "is_open", is_flag=True, help="Those that have not ended only.")
@click.option("--outcome", type=click.Choice(["done", "failed", "cancelled"]), help="That ended so only.")
@click.option("--type", metavar="TYPE", help="Whose root is of this type, or family such as order.*, only.")
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="N", help="The newest N only.")
@click.option("-a", "--all", "is_all", is_flag=True, help="Announcements (flow.ended) too.")
def command_(
    settings: Settings, is_open: bool, outcome: str | None, type: str | None, last: int | None, is_all: bool
) -> None:
    """Lists the flows that are kept, the oldest first."""
    from collections import deque

    from then.app.objects import flow_object
    from then.app.reading import open_reading
    from then.cli.listing import print_flows, print_object
    from then.core.edition import FLOW_ENDED
    from then.core.rules import family_covers

    with open_reading(settings.folder) as reading:
        found = (
            flow
            for flow in reading.history().flows()
            if (is_all or flow.type != FLOW_ENDED)
            and (not is_open or flow.outcome is None)
            and outcome in (None, flow.outcome)
            and family_covers(type or "*", flow.type)
        )
        shown = found if last is None else iter(deque(found, last))
        if settings.is_json:
            for flow in shown:
                print_object(flow_object(flow))
        else:
            print_flows(shown)
