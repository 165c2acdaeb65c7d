"""Ways through a rule set: its rules, what they wait for, and all that they do.

Who calls: `then.language.check`, `then.language.check_flows`, and
`then.language.printer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from then.core.filters import Expr
from then.core.rules import (
    Act,
    CancelTasks,
    Consequence,
    Emit,
    EndFlow,
    FieldDecl,
    Join,
    Loop,
    Pattern,
    Return,
    Rule,
    RuleSet,
    Save,
    Single,
    Skip,
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


def expressions(rules: RuleSet) -> Iterator[Expr]:
    """All expressions of a set, of declarations too; those of breakpoints and tests aside."""
    for task in rules.tasks.values():
        if task.run is not None:
            yield task.run.target
            yield from (value for _, value in task.run.options)
        limit_by = task.limit.by if task.limit is not None else None
        yield from (expr for expr in (task.retry_while, limit_by, task.idempotent_by) if expr is not None)
        yield from (need.amount for need in task.needs)
        yield from _defaults((*(task.inputs or ()), *(task.result or ())))
    for event in rules.events.values():
        yield from _defaults(event.fields)
    for record in rules.records.values():
        yield from _defaults(record.fields)
    for posted in [start.args for start in rules.starts] + [timer.args for timer in rules.timers.values()]:
        yield from (value for _, value in posted)
    for procedure in rules.procedures.values():
        yield from _defaults((*(procedure.inputs or ()), *(procedure.result or ())))
    for rule in all_rules(rules):
        yield from (pattern.where for pattern in patterns_of(rule.trigger) if pattern.where is not None)
        if isinstance(rule.trigger, Join):
            yield from (part.where_joined for part in rule.trigger.parts if part.where_joined is not None)
        for act in acts_of(rule):
            yield from _of_act(act)


def _defaults(fields: Iterable[FieldDecl]) -> Iterator[Expr]:
    return (field.default for field in fields if field.default is not None)


def _of_act(act: Act) -> Iterator[Expr]:
    match act:
        case Emit(_, args) | Return(args) | Skip(_, args):
            yield from (value for _, value in args)
        case Save(_, value):
            yield value
        case Loop(_, items):
            yield items
        case CancelTasks(_, where) if where is not None:
            yield where
        case EndFlow(_, reason) if reason is not None:
            yield reason
        case _:
            pass
    if isinstance(act, Emit):
        by = act.at_most.by if act.at_most is not None else None
        yield from (expr for expr in (act.retry_while, act.after, act.at, by) if expr is not None)
    if act.guard is not None:
        yield act.guard
