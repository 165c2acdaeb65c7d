"""The worker of row 10: `python -m bench.loaders WAY WORKLOAD RULES [FOLDER]` prints one line of JSON.

index      `then`'s index over rules that are there as objects
rules      the same, the objects made too
reference  the plain Python prototype, from the workload's data
write      a `.then` and a YAML file of these rules into FOLDER
text       `Rules.load` of the `.then` file: the second time from the cache, where there is one
yaml       the YAML file through libyaml, for the floor

Seconds are CPU time of the thread for the first three, wall time for the others.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench import reference
from bench.matchers import memory_mib
from bench.workloads import Rule, workload


def index(rules: list[Rule]) -> dict[str, Any]:
    from bench import translate
    from then.core.index import FilterIndex
    from then.core.tasks import Task

    made = [translate.rule_of(number, rule) for number, rule in enumerate(rules)]
    gc.collect()
    before, begun = memory_mib(), time.thread_time()
    built = FilterIndex(made)
    built.match(Task("none"))
    return {"seconds": time.thread_time() - begun, "mib": memory_mib() - before}


def objects(rules: list[Rule]) -> dict[str, Any]:
    from bench import translate

    gc.collect()
    before, begun = memory_mib(), time.thread_time()
    match, _ = translate.matcher(rules)
    return {"seconds": time.thread_time() - begun, "mib": memory_mib() - before, "kept": match is not None}


def prototype(rules: list[Rule]) -> dict[str, Any]:
    gc.collect()
    before, begun = memory_mib(), time.thread_time()
    match = reference.build(rules)
    return {"seconds": time.thread_time() - begun, "mib": memory_mib() - before, "kept": match is not None}


def write(rules: list[Rule], folder: Path) -> dict[str, Any]:
    from bench import translate

    (folder / "rules.then").write_text(translate.text(rules))
    lines = [f"- {{name: r{number}, when: {json.dumps(rule)}, then: seen}}" for number, rule in enumerate(rules)]
    (folder / "rules.yaml").write_text("rules:\n" + "\n".join(lines) + "\n")
    return {"right": True}


def text(rules: list[Rule], folder: Path) -> dict[str, Any]:
    import then

    os.environ.setdefault("XDG_CACHE_HOME", str(folder / "cache"))
    before, begun = memory_mib(), time.perf_counter()
    loaded = then.Rules()
    loaded.load(folder / "rules.then")
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "mib": memory_mib() - before, "right": len(loaded.set.rules) == len(rules)}


def yaml(rules: list[Rule], folder: Path) -> dict[str, Any]:
    from yaml import CSafeLoader, load

    begun = time.perf_counter()
    found = load((folder / "rules.yaml").read_text(), CSafeLoader)
    return {"seconds": time.perf_counter() - begun, "right": len(found["rules"]) == len(rules)}


if __name__ == "__main__":
    way, name, count, *rest = sys.argv[1:]
    given = workload(name, int(count), 1).rules
    works = {"index": index, "rules": objects, "reference": prototype, "write": write, "text": text, "yaml": yaml}
    print(json.dumps(works[way](given, *map(Path, rest))))  # type: ignore[operator]
