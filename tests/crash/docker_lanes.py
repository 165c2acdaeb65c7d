"""An engine with containers, to be killed: `python -m tests.crash.docker_lanes FOLDER HOST COUNT SECONDS KEY`.

It posts one flow under a key: COUNT containers, four at a time, each of which
says something, waits, says more, hands something back, and ends with a code of
its own; and a rule that answers each end. Started again it goes on. It says "running" when the flow
is durable, and its outcome at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import then
from tests.dockerd import IMAGE
from then.core.tasks import Body

SLOTS = 4

SCRIPT = 'echo "out $0"; sleep $2; echo "err $0" >&2; echo "last $0"; echo "{\\"said\\": $0}" > $THEN_RESULT; exit $1'

RULES = """\
event go(numbers: list[int], pause: str)
event noted(n: int, how: str)
task one(n: int, code: int, pause: str) -> (said: int)
  run docker "{image}" args ["sh", "-c", r'{script}', n, code, pause]
  host "{host}"

rule all when go as g then for n in g.numbers emit one(n: n, code: n % 3, pause: g.pause)
rule well when one done as o then noted(n: o.n, how: "done")
rule ill when one failed as o then noted(n: o.n, how: o.error.kind)
"""


def outputs(n: int) -> tuple[str, str]:
    """What a container of this number writes to its two streams."""
    return f"out {n}\nlast {n}\n", f"err {n}\n"


def main() -> None:
    at, host, count, pause, key = sys.argv[1:]
    folder = Path(at)
    rules = then.Rules()
    (folder / "many.then").write_text(RULES.format(image=IMAGE, host=host, script=SCRIPT))
    rules.load(folder / "many.then")
    with then.Engine(rules, folder / "state", durability="process", slots=SLOTS) as engine:
        body: Body = {"numbers": list(range(int(count))), "pause": pause}
        flow = engine.post_record("go", body, key=key)
        print("running", flush=True)
        print(flow.wait().outcome, flush=True)


if __name__ == "__main__":
    main()
