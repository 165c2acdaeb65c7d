"""Rules and records of the match row, as plain data that every matcher is built from.

A rule is a tuple of clauses (field, operator, operand), all of which must
hold; its number is its place in the order. `type` and `outcome` are fields of
the record, all others of its body.

W1   type, outcome and project, each by equality
W2   60 % as W1; 20 % type, outcome and a range of `size`; 10 % type, outcome and
     `region` one of three; 10 % type, outcome and `path` by prefix or by regex
W3   20 % of the rules share one type and one outcome and differ in `target`; the
     others as W1. Half of the records are of the shared type

Values are drawn so that a record matches one to three rules or so at every N.
In W2 each hundredth record lacks the field that the rule it was made from asks
for; so does each in W1 and W3, where that is `project` or `target`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

Clause = tuple[str, str, Any]
Rule = tuple[Clause, ...]

NAMES = ("W1", "W2", "W3")
SIZES = (10, 1_000, 10_000, 100_000)
TYPES_MAX = 200
"""Types of record at 4,000 rules and more; fewer below, 20 rules to a type."""
SIZE_MAX = 1_000_000
LACKING = 100
"""One record in so many lacks the field that it was to match by."""
REGEX_END = "[a-z]+[0-9]+$"
"""What the regular expressions ask for after their literal prefix."""
SEED = 20


class Record(NamedTuple):
    """A finished task."""

    type: str
    outcome: str
    body: dict[str, Any]


class Workload(NamedTuple):
    rules: list[Rule]
    records: list[Record]


def workload(name: str, rules: int, records: int, seed: int = SEED) -> Workload:
    """The same arguments give the same rules and records, in every process."""
    chance = random.Random(f"{name} {rules} {seed}")
    types = max(2, min(TYPES_MAX, rules // 20))
    make: Callable[[random.Random, int, int], Rule] = {"W1": _equal, "W2": _mixed, "W3": _shared}[name]
    found = [make(chance, types, rules) for _ in range(rules)]
    hot = [rule for rule in found if rule[0][2] == SHARED]
    made = []
    for n in range(records):
        rule = chance.choice(hot if hot and n % 2 else found)
        made.append(_record(chance, rule, lacks=n % LACKING == LACKING - 1))
    return Workload(found, made)


SHARED = "deploy"


def _head(chance: random.Random, types: int) -> tuple[Clause, Clause]:
    outcome = "done" if chance.random() < 0.5 else "failed"
    return ("type", "==", f"type{chance.randrange(types)}"), ("outcome", "==", outcome)


def _equal(chance: random.Random, types: int, rules: int) -> Rule:
    projects = max(1, rules // (types * 2))
    return (*_head(chance, types), ("project", "==", f"p{chance.randrange(projects)}"))


def _mixed(chance: random.Random, types: int, rules: int) -> Rule:
    drawn = chance.random()
    if drawn < 0.6:
        return _equal(chance, types, rules)
    head = _head(chance, types)
    alike = max(1, rules // (types * 20))
    """Rules of one kind (of a tenth of all) that share type and outcome."""
    if drawn < 0.8:
        width = SIZE_MAX // (2 * alike)
        low = chance.randrange(SIZE_MAX - width + 1)
        return (*head, ("size", "range", (low, low + width)))
    if drawn < 0.9:
        regions = max(3, 3 * alike)
        return (*head, ("region", "in", tuple(f"r{n}" for n in chance.sample(range(regions), 3))))
    prefix = f"src/m{chance.randrange(alike)}/"
    if drawn < 0.95:
        return (*head, ("path", "prefix", prefix))
    return (*head, ("path", "regex", f"^{prefix}{REGEX_END}"))


def _shared(chance: random.Random, types: int, rules: int) -> Rule:
    if chance.random() < 0.8:
        return _equal(chance, types, rules)
    targets = max(1, rules // 10)
    return ("type", "==", SHARED), ("outcome", "==", "done"), ("target", "==", f"t{chance.randrange(targets)}")


def _record(chance: random.Random, rule: Rule, lacks: bool) -> Record:
    """A record that the rule matches, unless it lacks the field, with other fields drawn at random."""
    (_, _, type), (_, _, outcome), (field, operator, operand) = rule
    body: dict[str, Any] = {
        "project": f"p{chance.randrange(1000)}", "size": chance.randrange(SIZE_MAX),
        "region": f"r{chance.randrange(100)}", "path": f"src/m{chance.randrange(100)}/file{chance.randrange(100)}",
        "ref": "main",
    }  # fmt: skip
    if operator == "==":
        body[field] = operand
    elif operator == "range":
        body[field] = chance.randrange(*operand)
    elif operator == "in":
        body[field] = chance.choice(operand)
    else:
        body[field] = operand.removeprefix("^").removesuffix(REGEX_END) + f"file{chance.randrange(100)}"
    if lacks:
        body.pop(field)
    return Record(type, outcome, body)


def holds(rule: Rule, record: Record) -> bool:
    """The plain truth, clause by clause: what every other answer is checked against."""
    return all(_clause(clause, record) for clause in rule)


def _clause(clause: Clause, record: Record) -> bool:
    field, operator, operand = clause
    if field in ("type", "outcome"):
        return bool(getattr(record, field) == operand)
    value = record.body.get(field)
    if operator == "==":
        return bool(value == operand)
    if operator == "range":
        return type(value) is int and operand[0] <= value < operand[1]
    if operator == "in":
        return value in operand
    if type(value) is not str:
        return False
    if operator == "prefix":
        return value.startswith(operand)
    return re.search(operand, value) is not None


def by_scan(rules: list[Rule], record: Record) -> list[int]:
    """Numbers of the rules that hold, one after the other looked at."""
    return [number for number, rule in enumerate(rules) if holds(rule, record)]
