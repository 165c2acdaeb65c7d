"""A state with very many tasks that were put off, and starts on it: the worker of the rows on timers.

`python -m bench.pending make STATE COUNT one|own`   the engine puts tasks off for an hour: in one flow, or each in its own
`python -m bench.pending start STATE NEAR`           a start, and NEAR more tasks that come due, 500 a second

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

import then
from then.core.causes import Post

AT_ONCE = 1_000
"""Flows that are posted in one go."""
A_SECOND = 500
"""How many of the near ones come due in a second."""


def _rules(soon: Callable[[int], None]) -> then.Rules:
    rules = then.Rules()

    @rules.task("far")
    def far(n: int) -> None:
        raise AssertionError("it is due in an hour")

    rules.task("soon")(soon)

    @rules.when("load")
    def load(load: then.Task) -> Iterator[Any]:
        for n in range(load.body["count"]):
            yield then.emit("far", n=n).after("1h")

    @rules.when("near")
    def near(near: then.Task) -> Iterator[Any]:
        for n in range(near.body["count"]):
            at = near.body["first"] + n / A_SECOND
            yield then.emit("soon", due_us=int(at * 1e6)).at(at)

    return rules


def make(state: Path, count: int, how: str) -> dict[str, Any]:
    """Makes the state, closes it, and says what was resident beyond the engine that had nothing to do."""
    engine = then.Engine(_rules(lambda due_us: None), state=state, durability="process", slots=2)
    idle_mib = _mib("VmRSS")
    if how == "one":
        engine.post("load", count=count)
    else:
        for first in range(0, count, AT_ONCE):
            posts = [Post("load", {"count": 1}) for _ in range(min(AT_ONCE, count - first))]
            engine.loop.give(*posts)
            engine.run("tick")
    engine.close()
    return {"resident_mib": _mib("VmRSS") - idle_mib, "right": True}


def start(state: Path, near: int) -> dict[str, Any]:
    late_ms: list[float] = []
    all_came = threading.Event()

    def soon(due_us: int) -> None:
        late_ms.append((time.time_ns() / 1000 - due_us) / 1000)
        if len(late_ms) == near:
            all_came.set()

    rules = _rules(soon)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    engine = then.Engine(rules, state=state, durability="process", slots=2)
    engine.run("tick")
    ready = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - begun_cpu}
    most_mib = _mib("VmHWM")
    live = engine.loop.look(lambda state: len(state.tasks))
    if near:
        engine.post("near", count=near, first=time.time() + 1.5)
        all_came.wait()
    late_ms.sort()
    late = {"median_ms": late_ms[near // 2], "p99_ms": late_ms[near * 99 // 100]} if near else {}
    return {**ready, "most_mib": most_mib, "live": live, **late, "right": all(ms >= 0 for ms in late_ms)}


def _mib(what: str) -> float:
    found = re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    work, at, count, *how = sys.argv[1:]
    said = make(Path(at), int(count), *how) if work == "make" else start(Path(at), int(count))
    print(json.dumps(said), flush=True)
    os._exit(0)  # What is still put off stays so.
