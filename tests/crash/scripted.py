"""An engine with a script of 30 steps, to be killed: `python -m tests.crash.scripted FOLDER [--kill N --when before|after]`.

It ends itself by SIGKILL at its N-th append to the journal, before or after it
is made. Started again it goes on. At the end it prints how many it made, and
what the script came to.
"""

from __future__ import annotations

import json
from pathlib import Path

import then
from tests.crash.appends import Appends, arguments
from then import turns
from then.app.engine import Engine

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


def project(folder: Path, script: str) -> then.Rules:
    """A task that a script runs, and one that it may start: that adds a line to the file of marks."""
    (folder / "job.py").write_text(script)
    rules = then.Rules()
    rules.root = folder
    rules.task("mark", run=("process", ["sh", "-c", MARK]), env={"N": then.it.n, "MARKS": str(folder / "marks")})
    rules.task("job", run=("script", "job.py"))
    return rules


def main() -> None:
    options = arguments(__doc__)
    options.add_argument("--apart", action="store_true", help="no step shares a commit with another")
    given = options.parse_args()
    if given.apart:
        turns.DELAY_S = turns.KEPT_DELAY_S = 0  # type: ignore[misc]
    appends = Appends(given.kill, given.when)
    with Engine(project(given.folder, SCRIPT), given.folder / "state", durability="process", slots=4) as engine:
        flow = engine.post_record("job", {}, key="one").wait()
        job = flow.tasks[0]
        told = {"appends": appends.made, "outcome": flow.outcome, "result": job.result, "error": job.error}
        told["variables"] = engine.history().flow(flow.id).variables
        told["out"] = (given.folder / "state" / "tasks" / job.id / "out").read_text()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
