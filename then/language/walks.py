"""Ways through a rule set: its rules, what they wait for, and all that they do.

Who calls: `then.language.check`, `then.language.check_flows`, and
`then.language.printer`.
"""

from __future__ import annotations

from collections.abc import Iterator

from then.core.rules import (
    Act,
    Consequence,
    Join,
    Loop,
    Pattern,
    Rule,
    RuleSet,
    Single,
    Trigger,
    Unmatched,
)


def all_rules(rules: RuleSet) -> Iterator[Rule]:
    """All rules of a set, those of procedures and endings too."""
    yield from rules.rules
    for procedure in rules.procedures.values():
        yield from (procedure.first, *procedure.rules)
    yield from rules.endings.values()


def has_code(rules: RuleSet) -> bool:
    """Whether functions or scripts are among them: what these emit is not known before they run."""
    has_scripts = any(task.run is not None and task.run.kind == "script" for task in rules.tasks.values())
    return has_scripts or any(rule.generator is not None for rule in all_rules(rules))


def acts_of(rule: Rule) -> Iterator[Act]:
    """All acts of a rule, those of `on timeout` too."""
    if rule.consequence is not None:
        yield from acts(rule.consequence)
    if isinstance(rule.trigger, Join) and rule.trigger.late is not None:
        yield from acts(rule.trigger.late)


def acts(consequence: Consequence) -> Iterator[Act]:
    """All acts of a consequence, those of `else`, `otherwise` and loops too."""
    steps = (*consequence.steps, consequence.otherwise) if consequence.otherwise is not None else consequence.steps
    todo: list[Act] = [act for step in steps for act in step]
    while todo:
        act = todo.pop()
        yield act
        if isinstance(act, Loop):
            todo.append(act.emit)
        if act.otherwise is not None:
            todo.append(act.otherwise)


def every_rule(rules: RuleSet) -> Iterator[Rule]:
    """Those of them that are no functions."""
    return (rule for rule in all_rules(rules) if rule.consequence is not None)


def patterns_of(trigger: Trigger) -> tuple[Pattern, ...]:
    """What a rule waits for: of a join each part, of a call or an end nothing."""
    if isinstance(trigger, Join):
        return tuple(part.pattern for part in trigger.parts)
    return (trigger.pattern,) if isinstance(trigger, Single | Unmatched) else ()
