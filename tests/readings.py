"""What a state says, in plain values: so that one that was replayed can be held against the one that wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from then.core import facts as f
from then.core.facts import Flow
from then.core.folds import restore, turn
from then.core.scripts import Scripts
from then.core.state import State
from then.core.tasks import Body
from then.core.waits import Frame

Cells = dict[tuple[str, str], bytes]


def in_line(state: State) -> set[str]:
    """Who waits for a start, runs, or cannot run here; of a limit or a lock too. And perhaps who has ended meanwhile."""
    known = {id for id in state.tasks if id in state.admission}
    queued = {
        *state.queue,
        *state.free,
        *state.claiming,
        *(id for turns in state.waiting.values() for id in turns.ids()),
    }
    return known | queued | {*state.running, *state.stuck}


def told(state: State) -> Body:
    """All that a state says.

    What is running waits, for that is not in the journal; what a held flow would start is queued at its release.
    """
    tasks = {task.id: msgspec.to_builtins(task) for task in state.live()}
    waiting = in_line(state)
    may_start = {
        task.id
        for task in state.live()
        if task.id in waiting and task.outcome is None and task.started is None and not task.is_held
        if state.flows[task.flow].held is None
    }
    return {
        "tasks": tasks,
        "flows": {id: with_ties(flow, state.waits.ties.of(id)) for id, flow in sorted(state.flows.items())},
        "chains": {id: msgspec.to_builtins(chain) for id, chain in sorted(state.chains.items())},
        "keys": {key: msgspec.to_builtins(value) for key, value in sorted(state.keys.items())},
        "pending": sorted(state.pending),
        "may start": sorted(may_start),
        "stopping": sorted(state.stopping),
        "stop kinds": dict(sorted(state.stop_kinds.items())),
        "seq": state.seq,
        "version": state.version,
        "points": _plain(state.holds.points),
        "holds": _plain(state.holds.stops),
        "forks": _plain(state.holds.forks),
        "breakpoints version": state.holds.number,
        "is watched": state.is_watched,
        **told_of_waits(state),
    }


def with_ties(of: Flow | Frame, keys: Iterable[str]) -> list[object]:
    """A flow or call, with what waits in it in the place where that once stood."""
    fields: list[object] = msgspec.to_builtins(of)
    fields[of.__struct_fields__.index("waits")] = dict.fromkeys(keys, True)
    return fields


def told_of_waits(state: State) -> Body:
    """Open calls, joins, sets and times."""
    waits = state.waits
    return {
        "frames": {id: with_ties(frame, waits.call_ties.of(id)) for id, frame in sorted(waits.frames.items())},
        "waits": {wait.key: msgspec.to_builtins(wait) for wait in sorted(waits.open_waits(), key=lambda one: one.key)},
        "tallies": _plain(waits.tallies),
        "timers": _plain(waits.timers),
        "ties": waits.ties.items(),
        "ties of calls": waits.call_ties.items(),
        "marks": dict(sorted(waits.marks.items())),
        **told_of_scripts(waits.scripts),
    }


def told_of_scripts(scripts: Scripts) -> Body:
    """What scripts did; nothing where there are none."""
    found: Body = {}
    for id, script in sorted(scripts.of.items()):
        recorded = scripts.recorded(id)
        assert recorded is not None
        assert len(recorded.steps()) == script.count
        records = {key: msgspec.to_builtins(task) for key, task in sorted(recorded.records().items())}
        found[id] = [msgspec.to_builtins(script), recorded.steps(), records]
    return {"scripts": found} if found else {}


def due_of(state: State) -> dict[tuple[str, str], int]:
    """What is due, and when, without what no longer means anything: the expiry of what runs."""
    return {
        (kind, of): at for (kind, of), at in state.waits.dues.items() if kind != "expires" or of not in state.running
    }


def _plain(cells: Mapping[str, msgspec.Struct]) -> Body:
    return {key: msgspec.to_builtins(value) for key, value in sorted(cells.items())}


def replayed(pages: Iterable[f.Page], version: str = "v1") -> State:
    state = State()
    state.version = version
    for page in pages:
        turn(state, page)
    return state


def store(cells: Cells, changed: Iterable[tuple[str, str, bytes | None]]) -> None:
    for kind, key, data in changed:
        if data is None:
            cells.pop((kind, key), None)
        else:
            cells[kind, key] = data


def restored(cells: Cells, pages: list[f.Page]) -> State:
    def of(kind: str) -> list[tuple[str, bytes]]:
        return sorted((key, data) for (one, key), data in cells.items() if one == kind)

    return restore(of, lambda after: (f.encode(page) for page in pages[after:]))
