"""`andthen show`: one record whole, or a rule."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("show")
@click.argument("what", metavar="ID|RULE", shell_complete=candidates.ids)
@click.option("--as", "form", type=click.Choice(["then"]), help="A rule as text of the language.")
def command_(settings: Settings, what: str, form: str | None) -> None:
    """Shows a record with all that is known of it; the beginning of its id is enough.

    Given the name of a rule that is in force, shows that rule.
    """
    from then.app.reading import open_reading
    from then.cli.showing import show_record, show_rule
    from then.core.errors import ThenError, UnknownId, nearest

    with open_reading(settings.folder) as reading:
        if form is not None:
            show_rule(settings, reading.rules(), what, form)
            return
        try:
            record, history = reading.history().record(what)
        except UnknownId as unknown:
            try:
                rules = reading.rules()
            except ThenError:
                raise unknown from None
            if rules.set.rule(what) is None and not nearest(what, (rule.name for rule in rules.set.rules)):
                raise
            show_rule(settings, rules, what, form)
            return
        show_record(settings, reading, record, history)
