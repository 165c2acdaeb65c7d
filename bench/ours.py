"""The same work through `then`, by its public interface.

A worker: `python -m bench.ours WORK FOLDER TASKS DURABILITY` prints one line of JSON.

chain       a function, emitted again by a rule on the one before, TASKS times
fanout      one record, TASKS functions from it, a rule on the end of the flow
processes   one record, TASKS times /bin/true, 2 in flight
latency     `date`, each emitted by a rule on the one before; from one's time to the next's
growth      chains of 100 functions, 64 flows at once, TASKS in all
idle        an engine that has run one task and waits

Timed: from posting the record to the return of the engine's wait; not the
import, not the opening of the state, not what is looked at afterwards.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import then
from bench.floors import DATE, gaps
from bench.matchers import memory_mib
from then import it

CHAIN = 100
"""Length of the chains of `growth`."""
AT_ONCE = 64
WINDOW = 1_000
"""Tasks in one window of `growth`."""


def chain_rules(tasks: int) -> then.Rules:
    """A function, emitted again by a rule on the one before."""
    rules = then.Rules()

    @rules.task("step")
    def step(n: int) -> dict[str, int]:
        return {"n": n + 1}

    @rules.when("step", "done", it.n < tasks)
    def following(step: then.Task) -> Iterator[Any]:
        yield then.emit("step", n=step.result["n"])

    return rules


def chain(folder: Path, tasks: int, durability: str) -> dict[str, Any]:
    with then.Engine(chain_rules(tasks), state=folder / "state", durability=durability) as engine:
        begun = time.perf_counter()
        flow = engine.run("step", n=0)
        seconds = time.perf_counter() - begun
        found = flow.tasks
        right = flow.outcome == "done" and len(found) == tasks and found[-1].result == {"n": tasks}
    return {"seconds": seconds, "right": right, "found": [flow.outcome, len(found), found[-1].result]}


def fanout(folder: Path, tasks: int, durability: str) -> dict[str, Any]:
    rules = then.Rules()
    closed: list[str] = []

    @rules.task("step")
    def step(n: int) -> dict[str, int]:
        return {"n": n + 1}

    @rules.when("start")
    def fan(start: then.Task) -> Iterator[Any]:
        for n in range(tasks):
            yield then.emit("step", n=n)

    @rules.task("close")
    def close(flow: str) -> None:
        closed.append(flow)

    @rules.when("flow.ended", it.type == "start")
    def closing(ended: then.Task) -> Iterator[Any]:
        yield then.emit("close", flow=ended.body["flow"])

    with then.Engine(rules, state=folder / "state", durability=durability) as engine:
        begun = time.perf_counter()
        flow = engine.run("start")
        seconds = time.perf_counter() - begun
        found = [task for task in flow.tasks if task.type == "step"]
        right = flow.outcome == "done" and len(found) == tasks and all(task.outcome == "done" for task in found)
    return {"seconds": seconds, "right": right and closed == [flow.id]}


def _processes(argv: list[str], tasks: int) -> then.Rules:
    rules = then.Rules()
    rules.task("program", run=("process", argv))

    @rules.when("start")
    def fan(start: then.Task) -> Iterator[Any]:
        for _ in range(tasks):
            yield then.emit("program")

    return rules


def processes(folder: Path, tasks: int, durability: str) -> dict[str, Any]:
    with then.Engine(
        _processes(["/bin/true"], tasks), state=folder / "state", durability=durability, slots=2
    ) as engine:
        begun = time.perf_counter()
        flow = engine.run("start")
        seconds = time.perf_counter() - begun
        ended = [task for task in flow.tasks if task.type == "program"]
        right = flow.outcome == "done" and len(ended) == tasks and all(task.result == {"code": 0} for task in ended)
    return {"seconds": seconds, "right": right}


def latency(folder: Path, tasks: int, durability: str = "power") -> dict[str, Any]:
    rules = then.Rules()
    rules.task("date", run=("process", DATE))

    @rules.when("date", "done", it.left > 1)
    def following(date: then.Task) -> Iterator[Any]:
        yield then.emit("date", left=date.body["left"] - 1)

    with then.Engine(rules, state=folder / "state", durability=durability) as engine:
        flow = engine.run("date", left=tasks)
        times = [int(_output(folder / "state", task.id)) for task in flow.tasks]
    return gaps(times, tasks)


def _output(state: Path, id: str) -> bytes:
    found = next((state / "tasks" / id).glob("*out*"))
    return found.read_bytes()


def growth(folder: Path, tasks: int, durability: str) -> dict[str, Any]:
    rules = then.Rules()
    ended: list[float] = []
    """When each window of tasks was full."""
    early: list[float] = []
    count = 0

    @rules.task("step")
    def step(n: int) -> dict[str, int]:
        nonlocal count
        count += 1
        if count % WINDOW == 0:
            ended.append(time.perf_counter())
        if count == tasks // 10:
            early.append(memory_mib())
        return {"n": n + 1}

    @rules.when("step", "done", it.n < CHAIN)
    def following(step: then.Task) -> Iterator[Any]:
        yield then.emit("step", n=step.result["n"])

    async def one_after_the_other(engine: then.AsyncEngine, flows: Iterator[int]) -> int:
        well = 0
        for _ in flows:
            flow = await engine.post("step", n=0)
            await flow.wait()
            well += flow.outcome == "done"
        return well

    async def run() -> int:
        async with then.AsyncEngine(rules, state=folder / "state", durability=durability) as engine:
            flows = iter(range(tasks // CHAIN))
            return sum(await asyncio.gather(*(one_after_the_other(engine, flows) for _ in range(AT_ONCE))))

    begun = time.perf_counter()
    well = asyncio.run(run())
    rates = [WINDOW / (after - before) for before, after in zip([begun, *ended], ended, strict=False)]
    return {"rates": rates, "rss_mib": memory_mib(), "rss_early_mib": early[0], "right": well == tasks // CHAIN}


def idle(folder: Path, tasks: int = 1, durability: str = "power") -> dict[str, Any]:
    with then.Engine(_processes(["/bin/true"], 1), state=folder / "state", durability=durability) as engine:
        flow = engine.run("start")
        return {"rss_mib": memory_mib(), "right": flow.outcome == "done"}


if __name__ == "__main__":
    works: dict[str, Callable[..., dict[str, Any]]] = {
        "chain": chain, "fanout": fanout, "processes": processes, "latency": latency, "growth": growth, "idle": idle,
    }  # fmt: skip
    work, at, amount, *rest = sys.argv[1:]
    said = works[work](Path(at), int(amount), *rest)
    print(json.dumps(said), flush=True)
