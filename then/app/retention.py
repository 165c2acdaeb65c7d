"""Retention: flows that ended are taken away whole, with their entries, cells and output.

What is taken: the entries of the flow, its cells (`past`, `trace`, and `key`,
which frees its posting keys), `window` cells that nothing is left of, and the
folders `tasks/<id>`. What is live is never touched, nor are rules versions.

The folders go first: a crash between leaves records without output, which the
next time finds and takes; the other way round folders would stay that nobody
knows of.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from then.abc import Cell, Journal
from then.analysis.history import History, Record
from then.app.engine import Engine
from then.core.errors import ConfigError
from then.core.facts import Flow
from then.core.ids import id_time_us
from then.core.state import State

FLOWS_AT_ONCE: Final = 100
"""In one transaction, for which the engine waits some ten milliseconds."""


class Pruned(NamedTuple):
    """What was taken away, or would be."""

    flows: list[Flow]
    records: int
    entries: int


def prune(
    engine: Engine,
    *,
    older_s: float | None = None,
    keep: int | None = None,
    flow: str | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Takes ended flows away.

    Args:
        older_s: those that ended longer ago, in seconds; None: of any age.
        keep: but for the newest so many.
        flow: this one alone; an unambiguous beginning of its id is enough.

    Raises:
        UnknownId: there is no such flow.
        ConfigError: it lives.
        JournalError: the journal cannot be written; what was taken so far is gone.

    Cost: grows with the flows that are taken and, with `keep`, with those that are kept.
    """
    if flow is not None:
        flow = _ended(engine.history(), flow)
    engine.loop.prune(lambda state: ([], []))  # Now all that ended is in cells.
    history = History(engine.journal, State())
    if flow is not None:
        found = [history.flow(flow).flow]
    else:
        found = list(ended_before(history, engine.clock.now_us() - round((older_s or 0.0) * 1e6)))
        if keep is not None:
            newest = heapq.nlargest(keep, ((one.ended or 0, one.id) for one in history.past()))
            spared = {id for _, id in newest}
            found = [one for one in found if one.id not in spared]
    records = entries = 0
    for batch in _batches(found):
        ids = [one.id for one in batch]
        gone = [record for id in ids for record in history.flow(id).records.values()]
        records += len(gone)
        if dry_run:
            entries += sum(len(history.seqs(id)) for id in ids)
        else:
            entries += _take(engine, ids, gone)
    return Pruned(found, records, entries)


def has_old(engine: Engine, older_s: float) -> bool:
    """Whether a flow ended so long ago; a look at the first ones that are kept."""
    before = engine.clock.now_us() - round(older_s * 1e6)
    return any(ended_before(History(engine.journal, State()), before))


def ended_before(history: History, before_us: int) -> Iterator[Flow]:
    """Flows that ended before a time, the oldest first.

    Cost: grows with those that began before it: ids tell when.
    """
    for flow in history.past():
        if id_time_us(flow.id) >= before_us:
            return
        if flow.ended is not None and flow.ended < before_us:
            yield flow


def _ended(history: History, prefix: str) -> str:
    """The id of the flow that has a record whose id begins so."""
    id = history.find(prefix)[1]
    flow = history.flow(id).flow
    if flow.outcome is None:
        raise ConfigError(f"flow {id} is {flow.state}; only flows that ended can be taken away")
    return id


def remove_folder(tasks: Path, id: str) -> None:
    """Removes the folder of a task, where it is its own still.

    It is renamed before: the keeper gives the folders of tasks that left nothing to others, and what is open here
    would be theirs by then. What a removal that was killed left goes too.
    """
    import shutil

    gone = tasks / f"{id}.gone"
    with contextlib.suppress(OSError):  # There is none, or not any more.
        os.rename(tasks / id, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _take(engine: Engine, ids: Sequence[str], records: Sequence[Record]) -> int:
    """One transaction. Gives how many entries went."""
    if engine.folder is not None:
        for record in records:
            remove_folder(engine.folder / "tasks", record.task.id)
    keys = [record.key for record in records if record.key is not None]
    gone: list[int] = []

    def choose(state: State) -> tuple[list[int], list[Cell]]:
        cells: list[Cell] = []
        for id in ids:
            if id in state.flows:
                continue  # Somebody has retried it meanwhile.
            for key, data in list(engine.journal.cells("trace", f"{id}/")):
                gone.extend(msgspec.msgpack.decode(data, type=list[int]))
                cells.append(Cell("trace", key, None))
            cells.append(Cell("past", id, None))
        for key in keys:
            if key in state.keys and state.keys[key].flow in ids and state.keys[key].flow not in state.flows:
                del state.keys[key]
                cells.append(Cell("key", key, None))
        for key in [key for key, twin in state.waits.twins.items() if twin.is_done and twin.flow in ids]:
            del state.waits.twins[key]
            cells.append(Cell("twin", key, None))
        gone.sort()
        return gone, cells

    engine.loop.prune(choose)
    empty = [Cell("window", key, None) for key in _empty_windows(engine.journal, gone)]
    if empty:
        engine.loop.prune(lambda state: ([], empty))
    return len(gone)


def _empty_windows(journal: Journal, gone: Sequence[int]) -> Iterator[str]:
    """Windows of entries that had some of these, and have none left."""
    if not gone:
        return
    touched = set(gone)
    for key, data in journal.cells("window"):
        first, last = msgspec.msgpack.decode(data, type=tuple[int, int])
        if first > gone[-1] or last < gone[0] or touched.isdisjoint(range(first, last + 1)):
            continue
        if next(iter(journal.read(first - 1, last)), None) is None:
            yield key


def _batches(found: Iterable[Flow]) -> Iterator[tuple[Flow, ...]]:
    rest = iter(found)
    while batch := tuple(itertools.islice(rest, FLOWS_AT_ONCE)):
        yield batch
