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


def networks(host: str) -> list[str]:
    """What containers can be on: none, and the bridge that they are on where nothing is said, if the engine has it."""
    try:
        Connection(host).ask("GET", "/networks/bridge")
    except OSError:
        return ["none"]
    return ["none", "default"]


def run(options: Options) -> Findings:
    found = Findings()
    host, reason = engine()
    if reason:
        print(f"bench: containers: {reason}", file=sys.stderr, flush=True)
        found.lines = [Line(ROW, WORK, "–", against, "–", None, bar, "no engine") for against, bar in BARS]
        return found
    for network in networks(host):
        _in_flight(found, options, host, network)
    _memory(found, options, host)
    _exec(found, options, host)
    return found


def _in_flight(found: Findings, options: Options, host: str, network: str) -> None:
    """Whole tasks a second, and what the engine itself allows over its own client."""
    own_ms: dict[str, list[float]] = {}
    tasks, work = options.size(80, 12), f"{WORK}, {_words(network)}"

    def rate(who: str) -> Callable[[], float]:
        module, what = ("ours_containers", "rate") if who == "ours" else ("containers_floor", who)

        def once() -> float:
            said = _call(found, options, module, what, tasks, host, network)
            own_ms.setdefault(who, []).append(said["own_ms"])
            return tasks / float(said["seconds"])

        return once

    subjects = {who: rate(who) for who in ("ours", "docker") if who != "docker" or client() is not None}
    sampled = measure(("bare", rate("bare")), subjects, options.rounds, options.rounds_max)
    ours, bare, docker = sampled["ours"], sampled["bare"], sampled.get("docker")
    found.lines += [
        compare(ROW, work, ours, bare, against=BARS[0][0], unit="/s", bar=BARS[0][1]),
        compare(ROW, work, ours, docker, against=BARS[1][0], unit="/s", bar=BARS[1][1]),
        compare(ROW, f"{work}, bare Engine API", bare, docker, against=BARS[1][0], unit="/s",
                note="what the engine itself allows"),
        figure(ROW, f"our own CPU a container, {_words(network)}", statistics.median(own_ms["ours"]),
               Bar(5, at_most=True, unit=" ms"), against=BARS[0][0],
               theirs=f"{statistics.median(own_ms['bare']):.1f} ms"),
    ]  # fmt: skip


def _words(network: str) -> str:
    return "no network" if network == "none" else f"{network} network"


def _memory(found: Findings, options: Options, host: str) -> None:
    in_flight = options.size(IN_FLIGHT, 8)
    said = _call(found, options, "ours_containers", "memory", in_flight, host, "default")
    found.lines.append(
        figure(ROW, f"memory of {in_flight} in flight", said["grown_mib"], Bar(30, at_most=True, unit=" MiB"),
               against="the idle engine, SDK loaded", theirs=f"{said['idle_mib']:.0f} MiB",
               note=f"{said['threads']} threads while they run")
    )  # fmt: skip


def _exec(found: Findings, options: Options, host: str) -> None:
    """One after the other: what is compared is how long one takes. What the engine itself allows stands beside."""
    tasks = options.size(30, 4)
    there = networks(host)
    usual = there[-1]

    def each(module: str, work: str, network: str = usual) -> Callable[[], float]:
        return lambda: tasks / float(_call(found, options, module, work, tasks, host, network)["seconds"])

    subjects = {"exec": each("ours_containers", "exec"), "bare fresh": each("containers_floor", "fresh")}
    subjects |= {network: each("ours_containers", "fresh", network) for network in there}
    sampled = measure(("bare exec", each("containers_floor", "exec")), subjects, options.rounds, options.rounds_max)
    ours, bare, work = sampled["exec"], sampled["bare exec"], "exec in a warm container"
    found.lines += [
        compare(ROW, work, ours, sampled[network], against=f"a fresh container, {_words(network)}", unit="/s",
                bar=Bar(4) if network == usual else None)
        for network in reversed(there)
    ]  # fmt: skip
    found.lines += [
        compare(ROW, work, ours, bare, against="the bare Engine API", unit="/s", bar=Bar(None, 0.9)),
        compare(ROW, f"{work}, bare Engine API", bare, sampled["bare fresh"], unit="/s",
                against="a fresh container, bare Engine API", note="what the engine itself allows"),
    ]  # fmt: skip


def _call(
    found: Findings, options: Options, module: str, work: str, tasks: int, host: str, network: str
) -> dict[str, Any]:
    with harness.fresh(options) as folder:
        said = harness.call(worker(module, work, folder, tasks, host, network))
    if not said["right"]:
        found.wrong.append(f"containers: {module} {work}: {said}")
    return said


if __name__ == "__main__":
    sys.exit(harness.main([(ROW, run)], __doc__ or ""))
