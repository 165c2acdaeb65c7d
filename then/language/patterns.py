"""Patterns: which records a rule waits for, from tree to model.

Who calls: `then.language.compile`, `then.language.triggers`, and
`then.language.yaml_rules`, where a pattern is a mapping.
"""

from __future__ import annotations

from sys import intern
from typing import Final

from then.core.errors import UnknownName
from then.core.filters import Expr
from then.core.rules import ANY, EVENT, FINISHED, EventDecl, Pattern
from then.language.declare import dotted
from then.language.findings import Misplaced, OutcomeWord
from then.language.resolve import Resolver
from then.language.scope import Declared, Scope, Shape, shape_of
from then.language.tree import Token, Tree
from then.language.types import Typer
from then.language.units import Unit

DONE: Final = frozenset(("done",))
EVENTS: Final = frozenset((EVENT,))
STRAYS: Final = frozenset((EVENT, "failed", "timed_out", "cancelled"))
"""What `unmatched any` sees: a task that is done and that nobody waits for is the ordinary end."""

_OUTCOMES: Final[dict[frozenset[str], frozenset[str]]] = {}
"""One set for all patterns that have the same words: there are few, and a set takes 200 bytes."""

LOOSE: Final = Shape("this", is_loose=True)
"""Of a record that could not be told: every field is taken, so that one mistake gives one message."""


class Patterns:
    """Compiles the patterns of one unit."""

    def __init__(self, unit: Unit, declared: Declared, resolver: Resolver, typer: Typer) -> None:
        self.unit = unit
        self.declared = declared
        self.resolver = resolver
        self.typer = typer

    def pattern(self, tree: Tree, scope: Scope, *, is_unmatched: bool = False) -> Pattern:
        """A family, its outcomes, an alias and a clause; what they bind is put into the scope of the consequence."""
        family_node = tree.children[0]
        assert isinstance(family_node, Tree)
        family = _family(family_node)
        callee = scope.callback(family)
        outcomes_node, alias_node, where_node = (tree.find(data) for data in ("outcomes", "alias", "where"))
        words = _words(outcomes_node)
        if callee is None:
            outcomes = self.check_outcomes(family, words, family_node, outcomes_node, is_unmatched=is_unmatched)
        else:
            outcomes = self._check_words(family, words, family_node)
        alias = intern(str(alias_node.children[0])) if alias_node is not None else None
        shape = self.shape(family, outcomes, callee)
        where = None
        if where_node is not None:
            where = self.where(where_node.children[0], shape, alias, scope)
        if alias is not None:
            scope.aliases[alias] = shape
        return Pattern(family, outcomes, where, alias, callee, span=self.unit.span(tree))

    def named(self, tree: Tree) -> tuple[str, frozenset[str]]:
        """The family and the outcome words that stand at the head of a tree."""
        family_node = tree.children[0]
        assert isinstance(family_node, Tree)
        return _family(family_node), _words(tree.find("outcomes"))

    def shape(self, family: str, outcomes: frozenset[str], callee: str | None = None) -> Shape:
        """What a record of the family has."""
        if callee is not None:
            # Which task was handed over, and what it has, is known in each call.
            return shape_of(None, family, outcomes)
        is_known = family == ANY or family.endswith(".*") or self.declared.type(family) is not None
        if not is_known and self.unit.is_strict:
            return LOOSE
        return self.declared.shape(family, outcomes, is_loose=not self.unit.is_strict)

    # -- clauses -------------------------------------------------------------------

    def where(self, node: Tree | Token, shape: Shape, alias: str | None, scope: Scope) -> Expr:
        """A clause over one record. The groups that it binds are put into the scope of the consequence."""
        inner = self.clause_scope(shape, alias, scope)
        clause = self.resolver.clause(node, inner)
        self.end_where(clause, inner, scope)
        return clause

    def clause_scope(self, shape: Shape, alias: str | None, scope: Scope) -> Scope:
        """The names of a clause: the record's fields, and what the rule has bound so far."""
        aliases = {**scope.aliases, alias: shape} if alias is not None else dict(scope.aliases)
        return Scope(
            "clause", self.unit.constants, shape, alias, aliases, dict(scope.names), guarded=set(scope.guarded),
            procedure=scope.procedure,
        )  # fmt: skip

    def end_where(self, clause: Expr, inner: Scope, scope: Scope) -> None:
        """Checks a clause, and hands on to the consequence what it bound and looked at."""
        self.typer.check_clause(clause, inner)
        scope.names.update(inner.names)
        scope.unbound |= inner.unbound
        scope.guarded |= inner.guarded

    # -- outcomes ------------------------------------------------------------------

    def check_outcomes(
        self, family: str, words: frozenset[str], at: Tree | Token, node: Tree | Token | None, *, is_unmatched: bool
    ) -> frozenset[str]:
        """The outcomes that a pattern is for; the family must be known, and a task must say a word, an event none."""
        is_open = family == ANY or family.endswith(".*")
        declared = None if is_open else self.declared.type(family)
        if declared is None and not is_open and self.unit.is_strict:
            self.unit.refuse(self.unknown_type(family), at)
        elif family.endswith(".*") and self.unit.is_strict:
            self._check_family(family, at)
        if isinstance(declared, EventDecl):
            if words:
                message = f'"{family}" is an event and has no outcome: leave the word out'
                self.unit.refuse(OutcomeWord(message), node or at)
        elif declared is not None:
            self._check_words(family, words, at)
        if words:
            return _OUTCOMES.setdefault(words, words)
        return STRAYS if is_unmatched and is_open else EVENTS

    def _check_words(self, family: str, words: frozenset[str], at: Tree | Token) -> frozenset[str]:
        if not words:
            what = "a procedure" if self.declared.procedure(family) is not None else "a task"
            message = f'"{family}" is {what}: say how it ended: done, failed, cancelled, timed out, or finished for any of them'
            self.unit.refuse(OutcomeWord(message), at)
        return _OUTCOMES.setdefault(words, words)

    def _check_family(self, family: str, at: Tree | Token) -> None:
        types = self.declared.types()
        if not any(name.startswith(family[:-1]) for name in types):
            families = {name.rpartition(".")[0] + ".*" for name in types if "." in name}
            self.unit.refuse(UnknownName("family", family, families), at)

    def unknown_type(self, name: str) -> UnknownName:
        """The error for a type that nobody declared."""
        error = UnknownName("task or event", name, self.declared.types())
        if name in self.declared.rules.records:
            error.message = f'"{name}" is a record type, no task or event'
        return error

    def check_alias(self, alias: str, at: Tree, scope: Scope, shapes: dict[str, Shape]) -> None:
        """Refuses a name that another record of the rule has."""
        if alias in scope.aliases or alias in shapes:
            self.unit.refuse(Misplaced(f'"{alias}" names another record already'), at)


def _family(tree: Tree) -> str:
    first = tree.children[0]
    if isinstance(first, Token) and first.type == "ANY":
        return ANY
    # The `.*` is punctuation, which is in the text and not in the tree.
    is_family = tree.lines.text[tree.start_pos : tree.end_pos].endswith("*")
    return dotted(first) + (".*" if is_family else "")


def _words(node: Tree | None) -> frozenset[str]:
    words: set[str] = set()
    for child in node.children if node is not None else ():
        assert isinstance(child, Tree)
        words |= FINISHED if child.data == "finished" else {child.data}
    return frozenset(words)
