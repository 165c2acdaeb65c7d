"""Writes a history for every later version to read: `python -m tests.histories.make tests/histories/NAME.jsonl`.

One line a page: the bytes as they are in a journal, in hexadecimal. The last
line is what the state was in the end. A history that was released is never
written again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.readings import told_of_waits, with_ties
from tests.world import World
from then.core import facts as f
from then.core.causes import Adopt, Ask, Cancel, Move, Post, Release, Report, Retry, Told
from then.core.edition import Edition
from then.core.guards import Guards
from then.core.state import State
from then.core.tasks import Json, Task
from then.language.loading import load_text

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
event fan(ns: list[int])
event part(k: int)
task tried(n: int) run process ["t"] retry 2 times backoff 10s timeout 1h
procedure each(ns: list[int]) -> (m: int)
  first for n in ns emit b(n: n)
  when every b done then return (m: 0)
end
procedure early() -> (m: int)
  first a(n: 9), b(n: 9) then tried(n: 9)
  when a done then return (m: 1)
end
rule fan_out when fan as f then call each(ns: f.ns) then ask(n: 1) after 1h, tried(n: 2) at most once per 1h
rule meet when all of part as p, fan as f by flow within 1h then tried(n: 1) on timeout then tried(n: 3)
rule soon when part as p where k == 2 then call early(), call early()
every 10m start part(k: 1)
task prog(n: int) run script "prog.py"
"""
WITHOUT_TIMER = RULES.replace("every 10m start part(k: 1)", "")


NOT_LIVED = {f.BreakSet, f.BreakSwitched, f.BreakRemoved, f.Hit, f.Edited, f.ClockSet, f.TriedAgain}
"""Facts that nothing below brings about, most of them of a person at a debugger: no history has them yet."""


def told(state: State) -> dict[str, object]:
    """What a state holds, in plain JSON."""
    return {
        "tasks": {task.id: msgspec.to_builtins(task) for task in state.live()},
        "flows": {id: with_ties(flow, state.waits.ties.of(id)) for id, flow in sorted(state.flows.items())},
        "chains": {id: msgspec.to_builtins(chain) for id, chain in sorted(state.chains.items())},
        "keys": {key: msgspec.to_builtins(value) for key, value in sorted(state.keys.items())},
        "past": [msgspec.to_builtins(flow) for flow in state.past],
        "pending": list(state.pending),
        "stopping": sorted(state.stopping),
        "seq": state.seq,
        "last_id": state.last_id,
        "version": state.version,
        **told_of_waits(state),
    }


def lived() -> World:
    """An engine that did at least once whatever an engine may do."""
    run = World(RULES, slots=3, kinds=("process", "python", "script"))
    run.terms.guards = Guards(idle_events=8)
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
    wait_and_meet(run)
    run_scripts(run)
    return run


def wait_and_meet(run: World) -> None:
    """Calls, joins, sets and times: some over, some open."""
    run.terms.slots = 100
    run.rest()
    late = run.post("part", k=0)
    fan = run.post("fan", ns=[1, 2])
    run.post("part", flow=fan.flow, k=3)
    for task in [task for task in run.live("b") if task.flow == fan.flow]:
        run.end(task)
    run.end(next(task for task in run.live("tried") if task.flow == fan.flow), "failed")
    run.advance(30)
    soon = run.post("part", k=2)
    first, second = (task for task in run.live("a") if task.flow == soon.flow)
    run.end(first)
    run.end(next(task for task in run.live("b") if task.call == first.call))
    run.end(next(task for task in run.live("tried") if task.call == first.call))
    run.give(Report(second.call or "", "done", {"m": 2}, None, second.created, run.terms.time))
    run.end(second)
    run.advance(3600)
    assert run.outcome(late) is None
    run.post("part", k=0)
    run.post("fan", ns=[5, 6])
    run.editions["v3"] = Edition("v3", load_text(WITHOUT_TIMER).rules)
    run.give(Adopt("v3"))


def run_scripts(run: World) -> None:
    """Scripts: one that is over, one that a step was refused to, and one that waits for the second of its tasks."""
    over, refused, open_ = (run.post("prog", n=n) for n in (1, 2, 3))
    for script in (over, open_):
        first = _asked(run, script, 0, "run", type="a", body={"n": 10})
        _asked(run, script, 1, "wait", ids=(str(first),))
        run.end(next(task for task in run.live("a") if task.id == first), m=11)
        _asked(run, script, 2, "save", type="total", value=[1, {"k": "v"}])
        _asked(run, script, 3, "load", type="total")
        _asked(run, script, 4, "say", value=0.5)
        _asked(run, script, 5, "emit", type="tick", body={"n": 100})
    now = run.terms.time
    run.give(Report(over.id, "done", {}, None, now - 500, now))
    _asked(run, refused, 0, "load", type="nobody_saved")
    _asked(run, refused, 1, "wait", timeout_us=3_600_000_000)
    one, two = (_asked(run, open_, n, "run", type="b", body={"n": n}) for n in (6, 7))
    _asked(run, open_, 8, "wait", ids=(str(one), str(two)))
    run.end(next(task for task in run.live("b") if task.id == one))


def _asked(run: World, script: Task, n: int, kind: Any, **how: Any) -> Json:
    """A step of a script, and what it came to at once."""
    what = f"{kind} {how.get('type', n)}"
    given = {"type": "", "body": {}, "value": None, "ids": (), "is_any": False, "timeout_us": None, **how}
    run.give(Ask(script.id, n, kind, what, f"prog.py:{n + 2}", **given))
    told = [order for order in run.orders if isinstance(order, Told) and (order.id, order.n) == (script.id, n)]
    return told[-1].value if told else None


def main(path: Path) -> None:
    run = lived()
    kinds = {type(fact) for fact in run.facts()}
    missing = {name for name in f.Fact.__args__ if name not in kinds | NOT_LIVED}
    assert not missing, missing
    lines = [f.encode(page).hex() for page in run.pages]
    path.write_text("\n".join([*lines, json.dumps(told(run.state), sort_keys=True)]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
