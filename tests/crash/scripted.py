"""An engine with a script of 30 steps, to be killed: `python -m tests.crash.scripted FOLDER [--kill N --when before|after]`.

It ends itself by SIGKILL at its N-th append to the journal, before or after it
is made. Started again it goes on. At the end it prints how many it made, and
what the script came to.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

import then
from then import loop
from then.abc import Cell, Entry
from then.app.engine import Engine
from then.journals.sqlite import SqliteJournal

TURNS = 6
SCRIPT = f"""
def main(**body):
    seen = []
    for n in range({TURNS}):
        mark = run("mark", n=n)
        at = now().isoformat()
        drawn = random()
        code = wait(mark).result["code"]
        save("turn", n)
        seen.append([n, at, drawn, code])
        print("turn", n)
    save("seen", seen)
    return {{"seen": seen}}
"""
MARK = 'echo "$N" >> "$MARKS"'
APPEND = SqliteJournal.append


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--kill", type=int, default=0)
    options.add_argument("--when", choices=("before", "after"), default="after")
    options.add_argument("--apart", action="store_true", help="no step shares a commit with another")
    given = options.parse_args()
    if given.apart:
        loop.DELAY_S = 0  # type: ignore[misc]
    made = 0

    def append(self: SqliteJournal, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        nonlocal made
        made += 1
        if made == given.kill and given.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        APPEND(self, entries, cells)
        if made == given.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteJournal.append = append  # type: ignore[method-assign]
    (given.folder / "job.py").write_text(SCRIPT)
    rules = then.Rules()
    rules.root = given.folder
    rules.task("mark", run=("process", ["sh", "-c", MARK]), env={"N": then.it.n, "MARKS": str(given.folder / "marks")})
    rules.task("job", run=("script", "job.py"))
    with Engine(rules, given.folder / "state", durability="process", slots=4) as engine:
        flow = engine.post_record("job", {}, key="one").wait()
        job = flow.tasks[0]
        told = {"appends": made, "outcome": flow.outcome, "result": job.result, "error": job.error}
        told["variables"] = engine.history().flow(flow.id).variables
        told["out"] = (given.folder / "state" / "tasks" / job.id / "out").read_text()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
