"""Rules in YAML: the same model, the forms of docs/yaml.md.

A file has the key `rules`, and perhaps others (`TOP_KEYS`). Texts in bodies are
templates; `{expr: "…"}` is an expression, `{type: load, name: [x]}` a flow
variable. `when` and `then` may be one text each in the language. Types need
not be declared; what is declared, here, by `use` or in the files beside, is
checked like everywhere.

What is written becomes trees of the language (`then.language.yaml_trees`),
which the language's own compiler takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from then.core.errors import RuleError
from then.core.rules import Rule, RuleSet, Start
from then.core.tasks import check_name
from then.language.compile import Compiler
from then.language.findings import Misplaced
from then.language.scope import Declared, Scope
from then.language.tree import Token, Tree
from then.language.triggers import Awaited
from then.language.units import Unit
from then.language.yaml_declarations import DeclarationTrees
from then.language.yaml_text import Node, read_yaml
from then.language.yaml_trees import yaml_compiler
from then.language.yaml_values import Refused, items_of, mapping

DECLARATION_KEYS: Final = ("records", "events", "secrets", "tasks", "procedures")
POINT_KEYS: Final = ("breakpoints", "logpoints")
TOP_KEYS: Final = ("rules", "use", "start", *DECLARATION_KEYS, "timers", *POINT_KEYS)
RULE_KEYS: Final = ("name", "when", "then", "else", "on_timeout", "final")


class Plan(Protocol):
    """What a load takes from a file: files that it uses, what it declares, and its rules at their place."""

    rules: RuleSet

    def plan(self, part: Callable[[Declared], list[Rule]]) -> None: ...

    def take_tree(self, unit: Unit, tree: Tree) -> None: ...

    def take_point(self, unit: Unit, tree: Tree) -> None: ...

    def use(
        self, path: str, names: list[tuple[str, Tree | Token]], unit: Unit, chain: tuple[str, ...], at: Token
    ) -> None: ...


T = TypeVar("T")


def take_yaml(unit: Unit, plan: Plan, chain: tuple[str, ...]) -> None:
    """Reads a file of rules: what it uses and declares at once, its rules when all is declared.

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
    trees = DeclarationTrees(unit)
    rules = top.get("rules")
    if rules is not None and not isinstance(rules.content, list | None):
        unit.refuse(Misplaced("rules takes a list"), rules.token)
    for item in items_of(rules) if rules is not None and isinstance(rules.content, list) else ():
        plan.plan(lambda declared, item=item: _RuleReader(trees, declared).rules(item))  # type: ignore[misc]
    for key in DECLARATION_KEYS:
        for tree in trees.declared(key, top[key]) if key in top else ():
            plan.take_tree(unit, tree)
    for tree in trees.timers(top["timers"]) if "timers" in top else ():
        plan.take_tree(unit, tree)
    for key in POINT_KEYS:
        for tree in trees.points(key.removesuffix("s"), top[key]) if key in top else ():
            plan.take_point(unit, tree)
    starts = top.get("start")
    if starts is not None:
        plan.plan(lambda declared: _take_starts(trees, declared, starts, plan.rules))


def _take_starts(trees: DeclarationTrees, declared: Declared, starts: Node, rules: RuleSet) -> list[Rule]:
    compiler = _RuleReader(trees, declared)
    for item in items_of(starts):
        try:
            rules.starts.append(compiler.start(item))
        except Refused:
            continue
    return []


class _RuleReader:
    """Compiles the rules of one file."""

    def __init__(self, trees: DeclarationTrees, declared: Declared) -> None:
        self.unit = trees.unit
        self.trees = trees
        self.compiler: Compiler = yaml_compiler(trees.unit, declared)

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
                self.trees.values.refuse(Misplaced(f"a rule needs {key}"), node)
        final = self._kept(lambda: self.trees.flag(fields, "final"))
        scope = Scope("act", self.unit.constants)
        # Each part is looked at, whatever the others are, so that one run tells of all mistakes.
        name = self._kept(lambda: self._name(fields["name"]))
        awaited = self._kept(lambda: self._awaited(fields["when"], scope)) or Awaited(None)
        scope.is_open = awaited.trigger is None
        written = self._kept(lambda: self.trees.consequence(fields, node))
        if written is None:
            raise Refused
        trigger, consequence = self.compiler.consequence(awaited, *written, scope)
        if name is None or trigger is None:
            raise Refused
        source = self.unit.text[node.begin : node.end]
        return Rule(name, trigger, consequence, final=final is True, source=source, span=fields["name"].span)

    def _kept(self, part: Callable[[], T]) -> T | None:
        try:
            return part()
        except Refused:
            return None

    def _name(self, node: Node) -> str:
        try:
            return check_name(self.trees.values.text(node, "rule"), "rule")
        except RuleError as error:
            self.trees.values.refuse(error, node)

    def _awaited(self, node: Node, scope: Scope) -> Awaited:
        trigger, within = self.trees.when(node)
        return self.compiler.triggers.trigger(trigger, within, scope)

    def start(self, node: Node) -> Start:
        """An item of `start`: its values are known at load."""
        fields = mapping(self.unit, node, ("type", "body"), "an item of start")
        if "type" not in fields:
            self.trees.values.refuse(Misplaced("an item of start needs type"), node)
        name = self.trees.name(fields["type"], "type")
        args = self.trees.arguments(fields.get("body"), "body")
        tree = self.trees.tree("post", [name, args], node)
        return self.compiler.start(tree)
