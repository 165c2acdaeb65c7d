"""Which rules fire on a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from then.core.evaluate import decide
from then.core.fields import Scope
from then.core.rules import Match, Rule, Single, Unmatched, family_covers
from then.core.tasks import Json, Task


class FilterIndex:
    """Rules in order, found by record."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def find(self, task: Task) -> tuple[Rule, ...]:
        """Rules that may match, in order."""
        return tuple(r for r in self._rules if isinstance(r.trigger, Single) and r.trigger.pattern.fits(task))

    def match(self, task: Task, flow_variables: Mapping[str, Json] | None = None) -> tuple[Match, ...]:
        """The rules that fire, in order, up to the first that is final."""
        return match_plainly(self._rules, task, flow_variables)

    def match_unmatched(self, task: Task, flow_variables: Mapping[str, Json] | None = None) -> tuple[Match, ...]:
        """The same for the rules that say `unmatched`."""
        return match_plainly(self._rules, task, flow_variables, kind=Unmatched)

    def wants(self, type: str, word: str) -> bool:
        """Whether any rule may match records of this type and outcome word."""
        return any(
            word in r.trigger.pattern.outcomes and family_covers(r.trigger.pattern.family, type) for r in self._rules
        )


def match_plainly(
    rules: Sequence[Rule],
    task: Task,
    flow_variables: Mapping[str, Json] | None = None,
    kind: type[Single] | type[Unmatched] = Single,
) -> tuple[Match, ...]:
    """The plain truth that the index is tested against: every rule, one after the other."""
    fired: list[Match] = []
    for rule in rules:
        pattern = rule.trigger.pattern
        if not isinstance(rule.trigger, kind) or not pattern.fits(task):
            continue
        bindings: dict[str, Json | Task] = {} if pattern.alias is None else {pattern.alias: task}
        verdict = decide(pattern.where, Scope(task, bindings, flow_variables))
        if verdict.value is True:
            fired.append(Match(rule, task, verdict.groups or None))
            if rule.final:
                break
    return tuple(fired)
