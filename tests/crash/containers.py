"""kill -9 of the engine at random moments while containers run; then `resume`, and a look at all that must hold.

`python -m tests.crash.containers 50` runs so many.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import docker

from then.executors.docker.folders import identity

COUNT: Final = 6
RULES: Final = """
event go(ns: list[int])
task work(n: int) -> (n: int)
  run docker "IMAGE" network none args ["sh", "-c", "echo out {n}; sleep 0.{n}; echo '{{\\"n\\": {n}}}' > $THEN_RESULT; echo err >&2; exit {n % 2}"]
task after(n: int) run process ["true"]
rule spread when go as g then for n in g.ns emit work(n: n)
rule odd when work failed as w then after(n: w.n)
start go(ns: [0, 1, 2, 3, 4, 5])
"""
TIMEOUT_S: Final = 300


def run_killed(folder: Path, host: str, image: str, seed: int) -> str:
    """One run that is killed once or more often, at moments drawn from a seed. Gives what is wrong, or nothing."""
    (folder / "rules.then").write_text(RULES.replace("IMAGE", image))
    state = folder / "state"
    env = {**os.environ, "DOCKER_HOST": host}
    andthen = [sys.executable, "-m", "then", "--state", str(state), "--json"]
    chance = random.Random(seed)
    began = int(time.time()) - 1  # noqa: TID251 (of the engine that is asked for what it did since)
    words = ["run", str(folder / "rules.then"), "-j", "4"]
    for _ in range(chance.randint(1, 3)):
        engine = subprocess.Popen([*andthen, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            engine.wait(chance.uniform(0.3, 4.0))
        except subprocess.TimeoutExpired:
            pass
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        flows = subprocess.run([*andthen, "flows"], env=env, capture_output=True, timeout=60, check=False)
        if flows.stdout:
            words = ["resume", "-j", "4"]
    done = subprocess.run([*andthen, *words], env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    listed = subprocess.run([*andthen, "ps", "--all"], env=env, capture_output=True, text=True, timeout=60, check=False)
    client = docker.APIClient(base_url=host, version="auto")
    try:
        wrong = _wrong(state, client, [json.loads(line) for line in listed.stdout.splitlines()], began)
    finally:
        client.close()
    return f"seed {seed}: {wrong}\n{done.stdout}\n{done.stderr}" if wrong else ""


def _wrong(state: Path, client: docker.APIClient, records: list[dict[str, Any]], began: int) -> str:
    """What does not hold after all."""
    label = f"then.state={identity(state)}"
    filters = {"type": ["container"], "event": ["start"], "label": [label]}
    until = int(time.time()) + 1  # noqa: TID251 (likewise)
    events = client.events(since=began, until=until, filters=filters, decode=True)
    starts = Counter(event["Actor"]["Attributes"]["then"] for event in events)
    works = {one["id"]: one for one in records if one["type"] == "work"}
    if len(works) != COUNT:
        return f"{len(works)} records"
    if starts != Counter(works.keys()):
        return f"started {starts}"
    for id, record in works.items():
        n = record["body"]["n"]
        if record["result"] != {"n": n, "code": n % 2}:
            return f"{id}: result {record['result']} {record['error']}"
        out, err = ((state / "tasks" / id / name).read_bytes() for name in ("out", "err"))
        if (out, err) != (b"out %d\n" % n, b"err\n"):
            return f"{id}: output {out!r} {err!r}"
    if sum(one["type"] == "after" for one in records) != COUNT // 2:
        return "the flow did not go on"
    left = client.containers(all=True, filters={"label": [label]})
    return f"left behind: {[one['Names'] for one in left]}" if left else ""


def main(count: int) -> int:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    bad = 0
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_killed(Path(folder), host, "busybox", seed)
        bad += bool(wrong)
        print(wrong or f"seed {seed}: well", flush=True)
    print(f"{count - bad} of {count} well")
    return bad


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])) > 0)
