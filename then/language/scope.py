"""What names stand for at one place of a text.

A `Shape` is what a record has, as far as it is declared; a `Scope` says which
records, bound values and constants can be named where an expression stands.
Names are resolved before anything runs, always in the same order
(`then.language.resolve`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from then.core.filters import Const, Source
from then.core.rules import EVENT, RETRIED, EventDecl, FieldDecl, ProcedureDecl, RuleSet, SecretDecl, TaskDecl, TypeRef
from then.core.source import Span
from then.core.tasks import OWN_FIELDS

ANY_TYPE: Final = TypeRef("any")
INT: Final = TypeRef("int")
FLOAT: Final = TypeRef("float")
STR: Final = TypeRef("str")
BOOL: Final = TypeRef("bool")
MAP: Final = TypeRef("map")
NULL: Final = TypeRef("null")
"""The type of `null`; it has no name in the language."""
ERROR: Final = TypeRef("error")
"""The type of a record's `error`: `kind` and `message` are texts, what stands beside them is anything."""
CANCELLATION: Final = TypeRef("error", (attrs.evolve(STR, optional=True),))
"""The same of what was cancelled, or skipped: it has a kind, and perhaps a message."""

RECORD_TYPES: Final[dict[str, TypeRef]] = {
    "id": STR, "type": STR, "body": MAP, "flow": STR, "parent": attrs.evolve(STR, optional=True),
    "rule": attrs.evolve(STR, optional=True), "call": attrs.evolve(STR, optional=True), "attempt": INT,
    "origin": attrs.evolve(STR, optional=True), "state": STR, "outcome": attrs.evolve(STR, optional=True),
    "result": attrs.evolve(MAP, optional=True), "error": attrs.evolve(ERROR, optional=True), "priority": INT,
    "needs": attrs.evolve(MAP, optional=True), "created": FLOAT, "started": attrs.evolve(FLOAT, optional=True),
    "completed": attrs.evolve(FLOAT, optional=True), "took": attrs.evolve(FLOAT, optional=True),
}  # fmt: skip
"""What `record.NAME` may name, and of which type it is."""

ENGINE_EVENTS: Final = {
    "flow.ended": EventDecl(
        "flow.ended",
        (
            FieldDecl("flow", STR), FieldDecl("type", STR), FieldDecl("outcome", STR),
            FieldDecl("text", attrs.evolve(STR, optional=True)),
        ),
    ),
    "rule.failed": EventDecl(
        "rule.failed", (FieldDecl("rule", STR), FieldDecl("record", STR), FieldDecl("error", STR))
    ),
}  # fmt: skip
"""Events that the engine posts: rules may wait for them, and nobody else may bring them forth."""

_FAILURES: Final = frozenset(("failed", "timed_out"))


@attrs.frozen
class Shape:
    """What a record has, as far as it is declared."""

    type: str
    """As it was written: a type, a family, or `any`."""
    body: Mapping[str, TypeRef] | None = None
    """None: not declared, its fields are reached as `body.x`."""
    result: Mapping[str, TypeRef] | None = None
    is_loose: bool = False
    """A bare name that is not declared may be a field: YAML, where types may stay undeclared."""
    own: Mapping[str, TypeRef] = RECORD_TYPES
    mixed: Mapping[str, TypeRef] = attrs.field(factory=dict)
    """Of a record that is one of several: what some of them are given, and others hand back."""

    def find(self, name: str) -> tuple[Source, TypeRef] | None:
        """Which part of the record a bare name means: a result field hides an input, both hide the record's own."""
        if self.result is not None and name in self.result:
            # The exit code needs no declaration, so an input of that name is still the input.
            ref = self.result[name]
            is_declared = ref is not CODE and ref is not CODE_OF_DONE
            if is_declared or self.body is None or name not in self.body:
                return "result", ref
        if self.body is not None and name in self.body:
            return "body", self.body[name]
        if name in self.mixed:
            return "any", self.mixed[name]
        if name in OWN_FIELDS:
            return "own", self.own[name]
        return None

    def names(self) -> list[str]:
        """All that a bare name may mean."""
        return [*(self.result or ()), *(self.body or ()), *self.mixed, *OWN_FIELDS]

    def perhaps(self) -> Shape:
        """The same of a record that may not be there."""
        return attrs.evolve(
            self, body=_optional(self.body), result=_optional(self.result), own=_optional(self.own) or {},
            mixed=_optional(self.mixed) or {},
        )  # fmt: skip


def _optional(types: Mapping[str, TypeRef] | None) -> Mapping[str, TypeRef] | None:
    if types is None:
        return None
    return {name: attrs.evolve(ref, optional=True) for name, ref in types.items()}


def shared_shape(shapes: list[Shape]) -> Shape:
    """What is there whichever of them a record has: fields of one name and type."""
    first, *rest = shapes
    if not rest:
        return first
    found = [{name: shape.find(name) for name in shape.names()} for shape in shapes]
    parts: dict[str, dict[str, TypeRef]] = {"body": {}, "result": {}, "own": dict(RECORD_TYPES), "any": {}}
    for name, place in found[0].items():
        places = [each.get(name) for each in found]
        types = [place[1] for place in places if place is not None]
        if place is None or len(types) < len(shapes) or any(ref.name != types[0].name for ref in types):
            continue
        ref = attrs.evolve(types[0], optional=any(ref.optional for ref in types))
        source = place[0] if all(each is not None and each[0] == place[0] for each in places) else "any"
        parts[source][name] = ref
    known = all(shape.body is not None for shape in shapes)
    return Shape(
        " or ".join(dict.fromkeys(shape.type for shape in shapes)), parts["body"] if known or parts["body"] else None,
        parts["result"] or None, all(shape.is_loose for shape in shapes), parts["own"], parts["any"],
    )  # fmt: skip


CODE: Final = TypeRef("int", optional=True)
"""The type of `code` in the result of a process that may not have begun."""
CODE_OF_DONE: Final = TypeRef("int")

Place = Literal["clause", "act", "ending", "run", "let", "value"]
"""A `where` or guard over one record; a consequence; a `finally`; a task's `run` line; a `let`; a default or what is posted."""


@attrs.frozen
class Signature:
    """What a procedure takes and hands back: all that its callers need to know."""

    name: str
    inputs: tuple[FieldDecl, ...] | None
    result: tuple[FieldDecl, ...] | None
    span: Span | None = attrs.field(default=None, eq=False)


Procedure: TypeAlias = Signature | ProcedureDecl
"""Before and after its rules are compiled; Python's are whole from the start."""


@attrs.define
class Scope:
    """The names that can be used at one place."""

    place: Place
    constants: Mapping[str, Const]
    record: Shape | None = None
    """The record whose fields bare names are; none in a consequence."""
    record_alias: str | None = None
    aliases: dict[str, Shape] = attrs.field(factory=dict)
    names: dict[str, TypeRef] = attrs.field(factory=dict)
    """What is bound and no record: regex groups, keys of a join, parameters, loop variables."""
    loops: list[str] = attrs.field(factory=list)
    """Loop variables, the innermost last."""
    guarded: set[str] = attrs.field(factory=set)
    """Optional places that something before has looked at, as `place_text` writes them."""
    env: Mapping[str, str] | None = None
    """What `env("NAME")` reads, in a `let`."""
    is_open: bool = False
    """The condition was refused: what it would have bound is not known, and no name is reported."""
    unbound: set[str] = attrs.field(factory=set)
    """Regex groups that are not bound, since their `matches` need not hold."""
    procedure: Procedure | None = None
    """Whose rules these are."""
    takes_secrets: bool = False
    """The values of a map here may be secrets."""

    def callback(self, name: str) -> str | None:
        """The name, where it is that of a parameter that is handed a task."""
        inputs = self.procedure.inputs if self.procedure is not None else None
        return name if any(field.name == name and field.type.name == "task" for field in inputs or ()) else None

    def shape(self, alias: str | None) -> Shape | None:
        """What a record has: that of the alias, or the one that bare names are fields of."""
        return self.record if alias is None else self.aliases.get(alias)

    def known(self) -> Iterable[str]:
        """All names, for "did you mean"."""
        yield from self.loops
        yield from self.names
        if self.record is not None:
            yield from self.record.names()
            yield from ("record", "flow")
        yield from self.aliases
        for alias, shape in self.aliases.items():
            yield from (f"{alias}.{name}" for name in shape.names())
        yield from self.constants


class Declared:
    """The declarations of all files of one load, and the shapes of their records."""

    def __init__(
        self,
        rules: RuleSet,
        procedures: Mapping[str, Procedure] | None = None,
        secrets: Mapping[str, SecretDecl] | None = None,
    ) -> None:
        self.rules = rules
        self.procedures: Mapping[str, Procedure] = {} if procedures is None else procedures
        """All that may be called, also those whose rules are not compiled yet."""
        self.secrets: Mapping[str, SecretDecl] = rules.secrets if secrets is None else {**secrets, **rules.secrets}
        self._shapes: dict[tuple[str, frozenset[str], bool], Shape] = {}

    def type(self, name: str) -> TaskDecl | EventDecl | Procedure | None:
        """The task, event or procedure of that name, the engine's own events too."""
        return (
            self.rules.tasks.get(name) or self.rules.events.get(name) or self.procedure(name) or ENGINE_EVENTS.get(name)
        )

    def procedure(self, name: str) -> Procedure | None:
        """The procedure of that name; None where a task or event has it."""
        if name in self.rules.tasks or name in self.rules.events:
            return None
        return self.procedures.get(name) or self.rules.procedures.get(name)

    def types(self) -> list[str]:
        """The names of all tasks, events and procedures."""
        names = (*self.rules.tasks, *self.rules.events, *self.procedures, *self.rules.procedures, *ENGINE_EVENTS)
        return list(dict.fromkeys(names))

    def inputs(self, type: str) -> tuple[FieldDecl, ...] | None:
        """The declared fields of a body; None where nothing is declared."""
        declared = self.type(type)
        if declared is None:
            return None
        return declared.fields if isinstance(declared, EventDecl) else declared.inputs

    def shape(self, family: str, outcomes: frozenset[str], *, is_loose: bool = False) -> Shape:
        """What a record of this family has, when it has ended in one of these ways."""
        key = (family, outcomes, is_loose)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = shape_of(self.type(family), family, outcomes, is_loose=is_loose)
        return shape


def shape_of(
    declared: TaskDecl | EventDecl | Procedure | None, family: str, outcomes: frozenset[str], *, is_loose: bool = False
) -> Shape:
    """What a record of this family has, when it is so declared and has ended in one of these ways."""
    own = _own_types(outcomes)
    match declared:
        case EventDecl(fields=fields):
            return Shape(family, _types(fields), own=own)
        case None:
            return Shape("any" if family == "*" else family, is_loose=is_loose, own=own)
    body = None if declared.inputs is None else _types(declared.inputs)
    result = None if declared.result is None else _types(declared.result)
    if result is not None and not outcomes <= {"done"}:
        # Only a task that is done is known to have handed back all that it declares.
        result = {name: attrs.evolve(ref, optional=True) for name, ref in result.items()}
    if isinstance(declared, TaskDecl) and declared.run is not None and declared.run.kind == "process":
        result = {"code": CODE_OF_DONE if outcomes == {"done"} else CODE, **(result or {})}
    if outcomes == {"done"}:
        own = {**own, "started": FLOAT, "took": FLOAT}
    return Shape(family, body, result, is_loose=is_loose and declared.result is None, own=own)


def _types(fields: Iterable[FieldDecl]) -> dict[str, TypeRef]:
    return {field.name: field.type for field in fields}


def _own_types(outcomes: frozenset[str]) -> Mapping[str, TypeRef]:
    """What is known of a record's own fields once its outcome is."""
    known = dict(RECORD_TYPES)
    if outcomes and EVENT not in outcomes:
        known["outcome"] = STR
        known["completed"] = FLOAT
    if outcomes == {EVENT}:
        known["completed"] = FLOAT
    if outcomes and outcomes <= _FAILURES | {RETRIED}:
        known["error"] = ERROR
    elif outcomes and outcomes <= _FAILURES | {RETRIED, "cancelled"}:
        known["error"] = CANCELLATION
    return known
