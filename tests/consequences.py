"""Triggers and acts of every kind, drawn by Hypothesis over one set of declarations, in the one way a text gives them."""

from __future__ import annotations

from typing import Final

import attrs
from hypothesis import strategies as st

from then.core.filters import And, Compare, Const, Expr, Field, Function, ListOf, Name, Template
from then.core.policies import Policy, Retry
from then.core.rules import (
    EVENT,
    FINISHED,
    Act,
    AtMost,
    Called,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emit,
    Ended,
    EndFlow,
    Join,
    Loop,
    Part,
    Pattern,
    ProcedureDecl,
    Return,
    Rule,
    RuleSet,
    Save,
    Single,
    Skip,
    Trigger,
)
from then.language.loading import load_text

DECLARED: Final = """
event e(x: any, y: any)
event f(x: any, y: any)
task t(x: any, y: any) -> (z: any)
task u(x: any, y: any) -> (z: any)
procedure q(x: any, y: any) -> (z: any)
  first return (z: x)
end
"""
INPUTS: Final = load_text("procedure p(a: any, do: task) -> (z: any) first end flow done end").rules.procedures["p"]
"""What the procedure that is drawn takes and hands back."""
OUTCOMES: Final = [frozenset(("done",)), frozenset(("failed",)), frozenset(("failed", "timed_out")), FINISHED]
SPANS: Final = st.sampled_from(
    [1, 1_500, 1_000, 30_000_000, 90_000_000, 3_600_000_000, 86_400_000_000, 604_800_000_000]
)


@st.composite
def values(draw: st.DrawFn, aliases: tuple[str, ...], names: tuple[str, ...]) -> Expr:
    """An argument over the aliases and names of a rule."""
    places: list[Expr] = [Const(7), Const("a {b}"), Const(None), Const(2.5)]
    places += [Field(("x",), "body", alias) for alias in aliases] + [Name(name) for name in names]
    first = draw(st.sampled_from(places))
    match draw(st.integers(0, 4)):
        case 0:
            return ListOf((first, draw(st.sampled_from(places))))
        case 1:
            return Template(("n ", first)) if not isinstance(first, Const) else first
        case 2:
            return Function("str", (first,))
        case _:
            return first


@st.composite
def emissions(draw: st.DrawFn, aliases: tuple[str, ...], names: tuple[str, ...], is_inside: bool) -> Emit:
    """An emission or a call with all that may stand after it."""
    types = ["e", "t", "u", "q", *(["do"] if is_inside else [])]
    type = draw(st.sampled_from(types))
    value = values(aliases, names)
    args = (("x", draw(value)), ("y", draw(value)))
    act = Emit(type, args, callee=Name("do") if type == "do" else None)
    policy = Policy()
    if type != "e" and draw(st.booleans()):
        backoff = draw(st.sampled_from([0, 1_000_000]))
        retry = Retry(draw(st.integers(1, 9)), backoff)
        if backoff:
            most, factor = draw(st.sampled_from([None, 60_000_000])), draw(st.sampled_from([2.0, 1.0, 1.5]))
            retry = Retry(retry.times, backoff, most, factor, draw(st.booleans()))
        policy = Policy(retry, draw(st.none() | SPANS))
        if draw(st.booleans()):
            act = attrs.evolve(act, retry_while=Compare("==", Field(("error", "kind"), "own"), Const("exit")))
    if type == "q" and draw(st.booleans()):
        policy = Policy(policy.retry, policy.timeout_us, True)
    if policy != Policy():
        act = attrs.evolve(act, policy=policy)
    if draw(st.booleans()):
        act = attrs.evolve(act, at_most=AtMost(draw(SPANS), draw(st.sampled_from([None, *_paths(aliases, names)]))))
    match draw(st.integers(0, 3)):
        case 0:
            return attrs.evolve(act, after=draw(st.sampled_from([Const(86_400), Const(1), *_any(aliases, names)])))
        case 1:
            return attrs.evolve(act, at=draw(st.sampled_from([Const("2026-01-05T10:00"), *_any(aliases, names)])))
        case _:
            return act


def _paths(aliases: tuple[str, ...], names: tuple[str, ...]) -> list[Expr]:
    """What an argument, a time or a key may be read from."""
    return [*(Field(("x",), "body", alias) for alias in aliases), *(Name(name) for name in names)]


def _any(aliases: tuple[str, ...], names: tuple[str, ...]) -> list[Expr]:
    """Those of them that are of the type `any`, so that they may be a time or a list."""
    return _paths(aliases, tuple(name for name in names if name in ("a", "x", "y")))


@st.composite
def acts(
    draw: st.DrawFn, aliases: tuple[str, ...], names: tuple[str, ...], is_inside: bool, alias: str | None = None
) -> Act:
    """Any act, with a guard and what follows where it is not true."""
    value = values(aliases, names)
    act: Act
    match draw(st.integers(0, 9)) if alias is None else 9:
        case 0:
            looped = (*names, "item", "place")
            emit = draw(emissions(aliases, looped, is_inside))
            act = Loop("item", draw(value), emit, draw(st.sampled_from([None, "place"])))
            if act.index is None:
                act = attrs.evolve(act, emit=draw(emissions(aliases, (*names, "item"), is_inside)))
            if act.items not in _any(aliases, names):
                act = attrs.evolve(act, items=ListOf((act.items,)))
        case 1:
            act = Save("v", draw(value))
        case 2:
            act = Skip("t", (("x", draw(value)), ("y", draw(value))))
        case 3:
            # A name that its fields hide cannot be written there.
            seen = tuple(name for name in names if name not in ("x", "y"))
            left = Compare("==", Field(("x",), "body"), draw(st.sampled_from([Const(7), *_paths(aliases, seen)])))
            act = CancelTasks("t", draw(st.sampled_from([None, left])))
        case 4:
            act = CancelFlow()
        case 5:
            act = EndFlow("done")
        case 6 if is_inside:
            act = Return((("z", draw(value)),))
        case _:
            act = attrs.evolve(draw(emissions(aliases, names, is_inside)), alias=alias)
    if draw(st.booleans()):
        guard = Compare("!=", draw(st.sampled_from([Const(7), *_any(aliases, names)])), Const(3))
        act = attrs.evolve(act, guard=guard)
        if draw(st.booleans()):
            act = attrs.evolve(act, otherwise=draw(acts(aliases, names, is_inside)))
    return act


@st.composite
def consequences(
    draw: st.DrawFn,
    aliases: tuple[str, ...],
    names: tuple[str, ...],
    unfilled: tuple[str, ...] | None,
    is_inside: bool = False,
) -> Consequence:
    """A chain of up to three steps; with an `else` where one may stand."""
    steps = []
    count = draw(st.integers(1, 3))
    known = aliases
    for k in range(count):
        step = [draw(acts(known, names, is_inside, f"s{k}" if k < count - 1 else None))]
        if draw(st.booleans()):
            step.append(draw(acts(known, names, is_inside)))
        steps.append(tuple(step))
        known = (*known, f"s{k}") if k < count - 1 else known
    otherwise = None
    if draw(st.booleans()) and (count > 1 or unfilled is not None):
        seen = known if count > 1 else unfilled or ()
        otherwise = (draw(acts(seen, names, is_inside)),)
    return Consequence(tuple(steps), otherwise)


@st.composite
def patterns(draw: st.DrawFn, alias: str | None, *, is_inside: bool = False) -> Pattern:
    """One record, and perhaps a clause over it."""
    family = draw(st.sampled_from(["e", "f", "t", "u", "q", *(["do"] if is_inside else [])]))
    outcomes = frozenset((EVENT,)) if family in "ef" else draw(st.sampled_from(OUTCOMES))
    where = None
    if draw(st.booleans()) and family != "do":
        where = Compare("==", Field(("x",), "body"), Const(draw(st.integers(0, 3))))
    return Pattern(family, outcomes, where, alias, "do" if family == "do" else None)


@st.composite
def joins(draw: st.DrawFn, *, is_inside: bool = False) -> tuple[Join, tuple[str, ...], tuple[str, ...]]:
    """A join without its `on timeout`; and the aliases and names that it binds."""
    kind = draw(st.sampled_from(["all", "any", "times", "every", "quiet"]))
    count = {"every": 1, "quiet": 1, "times": draw(st.integers(1, 2))}.get(kind, draw(st.integers(1, 3)))
    is_by_flow = kind == "every" or draw(st.booleans())
    is_keyed = kind != "every" and (not is_by_flow or draw(st.booleans()))
    within = None
    if kind != "every":
        within = draw(SPANS if kind == "quiet" or not is_by_flow else st.none() | SPANS)
    is_one_name = draw(st.booleans())
    parts: list[Part] = []
    aliases: list[str] = []
    for k in range(count):
        alias = None if kind == "every" else f"p{k}"
        pattern = draw(patterns(alias))
        field = "x" if is_one_name or k == 0 else "y"
        keys: tuple[Expr, ...] = (Field((field,), "body"),) if is_keyed else ()
        is_absent = kind == "all" and k > 0 and draw(st.booleans())
        joined: Expr | None = None
        if aliases and kind != "any" and draw(st.booleans()):
            joined = Compare("<", Field(("y",), "body"), Field(("y",), "body", aliases[-1]))
            if draw(st.booleans()):
                joined = And((joined, Compare("!=", Field(("x",), "body", aliases[0]), Const(1))))
        parts.append(Part(pattern, keys, joined, is_absent))
        if alias is not None and not is_absent:
            aliases.append(alias)
    key_names = () if not is_keyed else ("x",) if is_one_name or count == 1 else ("",)
    times = draw(st.integers(1, 9)) if kind == "times" else 1
    join = Join(kind, tuple(parts), key_names, is_by_flow, within, times)  # type: ignore[arg-type]
    return join, tuple(aliases), tuple(name for name in key_names if name)


@st.composite
def rules(draw: st.DrawFn, name: str, procedure: ProcedureDecl | None = None) -> Rule:
    """A rule, at top level or in a procedure."""
    is_inside = procedure is not None
    params = ("a",) if is_inside else ()
    trigger: Trigger
    if draw(st.booleans()):
        trigger = Single(draw(patterns("o", is_inside=is_inside)))
        is_open = trigger.pattern.callee is not None
        aliases: tuple[str, ...] = () if is_open else ("o",)
        consequence = draw(consequences(aliases, params, None, is_inside))
    else:
        join, aliases, names = draw(joins(is_inside=is_inside))
        names = (*names, *params)
        has_unfilled = join.kind in ("all", "every")
        consequence = draw(consequences(aliases, names, aliases if has_unfilled else None, is_inside))
        if join.within_us is not None and join.kind != "quiet" and draw(st.booleans()):
            late = draw(consequences(aliases, (*names, "missing"), None, is_inside))
            join = attrs.evolve(join, late=late)
        trigger = join
    return Rule(name, trigger, consequence)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """A rule, or a procedure with rules and an end, or the end of a task."""
    made = load_text(DECLARED).rules
    kind = draw(st.sampled_from(["rule", "first", "inner", "inner", "end", "end of a task"]))
    plain = Consequence(((CancelFlow(),),))
    params = ("a",)
    first = Rule("p", Called("p"), draw(consequences((), params, None, True)) if kind == "first" else plain)
    inner = (draw(rules(draw(st.sampled_from(["p.1", "p.last"])), INPUTS)),) if kind == "inner" else ()
    made.declare(attrs.evolve(INPUTS, first=first, rules=inner))
    if kind == "end":
        made.finish(Rule("p.finally", Ended("p"), draw(consequences((), params, None))))
    elif kind == "end of a task":
        made.finish(Rule("t.finally", Ended("t"), draw(consequences((), ("x", "y"), None))))
    elif kind == "rule":
        made.add(draw(rules("r")))
    return made
