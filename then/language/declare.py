"""Declarations: `record`, `event`, `task`, `secret`, and what a procedure takes, from tree to model.

In two passes, since a type may be declared after its use: `declare` gives each
declaration to the rule set, names and forms checked; `check_declared` then
looks at types. A task's `run` line, and what it needs, is resolved over its
inputs. What stands after the run line is `then.language.modifiers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sys import intern
from typing import Final

import attrs

from then.core.declarations import SECRETS_GROUP
from then.core.errors import RuleError, TypeMismatch, UnknownName
from then.core.evaluate import Scope as Values
from then.core.evaluate import evaluate
from then.core.filters import Const, Expr, ListOf, SecretRef, walk
from then.core.rules import (
    SCALARS,
    Declaration,
    EventDecl,
    FieldDecl,
    RecordDecl,
    RuleSet,
    Run,
    SecretDecl,
    TaskDecl,
    TypeRef,
)
from then.core.source import Span
from then.core.tasks import check_name
from then.core.values import CannotSay
from then.language.executors import WORDS_MAX, Kinds, check_option, check_target
from then.language.findings import Misplaced, NoValue
from then.language.modifiers import FAILURES, Modifiers
from then.language.resolve import POISON, Resolver
from then.language.scope import ENGINE_EVENTS, FLOAT, Declared, Procedure, Scope, Shape, Signature, shape_of
from then.language.templates import read_text
from then.language.tree import Token, Tree
from then.language.types import Typer
from then.language.units import Unit

FOREIGN_TYPES: Final = {
    "string": "str", "text": "str", "integer": "int", "number": "float", "double": "float", "boolean": "bool",
    "dict": "map", "object": "map", "array": "list", "path": "file", "null": "any",
}  # fmt: skip
"""What other languages call ours."""

SECRET_SOURCES: Final = ("env", "file", "command")
"""Where a secret may come from."""
_SECRET_OPTIONS: Final = frozenset((("python", "with"), ("process", "env"), ("docker", "env")))
"""Executor and option whose map may hold secrets: its values are in no record."""


def _plugin_sources() -> set[str]:
    """Sources of secrets that installed plugins bring."""
    from importlib.metadata import entry_points

    return set(entry_points(group=SECRETS_GROUP).names)


class Declarer:
    """Reads the declarations of one unit."""

    def __init__(self, unit: Unit, rules: RuleSet, kinds: Kinds) -> None:
        self.unit = unit
        self.rules = rules
        self.kinds = kinds
        self.resolver = Resolver(unit)

    def declare(self, tree: Tree) -> None:
        """Adds a `record`, `event`, `task` or `secret` to the rule set."""
        name = dotted(tree.children[0])
        span = self.unit.span(tree.children[0])
        try:
            check_name(name)
            if name in ENGINE_EVENTS:
                raise Misplaced(f'"{name}" is an event of the engine and needs no declaration')
            match tree.data:
                case "record":
                    self.rules.declare(RecordDecl(name, self._fields(tree), span=span))
                case "event":
                    self.rules.declare(EventDecl(name, self._fields(tree), span=span))
                case "secret":
                    self._secret(tree, name, span)
                case _:
                    self.rules.declare(self._task(tree, name, span))
        except RuleError as error:
            self.unit.refuse(error, tree.children[0])

    def signature(self, tree: Tree) -> Signature | None:
        """What a `procedure` takes and hands back; None where its name was refused."""
        name = str(tree.children[0])
        try:
            check_name(name, "procedure")
        except RuleError as error:
            self.unit.refuse(error, tree.children[0])
            return None
        result = tree.find("result")
        handed_back = self._fields(result) if result is not None else ()
        return Signature(name, self._fields(tree), handed_back, self.unit.span(tree.children[0]))

    def _secret(self, tree: Tree, name: str, span: Span) -> None:
        _, source, reference = tree.children
        assert isinstance(reference, Token)
        if str(source) not in SECRET_SOURCES and str(source) not in _plugin_sources():
            error = UnknownName("source of a secret", str(source), SECRET_SOURCES)
            error.message += f"; there are {', '.join(SECRET_SOURCES)}"
            self.unit.refuse(error, source)
            return
        text = read_text(reference)
        if not text:
            self.unit.refuse(Misplaced(f"`from {source}` names where the secret is; here is nothing"), reference)
        self.rules.declare(SecretDecl(name, str(source), text, span=span))

    def _fields(self, tree: Tree) -> tuple[FieldDecl, ...]:
        node = tree.find("fields")
        fields: dict[str, FieldDecl] = {}
        for child in node.children if node is not None else ():
            assert isinstance(child, Tree)
            name, type_node, *default = child.children
            if str(name) in fields:
                self.unit.refuse(Misplaced(f'the field "{name}" is there twice'), name)
            assert isinstance(type_node, Tree)
            value = self.constant(default[0], f'the default of "{name}"') if default else None
            fields[str(name)] = FieldDecl(str(name), self._type(type_node), value, span=self.unit.span(name))
        return tuple(fields.values())

    def _type(self, node: Tree) -> TypeRef:
        args = tuple(self._type(child) for child in node.children if isinstance(child, Tree))
        optional = isinstance(last := node.children[-1], Token) and last.type == "OPT"
        return TypeRef(str(node.children[0]), args, optional, span=self.unit.span(node))

    def constant(self, node: Tree | Token, what: str) -> Const | None:
        """A value that is known at load; None where it was refused."""
        expr = self.resolver.expr(node, Scope("value", self.unit.constants))
        return constant_of(expr, what, self.unit, node)

    # -- tasks -----------------------------------------------------------------

    def _task(self, tree: Tree, name: str, span: Span) -> TaskDecl:
        inputs = self._fields(tree)
        result_node = tree.find("result")
        result = self._fields(result_node) if result_node is not None else None
        body = {field.name: field.type for field in inputs}
        run_node = tree.find("run")
        run = (
            self._run(run_node, Scope("run", self.unit.constants, Shape(name, body))) if run_node is not None else None
        )
        task = TaskDecl(name, inputs, result, run, span=span)
        return Modifiers(self.unit, self.resolver, self.constant).modified(task, tree)

    def _run(self, tree: Tree, scope: Scope) -> Run | None:
        kind_token, target, *options = tree.children
        name = str(kind_token)
        kind = self.kinds.get(name)
        if kind is None:
            self.unit.refuse(UnknownName("executor", name, self.kinds), kind_token)
            return None
        if isinstance(target, Tree) and len(target.children) > WORDS_MAX:
            message = (
                f"run {name} has {len(target.children):,} words, and {WORDS_MAX:,} are the most that may be written; "
                f'a list is taken as several: run {name} ["program", paths]'
            )
            self.unit.refuse(Misplaced(message), kind_token)
            return None
        given = []
        seen: set[tuple[str, bool]] = set()
        for option in options:
            assert isinstance(option, Tree)
            word, value = option.children
            is_word = isinstance(value, Token) and value.type == "NAME"
            if (str(word), is_word) in seen:
                self.unit.refuse(Misplaced(f"the option {word} is there twice"), option)
            seen.add((str(word), is_word))
            if check_option(str(word), value, kind, name, self.unit, option):
                takes_secrets = (name, str(word)) in _SECRET_OPTIONS
                inner = attrs.evolve(scope, takes_secrets=True) if takes_secrets else scope
                expr = Const(str(value), span=self.unit.span(value)) if is_word else self.resolver.expr(value, inner)
                given.append((str(word), expr))
        run = Run(name, self.resolver.expr(target, scope), tuple(given), span=self.unit.span(tree))
        if run.target is not POISON:
            assert scope.record is not None
            check_target(run, kind, scope.record.body or {}, self.unit)
        return run


def dotted(node: Tree | Token) -> str:
    """A name with dots: `order.placed`. One text for all places where it is named."""
    return intern(".".join(node.children) if isinstance(node, Tree) else str(node))  # type: ignore[arg-type]


def constant_of(expr: Expr, what: str, unit: Unit, node: Tree | Token | None) -> Const | None:
    """The value of an expression that nothing but the text decides; None where it was refused."""
    if isinstance(expr, Const):
        return expr
    value = evaluate(expr, Values())
    if isinstance(value, CannotSay):
        # Where a name in it was refused, that is the message.
        if POISON not in walk(expr):
            unit.refuse(NoValue(f"{what} has no value: {value.reason}", expr.span, unit.line(expr.span)), node)
        return None
    return Const(value, span=expr.span)


def check_declared(declared: Declared, units: Iterable[Unit]) -> None:
    """Looks at the types of all declarations, once all are there."""
    by_file = {unit.file: unit for unit in units}
    rules = declared.rules
    declarations: tuple[Declaration | Procedure, ...] = (
        *rules.records.values(), *rules.events.values(), *rules.tasks.values(), *declared.procedures.values(),
    )  # fmt: skip
    for declaration in declarations:
        unit = by_file.get(declaration.span.file) if declaration.span is not None else None
        if unit is None:
            continue
        typer = Typer(unit, declared)
        for field in _fields_of(declaration):
            _check_type(field.type, declared, unit)
            if field.default is not None:
                typer.check_value(field.default, field.type, Scope("value", {}), f'the default of "{field.name}"')
        if isinstance(declaration, TaskDecl):
            _check_task(declaration, typer, unit)


def _fields_of(declaration: Declaration | Procedure) -> Iterator[FieldDecl]:
    if isinstance(declaration, RecordDecl | EventDecl):
        yield from declaration.fields
    else:
        yield from declaration.inputs or ()
        yield from declaration.result or ()


def _check_type(ref: TypeRef, declared: Declared, unit: Unit) -> None:
    records = declared.rules.records
    if ref.name not in SCALARS and ref.name != "list" and ref.name not in records:
        error = UnknownName("type", ref.name, (*SCALARS, "list", *records), ref.span, unit.line(ref.span))
        if ref.name.lower() in FOREIGN_TYPES:
            error.message = f'unknown type "{ref.name}" (here it is "{FOREIGN_TYPES[ref.name.lower()]}")'
        unit.findings.refuse(error)
    least, most = {"list": (1, 1), "map": (0, 1)}.get(ref.name, (0, 0))
    if not least <= len(ref.args) <= most:
        form = {"list": "list[T]", "map": "map or map[T]"}.get(ref.name, ref.name)
        unit.findings.refuse(TypeMismatch(f"the type is written {form}", ref.span, unit.line(ref.span)))
    for arg in ref.args:
        _check_type(arg, declared, unit)


def _check_task(task: TaskDecl, typer: Typer, unit: Unit) -> None:
    inputs = {field.name: field for field in task.inputs or ()}
    for field in task.result or ():
        if field.name in inputs:
            message = f'the result\'s "{field.name}" hides the input of that name'
            unit.warn("T605", message, field.span, f"rename one, or write body.{field.name} for the input")
    scope = Scope("run", unit.constants, Shape(task.name, {name: field.type for name, field in inputs.items()}))
    for expr in (task.run.target, *(value for _, value in task.run.options)) if task.run is not None else ():
        # An optional word is left out where it is missing, as an argument is.
        for part in expr.items if isinstance(expr, ListOf) else (expr,):
            typer.type_of(part, scope)
        for node in walk(expr):
            if isinstance(node, SecretRef) and node.name not in typer.declared.secrets:
                error = UnknownName("secret", node.name, typer.declared.secrets, node.span, unit.line(node.span))
                unit.findings.refuse(error)
    for by in (task.limit.by if task.limit is not None else None, task.idempotent_by):
        if by is not None:
            typer.type_of(by, scope)
    for need in task.needs:
        if not need.name.startswith("lock."):
            typer.check_value(need.amount, FLOAT, scope, f"needs {{{need.name}: …}}")
    typer.end_clause(scope)
    if task.retry_while is not None:
        typer.check_clause(task.retry_while, Scope("clause", unit.constants, shape_of(task, task.name, FAILURES)))
