"""`andthen prune`: takes away flows that ended long ago."""

from __future__ import annotations

import sys

import click

from then.cli import candidates
from then.cli.settings import Settings, command, say


@command("prune")
@click.option("--older", metavar="TIME", help="Those that ended longer ago, such as 30d or 12h.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="All that ended, but for the newest N.")
@click.option("--flow", metavar="ID", shell_complete=candidates.flow_ids, help="This flow alone, however young.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--retention",
    envvar="THEN_RETENTION",
    default="30d",
    show_default=True,
    metavar="TIME",
    help="What holds where neither is given.",
)
def command_(
    settings: Settings, older: str | None, keep: int | None, flow: str | None, dry_run: bool, retention: str
) -> None:
    """Takes ended flows out of the state for ever: records, output, and the keys they were posted under.

    What lives stays. Containers that were left behind are removed too. Prints the ids of the flows.
    """
    from then.app.desk import tell
    from then.cli.listing import print_object
    from then.cli.values import retention_of, seconds
    from then.core.errors import ConfigError

    if flow is not None and (older is not None or keep is not None):
        raise ConfigError("--flow names one flow; --older and --keep go without it")
    older_s = seconds(older, "--older") if older is not None else None
    if flow is None and older is None and keep is None:
        older_s = retention_of(retention)
        if older_s is None:
            raise ConfigError("the retention is off; say --older TIME, --keep N or --flow ID")
    gone = tell(settings.folder, "prune", older_s=older_s, keep=keep, flow=flow, dry_run=dry_run).answer
    for id in gone["flows"]:
        if settings.is_json:
            print_object({"flow": id})
        else:
            sys.stdout.write(f"{id}\n")
    for stray in gone["containers"]:
        if settings.is_json:
            print_object(stray)
        else:
            sys.stdout.write(f"{stray['container']} of {stray['task']} on {stray['host']}\n")
    for text in gone["unreached"]:
        say(text)
    counts = [
        (len(gone["flows"]), "flow", "flows"),
        (gone["records"], "record", "records"),
        (gone["entries"], "journal entry", "journal entries"),
    ]
    if gone["containers"]:
        counts.append((len(gone["containers"]), "container", "containers"))
    said = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
    say(f"{said} {'would go' if dry_run else 'gone'}")
