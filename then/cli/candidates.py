"""What a shell may complete a word to: ids in the state, types and rules in force.

Whatever goes wrong while a word is completed completes nothing, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from then.cli.settings import settings_of

MANY: Final = 100
"""More than anybody reads."""


def _offers(find: Callable[[click.Context, str], Iterable[tuple[str, str]]]) -> Callable[..., list[Any]]:
    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        try:
            fitting = (one for one in find(context, incomplete) if one[0].startswith(incomplete))
            return [CompletionItem(value, help=text) for value, text in islice(fitting, MANY)]
        except Exception:  # noqa: BLE001  # See the head.
            return []

    return offer


@_offers
def ids(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Live records, then flows, the newest first."""
    from then.app.reading import open_reading

    with open_reading(settings_of(context).folder) as reading:
        history = reading.history()
        yield from ((task.id, f"{task.type} {task.state}") for task in reversed(list(history.state.live())))
        flows = list(history.flows())
        yield from ((flow.id, f"{flow.type} {flow.outcome or flow.state}") for flow in reversed(flows))


@_offers
def flow_ids(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Flows, the newest first."""
    from then.app.reading import open_reading

    with open_reading(settings_of(context).folder) as reading:
        flows = list(reading.history().flows())
    yield from ((flow.id, f"{flow.type} {flow.outcome or flow.state}") for flow in reversed(flows))


@_offers
def breakpoints(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Those that are set."""
    from then.app.reading import open_reading

    with open_reading(settings_of(context).folder) as reading:
        yield from ((point.name, point.text) for point in reading.history().state.holds.points.values())


@_offers
def types(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Types that may be posted: of the rules at PATH where the command has one, else of those in force."""
    from then.app.loading import load_rules
    from then.app.posting import postable
    from then.app.reading import open_reading

    path = context.params.get("path")
    if path is not None and not Path(path).is_file() and not Path(path).is_dir():
        return
    if path is not None:
        rules = load_rules(path)
    else:
        with open_reading(settings_of(context).folder) as reading:
            rules = reading.rules()
    yield from ((name, "event" if name in rules.set.events else "task") for name in postable(rules.set))


@_offers
def outcomes(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    from then.core.tasks import OUTCOMES

    yield from ((outcome, "") for outcome in OUTCOMES)
