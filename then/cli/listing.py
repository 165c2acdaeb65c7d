"""Records in a journal, with what their engine knows beside, and how a list of them is printed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple

import msgspec

from then.analysis.history import History
from then.app.objects import hold_object, origin_object, origin_text, record_object, script_wait_object, time_text
from then.app.reading import Reading
from then.cli.settings import Settings, is_terminal, say
from then.cli.texts import duration, table
from then.cli.words import word
from then.core.edition import FLOW_ENDED
from then.core.facts import Flow, Origin
from then.core.holds import Hold
from then.core.tasks import Body, State, Task

ROWS_ALIGNED: Final = 1000
"""So many rows are measured before they are printed: a longer list is aligned in parts."""


class Seen(NamedTuple):
    """A record, and what is known of it now."""

    task: Task
    state: State
    since: int | None = None
    """Since when it runs, in microseconds, where that is known."""
    hold: Hold | None = None
    """The stop that holds it, where that is one at a breakpoint."""
    waits_for: Body | None = None
    """Of a script, what it waits for."""


def live_records(reading: Reading, history: History, flow: str | None, again: Callable[[str], str]) -> Iterator[Seen]:
    """Records that have not ended, in order of their ids.

    Args:
        again: a command on the same state, for messages.
    """
    running = reading.running()
    live = list(history.state.live(flow))
    if not running.by_engine and any(task.outcome is None and not task.is_held for task in live):
        say(f"no engine runs here: `{again('resume')}` goes on")
    holding = history.state.holds.holding
    for task in live:
        yield _with_wait(seen(task, running.since, holding(task)), history)


def records_of(reading: Reading, history: History, flow: str | None) -> Iterator[Seen]:
    """All records of a flow, or of all flows that are kept, flow by flow."""
    running = reading.running().since
    ids = [flow] if flow is not None else [one.id for one in history.flows() if one.type != FLOW_ENDED]
    holding = history.state.holds.holding
    for id in ids:
        for record in history.flow(id).records.values():
            yield _with_wait(seen(record.task, running, holding(record.task)), history)


def seen(task: Task, running: dict[str, int | None], hold: Hold | None = None) -> Seen:
    if task.outcome is None and task.id in running:
        return Seen(task, "running", running[task.id])
    return Seen(task, task.state, task.started, hold)


def _with_wait(one: Seen, history: History) -> Seen:
    """The same, of a script with what it waits for."""
    script = history.state.waits.scripts.of.get(one.task.id)
    return one if script is None else one._replace(waits_for=script_wait_object(script))


def print_records(settings: Settings, found: Iterable[Seen], flows: Mapping[str, Flow]) -> None:
    """One JSON object, or one row, a record."""

    @cache
    def origin(flow: str) -> Origin | None:
        open_flow = flows.get(flow)
        return open_flow.origin if open_flow is not None else None

    if settings.is_json:
        for one in found:
            shown = record_object(one.task, one.state, started=one.since)
            if (of := origin(one.task.flow)) is not None:
                shown["fork"] = origin_object(of)
            if one.waits_for is not None:
                shown["waits_for"] = one.waits_for
            print_object(shown if one.hold is None else {**shown, "held": hold_object(one.hold)})
        return
    now = time.time_ns() // 1000  # noqa: TID251  # How long something has run is a matter of now.
    rows = (
        (one.task.id, one.task.type, _state(one), _time(one, now), _flow(one, origin(one.task.flow)), _body(one.task))
        for one in found
    )
    print_table(("ID", "TYPE", "STATE", "TIME", "FLOW", "BODY"), rows)


def _flow(one: Seen, origin: Origin | None) -> str:
    return one.task.flow if origin is None else f"{one.task.flow} (fork of {origin.flow}, entry {origin.seq})"


def print_flows(found: Iterable[Flow]) -> None:
    """One row a flow."""
    now = time.time_ns() // 1000  # noqa: TID251
    rows = (
        (
            flow.id,
            flow.type,
            (flow.outcome or flow.state).replace("_", " "),
            str(flow.records),
            (time_text(flow.created) or "")[:19] + "Z",
            duration(max(0, (flow.ended or now) - flow.created) / 1e6),
            flow.text or flow.held or (origin_text(flow.origin) if flow.origin is not None else ""),
        )
        for flow in found
    )
    print_table(("ID", "TYPE", "STATE", "RECORDS", "STARTED", "TIME", "TEXT"), rows)


def print_object(item: object) -> None:
    """One line of JSON."""
    sys.stdout.write(msgspec.json.encode(item).decode() + "\n")


def print_answer(settings: Settings, answer: object, lines: Iterable[str]) -> None:
    """What a command gave: an object, or its ids a line each."""
    if settings.is_json:
        print_object(answer)
        return
    for line in lines:
        sys.stdout.write(f"{line}\n")


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A table as wide as the terminal, or as its cells where there is none."""
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    batch: list[tuple[str, ...]] = []
    is_first = True
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_ALIGNED:
            _print(head, batch, columns, is_first)
            batch, is_first = [], False
    if batch or is_first:
        _print(head, batch, columns, is_first)


def _print(head: tuple[str, ...], rows: list[tuple[str, ...]], columns: int | None, has_head: bool) -> None:
    lines = list(table(head, rows, columns))
    sys.stdout.write("\n".join(lines if has_head else lines[1:]) + "\n")


def awaited_text(wait: Body) -> str:
    """`waits at pay.py:7 for 2 records until 2026-…Z`."""
    count = len(wait["records"])
    records = f" for {count} record{'' if count == 1 else 's'}" if count else ""
    until = f" until {wait['until']}" if wait["until"] is not None else ""
    return f"waits at {wait['place']}{records}{until}"


def _state(one: Seen) -> str:
    if one.hold is None:
        now = word(one.task, one.state)
        return now if one.waits_for is None else f"{now}, {awaited_text(one.waits_for)}"
    return f"held at {one.hold.breakpoint} ({one.hold.place})"


def _time(one: Seen, now: int) -> str:
    """How long it ran, or runs, or waits, or is held."""
    if one.hold is not None:
        return duration(max(0, now - one.hold.since) / 1e6)
    if one.task.completed is not None:
        return duration(one.task.took) if one.task.took is not None and not one.task.event else ""
    return duration(max(0, now - (one.since if one.since is not None else one.task.created)) / 1e6)


def _body(task: Task) -> str:
    text = msgspec.json.encode(task.body).decode() if task.body else ""
    return text if len(text) <= 200 else text[:199] + "…"
