"""A plain Python matcher without an engine around it: the speed that the index should be near.

Hash buckets for equality and membership, bisect for ranges, buckets by length
for the literal prefixes of paths and of regular expressions, and these compiled.
Gives the numbers of the rules that hold, in order. No missing fields beyond
`None`, no odd types, no Match objects: what it leaves out is what `then` adds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from bench.workloads import REGEX_END, Record, Rule

Numbers = tuple[int, ...]
Match = Callable[[Record], Any]


class _Group:
    """The rules of one type and outcome."""

    def __init__(self) -> None:
        self.equal: dict[str, dict[object, list[int]]] = {}
        self.ranges: dict[str, list[tuple[int, int, int]]] = {}
        self.prefixes: dict[str, dict[str, list[tuple[int, str | None]]]] = {}
        """By field and literal prefix: the rules, and the regex where there is one."""


def build(rules: list[Rule]) -> Match:
    """The matcher over these rules."""
    groups: dict[tuple[str, str], _Group] = {}
    for number, ((_, _, type), (_, _, outcome), (field, operator, operand)) in enumerate(rules):
        group = groups.setdefault((type, outcome), _Group())
        if operator == "==":
            group.equal.setdefault(field, {}).setdefault(operand, []).append(number)
        elif operator == "in":
            for value in operand:
                group.equal.setdefault(field, {}).setdefault(value, []).append(number)
        elif operator == "range":
            group.ranges.setdefault(field, []).append((*operand, number))
        else:
            prefix = operand.removeprefix("^").removesuffix(REGEX_END)
            regex = operand if operator == "regex" else None
            group.prefixes.setdefault(field, {}).setdefault(prefix, []).append((number, regex))
    return _matcher({key: _frozen(group) for key, group in groups.items()})


_Searches = tuple[tuple[int, Callable[[str], object] | None], ...]
_Frozen = tuple[
    tuple[tuple[str, dict[object, Numbers]], ...],
    tuple[tuple[str, list[int], list[Numbers]], ...],
    tuple[tuple[str, int, dict[str, _Searches]], ...],
]


def _frozen(group: _Group) -> _Frozen:
    equal = tuple(
        (field, {value: tuple(numbers) for value, numbers in values.items()}) for field, values in group.equal.items()
    )
    ranges = tuple((field, *_intervals(found)) for field, found in group.ranges.items())
    return equal, ranges, tuple(_by_length(group.prefixes))


def _by_length(
    prefixes: dict[str, dict[str, list[tuple[int, str | None]]]],
) -> Iterator[tuple[str, int, dict[str, _Searches]]]:
    """A bucket for each length of prefix: one look into it finds all rules of that length."""
    for field, found in prefixes.items():
        lengths: dict[int, dict[str, _Searches]] = {}
        for prefix, rules in found.items():
            searches = tuple((number, re.compile(regex).search if regex else None) for number, regex in rules)
            lengths.setdefault(len(prefix), {})[prefix] = searches
        for length, bucket in lengths.items():
            yield field, length, bucket


def _intervals(ranges: list[tuple[int, int, int]]) -> tuple[list[int], list[Numbers]]:
    """Bounds in order, and the rules that hold from each bound to the next."""
    bounds = sorted({bound for low, high, _ in ranges for bound in (low, high)})
    place = {bound: n for n, bound in enumerate(bounds)}
    held: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    for low, high, number in ranges:
        for n in range(place[low], place[high]):
            held[n + 1].append(number)
    return bounds, [tuple(numbers) for numbers in held]


def _matcher(groups: dict[tuple[str, str], _Frozen]) -> Match:
    nothing: Any = ()

    def match(record: Record) -> Any:
        group = groups.get((record.type, record.outcome))
        if group is None:
            return nothing
        equal, ranges, prefixes = group
        body = record.body
        if not ranges and not prefixes and len(equal) == 1:
            field, values = equal[0]
            return values.get(body.get(field), nothing)
        found: list[int] = []
        for field, values in equal:
            hits = values.get(body.get(field))
            if hits is not None:
                found += hits
        for field, bounds, held in ranges:
            value = body.get(field)
            if value is not None:
                found += held[bisect_right(bounds, value)]
        for field, length, bucket in prefixes:
            value = body.get(field)
            if value is not None:
                for number, search in bucket.get(value[:length], nothing):
                    if search is None or search(value):
                        found.append(number)
        found.sort()
        return found

    return match


# -- the other ways ---------------------------------------------------------------


def build_lambdas(rules: list[Rule]) -> Match:
    """A list of lambdas, each called in turn: what one writes without an engine."""
    tests = [(number, _lambda(rule)) for number, rule in enumerate(rules)]
    return lambda record: [number for number, test in tests if test(record)]


def _lambda(rule: Rule) -> Callable[[Record], bool]:
    (_, _, type), (_, _, outcome), (field, operator, operand) = rule
    if operator == "==":
        return lambda r: r.type == type and r.outcome == outcome and r.body.get(field) == operand
    if operator == "range":
        low, high = operand
        return lambda r: r.type == type and r.outcome == outcome and low <= r.body.get(field, -1) < high
    if operator == "in":
        return lambda r: r.type == type and r.outcome == outcome and r.body.get(field) in operand
    if operator == "prefix":
        return lambda r: r.type == type and r.outcome == outcome and r.body.get(field, "").startswith(operand)
    search = re.compile(operand).search
    return lambda r: r.type == type and r.outcome == outcome and search(r.body.get(field, "")) is not None
