"""`andthen continue`: lets go on what is held."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command, who


@command("continue")
@click.argument("id", shell_complete=candidates.ids)
@click.option("--body", "body", metavar="KEY=VALUE", multiple=True, help="Changes a field of the record's body first.")
@click.option(
    "--result",
    "result",
    metavar="KEY=VALUE",
    multiple=True,
    help="Changes a field of its result first, where it ended.",
)
@click.option("--rule", metavar="RULE", help="This rule alone answers the record, as if it were for it.")
@click.option("--skip", is_flag=True, help="A task is not started: it ends done, with what --result gives.")
@click.option("--by", metavar="NAME", help="Who changes it; the user, where it is not said.")
def command_(
    settings: Settings,
    id: str,
    body: tuple[str, ...],
    result: tuple[str, ...],
    rule: str | None,
    skip: bool,
    by: str | None,
) -> None:
    """Lets a held record, or all that is held in a flow, go on.

    What --body and --result change, and where --rule and --skip lead it, is recorded with who did it; what was there
    before stays in the journal.
    """
    from then.cli.changing import change
    from then.cli.listing import print_answer
    from then.cli.values import read_words

    given: dict[str, object] = {"id": id}
    if rule is not None or skip:
        given.update(rule=rule, skips=skip, who=by or who())
    if body or result:
        (texts, values), (result_texts, result_values) = read_words(body), read_words(result)
        given.update(
            texts=texts, values=values, result_texts=result_texts, result_values=result_values, who=by or who()
        )  # fmt: skip
    went = change(settings, "continue", **given)
    print_answer(settings, {"id": went}, [went])
