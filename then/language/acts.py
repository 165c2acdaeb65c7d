"""What follows when a rule fires: chains of steps and their acts, from tree to model.

Arguments are checked against what is declared. Who calls:
`then.language.compile`, and `then.language.yaml_rules`, where an act is a
mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from sys import intern
from typing import Final, TypeVar

import attrs
from msgspec.structs import replace

from then.core.errors import RuleError, TypeMismatch, UnknownName
from then.core.filters import Const, Expr, Name
from then.core.policies import Policy
from then.core.rules import (
    FINISHED,
    Act,
    AtMost,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emit,
    EndFlow,
    EventDecl,
    FieldDecl,
    Loop,
    Return,
    Save,
    Skip,
    Step,
)
from then.language.declare import dotted
from then.language.findings import ArgumentMissing, CallRefused, Misplaced, NumberRefused
from then.language.kinship import bare, kind, shown
from then.language.patterns import DONE, EVENTS, Patterns
from then.language.policies import refuse_from, retry_of, span_us
from then.language.scope import ANY_TYPE, ENGINE_EVENTS, INT, Scope, Shape
from then.language.tree import Token, Tree

Node = TypeVar("Node")
"""What the value of an argument is written as: a tree of this language, or a node of YAML."""

_FAILURES: Final = frozenset(("failed", "timed_out"))
_MOD_WORDS: Final = {"atmost": "at most once per", "failfast": "fail fast"}
_TRIED: Final = frozenset(("retry", "timeout"))
"""What is said of how something is run: of an event it means nothing."""


class Acts:
    """Compiles the consequences of one unit."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self.unit = patterns.unit
        self.declared = patterns.declared
        self.resolver = patterns.resolver
        self.typer = patterns.typer

    def consequence(self, tree: Tree, scope: Scope, unfilled: Scope | None = None) -> Consequence:
        """The chain of steps that stands after `then`.

        Args:
            unfilled: of a join that may be beyond filling: what its `else` can name.
        """
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
            if len(steps) == 1 and unfilled is not None:
                otherwise, _ = self.step(par, unfilled)
            else:
                otherwise, _ = self.step(par, attrs.evolve(scope, aliases=self._of_else(scope.aliases, last, steps)))
                if len(steps) < 2 or not self._can_fail(steps[-2]):
                    self.unit.warn(
                        "T608",
                        "nothing that stands before the last `then` can fail, so this never runs",
                        otherwise_node,
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
            emit = act.emit if isinstance(act, Loop) else act
            if isinstance(emit, Emit) and emit.type not in self.declared.rules.events:
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
        """One act with its modifiers and guard; None where it was refused."""
        body, *rest = tree.children
        assert isinstance(body, Tree)
        guard, otherwise = None, None
        mods: list[Tree] = []
        for part in rest:
            assert isinstance(part, Tree)
            if part.data != "guard":
                mods.append(part)
                continue
            guard = self.resolver.expr(part.children[0], scope)
            self.typer.check_clause(guard, scope)
            if len(part.children) > 1 and isinstance(other := part.children[1], Tree):
                otherwise = self.act(other, scope, shapes)
        act = self._bare_act(body, mods, scope, shapes)
        self.typer.end_clause(scope)
        if act is None or guard is None:
            return act
        return attrs.evolve(act, guard=guard, otherwise=otherwise)

    def _bare_act(self, tree: Tree, mods: list[Tree], scope: Scope, shapes: dict[str, Shape]) -> Act | None:
        span = self.unit.span(tree)
        match tree.data:
            case "emit" | "call":
                return self._emit(tree, mods, scope, shapes)
            case "loop":
                return self._loop(tree, mods, scope, shapes)
            case "save":
                value = self.resolver.expr(tree.children[1], scope)
                self.typer.type_of(value, scope)
                return Save(str(tree.children[0]), value, span=span)
            case "ret":
                return self._return(tree, scope)
            case "cancel":
                return self._cancel(tree, scope)
            case "skip":
                return self._skip(tree, scope)
            case "cancel_flow":
                return CancelFlow(span=span)
            case _:
                assert tree.data == "endflow", tree.data
                if not tree.children:
                    return EndFlow("done", span=span)
                text = self.resolver.expr(tree.children[-1], scope)
                self.typer.type_of(text, scope)
                return EndFlow("failed", text, span=span)

    # -- emissions and calls -----------------------------------------------------------

    def _emit(self, tree: Tree, mods: list[Tree], scope: Scope, shapes: dict[str, Shape] | None) -> Emit:
        """An emission or a call; `shapes` None is one in a loop."""
        name_node, args_node = tree.children[0], tree.children[1]
        name, is_call = dotted(name_node), tree.data == "call"
        callee = scope.callback(name)
        args = self._arguments(name, name_node, args_node, scope, is_call=is_call, callee=callee)
        alias_node = tree.find("alias")
        alias = str(alias_node.children[0]) if alias_node is not None else None
        if alias_node is not None and alias is not None:
            if shapes is None:
                message = "a loop emits several records, which no one name stands for: wait with `every … done`"
                self.unit.refuse(Misplaced(message), alias_node)
                alias = None
            else:
                self.patterns.check_alias(alias, alias_node, scope, shapes)
                outcomes = EVENTS if isinstance(self.declared.type(name), EventDecl) and callee is None else DONE
                shapes[alias] = self.patterns.shape(name, outcomes, callee)
        given = Name(callee, span=self.unit.span(name_node)) if callee is not None else None
        emit = Emit(name, args, alias, callee=given, span=self.unit.span(tree))
        return self._modified(emit, mods, scope, name_node, is_call=is_call)

    def _modified(self, emit: Emit, mods: list[Tree], scope: Scope, at: Tree | Token, *, is_call: bool) -> Emit:
        policy = Policy()
        seen: set[str] = set()
        is_event = emit.callee is None and isinstance(self.declared.type(emit.type), EventDecl)
        for mod in mods:
            word = _MOD_WORDS.get(mod.data, mod.data)
            if mod.data in seen:
                self.unit.refuse(Misplaced(f"`{word}` is there twice"), mod)
            seen.add(mod.data)
            if is_event and mod.data in _TRIED:
                self.unit.refuse(
                    Misplaced(f'"{emit.type}" is an event: nothing runs it, so `{word}` means nothing'), mod
                )
            match mod.data:
                case "retry":
                    retry, clause = retry_of(mod, self.unit)
                    if not is_call:
                        refuse_from(mod, "a task", self.unit)
                    policy = replace(policy, retry=retry)
                    if clause is not None:
                        emit = attrs.evolve(emit, retry_while=self._while(clause, emit, scope))
                case "timeout":
                    policy = replace(policy, timeout_us=span_us(mod, "timeout", self.unit))
                case "failfast":
                    if not is_call:
                        self.unit.refuse(Misplaced("`fail fast` belongs to a `call`: it cancels what lives in it"), mod)
                    policy = replace(policy, fail_fast=True)
                case "atmost":
                    emit = attrs.evolve(emit, at_most=self._at_most(mod, scope))
                case "after":
                    emit = attrs.evolve(emit, after=self._after(mod, scope))
                case _:
                    emit = attrs.evolve(emit, at=self._at(mod, scope))
        if {"after", "at"} <= seen:
            self.unit.refuse(Misplaced("an act has one time: `after` or `at`"), at)
        return emit if policy == Policy() else attrs.evolve(emit, policy=policy)

    def _while(self, clause: Tree | Token, emit: Emit, scope: Scope) -> Expr:
        """Over the attempt that failed: the rule's aliases are not there any more."""
        shape = self.patterns.shape(emit.type, _FAILURES, scope.callback(emit.type))
        inner = Scope("clause", self.unit.constants, shape)
        found = self.resolver.expr(clause, inner)
        self.typer.check_clause(found, inner)
        return found

    def _at_most(self, mod: Tree, scope: Scope) -> AtMost | None:
        per = span_us(mod, "at most once per", self.unit)
        by = None
        if len(mod.children) > 1:
            by = self.resolver.expr(mod.children[1], scope)
            self.typer.type_of(by, scope)
        return AtMost(per, by) if per is not None else None

    def _after(self, mod: Tree, scope: Scope) -> Expr:
        found = self.resolver.expr(mod.children[0], scope)
        ref = self.typer.type_of(found, scope)
        if isinstance(found, Const) and isinstance(found.value, int | float) and found.value <= 0:
            self.unit.refuse(NumberRefused("`after` takes a span of time that is longer than nothing"), mod)
        elif kind(ref) not in ("number", "any"):
            message = f"`after` takes a duration, or a number of seconds; {shown(found)} is {bare(ref)}"
            self.unit.refuse(TypeMismatch(message), mod)
        return found

    def _at(self, mod: Tree, scope: Scope) -> Expr:
        found = self.resolver.expr(mod.children[0], scope)
        ref = self.typer.type_of(found, scope)
        if kind(ref) not in ("number", "text", "any"):
            message = f"`at` takes a time, as text or in seconds since 1970; {shown(found)} is {bare(ref)}"
            self.unit.refuse(TypeMismatch(message), mod)
        elif isinstance(found, Const) and isinstance(found.value, str) and not _is_time(found.value):
            message = f'"{found.value[:40]}" is no time such as 2026-01-05T10:00'
            self.unit.refuse(NumberRefused(message), mod)
        return found

    def _loop(self, tree: Tree, mods: list[Tree], scope: Scope, shapes: dict[str, Shape]) -> Loop:
        *names, items_node, emit_node = tree.children
        assert isinstance(emit_node, Tree)
        items = self.resolver.expr(items_node, scope)
        ref = self.typer.type_of(items, scope)
        if kind(ref) not in ("list", "any"):
            message = f"`for … in` goes through a list; {shown(items)} is {bare(ref)}"
            self.unit.refuse(TypeMismatch(message), items_node)
        given = [intern(str(name)) for name in names]
        for name, token in zip(given, names, strict=True):
            if name in scope.aliases or name in shapes:
                self.unit.refuse(Misplaced(f'"{name}" names a record already'), token)
        if len(given) > 1 and given[0] == given[1]:
            self.unit.refuse(Misplaced(f'"{given[0]}" cannot be both the number and the item'), names[1])
        bound = {given[-1]: ref.args[0] if ref.name == "list" and ref.args else ANY_TYPE}
        if len(given) > 1:
            bound[given[0]] = INT
        inner = attrs.evolve(scope, names={**scope.names, **bound})
        emit = self._emit(emit_node, mods, inner, None)
        index = given[0] if len(given) > 1 else None
        return Loop(given[-1], items, emit, index, span=self.unit.span(tree))

    # -- other acts ----------------------------------------------------------------------

    def _return(self, tree: Tree, scope: Scope) -> Return:
        procedure = scope.procedure
        if scope.place == "ending":
            self.unit.refuse(Misplaced("`return` in `finally`: the end has come, and its outcome is settled"), tree)
        elif (
            procedure is None
            and self.unit.is_strict
            and not (self.declared.procedures or self.declared.rules.procedures)
        ):
            self.unit.refuse(Misplaced("`return` where no call can be open: no procedure is declared"), tree)
        known = None
        if procedure is not None:
            known = {field.name: field for field in procedure.result or ()}
        args = self._against("return", known, tree, _pairs(tree.children[0]), self._resolve(scope), scope)
        return Return(args, span=self.unit.span(tree))

    def _cancel(self, tree: Tree, scope: Scope) -> CancelTasks:
        name = dotted(tree.children[0])
        callee = scope.callback(name)
        if callee is None and self.declared.type(name) is None and self.unit.is_strict:
            self.unit.refuse(self.patterns.unknown_type(name), tree.children[0])
        where = None
        if len(tree.children) > 1 and isinstance(node := tree.children[1], Tree):
            shape = self.patterns.shape(name, frozenset(), callee)
            inner = self.patterns.clause_scope(shape, None, scope)
            where = self.resolver.clause(node.children[0], inner)
            self.typer.check_clause(where, inner)
        given = Name(callee, span=self.unit.span(tree.children[0])) if callee is not None else None
        return CancelTasks(name, where, callee=given, span=self.unit.span(tree))

    def _skip(self, tree: Tree, scope: Scope) -> Skip:
        name_node, args_node = tree.children
        name = dotted(name_node)
        if isinstance(self.declared.type(name), EventDecl):
            self.unit.refuse(Misplaced(f'"{name}" is an event: nothing runs it, so it cannot be skipped'), name_node)
        is_call = self.declared.procedure(name) is not None
        args = self._arguments(name, name_node, args_node, scope, is_call=is_call)
        return Skip(name, args, span=self.unit.span(tree))

    # -- arguments -----------------------------------------------------------------------

    def arguments(
        self,
        type: str,
        at: Tree | Token,
        given: Iterable[tuple[Token, Node]],
        resolve: Callable[[Node], Expr],
        scope: Scope,
        *,
        is_call: bool = False,
    ) -> tuple[tuple[str, Expr], ...]:
        """The arguments of an emission or call, against what is declared."""
        declared = self._check_emitted(type, at, is_call=is_call)
        known = {field.name: field for field in declared} if declared is not None else None
        return self._against(type, known, at, given, resolve, scope)

    def _arguments(
        self, type: str, at: Tree | Token, tree: Tree | Token, scope: Scope, *, is_call: bool, callee: str | None = None
    ) -> tuple[tuple[str, Expr], ...]:
        given = _pairs(tree)
        if callee is not None:
            if is_call:
                self.unit.refuse(CallRefused(f'"{type}" is handed a task, no procedure: leave "call" out'), at)
            return self._against(type, None, at, given, self._resolve(scope), scope)
        return self.arguments(type, at, given, self._resolve(scope), scope, is_call=is_call)

    def posted(self, type: str, at: Tree | Token, tree: Tree, scope: Scope) -> tuple[tuple[str, Expr], ...]:
        """The arguments of what is posted: a task or an event."""
        is_call = self.declared.procedure(type) is not None
        if is_call:
            message = f'"{type}" is a procedure: post an event, and let a rule call it'
            self.unit.refuse(CallRefused(message), at)
        return self._arguments(type, at, tree, scope, is_call=is_call)

    def _resolve(self, scope: Scope) -> Callable[[Tree | Token], Expr]:
        return lambda node: self.resolver.expr(node, scope)

    def _against(
        self,
        type: str,
        known: dict[str, FieldDecl] | None,
        at: Tree | Token,
        given: Iterable[tuple[Token, Node]],
        resolve: Callable[[Node], Expr],
        scope: Scope,
    ) -> tuple[tuple[str, Expr], ...]:
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
                self._check_task(field, value, name_token)
            else:
                self.typer.type_of(value, scope)
        self._check_complete(type, known, args, at)
        return tuple(args.items())

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
            form = "return (…)" if type == "return" else f"{type}(…)"
            self.unit.refuse(ArgumentMissing(f"{form} needs {shown}"), at)

    def _check_task(self, field: FieldDecl, value: Expr, at: Token) -> None:
        """A task is handed over by its name: the name of one."""
        if field.type.name == "task" and isinstance(value, Const) and isinstance(value.value, str):
            tasks = self.declared.rules.tasks
            if value.value not in tasks and self.unit.is_strict:
                self.unit.refuse(UnknownName("task", value.value, tasks), at)

    def _check_emitted(self, type: str, at: Tree | Token, *, is_call: bool) -> tuple[FieldDecl, ...] | None:
        """The declared fields of what is emitted; None where there are none to go by."""
        declared = self.declared.type(type)
        procedure = self.declared.procedure(type)
        if type in ENGINE_EVENTS:
            self.unit.refuse(Misplaced(f'"{type}" is an event that the engine alone brings forth'), at)
            return None
        if is_call and procedure is None:
            self.unit.refuse(self._no_procedure(type), at)
        elif procedure is not None and not is_call:
            self.unit.refuse(CallRefused(f'"{type}" is a procedure: write "call {type}(…)"'), at)
        elif declared is None and self.unit.is_strict:
            self.unit.refuse(self.patterns.unknown_type(type), at)
        return self.declared.inputs(type)

    def _no_procedure(self, name: str) -> RuleError:
        declared = self.declared.type(name)
        if declared is None:
            return UnknownName("procedure", name, [*self.declared.procedures, *self.declared.rules.procedures])
        what = "an event" if isinstance(declared, EventDecl) else "a task"
        return CallRefused(f'"{name}" is {what}, no procedure: leave "call" out')

    def _task_name(self, node: object, scope: Scope) -> str | None:
        """A bare name that is a task's, where a task is wanted and nothing else has that name."""
        if not isinstance(node, Tree) or node.data != "path":
            return None
        name = ".".join(str(child) for child in node.children)
        head = str(node.children[0])
        is_bound = head in scope.aliases or head in scope.names or head in scope.constants
        return name if name in self.declared.rules.tasks and not is_bound else None


def _pairs(tree: Tree | Token) -> list[tuple[Token, Tree | Token]]:
    assert isinstance(tree, Tree)
    given = []
    for arg in tree.children:
        assert isinstance(arg, Tree)
        name, value = arg.children
        assert isinstance(name, Token)
        given.append((name, value))
    return given


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
