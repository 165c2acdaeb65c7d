"""`andthen log`: the output of a task."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("log")
@click.argument("id", shell_complete=candidates.ids)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the task has ended.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="The last N lines of each output only.")
@click.option("--out", "is_out", is_flag=True, help="Its standard output only.")
@click.option("--err", "is_err", is_flag=True, help="Its standard error only, on standard output.")
@click.option("--raw", "is_raw", is_flag=True, help="As it lies in the file: secrets that it holds are not masked.")
def command_(
    settings: Settings, id: str, follow: bool, lines: int | None, is_out: bool, is_err: bool, is_raw: bool
) -> int:
    """Prints what a task wrote: its standard output on ours, its standard error on ours.

    To a pipe or a file byte for byte; to a terminal without what would move its cursor. Secrets are shown as `***`; what
    was given one that cannot be read here is shown with `--raw` alone. Of a function that failed, the
    traceback. Of an event that began a flow, the outputs of the whole flow, each under its name.
    """
    from then.app.reading import open_reading
    from then.cli.output import Asked, print_outputs

    asked = Asked(("out", "err"), follow, lines, is_raw)
    if is_out != is_err:
        asked = asked._replace(streams=("out",) if is_out else ("err",))
    with open_reading(settings.folder) as reading:
        return print_outputs(settings, reading, id, asked)
