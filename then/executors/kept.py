"""What the keeper of a state folder keeps, for those who only look: by its log, and never by its socket.

A keeper hears one engine at a time, so that one who looks would have an engine
wait; and to ask would be to start a keeper where none lives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from then.executors.keeper.log import HEAD, WORDS
from then.executors.keeper.processes import Child, begun_us, living, read_file, stat_of, task_id_of


class Kept(NamedTuple):
    """Processes that were started and not yet forgotten, by the ids of their tasks."""

    running: dict[str, int | None]
    """Since when, in microseconds since 1970, where that is known."""
    ended: frozenset[str]


NOTHING = Kept({}, frozenset())


def read_kept(folder: Path) -> Kept:
    """What runs of a state folder, whether its keeper lives or not, and what has ended; nothing is changed."""
    try:
        rows = [row.split(b" ") for row in (folder / "keeper.log").read_bytes().split(b"\n")[:-1]]
        boot = read_file("/proc/sys/kernel/random/boot_id").strip()
    except OSError:
        return NOTHING
    if not rows or rows[0] != (HEAD + boot).split(b" "):
        return NOTHING  # The machine went down meanwhile: nothing of it runs.
    running: dict[str, int | None] = {}
    begun: set[str] = set()
    ended: set[str] = set()
    for words in rows[1:]:
        if WORDS.get(words[0]) != len(words) or words[0] == b"gap":
            continue
        id = words[1].decode("ascii", "replace")
        begun.discard(id)
        running.pop(id, None)
        ended.discard(id)
        if words[0] == b"S":
            begun.add(id)
        elif words[0] == b"P":
            pid, first, last, started = map(int, words[2:])
            stat = stat_of(pid)
            if (
                stat is not None
                and stat.is_alive
                and Child(words[1], pid, first, last, started, ours=False).is_pid(stat)
            ):
                running[id] = started
        else:
            ended.add(id)
    running.update(_unnamed(folder, begun))
    return Kept(running, frozenset(ended))


def _unnamed(folder: Path, begun: set[str]) -> dict[str, int]:
    """Those of which only the intent is in the log, and which run: their environment tells, and the kernel since when."""
    if not begun:
        return {}
    tasks = os.fsencode(os.path.abspath(folder)) + b"/tasks/"
    starts = {task_id_of(stat.pid, tasks): stat.start for stat in living() if stat.session == stat.pid}
    found = {id.decode("ascii", "replace"): start for id, start in starts.items() if id is not None}
    return {id: begun_us(found[id]) for id in begun & found.keys()}
