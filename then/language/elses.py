"""Chains whose `else` takes up less than it seems to.

An `else` belongs to the last `then` of its chain: it takes up what the step before that one brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from then.core.rules import Emit, Rule, RuleSet, Single, Unmatched
from then.language.scope import ENGINE_EVENTS

Warn: TypeAlias = Callable[..., None]


def check_elses(rules: Iterable[Rule], known: RuleSet, warn: Warn) -> None:
    """Warns once a rule of steps whose failure neither its `else` nor a rule takes up."""
    taken_up = {
        rule.trigger.pattern.family
        for rule in known.rules
        if isinstance(rule.trigger, Single | Unmatched) and "failed" in rule.trigger.pattern.outcomes
    }
    for rule in rules:
        consequence = rule.consequence
        if consequence is None or consequence.otherwise is None or len(consequence.steps) < 3:
            continue
        fallible = [
            [act.type for act in step if isinstance(act, Emit) and _may_fail(act.type, known)]
            for step in consequence.steps
        ]
        left = [type for step in fallible[:-2] for type in step if type not in taken_up]
        if left:
            names = ", ".join(dict.fromkeys(left))
            covered = ", ".join(dict.fromkeys(fallible[-2])) or "nothing"
            message = (
                f"this `else` is of the last `then` alone: it takes up a failure of {covered}, and none of {names}"
            )
            place = consequence.otherwise[0].span or rule.span
            warn("T617", message, place, f"add a rule, as in `when {left[0]} failed`")


def _may_fail(type: str, known: RuleSet) -> bool:
    """Whether a failure of it is something to take up."""
    if type in known.events or type in ENGINE_EVENTS:
        return False
    task = known.tasks.get(type)
    return task is None or not task.may_fail
