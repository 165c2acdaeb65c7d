"""The rules of a workload as rules of `then`: as data, and as `.then` text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import then
from bench.workloads import Clause, Record
from bench.workloads import Rule as Given
from then.core.filters import And, Compare, Const, Expr, Field, In, Matches
from then.core.rules import Consequence, Emit, Pattern, Rule, Single

FIELDS = {"project": "str", "target": "str", "size": "int", "region": "str", "path": "str", "ref": "str"}
"""What the records of the workloads hold, beside type and outcome."""
ACT = Emit("seen", (("n", Const(1)),))


def rule_of(number: int, given: Given) -> Rule:
    (_, _, type), (_, _, outcome), clause = given
    pattern = Pattern(type, frozenset((outcome,)), _expr(clause), "t")
    return Rule(f"r{number}", Single(pattern), Consequence(((ACT,),)))


def _expr(clause: Clause) -> Expr:
    field, operator, operand = clause
    at = Field((field,))
    if operator == "==":
        return Compare("==", at, Const(operand))
    if operator == "in":
        return In(at, Const(list(operand)))
    if operator == "range":
        low, high = operand
        return And((Compare(">=", at, Const(low)), Compare("<", at, Const(high))))
    return Matches(at, _pattern(operator, operand))


def _pattern(operator: str, operand: str) -> str:
    return operand if operator == "regex" else f"^{operand}"


def matcher(given: Sequence[Given]) -> tuple[Callable[[then.Task], Any], Callable[[Any], list[int]]]:
    """The public match call over these rules, and the numbers of the rules in an answer."""
    rules = then.Rules()
    for number, one in enumerate(given):
        rules.add(rule_of(number, one))
    rules.match(then.Task("none"))
    return rules.match, lambda matches: [int(match.rule.name[1:]) for match in matches]


def tasks(records: Sequence[Record]) -> list[then.Task]:
    return [then.Task(record.type, record.body, outcome=record.outcome) for record in records]  # type: ignore[arg-type]


# -- as text ------------------------------------------------------------------------


def text(given: Sequence[Given]) -> str:
    """The same rules as a `.then` file, the tasks that they name declared."""
    fields = ", ".join(f"{name}: {type}?" for name, type in FIELDS.items())
    names = sorted({rule[0][2] for rule in given})
    lines = [f"task {name}({fields})" for name in names]
    lines += ["task seen(n: int)", *_rules(given)]
    return "\n".join(lines) + "\n"


def _rules(given: Sequence[Given]) -> Iterator[str]:
    for number, ((_, _, type), (_, _, outcome), clause) in enumerate(given):
        yield f"rule r{number} when {type} {outcome} as t where {_clause(clause)} then seen(n: 1)"


def _clause(clause: Clause) -> str:
    field, operator, operand = clause
    if operator == "==":
        return f"{field} == {json.dumps(operand)}"
    if operator == "in":
        return f"{field} in {json.dumps(operand)}"
    if operator == "range":
        return f"{field} >= {operand[0]} and {field} < {operand[1]}"
    pattern = _pattern(operator, operand).replace("/", "\\/")
    return f"{field} matches /{pattern}/"
