"""Types and fields that nothing declares, in rules where they need not be declared, and variables that nothing saves.

All warnings. A stranger is nothing wrong by itself: a record of any type may be
posted. One that is nearly called like something declared is hardly meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from then.core.errors import nearest
from then.core.filters import Coalesce, Compare, Const, Field, FlowVariable, IsMissing, IsNull, LoadRef, operands, walk
from then.core.rules import ANY, EventDecl, Pattern, Rule, RuleSet, Save, Single, TaskDecl, Unmatched
from then.core.tasks import OWN_FIELDS
from then.language.scope import ENGINE_EVENTS
from then.language.units import Unit
from then.language.walks import acts_of, all_rules, expressions, has_code

Warn: TypeAlias = Callable[..., None]

_READS: Final = re.compile(r"\bflow\s*\.|\bload\b")
STRANGERS_MAX: Final = 100
"""So many names are compared with those declared, some milliseconds each; who has more did not misspell them."""


def check_strangers(rules: RuleSet, by_file: Mapping[str, Unit], warn: Warn) -> None:
    """Warns of names that nothing declares, and that are near one that is."""
    strangers = Strangers(rules, by_file, warn)
    for rule in rules.rules:
        if isinstance(rule.trigger, Single | Unmatched):
            strangers.look_at(rule, rule.trigger.pattern)


class Strangers:
    """Looks at rules for names that nothing declares."""

    def __init__(self, known: RuleSet, by_file: Mapping[str, Unit], warn: Warn) -> None:
        self._known = known
        self._by_file = by_file
        self._warn = warn
        self._names = [*known.tasks, *known.events, *ENGINE_EVENTS]
        self._near: dict[str, str] = {}
        """For each stranger what to say of the name that is near, if one is."""

    def look_at(self, rule: Rule, pattern: Pattern) -> None:
        """Warns of the types that a rule waits for, and of the fields of its clauses."""
        unit = self._by_file.get(rule.span.file) if rule.span is not None else None
        if unit is not None and unit.is_strict:
            return
        family = pattern.family
        if family != ANY and not family.endswith(".*") and not self._is_declared(family):
            near = self._nearest(family)
            if near:
                self._warn("T616", f'nothing declares "{family}"{near}', pattern.span, "the rule waits for it")
        self._look_at_fields(pattern)

    def _look_at_fields(self, pattern: Pattern) -> None:
        declared = self._known.events.get(pattern.family) or self._known.tasks.get(pattern.family)
        fields = _fields(declared)
        if fields is None or pattern.where is None:
            return
        for node in walk(pattern.where):
            if type(node) is Field and node.source == "any" and node.record in (None, pattern.alias):
                name = str(node.path[0])
                near = "" if name in fields or name in OWN_FIELDS else nearest(name, fields)
                if near:
                    self._warn("T616", f'{pattern.family} declares no "{name}"{near}', node.span or pattern.span)

    def _is_declared(self, type: str) -> bool:
        known = self._known
        return any(type in group for group in (known.tasks, known.events, known.procedures, ENGINE_EVENTS))

    def _nearest(self, type: str) -> str:
        if type not in self._near and len(self._near) < STRANGERS_MAX:
            self._near[type] = nearest(type, self._names)
        return self._near.get(type, "")


def _fields(declared: EventDecl | TaskDecl | None) -> list[str] | None:
    """What a record may have; None where that is not said."""
    if isinstance(declared, EventDecl):
        return [field.name for field in declared.fields]
    if declared is None or declared.inputs is None or declared.result is None:
        return None
    return [field.name for field in (*declared.inputs, *declared.result)]


def check_variables(rules: RuleSet, by_file: Mapping[str, Unit], own: set[str], warn: Warn) -> None:
    """Warns of flow variables that are read and that no rule saves. Functions and scripts may save any.

    Where there are procedures and tasks alone, others use them, and save what these read.
    """
    if not rules.rules or has_code(rules) or not any(_READS.search(unit.text) for unit in by_file.values()):
        return
    known = {act.name for rule in all_rules(rules) for act in acts_of(rule) if isinstance(act, Save)}
    read = [node for expr in expressions(rules) for node in walk(expr)]
    # Who asks whether one is there knows that it may not be.
    asked = {
        str(node.path[0])
        for one in read
        if isinstance(one, Coalesce | IsMissing | IsNull)
        or (isinstance(one, Compare) and any(isinstance(side, Const) and side.value is None for side in operands(one)))
        for node in walk(one)
        if isinstance(node, FlowVariable)
    }
    for node in read:
        if isinstance(node, FlowVariable | LoadRef) and node.span is not None and node.span.file in own:
            name = str(node.path[0])
            if name not in known and name not in asked:
                message = f'no rule saves the flow variable "{name}"{nearest(name, known)}'
                warn(
                    "T619", message, node.span, f"write `save {name}: …` in a rule before, or ask by `has flow.{name}`"
                )
