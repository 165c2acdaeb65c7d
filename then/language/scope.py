"""What names stand for at one place of a text.

A `Shape` is what a record has, as far as it is declared; a `Scope` says which
records, bound values and constants can be named where an expression stands.
Names are resolved before anything runs, always in the same order
(`then.language.resolve`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from then.core.filters import Const, Source
from then.core.rules import EVENT, RETRIED, EventDecl, FieldDecl, RuleSet, TaskDecl, TypeRef
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
        if name in OWN_FIELDS:
            return "own", self.own[name]
        return None

    def names(self) -> list[str]:
        """All that a bare name may mean."""
        return [*(self.result or ()), *(self.body or ()), *OWN_FIELDS]


CODE: Final = TypeRef("int", optional=True)
"""The type of `code` in the result of a process that may not have begun."""
CODE_OF_DONE: Final = TypeRef("int")

Place = Literal["clause", "act", "run", "let", "value"]
"""A `where` or guard over one record; a consequence; a task's `run` line; a `let`; a default or `start` argument."""


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
    """Regex groups that are bound."""
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

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._shapes: dict[tuple[str, frozenset[str], bool], Shape] = {}

    def type(self, name: str) -> TaskDecl | EventDecl | None:
        """The task or event of that name, the engine's own events too."""
        return self.rules.tasks.get(name) or self.rules.events.get(name) or ENGINE_EVENTS.get(name)

    def types(self) -> list[str]:
        """The names of all tasks and events."""
        return [*self.rules.tasks, *self.rules.events, *ENGINE_EVENTS]

    def shape(self, family: str, outcomes: frozenset[str], *, is_loose: bool = False) -> Shape:
        """What a record of this family has, when it has ended in one of these ways."""
        key = (family, outcomes, is_loose)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape_of(family, outcomes, is_loose=is_loose)
        return shape

    def _shape_of(self, family: str, outcomes: frozenset[str], *, is_loose: bool) -> Shape:
        declared = self.type(family)
        own = _own_types(outcomes)
        match declared:
            case EventDecl(fields=fields):
                return Shape(family, _types(fields), own=own)
            case TaskDecl():
                body = None if declared.inputs is None else _types(declared.inputs)
                result = None if declared.result is None else _types(declared.result)
                if result is not None and not outcomes <= {"done"}:
                    # Only a task that is done is known to have handed back all that it declares.
                    result = {name: attrs.evolve(ref, optional=True) for name, ref in result.items()}
                if declared.run is not None and declared.run.kind == "process":
                    result = {"code": CODE_OF_DONE if outcomes == {"done"} else CODE, **(result or {})}
                if outcomes == {"done"}:
                    own = {**own, "started": FLOAT, "took": FLOAT}
                return Shape(family, body, result, is_loose=is_loose and declared.result is None, own=own)
            case _:
                return Shape("any" if family == "*" else family, is_loose=is_loose, own=own)


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
    return known
