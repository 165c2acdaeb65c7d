"""Rules as data: what is waited for, and what follows.

A rule is a trigger and a consequence. Declarative rules (`.then`, YAML) have a
`Consequence` of acts; Python rules have a generator. Declarations of tasks,
events and records stand beside the rules in a `RuleSet`, which is what an
engine is given. Who finds the rules for a record is `then.core.index`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

import attrs
import msgspec

from then.core.errors import DuplicateRule, RuleError
from then.core.filters import Expr
from then.core.source import Span
from then.core.tasks import Body, Json, Task, check_name

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


Trigger: TypeAlias = Single | Unmatched

# -- what follows -----------------------------------------------------------


@attrs.frozen
class Emit:
    """`T(a: x, …) as l if guard otherwise act`."""

    type: str
    args: tuple[tuple[str, Expr], ...] = ()
    alias: str | None = None
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class Save:
    """`save NAME: expr`: writes a flow variable in the firing's transaction."""

    name: str
    value: Expr
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class EndFlow:
    """`end flow done`, `end flow failed "text"`: sets the outcome and cancels what lives."""

    outcome: Literal["done", "failed"]
    text: Expr | None = None
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class CancelFlow:
    """`cancel flow`."""

    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


Act: TypeAlias = Emit | Save | EndFlow | CancelFlow
Step: TypeAlias = tuple[Act, ...]
"""Acts side by side; the next step waits until what they emitted is done."""


@attrs.frozen
class Consequence:
    """A chain of steps. Step k > 0 of rule R is the continuation `R/k`."""

    steps: tuple[Step, ...]
    otherwise: Step | None = None
    """The `else` of the last `then`: `R/k/else`, where k is the last step."""


class Emission(msgspec.Struct, frozen=True):
    """What a Python generator yields: a record to be."""

    type: str
    body: Body
    then: str | None = None
    """The continuation that is called when it is done; a name given by `rules.continuation`."""
    otherwise: str | None = None
    bind: Body = {}
    """JSON values that the continuation gets as keywords."""


Generator: TypeAlias = Callable[..., Iterable[Emission] | Emission | None]


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

    def __attrs_post_init__(self) -> None:
        check_name(self.name, "rule")
        if (self.consequence is None) == (self.generator is None):
            raise RuleError(f'rule "{self.name}" needs a consequence or a generator, one of the two', self.span)


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

    @property
    def parts(self) -> tuple[Task, ...]:
        """The records that it fired on; more than one for a join."""
        return (self.record,)

    @property
    def bindings(self) -> dict[str, Json | Task]:
        """Aliases (to records) and regex groups (to texts)."""
        alias = self.rule.trigger.pattern.alias
        bound: dict[str, Json | Task] = {} if alias is None else {alias: self.record}
        if self.groups:
            bound.update(self.groups)
        return bound


# -- declarations ------------------------------------------------------------


@attrs.frozen
class TypeRef:
    """`int`, `str?`, `list[item]`, a record's name, `any`, `file`, `task`."""

    name: str
    args: tuple[TypeRef, ...] = ()
    optional: bool = False
    span: Span | None = _span()

    def __str__(self) -> str:
        inner = f"[{', '.join(map(str, self.args))}]" if self.args else ""
        return f"{self.name}{inner}{'?' if self.optional else ''}"


SCALARS: Final = frozenset(("int", "float", "str", "bool", "any", "file", "task", "map"))
"""Type names of the language beside `list[…]` and declared records."""


@attrs.frozen
class FieldDecl:
    name: str
    type: TypeRef
    default: Expr | None = None
    span: Span | None = _span()


@attrs.frozen
class RecordDecl:
    name: str
    fields: tuple[FieldDecl, ...]
    span: Span | None = _span()


@attrs.frozen
class EventDecl:
    name: str
    fields: tuple[FieldDecl, ...]
    span: Span | None = _span()


@attrs.frozen
class Run:
    """`run python "shop.pay:charge"`, `run process ["make", target] env {…} cwd "x"`."""

    kind: str
    """The executor: `python`, `process`; others by plugins."""
    target: Expr
    """Evaluated over the task's inputs when it is started; a list of texts for a process."""
    options: tuple[tuple[str, Expr], ...] = ()
    span: Span | None = _span()


@attrs.frozen
class TaskDecl:
    """`task T(inputs) -> (result) run …`, or a function registered by `@rules.task`."""

    name: str
    inputs: tuple[FieldDecl, ...] | None = None
    """None where nothing is declared (Python, YAML): any body is taken."""
    result: tuple[FieldDecl, ...] | None = None
    run: Run | None = None
    """None: a person, or another program, completes it (`andthen complete`)."""
    function: Callable[..., Any] | None = attrs.field(default=None, eq=False)
    """Registered by `@rules.task`; run by the function executor."""
    once: bool = False
    """A crash in doubt ends it as `failed`, kind `unknown`; it is never run twice."""
    priority: int = 0
    done_on: tuple[int, ...] = (0,)
    """Exit codes that are `done`."""
    may_fail: bool = False
    """Takes its own failure up."""
    slots: int = 1
    """How many of the engine's slots it takes; 0: none."""
    span: Span | None = _span()


@attrs.frozen
class Start:
    """`start T(…)`: posted by `andthen run PATH` without TYPE."""

    type: str
    args: tuple[tuple[str, Expr], ...]
    span: Span | None = _span()


Declaration: TypeAlias = TaskDecl | EventDecl | RecordDecl


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
        other = self._names.get(rule.name)
        if other is not None:
            raise DuplicateRule("rule", rule.name, rule.span, other.span)
        self._names[rule.name] = rule
        self.rules.append(rule)

    def declare(self, declaration: Declaration) -> None:
        """Adds a declaration.

        Raises:
            DuplicateRule: a task, event or record of that name is there.
        """
        for known in (self.tasks, self.events, self.records):
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

    def extend(self, other: RuleSet) -> None:
        """Appends all of another set, in its order."""
        for rule in other.rules:
            self.add(rule)
        for group in (other.records, other.events, other.tasks):
            for declaration in group.values():
                self.declare(declaration)
        self.continuations.update(other.continuations)
        self.starts.extend(other.starts)
        self.sources.update(other.sources)

    def rule(self, name: str) -> Rule | None:
        """The rule of that name."""
        return self._names.get(name)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)
