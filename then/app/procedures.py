"""Procedures in Python: rules of their own, called with a return address."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from then.app.generators import Consequence, Offer, generator_of, offer_of, source_hash
from then.app.listeners import F, Listener
from then.app.parts import with_callees
from then.app.places import caller
from then.core.rules import Called, Ended, ProcedureDecl, Rule, RuleSet, Trigger
from then.core.source import Span
from then.core.tasks import check_name


class Procedure(Listener):
    """What `@rules.procedure` gives: it takes the rules that see the records of its calls, and none others.

    Their functions may name the arguments of the call as parameters. It is called by `then.call(approve, …)`.
    """

    _is_procedure = True

    def __init__(self, rules: RuleSet, declared: ProcedureDecl, arguments: frozenset[str]) -> None:
        self.name = declared.name
        self._rules = rules
        self._prefix = f"{declared.name}."
        self._arguments = arguments

    @property
    def declared(self) -> ProcedureDecl:
        """The procedure as data, with the rules that it has by now."""
        return self._rules.procedures[self.name]

    def every(
        self,
        family: str,
        /,
        *parts: object,
        name: str | None = None,
        final: bool = False,
        otherwise: Consequence | None = None,
    ) -> Callable[[F], F]:
        """A rule that fires when all records of a pattern that the call emitted have ended so, at once where `then.each` had none.

        Args:
            family: a type.
            parts: outcome words, then clauses: those that they leave out do not count.
            otherwise: a generator function for the first that ends otherwise; the rule does not fire then.
        """
        return self._every(family, parts, name, final, otherwise)

    def finally_(self, function: F) -> F:
        """What follows the end of each call, however it ended; once. Its parameters are arguments and what was returned."""
        finish(self._rules, self.name, function, caller())
        return function

    def _take(self, rule: Rule) -> None:
        tasks = {field.name for field in self.declared.inputs or () if field.type.name == "task"}
        self._rules.add_within(self.name, attrs.evolve(rule, trigger=with_callees(rule.trigger, tasks)))

    def _offer(self, trigger: Trigger) -> Offer:
        return offer_of(trigger, self._arguments, is_open=self.declared.inputs is None)

    def __repr__(self) -> str:
        return f"<Procedure {self.name}>"


def declare_procedure(rules: RuleSet, declared: ProcedureDecl, function: Consequence, span: Span | None) -> Procedure:
    """Declares a procedure whose first step a function is.

    Args:
        declared: with any `first`; the function takes its place.

    Raises:
        RuleError: it has a parameter that is no argument.
    """
    name = check_name(declared.name, "procedure")
    arguments = frozenset(field.name for field in declared.inputs or ())
    trigger = Called(name)
    offer = attrs.evolve(offer_of(trigger, arguments, is_open=declared.inputs is None), is_lone=False)
    run = generator_of(function, f'procedure "{name}"', offer, span)
    first = Rule(name, trigger, generator=run, source=f"{trigger!r} {source_hash(function)}", span=span)
    rules.declare(attrs.evolve(declared, first=first))
    return Procedure(rules, declared, arguments)


def finish(rules: RuleSet, type: str, function: Consequence, span: Span | None) -> None:
    """Adds what follows the end of a task or call, however it ended.

    Raises:
        DuplicateRule: the type has one.
    """
    trigger = Ended(type)
    offer = offer_of(trigger, is_open=True)
    run = generator_of(function, f'finally of "{type}"', offer, span)
    rules.finish(Rule(f"{type}.finally", trigger, generator=run, source=source_hash(function), span=span))
