"""Scripts at work, for one measurement: `python -m bench.scripted FOLDER PARKED STEPS…`. Prints a line of JSON.

PARKED scripts wait for a person for a day; beside them a script runs and waits
for as many quick functions as each STEPS says, and the same chain is run by
rules. Then some of those that wait are woken; then the engine is opened again,
for a script of 1,000 steps to be run again up to where it was.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import then
from then import it
from then.core.causes import Report
from then.core.rules import TaskDecl
from then.core.state import State
from then.core.tasks import Json

WOKEN = 100
REPLAYED = 500
"""Tasks of the script that is run again: each is two steps."""
ROUNDS = 3

SCRIPTS = {
    "chain.py": "def main(n):\n    for k in range(n):\n        wait(run('one', n=k))\n",
    "parked.py": "def main(k):\n    wait(run('person', k=k), timeout='1d')\n",
    "long.py": "def main(n):\n    for k in range(n):\n        wait(run('one', n=k))\n    wait(run('person', k=n))\n",
}


def rules_of(folder: Path) -> then.Rules:
    """A chain by rules and one by a script, and scripts that wait for a person."""
    rules = then.Rules()
    rules.root = folder
    for file, text in SCRIPTS.items():
        (folder / file).write_text(text)
        rules.task(file.removesuffix(".py"), run=("script", file))
    rules.set.declare(TaskDecl("person"))

    @rules.task("one")
    def one(n: int) -> dict[str, int]:
        return {"m": n + 1}

    @rules.task("link")
    def link(n: int, left: int) -> dict[str, int]:
        return {"m": n + 1, "left": left - 1}

    @rules.when("link", "done", it.left > 0)
    def further(link: then.Task) -> Iterator[then.Emission]:
        assert link.result is not None
        yield then.emit("link", n=link.result["m"], left=link.result["left"])

    return rules


def main(folder: Path, parked: int, sizes: list[int]) -> dict[str, Json]:
    state = folder / "state"
    told: dict[str, Json] = {"right": True, "rules": {}, "scripts": {}}
    with then.Engine(rules_of(folder), state) as engine:
        engine.run("chain", n=10)
        idle = resident_mb()
        began = time.perf_counter()
        asked = [engine.post("parked", k=k) for k in range(parked)]
        until(engine, lambda state: _waiting(state) >= parked)
        told["parking_s"] = time.perf_counter() - began
        time.sleep(1.0)  # Those that wait in a thread leave it.
        told["parked_mb"], told["idle_mb"] = resident_mb(), idle
        told["threads"] = threading.active_count()
        for size in sizes:
            runs = [timed(engine, "link", n=0, left=size - 1) for _ in range(ROUNDS)]
            told["rules"][size] = statistics.median(runs)
            runs = [timed(engine, "chain", n=size) for _ in range(ROUNDS)]
            told["scripts"][size] = statistics.median(runs)
        told["wakes_ms"] = [wake(engine, flow) for flow in asked[:WOKEN]]
        long = engine.post("long", n=REPLAYED)
        until(engine, lambda state: _asked(state, long.id) is not None)
    with then.Engine(rules_of(folder), state) as engine:
        told["replay_s"] = wake(engine, engine.flow(long.id)) / 1000
        told["right"] &= engine.flow(long.id).outcome == "done"
    return told


def timed(engine: then.Engine, type: str, **body: Json) -> float:
    """Seconds from the post of a record to the end of its flow."""
    began = time.perf_counter()
    flow = engine.run(type, **body)
    assert flow.outcome == "done", flow
    return time.perf_counter() - began


def wake(engine: then.Engine, flow: then.Flow) -> float:
    """Milliseconds from a person's answer, which is durable then, to the end of the script that waits for it."""
    id = engine.loop.look(lambda state: _asked(state, flow.id))
    assert id is not None
    now = engine.clock.now_us()
    # As `engine.complete` does, which reads the history of all first, to be sure of the id.
    engine.loop.ask(Report(id, "done", {}, None, now, now, flow.id, "person"))
    began = time.perf_counter()
    flow.wait()
    return (time.perf_counter() - began) * 1000


def until(engine: then.Engine, is_so: Callable[[State], bool]) -> None:
    while not engine.loop.look(is_so):
        time.sleep(0.05)


def _waiting(state: State) -> int:
    return sum(script.open is not None for script in state.waits.scripts.of.values())


def _asked(state: State, flow: str) -> str | None:
    """The person's task of a flow, once its script waits for it."""
    script = state.waits.scripts.of.get(flow)
    ids = script.open.ids if script is not None and script.open is not None else []
    return next((id for id in ids if (task := state.task(id)) is not None and task.type == "person"), None)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]])))
