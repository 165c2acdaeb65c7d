"""Rules looked at together: those that never fire, clauses never true, events that nobody uses.

All warnings. What is decided: comparisons with constants, membership and null
tests over one field, and clauses that are written alike; everything else
counts as "may be". Regexes and arithmetic over two fields are not looked into.

Cost: grows with the number of clauses, not with pairs of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from then.core.errors import nearest
from then.core.filters import Compare, Const, Expr, Field, In, IsMissing, IsNull, Not, conjuncts, path_text
from then.core.rules import (
    ANY,
    EVENT,
    Emit,
    Pattern,
    Rule,
    RuleSet,
    Single,
    Unmatched,
    family_covers,
)
from then.core.source import Span
from then.core.tasks import Json
from then.core.values import equal, is_ordered
from then.language.check_flows import check_flows
from then.language.elses import check_elses
from then.language.findings import Findings
from then.language.scope import ENGINE_EVENTS
from then.language.strangers import check_strangers, check_variables
from then.language.units import Unit
from then.language.walks import acts_of, every_rule, has_code, patterns_of

_ORDER: Final[dict[str, Callable[[Json, Json], bool]]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


Warn: TypeAlias = Callable[..., None]


def check_rules(
    rules: RuleSet, units: Iterable[Unit], own: set[str], findings: Findings, *, is_alone: bool = True
) -> None:
    """Warns of what is allowed and hardly meant.

    Args:
        own: the files that were asked for; those that they use are there for others too.
        is_alone: no rules stand beside these that could emit or call something.
    """
    by_file = {unit.file: unit for unit in units}

    def warn(number: str, message: str, span: Span | None, hint: str = "") -> None:
        unit = by_file.get(span.file) if span is not None else None
        findings.warn(number, message, span, hint, unit.line(span) if unit is not None else None)

    declarative = [rule for rule in rules.rules if rule.consequence is not None]
    for rule in every_rule(rules):
        for pattern in patterns_of(rule.trigger):
            _check_clauses(pattern, warn)
    for beside in (declarative, *(list(procedure.rules) for procedure in rules.procedures.values())):
        _check_shadows(beside, warn)
        _check_twins(beside, warn)
    _check_events(rules, own, warn)
    _check_undeclared(declarative, rules, by_file, warn)
    _check_event_cycles(declarative, rules, warn)
    check_strangers(rules, by_file, warn)
    if is_alone:
        check_variables(rules, by_file, own, warn)
    check_elses(declarative, rules, warn)
    check_flows(rules, own, warn, is_alone=is_alone)


# -- clauses over one field -----------------------------------------------------


_TESTS_MAX = 256
"""So many clauses over one place are compared with each other; nobody writes more by hand."""


class _Test(NamedTuple):
    """A clause over one place: `op` with a constant, or `null`, `missing`, `there`, `value` (not null), `in`."""

    op: str
    value: Json
    span: Span | None


def _check_clauses(pattern: Pattern, warn: Warn) -> None:
    if pattern.where is None:
        return
    clauses = conjuncts(pattern.where)
    places: dict[Field, list[_Test]] = {}
    for clause in clauses:
        if isinstance(clause, Const) and clause.value is False:
            warn("T603", "this is never true", clause.span)
        found = _test_of(clause)
        if found is not None:
            places.setdefault(found[0], []).append(found[1])
    for place, tests in places.items():
        # Each is compared with those before it, so their number has an end.
        for i, test in enumerate(tests[:_TESTS_MAX]):
            if any(not _can_both_hold(other, test) for other in tests[:i]):
                message = f"the clauses over {path_text(place.path)} are never true together"
                warn("T603", message, test.span, "the rule cannot fire")
                break


def _test_of(clause: Expr) -> tuple[Field, _Test] | None:
    match clause:
        case Compare(op, Field() as place, Const(value)):
            return place, _Test(op, value, clause.span)
        case Compare(op, Const(value), Field() as place):
            return place, _Test(_TURNED[op], value, clause.span)
        case In(Field() as place, Const(value)):
            return place, _Test("in", list(value) if isinstance(value, dict | list) else [], clause.span)
        case IsNull(Field() as place):
            return place, _Test("null", None, clause.span)
        case IsMissing(Field() as place):
            return place, _Test("missing", None, clause.span)
        case Not(IsNull(Field() as place)):
            return place, _Test("value", None, clause.span)
        case Not(IsMissing(Field() as place)):
            return place, _Test("there", None, clause.span)
        case _:
            return None


def _can_both_hold(one: _Test, other: _Test) -> bool:
    for a, b in ((one, other), (other, one)):
        if a.op == "missing":
            return b.op == "missing"
        if a.op == "null":
            return b.op in ("null", "there") or _allows(b, None)
        if a.op in ("there", "value"):
            return a.op == "there" or b.op != "==" or b.value is not None
        if a.op == "==":
            return _allows(b, a.value)
        if a.op == "in":
            return any(_allows(b, item) for item in a.value)
    if one.op in _ORDER and other.op in _ORDER and is_ordered(one.value, other.value):
        return _bounds_meet(one, other)
    # Two bounds of unlike kinds: a value is a number or a text, not both.
    return not (one.op in _ORDER and other.op in _ORDER)


def _allows(test: _Test, value: Json) -> bool:
    if test.op == "==":
        return equal(test.value, value)
    if test.op == "!=":
        return not equal(test.value, value)
    if test.op == "in":
        return any(equal(item, value) for item in test.value)
    return is_ordered(value, test.value) and _ORDER[test.op](value, test.value)


def _bounds_meet(one: _Test, other: _Test) -> bool:
    if one.op[0] == other.op[0]:
        return True
    low, high = (one, other) if one.op[0] == ">" else (other, one)
    is_open = low.op == ">" or high.op == "<"
    return bool(low.value < high.value or (low.value == high.value and not is_open))


# -- rules beside each other ------------------------------------------------------


def _check_shadows(rules: list[Rule], warn: Warn) -> None:
    """A final rule ends the search: a later one that only sees what it takes never fires.

    Final rules are filed under one of their clauses; a later rule that has them all looks them up under its own.
    """
    filed: dict[tuple[type, str, Expr | None], list[tuple[Rule, frozenset[Expr]]]] = {}
    for rule in rules:
        if not isinstance(rule.trigger, Single | Unmatched):
            # What a join takes depends on what came before.
            continue
        pattern = rule.trigger.pattern
        is_needed = pattern.where is not None and (filed or rule.final)
        clauses = tuple(conjuncts(pattern.where)) if is_needed and pattern.where is not None else ()
        if filed:
            earlier = _covering(filed, type(rule.trigger), pattern, clauses)
            if earlier is not None:
                message = f'"{rule.name}" never fires: the final rule "{earlier.name}" ({earlier.span}) takes all that it would'
                warn("T602", message, rule.span, "put it before that rule, or narrow that one's `where`")
        if rule.final:
            first = min(clauses, key=repr) if clauses else None
            filed.setdefault((type(rule.trigger), pattern.family, first), []).append((rule, frozenset(clauses)))


def _covering(
    filed: dict[tuple[type, str, Expr | None], list[tuple[Rule, frozenset[Expr]]]],
    kind: type,
    pattern: Pattern,
    clauses: tuple[Expr, ...],
) -> Rule | None:
    """A final rule before it; of several the same in each run, so the clauses are looked up in their order."""
    for family in _families(pattern.family):
        for clause in (None, *clauses):
            for rule, needed in filed.get((kind, family, clause), ()):
                if pattern.outcomes <= rule.pattern.outcomes and needed.issubset(clauses):
                    return rule
    return None


def _families(family: str) -> Iterator[str]:
    """Those that hold all that this one holds."""
    yield family
    if family == ANY:
        return
    yield ANY
    words = family.removesuffix(".*").split(".")
    for count in range(1, len(words) + (0 if not family.endswith(".*") else 1)):
        yield ".".join(words[:count]) + ".*"


def _check_twins(rules: list[Rule], warn: Warn) -> None:
    """Two rules of one pattern that emit the same: a record would bring it forth twice."""
    seen: dict[tuple[object, ...], Rule] = {}
    for rule in rules:
        if rule.consequence is None:
            continue
        for act in rule.consequence.steps[0]:
            if isinstance(act, Emit):
                key = (rule.trigger, act.type, act.args, act.guard)
                other = seen.setdefault(key, rule)
                if other is not rule and not other.final:
                    message = f'"{other.name}" ({other.span}) emits the same {act.type} for the same record'
                    warn("T609", message, act.span, "leave one of them out")


# -- types ---------------------------------------------------------------------------


def _check_events(rules: RuleSet, own: set[str], warn: Warn) -> None:
    used = {start.type for start in rules.starts} | {timer.type for timer in rules.timers.values()}
    families = []
    if has_code(rules):
        return
    for rule in every_rule(rules):
        families += [pattern.family for pattern in patterns_of(rule.trigger)]
        used.update(act.type for act in acts_of(rule) if isinstance(act, Emit))
    used.update(families)
    for event in rules.events.values():
        is_used = event.name in used or any(family_covers(family, event.name) for family in families)
        if not is_used and event.span is not None and event.span.file in own:
            warn(
                "T604", f'nothing waits for "{event.name}" and nothing emits it', event.span, "leave it out, or use it"
            )


def _check_undeclared(rules: list[Rule], known: RuleSet, by_file: dict[str, Unit], warn: Warn) -> None:
    for rule in rules:
        unit = by_file.get(rule.span.file) if rule.span is not None else None
        if unit is None or unit.is_strict:
            continue
        for act in acts_of(rule):
            is_known = isinstance(act, Emit) and any(
                act.type in group for group in (known.tasks, known.events, known.procedures)
            )
            if isinstance(act, Emit) and not is_known:
                message = (
                    f'nothing declares "{act.type}"{nearest(act.type, [*known.tasks, *known.events])}:'
                    " where nothing runs it either, it fails with the kind no_executor"
                )
                warn("T611", message, act.span, "declare it in a .then file, and `use` that")


def _check_event_cycles(rules: list[Rule], known: RuleSet, warn: Warn) -> None:
    """Events that bring forth each other whatever they hold: no task is between them to take time, or to end it."""
    follows: dict[str, list[tuple[str, Emit]]] = {}
    for rule in rules:
        if not isinstance(rule.trigger, Single):
            continue
        pattern = rule.trigger.pattern
        if pattern.where is not None or EVENT not in pattern.outcomes:
            continue
        assert rule.consequence is not None
        for act in rule.consequence.steps[0]:
            if (
                isinstance(act, Emit)
                and act.guard is None
                and act.type in known.events
                and act.type not in ENGINE_EVENTS
            ):
                follows.setdefault(pattern.family, []).append((act.type, act))
    for start in follows:
        path = _path_back(start, follows)
        if path is not None:
            names = [start, *(act.type for act in path)]
            if start == min(names):
                message = f"these events bring forth each other without an end: {' → '.join(names)}"
                warn("T610", message, path[0].span, "let a `where` or an `if` end it")


def _path_back(start: str, follows: dict[str, list[tuple[str, Emit]]]) -> list[Emit] | None:
    todo: list[tuple[str, list[Emit]]] = [(start, [])]
    seen: set[str] = set()
    while todo:
        at, path = todo.pop()
        for target, act in follows.get(at, ()):
            if target == start:
                return [*path, act]
            if target not in seen:
                seen.add(target)
                todo.append((target, [*path, act]))
    return None
