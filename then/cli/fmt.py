"""`andthen fmt`: rules in the one layout."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("fmt")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@click.option("--check", "is_check", is_flag=True, help="Change nothing; exit 1 where a file is not in the layout.")
def command_(settings: Settings, paths: tuple[str, ...], is_check: bool) -> int:
    """Brings .then files into the one layout: white space changes, words and comments stay.

    Of a folder, all its .then files, those in folders below it too. Prints the files that it changed. - reads from
    standard input and writes to standard output.
    """
    from then.cli.formatting import format_paths

    return format_paths(settings, paths, is_check=is_check)
