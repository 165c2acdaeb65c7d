"""An engine that is debugged, to be killed: `python -m tests.crash.held FOLDER [--kill N --when before|after]`.

Six records of a flow are held: tasks before their start, tasks after their
ends, and one on a rule; one breakpoint is added while the flow runs. A person
continues each, changed; one is skipped with a result, and one sent to another
rule than the one that is for it. The engine ends itself by SIGKILL at its N-th append to
the journal, before or after it is made. Started again it goes on. At the end it
prints how many it made, and what came of all.
"""

from __future__ import annotations

import json

from tests.crash.appends import engine_to_kill
from then.app.engine import Engine
from then.core import facts as f
from then.core.errors import ConfigError
from then.core.holds import Hold
from then.core.tasks import Task

TEXT = """
event go(n: int)
task mark(n: int) -> (m: int)
  run process ["sh", "-c", r'echo "$0" >> "$MARKS"; printf "{\\"m\\": %s}" "$0" > "$THEN_RESULT"', "{n}"]
task last(m: int) -> (m: int)
  run process ["sh", "-c", r'printf "{\\"m\\": %s}" "$0" > "$THEN_RESULT"', "{m}"]
task bye(m: int) -> (m: int)
  run process ["sh", "-c", r'echo bye >> "$MARKS"; exit 1', "{m}"]
task stop(m: int)
  run process ["true"]
rule begin when go as g then mark(n: 1)
rule on when mark done as x where x.m < 4 then mark(n: x.m + 1)
rule over when mark done as x where x.m >= 4 then last(m: x.m)
rule part when last done as x then bye(m: x.m)
rule never when bye done as x where x.m == 51 then mark(n: 99)
rule always when bye done as x where x.m == 52 then stop(m: x.m)
breakpoint b1 before mark where n == 2
breakpoint b2 after mark done where m == 3 once
breakpoint b3 on rule over show x.m
breakpoint b5 before bye
breakpoint b6 after bye
"""
ADDED = "after last done where m == 50"


def main() -> None:
    with engine_to_kill(__doc__, TEXT) as (engine, appends):
        if "b4" not in [point.name for point in engine.breakpoints]:
            engine.breakpoints.add("b4", ADDED, who="ann")
        flow = engine.post_record("go", {"n": 1}, key="one").wait()
        while flow.outcome is None:
            [(id, hold)] = engine.breakpoints.held.items()
            change(engine, next(task for task in flow.tasks if task.id == id), hold)
            flow.wait()
        told = {"appends": appends.made, "outcome": flow.outcome, "holds": _holds(engine)}
        told["ends"] = [[task.type, task.body, (task.result or {}).get("m")] for task in flow.tasks]
    print(json.dumps(told))


def change(engine: Engine, task: Task, hold: Hold) -> None:
    """What the person does: always the same at the same place."""
    try:
        match hold.breakpoint:
            case "b1":
                engine.release(task, body={"n": 3}, who="ann")
            case "b2":
                engine.release(task, result={"m": 2, "code": 0}, who="ann")
            case "b3":
                engine.release(task, result={"m": 50, "code": 0}, who="ann")
            case "b5":
                engine.release(task, result={"m": 51}, who="ann", skips=True)
            case "b6":
                engine.release(task, rule="always", who="ann")
            case _:
                engine.release(task)
    except ConfigError:
        pass  # Somebody was quicker.


def _holds(engine: Engine) -> list[list[object]]:
    """Each stop in the journal, with whether the same entry holds the record."""
    found: list[list[object]] = []
    for entry in engine.journal.read():
        facts = f.decode(entry.data).facts
        held = {fact.id for fact in facts if isinstance(fact, f.Held)}
        held |= {fact.id for fact in facts if isinstance(fact, f.Completed) and fact.held is not None}
        found += [[hit.name, hit.place, hit.id in held] for hit in facts if isinstance(hit, f.Hit) and hit.stops]
    return found


if __name__ == "__main__":
    main()
