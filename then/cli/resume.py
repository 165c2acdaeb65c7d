"""`andthen resume`: takes up what a stopped engine left."""

from __future__ import annotations

from collections.abc import Callable

import click

from then.cli.settings import Settings, command, run_options


@command("resume")
@click.argument("path", required=False, type=click.Path())
@run_options
def command_(
    settings: Settings,
    path: str | None,
    jobs: int | None,
    durability: str,
    waits: bool,
    timeout: str | None,
    cancel_on_term: bool,
    retention: str,
) -> int:
    """Goes on with all open flows of a state, and shows them until they have ended.

    They keep the rules that they began with, which the journal has; Python is read from where it was. With PATH they
    are moved to the rules there.
    """
    from then.app.engine import Engine, Opening
    from then.app.loading import load_rules
    from then.cli.settings import say
    from then.cli.values import retention_of, seconds
    from then.cli.working import at_work
    from then.journals.opening import find
    from then.loop import Loop

    find(settings.folder)
    limit_s = seconds(timeout, "--timeout") if timeout is not None else None
    retention_s = retention_of(retention)
    rules = load_rules(path) if path is not None else None
    for finding in rules.findings if rules is not None else ():
        say(finding.text())

    def open_engine(watch: Callable[[Loop], None]) -> Engine:
        return Engine(
            rules,
            settings.folder,
            durability=durability,  # type: ignore[arg-type]
            slots=jobs,
            retention_s=retention_s,
            opening=Opening(moves=path is not None, watch=watch),
        )

    with at_work(settings, open_engine, waits=waits, cancels_on_term=cancel_on_term) as work:
        if not work.feed.flows:
            say("nothing is left to go on with")
        return work.follow(work.feed.flows, limit_s)
