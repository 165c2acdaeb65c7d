"""An engine in which a person steps and forks, to be killed: `python -m tests.crash.stepped FOLDER [--kill N --when …]`.

A session steps from record to record, changes a result, and begins a fork out
of the middle, which it lets come to its end before it steps on. The engine ends
itself by SIGKILL at its N-th append to the journal, before or after it is made;
the session, which is in its process, ends with it. Started again another one
does what is left. At the end it prints how many appends it made, and what came
of both flows.
"""

from __future__ import annotations

import json

from tests.crash.appends import engine_to_kill
from then.app.engine import Engine
from then.core import facts as f
from then.debugger.access import to_engine
from then.debugger.session import Session

TEXT = """
event go(n: int)
task mark(n: int) -> (m: int)
  run process ["sh", "-c", r'echo "$0" >> "$MARKS"; printf "{\\"m\\": %s}" "$0" > "$THEN_RESULT"', "{n}"]
rule begin when go as g then mark(n: 1)
rule on when mark done as x where x.m < 3 then mark(n: x.m + 1)
breakpoint entry after go
"""


def main() -> None:
    with engine_to_kill(__doc__, TEXT) as (engine, appends):
        flow = engine.post_record("go", {"n": 1}, key="one")
        session = Session(to_engine(engine), flow.id, "ann")
        while (stop := session.wait()) is not None and stop.reason != "ended":
            move(session)
        session.own.clear()
        history = engine.history()
        told = {
            "appends": appends.made,
            "stops": _stops(engine, flow.id),
            "flows": [
                [one.origin is not None, one.outcome, [[task.type, task.result] for task in engine.flow(one.id).tasks]]
                for one in history.flows()
            ],
            "edits": [[edit.by, edit.result] for task in flow.tasks for _, edit, _ in history.record(task.id)[0].edits],
        }
    print(json.dumps(told))


def move(session: Session) -> None:
    """What the person does: always the same at the same record."""
    task = session.view.task
    if task.body == {"n": 1} and task.type == "mark":
        _fork(session)
        session.set("result.m", 2)
    session.go("continue" if task.body == {"n": 3} else "step")


def _fork(session: Session) -> None:
    """One fork, by this life or by one before, comes to its end."""
    forks = [one.id for one in session.access.history().flows() if one.origin is not None]
    fork = Session(session.access, forks[0] if forks else session.fork(stubs={"mark": {"m": 9}}), "ann")
    while (stop := fork.wait()) is not None and stop.reason != "ended":
        fork.go()


def _stops(engine: Engine, flow: str) -> list[list[object]]:
    """Each stop of a flow in the journal: at what, of which record, and whether the same entry holds that."""
    found: list[list[object]] = []
    for entry in engine.journal.read():
        page = f.decode(entry.data)
        held = {fact.id for fact in page.facts if isinstance(fact, f.Held)}
        held |= {fact.id for fact in page.facts if isinstance(fact, f.Completed) and fact.held is not None}
        for hit in page.facts:
            if isinstance(hit, f.Hit) and hit.stops and page.flow == flow:
                found.append([hit.name.partition("_")[0], engine.history().record(hit.id)[0].task.body, hit.id in held])
    return found


if __name__ == "__main__":
    main()
