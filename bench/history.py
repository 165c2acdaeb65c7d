"""A state with much history and much that is unfinished, and starts on it: the worker of row 7.

`python -m bench.history make STATE COMPLETED UNFINISHED`   the engine makes it, and dies at once
`python -m bench.history start STATE UNFINISHED`            a start, up to the first call of a function
`python -m bench.history rows FOLDER COUNT`                 a table with as many records, for the floor
`python -m bench.history read FOLDER`                       reads and decodes them

Each prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import then
from bench import floors

AT_ONCE = 100_000
"""Tasks of one flow: below what one match may emit."""
AFTERWARDS = 5_000
"""Tasks that are completed after the unfinished ones came, so that these are older than a checkpoint."""


def _rules(later: Callable[[int], None]) -> then.Rules:
    rules = then.Rules()

    @rules.task("step", slots=0)
    def step(n: int) -> dict[str, int]:
        return {"n": n + 1}

    rules.task("later")(later)

    @rules.when("load")
    def load(load: then.Task) -> Iterator[Any]:
        for n in range(load.body["count"]):
            yield then.emit(load.body["task"], n=n)

    return rules


def make(state: Path, completed: int, unfinished: int) -> dict[str, Any]:
    engine = then.Engine(_rules(_wait), state=state, durability="process", slots=2)
    done = 0
    while done < completed - AFTERWARDS:
        count = min(AT_ONCE, completed - AFTERWARDS - done)
        assert engine.run("load", task="step", count=count).outcome == "done"
        done += count
    for first in range(0, unfinished, AT_ONCE):
        engine.post("load", task="later", count=min(AT_ONCE, unfinished - first))
    assert engine.run("load", task="step", count=AFTERWARDS).outcome == "done"
    return {"right": True}


def _wait(n: int) -> None:
    threading.Event().wait()


def start(state: Path, unfinished: int) -> dict[str, Any]:
    dispatched = threading.Event()
    ready: list[tuple[float, float]] = []

    def later(n: int) -> None:
        if not ready:
            ready.append((time.perf_counter(), _most_mib()))
            dispatched.set()
        _wait(n)

    rules = _rules(later)
    begun = time.perf_counter()
    engine = then.Engine(rules, state=state, slots=2)
    dispatched.wait()
    seconds, mib = ready[0]
    live = engine.loop.look(lambda state: sum(1 for task in state.tasks.values() if task is not None))
    return {"seconds": seconds - begun, "rss_mib": mib, "live": live, "right": live == unfinished}


def _most_mib() -> float:
    """The most that was resident so far."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def rows(folder: Path, count: int) -> dict[str, Any]:
    database = floors.opened(folder, "normal")
    encode = msgspec.msgpack.Encoder().encode
    database.execute("BEGIN")
    rows = ((encode(floors.record(n)),) for n in range(count))
    database.executemany("INSERT INTO fact (data) VALUES (?)", rows)
    database.execute("COMMIT")
    return {"right": floors.count(database) == count}


def read(folder: Path) -> dict[str, Any]:
    decode = msgspec.msgpack.Decoder(floors.Record).decode
    begun = time.perf_counter()
    database = floors.connect(folder)
    found = [decode(data) for (data,) in database.execute("SELECT data FROM fact ORDER BY seq")]
    return {"seconds": time.perf_counter() - begun, "right": bool(found)}


if __name__ == "__main__":
    works: dict[str, Callable[..., dict[str, Any]]] = {"make": make, "start": start, "rows": rows, "read": read}
    work, at, *numbers = sys.argv[1:]
    print(json.dumps(works[work](Path(at), *map(int, numbers))), flush=True)
    os._exit(0)  # As a crash would: nothing is closed, nothing more is written.
