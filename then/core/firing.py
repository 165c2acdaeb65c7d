"""What one rule on one record brings forth: planned whole before any of it is written.

A rule that cannot be evaluated to its end emits nothing but a `rule.failed`
event, so that half of a consequence never happens. Planning is pure and writes
no facts; `then.core.engine` turns a plan into facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import GeneratorType
from typing import Final

import attrs
import msgspec
from msgspec.structs import replace

from then.core.edition import Edition
from then.core.errors import RuleError, nearest
from then.core.evaluate import Scope
from then.core.filters import Expr
from then.core.guards import USUAL
from then.core.policies import Policy
from then.core.rules import (
    Act,
    AtMost,
    CancelFlow,
    CancelTasks,
    Emission,
    Emit,
    EndFlow,
    Generator,
    Loop,
    Match,
    Return,
    Rule,
    Save,
    Skip,
)
from then.core.state import RULE_FAILED
from then.core.tasks import Body, Json, Outcome, Task, check_json, flat_size, taken_over
from then.core.values import CannotSay, described, json_text, kind_of
from then.core.waits import wait_key

EMISSIONS_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of all that one match emits: a journal's entry holds it whole, and the engine's memory twice."""
ELSE: Final = -1
"""Stands for the `else` where a step of a chain is named by number."""


class PlanFailed(Exception):
    """Why a rule could not be evaluated; becomes the `error` of a `rule.failed` event."""


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A record to be."""

    type: str
    body: Body
    alias: str | None = None
    then: str | None = None
    otherwise: str | None = None
    bind: Body | None = None
    terms: EmissionTerms | None = None
    """What few emissions have: times, tries."""


class EmissionTerms(msgspec.Struct, frozen=True, gc=False):
    """On what terms a record is emitted."""

    policy: Policy | None = None
    after_us: int | None = None
    at_us: int | None = None
    mark: tuple[str, int] | None = None
    """`at most once`: the key, and for how long."""
    is_skipped: bool = False


class Firing(msgspec.Struct, gc=False):
    """A rule, or a step of one, that fires on a record. A Struct as `Task` is, since one is made for each."""

    record: Task
    rule: str
    """The name that what it emits carries: `deploy`, `deploy/2`, `deploy/2/else`."""
    call: str | None
    by_unmatched: bool
    emissions_max: int = USUAL.emissions
    records: dict[str, Task] = {}
    values: dict[str, Json] = {}
    emissions: list[Planned] = []
    saves: list[tuple[str, Json]] = []
    bend: tuple[Outcome, str | None] | None = None
    next_step: tuple[str, int] | None = None
    """The rule and step that wait for what is emitted."""
    returns: Body | None = None
    cancels: tuple[tuple[CancelTasks, Scope], ...] = ()
    """Types of which live records are to end, with what their clauses see."""
    empty: tuple[str, ...] = ()
    """Types of which a `for` emitted none."""
    size_bytes: int = 0
    """Of what is emitted and saved so far, roughly."""
    script: str | None = None
    """The script that waits for what is emitted, where one emits it."""

    def weigh(self, size_bytes: int) -> None:
        """Counts what is to be emitted or saved.

        Raises:
            PlanFailed: it is too much.
        """
        self.size_bytes += size_bytes
        if self.size_bytes > EMISSIONS_BYTES_MAX:
            raise PlanFailed(f"more than {EMISSIONS_BYTES_MAX // 2**20} MiB emitted by one match")

    def fail(self, error: str) -> None:
        """Drops the plan; `rule.failed` is all that comes of it."""
        body: Body = {"rule": self.rule, "record": self.record.id, "error": error}
        self.emissions, self.saves, self.bend, self.next_step = [Planned(RULE_FAILED, body)], [], None, None
        self.returns, self.cancels, self.empty = None, (), ()


def plan_rule(firing: Firing, edition: Edition, match: Match, variables: dict[str, Json]) -> None:
    """Plans a rule that fires on a record.

    Raises:
        PlanFailed: the generator raised or yielded what is no emission, or a value cannot be said.
    """
    rule = match.rule
    if rule.generator is not None:
        _collect(firing, edition, rule.name, rule.generator, match, {})
        return
    for name, bound in match.bindings.items():
        if type(bound) is Task:
            firing.records[name] = bound
        else:
            firing.values[name] = bound
    _plan_steps(firing, edition, rule, 0, variables)


def plan_step(firing: Firing, edition: Edition, name: str, step: int, variables: dict[str, Json]) -> None:
    """Plans a later step of a chain, or its `else`.

    Raises:
        KeyError: the rule, or its step, is not in these rules.
        PlanFailed: a value cannot be said.
    """
    rule = edition.rule(name)
    if rule is None or rule.consequence is None:
        raise KeyError(name)
    if step == ELSE:
        if rule.consequence.otherwise is None:
            raise KeyError(name)
        scope = _scope(firing, variables)
        for act in rule.consequence.otherwise:
            _plan_act(firing, edition, act, scope)
        return
    if step >= len(rule.consequence.steps):
        raise KeyError(name)
    _plan_steps(firing, edition, rule, step, variables)


def plan_continuation(firing: Firing, edition: Edition, name: str) -> None:
    """Plans a Python continuation: it gets the returned record and what was bound.

    Raises:
        KeyError: no continuation of that name is registered.
        PlanFailed: it raised, or yielded what is no emission.
    """
    if not name:
        return
    function = edition.rules.continuations[name]
    _collect(firing, edition, name, function, firing.record, firing.values)


def plan_generator(firing: Firing, edition: Edition, generator: Generator, match: Match) -> None:
    """Plans what a Python rule has beside its generator: the `else` of a join.

    Raises:
        PlanFailed: it raised, or yielded what is no emission.
    """
    _collect(firing, edition, firing.rule, generator, match, {})


def _scope(firing: Firing, variables: dict[str, Json]) -> Scope:
    return Scope(firing.record, {**firing.records, **firing.values}, variables)


def _plan_steps(firing: Firing, edition: Edition, rule: Rule, step: int, variables: dict[str, Json]) -> None:
    steps = rule.consequence.steps  # type: ignore[union-attr]
    scope = _scope(firing, variables)
    while True:
        acted = [_plan_act(firing, edition, act, scope) for act in steps[step]]
        step += 1
        if not any(acted) or step == len(steps) or firing.returns is not None:
            return
        if firing.emissions and any(
            planned.terms is None or not planned.terms.is_skipped for planned in firing.emissions
        ):
            firing.next_step = (rule.name, step)
            return
        # Only variables were saved: there is nothing to wait for.


def _plan_act(firing: Firing, edition: Edition, act: Act, scope: Scope) -> bool:
    """Plans one act. False where its guard left it out."""
    if act.guard is not None and edition.value(act.guard, scope) is not True:
        return _plan_act(firing, edition, act.otherwise, scope) if act.otherwise is not None else False
    match act:
        case Emit():
            _plan_emit(firing, edition, act, scope)
        case Loop():
            _plan_loop(firing, edition, act, scope)
        case Return(args=args):
            firing.returns = {name: _said(edition, expr, scope, f"return ({name}: …)") for name, expr in args}
            firing.weigh(_size(firing.returns, "return"))
        case CancelTasks(callee=callee):
            if callee is not None:
                act = attrs.evolve(act, type=str(_said(edition, callee, scope, f"the task {act.type}")))
            firing.cancels += ((act, scope),)
        case Skip(type=type, args=args):
            body = {name: _said(edition, expr, scope, f"skip {type}({name}: …)") for name, expr in args}
            firing.weigh(_size(body, type))
            firing.emissions.append(Planned(type, body, terms=_SKIPPED))
        case Save(name=name, value=expr):
            value = _said(edition, expr, scope, f"save {name}")
            firing.weigh(_size(value, f"save {name}"))
            firing.saves.append((name, value))
        case EndFlow(outcome=outcome, text=text):
            said = _said(edition, text, scope, "the text of `end flow`") if text is not None else None
            firing.bend = (outcome, str(said) if said is not None else None)
        case CancelFlow():
            firing.bend = ("cancelled", None)
    return True


_LEFT_OUT: Final = object()
_SKIPPED: Final = EmissionTerms(is_skipped=True)


def _plan_emit(firing: Firing, edition: Edition, act: Emit, scope: Scope) -> None:
    kind = act.type
    if act.callee is not None:
        kind = _said(edition, act.callee, scope, f"the task {act.type}")
        if not isinstance(kind, str):
            raise PlanFailed(f"{act.type}: {kind!r} is no name of a task")
    body = {
        name: value for name, expr in act.args if (value := _arg(edition, kind, name, expr, scope)) is not _LEFT_OUT
    }
    firing.weigh(_size(body, kind))
    if len(firing.emissions) >= firing.emissions_max:
        raise _too_many(firing)
    terms = _terms(firing, edition, act, scope)
    firing.emissions.append(Planned(kind, _checked(edition, kind, body), act.alias, terms=terms))


def _plan_loop(firing: Firing, edition: Edition, act: Loop, scope: Scope) -> None:
    items = _said(edition, act.items, scope, f"for {act.item} in …")
    if not isinstance(items, list):
        raise PlanFailed(f"for {act.item} in …: {described(items)} found, a list is expected")
    if not items:
        callee = act.emit.callee
        kind = act.emit.type if callee is None else _said(edition, callee, scope, f"the task {act.emit.type}")
        firing.empty += (kind,)
    for number, item in enumerate(items):
        bound = {**scope.bindings, act.item: item}
        if act.index is not None:
            bound[act.index] = number
        _plan_act(firing, edition, act.emit, Scope(scope.record, bound, scope.flow_variables))


def _terms(firing: Firing, edition: Edition, act: Emit, scope: Scope) -> EmissionTerms | None:
    """The times and tries of an emission; None for the many without."""
    policy = act.policy
    if policy is None and act.after is None and act.at is None and act.at_most is None:
        return None
    if policy is not None and policy.retry is not None and act.retry_while is not None:
        policy = replace(policy, retry=replace(policy.retry, condition=edition.address_of(act)))
    after_us = at_us = None
    if act.after is not None:
        span = _said(edition, act.after, scope, f"{act.type} after …")
        if kind_of(span) != "number" or span < 0:
            raise PlanFailed(f"{act.type} after …: {described(span)} found, a span of 0 or more is expected")
        after_us = int(span * 1_000_000)
    if act.at is not None:
        at_us = _instant(_said(edition, act.at, scope, f"{act.type} at …"), act.type)
    mark = _mark(firing, edition, act, act.at_most, scope) if act.at_most is not None else None
    return _alike(firing, EmissionTerms(policy, after_us, at_us, mark))


def _mark(firing: Firing, edition: Edition, act: Emit, at_most: AtMost, scope: Scope) -> tuple[str, int]:
    values = [] if at_most.by is None else [_said(edition, at_most.by, scope, f"{act.type} at most once … by …")]
    return wait_key(firing.rule, act.type, values), at_most.per_us


def _instant(value: Json, what: str) -> int:
    """A time in text or in seconds since 1970, as microseconds since 1970."""
    if kind_of(value) == "number":
        return int(value * 1_000_000)
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise PlanFailed(
            f"{what} at …: {json_text(value)} is no time; write 2026-01-05T10:00, with a zone such as +01:00, or seconds since 1970"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1_000_000)


def _arg(edition: Edition, kind: str, name: str, expr: Expr, scope: Scope) -> Json:
    value = edition.value(expr, scope)
    if isinstance(value, CannotSay):
        declared = edition.types.inputs(kind) or ()
        if any(field.name == name and field.type.optional for field in declared):
            return _LEFT_OUT
        raise PlanFailed(f"{kind}({name}: …) cannot be said: {value.reason}")
    return value


def _said(edition: Edition, expr: Expr, scope: Scope, what: str) -> Json:
    value = edition.value(expr, scope)
    if isinstance(value, CannotSay):
        raise PlanFailed(f"{what} cannot be said: {value.reason}")
    return value


def _size(value: Json, what: str) -> int:
    """Rules put values together: what comes of it may be too large, or too deep."""
    try:
        return check_json(value, what)
    except RuleError as refused:
        raise PlanFailed(refused.text()) from refused


def plan_asked(firing: Firing, edition: Edition, type: str, body: Body) -> None:
    """Plans the one record that a script asks for.

    Raises:
        PlanFailed: its body is not as declared.
    """
    firing.weigh(_size(body, type))
    firing.emissions.append(Planned(type, _checked(edition, type, body)))


def _checked(edition: Edition, type: str, body: Body) -> Body:
    try:
        return edition.check_body(type, body)
    except RuleError as refused:
        raise PlanFailed(refused.text()) from refused


def _too_many(firing: Firing) -> PlanFailed:
    return PlanFailed(f"more than {firing.emissions_max} emissions from one match")


def _collect(
    firing: Firing, edition: Edition, name: str, run: Generator, on: Match | Task, bound: Mapping[str, Json]
) -> None:
    """Runs a generator of Python to its end and takes what it yields."""
    emissions, untyped = firing.emissions, edition.untyped
    try:
        given = run(on, **bound) if bound else run(on)
        if given is None:
            given = ()
        elif type(given) is not GeneratorType and isinstance(given, Emission):
            given = (given,)
        for emission in given:
            if type(emission) is not Emission and not isinstance(emission, Emission):
                raise PlanFailed(f"{name} yielded {type(emission).__name__}, not then.emit(…)")
            if emission.act != "emit":
                if emission.act != "call":
                    _take_act(firing, edition, emission, name)
                    continue
                if emission.type not in edition.rules.procedures:
                    known = nearest(emission.type, edition.rules.procedures)
                    raise PlanFailed(f'{name}: "{emission.type}" is no procedure{known}; then.emit(…) emits a task')
            kind, then, otherwise = emission.type, emission.then, emission.otherwise
            # A copy: what the generator makes of its lists afterwards is not in the record.
            size = flat_size(emission.body)
            if size >= 0:
                body = emission.body.copy()
            else:
                body, size = taken_over(emission.body, f"{name}: {kind}")
            # `weigh`, written out: its call would take longer.
            firing.size_bytes += size
            if firing.size_bytes > EMISSIONS_BYTES_MAX:
                firing.weigh(0)
            if kind not in untyped:
                body = _checked(edition, kind, body)
            if len(emissions) >= firing.emissions_max:
                raise _too_many(firing)
            terms = None
            if (
                emission.policy is not None
                or emission.after_us is not None
                or emission.at_us is not None
                or emission.at_most is not None
            ):
                terms = _said_terms(firing, emission)
            if then is None and otherwise is None:
                emissions.append(Planned(kind, body) if terms is None else Planned(kind, body, terms=terms))
                continue
            bind, size = taken_over(emission.bind or {}, f"{name}: what {kind} is to bind")
            firing.weigh(size)
            for address in (then, otherwise):
                if address is not None and address not in edition.rules.continuations:
                    raise PlanFailed(f'{name}: "{address}" is no registered continuation; use @rules.continuation')
            emissions.append(Planned(kind, body, None, then, otherwise, bind, terms))
    except PlanFailed:
        raise
    except (Exception, SystemExit) as error:
        # The one guard round a user's generator: it becomes a `rule.failed` event.
        raise PlanFailed(f"{type(error).__name__}: {error}") from error


def _said_terms(firing: Firing, emission: Emission) -> EmissionTerms:
    """On what terms a generator emits it."""
    mark = None
    if emission.at_most is not None:
        key, per_us = emission.at_most
        _size(key, f"{emission.type} at most once by")
        mark = wait_key(firing.rule, emission.type, [] if key is None else [key]), per_us
    return _alike(firing, EmissionTerms(emission.policy, emission.after_us, emission.at_us, mark))


def _alike(firing: Firing, terms: EmissionTerms) -> EmissionTerms:
    """The terms of the emission before, where they are the same: a match may put off a hundred thousand alike."""
    before = firing.emissions[-1].terms if firing.emissions else None
    return before if before == terms else terms


def _take_act(firing: Firing, edition: Edition, emission: Emission, name: str) -> None:
    """What a generator yields beside records to be."""
    body, size = taken_over(emission.body, f"{name}: {emission.act}")
    firing.weigh(size)
    match emission.act:
        case "return":
            firing.returns = body
        case "none":
            firing.empty += (emission.type,)
        case "save":
            firing.saves.extend(body.items())
        case "skip":
            firing.emissions.append(Planned(emission.type, body, terms=_SKIPPED))
        case "cancel":
            firing.cancels += ((CancelTasks(emission.type), Scope(None, {"fields": body})),)
        case "end":
            text = body.get("text")
            firing.bend = ("done" if emission.type == "done" else "failed", text if isinstance(text, str) else None)
        case "cancel_flow":
            firing.bend = ("cancelled", None)
