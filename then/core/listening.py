"""What listens for a record: rules, and the parts of joins as rules of their own.

A join is filed part by part, at its place in the order, so that the index finds
a part as it finds a rule; `then.core.joins` then decides whether it meets the
others. A rule has more than one address where more than one thing follows from
it: `R/late` is its `on timeout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from attrs import evolve

from then.core.evaluate import decide
from then.core.fields import Reader, Scope, reader
from then.core.filters import Field
from then.core.rules import FINISHED, Emit, Join, Loop, Match, Met, Part, Rule, Single
from then.core.tasks import Json, Task


@attrs.frozen
class Listening(Rule):
    """A part of a join, filed like a rule."""

    of: Rule = attrs.field(kw_only=True)
    part: int = attrs.field(kw_only=True)
    ends_otherwise: bool = attrs.field(default=False, kw_only=True)
    """It listens for the records of the part that end otherwise than it waits for."""
    has_else: bool = attrs.field(default=False, kw_only=True)
    """An `else` answers the join, and not a later step."""
    is_plain: bool = attrs.field(default=False, kw_only=True)
    """Of `all of`: every part has to come, no clause looks at several of them, and this is the end it waits for."""
    count: int = attrs.field(default=1, eq=False, repr=False, kw_only=True)
    """Of the join: how many parts it has."""
    aliases: tuple[tuple[int, str], ...] = attrs.field(default=(), eq=False, repr=False, kw_only=True)
    """Of the join: by the number of a part, the name of its record."""
    names: tuple[tuple[int, str], ...] = attrs.field(default=(), eq=False, repr=False, kw_only=True)
    """Of the join: by the number of a component of its key, what the consequence calls that."""
    keys: tuple[Reader, ...] | None = attrs.field(default=None, eq=False, repr=False, kw_only=True)
    """Of a key that is fields of the record: what reads them; None: they are evaluated."""

    def __attrs_post_init__(self) -> None:
        """Its name is made of one that was checked."""


def expanded(rules: Iterable[Rule]) -> Iterator[Rule]:
    """The rules in order, joins part by part."""
    for rule in rules:
        join = rule.trigger
        if isinstance(join, Join):
            yield from _parts(rule, join)
        else:
            yield rule


def has_else(rule: Rule) -> bool:
    """Whether an `else` answers the join, and not a later step."""
    if isinstance(rule.trigger, Join) and rule.trigger.otherwise_generator is not None:
        return True
    consequence = rule.consequence
    return consequence is not None and consequence.otherwise is not None and len(consequence.steps) == 1


def _parts(rule: Rule, join: Join) -> Iterator[Listening]:
    for number, part in enumerate(join.parts):
        pattern = part.pattern
        if join.kind == "every":
            # It has to see each that ends, also those that its clause leaves out.
            pattern = evolve(pattern, outcomes=FINISHED, where=None)
        yield _listening(rule, number, evolve(rule, trigger=Single(pattern)))
        otherwise = FINISHED - pattern.outcomes
        if join.kind == "all" and has_else(rule) and not part.is_absent and otherwise and otherwise != FINISHED:
            trigger = Single(evolve(pattern, outcomes=otherwise, where=None))
            yield _listening(rule, number, evolve(rule, trigger=trigger), ends_otherwise=True)


def _listening(rule: Rule, part: int, filed: Rule, *, ends_otherwise: bool = False) -> Listening:
    join = rule.trigger
    assert isinstance(join, Join)
    return Listening(
        f"{rule.name}#{part}", filed.trigger, rule.consequence, rule.generator, source=rule.source, span=rule.span,
        of=rule, part=part, ends_otherwise=ends_otherwise, has_else=has_else(rule),
        is_plain=join.kind == "all"
        and not ends_otherwise
        and not any(one.is_absent or one.where_joined is not None for one in join.parts),
        count=len(join.parts),
        aliases=tuple((number, one.pattern.alias) for number, one in enumerate(join.parts) if one.pattern.alias),
        names=tuple((number, name) for number, name in enumerate(join.names[: len(join.parts[part].keys)]) if name),
        keys=_readers(join.parts[part]),
    )  # fmt: skip


def _readers(part: Part) -> tuple[Reader, ...] | None:
    fields = [key for key in part.keys if isinstance(key, Field) and key.record in (None, part.pattern.alias)]
    return tuple(reader(key.path, key.source) for key in fields) if len(fields) == len(part.keys) else None


def late_rule(rule: Rule) -> Rule | None:
    """What follows when the window of a join ends, as a rule of its own: `R/late`."""
    join = rule.trigger
    if not isinstance(join, Join) or (join.late is None and join.late_generator is None):
        return None
    return Listening(f"{rule.name}/late", rule.trigger, join.late, join.late_generator, span=rule.span, of=rule, part=0)


def emits_of(rule: Rule) -> Iterator[Emit]:
    """All emissions that a declarative rule may plan, in the order of its text."""
    join = rule.trigger
    for consequence in (rule.consequence, join.late if isinstance(join, Join) else None):
        if consequence is not None:
            acts = [act for step in (*consequence.steps, consequence.otherwise or ()) for act in step]
            while acts:
                act = acts.pop(0)
                if act.otherwise is not None:
                    acts.insert(0, act.otherwise)
                if isinstance(act, Loop):
                    yield act.emit
                elif isinstance(act, Emit):
                    yield act


def match_within(
    rules: Sequence[Rule], record: Task, variables: Mapping[str, Json], names: Mapping[str, Json]
) -> Iterator[Match]:
    """The rules of a procedure that fire on a record of its call, in order, each decided when it is its turn.

    Args:
        names: the arguments of the call, which the clauses may name.
    """
    for rule in rules:
        pattern = rule.pattern
        if pattern.callee is not None:
            # A task that was handed over as an argument.
            called = names.get(pattern.callee)
            if not isinstance(called, str):
                continue
            pattern = evolve(pattern, family=called)
        if not pattern.fits(record):
            continue
        bound: dict[str, Json | Task] = dict(names)
        if pattern.alias is not None:
            bound[pattern.alias] = record
        verdict = decide(pattern.where, Scope(record, bound, variables))
        if verdict.value is True:
            yield Match(rule, record, verdict.groups or None, Met((), dict(names)))
