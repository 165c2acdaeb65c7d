"""Functions as consequences: which of its parameters get what, settled once, when the function is given.

A parameter is named like what a rule binds: an alias, a component of the key, a
group of a regex, an argument of the call, `missing` after a window, `parts` for
all records that it fired on. Where a rule fires on one record, a first
parameter of another name gets that record.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import attrs

from then.core.errors import RuleError, nearest
from then.core.filters import Matches, walk
from then.core.rules import Emission, Join, Match, Pattern, Single, Trigger, Unmatched
from then.core.source import Span

Consequence: TypeAlias = Callable[..., Iterable[Emission] | Emission | None]
Run: TypeAlias = Callable[[Match], Iterable[Emission] | Emission | None]

PARTS: Final = "parts"
MISSING: Final = "missing"


@attrs.frozen
class Offer:
    """What a function may ask for by the names of its parameters."""

    names: frozenset[str] = frozenset()
    is_lone: bool = True
    """It fires on one record: a first parameter of any name gets that."""
    is_open: bool = False
    """Arguments that nothing declares come too: any name may be bound."""


def offer_of(trigger: Trigger, arguments: Iterable[str] = (), *, is_open: bool = False) -> Offer:
    """What a trigger binds.

    Args:
        arguments: of the call, in a procedure.
    """
    names = {PARTS, *arguments}
    if isinstance(trigger, Single | Unmatched):
        return Offer(frozenset(names | _bound(trigger.pattern)), is_open=is_open)
    if not isinstance(trigger, Join):
        return Offer(frozenset(names), is_open=is_open)
    present = [part for part in trigger.parts if not part.is_absent]
    for part in present:
        names |= _bound(part.pattern)
    names.update(name for name in trigger.names if name)
    is_lone = trigger.kind != "all" and (trigger.kind != "times" or len(present) == 1)
    return Offer(frozenset(names), is_lone, is_open)


def _bound(pattern: Pattern) -> set[str]:
    groups = {
        group
        for node in (walk(pattern.where) if pattern.where is not None else ())
        if isinstance(node, Matches)
        for group in node.groups
    }
    return groups if pattern.alias is None else {pattern.alias, *groups}


def generator_of(function: Consequence, what: str, offer: Offer, span: Span | None) -> Run:
    """The function as the engine calls it.

    Args:
        what: how messages name it, such as `rule "pack"`.

    Raises:
        RuleError: it is `async`, or has a parameter that nothing is bound to.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RuleError(f"{what} is `async def`; a rule yields at once, tasks may wait", span)
    parameters = list(inspect.signature(function).parameters.values())
    takes_record = bool(parameters) and offer.is_lone and _is_for_record(parameters[0], offer)
    named = [one for one in parameters[takes_record:] if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if not offer.is_open:
        for one in named:
            if one.name not in offer.names and one.default is one.empty:
                known = ", ".join(sorted(offer.names))
                raise RuleError(
                    f'{what}: nothing is bound to "{one.name}"{nearest(one.name, offer.names)}; there are {known}', span
                )
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    if not named and not takes_all:
        return (lambda match: function(match.record)) if takes_record else (lambda match: function())
    wanted = [(one.name, one.default is not one.empty) for one in named]

    def run(match: Match) -> Iterable[Emission] | Emission | None:
        bound: dict[str, Any] = {PARTS: match.parts, **match.bindings}
        given = bound if takes_all else {}
        for name, has_default in wanted:
            if name in bound or not (has_default or name not in offer.names):
                given[name] = bound.get(name)
        return function(match.record, **given) if takes_record else function(**given)

    return run


def _is_for_record(parameter: inspect.Parameter, offer: Offer) -> bool:
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        return True
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name not in offer.names


def source_hash(function: Callable[..., Any]) -> str:
    """Name and source hash: what the version knows of a function."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    return f"{function.__name__} {hashlib.sha256(source.encode()).hexdigest()[:16]}"
