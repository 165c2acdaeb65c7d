"""Our side of the containers: `python -m bench.ours_containers WORK FOLDER TASKS HOST NETWORK` prints one line of JSON.

rate        /bin/true, 4 in flight
memory      what so many that run at once add to the engine after its first one
fresh       /bin/true, one after the other, each in a container of its own
exec        the same, in one that is there
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import then
from bench.containers_floor import COMMAND, IMAGE, LANES, WARM, Connection, warm
from bench.matchers import memory_mib


def _rules(folder: Path, tasks: int, run: str) -> then.Rules:
    rules = then.Rules()
    (folder / "one.then").write_text(f"task one()\n  {run}\n")
    rules.load(folder / "one.then")

    @rules.when("start")
    def fan(start: then.Task) -> Iterator[then.Emission]:
        for _ in range(start.body.get("tasks", tasks)):
            yield then.emit("one")

    return rules


def _run(folder: Path, tasks: int, run: str, slots: int) -> dict[str, Any]:
    """All of them in one flow, after one that is not counted: the SDK is loaded, the engine found."""
    with then.Engine(_rules(folder, tasks, run), state=folder / "state", slots=slots) as engine:
        engine.run("start", tasks=1)
        begun, cpu = time.perf_counter(), time.process_time()
        flow = engine.run("start", tasks=tasks)
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        ended = [task for task in flow.tasks if task.type == "one"]
        right = flow.outcome == "done" and len(ended) == tasks and all(task.result == {"code": 0} for task in ended)
    return {"seconds": seconds, "own_ms": cpu_s / tasks * 1e3, "right": right}


def _true(host: str, network: str) -> str:
    more = "" if network == "default" else f" network {network}"
    return f'run docker "{IMAGE}" args {json.dumps(COMMAND)} host "{host}"{more}'


def rate(folder: Path, tasks: int, host: str, network: str) -> dict[str, Any]:
    return _run(folder, tasks, _true(host, network), LANES)


def fresh(folder: Path, tasks: int, host: str, network: str) -> dict[str, Any]:
    return _run(folder, tasks, _true(host, network), 1)


def in_warm(folder: Path, tasks: int, host: str, _network: str) -> dict[str, Any]:
    with warm(host):
        run = f'run docker "{WARM}" action exec args {json.dumps(COMMAND)} host "{host}"'
        return _run(folder, tasks, run, 1)


def memory(folder: Path, tasks: int, host: str, _network: str) -> dict[str, Any]:
    """One runs and ends; then so many run at once. Measured while their engine tells all of them as running."""
    run = f'run docker "{IMAGE}" args ["/bin/sleep", "3600"] host "{host}"'
    connection = Connection(host)
    with then.Engine(_rules(folder, tasks, run), state=folder / "state", slots=tasks) as engine:
        _run_and_kill(engine, connection, 1)
        idle_mib = memory_mib()
        said = _run_and_kill(engine, connection, tasks)
    return {**said, "idle_mib": idle_mib, "grown_mib": said["rss_mib"] - idle_mib}


def _run_and_kill(engine: then.Engine, connection: Connection, count: int) -> dict[str, Any]:
    flow = engine.post("start", tasks=count)
    running: list[str] = []
    while len(running) < count:
        time.sleep(0.1)
        running = _running(connection, flow.id)
    said = {"rss_mib": memory_mib(), "threads": threading.active_count()}
    for id in running:
        connection.ask("POST", f"/containers/{id}/kill")
    ended = [task for task in flow.wait().tasks if task.type == "one"]
    return {**said, "right": [task.result for task in ended] == [{"code": -9}] * count}


def _running(connection: Connection, flow: str) -> list[str]:
    filters = quote(json.dumps({"label": [f"then.flow={flow}"], "status": ["running"]}))
    return [one["Id"] for one in json.loads(connection.ask("GET", f"/containers/json?filters={filters}"))]


if __name__ == "__main__":
    works = {"rate": rate, "fresh": fresh, "exec": in_warm, "memory": memory}
    work, at, amount, where, network = sys.argv[1:]
    print(json.dumps(works[work](Path(at), int(amount), where, network)), flush=True)
