"""`andthen joins`: half-filled joins and sets, what they have and what they wait for."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command
from then.core.tasks import Body


@command("joins")
@click.option("--rule", metavar="RULE", help="Of this rule only.")
@click.option("--flow", metavar="ID", help="To which a record of this flow came only.")
def command_(settings: Settings, rule: str | None, flow: str | None) -> None:
    """Lists the joins that have some of their parts, and the sets of which some have not ended: for which key, what came, what is missing, and until when."""
    from then.app.objects import set_object, wait_object
    from then.app.reading import open_reading
    from then.cli.listing import print_object, print_table
    from then.core.standing import open_sets

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
        found += [
            set_object(one, reading.rules_of(history, one.flow))
            for one in open_sets(history.state)
            if rule in (None, one.rule) and whole in (None, one.flow)
        ]
    if settings.is_json:
        for one in found:
            print_object(one)
        return
    rows = (
        (
            one["rule"],
            _key(one),
            ", ".join(f"{part['type']} {part['came']}" for part in one["parts"] if part["came"]),
            ", ".join(one["missing"]) + _awaited(one["awaited"]),
            one["until"] or "",
        )
        for one in found
    )
    print_table(("RULE", "KEY", "CAME", "MISSING", "UNTIL"), rows)


def _key(one: Body) -> str:
    """The values that its records share; of those of one flow or call alone, which."""
    from then.cli.texts import clean
    from then.core.values import json_text

    if one["key"] or one["scope"] is None:
        return clean(json_text(one["key"]))
    return f"{'flow' if one['scope'] == one['flow'] else 'call'} {one['scope']}"


def _awaited(awaited: Body | None) -> str:
    """Of a set, how many it waits for, and the first of them."""
    if awaited is None:
        return ""
    count, ids, unseen = awaited["count"], awaited["records"], awaited["unseen"]
    more = ["…"] if ids and count - unseen > len(ids) else []
    ended = [f"{unseen} ended unseen"] if unseen else []
    said = ", ".join([*ids, *more, *ended])
    return f" {count} ({said})" if said else f" {count}"
