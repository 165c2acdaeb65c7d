"""`andthen break`: breakpoints, listed, added, taken away, switched off and on."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command

WHATS = ("add", "list", "rm", "enable", "disable")


@command("break")
@click.argument("what", metavar="[add|list|rm|enable|disable]", default="list", type=click.Choice(WHATS))
@click.argument("name", metavar="[NAME]", required=False, shell_complete=candidates.breakpoints)
@click.argument("place", metavar='["PLACE …"]', required=False)
@click.option("--flow", metavar="ID", shell_complete=candidates.flow_ids, help="add: for this open flow only.")
@click.option("--print", "prints", metavar="TEXT", help="add: never stops, and prints this; {field} is replaced.")
@click.option("--release", is_flag=True, help="rm: what it holds goes on.")
def command_(
    settings: Settings,
    what: str,
    name: str | None,
    place: str | None,
    flow: str | None,
    prints: str | None,
    release: bool,
) -> None:
    """Lists breakpoints, those of the rules and those added by hand, or changes them.

    PLACE is what follows the name in a file of rules: "before pay where amount > 500 from hit 3 once". What is held stays held
    until `andthen continue`, whatever becomes of the breakpoint.
    """
    from then.cli.breaking import change_one, list_all

    if what == "list":
        list_all(settings)
        return
    if name is None:
        raise click.UsageError(f"break {what}: of which name? `andthen break` lists them")
    if what == "add" and place is None:
        raise click.UsageError(f'break add {name}: where? Such as "before TASK where …", "after TASK", "on rule RULE"')
    if what != "add" and place is not None:
        raise click.UsageError(f"break {what} takes a name alone")
    given: dict[str, object] = {"name": name}
    if what == "add":
        given.update(place=place, prints=prints, flow=flow)
    elif what == "rm":
        given.update(release=release)
    change_one(settings, what, given)
