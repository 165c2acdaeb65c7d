"""What tests have seen of rules: which fired, which steps ran, and what clauses came to.

A clause is what stands between `and`, `or` and `not` in a `where`. It is
decided by the plain evaluator for every record that fits the rule's type and
outcome, whether or not another clause had settled the matter: one that was
never true, or never false, could be anything as far as the tests know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from then.core import facts as f
from then.core.errors import RuleError
from then.core.evaluate import Explanation, explain
from then.core.fields import Scope
from then.core.filters import And, Expr, Not, Opaque, Or, operands
from then.core.rules import Consequence, Join, Pattern, Rule, RuleSet, Single, Unmatched, family_covers
from then.core.source import Span
from then.core.state import State
from then.core.tasks import Json, Task
from then.language.files import PRELUDE
from then.language.phrases import Phrases
from then.language.scope import Declared
from then.language.scope import Scope as Names


@attrs.define(eq=False)
class Clause:
    """One clause of a rule, and what it came to."""

    expr: Expr
    names: Names
    span: Span | None
    was_true: bool = False
    was_false: bool = False

    @property
    def text(self) -> str:
        """Made when it is asked for: of 100,000 rules few are looked at."""
        return clause_text(self.expr, self.names)

    @property
    def lacks(self) -> str:
        """`true`, `false`, `true or false`, or nothing."""
        return " or ".join(word for word, was in (("true", self.was_true), ("false", self.was_false)) if not was)


@attrs.define(eq=False)
class Covered:
    """One rule: what its clauses came to, and how often it and its steps went."""

    rule: Rule
    clauses: tuple[Clause, ...]
    fired: int = 0
    steps: dict[str, int] = attrs.field(factory=dict)
    """By name, `R/1` and `R/2/else`."""


class _Watched:
    """A pattern of a rule, and its clauses by the identity of their expressions."""

    __slots__ = ("clauses", "pattern", "procedure")

    def __init__(self, pattern: Pattern, clauses: dict[int, Clause], procedure: str | None) -> None:
        self.pattern = pattern
        self.clauses = clauses
        self.procedure = procedure
        """Whose rule it is: it sees the records of its calls."""

    @property
    def is_open(self) -> bool:
        return any(clause.lacks for clause in self.clauses.values())


class Coverage:
    """Counts over many trials of one rule set."""

    def __init__(self, rules: RuleSet) -> None:
        self.fired: Counter[str] = Counter()
        self._declared = Declared(rules)
        self._watched: list[_Watched] = []
        self._by_type: dict[str, list[_Watched]] = {}
        self._rules = [
            self._cover(rule, procedure) for rule, procedure in _with_procedures(rules) if not _is_of_prelude(rule)
        ]

    def rules(self) -> list[Covered]:
        """All rules in order, with their counts."""
        for covered in self._rules:
            covered.fired = self.fired[covered.rule.name]
            covered.steps = {name: self.fired[name] for name in covered.steps}
        return self._rules

    def _cover(self, rule: Rule, procedure: str | None) -> Covered:
        clauses: list[Clause] = []
        for pattern in _patterns(rule):
            if pattern.where is None:
                continue
            names = names_of(pattern, self._declared)
            found = {
                id(leaf): Clause(leaf, names, leaf.span or pattern.span or rule.span) for leaf in _leaves(pattern.where)
            }
            clauses += found.values()
            self._watched.append(_Watched(pattern, found, procedure))
        return Covered(rule, tuple(clauses), steps=dict.fromkeys(_steps(rule), 0))

    def look(self, pages: Iterable[f.Page], fired: Iterable[str], records: Mapping[str, Task], state: State) -> None:
        """Takes in what a step brought about.

        Args:
            fired: its `firings`.
            records: as they are after it.
        """
        for name in fired:
            self.fired[name] += 1
        if not self._watched:
            return
        seen: dict[str, None] = {}
        variables: dict[str, dict[str, Json]] = {}
        for page in pages:
            for fact in page.facts:
                if isinstance(fact, f.Matched):
                    variables[fact.id] = fact.variables
                elif isinstance(fact, f.Taken) or (isinstance(fact, f.Completed) and fact.held is None):
                    seen[fact.id] = None
        for id in seen:
            record = records.get(id)
            if record is not None:
                flow = state.flows.get(record.flow)
                call = records.get(record.call) if record.call is not None else None
                self._decide(record, call, variables.get(id) or (flow.variables if flow is not None else {}))

    def _decide(self, record: Task, call: Task | None, variables: Mapping[str, Json]) -> None:
        watched = self._by_type.get(record.type)
        if watched is None:
            watched = [
                one
                for one in self._watched
                if one.pattern.callee is not None or family_covers(one.pattern.family, record.type)
            ]
            self._by_type[record.type] = watched
        is_any_closed = False
        for one in watched:
            pattern, names = one.pattern, dict[str, Json]()
            if one.procedure is not None:
                if call is None or call.type != one.procedure:
                    continue
                names = call.body
            if pattern.callee is not None:
                # The name of the task that was handed over.
                pattern = attrs.evolve(pattern, family=str(names.get(pattern.callee)))
            if not pattern.fits(record):
                continue
            assert pattern.where is not None
            bindings: dict[str, Json | Task] = {**names}
            if pattern.alias is not None:
                bindings[pattern.alias] = record
            for leaf in _explained(explain(pattern.where, Scope(record, bindings, variables))):
                clause = one.clauses.get(id(leaf.expr))
                if clause is not None:
                    clause.was_true |= leaf.value is True
                    clause.was_false |= leaf.value is False
            is_any_closed |= not one.is_open
        if is_any_closed:
            # There is nothing more to learn of those: most are looked at a few times only.
            self._by_type[record.type] = [one for one in watched if one.is_open]


TELLING: Final = frozenset((f.Emitted, f.Matched, f.Parted))
"""The facts that say what fired: who goes through many sorts them out."""


def firings(facts: Iterable[f.Fact]) -> list[str]:
    """The rules and steps that fired in a step, each as often as it did.

    Of what fires at a match, and when a window ends, the journal has the names; the first steps of a call are known by what
    they emit.

    Args:
        facts: the `TELLING` ones of the step.
    """
    fired: list[str] = []
    late: set[str] = set()
    matched: set[tuple[str | None, str]] = set()
    emitted: dict[tuple[str | None, str], None] = {}
    for fact in facts:
        # Not by `match`, which takes three times as long: a year has very many.
        if isinstance(fact, f.Emitted):
            task = fact.task
            if task.rule is not None and task.origin is None:
                emitted[task.parent, task.rule] = None
        elif isinstance(fact, f.Matched):
            fired += fact.rules
            for name in fact.rules:
                matched.add((fact.id, name))
        elif isinstance(fact, f.Parted):
            fired += fact.fired
            late.update(fact.fired)
    for parent, name in emitted:
        if (parent, name) not in matched and name not in late:
            fired.append(name)
    return fired


def names_of(pattern: Pattern, declared: Declared) -> Names:
    """What the clauses of a pattern may name."""
    shape = declared.shape(pattern.family, pattern.outcomes, is_loose=True)
    aliases = {pattern.alias: shape} if pattern.alias is not None else {}
    return Names("clause", {}, shape, pattern.alias, aliases)


def all_rules(rules: RuleSet) -> Iterator[Rule]:
    """Those at top level in their order, then those of procedures."""
    return (rule for rule, _ in _with_procedures(rules))


def _with_procedures(rules: RuleSet) -> Iterator[tuple[Rule, str | None]]:
    """All rules, each with the procedure that it is of."""
    yield from ((rule, None) for rule in rules.rules)
    for procedure in rules.procedures.values():
        yield from ((rule, procedure.name) for rule in procedure.rules)


def _is_of_prelude(rule: Rule) -> bool:
    """Rules of the package are tested there."""
    return rule.span is not None and rule.span.file == PRELUDE


def _patterns(rule: Rule) -> Iterator[Pattern]:
    match rule.trigger:
        case Single(pattern) | Unmatched(pattern):
            yield pattern
        case Join(parts=parts):
            for part in parts:
                yield part.pattern
        case _:
            pass


def _steps(rule: Rule) -> Iterator[str]:
    """What follows the rule's first step, or stands in its place."""
    yield from _further(rule.name, rule.consequence)
    join = rule.trigger
    if isinstance(join, Join):
        if join.otherwise_generator is not None or _answers_join(rule.consequence):
            yield f"{rule.name}/else"
        if join.late is not None or join.late_generator is not None:
            yield f"{rule.name}/late"
            yield from _further(f"{rule.name}/late", join.late)


def _answers_join(consequence: Consequence | None) -> bool:
    return consequence is not None and consequence.otherwise is not None and len(consequence.steps) == 1


def _further(name: str, consequence: Consequence | None) -> Iterator[str]:
    if consequence is None:
        return
    last = len(consequence.steps) - 1
    for number in range(1, last + 1):
        yield f"{name}/{number}"
    if consequence.otherwise is not None and last:
        yield f"{name}/{last}/else"


def _is_joint(expr: Expr) -> bool:
    """Whether it only joins clauses; `x is not null` is one itself."""
    return isinstance(expr, And | Or) or (isinstance(expr, Not) and _is_joint(expr.of))


def _leaves(expr: Expr) -> Iterator[Expr]:
    if not _is_joint(expr):
        yield expr
        return
    for part in operands(expr):
        yield from _leaves(part)


def _explained(explanation: Explanation) -> Iterator[Explanation]:
    if _is_joint(explanation.expr):
        for child in explanation.children:
            yield from _explained(child)
    else:
        yield explanation


def clause_text(clause: Expr, names: Names) -> str:
    """A clause as it would be written; of a Python predicate its name."""
    if isinstance(clause, Opaque):
        return clause.name
    try:
        return Phrases(names).text(clause)
    except RuleError:
        return "a clause that has no text"
