"""Rules: from tree to model, names and types checked.

Who calls: `then.language.loading`, for files, and `then.language.yaml_rules`,
for the parts of YAML that are written in this language. Declarations come
first (`then.language.declare`); expressions are `then.language.resolve` and
`then.language.types`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import intern
from typing import Final, TypeVar

import attrs

from then.core.errors import RuleError, UnknownName
from then.core.filters import Const, Expr
from then.core.rules import (
    ANY,
    EVENT,
    FINISHED,
    Act,
    CancelFlow,
    Consequence,
    Emit,
    EndFlow,
    EventDecl,
    FieldDecl,
    Pattern,
    Rule,
    Save,
    Single,
    Start,
    Step,
    TaskDecl,
    Trigger,
    Unmatched,
)
from then.core.source import Span
from then.core.tasks import check_name
from then.language.declare import constant_of, dotted
from then.language.findings import ArgumentMissing, Misplaced, OutcomeWord
from then.language.notyet import is_there
from then.language.resolve import Resolver
from then.language.scope import ENGINE_EVENTS, Declared, Scope, Shape
from then.language.tree import Token, Tree
from then.language.types import Typer
from then.language.units import Unit

Node = TypeVar("Node")
"""What the value of an argument is written as: a tree of this language, or a node of YAML."""

DONE: Final = frozenset(("done",))
EVENTS: Final = frozenset((EVENT,))
STRAYS: Final = frozenset((EVENT, "failed", "timed_out", "cancelled"))
"""What `unmatched any` sees: a task that is done and that nobody waits for is the ordinary end."""

_OUTCOMES: Final[dict[frozenset[str], frozenset[str]]] = {}
"""One set for all patterns that have the same words: there are few, and a set takes 200 bytes."""

_LOOSE: Final = Shape("this", is_loose=True)
"""Of a record that could not be told: every field is taken, so that one mistake gives one message."""


class Compiler:
    """Compiles the rules of one unit."""

    def __init__(self, unit: Unit, declared: Declared) -> None:
        self.unit = unit
        self.declared = declared
        self.resolver = Resolver(unit)
        self.typer = Typer(unit, declared)

    def rule(self, tree: Tree) -> Rule | None:
        """The rule of a `rule` item; None where it, or a part that decides what it does, was refused."""
        tokens = [child for child in tree.children if isinstance(child, Token)]
        name_token = tokens[-1]
        when = tree.children[-1]
        assert isinstance(when, Tree)
        try:
            name = check_name(str(name_token), "rule")
        except RuleError as error:
            self.unit.refuse(error, name_token)
            return None
        trigger_node, *rest = when.children
        scope = Scope("act", self.unit.constants)
        trigger = self.trigger(trigger_node, scope)
        scope.is_open = trigger is None
        steps = None
        for part in rest:
            assert isinstance(part, Tree)
            if part.data == "steps":
                steps = part
            else:
                is_there(part, self.unit)
        assert steps is not None
        consequence = self.consequence(steps, scope)
        if trigger is None:
            return None
        source = self.unit.text[tree.start_pos : tree.end_pos]
        return Rule(name, trigger, consequence, final=len(tokens) > 1, source=source, span=self.unit.span(name_token))

    # -- what is waited for ------------------------------------------------------

    def trigger(self, tree: Tree | Token, scope: Scope) -> Trigger | None:
        """What stands after `when`; its aliases and groups are put into the scope of the consequence."""
        assert isinstance(tree, Tree)
        if tree.data not in ("single", "unmatched"):
            is_there(tree, self.unit)
            return None
        if tree.data == "unmatched":
            return Unmatched(self.pattern(tree, scope, is_unmatched=True))
        pattern_node, *rest = tree.children
        assert isinstance(pattern_node, Tree)
        for part in rest:
            assert isinstance(part, Tree)
            is_there(part, self.unit)
        return Single(self.pattern(pattern_node, scope))

    def pattern(self, tree: Tree, scope: Scope, *, is_unmatched: bool = False) -> Pattern:
        """A family, its outcomes, an alias and a clause."""
        family_node = tree.children[0]
        assert isinstance(family_node, Tree)
        family = self._family(family_node)
        outcomes_node, alias_node, where_node = (tree.find(data) for data in ("outcomes", "alias", "where"))
        outcomes = self._outcomes(family, family_node, outcomes_node, is_unmatched=is_unmatched)
        alias = intern(str(alias_node.children[0])) if alias_node is not None else None
        shape = self._shape(family, outcomes)
        where = None
        if where_node is not None:
            where = self.where(where_node.children[0], shape, alias, scope)
        if alias is not None:
            scope.aliases[alias] = shape
        return Pattern(family, outcomes, where, alias, span=self.unit.span(tree))

    def where(self, node: Tree | Token, shape: Shape, alias: str | None, scope: Scope) -> Expr:
        """A clause over one record. The groups that it binds are put into the scope of the consequence."""
        inner = self.clause_scope(shape, alias, scope)
        clause = self.resolver.clause(node, inner)
        self.end_where(clause, inner, scope)
        return clause

    def clause_scope(self, shape: Shape, alias: str | None, scope: Scope) -> Scope:
        """The names of a clause: the record's fields, and what the rule has bound so far."""
        aliases = {**scope.aliases, alias: shape} if alias is not None else dict(scope.aliases)
        return Scope("clause", self.unit.constants, shape, alias, aliases, dict(scope.names))

    def end_where(self, clause: Expr, inner: Scope, scope: Scope) -> None:
        """Checks a clause, and hands on to the consequence what it bound and looked at."""
        self.typer.check_clause(clause, inner)
        scope.names.update(inner.names)
        scope.unbound |= inner.unbound
        scope.guarded |= inner.guarded

    def _family(self, tree: Tree) -> str:
        first = tree.children[0]
        if isinstance(first, Token) and first.type == "ANY":
            return ANY
        # The `.*` is punctuation, which is in the text and not in the tree.
        is_family = tree.lines.text[tree.start_pos : tree.end_pos].endswith("*")
        return dotted(first) + (".*" if is_family else "")

    def _shape(self, family: str, outcomes: frozenset[str]) -> Shape:
        is_known = family == ANY or family.endswith(".*") or self.declared.type(family) is not None
        if not is_known and self.unit.is_strict:
            return _LOOSE
        return self.declared.shape(family, outcomes, is_loose=not self.unit.is_strict)

    def _outcomes(self, family: str, at: Tree, node: Tree | None, *, is_unmatched: bool) -> frozenset[str]:
        words: set[str] = set()
        for child in node.children if node is not None else ():
            assert isinstance(child, Tree)
            words |= FINISHED if child.data == "finished" else {child.data}
        return self.check_outcomes(family, frozenset(words), at, node, is_unmatched=is_unmatched)

    def check_outcomes(
        self, family: str, words: frozenset[str], at: Tree | Token, node: Tree | Token | None, *, is_unmatched: bool
    ) -> frozenset[str]:
        """The outcomes that a pattern is for; the family must be known, and a task must say a word, an event none."""
        is_open = family == ANY or family.endswith(".*")
        declared = None if is_open else self.declared.type(family)
        if declared is None and not is_open and self.unit.is_strict:
            self.unit.refuse(self._unknown_type(family), at)
        elif family.endswith(".*") and self.unit.is_strict:
            self._check_family(family, at)
        if isinstance(declared, TaskDecl) and not words:
            message = f'"{family}" is a task: say how it ended: done, failed, cancelled, timed out, or finished for any of them'
            self.unit.refuse(OutcomeWord(message), at)
        elif isinstance(declared, EventDecl) and words:
            self.unit.refuse(OutcomeWord(f'"{family}" is an event and has no outcome: leave the word out'), node or at)
        if words:
            return _OUTCOMES.setdefault(words, words)
        return STRAYS if is_unmatched and is_open else EVENTS

    def _check_family(self, family: str, at: Tree | Token) -> None:
        types = self.declared.types()
        if not any(name.startswith(family[:-1]) for name in types):
            families = {name.rpartition(".")[0] + ".*" for name in types if "." in name}
            self.unit.refuse(UnknownName("family", family, families), at)

    def _unknown_type(self, name: str) -> UnknownName:
        error = UnknownName("task or event", name, self.declared.types())
        if name in self.declared.rules.records:
            error.message = f'"{name}" is a record type, no task or event'
        return error

    # -- what follows ----------------------------------------------------------------

    def consequence(self, tree: Tree, scope: Scope) -> Consequence:
        """The chain of steps that stands after `then`."""
        nodes = [child for child in tree.children if isinstance(child, Tree)]
        otherwise_node = nodes.pop() if nodes[-1].data == "else" else None
        steps: list[Step] = []
        last: dict[str, Shape] = {}
        for node in nodes:
            step, last = self.step(node, scope)
            steps.append(step)
            scope.aliases.update(last)
        otherwise = None
        if otherwise_node is not None:
            par = otherwise_node.children[0]
            assert isinstance(par, Tree)
            otherwise, _ = self.step(par, attrs.evolve(scope, aliases=self._of_else(scope.aliases, last, steps)))
            if len(steps) < 2 or not self._can_fail(steps[-2]):
                self.unit.warn(
                    "T608", "nothing that stands before the last `then` can fail, so this never runs", otherwise_node
                )
        return Consequence(tuple(steps), otherwise)

    def _of_else(self, aliases: dict[str, Shape], last: dict[str, Shape], steps: list[Step]) -> dict[str, Shape]:
        """What an `else` can name: all but the last step; the step before it ended in whichever way, or not yet."""
        known = {alias: shape for alias, shape in aliases.items() if alias not in last}
        for act in steps[-2] if len(steps) > 1 else ():
            if isinstance(act, Emit) and act.alias in known and self.declared.type(act.type) is not None:
                known[act.alias] = self.declared.shape(act.type, FINISHED, is_loose=not self.unit.is_strict)
        return known

    def _can_fail(self, step: Step) -> bool:
        acts: list[Act | None] = list(step)
        while acts:
            act = acts.pop()
            if isinstance(act, Emit) and act.type not in self.declared.rules.events:
                return True
            if act is not None:
                acts.append(act.otherwise)
        return False

    def step(self, tree: Tree, scope: Scope) -> tuple[Step, dict[str, Shape]]:
        """Acts side by side, and the aliases that the next step may use."""
        shapes: dict[str, Shape] = {}
        acts = []
        for node in tree.children:
            assert isinstance(node, Tree)
            act = self.act(node, scope, shapes)
            if act is not None:
                acts.append(act)
        return tuple(acts), shapes

    def act(self, tree: Tree, scope: Scope, shapes: dict[str, Shape]) -> Act | None:
        """One act with its guard; None where its form is not there yet."""
        body, *rest = tree.children
        assert isinstance(body, Tree)
        guard, otherwise = None, None
        for part in rest:
            assert isinstance(part, Tree)
            if part.data != "guard":
                is_there(part, self.unit)
                continue
            guard = self.resolver.expr(part.children[0], scope)
            self.typer.check_clause(guard, scope)
            if len(part.children) > 1 and isinstance(other := part.children[1], Tree):
                otherwise = self.act(other, scope, shapes)
        act = self._bare_act(body, scope, shapes)
        self.typer.end_clause(scope)
        if act is None or guard is None:
            return act
        return attrs.evolve(act, guard=guard, otherwise=otherwise)

    def _bare_act(self, tree: Tree, scope: Scope, shapes: dict[str, Shape]) -> Act | None:
        span = self.unit.span(tree)
        match tree.data:
            case "emit":
                return self._emit(tree, scope, shapes, span)
            case "save":
                value = self.resolver.expr(tree.children[1], scope)
                self.typer.type_of(value, scope)
                return Save(str(tree.children[0]), value, span=span)
            case "cancel_flow":
                return CancelFlow(span=span)
            case "endflow":
                if not tree.children:
                    return EndFlow("done", span=span)
                text = self.resolver.expr(tree.children[-1], scope)
                self.typer.type_of(text, scope)
                return EndFlow("failed", text, span=span)
            case _:
                is_there(tree, self.unit)
                alias = tree.find("alias")
                if alias is not None:
                    shapes[str(alias.children[0])] = _LOOSE
                return None

    def _emit(self, tree: Tree, scope: Scope, shapes: dict[str, Shape], span: Span) -> Emit:
        name_node, args_node = tree.children[0], tree.children[1]
        name = dotted(name_node)
        alias_node = tree.find("alias")
        alias = str(alias_node.children[0]) if alias_node is not None else None
        args = self._arguments(name, name_node, args_node, scope)
        if alias_node is not None and alias is not None:
            if alias in scope.aliases or alias in shapes:
                self.unit.refuse(Misplaced(f'"{alias}" names another record already'), alias_node)
            shapes[alias] = self._shape(name, EVENTS if isinstance(self.declared.type(name), EventDecl) else DONE)
        return Emit(name, args, alias, span=span)

    def arguments(
        self,
        type: str,
        at: Tree | Token,
        given: Iterable[tuple[Token, Node]],
        resolve: Callable[[Node], Expr],
        scope: Scope,
    ) -> tuple[tuple[str, Expr], ...]:
        """The arguments of an emission, against what is declared."""
        declared = self._check_emitted(type, at)
        known = {field.name: field for field in declared} if declared is not None else None
        args: dict[str, Expr] = {}
        for name_token, node in given:
            name = intern(str(name_token))
            field = known.get(name) if known is not None else None
            if name in args:
                self.unit.refuse(Misplaced(f'the argument "{name}" is there twice'), name_token)
            if known is not None and field is None:
                self.unit.refuse(UnknownName(f"argument of {type}", name, known), name_token)
            if field is not None and field.type.name == "task" and (task := self._task_name(node, scope)) is not None:
                args[name] = Const(task)
                continue
            args[name] = value = resolve(node)
            if field is not None:
                self.typer.check_value(value, field.type, scope, f"{type}({name}: …)")
            else:
                self.typer.type_of(value, scope)
        self._check_complete(type, known, args, at)
        return tuple(args.items())

    def _arguments(self, type: str, at: Tree | Token, tree: Tree | Token, scope: Scope) -> tuple[tuple[str, Expr], ...]:
        assert isinstance(tree, Tree)
        given = []
        for arg in tree.children:
            assert isinstance(arg, Tree)
            name, value = arg.children
            assert isinstance(name, Token)
            given.append((name, value))
        return self.arguments(type, at, given, lambda node: self.resolver.expr(node, scope), scope)

    def _check_complete(
        self, type: str, known: dict[str, FieldDecl] | None, args: Iterable[str], at: Tree | Token
    ) -> None:
        """All that the type needs is given."""
        given = set(args)
        needed = [
            field for name, field in (known or {}).items()
            if name not in given and not field.type.optional and field.default is None
        ]  # fmt: skip
        if needed:
            shown = ", ".join(f"{field.name}: {field.type}" for field in needed)
            self.unit.refuse(ArgumentMissing(f"{type}(…) needs {shown}"), at)

    def _check_emitted(self, type: str, at: Tree | Token) -> tuple[FieldDecl, ...] | None:
        """The declared fields of what is emitted; None where there are none to go by."""
        declared = self.declared.type(type)
        if type in ENGINE_EVENTS:
            self.unit.refuse(Misplaced(f'"{type}" is an event that the engine alone brings forth'), at)
            return None
        if declared is None:
            if self.unit.is_strict:
                self.unit.refuse(self._unknown_type(type), at)
            return None
        return declared.fields if isinstance(declared, EventDecl) else declared.inputs

    def _task_name(self, node: object, scope: Scope) -> str | None:
        """A bare name that is a task's, where a task is wanted and nothing else has that name."""
        if not isinstance(node, Tree) or node.data != "path":
            return None
        name = ".".join(str(child) for child in node.children)
        head = str(node.children[0])
        is_bound = head in scope.aliases or head in scope.names or head in scope.constants
        return name if name in self.declared.rules.tasks and not is_bound else None

    # -- what is posted ------------------------------------------------------------------

    def start(self, tree: Tree) -> Start:
        """A `start` item: its values are known at load."""
        name_node, args_node = tree.children
        name = dotted(name_node)
        args = self._arguments(name, name_node, args_node, Scope("value", self.unit.constants))
        known = [(key, constant_of(value, f'the value of "{key}"', self.unit, name_node)) for key, value in args]
        self.typer.end_clause(Scope("value", {}))
        return Start(
            name, tuple((key, value) for key, value in known if value is not None), span=self.unit.span(name_node)
        )
