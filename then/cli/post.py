"""`andthen post`: a record from outside."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("post")
@click.argument("type", shell_complete=candidates.types)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--body", metavar="FILE", help="A JSON object: the body; - is standard input. KEY=VALUE goes over it.")
@click.option(
    "--flow",
    metavar="ID",
    shell_complete=candidates.flow_ids,
    help="The open flow that it joins; else it begins a new one.",
)
@click.option("--key", metavar="KEY", help="The same key twice is the same record: the second gives the first's flow.")
def command_(
    settings: Settings, type: str, words: tuple[str, ...], body: str | None, flow: str | None, key: str | None
) -> None:
    """Posts a record TYPE, and prints its flow's id. It is in the journal when the command ends."""
    from then.cli.changing import change
    from then.cli.listing import print_answer
    from then.cli.values import read_body, read_words

    given = read_body(body)
    texts, values = read_words(words)
    posted = change(settings, "post", type=type, texts=texts, body={**given, **values}, key=key, flow=flow)
    print_answer(settings, posted, [posted["flow"]])
