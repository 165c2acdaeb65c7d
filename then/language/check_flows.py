"""Joins that nothing fills, sets that hear too little, procedures that do not return, tasks that nobody hands over.

All warnings, as in `then.language.check`, which calls. What is waited for may
also be posted from outside: so only tasks are looked at that something runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from then.core.filters import Const
from then.core.listening import has_else
from then.core.rules import (
    FINISHED,
    Consequence,
    Emit,
    Join,
    Loop,
    ProcedureDecl,
    Return,
    Rule,
    RuleSet,
    Single,
    Skip,
    Step,
    family_covers,
)
from then.core.source import Span
from then.language.patterns import DONE
from then.language.walks import acts_of, every_rule, has_code, patterns_of

Taken: TypeAlias = tuple[str, frozenset[str]]
"""Records by their family, and by how they ended."""


class Warn(Protocol):
    """Keeps a warning."""

    def __call__(self, number: str, message: str, span: Span | None, hint: str = "") -> None: ...


def check_flows(rules: RuleSet, own: set[str], warn: Warn, *, is_alone: bool) -> None:
    """Warns of what can be told without running anything.

    Args:
        own: the files that were asked for.
        is_alone: there are no rules beside these that could emit or call something.
    """
    for procedure in rules.procedures.values():
        if procedure.span is not None and procedure.span.file in own:
            _check_returns(procedure, warn)
    _check_recursion(rules, own, warn)
    _check_sets(rules, own, warn)
    if not is_alone or has_code(rules):
        return
    _check_joins(rules, own, warn)
    _check_callbacks(rules, own, warn)


# -- joins ------------------------------------------------------------------------


def _check_joins(rules: RuleSet, own: set[str], warn: Warn) -> None:
    """Joins with a part that comes only after they have fired, or never."""
    found = list(every_rule(rules))
    there = {name for name, task in rules.tasks.items() if task.run is None and task.function is None}
    there.update(rules.events, (start.type for start in rules.starts), (t.type for t in rules.timers.values()))
    emitted = {rule.name: _emitted(rule) for rule in found}
    waiting = list(found)
    grows = True
    while grows:
        grows = False
        for rule in list(waiting):
            if all(_comes(family, there) for family in _needed(rule)):
                waiting.remove(rule)
                there |= emitted[rule.name]
                grows = True
    everything = set().union(*emitted.values()) if emitted else set()
    for rule in waiting:
        if not isinstance(rule.trigger, Join) or rule.span is None or rule.span.file not in own:
            continue
        for family in _needed(rule):
            if not _comes(family, there):
                what = "what comes only after it" if _comes(family, everything) else "what nothing emits"
                warn("T612", f'"{rule.name}" waits for "{family}", {what}', rule.span, "it never fires by itself")
                break


def _needed(rule: Rule) -> list[str]:
    """The families that must be there for a rule to fire."""
    trigger = rule.trigger
    if not isinstance(trigger, Join):
        return [pattern.family for pattern in patterns_of(trigger)]
    if trigger.kind in ("any", "every"):
        # Any of them will do; of a set there may be none.
        return []
    return [part.pattern.family for part in trigger.parts if not part.is_absent and part.pattern.callee is None]


def _comes(family: str, there: set[str]) -> bool:
    return family in there or any(family_covers(family, name) for name in there)


def _emitted(rule: Rule) -> set[str]:
    types: set[str] = set()
    for act in acts_of(rule):
        if isinstance(act, Emit | Skip):
            types.add(act.type)
        if isinstance(act, Emit):
            # A task that is handed over is emitted by whom it is handed to.
            types.update(str(value.value) for _, value in act.args if isinstance(value, Const))
    return types


# -- sets ---------------------------------------------------------------------------


def _check_sets(rules: RuleSet, own: set[str], warn: Warn) -> None:
    """Sets that never fill: a rule before them ends the search for some of their records.

    What a call returns on is seen by no rule at top level; in the call itself nothing is waited for any more then.
    """
    returning: dict[Taken, Rule] = {}
    for procedure in rules.procedures.values():
        for rule in (procedure.first, *procedure.rules):
            for taken in _returns_on(rule):
                returning.setdefault(taken, rule)
        _check_hearing(procedure.rules, {}, own, warn)
    _check_hearing(rules.rules, returning, own, warn)


def _check_hearing(beside: Sequence[Rule], takers: dict[Taken, Rule], own: set[str], warn: Warn) -> None:
    """Of rules in their order. `takers`: by what they take, rules that stand before all of them."""
    for rule in beside:
        is_set = isinstance(rule.trigger, Join) and rule.trigger.kind == "every"
        if is_set and rule.span is not None and rule.span.file in own:
            wanted, where = rule.pattern.family, rule.pattern.where
            # One that ended otherwise closes the set anyhow, unless its clause leaves that out, or an `else` answers.
            needed = FINISHED if where is not None or has_else(rule) else rule.pattern.outcomes
            found = (
                taker
                for (family, outcomes), taker in takers.items()
                if _meet(family, wanted) and not outcomes.isdisjoint(needed)
            )
            if (taker := next(found, None)) is not None:
                how, hint = (
                    ("is final", "put it before that rule")
                    if taker.final
                    else ("returns", "wait for the call itself, or in the procedure")
                )
                message = (
                    f'"{rule.name}" waits for every {wanted}, and does not hear of those on which "{taker.name}" ({taker.span})'
                    f" fires, which {how}: the set is never full then"
                )
                warn("T618", message, rule.span, hint)
        if rule.final and isinstance(rule.trigger, Single | Join):
            for pattern in patterns_of(rule.trigger):
                if pattern.callee is None and not pattern.outcomes.isdisjoint(FINISHED):
                    takers.setdefault((pattern.family, pattern.outcomes), rule)


def _returns_on(rule: Rule) -> Iterator[Taken]:
    """The records on which a rule of a procedure returns."""
    if rule.consequence is None:
        return
    before: Step | None = None
    for step in rule.consequence.steps:
        if any(isinstance(act, Return) or isinstance(act.otherwise, Return) for act in step):
            if before is None:
                patterns = patterns_of(rule.trigger)
                yield from ((one.family, one.outcomes) for one in patterns if one.callee is None)
            else:
                emits = (act.emit if isinstance(act, Loop) else act for act in before)
                yield from ((act.type, DONE) for act in emits if isinstance(act, Emit))
        before = step


def _meet(one: str, other: str) -> bool:
    return family_covers(one, other) or family_covers(other, one)


# -- procedures ---------------------------------------------------------------------


def _check_returns(procedure: ProcedureDecl, warn: Warn) -> None:
    rules = [rule for rule in (procedure.first, *procedure.rules) if rule.consequence is not None]
    if len(rules) <= len(procedure.rules):
        return
    returns = [act for rule in rules for act in acts_of(rule) if isinstance(act, Return)]
    needed = [field.name for field in procedure.result or () if not field.type.optional and field.default is None]
    if needed and not returns:
        message = f'"{procedure.name}" hands back {", ".join(needed)} and never returns: each call of it fails'
        warn("T613", message, procedure.span, "let one of its rules `return (…)`")
    for rule in rules:
        assert rule.consequence is not None
        _check_twice(rule.consequence, warn)


def _check_twice(consequence: Consequence, warn: Warn) -> None:
    """A call completes at the first `return`; a further one is a fault."""
    has_returned = False
    for step in consequence.steps:
        for act in step:
            if isinstance(act, Return):
                if has_returned:
                    warn("T614", "the call has returned here already", act.span, "leave one of the two out")
                has_returned |= act.guard is None


def _check_recursion(rules: RuleSet, own: set[str], warn: Warn) -> None:
    """Procedures that begin by calling themselves, or each other, whatever they are given."""
    follows: dict[str, list[Emit]] = {}
    for procedure in rules.procedures.values():
        first = procedure.first.consequence
        acts = first.steps[0] if first is not None else ()
        follows[procedure.name] = [
            act for act in acts if isinstance(act, Emit) and act.guard is None and act.type in rules.procedures
        ]
    for start, calls in follows.items():
        path = _way_back(start, follows)
        if path is None or start != min(path):
            continue
        span = next(act.span for act in calls if act.type == path[1])
        if span is not None and span.file in own:
            message = f"{' → '.join(path)}: {start} begins by calling itself, so that no call of it ends"
            warn("T610", message, span, "let an `if` end it")


def _way_back(start: str, follows: dict[str, list[Emit]]) -> list[str] | None:
    todo: list[list[str]] = [[start]]
    seen: set[str] = set()
    while todo:
        path = todo.pop()
        for act in follows[path[-1]]:
            if act.type == start:
                return [*path, start]
            if act.type not in seen:
                seen.add(act.type)
                todo.append([*path, act.type])
    return None


def _check_callbacks(rules: RuleSet, own: set[str], warn: Warn) -> None:
    """Parameters for a task that are optional, and that no call gives."""
    given: set[tuple[str, str]] = set()
    called: set[str] = set()
    for rule in every_rule(rules):
        for act in acts_of(rule):
            if isinstance(act, Emit) and act.type in rules.procedures:
                called.add(act.type)
                given.update((act.type, name) for name, _ in act.args)
    for procedure in rules.procedures.values():
        for field in procedure.inputs or ():
            is_own = field.span is not None and field.span.file in own
            is_handed = (procedure.name, field.name) in given or procedure.name not in called
            if field.type.name == "task" and is_own and not is_handed and field.default is None:
                message = f'no call of "{procedure.name}" hands over "{field.name}"'
                warn("T615", message, field.span, "hand a task over, or leave the parameter out")
