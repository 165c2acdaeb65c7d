"""An engine opened for the foreground and closed as it ended: what `run` and `resume` share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from then.app.engine import Engine
from then.cli.feed import Feed, Printed
from then.cli.foreground import Foreground
from then.cli.settings import Settings, say
from then.cli.views import open_view
from then.loop import Loop


@contextlib.contextmanager
def at_work(
    settings: Settings, open_engine: Callable[[Callable[[Loop], None]], Engine], *, waits: bool, cancels_on_term: bool
) -> Iterator[Foreground]:
    """An engine at work, shown on standard output, and closed at the end.

    Args:
        open_engine: given what is to watch it (`Opening.watch`).
    """
    feeds: list[Feed] = []
    engine = open_engine(lambda loop: feeds.append(Feed(loop)))
    work = None
    try:
        for notice in engine.notices:
            say(notice)
        feed = feeds[0]
        with (
            open_view(settings, lambda text: feed.put(Printed(text))) as view,
            Foreground(engine, feed, view, waits=waits, cancels_on_term=cancels_on_term, again=settings.again) as work,
        ):
            yield work
    finally:
        left = engine.loop.look(lambda state: len(state.flows)) if engine.loop.failure is None else 0
        engine.close(wait=work is None or not work.was_signalled)
        if left:
            say(f"{left} flow{' is' if left == 1 else 's are'} open; `{settings.again('resume')}` goes on")
