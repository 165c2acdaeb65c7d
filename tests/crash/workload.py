"""A whole engine to be killed: `python -m tests.crash.workload FOLDER [--durability process]`.

It posts a few flows under keys, each of functions and processes that follow one
another by rules, and waits for their ends. Started again it posts the same keys
and goes on. What it was told is durable it says in a file of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import then
from then import it
from then.app.engine import Engine

FLOWS = 3
WIDTH = 3
RUN = 'echo "$THEN_TASK_ID" >> "$RUNS"; echo "out $THEN_TASK_ID"; exit $CODE'
TRIED = 'echo "$THEN_TASK_ID" >> "$RUNS"; echo "out $THEN_TASK_ID"; [ "$THEN_ATTEMPT" -ge 2 ]'
"""It fails at its first attempt."""


def workload_rules(runs: Path) -> then.Rules:
    """Chains, an else, failures taken up and not, a once task, a call with a join and a retry in it, an unmatched rule."""
    rules = then.Rules()
    env = {"RUNS": str(runs), "CODE": it.code}
    rules.event("go", k=int)
    rules.event("strange", k=int)
    rules.event("noted", k=int, what=str)

    @rules.task("f")
    def f(k: int, n: int) -> dict[str, int]:
        if n == 7:
            raise ValueError("seven")
        return {"m": n + 1}

    rules.task("p", run=("process", ["sh", "-c", RUN]), env=env)
    rules.task("q", run=("process", ["sh", "-c", RUN]), env=env, once=True)

    told = add_call(rules, runs)

    @rules.continuation
    def after(p: then.Task, n: int) -> Iterator[then.Emission]:
        yield then.emit("f", k=p.body["k"], n=n)

    @rules.continuation
    def sorry(p: then.Task, n: int) -> Iterator[then.Emission]:
        yield then.emit("noted", k=p.body["k"], what=f"p {n} failed")

    @rules.when("go")
    def start(go: then.Task) -> Iterator[then.Emission]:
        for n in range(WIDTH):
            yield then.emit("f", k=go.body["k"], n=n)
            yield then.emit("p", k=go.body["k"], code=n, then=after, otherwise=sorry, bind={"n": n + 4})
        yield then.emit("strange", k=go.body["k"])
        if go.body["k"] == 0:
            yield then.call("both", k=0, then=told)

    @rules.when("f", "done", it.n < 3)
    def further(f: then.Task) -> Iterator[then.Emission]:
        yield then.emit("f", k=f.body["k"], n=f.result["m"] if f.result else 0)

    @rules.when("f", "done", it.n == 3)
    def once(f: then.Task) -> Iterator[then.Emission]:
        yield then.emit("q", k=f.body["k"], code=0)

    @rules.when("f", "failed")
    def seven(f: then.Task) -> Iterator[then.Emission]:
        yield then.emit("noted", k=f.body["k"], what="seven")

    @rules.unmatched("strange")
    def stray(strange: then.Task) -> Iterator[then.Emission]:
        yield then.emit("f", k=strange.body["k"], n=7)

    return rules


def add_call(rules: then.Rules, runs: Path) -> Callable[..., Iterator[then.Emission]]:
    """A procedure with a join and a task that is tried again; gives what goes on with its result."""
    rules.task("r", run=("process", ["sh", "-c", TRIED]), env={"RUNS": str(runs)}, retry=then.retry(3, backoff=0.02))

    @rules.procedure("both", k=int, returns={"m": int})
    def both(k: int) -> Iterator[then.Emission]:
        yield then.emit("r", k=k)
        yield then.emit("f", k=k, n=20)

    @both.when(then.part("r", "done", as_="r"), then.part("f", "done", as_="f"))
    def met(r: then.Task, f: then.Task) -> Iterator[then.Emission]:
        yield then.return_(m=f.result["m"] if f.result else 0)

    @both.when("r", "failed")
    def lost(r: then.Task) -> Iterator[then.Emission]:
        yield then.return_(m=0)

    @rules.continuation
    def told(both: then.Task) -> Iterator[then.Emission]:
        yield then.emit("noted", k=both.body["k"], what=f"both: {both.result and both.result['m']}")

    return told


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--durability", choices=("power", "process"), default="process")
    given = options.parse_args()
    said = os.open(given.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rules = workload_rules(given.folder / "runs")
    with Engine(rules, given.folder / "state", durability=given.durability, slots=4) as engine:
        flows = []
        for k in range(FLOWS):
            flow = engine.post_record("go", {"k": k}, key=f"key {k}")
            os.write(said, f"posted {k} {flow.id}\n".encode())
            flows.append(flow)
        for k, flow in enumerate(flows):
            outcome = flow.wait().outcome
            os.write(said, f"ended {k} {flow.id} {outcome}\n".encode())
    sys.exit(0)


if __name__ == "__main__":
    main()
