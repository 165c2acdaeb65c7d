"""Breakpoints and logpoints: from tree to model, and from a text that was added by hand.

What they ask is checked like the clause of a rule, but for what may be missing:
where a condition cannot be said it does not stop, and is counted.

Who calls: `then.language.loader`, when all rules are known, and whoever adds
breakpoints to an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from then.core.edition import SCRIPT
from then.core.errors import RuleError, RulesRefused, UnknownName
from then.core.rules import (
    ANY,
    FINISHED,
    Breakpoint,
    Emit,
    Ended,
    EventDecl,
    Join,
    Rule,
    RuleSet,
    Single,
    Unmatched,
)
from then.core.tasks import check_name
from then.language.compile import Compiler
from then.language.findings import Findings, Misplaced
from then.language.parser import parse
from then.language.patterns import DONE, EVENTS, LOOSE
from then.language.policies import count_of, span_us
from then.language.scope import Declared, Scope, Shape
from then.language.tree import Token, Tree, span_of
from then.language.units import Unit
from then.language.walks import all_rules, patterns_of

_FILE: Final = "break"
"""What messages name for a text that was added by hand."""


class ShapeOf(Protocol):
    """Says what a record of a family has that ended so."""

    def __call__(self, family: str, outcomes: frozenset[str], callee: str | None = None) -> Shape: ...


def read_breakpoint(
    text: str, rules: RuleSet, *, is_strict: bool | None = None, seen_from: str | None = None
) -> Breakpoint:
    """The breakpoint of a text: `breakpoint NAME PLACE …`, or `logpoint NAME PLACE print "…"`.

    Args:
        rules: what it is set for; types and fields that it names are theirs.
        seen_from: the rule, or step, whose names its condition uses, in the place of those of its own place.
        is_strict: types must be declared; None: where all rules are of `.then`.

    Raises:
        RulesRefused: with all that is wrong in it.
    """
    findings = Findings()
    # Where nothing is declared (Python, YAML), any type may come.
    if is_strict is None:
        is_strict = bool(rules.sources) and not any(key.endswith((".py", ".yaml", ".yml")) for key in rules.sources)
    unit = Unit(_FILE, _FILE, text, findings, is_strict=is_strict)
    tree = parse(text, _FILE)
    items = [item for item in tree.children if isinstance(item, Tree)]
    if len(items) != 1 or items[0].data not in ("breakpoint", "logpoint"):
        raise RulesRefused(
            [Misplaced("here stands one breakpoint: a place, and what belongs to it", span_of(tree, _FILE))]
        )
    reader = _Reader(Compiler(unit, Declared(rules, rules.procedures)), (rules,))
    point = reader.point(items[0], text, seen_from)
    findings.check()
    assert point is not None
    return point


def rewritten(text: str, *, where: str | None = None, from_hit: int | None = None) -> str:
    """The text of a breakpoint, with another condition, or from another hit on.

    Args:
        where: an expression; empty: it has none any more.
    """
    item = parse(text, _FILE).children[0]
    assert isinstance(item, Tree)
    name, place, *rest = item.children
    assert isinstance(place, Tree)
    condition = place.find("where")
    said = text[place.start_pos : place.end_pos if condition is None else condition.start_pos].rstrip()
    if where is None and condition is not None:
        said += f" {text[condition.start_pos : condition.end_pos]}"
    elif where:
        said += f" where {where}"
    pieces = [f"from hit {from_hit}"] if from_hit is not None else []
    for node in rest:
        if isinstance(node, Tree) and not (node.data == "from_hit" and from_hit is not None):
            pieces.append(text[node.start_pos : node.end_pos])
    return " ".join([item.data, str(name), said, *pieces])


def breakpoint_of(tree: Tree, compiler: Compiler, rules: Sequence[RuleSet], text: str) -> Breakpoint | None:
    """A breakpoint or logpoint; None where it was refused.

    Args:
        rules: all that it may name, compiled.
        text: of the item.
    """
    return _Reader(compiler, rules).point(tree, text)


class _Reader:
    def __init__(self, compiler: Compiler, rules: Sequence[RuleSet]) -> None:
        self._compiler = compiler
        self._unit = compiler.unit
        self._rules = rules

    def point(self, tree: Tree, text: str, seen_from: str | None = None) -> Breakpoint | None:
        name_token, place = tree.children[0], tree.children[1]
        assert isinstance(name_token, Token)
        assert isinstance(place, Tree)
        try:
            name = check_name(str(name_token), "breakpoint")
        except RuleError as error:
            self._unit.refuse(error, name_token)
            return None
        point = Breakpoint(name, "before", text=text, span=self._unit.span(name_token))
        if place.data == "on_rule":
            point, scope = self._on_rule(point, place)
        elif place.data == "on_step":
            point, scope = self._on_step(point, place)
        else:
            point, scope = self._at(point, place)
        if seen_from is not None:
            scope = self._scope_on(seen_from)
        where = place.find("where")
        if where is not None:
            clause = self._compiler.resolver.clause(where.children[0], scope)
            self._compiler.typer.check_condition(clause, scope)
            point = attrs.evolve(point, where=clause)
        return self._with_options(point, tree, scope)

    # -- places ------------------------------------------------------------------------

    def _at(self, point: Breakpoint, place: Tree) -> tuple[Breakpoint, Scope]:
        is_before = place.data == "before"
        family_node = place.children[0]
        patterns = self._compiler.patterns
        family, words = patterns.named(place)
        declared = self._compiler.declared.type(family)
        if isinstance(declared, EventDecl):
            if is_before:
                message = f'"{family}" is an event, which nothing starts: write `after {family}`'
                self._unit.refuse(Misplaced(message), family_node)
            elif words:
                patterns.check_outcomes(family, words, family_node, place.find("outcomes"), is_unmatched=False)
            outcomes = EVENTS
        else:
            outcomes = words or (frozenset() if is_before else FINISHED)
            patterns.check_outcomes(family, words or FINISHED, family_node, place.find("outcomes"), is_unmatched=False)
        shape = patterns.shape(family, outcomes)
        if is_before:
            shape = attrs.evolve(shape, result=None)  # It has not run.
        named = frozenset() if outcomes == EVENTS or outcomes >= FINISHED else outcomes
        point = attrs.evolve(point, place="before" if is_before else "after", family=family, outcomes=named)
        return point, self._scope(shape, {})

    def _on_rule(self, point: Breakpoint, place: Tree) -> tuple[Breakpoint, Scope]:
        node = place.children[0]
        assert isinstance(node, Tree)
        name = rule_address(node)
        base, _, step = name.partition("/")
        rule = self._rule(base)
        if rule is None and not any(base in rules.continuations for rules in self._rules):
            self._unit.refuse(UnknownName("rule", base, self._names()), node)
        if rule is not None and step == "late":
            message = f"`{name}` fires when a window ends, on no record: hold what it emits, with `before`"
            self._unit.refuse(Misplaced(message), node)
        elif rule is not None and step.partition("/")[0].isdigit():
            check_step(rule, step.partition("/")[0], self._unit, node)
        return attrs.evolve(point, place="rule", family=ANY, rule=name), self._scope_on(name)

    def _rule(self, base: str) -> Rule | None:
        return next((found for rules in self._rules if (found := rules.rule(base)) is not None), None)

    def _scope_on(self, name: str) -> Scope:
        """What is bound when a rule, or a step of it, fires."""
        base, _, step = name.partition("/")
        rule = self._rule(base)
        shape, aliases = (LOOSE, {}) if rule is None else bound_by(rule, step, self._compiler.patterns.shape)
        scope = self._scope(shape, aliases, is_open=rule is None or rule.consequence is None)
        of = base.rpartition(".")[0]
        inputs = next((one.procedures[of].inputs for one in self._rules if of in one.procedures), None)
        return attrs.evolve(scope, names={field.name: field.type for field in inputs or ()})

    def _on_step(self, point: Breakpoint, place: Tree) -> tuple[Breakpoint, Scope]:
        patterns = self._compiler.patterns
        family, _ = patterns.named(place)
        declared = self._compiler.declared.type(family)
        if declared is None:
            patterns.check_outcomes(family, FINISHED, place.children[0], None, is_unmatched=False)
        elif getattr(getattr(declared, "run", None), "kind", "") != SCRIPT:
            message = f'"{family}" is no script, which alone takes steps: write `before {family}` or `after {family}`'
            self._unit.refuse(Misplaced(message), place.children[0])
        line = next((child for child in place.children if isinstance(child, Token) and child.type == "STRING"), None)
        text = str(line)[1:-1] if line is not None else ""
        if line is not None and not text.rpartition(":")[2].isdecimal():
            self._unit.refuse(Misplaced(f'{line} names no line of a script: write "fan.py:7"'), line)
        shape = attrs.evolve(patterns.shape(family, frozenset()), result=None)  # It has not ended.
        return attrs.evolve(point, place="step", family=family, line=text), self._scope(shape, {})

    def _names(self) -> list[str]:
        return [
            name for rules in self._rules for name in (*(rule.name for rule in all_rules(rules)), *rules.continuations)
        ]

    def _scope(self, shape: Shape, aliases: dict[str, Shape], *, is_open: bool = False) -> Scope:
        return Scope("clause", self._unit.constants, shape, None, aliases, is_open=is_open)

    # -- what follows the place ------------------------------------------------------------

    def _with_options(self, point: Breakpoint, tree: Tree, scope: Scope) -> Breakpoint:
        seen: set[str] = set()
        resolver, typer = self._compiler.resolver, self._compiler.typer
        for node in tree.children[2:]:
            if isinstance(node, Token):
                prints = resolver.text(node, scope)
                typer.type_of(prints, scope)
                point = attrs.evolve(point, prints=prints)
                continue
            if node.data in seen:
                self._unit.refuse(Misplaced(f"`{_WORDS[node.data]}` is there twice"), node)
            seen.add(node.data)
            match node.data:
                case "from_hit":
                    point = attrs.evolve(point, from_hit=count_of(node.children[0], "the hit", self._unit) or 1)
                case "expires":
                    point = attrs.evolve(point, expires_us=span_us(node, "expires", self._unit))
                case "stop_once":
                    point = attrs.evolve(point, once=True)
                case _:
                    shown = []
                    for path in node.children:
                        expr = resolver.expr(path, scope)
                        typer.type_of(expr, scope)
                        shown.append((self._written(path), expr))
                    point = attrs.evolve(point, show=tuple(shown))
        typer.forget()
        return point

    def _written(self, node: Tree | Token) -> str:
        assert isinstance(node, Tree)
        return node.lines.text[node.start_pos : node.end_pos]


_WORDS: Final = {"from_hit": "from hit", "expires": "expires", "show": "show", "stop_once": "once"}


def bound_by(rule: Rule, step: str, shape: ShapeOf) -> tuple[Shape, dict[str, Shape]]:
    """The record that a rule, or a step of it, fires on, and what it has bound by then."""
    aliases: dict[str, Shape] = {}
    fitting = patterns_of(rule.trigger) if isinstance(rule.trigger, Single | Unmatched | Join) else ()
    for pattern in fitting:
        if pattern.alias is not None:
            aliases[pattern.alias] = shape(pattern.family, pattern.outcomes, pattern.callee)
    seen = LOOSE
    if len(fitting) == 1 and not step:
        seen = shape(fitting[0].family, fitting[0].outcomes, fitting[0].callee)
    elif isinstance(rule.trigger, Ended):
        seen = shape(rule.trigger.type, FINISHED)
    head = step.partition("/")[0]
    number = int(head) if head.isdigit() else 0
    for acts in rule.consequence.steps[:number] if rule.consequence is not None else ():
        for act in acts:
            if isinstance(act, Emit) and act.alias is not None:
                aliases[act.alias] = shape(act.type, DONE)
    return seen, aliases


def seen_at(point: Breakpoint, rules: RuleSet) -> Scope:
    """What the clause of a breakpoint can name, to write it as text."""
    declared = Declared(rules, rules.procedures)

    def shape(family: str, outcomes: frozenset[str], callee: str | None = None) -> Shape:
        return LOOSE if callee is not None else declared.shape(family, outcomes, is_loose=True)

    if point.place == "rule":
        base, _, step = point.rule.partition("/")
        rule = rules.rule(base)
        found, aliases = bound_by(rule, step, shape) if rule is not None else (LOOSE, {})
        return Scope("clause", {}, found, None, aliases)
    is_event = isinstance(declared.type(point.family), EventDecl)
    outcomes = EVENTS if is_event else frozenset() if point.place in ("before", "step") else point.outcomes or FINISHED
    return Scope("clause", {}, shape(point.family, outcomes), None, {})


def rule_address(tree: Tree) -> str:
    """`pack`, `approve.yes`, `pack/2`, `pack/2/else`, as it stands in a text."""
    text = ""
    for child in tree.children:
        assert isinstance(child, Token)
        is_joined = not text or text.endswith("/") or child.type == "SLASH"
        text += str(child) if is_joined else f".{child}"
    return text


def check_step(rule: Rule, step: str, unit: Unit, at: Tree) -> None:
    """Refuses a step that a rule does not have."""
    count = len(rule.consequence.steps) if rule.consequence is not None else 1
    if not 1 <= int(step[:6]) < count:
        steps = ", ".join(f"{rule.name}/{k}" for k in range(1, count))
        what = f"its steps are {steps}" if steps else "it has one step only, which goes by its own name"
        unit.refuse(Misplaced(f'the rule "{rule.name}" has no step {step}: {what}'), at)
