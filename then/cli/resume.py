"""`andthen resume`: takes up what a stopped engine left."""

from __future__ import annotations

import click

from then.cli.settings import RunOptions, Settings, command, run_options


@command("resume")
@click.argument("path", required=False, type=click.Path())
@run_options
def command_(settings: Settings, path: str | None, options: RunOptions) -> int:
    """Goes on with all open flows of a state, and shows them until they have ended; stays where there are timers.

    They keep the rules that they began with, which the journal has; Python is read from where it was. With PATH they
    are moved to the rules there.
    """
    from then.cli.settings import say
    from then.cli.working import at_work, load, open_engine, stays_for
    from then.journals.opening import find

    find(settings.folder)
    rules = load(path) if path is not None else None
    with at_work(settings, options, open_engine(settings, options, rules, moves=path is not None)) as work:
        stays = stays_for([str(timer["name"]) for timer in work.engine.timers()])
        if not (work.feed.flows or stays):
            say("nothing is left to go on with")
        return work.follow(work.feed.flows, options.timeout_s, stays=stays)
