"""Rules as data: what is waited for, and what follows.

A rule is a trigger and a consequence. Declarative rules (`.then`, YAML) have a
`Consequence` of acts; Python rules have a generator. Declarations of tasks,
events and records stand beside the rules in a `RuleSet`, which is what an
engine is given. Who finds the rules for a record is `then.core.index`.

Acts (`then.core.acts`) and declarations (`then.core.declarations`) are found
here too: who writes rules imports one module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import attrs
import msgspec

from then.core.acts import (
    Act,
    AtMost,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emission,
    Emit,
    EndFlow,
    Generator,
    Loop,
    Return,
    Save,
    Skip,
    Step,
)
from then.core.declarations import (
    SCALARS,
    Breakpoint,
    Declaration,
    EventDecl,
    FieldDecl,
    Limit,
    Need,
    RecordDecl,
    Run,
    SecretDecl,
    Start,
    TaskDecl,
    TimerDecl,
    TypeRef,
)
from then.core.errors import DuplicateRule, RuleError
from then.core.filters import Expr
from then.core.scenarios import Scenario
from then.core.source import Span
from then.core.tasks import Json, Task, check_name

__all__ = [
    "ANY", "EVENT", "FINISHED", "RETRIED", "SCALARS", "Act", "AtMost", "Breakpoint", "Called", "CancelFlow", "CancelTasks",
    "Consequence", "Declaration", "Emission", "Emit", "Ended", "EndFlow", "EventDecl", "FieldDecl", "Generator",
    "Join", "Limit", "Loop", "Match", "Met", "Need", "OutcomeWord", "Part", "Pattern", "ProcedureDecl", "RecordDecl",
    "Return", "Rule", "RuleSet", "Run", "Save", "SecretDecl", "Single", "Skip", "Start", "Step", "TaskDecl",
    "TimerDecl", "Trigger", "TypeRef", "Unmatched", "family_covers", "outcome_words",
]  # fmt: skip

ANY: Final = "*"
"""The family of every type."""

EVENT: Final = "event"
RETRIED: Final = "retried"
OutcomeWord: TypeAlias = str
"""`done`, `failed`, `cancelled`, `timed_out` of settled records; `retried` of an attempt that is not the last; `event`."""

FINISHED: Final = frozenset(("done", "failed", "cancelled", "timed_out"))


def _span() -> Span | None:
    return attrs.field(default=None, eq=False, repr=False, kw_only=True)  # type: ignore[no-any-return]


# -- what is waited for -----------------------------------------------------


@attrs.frozen
class Pattern:
    """Which records: a family of types, outcomes, and a clause over their fields."""

    family: str
    """A type, `deploy.*` for all types that begin with `deploy.`, or `ANY`."""
    outcomes: frozenset[OutcomeWord] = attrs.field(repr=lambda words: repr(sorted(words)))
    """`{EVENT}` where no outcome word stands; `finished` is written out as all four."""
    where: Expr | None = None
    alias: str | None = None
    """The name of the record in the rule. Python rules and sugar may leave it out."""
    callee: str | None = None
    """In a procedure: the parameter that names the type, of a task that was handed over; `family` is its name then."""
    span: Span | None = _span()

    def fits(self, task: Task) -> bool:
        """Whether type and outcome fit; the clause is not looked at."""
        return family_covers(self.family, task.type) and not self.outcomes.isdisjoint(outcome_words(task))


def family_covers(family: str, type: str) -> bool:
    """Whether a family (`deploy.*`, a type, ANY) holds a type."""
    if family == type or family == ANY:
        return True
    return family.endswith(".*") and type.startswith(family[:-1])


def outcome_words(task: Task) -> frozenset[OutcomeWord]:
    """The words by which a pattern may ask for this record.

    A record by hand without outcome is an event. An event is `done` too.
    """
    if task.event:
        return _EVENT_WORDS
    if not task.settled:
        return _RETRIED_WORDS
    if task.outcome is None:
        return _BARE_WORDS
    return _WORDS[task.outcome]


_EVENT_WORDS: Final = frozenset((EVENT, "done"))
_BARE_WORDS: Final = frozenset((EVENT,))
_RETRIED_WORDS: Final = frozenset((RETRIED,))
_WORDS: Final = {word: frozenset((word,)) for word in FINISHED}


@attrs.frozen
class Single:
    """`when PATTERN`."""

    pattern: Pattern


@attrs.frozen
class Unmatched:
    """`when unmatched PATTERN`: tried where no rule and no continuation fired."""

    pattern: Pattern


@attrs.frozen
class Part:
    """One of the records that a join waits for."""

    pattern: Pattern
    """Its clause looks at the record alone."""
    keys: tuple[Expr, ...] = ()
    """The components of the key, over its record; as many in each part."""
    where_joined: Expr | None = None
    """The rest of its clause: what looks at the parts to its left, decided when they meet."""
    is_absent: bool = False
    """`no X`."""


JoinKind: TypeAlias = Literal["all", "any", "times", "every", "quiet"]


@attrs.frozen
class Join:
    """A wait for several records: `all of`, `any of`, `N times … followed by …`, `every X done`, `quiet for`."""

    kind: JoinKind
    parts: tuple[Part, ...]
    """Of `every` and `quiet` one; of `times` one, or two where it is followed by another."""
    names: tuple[str, ...] = ()
    """The components of the key as the consequence sees them; "" where the parts call it differently."""
    is_by_flow: bool = False
    """Records of one flow only; else of all flows that share the key."""
    within_us: int | None = None
    """The window, from the completion of its first part. Of `quiet`, the silence."""
    count: int = 1
    """Of `times`: so many of the first part."""
    late: Consequence | None = None
    """`on timeout`: what follows when the window ends unfilled; sees `missing`, a text."""
    late_generator: Generator | None = attrs.field(default=None, eq=False, repr=False)
    """The same of a rule in Python."""
    otherwise_generator: Generator | None = attrs.field(default=None, eq=False, repr=False)
    """Of a rule in Python: what follows when it can no longer be filled, the `else` of a consequence."""


@attrs.frozen
class Called:
    """The first steps of a procedure: they follow its call."""

    procedure: str


@attrs.frozen
class Ended:
    """`finally`: what follows the end of a task or call of this type, however it ended. Once."""

    type: str


Trigger: TypeAlias = Single | Unmatched | Join | Called | Ended


@attrs.frozen
class Rule:
    """A trigger and what follows from it. Exactly one of consequence and generator is there."""

    name: str
    trigger: Trigger
    consequence: Consequence | None = None
    generator: Generator | None = attrs.field(default=None, eq=False)
    final: bool = False
    """When it fires, the search for this record ends."""
    source: str = attrs.field(default="", eq=False, repr=False)
    """Its text, for the rules version: the declarative text, or name and source hash of the function."""
    span: Span | None = _span()

    @property
    def pattern(self) -> Pattern:
        """What it waits for; of a join its first part.

        Raises:
            AttributeError: it waits for no record (`Called`, `Ended`).
        """
        trigger = self.trigger
        return trigger.parts[0].pattern if isinstance(trigger, Join) else trigger.pattern  # type: ignore[union-attr]

    def __attrs_post_init__(self) -> None:
        check_name(self.name, "rule")
        if (self.consequence is None) == (self.generator is None):
            raise RuleError(f'rule "{self.name}" needs a consequence or a generator, one of the two', self.span)


class Met(msgspec.Struct, frozen=True, gc=False):
    """What a join brought together, or a call handed over."""

    parts: tuple[Task, ...]
    names: dict[str, Json | Task]
    """Aliases, the components of the key, arguments."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """A rule that fires on a record.

    One is made for each rule that fires on each record, so it holds references
    only: a Struct takes 0.1 µs, a frozen attrs class 1. What it is made of
    holds no Match, hence no cycle for the garbage collector to look for.
    """

    rule: Rule
    record: Task
    groups: dict[str, str] | None = None
    """What the named groups of its regexes found, where it has such."""
    met: Met | None = None
    """Of a join: what met; of a rule in a procedure: the arguments of the call."""

    @property
    def parts(self) -> tuple[Task, ...]:
        """The records that it fired on; more than one for a join."""
        return (self.record,) if self.met is None or not self.met.parts else self.met.parts

    @property
    def bindings(self) -> dict[str, Json | Task]:
        """Aliases (to records) and regex groups (to texts)."""
        bound: dict[str, Json | Task] = {} if self.met is None else self.met.names.copy()
        trigger = self.rule.trigger
        if (type(trigger) is Single or type(trigger) is Unmatched) and trigger.pattern.alias is not None:
            bound[trigger.pattern.alias] = self.record
        if self.groups:
            bound.update(self.groups)
        return bound


@attrs.frozen
class ProcedureDecl:
    """`procedure P(inputs) -> (result) first … when … end`: rules of their own, called with a return address."""

    name: str
    inputs: tuple[FieldDecl, ...] | None
    """None where nothing is declared (Python)."""
    result: tuple[FieldDecl, ...] | None
    first: Rule
    """Named as the procedure; its trigger is `Called`."""
    rules: tuple[Rule, ...] = ()
    """`P.NAME`, or `P.1`, `P.2`, … for those without a name; they see the records of their call."""
    deadline_us: int | None = None
    may_fail: bool = False
    span: Span | None = _span()


@attrs.define
class RuleSet:
    """Rules in order and the declarations that they stand on. Shared names are refused."""

    rules: list[Rule] = attrs.field(factory=list)
    tasks: dict[str, TaskDecl] = attrs.field(factory=dict)
    events: dict[str, EventDecl] = attrs.field(factory=dict)
    records: dict[str, RecordDecl] = attrs.field(factory=dict)
    continuations: dict[str, Generator] = attrs.field(factory=dict)
    """Python functions by return address."""
    starts: list[Start] = attrs.field(factory=list)
    procedures: dict[str, ProcedureDecl] = attrs.field(factory=dict)
    endings: dict[str, Rule] = attrs.field(factory=dict)
    """By type: `finally` of a task or procedure; its name is `TYPE.finally`, its trigger `Ended`."""
    secrets: dict[str, SecretDecl] = attrs.field(factory=dict)
    timers: dict[str, TimerDecl] = attrs.field(factory=dict)
    breakpoints: dict[str, Breakpoint] = attrs.field(factory=dict)
    """And logpoints, in their order."""
    scenarios: list[Scenario] = attrs.field(factory=list)
    """The tests beside the rules, in file order."""
    sources: dict[str, str] = attrs.field(factory=dict)
    """Path: text of every file that was read, for the rules version."""
    _names: dict[str, Rule] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        given, self.rules = self.rules, []
        for rule in given:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Appends a rule.

        Raises:
            DuplicateRule: its name is taken.
        """
        self._name(rule)
        self.rules.append(rule)

    def _name(self, rule: Rule) -> None:
        other = self._names.get(rule.name)
        if other is not None:
            raise DuplicateRule("rule", rule.name, rule.span, other.span)
        self._names[rule.name] = rule

    def add_within(self, procedure: str, rule: Rule) -> None:
        """Appends a rule to a procedure that is declared.

        Raises:
            DuplicateRule: its name is taken.
        """
        self._name(rule)
        declared = self.procedures[procedure]
        self.procedures[procedure] = attrs.evolve(declared, rules=(*declared.rules, rule))

    def finish(self, rule: Rule) -> None:
        """Adds a `finally`: a rule whose trigger is `Ended`.

        Raises:
            DuplicateRule: its type has one.
        """
        assert isinstance(rule.trigger, Ended)
        self._name(rule)
        self.endings[rule.trigger.type] = rule

    def declare(self, declaration: Declaration | ProcedureDecl | SecretDecl | TimerDecl) -> None:
        """Adds a declaration; with a procedure its rules. A timer whose name is taken gets the next number.

        Raises:
            DuplicateRule: a task, event, record or procedure of that name is there, or a secret for a secret.
        """
        if isinstance(declaration, SecretDecl):
            if declaration.name in self.secrets:
                raise DuplicateRule("secret", declaration.name, declaration.span, self.secrets[declaration.name].span)
            self.secrets[declaration.name] = declaration
            return
        if isinstance(declaration, TimerDecl):
            name, number = declaration.type, 1
            while name in self.timers:
                number += 1
                name = f"{declaration.type}.{number}"
            self.timers[name] = attrs.evolve(declaration, name=name)
            return
        for known in (self.tasks, self.events, self.records, self.procedures):
            other = known.get(declaration.name)
            if other is not None:
                raise DuplicateRule("declaration", declaration.name, declaration.span, other.span)
        match declaration:
            case TaskDecl():
                self.tasks[declaration.name] = declaration
            case EventDecl():
                self.events[declaration.name] = declaration
            case RecordDecl():
                self.records[declaration.name] = declaration
            case ProcedureDecl():
                for rule in (declaration.first, *declaration.rules):
                    self._name(rule)
                self.procedures[declaration.name] = declaration

    def stop_at(self, point: Breakpoint) -> None:
        """Adds a breakpoint.

        Raises:
            DuplicateRule: its name is taken.
        """
        other = self.breakpoints.get(point.name)
        if other is not None:
            raise DuplicateRule("breakpoint", point.name, point.span, other.span)
        self.breakpoints[point.name] = point

    def extend(self, other: RuleSet) -> None:
        """Appends all of another set, in its order."""
        for rule in other.rules:
            self.add(rule)
        for group in (other.records, other.events, other.tasks, other.procedures, other.secrets, other.timers):
            for declaration in group.values():
                self.declare(declaration)
        for rule in other.endings.values():
            self.finish(rule)
        for point in other.breakpoints.values():
            self.stop_at(point)
        self.continuations.update(other.continuations)
        self.starts.extend(other.starts)
        self.scenarios.extend(other.scenarios)
        self.sources.update(other.sources)

    def rule(self, name: str) -> Rule | None:
        """The rule of that name."""
        return self._names.get(name)

    def span(self, address: str) -> Span | None:
        """Where a rule stands; of a later step, such as `R/1`, where that begins."""
        name, _, step = address.partition("/")
        rule = self.rule(name)
        if rule is None:
            return None
        steps = rule.consequence.steps if rule.consequence is not None else ()
        acts = steps[int(step)] if step.isdigit() and int(step) < len(steps) else ()
        return next((span for act in acts if (span := getattr(act, "span", None)) is not None), rule.span)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)
