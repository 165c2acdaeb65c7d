"""`andthen complete`: a person's answer."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command, say


@command("complete")
@click.argument("id", shell_complete=candidates.ids)
@click.argument("outcome", shell_complete=candidates.outcomes)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--body", metavar="FILE", help="A JSON object: the result; - is standard input.")
def command_(settings: Settings, id: str, outcome: str, words: tuple[str, ...], body: str | None) -> None:
    """Reports that a task without a `run` line has ended: OUTCOME is done, failed, cancelled or timed_out.

    The fields are its result; of a failure they are put into the error. A report on a task that has ended already is
    recorded, and has no effect.
    """
    from then.cli.changing import change
    from then.cli.listing import print_answer
    from then.cli.values import read_body, read_words

    given = read_body(body)
    texts, values = read_words(words)
    before = change(settings, "complete", id=id, outcome=outcome, texts=texts, result={**given, **values})
    if before["outcome"] is not None:
        say(
            f"{before['type']} ({before['id']}) had ended already, {before['outcome']}; the report is recorded and has no effect"
        )
    print_answer(settings, {"id": before["id"]}, [before["id"]])
