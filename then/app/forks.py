"""Forks: a flow begun anew from a moment of another, out of what the journal has of that."""

from __future__ import annotations

from collections.abc import Mapping

from then.app.engine import Engine
from then.core import facts as f
from then.core.causes import Fork
from then.core.errors import ConfigError
from then.core.forks import recorded
from then.core.tasks import Body


def fork_flow(
    engine: Engine,
    flow: str,
    seq: int | None = None,
    *,
    is_real: bool = False,
    stubs: Mapping[str, Body] | None = None,
    who: str = "",
) -> str:
    """Begins a fork, which is held until it is continued; gives its id.

    Args:
        flow: the origin, open or ended.
        seq: the last entry of the journal that is true of the fork; None: all of them.
        is_real: its tasks are run; else they are answered as the journal has it, by `stubs`, or by a person.
        stubs: results by type.

    Raises:
        UnknownId: there is no such flow.
        ConfigError: it had not begun at that moment, or had ended.
    """
    history = engine.history()
    flow = history.find(flow)[1]
    entries = [one for one in history.seqs(flow) if seq is None or one <= seq]
    if not entries:
        raise ConfigError(f"flow {flow} had not begun by entry {seq}")
    pages = [f.decode(entry.data) for one in entries for entry in engine.loop.journal.read(one - 1, one)]
    origin = history.flow(flow)
    over = frozenset(fact.id for page in pages for fact in page.facts if isinstance(fact, f.Completed))
    records = origin.records.values()
    given = {record.task.id: record.edits[0][2].body for record in records if record.edits}
    answers = () if is_real else recorded([record.task for record in records], given, over)
    if is_real:
        engine._attach_for(origin.flow.version)  # noqa: SLF001 (one of them)
    task = engine.loop.ask(Fork(flow, entries[-1], pages, answers, stubs or {}, is_real, who))
    assert task is not None
    return task.flow
