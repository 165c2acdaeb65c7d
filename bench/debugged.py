"""A debugger at work, for one measurement: `python -m bench.debugged FOLDER STOPS MEGABYTES FRAMES`. Prints a line of JSON.

The engine is in this process; the debug adapter is another one, attached over
the socket of the state folder, and this is its client.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import then
from then.core.tasks import Json

RULES = """
event begin(left: int)
record Item(sku: str, count: int, price: float)
event large(items: list[Item])
event deep(left: int)
task link(left: int) -> (left: int)
task sink(left: int) -> (left: int) run python "work:sink"
rule first when begin as b then link(left: b.left)
rule more when link done as l where l.left > 0 then link(left: l.left)
rule go_down when deep as d then call down(left: d.left)
procedure down(left: int)
  first sink(left: left)
  rule further when sink done as s where s.left > 0 then call down(left: s.left - 1) then return ()
  rule ground when sink done as s where s.left == 0 then return ()
end
"""
WORK = "def sink(left):\n    return {'left': left}\n"
PAGE = 100


class Client:
    """The other end of `andthen attach --dap`."""

    def __init__(self, folder: Path, **given: Json) -> None:
        command = [sys.executable, "-m", "then", "attach", "--dap", "--state", str(folder)]
        self._adapter = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._seq = 0
        self._kept: list[dict[str, Any]] = []
        self.ask("initialize")
        self.ask("attach", **given)
        self.ask("configurationDone")

    def ask(self, command: str, **arguments: Json) -> dict[str, Any]:
        self._seq += 1
        seq = self._seq
        text = json.dumps({"seq": seq, "type": "request", "command": command, "arguments": arguments}).encode()
        assert self._adapter.stdin is not None
        self._adapter.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        self._adapter.stdin.flush()
        found = self._until(lambda one: one.get("request_seq") == seq)
        if not found["success"]:
            raise RuntimeError(found["message"])
        body: dict[str, Any] = found.get("body", {})
        return body

    def stopped(self) -> dict[str, Any]:
        body: dict[str, Any] = self._until(lambda one: one.get("event") == "stopped")["body"]
        return body

    def _until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for at, one in enumerate(self._kept):
            if is_it(one):
                return self._kept.pop(at)
        source = self._adapter.stdout
        assert source is not None
        while True:
            length = int(source.readline().split(b":")[1])
            source.readline()
            one = json.loads(source.read(length))
            if is_it(one):
                return one  # type: ignore[no-any-return]
            self._kept.append(one)

    def close(self) -> None:
        self.ask("disconnect")
        self._adapter.communicate()


def stops_ms(engine: then.Engine, folder: Path, count: int) -> list[float]:
    """From the completion of a record, as recorded, to the client's having read that its flow stands still."""
    engine.breakpoints.add("each", "after link")
    flow = engine.post("begin", left=count)
    client = Client(folder, flow=flow.id)
    found = []
    for left in range(count - 1, -1, -1):
        live = next(task for task in reversed(flow.tasks) if task.outcome is None)
        engine.complete(live.id, left=left)
        thread = client.stopped()["threadId"]
        now_us = time.time_ns() // 1000
        completed = engine.history().record(live.id)[0].task.completed
        assert completed is not None
        found.append((now_us - completed) / 1000)
        client.ask("continue", threadId=thread)
    client.close()
    engine.breakpoints.remove("each")
    return found


def page_ms(engine: then.Engine, folder: Path, megabytes: float) -> float:
    """The first page of a large body: its scopes, its fields, and the first items."""
    item = {"sku": "x" * 50, "count": 1, "price": 2.5}
    engine.breakpoints.add("large", "after large")
    flow = engine.post("large", items=[item] * int(megabytes * 1e6 / len(json.dumps(item))))
    client = Client(folder, flow=flow.id)
    thread = client.stopped()["threadId"]
    frame = client.ask("stackTrace", threadId=thread)["stackFrames"][0]["id"]
    begun = time.perf_counter()
    body = client.ask("scopes", frameId=frame)["scopes"][0]["variablesReference"]
    (items,) = client.ask("variables", variablesReference=body)["variables"]
    page = client.ask("variables", variablesReference=items["variablesReference"], start=0, count=PAGE)["variables"]
    spent = (time.perf_counter() - begun) * 1000
    assert len(page) == PAGE
    client.close()
    engine.breakpoints.remove("large")
    engine.cancel(flow)
    return spent


def stack_ms(engine: then.Engine, folder: Path, frames: int) -> float:
    """All frames of a deep stack, a page at a time."""
    engine.breakpoints.add("ground", "after sink where left == 0")
    flow = engine.run("deep", left=frames - 2)
    client = Client(folder, flow=flow.id)
    thread = client.stopped()["threadId"]
    begun = time.perf_counter()
    seen = 0
    while seen < frames:
        told = client.ask("stackTrace", threadId=thread, startFrame=seen, levels=PAGE)
        assert told["totalFrames"] == frames, told["totalFrames"]
        seen += len(told["stackFrames"])
    spent = (time.perf_counter() - begun) * 1000
    client.close()
    return spent


def ready_ms(folder: Path) -> float:
    """From the start of `andthen debug` to its first line, at the first record."""
    command = [sys.executable, "-m", "then", "debug", str(folder / "flow.then"), "begin", "left=1"]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        spent = (time.perf_counter() - begun) * 1000
        program.communicate(b"quit\n")
    assert line.startswith(b"breakpoint debug_entry"), line
    return spent


def main() -> None:
    folder, stops, megabytes, frames = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    (folder / "flow.then").write_text(RULES)
    (folder / "work.py").write_text(WORK)
    state = folder / "state"
    with then.Engine(then.Rules().load(str(folder / "flow.then")), state) as engine:
        waits = stops_ms(engine, state, stops)
        told = {
            "right": len(waits) == stops,
            "stopped_ms": statistics.quantiles(waits, n=20)[-1],
            "stopped_median_ms": statistics.median(waits),
            "page_ms": page_ms(engine, state, megabytes),
            "stack_ms": stack_ms(engine, state, frames),
            "ready_ms": statistics.median(ready_ms(folder) for _ in range(5)),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
