"""What a Docker engine alone allows: /bin/true in containers, 4 in flight, with nothing of an engine of ours around.

A worker: `python -m bench.containers_floor WORK FOLDER TASKS HOST NETWORK` prints one line of JSON.

bare        the Engine API over its socket: create, start, wait, output, remove; a
            connection for each of 4 threads, and the options that our containers have
docker      `docker run --rm`, the engine's own client, with the same options
fresh       as `bare`, one after the other
exec        commands in one container that is there, one after the other: create, start
            with its output, inspect
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IMAGE = "busybox"
LANES = 4
COMMAND = ["/bin/true"]
WARM = "then-bench-warm"
LOG = {"max-size": "1000t", "max-file": "1", "compress": "false"}
ANSWER_S = 120


class Connection(http.client.HTTPConnection):
    """HTTP over the socket of an engine on this machine, kept alive from request to request."""

    def __init__(self, host: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = host.removeprefix("unix://")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body)
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 300 and answer.status != 304:
            raise OSError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return text


def client() -> str | None:
    """Debian's own client, else the one of PATH."""
    return shutil.which("docker", path=os.pathsep.join(["/usr/bin", os.environ.get("PATH", os.defpath)]))


def options_of(folder: Path, n: int, network: str) -> dict[str, Any]:
    """What one of our containers is made with."""
    box = folder / "tasks" / str(n) / "box"
    box.mkdir(parents=True)
    given = ("TASK_ID", "KEY", "FLOW_ID", "ATTEMPT", "TASK", "RESULT", "MESSAGES", "ARTIFACTS")
    return {
        "Image": IMAGE,
        "Cmd": COMMAND,
        "Env": [f"THEN_{name}={n}" for name in given],
        "Labels": {"then": str(n), "then.state": "floor", "then.flow": "floor", "then.type": "one"},
        "HostConfig": {
            "NetworkMode": network,
            "SecurityOpt": ["no-new-privileges"],
            "Mounts": [{"Type": "bind", "Source": str(box), "Target": "/then"}],
            "LogConfig": {"Type": "local", "Config": LOG},
        },
    }


def bare(folder: Path, n: int, connection: Connection, network: str) -> bool:
    id = json.loads(connection.ask("POST", "/containers/create", options_of(folder, n, network)))["Id"]
    connection.ask("POST", f"/containers/{id}/start")
    code = json.loads(connection.ask("POST", f"/containers/{id}/wait"))["StatusCode"]
    output = connection.ask("GET", f"/containers/{id}/logs?stdout=1&stderr=1")
    connection.ask("DELETE", f"/containers/{id}?v=1")
    return bool(code == 0 and output == b"")


@contextlib.contextmanager
def warm(host: str) -> Iterator[str]:
    """A container that is there for commands; gone at the end."""
    connection = Connection(host)
    what = {"Image": IMAGE, "Cmd": ["/bin/sleep", "3600"], "HostConfig": {"NetworkMode": "none"}}
    id = json.loads(connection.ask("POST", f"/containers/create?name={WARM}", what))["Id"]
    try:
        connection.ask("POST", f"/containers/{id}/start")
        yield id
    finally:
        connection.ask("DELETE", f"/containers/{id}?force=1")


def command(container: str, n: int, connection: Connection, host: str) -> bool:
    """The start takes its connection for the output, so that each has one of its own."""
    what = {"AttachStdout": True, "AttachStderr": True, "Cmd": COMMAND, "Env": [f"THEN_TASK_ID={n}"]}
    id = json.loads(connection.ask("POST", f"/containers/{container}/exec", what))["Id"]
    with contextlib.closing(Connection(host)) as stream:
        output = stream.ask("POST", f"/exec/{id}/start", {"Detach": False, "Tty": False})
    found: dict[str, Any] = {"Running": True}
    while found["Running"]:
        found = json.loads(connection.ask("GET", f"/exec/{id}/json"))
    return bool(found["ExitCode"] == 0 and output == b"")


def by_client(folder: Path, n: int, program: str, host: str, network: str) -> bool:
    options = options_of(folder, n, network)
    mount = options["HostConfig"]["Mounts"][0]
    words = [program, "--host", host, "run", "--rm", "--security-opt", "no-new-privileges", "--log-driver", "local"]
    words += ["--network", network, "--mount", f"type=bind,src={mount['Source']},dst={mount['Target']}"]
    words += [word for name, value in LOG.items() for word in ("--log-opt", f"{name}={value}")]
    words += [word for name, value in options["Labels"].items() for word in ("--label", f"{name}={value}")]
    words += [word for variable in options["Env"] for word in ("--env", variable)]
    done = subprocess.run([*words, IMAGE, *COMMAND], capture_output=True, check=False)
    return done.returncode == 0 and done.stdout == b""


def in_lanes(tasks: int, host: str, one: Callable[[int, Connection], bool], lanes: int = LANES) -> dict[str, Any]:
    """Runs so many, several at once, and tells the seconds and the CPU of this process."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for n in range(tasks):
        todo.put(n)
    well: list[bool] = []

    def work() -> None:
        with contextlib.closing(Connection(host)) as connection, contextlib.suppress(queue.Empty):
            while True:
                well.append(one(todo.get_nowait(), connection))

    threads = [threading.Thread(target=work) for _ in range(lanes)]
    begun, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    return {"seconds": seconds, "own_ms": cpu_s / tasks * 1e3, "right": well == [True] * tasks}


def main() -> None:
    work, at, amount, host, network = sys.argv[1:]
    folder, tasks = Path(at), int(amount)
    if work in ("bare", "fresh"):
        lanes = LANES if work == "bare" else 1
        said = in_lanes(tasks, host, lambda n, connection: bare(folder, n, connection, network), lanes)
    elif work == "exec":
        with warm(host) as id:
            said = in_lanes(tasks, host, lambda n, connection: command(id, n, connection, host), 1)
    else:
        program = client()
        assert program is not None
        said = in_lanes(tasks, host, lambda n, connection: by_client(folder, n, program, host, network))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
