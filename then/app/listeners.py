"""The triggers of rules in Python: what both `Rules` and a procedure are asked to wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from then.app.generators import MISSING, Consequence, Offer, generator_of, offer_of, source_hash
from then.app.parts import Key, Terms, join_of, pattern_of
from then.app.places import caller
from then.core.errors import RuleError
from then.core.rules import Join, Part, Rule, Single, Trigger
from then.core.source import Span
from then.core.spans import TimeSpan
from then.language.findings import JoinRefused

F = TypeVar("F", bound=Callable[..., Any])


class Listener:
    """Takes rules in, one a trigger; where they go, and what they see besides, is of who inherits it."""

    _prefix = ""
    """Stands before the names of its rules."""
    _is_procedure = False

    def _take(self, rule: Rule) -> None:
        raise NotImplementedError

    def _offer(self, trigger: Trigger) -> Offer:
        return offer_of(trigger)

    def when(
        self,
        first: str | Part,
        /,
        *more: object,
        name: str | None = None,
        final: bool = False,
        by: Key | None = None,
        within: TimeSpan | None = None,
        quiet_for: TimeSpan | None = None,
        on_timeout: Consequence | None = None,
        otherwise: Consequence | None = None,
    ) -> Callable[[F], F]:
        """A rule; the decorated generator function yields what follows.

        Args:
            first: a type, `deploy.*`, or `*` for any; or the first of several parts, `then.part(…)`.
            more: after a type, outcome words (`"done"`, `"failed"`, …; none for an event), then clauses over the record
                (`it.ref == "main"`), and last perhaps a predicate `Task -> bool`. After a part, the other parts:
                the rule fires when a record of each has come.
            name: the rule's; else the function's.
            final: ends the search when it fires.
            by: of several parts, what they have in common: `it.order`, a list of fields, `"flow"`, or, where the
                names differ, the field of each by its alias: `{"p": it.order, "o": it.id}`.
            within: of several parts, their window, from the completion of the first: `"2h"`, seconds, a timedelta.
                Needed, unless they are `by="flow"` or the rule is a procedure's.
            quiet_for: fires for the last record of its key, when none has come for so long.
            on_timeout: a generator function for a window that ended unfilled; `missing` is the types that did not come.
            otherwise: a generator function for parts that can no longer come, since one ended otherwise.

        The function's parameters are named like the parts (`as_`), the fields of the key and the groups of regexes.
        Of a lone part, a first parameter of another name gets the record.

        Raises:
            RuleError: the pattern is none; a parameter to which nothing is bound.
            JoinRefused: several parts without key or window.
        """
        span = caller()
        if isinstance(first, str):
            pattern = pattern_of(first, more, span)
            lone: Part | None = Part(pattern)
        else:
            lone = first if not more else None
        terms = Terms(by, quiet_for if quiet_for is not None else within, in_procedure=self._is_procedure)
        if quiet_for is not None:
            if lone is None or within is not None:
                raise JoinRefused("quiet_for is the window of one pattern: leave `within` and other parts out", span)
            return self._joined(join_of("quiet", [lone], terms, span), name, final, on_timeout, otherwise)
        if lone is not None and not lone.is_absent:
            if by is not None or within is not None or on_timeout is not None or otherwise is not None:
                raise JoinRefused("one record needs neither key nor window: they belong to several parts", span)
            return self._decorator(Single(attrs.evolve(lone.pattern, span=span)), name, final, span)
        return self._joined(join_of("all", [first, *more], terms, span), name, final, on_timeout, otherwise)

    def any_of(
        self,
        *parts: Part,
        name: str | None = None,
        final: bool = False,
        by: Key | None = None,
        within: TimeSpan | None = None,
    ) -> Callable[[F], F]:
        """A rule that fires at the first record of any part, and takes later ones of the same key without firing.

        Arguments as of `when`; without a window, for the rest of the flow. A parameter named like a part that did not
        come is None; a first parameter of another name gets the record that came.
        """
        terms = Terms(by, within, in_procedure=self._is_procedure)
        return self._joined(join_of("any", parts, terms, caller()), name, final, None, None)

    def times(
        self,
        count: int,
        first: str | Part,
        /,
        *more: object,
        followed_by: Part | None = None,
        name: str | None = None,
        final: bool = False,
        by: Key | None = None,
        within: TimeSpan | None = None,
        on_timeout: Consequence | None = None,
    ) -> Callable[[F], F]:
        """A rule that fires when so many records of a pattern have come; it uses them up.

        Args:
            count: from 1 to 1,000,000.
            first: a type, with outcome words and clauses after it; or a part.
            followed_by: a part that has to come after them.

        Other arguments as of `when`. A parameter `parts` gets all the records, oldest first.
        """
        span = caller()
        if isinstance(count, bool) or not 1 <= count <= 1_000_000:
            raise RuleError(f"times: how many records it takes is from 1 to 1,000,000; here is {count!r}", span)
        given = Part(pattern_of(first, more, span)) if isinstance(first, str) else first
        if more and not isinstance(first, str):
            raise JoinRefused("times takes one part; what has to come after them is followed_by=…", span)
        parts = [given] if followed_by is None else [given, followed_by]
        terms = Terms(by, within, count, self._is_procedure)
        return self._joined(join_of("times", parts, terms, span), name, final, on_timeout, None)

    def _every(
        self, family: str, parts: tuple[object, ...], name: str | None, final: bool, otherwise: Consequence | None
    ) -> Callable[[F], F]:
        """A rule for the whole of a set."""
        span = caller()
        pattern = pattern_of(family, parts, span)
        join = join_of("every", [Part(pattern)], Terms("flow"), span)
        return self._joined(join, name, final, None, otherwise)

    # -- rules --------------------------------------------------------------------

    def _joined(
        self, join: Join, name: str | None, final: bool, on_timeout: Consequence | None, otherwise: Consequence | None
    ) -> Callable[[F], F]:
        span = join.parts[0].pattern.span
        offer = self._offer(join)
        source = ""
        if on_timeout is not None:
            if join.within_us is None or join.kind not in ("all", "times"):
                raise JoinRefused("on_timeout answers the end of a window: give within=… too", span)
            late = attrs.evolve(offer, names=offer.names | {MISSING})
            join = attrs.evolve(join, late_generator=generator_of(on_timeout, "on_timeout", late, span))
            source += f" late {source_hash(on_timeout)}"
        if otherwise is not None:
            beyond = attrs.evolve(offer, is_lone=True)
            join = attrs.evolve(join, otherwise_generator=generator_of(otherwise, "otherwise", beyond, span))
            source += f" else {source_hash(otherwise)}"
        return self._decorator(join, name, final, span, source)

    def _decorator(
        self, trigger: Trigger, name: str | None, final: bool, span: Span | None, source: str = ""
    ) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            rule_name = f"{self._prefix}{name or function.__name__}"
            run = generator_of(function, f'rule "{rule_name}"', self._offer(trigger), span)
            text = f"{trigger!r} {source_hash(function)}{source}"
            self._take(Rule(rule_name, trigger, generator=run, final=final, source=text, span=span))
            return function

        return decorate
