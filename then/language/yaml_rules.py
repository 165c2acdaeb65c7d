"""Rules in YAML: the same model, the forms of docs/yaml.md.

A file has the key `rules`, and perhaps `use` and `start`. Texts in bodies are
templates; `{expr: "…"}` is an expression, `{type: load, name: [x]}` a flow
variable. `when` and `then` may be one text each in the language. Types need
not be declared; what is declared, here by `use` or in the files beside, is
checked like everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import attrs

from then.core.errors import RuleError, UnknownName
from then.core.filters import And, Compare, Expr, IsNull
from then.core.rules import (
    ANY,
    FINISHED,
    RETRIED,
    Act,
    CancelFlow,
    Consequence,
    Emit,
    EndFlow,
    Pattern,
    Rule,
    RuleSet,
    Save,
    Single,
    Start,
    Step,
    Trigger,
    Unmatched,
)
from then.core.tasks import check_name
from then.language.compile import Compiler
from then.language.declare import constant_of
from then.language.findings import Misplaced
from then.language.parser import parse_expression
from then.language.patterns import DONE, EVENTS
from then.language.resolve import folded
from then.language.scope import Declared, Scope, Shape
from then.language.tree import Token, Tree
from then.language.triggers import Awaited
from then.language.units import Unit
from then.language.yaml_text import Node, read_yaml
from then.language.yaml_values import Refused, Values, items_of, mapping

TOP_KEYS: Final = ("rules", "use", "start")
RULE_KEYS: Final = ("name", "when", "then", "final")
WHEN_KEYS: Final = ("type", "outcome", "as", "where", "unmatched")
EMIT_KEYS: Final = ("type", "body", "as", "if", "otherwise")
ACT_KEYS: Final = {
    "save": ("save", "if", "otherwise"),
    "end": ("end", "text", "if", "otherwise"),
    "cancel": ("cancel", "if", "otherwise"),
}

_OUTCOMES: Final = {
    "done": {"done"}, "failed": {"failed"}, "cancelled": {"cancelled"}, "timed_out": {"timed_out"},
    "timed out": {"timed_out"}, "finished": FINISHED, "retried": {RETRIED},
}  # fmt: skip


class Plan(Protocol):
    """What a load takes from a file: other files that it uses, and its rules at their place."""

    rules: RuleSet

    def plan(self, part: Callable[[Declared], list[Rule]]) -> None: ...

    def use(
        self, path: str, names: list[tuple[str, Tree | Token]], unit: Unit, chain: tuple[str, ...], at: Token
    ) -> None: ...


T = TypeVar("T")


def take_yaml(unit: Unit, plan: Plan, chain: tuple[str, ...]) -> None:
    """Reads a file of rules: what it uses at once, its rules when all is declared.

    Raises:
        RuleError: it cannot be read as YAML.
    """
    root = read_yaml(unit.text, unit.file)
    try:
        top = mapping(unit, root, TOP_KEYS, "a file of rules")
    except Refused:
        return
    if "rules" not in top:
        unit.refuse(Misplaced("a file of rules has the key rules"), root.token)
    used = top.get("use")
    for item in items_of(used) if used is not None else ():
        if isinstance(item.content, str):
            plan.use(item.content, [], unit, chain, item.token)
        else:
            unit.refuse(Misplaced("use takes a path, or a list of paths"), item.token)
    rules = top.get("rules")
    if rules is not None and not isinstance(rules.content, list | None):
        unit.refuse(Misplaced("rules takes a list"), rules.token)
    for item in items_of(rules) if rules is not None and isinstance(rules.content, list) else ():
        plan.plan(lambda declared, item=item: _YamlCompiler(unit, declared).rules(item))  # type: ignore[misc]
    starts = top.get("start")
    if starts is not None:
        plan.plan(lambda declared: _take_starts(unit, declared, starts, plan.rules))


def _take_starts(unit: Unit, declared: Declared, starts: Node, rules: RuleSet) -> list[Rule]:
    compiler = _YamlCompiler(unit, declared)
    for item in items_of(starts):
        try:
            rules.starts.append(compiler.start(item))
        except Refused:
            continue
    return []


class _YamlCompiler:
    """Compiles the rules of one file."""

    def __init__(self, unit: Unit, declared: Declared) -> None:
        self.unit = unit
        self.declared = declared
        self.compiler = Compiler(unit, declared)
        self.values = Values(unit, self.compiler.resolver)

    def rules(self, node: Node) -> list[Rule]:
        """The one rule of an item; none where it was refused."""
        try:
            return [self._rule(node)]
        except Refused:
            return []

    def _rule(self, node: Node) -> Rule:
        fields = mapping(self.unit, node, RULE_KEYS, "a rule")
        for key in ("name", "when", "then"):
            if key not in fields:
                self.values.refuse(Misplaced(f"a rule needs {key}"), node)
        final_node = fields.get("final")
        final = final_node is not None and final_node.content is True
        if final_node is not None and not isinstance(final_node.content, bool):
            self.unit.refuse(Misplaced("final is true or false"), final_node.token)
        scope = Scope("act", self.unit.constants)
        # Each part is looked at, whatever the others are, so that one run tells of all mistakes.
        name = self._kept(lambda: self._name(fields["name"], "rule"))
        awaited = self._kept(lambda: self._awaited(fields["when"], scope)) or Awaited(None)
        scope.is_open = awaited.trigger is None
        followed = self._kept(lambda: self._followed(fields["then"], awaited, scope))
        if name is None or followed is None:
            raise Refused
        trigger, consequence = followed
        if trigger is None:
            raise Refused
        source = self.unit.text[node.begin : node.end]
        return Rule(name, trigger, consequence, final=final, source=source, span=fields["name"].span)

    def _kept(self, part: Callable[[], T]) -> T | None:
        try:
            return part()
        except Refused:
            return None

    def _name(self, node: Node, what: str) -> str:
        try:
            return check_name(self.values.text(node, what), what)
        except RuleError as error:
            self.values.refuse(error, node)

    # -- when ----------------------------------------------------------------

    def _awaited(self, node: Node, scope: Scope) -> Awaited:
        if isinstance(node.content, str):
            tree = self.values.parse(node, "when_text")
            assert isinstance(tree, Tree)
            if tree.data != "when_text":
                return self.compiler.triggers.trigger(tree, None, scope)
            trigger = tree.children[0]
            assert isinstance(trigger, Tree)
            return self.compiler.triggers.trigger(trigger, tree.find("within"), scope)
        fields = mapping(self.unit, node, WHEN_KEYS, "when")
        if "type" not in fields:
            self.values.refuse(Misplaced("when needs type: a task, an event, a family such as deploy.*, or any"), node)
        unmatched = fields.get("unmatched")
        is_unmatched = unmatched is not None and unmatched.content is True
        if unmatched is not None and not isinstance(unmatched.content, bool):
            self.values.refuse(Misplaced("unmatched is true or false"), unmatched)
        pattern = self._pattern(fields, scope, is_unmatched=is_unmatched)
        return Awaited(Unmatched(pattern) if is_unmatched else Single(pattern))

    def _pattern(self, fields: dict[str, Node], scope: Scope, *, is_unmatched: bool) -> Pattern:
        type_node = fields["type"]
        written = self.values.text(type_node, "type")
        family = ANY if written == "any" else written
        try:
            check_name(family.removesuffix(".*") if family != ANY else "any")
        except RuleError as error:
            self.values.refuse(error, type_node)
        outcome_node = fields.get("outcome")
        outcomes = self.compiler.patterns.check_outcomes(
            family, self._words(outcome_node), type_node.token,
            outcome_node.token if outcome_node is not None else None, is_unmatched=is_unmatched,
        )  # fmt: skip
        alias = self.values.text(fields["as"], "as") if "as" in fields else None
        shape = self.declared.shape(family, outcomes, is_loose=True)
        where = self._where(fields["where"], shape, alias, scope) if "where" in fields else None
        if alias is not None:
            scope.aliases[alias] = shape
        return Pattern(family, outcomes, where, alias, span=type_node.span)

    def _words(self, node: Node | None) -> frozenset[str]:
        if node is None:
            return frozenset()
        words: set[str] = set()
        for item in items_of(node):
            for word in self.values.text(item, "outcome").split(" or "):
                known = _OUTCOMES.get(word.strip())
                if known is None:
                    self.values.refuse(UnknownName("outcome", word.strip(), _OUTCOMES), item)
                words |= known
        return frozenset(words)

    def _where(self, node: Node, shape: Shape, alias: str | None, scope: Scope) -> Expr | None:
        if isinstance(node.content, str):
            return self.compiler.patterns.where(self.values.parse(node, "expr"), shape, alias, scope)
        if not isinstance(node.content, dict):
            self.values.refuse(Misplaced("where is a mapping of fields to values, or a text in the language"), node)
        inner = self.compiler.patterns.clause_scope(shape, alias, scope)
        clauses = [self._equal(key, value, inner) for key, value in node.content.items()]
        if not clauses:
            return None
        clause = clauses[0] if len(clauses) == 1 else And(tuple(clauses), span=node.span)
        self.compiler.patterns.end_where(clause, inner, scope)
        return clause

    def _equal(self, key: Token, node: Node, scope: Scope) -> Expr:
        line, column = key.lines.place(0)
        try:
            path = parse_expression(key, self.unit.file, line, column)
        except RuleError as error:
            self.values.refuse(error, node)
        if not isinstance(path, Tree) or path.data != "path":
            self.values.refuse(
                Misplaced(f'"{key}" is no field; a where that is more than equality is written as a text'), key
            )
        field = self.compiler.resolver.expr(path, scope)
        # A field that is not there is not equal: nothing more careful can be written in this form.
        self.compiler.typer.guard(field, scope)
        if node.content is None:
            return IsNull(field, span=node.span)
        return Compare("==", field, folded(self.values.value(node, scope)), span=node.span)

    # -- then ----------------------------------------------------------------

    def _followed(self, node: Node, awaited: Awaited, scope: Scope) -> tuple[Trigger | None, Consequence]:
        if isinstance(node.content, str):
            tree = self.values.parse(node, "then_text")
            assert isinstance(tree, Tree)
            steps = tree if tree.data == "steps" else tree.find("steps")
            assert steps is not None
            return self.compiler.consequence(awaited, steps, tree.find("late"), scope)
        shapes: dict[str, Shape] = {}
        step: list[Act] = []
        for item in items_of(node):
            if isinstance(item.content, str):
                step.extend(self._written(item, scope, shapes))
            else:
                step.append(self._act(item, scope, shapes))
        if not step:
            self.values.refuse(Misplaced("then needs at least one act"), node)
        return awaited.trigger, Consequence((tuple(step),))

    def _written(self, node: Node, scope: Scope, shapes: dict[str, Shape]) -> Step:
        """Acts of a list that are written in the language."""
        tree = self.values.parse(node, "then_text")
        assert isinstance(tree, Tree)
        steps = tree.children[0]
        assert isinstance(steps, Tree)
        if len(steps.children) > 1 or len(tree.children) > 1:
            self.values.refuse(Misplaced("a chain stands alone: give `then` as one text, not as a list"), node)
        par = steps.children[0]
        assert isinstance(par, Tree)
        step, inner = self.compiler.acts.step(par, scope)
        shapes.update(inner)
        return step

    def _act(self, node: Node, scope: Scope, shapes: dict[str, Shape]) -> Act:
        content = node.content
        kind = next((key for key in ACT_KEYS if isinstance(content, dict) and key in content), "type")
        fields = mapping(self.unit, node, ACT_KEYS.get(kind, EMIT_KEYS), "an act")
        guard = otherwise = None
        if "if" in fields:
            guard = self.compiler.resolver.expr(self.values.parse(fields["if"], "expr"), scope)
            self.compiler.typer.check_clause(guard, scope)
        if "otherwise" in fields:
            if guard is None:
                self.values.refuse(Misplaced("otherwise needs if"), fields["otherwise"])
            otherwise = self._act(fields["otherwise"], scope, shapes)
        act = self._bare_act(kind, fields, node, scope, shapes)
        self.compiler.typer.end_clause(scope)
        return act if guard is None else attrs.evolve(act, guard=guard, otherwise=otherwise)

    def _bare_act(self, kind: str, fields: dict[str, Node], node: Node, scope: Scope, shapes: dict[str, Shape]) -> Act:
        if kind == "save":
            saved = fields["save"].content
            if not isinstance(saved, dict) or len(saved) != 1:
                self.values.refuse(Misplaced("save takes one variable, as in save: {total: 3}"), node)
            ((name, value),) = saved.items()
            return Save(str(name), self.values.value(value, scope), span=node.span)
        if kind == "cancel":
            if fields["cancel"].content != "flow":
                self.values.refuse(Misplaced("cancel takes flow"), node)
            return CancelFlow(span=node.span)
        if kind == "end":
            return self._end(fields, node, scope)
        return self._emit(fields, node, scope, shapes)

    def _end(self, fields: dict[str, Node], node: Node, scope: Scope) -> EndFlow:
        word = fields["end"].content
        if word == "done" and "text" not in fields:
            return EndFlow("done", span=node.span)
        if word != "failed" or "text" not in fields:
            self.values.refuse(
                Misplaced('end is done, or failed with text, as in {end: failed, text: "no stock"}'), node
            )
        return EndFlow("failed", self.values.value(fields["text"], scope), span=node.span)

    def _emit(self, fields: dict[str, Node], node: Node, scope: Scope, shapes: dict[str, Shape]) -> Emit:
        if "type" not in fields:
            self.values.refuse(Misplaced("an act needs type (what is emitted), save, end or cancel"), node)
        type, args = self._body(fields, scope)
        alias = self.values.text(fields["as"], "as") if "as" in fields else None
        if alias is not None:
            outcomes = EVENTS if type in self.declared.rules.events else DONE
            shapes[alias] = self.declared.shape(type, outcomes, is_loose=True)
        return Emit(type, args, alias, span=node.span)

    def _body(self, fields: dict[str, Node], scope: Scope) -> tuple[str, tuple[tuple[str, Expr], ...]]:
        type_node, body_node = fields["type"], fields.get("body")
        type = self._name(type_node, "type")
        body = body_node.content if body_node is not None else {}
        if body is None:
            body = {}
        if not isinstance(body, dict):
            assert body_node is not None
            self.values.refuse(Misplaced("body is a mapping of fields to values"), body_node)
        args = self.compiler.acts.arguments(
            type, type_node.token, body.items(), lambda node: self.values.value(node, scope), scope
        )
        return type, args

    def start(self, node: Node) -> Start:
        """An item of `start`: its values are known at load."""
        fields = mapping(self.unit, node, ("type", "body"), "an item of start")
        if "type" not in fields:
            self.values.refuse(Misplaced("an item of start needs type"), node)
        type, args = self._body(fields, Scope("value", self.unit.constants))
        known = [(key, constant_of(value, f'the value of "{key}"', self.unit, node.token)) for key, value in args]
        return Start(type, tuple((key, value) for key, value in known if value is not None), span=node.span)
