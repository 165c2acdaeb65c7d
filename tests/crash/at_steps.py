"""An engine whose script is held before its steps, to be killed: `python -m tests.crash.at_steps FOLDER [--kill N --when …]`.

A person looks where the script is, and lets it go on, from step to step. The
engine ends itself by SIGKILL at its N-th append to the journal, before or after
it is made. Started again it goes on. At the end it prints how many it made, and
what came of all.
"""

from __future__ import annotations

import contextlib
import json

import then
from tests.crash.appends import Appends, arguments
from tests.crash.scripted import project
from then import turns
from then.app.engine import Engine
from then.core import facts as f
from then.core.errors import ConfigError
from then.debugger.access import to_engine
from then.debugger.view import View

SCRIPT = """
def main(**body):
    seen = []
    for n in (1,):
        seen.append(wait(run("mark", n=n)).body["n"])
    return {"seen": seen}
"""


def main() -> None:
    given = arguments(__doc__).parse_args()
    turns.DELAY_S = turns.KEPT_DELAY_S = 0  # type: ignore[misc]
    appends = Appends(given.kill, given.when)
    with Engine(project(given.folder, SCRIPT), given.folder / "state", durability="process", slots=4) as engine:
        if "b" not in [point.name for point in engine.breakpoints]:
            engine.breakpoints.add("b", "on step of job", who="ann")
        flow = engine.post_record("job", {}, key="one").wait()
        while flow.outcome is None:
            look(engine, flow)
            with contextlib.suppress(ConfigError):  # It went on before this life began.
                engine.release(flow.tasks[0])
            flow.wait()
        hits = [
            fact.place for entry in engine.journal.read() for fact in f.decode(entry.data).facts if type(fact) is f.Hit
        ]
        told = {"appends": appends.made, "outcome": flow.outcome, "result": flow.tasks[0].result, "hits": hits}
    print(json.dumps(told))


def look(engine: Engine, flow: then.Flow) -> None:
    """Where it is held is where its names say that it is."""
    view = View(to_engine(engine), flow.id, flow.tasks[0].id)
    if view.hold is None or view.hold.step is None:
        return
    script = view.script
    assert script is not None
    assert script.wrong is None, script.wrong
    names = {name.name: name.value for name in script.frames[0].names}
    step = view.hold.step  # Two of each turn: a run and a wait.
    assert (names["seen"], names["n"]) == (list(range(1, step // 2 + 1)), step // 2 + 1), names


if __name__ == "__main__":
    main()
