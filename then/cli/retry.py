"""`andthen retry`: tries again what failed."""

from __future__ import annotations

import sys

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("retry")
@click.argument("id", shell_complete=candidates.ids)
def command_(settings: Settings, id: str) -> None:
    """Makes a new attempt of a task that failed, and reopens its flow if that had ended.

    Of a flow: of every failure that nothing took up. Prints the ids of the attempts.
    """
    from then.cli.changing import change
    from then.cli.listing import print_object

    for attempt in change(settings, "retry", id=id):
        if settings.is_json:
            print_object(attempt)
        else:
            sys.stdout.write(f"{attempt['id']}\n")
