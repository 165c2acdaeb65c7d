"""Containers: /bin/true, 4 in flight, beside the bare Engine API and `docker run`; memory in flight; `exec` beside a fresh one.

It takes the Docker engine of DOCKER_HOST, with an image `busybox`; `python -m
tests.dockerd --bridge python -m bench.containers` measures on one of its own, which
has the default network that engines of users have.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

from bench import harness
from bench.containers_floor import IMAGE, Connection, client
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, compare, figure
from bench.rounds import measure

ROW = "containers"
IN_FLIGHT = 200
WORK = "/bin/true, 4 in flight"
BARS = (
    ("the bare Engine API, same options", Bar(0.95)),
    ("docker run --rm", Bar(1.2)),
)


def engine() -> tuple[str, str]:
    """The host of an engine that can be measured on, and why there is none."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return "", f"DOCKER_HOST is {host}; the floor speaks to unix sockets"
    try:
        Connection(host).ask("GET", f"/images/{IMAGE}/json")
    except OSError as error:
        return "", f"no Docker engine with an image {IMAGE} at {host} ({error})"
    return host, ""


def default_network(host: str) -> str:
    """What containers are on where nothing is said: `bridge`; `none` on an engine that was told to have no bridge."""
    try:
        Connection(host).ask("GET", "/networks/bridge")
    except OSError:
        return "none"
    return "bridge"


def run(options: Options) -> Findings:
    found = Findings()
    host, reason = engine()
    if reason:
        print(f"bench: containers: {reason}", file=sys.stderr, flush=True)
        found.lines = [Line(ROW, WORK, "–", against, "–", None, bar, "no engine") for against, bar in BARS]
        return found
    own_ms: dict[str, list[float]] = {}
    tasks = options.size(80, 12)
    subjects = {"ours": _rate(found, options, own_ms, "ours", tasks, host)}
    if client() is not None:
        subjects["docker"] = _rate(found, options, own_ms, "docker", tasks, host)
    sampled = measure(("bare", _rate(found, options, own_ms, "bare", tasks, host)), subjects,
                      options.rounds, options.rounds_max)  # fmt: skip
    ours = sampled["ours"]
    found.lines = [
        compare(ROW, WORK, ours, sampled["bare"], against=BARS[0][0], unit="/s", bar=BARS[0][1]),
        compare(ROW, WORK, ours, sampled.get("docker"), against=BARS[1][0], unit="/s", bar=BARS[1][1]),
        figure(ROW, "our own CPU a container", statistics.median(own_ms["ours"]), Bar(5, at_most=True, unit=" ms"),
               against=BARS[0][0], theirs=f"{statistics.median(own_ms['bare']):.1f} ms"),
    ]  # fmt: skip
    _memory(found, options, host)
    _exec(found, options, host)
    return found


def _rate(
    found: Findings, options: Options, own_ms: dict[str, list[float]], who: str, tasks: int, host: str
) -> Callable[[], float]:
    """Containers a second; the CPU that the worker's own process took goes to `own_ms`."""

    def once() -> float:
        module, work = ("ours_containers", "rate") if who == "ours" else ("containers_floor", who)
        said = _call(found, options, module, work, tasks, host)
        own_ms.setdefault(who, []).append(said["own_ms"])
        return tasks / float(said["seconds"])

    return once


def _memory(found: Findings, options: Options, host: str) -> None:
    in_flight = options.size(IN_FLIGHT, 8)
    said = _call(found, options, "ours_containers", "memory", in_flight, host)
    found.lines.append(
        figure(ROW, f"memory of {in_flight} in flight", said["grown_mib"], Bar(30, at_most=True, unit=" MiB"),
               against="the idle engine, SDK loaded", theirs=f"{said['idle_mib']:.0f} MiB",
               note=f"{said['threads']} threads while they run")
    )  # fmt: skip


def _exec(found: Findings, options: Options, host: str) -> None:
    """One after the other: what is compared is how long one takes. What the engine itself allows stands beside."""
    tasks = options.size(30, 4)

    def each(module: str, work: str) -> Callable[[], float]:
        return lambda: tasks / float(_call(found, options, module, work, tasks, host)["seconds"])

    subjects = {"exec": each("ours_containers", "exec"), "fresh": each("ours_containers", "fresh"),
                "bare fresh": each("containers_floor", "fresh")}  # fmt: skip
    network = default_network(host)
    if network != "none":
        subjects["alone"] = each("ours_containers", "alone")
    sampled = measure(("bare exec", each("containers_floor", "exec")), subjects, options.rounds, options.rounds_max)
    ours, bare, work = sampled["exec"], sampled["bare exec"], "exec in a warm container"
    found.lines += [
        compare(ROW, work, ours, sampled["fresh"], against=f"a fresh container, default network ({network})", unit="/s",
                bar=Bar(4)),
        compare(ROW, work, ours, bare, against="the bare Engine API", unit="/s", bar=Bar(None, 0.9)),
        compare(ROW, f"{work}, bare Engine API", bare, sampled["bare fresh"], unit="/s",
                against="a fresh container, bare Engine API", note="what the engine itself allows"),
    ]  # fmt: skip
    if network != "none":
        found.lines.append(
            compare(ROW, work, ours, sampled["alone"], against="a fresh container, network none", unit="/s")
        )


def _call(found: Findings, options: Options, module: str, work: str, tasks: int, host: str) -> dict[str, Any]:
    with harness.fresh(options) as folder:
        said = harness.call(worker(module, work, folder, tasks, host))
    if not said["right"]:
        found.wrong.append(f"containers: {module} {work}: {said}")
    return said


if __name__ == "__main__":
    sys.exit(harness.main([(ROW, run)], __doc__ or ""))
