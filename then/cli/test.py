"""`andthen test`: the tests beside the rules."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("test")
@click.argument("path", type=click.Path())
@click.option(
    "--junit", type=click.Path(dir_okay=False), metavar="FILE", help="Write the results as JUnit XML as well."
)
@click.option("-k", "chosen", metavar="TEXT", help="Only tests with this in their name.")
def command_(settings: Settings, path: str, junit: str | None, chosen: str | None) -> int:
    """Plays the tests of the rules at PATH in virtual time; nothing is run.

    Prints how each ended, why those failed that did, and what no test has seen of the rules.
    """
    from then.cli.testing import test

    return test(settings, path, junit, chosen)
