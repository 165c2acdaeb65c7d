"""A worker that matches records against rules: loads once, then answers questions line by line.

`python -m bench.matchers WAY WORKLOAD RULES RECORDS`, WAY one of `ours`,
`reference`, `lambdas`. Says, as JSON, how it loaded; then answers `time` with
µs of CPU a record, and `answers K` with the numbers of the rules that hold for
each of the first K records.

CPU time of the thread, not the wall clock: nothing waits here, and neighbours
on the machine then only disturb the caches. The clips worker
(bench/peers/clips_match.py) is timed in the same way by the same lines.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.workloads import Workload, workload

PASS_S = 0.25
"""The records are gone through again until this much CPU time has passed."""


def memory_mib() -> float:
    """Resident now, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def time_us(match: Callable[[Any], object], records: Sequence[Any]) -> float:
    """CPU time a record, in µs, all records in order, at least once."""
    passes = 0
    begun = time.thread_time()
    while True:
        for record in records:
            match(record)
        passes += 1
        spent = time.thread_time() - begun
        if spent >= PASS_S:
            return spent / passes / len(records) * 1e6


def serve(match: Callable[[Any], Any], records: Sequence[Any], numbers: Callable[[Any], list[int]],
          ready: dict[str, object]) -> None:  # fmt: skip
    """Answers questions until the input ends.

    Args:
        numbers: the numbers of the rules in an answer of `match`.
        ready: what is said first.
    """
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        question, *rest = line.split()
        answer: object = None
        if question == "time":
            answer = time_us(match, records)
        elif question == "answers":
            answer = [sorted(numbers(match(record))) for record in records[: int(rest[0])]]
        print(json.dumps(answer), flush=True)


def _main(way: str, given: Workload) -> None:
    if way == "ours":
        from bench import translate
    before = memory_mib()
    begun = time.thread_time()
    records: Sequence[Any] = given.records
    numbers: Callable[[Any], list[int]] = list
    if way == "ours":
        match, numbers = translate.matcher(given.rules)
    else:
        from bench import reference

        match = {"reference": reference.build, "lambdas": reference.build_lambdas}[way](given.rules)
    load_s = time.thread_time() - begun
    grown = memory_mib() - before
    if way == "ours":
        records = translate.tasks(given.records)
    serve(match, records, numbers, {"load_s": load_s, "load_mib": grown})


if __name__ == "__main__":
    _main(sys.argv[1], workload(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
