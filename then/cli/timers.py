"""`andthen timers`: the timers of the rules in force, and what a person does to them."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("timers")
@click.argument("what", metavar="[pause|resume|fire]", required=False, type=click.Choice(["pause", "resume", "fire"]))
@click.argument("name", metavar="[NAME]", required=False)
def command_(settings: Settings, what: str | None, name: str | None) -> None:
    """Lists the timers: when each fires next, and the last flow that it started.

    `pause NAME` keeps one from firing, `resume NAME` lets it again, `fire NAME` fires it now.
    """
    from then.app.objects import timer_object
    from then.app.reading import open_reading
    from then.cli.changing import change
    from then.cli.listing import print_answer, print_object, print_table

    if what is not None:
        if name is None:
            raise click.UsageError(f"timers {what}: of which one? `andthen timers` lists them")
        answer = change(settings, "timer", name=name, what=what)
        print_answer(settings, answer, [f"{name}: {_said(answer, what)}"])
        return
    with open_reading(settings.folder) as reading:
        state = reading.history().state
        declared = reading.rules().set.timers if state.waits.timers else {}
        found = [timer_object(timer, declared.get(timer.name)) for timer in state.waits.timers.values()]
    if settings.is_json:
        for one in found:
            print_object(one)
        return
    print_table(
        ("NAME", "WHEN", "NEXT", "LAST FLOW", ""),
        (
            (
                one["name"], one["when"] or "", one["next"] or "", one["flow"] or "",
                "paused" if one["paused"] else f"{one['queued']} queued" if one["queued"] else "",
            )
            for one in found
        ),
    )  # fmt: skip


def _said(answer: dict[str, object], what: str) -> str:
    if what == "fire":
        if answer["fired"]:
            return f"flow {answer['fired']}"
        then = (
            f"fires when it has ended, {answer['queued']} queued"
            if answer["queued"]
            else "`overlap skip` leaves this time out"
        )
        return f"flow {answer['flow']} lives; {then}"
    if answer["paused"]:
        return "paused"
    return f"next {answer['next']}" if answer["next"] else "does not fire any more"
