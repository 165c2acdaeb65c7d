"""`andthen check`: what is wrong with rules, or looks wrong."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command, resource_option


@command("check")
@click.argument("path", type=click.Path())
@click.option("--order", is_flag=True, help="Print the rules in the order in which they are tried instead.")
@resource_option
def command_(settings: Settings, path: str, order: bool, resources: tuple[str, ...]) -> int:
    """Finds errors and warnings in the rules at PATH, without running anything but Python files of rules.

    Each is a line FILE:LINE:COLUMN. Errors end the command with 1; `run` refuses rules that have one.
    """
    from then.cli.checking import check, print_order
    from then.cli.values import resources_of

    return print_order(settings, path) if order else check(settings, path, resources_of(resources))
