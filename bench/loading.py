"""Row 10: the index over 100,000 rules, and the parsing of as many from `.then` text."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

from bench import harness
from bench.harness import Options, worker
from bench.report import Bar, Findings, Line, figure, quantity
from bench.rounds import measure
from bench.workloads import NAMES

TEXT_RULES = 100_000


def run(options: Options) -> Findings:
    found = Findings()
    rules = options.size(100_000, 5_000)
    for name in NAMES:
        found.lines += _index(options, name, rules)
    found.lines += _text(found, options, options.size(TEXT_RULES, 500))
    return found


def _index(options: Options, name: str, rules: int) -> list[Line]:
    """The prototype is the anchor: it does the same work on the same data, in the same kind of process."""
    memory: dict[str, list[float]] = {}

    def build(way: str) -> Callable[[], float]:
        def once() -> float:
            said = harness.call(worker("loaders", way, name, rules))
            memory.setdefault(way, []).append(said["mib"])
            return float(said["seconds"])

        return once

    subjects = {"index": build("index"), "rules": build("rules")} if harness.is_there() else {}
    sampled = measure(("reference", build("reference")), subjects, options.rounds, options.rounds_max)
    reference, ours, whole = sampled["reference"], sampled.get("index"), sampled.get("rules")
    mib = {way: statistics.median(values) for way, values in memory.items()}
    against = "plain Python prototype, from data"
    note = ""
    if whole is not None:
        note = (
            f"with the rules themselves made as objects: {quantity(whole.median, 's')}, {quantity(mib['rules'], 'MiB')}"
        )
    return [
        figure("10", f"index over {rules:,} rules, {name}", ours.median if ours else None, Bar(2, 1, at_most=True, unit=" s"),
               against=against, theirs=quantity(reference.median, "s"), ratio=ours.to_anchor if ours else None,
               rounds=ours.rounds if ours else "", note=note),
        figure("10", f"its memory, {name}", mib.get("index"), Bar(60, at_most=True, unit=" MiB"), against=against,
               theirs=quantity(mib["reference"], "MiB"), ratio=mib["index"] / mib["reference"] if ours else None),
    ]  # fmt: skip


def _text(found: Findings, options: Options, rules: int) -> list[Line]:
    """Once: it takes a minute. The floor is PyYAML's C parser on as many rules as short mappings."""
    bars = Bar(120, at_most=True, unit=" s"), Bar(3, at_most=True, unit=" s")
    works = f"{rules:,} rules from .then text", "the same from the compiled cache"
    if not harness.is_there("then.app.loading"):
        return [figure("10", work, None, bar) for work, bar in zip(works, bars, strict=True)]
    with harness.fresh(options) as folder:
        harness.call(worker("loaders", "write", "W2", rules, folder))
        floor = harness.call(worker("loaders", "yaml", "W2", rules, folder))["seconds"]
        lines = []
        for work, bar in zip(works, bars, strict=True):
            said = harness.call(worker("loaders", "text", "W2", rules, folder))
            if not said["right"]:
                found.wrong.append(f"loading: {work}: {said}")
            lines.append(
                figure("10", work, said["seconds"], bar, against="as many rules in YAML, libyaml",
                       theirs=quantity(floor, "s"), ratio=said["seconds"] / floor, note=f"grows by {quantity(said['mib'], 'MiB')}")
            )  # fmt: skip
    return lines


if __name__ == "__main__":
    sys.exit(harness.main([("loading", run)], __doc__))
