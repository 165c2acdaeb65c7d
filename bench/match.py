"""Row 1: which rules match one record, among 10 to 100,000 rules?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from bench import harness, venv
from bench.harness import Options, Server, worker
from bench.report import Bar, Findings, Line, compare, quantity
from bench.rounds import Sampled, measure
from bench.workloads import NAMES, SIZES, by_scan, workload

CLIPS_BARS = {"W1": 15, "W2": 10, "W3": 15}
GROWTH = (1_000, 100_000)
RECORDS = 5_000
CHECKED = 50
"""Answers that are compared with the plain filter, a rule at a time."""
AGREED = 1_000
"""Answers that are compared with each other's."""


def run(options: Options) -> Findings:
    found = Findings()
    sizes = SIZES[:2] if options.quick else SIZES
    for name in NAMES:
        ours: dict[int, Sampled] = {}
        for rules in sizes:
            sampled = _one(found, name, rules, options)
            if sampled is not None:
                ours[rules] = sampled
        if all(size in ours for size in GROWTH):
            low, high = (ours[size].median for size in GROWTH)
            bar = Bar(3, at_most=True)
            found.lines.append(
                Line("1", f"{name}, N = {GROWTH[1]:,}", quantity(high, "µs"), f"ours at N = {GROWTH[0]:,}",
                     quantity(low, "µs"), high / low, bar, bar.verdict(high / low))
            )  # fmt: skip
    return found


def _one(found: Findings, name: str, rules: int, options: Options) -> Sampled | None:
    with contextlib.ExitStack() as stack:
        servers = {}
        for way, command in _commands(name, rules).items():
            server = servers[way] = Server(command)
            stack.callback(server.close)
        _check(found, name, rules, servers)
        timed = {way: _timer(server) for way, server in servers.items()}
        anchor = "clips" if "clips" in timed else "reference"
        run_anchor = timed.pop(anchor)
        sampled = measure((anchor, run_anchor), timed, options.rounds, options.rounds_max)
    found.lines += _lines(name, rules, sampled)
    return sampled.get("ours")


def _commands(name: str, rules: int) -> dict[str, list[str]]:
    commands = {"ours": worker("matchers", "ours", name, rules, RECORDS)} if harness.is_there() else {}
    commands["reference"] = worker("matchers", "reference", name, rules, RECORDS)
    if rules <= 10:
        commands["lambdas"] = worker("matchers", "lambdas", name, rules, RECORDS)
    if venv.has("clips"):
        commands["clips"] = worker("peers.clips_match", name, rules, RECORDS, python=venv.python())
    return commands


def _timer(server: Server) -> Callable[[], float]:
    return lambda: float(server.ask("time"))


def _check(found: Findings, name: str, rules: int, servers: dict[str, Server]) -> None:
    """All ways give the same answers, and those of the plain filter."""
    given = workload(name, rules, RECORDS)
    truth = [by_scan(given.rules, record) for record in given.records[:CHECKED]]
    answers = {way: server.ask(f"answers {AGREED}") for way, server in servers.items()}
    for way, answer in answers.items():
        for n in range(AGREED):
            expected = truth[n] if n < CHECKED else answers["reference"][n]
            if answer[n] != expected:
                found.wrong.append(
                    f"match {name} N={rules}: {way} gives {answer[n]} for {given.records[n]}, not {expected}"
                )
                break


def _lines(name: str, rules: int, sampled: dict[str, Sampled]) -> list[Line]:
    work = f"{name}, N = {rules:,}"
    ours = sampled.get("ours")
    bar = Bar(CLIPS_BARS[name]) if rules >= 1_000 else None
    lines = [compare("1", work, ours, sampled.get("clips"), against="CLIPS", unit="µs", bar=bar, inverse=True)]
    lines.append(
        compare("1", work, ours, sampled["reference"], against="plain Python prototype", unit="µs",
                bar=Bar(None, 1.5, at_most=True))
    )  # fmt: skip
    if "lambdas" in sampled:
        lines.append(
            compare(
                "1", work, ours, sampled["lambdas"], against="scan over lambdas", unit="µs", bar=Bar(1, at_most=True)
            )
        )
    return lines


if __name__ == "__main__":
    sys.exit(harness.main([("match", run)], __doc__))
