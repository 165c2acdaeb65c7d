"""An engine opened for the foreground and closed as it ended: what `run` and `resume` share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from then.app.engine import Engine, Opening
from then.app.rules import Rules
from then.cli.feed import Feed, Printed
from then.cli.foreground import Foreground
from then.cli.settings import RunOptions, Settings, say
from then.cli.views import open_view
from then.loop import Loop

Open: TypeAlias = Callable[[Callable[[Loop], None]], Engine]
"""Opens an engine, given what is to watch it."""


def load(path: str) -> Rules:
    """The rules at a path; warnings are said.

    Raises:
        RulesRefused: with all errors.
    """
    rules = Rules().load(path)
    for finding in rules.findings:
        say(finding.text())
    return rules


def open_engine(settings: Settings, options: RunOptions, rules: Rules | None, *, moves: bool = False) -> Open:
    """How the engine of a command is opened.

    Args:
        rules: None: those last in force in the state.
        moves: open flows go on under these rules.
    """

    def open_it(watch: Callable[[Loop], None]) -> Engine:
        return Engine(
            rules,
            settings.folder,
            durability=options.durability,
            slots=options.jobs,
            resources=options.resources,
            retention_s=options.retention_s,
            docker_allows=options.docker_allows,
            guards=options.guards,
            opening=Opening(moves=moves, watch=watch),
        )

    return open_it


def stays_for(timers: Collection[str]) -> bool:
    """Whether an engine stays for timers, which it then says."""
    if timers:
        say(f"stays for {', '.join(timers)}: Ctrl-C ends it, `andthen timers` lists them")
    return bool(timers)


@contextlib.contextmanager
def at_work(settings: Settings, options: RunOptions, open_it: Open) -> Iterator[Foreground]:
    """An engine at work, shown on standard output, and closed at the end."""
    feeds: list[Feed] = []
    engine = open_it(lambda loop: feeds.append(Feed(loop)))
    feed, work = feeds[0], None
    try:
        engine.tell_person = lambda text: feed.put(Printed(text))
        for notice in engine.notices:
            say(notice)
        with (
            open_view(settings, lambda text: feed.put(Printed(text)), engine.secrets.mask) as view,
            Foreground(engine, feed, view, options, settings.again) as work,
        ):
            yield work
    finally:
        # What a full disk did not take is in no journal: `resume` would not find it.
        is_sound = engine.loop.failure is None and not engine.loop.is_full
        left = engine.loop.look(lambda state: set(state.flows)) if is_sound else set()
        engine.close(wait=work is None or not work.was_signalled)
        if left:
            # Those that it did not wait for: somebody posted them meanwhile, or they were held before.
            is_others = work is not None and bool(work.flows) and left.isdisjoint(work.flows)
            word = f"{'other ' if is_others else ''}flow{' is' if len(left) == 1 else 's are'}"
            say(f"{len(left)} {word} open; `{settings.again('resume')}` goes on")
