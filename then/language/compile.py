"""Rules: from tree to model, names and types checked.

Who calls: `then.language.loader`, for files, and `then.language.yaml_rules`,
for the parts of YAML that are written in this language. Declarations come
first (`then.language.declare`). What a rule waits for is
`then.language.triggers`, what follows `then.language.acts`, procedures are
`then.language.procedures`; expressions are `then.language.resolve` and
`then.language.types`.
"""

from __future__ import annotations

import attrs

from then.core.errors import RuleError
from then.core.rules import Consequence, Join, Rule, Start, Trigger
from then.core.tasks import check_name
from then.language.acts import Acts
from then.language.declare import constant_of, dotted
from then.language.findings import Misplaced
from then.language.patterns import Patterns
from then.language.resolve import Resolver
from then.language.scope import Declared, Scope
from then.language.tree import Token, Tree
from then.language.triggers import Awaited, Triggers, late_scope
from then.language.types import Typer
from then.language.units import Unit

_FILLED_OR_NOT = frozenset(("all", "every"))
"""Joins that may come to a point where they can no longer be filled."""


class Compiler:
    """Compiles the rules of one unit.

    Args:
        resolver: of a unit whose trees hold more than the language has: YAML.
    """

    def __init__(self, unit: Unit, declared: Declared, resolver: Resolver | None = None) -> None:
        self.unit = unit
        self.declared = declared
        self.resolver = Resolver(unit) if resolver is None else resolver
        self.typer = Typer(unit, declared)
        self.patterns = Patterns(unit, declared, self.resolver, self.typer)
        self.triggers = Triggers(self.patterns)
        self.acts = Acts(self.patterns)

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
        trigger, consequence = self.when(when, Scope("act", self.unit.constants))
        if trigger is None:
            return None
        source = self.unit.text[tree.start_pos : tree.end_pos]
        return Rule(name, trigger, consequence, final=len(tokens) > 1, source=source, span=self.unit.span(name_token))

    def when(self, tree: Tree, scope: Scope) -> tuple[Trigger | None, Consequence]:
        """What stands from `when` on; the trigger is None where it was refused.

        Args:
            scope: what the rule can name from the start.
        """
        trigger_node = tree.children[0]
        steps, late = tree.find("steps"), tree.find("late")
        assert isinstance(trigger_node, Tree)
        assert steps is not None
        awaited = self.triggers.trigger(trigger_node, tree.find("within"), scope)
        return self.consequence(awaited, steps, late, scope)

    def consequence(
        self, awaited: Awaited, steps: Tree, late: Tree | None, scope: Scope
    ) -> tuple[Trigger | None, Consequence]:
        """What follows, also when the window of a join ends unfilled, which becomes a part of the trigger."""
        trigger = awaited.trigger
        scope.is_open = trigger is None
        join = trigger if isinstance(trigger, Join) else None
        unfilled = awaited.unfilled if join is not None and join.kind in _FILLED_OR_NOT else None
        consequence = self.acts.consequence(steps, scope, unfilled)
        if late is None:
            return trigger, consequence
        late_steps = late.children[0]
        assert isinstance(late_steps, Tree)
        if trigger is not None and (join is None or join.kind == "quiet" or join.within_us is None):
            self.unit.refuse(Misplaced("`on timeout` answers the end of a window: a join with `within`"), late)
            trigger = join = None
        inner = late_scope(awaited.unfilled) if awaited.unfilled is not None else Scope("act", {}, is_open=True)
        follows = self.acts.consequence(late_steps, inner)
        return (attrs.evolve(join, late=follows) if join is not None else trigger), consequence

    # -- what is posted ------------------------------------------------------------------

    def start(self, tree: Tree) -> Start:
        """A `start` item: its values are known at load."""
        name_node, args_node = tree.children
        assert isinstance(args_node, Tree)
        name = dotted(name_node)
        scope = Scope("value", self.unit.constants)
        args = self.acts.posted(name, name_node, args_node, scope)
        known = [(key, constant_of(value, f'the value of "{key}"', self.unit, name_node)) for key, value in args]
        self.typer.end_clause(Scope("value", {}))
        return Start(
            name, tuple((key, value) for key, value in known if value is not None), span=self.unit.span(name_node)
        )
