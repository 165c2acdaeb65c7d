"""What a rule in Python waits for: patterns, the parts of joins, their key and their window, as data."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from then.core.errors import RuleError, nearest
from then.core.filters import And, Expr, Field, FlowVariable, Name, conjuncts, walk
from then.core.it import Expression, expression_of, where_of
from then.core.rules import EVENT, FINISHED, RETRIED, Join, JoinKind, Part, Pattern, Single, Trigger
from then.core.source import Span
from then.core.spans import TimeSpan, span_us
from then.core.tasks import OUTCOMES, Task, check_name
from then.language.findings import JoinRefused

WORDS: Final[dict[str, frozenset[str]]] = {
    **{word: frozenset((word,)) for word in OUTCOMES},
    "finished": FINISHED,
    RETRIED: frozenset((RETRIED,)),
    EVENT: frozenset((EVENT,)),
}
"""Outcome words, and what they stand for."""
STRAYS: Final = frozenset((EVENT, "failed", "timed_out", "cancelled"))
"""What `unmatched` sees where it says no word."""

Component: TypeAlias = str | Expression
"""A field of a key: its name (`"order"`, `"order.id"`), or `it.order`; `"flow"` is the flow of the records."""
Key: TypeAlias = Component | Mapping[str, Component] | Sequence[Component | Mapping[str, Component]]
"""One component or several; a mapping gives, by alias, the field of each part."""


def is_outcome(words: Sequence[object]) -> bool:
    """Whether all of these are outcome words."""
    return bool(words) and all(isinstance(word, str) and word.replace(" ", "_") in WORDS for word in words)


def part(
    family: str, /, *words: str | Expression | Callable[[Task], bool], as_: str | None = None, absent: bool = False
) -> Part:
    """One of the records that a rule waits for.

    Args:
        family: a type, `deploy.*`, or `*` for any.
        words: outcome words (none for an event), then clauses over the record, which may name the parts to its
            left: `it.amount >= then.of("p").amount`.
        as_: its name: a parameter of the rule's function.
        absent: none such may have come, within the window before the other parts are complete.

    Raises:
        RuleError: a word is no outcome, a clause none, or the name no name of a parameter.
    """
    return Part(pattern_of(family, words, None, as_=as_), is_absent=absent)


def absent(family: str, /, *words: str | Expression | Callable[[Task], bool], as_: str | None = None) -> Part:
    """`part(…, absent=True)`: a record that must not have come."""
    return part(family, *words, as_=as_, absent=True)


def pattern_of(
    family: str,
    parts: Sequence[object],
    span: Span | None,
    default: frozenset[str] = WORDS[EVENT],
    *,
    as_: str | None = None,
) -> Pattern:
    """Outcome words first, then clauses."""
    if family != "*":
        check_name(family.removesuffix(".*"), "type")
    outcomes: set[str] = set()
    clauses: list[Any] = []
    for one in parts:
        if isinstance(one, str):
            word = one.replace(" ", "_")
            if word not in WORDS:
                raise RuleError(f'"{one}" is no outcome{nearest(word, WORDS)}; one of {", ".join(WORDS)}', span)
            outcomes |= WORDS[word]
        else:
            clauses.append(one)
    if as_ is not None and (not as_.isidentifier() or keyword.iskeyword(as_)):
        raise RuleError(f'as_="{as_}" is no name that a parameter may have', span)
    return Pattern(family, frozenset(outcomes) or default, where_of(clauses), as_, span=span)


# -- joins ---------------------------------------------------------------------------


@attrs.frozen
class Terms:
    """What is said of a join beside its parts."""

    by: Key | None = None
    within: TimeSpan | None = None
    count: int = 1
    in_procedure: bool = False
    """It sees the records of its own call, which is key enough."""


def join_of(kind: JoinKind, given: Sequence[object], terms: Terms, span: Span | None) -> Join:
    """A join, its key and its window checked.

    Raises:
        JoinRefused: without key or window where it needs one, or with parts that nothing could fill.
    """
    parts = tuple(_placed(one, span) for one in given)
    if not parts:
        raise JoinRefused('a join has parts: then.part("pay", "done", as_="p")', span)
    if kind == "any" and any(one.is_absent for one in parts):
        raise JoinRefused("any_of fires at the first record; an absent part stands in rules.when(…)", span)
    if all(one.is_absent for one in parts):
        raise JoinRefused("a join needs a part that comes: here all are absent", span)
    if any(RETRIED in one.pattern.outcomes for one in parts):
        raise JoinRefused(
            "an attempt that is tried again is no part of a join: it waits for the last one; leave retried out", span
        )
    _check_aliases(kind, parts, span)
    names, keys, is_by_flow = _keys(terms.by, parts, span)
    within_us = None if terms.within is None else span_us(terms.within, "quiet_for" if kind == "quiet" else "within")
    if not terms.in_procedure:
        _check_scope(kind, terms, is_by_flow, span)
    left: set[str] = set()
    done: list[Part] = []
    for one, own_keys in zip(parts, keys, strict=True):
        own, joined = _split(one.pattern.where, left)
        pattern = attrs.evolve(one.pattern, where=own)
        done.append(Part(pattern, own_keys, joined, one.is_absent))
        if pattern.alias is not None and not one.is_absent and kind != "any":
            left.add(pattern.alias)
    aliases = {one.pattern.alias for one in parts}
    shown = tuple("" if name in aliases else name for name in names)
    return Join(kind, tuple(done), shown, is_by_flow, within_us, terms.count)


def with_callees(trigger: Trigger, tasks: Collection[str]) -> Trigger:
    """The trigger of a rule in a procedure: a type that is the name of a parameter is the task that was handed over.

    Args:
        tasks: the parameters that tasks are handed over by.
    """
    if isinstance(trigger, Single):
        return Single(_with_callee(trigger.pattern, tasks))
    if isinstance(trigger, Join):
        parts = [attrs.evolve(one, pattern=_with_callee(one.pattern, tasks)) for one in trigger.parts]
        return attrs.evolve(trigger, parts=tuple(parts))
    return trigger


def _with_callee(pattern: Pattern, tasks: Collection[str]) -> Pattern:
    return attrs.evolve(pattern, callee=pattern.family) if pattern.family in tasks else pattern


def _placed(given: object, span: Span | None) -> Part:
    if not isinstance(given, Part):
        raise JoinRefused(f'{given!r} is no part of a join; write then.part("pay", "done", as_="p")', span)
    return attrs.evolve(given, pattern=attrs.evolve(given.pattern, span=span))


def _check_aliases(kind: JoinKind, parts: Iterable[Part], span: Span | None) -> None:
    seen: set[str] = set()
    for one in parts:
        alias = one.pattern.alias
        if alias is None:
            continue
        if alias in seen and kind != "any":
            raise JoinRefused(f'"{alias}" names another part already', span)
        seen.add(alias)


def _check_scope(kind: JoinKind, terms: Terms, is_by_flow: bool, span: Span | None) -> None:
    if terms.by is None:
        raise JoinRefused(
            'this wait needs a key: by=it.FIELD for records that share it, or by="flow" for those of one flow', span
        )
    if not is_by_flow and kind != "quiet" and terms.within is None:
        raise JoinRefused(
            'a join over all flows needs a window: within="2h" beside its key; or by="flow", for one flow', span
        )


def _keys(by: Key | None, parts: Sequence[Part], span: Span | None) -> tuple[list[str], list[tuple[Expr, ...]], bool]:
    """Names of the components, the components over each part, and whether the flow is one."""
    components = [] if by is None else [by] if isinstance(by, str | Expression | Mapping) else list(by)
    if by is not None and not components:
        raise JoinRefused('by=[] is no key: give it.FIELD, or "flow"', span)
    names: list[str] = []
    keys: list[list[Expr]] = [[] for _ in parts]
    is_by_flow = False
    for component in components:
        if not isinstance(component, Mapping):
            found = _field(component, span)
            if found is None:
                is_by_flow = True
                continue
            fields = [found] * len(parts)
            names.append(str(found.path[0]) if len(found.path) == 1 else "")
        else:
            fields = _by_alias(component, parts, span)
            names.append("")
        for key, field in zip(keys, fields, strict=True):
            key.append(field)
    return names, [tuple(key) for key in keys], is_by_flow


def _by_alias(component: Mapping[str, Component], parts: Sequence[Part], span: Span | None) -> list[Field]:
    aliases = [one.pattern.alias for one in parts]
    fields = []
    for alias, one in zip(aliases, parts, strict=True):
        if alias is None or alias not in component:
            shown = alias or one.pattern.family
            raise JoinRefused(f'the key leaves "{shown}" out: name its field too, by the part\'s as_', span)
        field = _field(component[alias], span)
        if field is None:
            raise JoinRefused('"flow" is the same for all parts: by=["flow", {…}]', span)
        fields.append(field)
    odd = next((alias for alias in component if alias not in aliases), None)
    if odd is not None:
        known = [alias for alias in aliases if alias is not None]
        raise JoinRefused(f'by: no part is called "{odd}"{nearest(odd, known)}', span)
    return fields


def _field(component: Component, span: Span | None) -> Field | None:
    """The field of a component; None for the flow."""
    if isinstance(component, str):
        return None if component == "flow" else Field(tuple(component.split(".")))
    found = expression_of(component)
    if isinstance(found, FlowVariable) or not isinstance(found, Field) or found.record is not None:
        raise JoinRefused("a key is a field of each part, such as it.order", span)
    return found


def _split(where: Expr | None, left: set[str]) -> tuple[Expr | None, Expr | None]:
    """A part's clause: what looks at its own record alone, and what looks at the parts to its left."""
    own: list[Expr] = []
    joined: list[Expr] = []
    for clause in conjuncts(where) if where is not None else ():
        is_joined = any(
            (node.record if isinstance(node, Field) else node.name if isinstance(node, Name) else None) in left
            for node in walk(clause)
        )
        (joined if is_joined else own).append(clause)
    return _all(own), _all(joined)


def _all(clauses: list[Expr]) -> Expr | None:
    if len(clauses) < 2:
        return clauses[0] if clauses else None
    return And(tuple(clauses))
