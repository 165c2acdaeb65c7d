"""Writes a history for every later version to read: `python -m tests.histories.make tests/histories/NAME.jsonl`.

One line a page: the bytes as they are in a journal, in hexadecimal. The last
line is what the state was in the end. A history that was released is never
written again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from tests.world import World
from then.core import ending
from then.core import facts as f
from then.core.causes import Adopt, Cancel, Move, Post, Release, Report, Retry
from then.core.edition import Edition
from then.core.folds import turn
from then.core.state import State

RULES = """
event go(n: int)
event tick(n: int)
event stop()
task a(n: int) -> (m: int?) run process ["a"]
task b(n: int) run process ["b"]
task once_only(n: int) run process ["o"] once priority 3
task loads(x: any) run process ["l"] needs {slots: 0}
task ask(n: int)
rule chain
  when go as g
  then a(n: g.n) as x, b(n: g.n)
  then once_only(n: x.m), save total: x.m
  then loads(x: load total) else tick(n: 0)
rule round when tick as t then tick(n: t.n + 1) if t.n < 50
rule halt when stop then cancel flow
"""


def told(state: State) -> dict[str, object]:
    """What a state holds, in plain JSON."""
    return {
        "tasks": {task.id: msgspec.to_builtins(task) for task in state.live()},
        "flows": {id: msgspec.to_builtins(flow) for id, flow in sorted(state.flows.items())},
        "chains": {id: msgspec.to_builtins(chain) for id, chain in sorted(state.chains.items())},
        "keys": {key: msgspec.to_builtins(value) for key, value in sorted(state.keys.items())},
        "past": [msgspec.to_builtins(flow) for flow in state.past],
        "pending": list(state.pending),
        "stopping": sorted(state.stopping),
        "seq": state.seq,
        "last_id": state.last_id,
        "version": state.version,
    }


def lived() -> World:
    """An engine that did at least once whatever an engine may do."""
    ending.IDLE_RUN_MAX = 8  # type: ignore[misc]
    run = World(RULES, slots=3)
    run.state.version = ""
    run.give(Adopt("v1"))
    root = run.post("go", key="first", n=1)
    run.end("a", m=41)
    run.end("b")
    run.end("once_only")
    loads = run.end("loads", "failed")
    run.give(Report(loads.id, "done", {}, None, 1, run.terms.time, loads.flow))
    again = run.give(Retry(loads, run.state.past[-1])).answer
    assert again is not None
    run.end(again)
    assert run.outcome(root) == "done"
    failed = run.post("go", n=2)
    run.end("a", "timed_out")
    held = run.post("tick", n=0)
    run.give(Release(held.flow))
    stopped = run.post("a", n=5)
    run.give(Post("stop", {}, None, stopped.flow))
    moved = run.post("ask", n=6)
    run.editions["v2"] = Edition("v2", run.rules)
    run.give(Move(moved.flow, "v2"))
    run.give(Cancel((run.live("b")[0].id,)))
    run.post("go", n=7)
    run.end(next(task for task in run.live("a") if task.flow != stopped.flow), m=1)
    assert failed.flow in run.state.flows
    run.bring(Post("go", {"n": 8}))
    fault = f.Page(moved.flow, run.terms.time, [f.Fault(moved.id, "a second return")])
    run.pages.append(fault)
    turn(run.state, fault)
    return run


def main(path: Path) -> None:
    run = lived()
    kinds = {type(fact) for fact in run.facts()}
    missing = {name for name in f.Fact.__args__ if name not in kinds}
    assert not missing, missing
    lines = [f.encode(page).hex() for page in run.pages]
    path.write_text("\n".join([*lines, json.dumps(told(run.state), sort_keys=True)]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
