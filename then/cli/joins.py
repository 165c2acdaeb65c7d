"""`andthen joins`: half-filled joins, what they have and what they wait for."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("joins")
@click.option("--rule", metavar="RULE", help="Of this rule only.")
@click.option("--flow", metavar="ID", help="To which a record of this flow came only.")
def command_(settings: Settings, rule: str | None, flow: str | None) -> None:
    """Lists the joins that have some of their parts: for which key, what came, what is missing, and until when."""
    from then.app.objects import wait_object
    from then.app.reading import open_reading
    from then.cli.listing import print_object, print_table
    from then.cli.texts import clean
    from then.core.values import json_text

    with open_reading(settings.folder) as reading:
        history = reading.history()
        whole = history.find(flow)[1] if flow is not None else None
        found = [
            wait_object(wait, reading.rules_of(history, wait.flow))
            for wait in history.state.waits.open_waits()
            if rule in (None, wait.rule)
            and (not wait.answered or any(wait.parts))
            and (whole is None or any(t.flow == whole for p in wait.parts for t in p))
        ]
    if settings.is_json:
        for one in found:
            print_object(one)
        return
    rows = (
        (
            one["rule"],
            clean(json_text(one["key"])),
            ", ".join(f"{part['type']} {part['came']}" for part in one["parts"] if part["came"]),
            ", ".join(one["missing"]),
            one["until"] or "",
        )
        for one in found
    )
    print_table(("RULE", "KEY", "CAME", "MISSING", "UNTIL"), rows)
