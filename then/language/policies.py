"""How often and how long: `retry`, `timeout` and what else is a number or a span of time, from tree to model.

Who calls: `then.language.declare`, for tasks, `then.language.acts` and
`then.language.triggers`.
"""

from __future__ import annotations

from typing import Final

from then.core.errors import RuleError
from then.core.policies import FACTOR_MAX, TIMES_MAX, Retry
from then.language.findings import Misplaced, NumberRefused
from then.language.literals import duration_us, float_value
from then.language.tree import Token, Tree
from then.language.units import Unit

COUNT_MAX: Final = 1_000_000


def span_us(node: Tree | Token, what: str, unit: Unit) -> int | None:
    """The duration of a node, or the first in it; None where it was refused: nothing, or longer than a life.

    Args:
        what: how the message names it, such as `timeout`.
    """
    token = next(token for token in node.tokens() if token.type == "DURATION") if isinstance(node, Tree) else node
    assert isinstance(token, Token)
    try:
        found = duration_us(token)
    except RuleError as error:
        unit.refuse(NumberRefused(error.message), token)
        return None
    if found <= 0:
        unit.refuse(NumberRefused(f"`{what} {token}` is no time at all: give a longer one, or leave it out"), token)
        return None
    return found


def count_of(token: Tree | Token, what: str, unit: Unit, most: int = COUNT_MAX) -> int | None:
    """A whole number from 1 on; None where it was refused."""
    assert isinstance(token, Token)
    found = int(token) if len(token) < 20 else most + 1
    if 1 <= found <= most:
        return found
    unit.refuse(NumberRefused(f"{what} is a whole number from 1 to {most:,}; here is {str(token)[:40]}"), token)
    return None


def retry_of(tree: Tree, unit: Unit) -> tuple[Retry | None, Tree | Token | None]:
    """`retry N times backoff … while …`: the policy, None where it was refused, and the clause of `while`."""
    times_token, *rest = tree.children
    times = count_of(times_token, "how often `retry` tries again", unit, TIMES_MAX)
    spans = [node for node in rest if isinstance(node, Token) and node.type == "DURATION"]
    waits = [span_us(token, "to" if place else "backoff", unit) for place, token in enumerate(spans)]
    factor_node, while_node = tree.find("factor"), tree.find("while")
    factor = _factor(factor_node, unit) if factor_node is not None else 2.0
    condition = while_node.children[0] if while_node is not None else None
    if times is None or factor is None or None in waits:
        return None, condition
    first, most = (*waits, None, None)[:2]
    if first is not None and most is not None and most < first:
        message = f"`backoff {spans[0]} to {spans[1]}` shrinks: the wait grows from the first to the second"
        unit.refuse(NumberRefused(message), spans[1])
    is_from_failed = tree.find("from_failed") is not None
    has_jitter = any(isinstance(node, Token) and node.type == "JITTER" for node in rest)
    return Retry(times, first or 0, most, factor, has_jitter, is_from_failed=is_from_failed), condition


def refuse_from(tree: Tree, what: str, unit: Unit) -> None:
    """`from failed`, `from start` are words of a call: nothing else has an inside."""
    node = tree.find("from_failed") or tree.find("from_start")
    if node is not None:
        word = node.data.replace("_", " ")
        unit.refuse(
            Misplaced(f"`{word}` belongs to a `call`: {what} has nothing in it that could be tried alone"), node
        )


def _factor(tree: Tree, unit: Unit) -> float | None:
    token = tree.children[0]
    assert isinstance(token, Token)
    try:
        factor = float_value(token)
    except RuleError as error:
        unit.refuse(NumberRefused(error.message), token)
        return None
    if 1 <= factor <= FACTOR_MAX:
        return factor
    message = f"the wait grows by a `factor` from 1 to {FACTOR_MAX:,}; here is {str(token)[:40]}"
    unit.refuse(NumberRefused(message), token)
    return None
