"""A declarative rule set as bytes, and back: what the cache of compiled rules keeps.

Data only, in MessagePack: nothing that is read can run. Expressions, acts and
consequences stand in one pool, each once and after those that it is made of,
so that reading them back is one loop, and what many rules say alike is one
object. They come back without their places, which the check of rules has
used up; rules and declarations keep theirs.

Who calls: `then.language.cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import msgspec

from then.core import filters
from then.core.filters import Expr
from then.core.policies import Policy
from then.core.rules import (
    Act,
    AtMost,
    Called,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emit,
    Ended,
    EndFlow,
    EventDecl,
    FieldDecl,
    Join,
    Limit,
    Loop,
    Need,
    Part,
    Pattern,
    ProcedureDecl,
    RecordDecl,
    Return,
    Rule,
    RuleSet,
    Run,
    Save,
    SecretDecl,
    Single,
    Skip,
    Start,
    TaskDecl,
    TimerDecl,
    Trigger,
    TypeRef,
    Unmatched,
)
from then.core.scenarios import Scenario
from then.core.schedule import Cron, Daily, Every
from then.core.source import Span

_Packed: TypeAlias = Any
"""Lists of numbers, texts, JSON values and such lists: what MessagePack holds."""


T = TypeVar("T")


class Unpackable(Exception):
    """Something in the rules is Python, or not there when this was written."""


# -- the pool: each thing in terms of the numbers of those that it is made of -------------------------

_Pool: TypeAlias = list[Any]


def _all(pool: _Pool, numbers: Sequence[int]) -> tuple[Any, ...]:
    return tuple([pool[number] for number in numbers])


def _args(pool: _Pool, args: Iterable[tuple[str, int]]) -> tuple[tuple[str, Expr], ...]:
    return tuple([(name, pool[number]) for name, number in args])


def _maybe(pool: _Pool, number: int | None) -> Any:
    return None if number is None else pool[number]


_EMIT_PLAIN: Final = 6
"""An Emit without anything after `otherwise`, as most are: what is not there is not written either."""


def _emit(v: list[Any], p: _Pool) -> Emit:
    if len(v) == _EMIT_PLAIN:
        return Emit(v[1], _args(p, v[2]), v[3], _maybe(p, v[4]), _maybe(p, v[5]))
    v = [*v, *[None] * (12 - len(v))]
    return Emit(
        v[1], _args(p, v[2]), v[3], _maybe(p, v[4]), _maybe(p, v[5]), _maybe(p, v[6]), _policy(v[7]), _maybe(p, v[8]),
        _maybe(p, v[9]), _maybe(p, v[10]), _maybe(p, v[11]),
    )  # fmt: skip


def _policy(packed: _Packed) -> Policy | None:
    return None if packed is None else msgspec.convert(packed, Policy)


_POOLED: Final[dict[type, Callable[[list[Any], _Pool], Any]]] = {
    filters.Const: lambda v, p: filters.Const(v[1], v[2]),
    filters.Field: lambda v, p: filters.Field(tuple(v[1]), v[2], v[3]),
    filters.Name: lambda v, p: filters.Name(v[1], tuple(v[2])),
    filters.FlowVariable: lambda v, p: filters.FlowVariable(tuple(v[1])),
    filters.LoadRef: lambda v, p: filters.LoadRef(tuple(v[1])),
    filters.SecretRef: lambda v, p: filters.SecretRef(v[1]),
    filters.Template: lambda v, p: filters.Template(tuple([x if type(x) is str else p[x] for x in v[1]])),
    filters.ListOf: lambda v, p: filters.ListOf(_all(p, v[1])),
    filters.MapOf: lambda v, p: filters.MapOf(tuple([(key, p[x]) for key, x in v[1]])),
    filters.Not: lambda v, p: filters.Not(p[v[1]]),
    filters.And: lambda v, p: filters.And(_all(p, v[1])),
    filters.Or: lambda v, p: filters.Or(_all(p, v[1])),
    filters.Compare: lambda v, p: filters.Compare(v[1], p[v[2]], p[v[3]]),
    filters.In: lambda v, p: filters.In(p[v[1]], p[v[2]]),
    filters.Contains: lambda v, p: filters.Contains(p[v[1]], p[v[2]]),
    filters.Matches: lambda v, p: filters.Matches(p[v[1]], v[2], tuple(v[3])),
    filters.IsNull: lambda v, p: filters.IsNull(p[v[1]]),
    filters.IsMissing: lambda v, p: filters.IsMissing(p[v[1]]),
    filters.Coalesce: lambda v, p: filters.Coalesce(_all(p, v[1])),
    filters.Arithmetic: lambda v, p: filters.Arithmetic(v[1], p[v[2]], p[v[3]]),
    filters.Negative: lambda v, p: filters.Negative(p[v[1]]),
    filters.Function: lambda v, p: filters.Function(v[1], _all(p, v[2])),
    filters.Quantified: lambda v, p: filters.Quantified(v[1], v[2], p[v[3]], p[v[4]]),
    AtMost: lambda v, p: AtMost(v[1], _maybe(p, v[2])),
    Emit: _emit,
    Loop: lambda v, p: Loop(v[1], p[v[2]], p[v[3]], v[4], _maybe(p, v[5]), _maybe(p, v[6])),
    Return: lambda v, p: Return(_args(p, v[1]), _maybe(p, v[2]), _maybe(p, v[3])),
    CancelTasks: lambda v, p: CancelTasks(v[1], _maybe(p, v[2]), _maybe(p, v[3]), _maybe(p, v[4]), _maybe(p, v[5])),
    Skip: lambda v, p: Skip(v[1], _args(p, v[2]), _maybe(p, v[3]), _maybe(p, v[4])),
    Save: lambda v, p: Save(v[1], p[v[2]], _maybe(p, v[3]), _maybe(p, v[4])),
    EndFlow: lambda v, p: EndFlow(v[1], _maybe(p, v[2]), _maybe(p, v[3]), _maybe(p, v[4])),
    CancelFlow: lambda v, p: CancelFlow(_maybe(p, v[1]), _maybe(p, v[2])),
    Consequence: lambda v, p: Consequence(
        tuple([_all(p, step) for step in v[1]]), None if v[2] is None else _all(p, v[2])
    ),
}
"""How each is made again, in the order of its number; a test holds the fields to those of the classes."""

_SCHEDULES: Final = (Every, Daily, Cron)
_NUMBERS: Final = {cls: number for number, cls in enumerate(_POOLED)}
_MAKERS: Final = list(_POOLED.values())
_FIELDS: Final = {cls: tuple(field.name for field in attrs.fields(cls) if field.name != "span") for cls in _POOLED}


def pack(given: RuleSet) -> bytes:
    """The rules and declarations of a set; of its sources only where a rule's text stands in them.

    Raises:
        Unpackable: a rule, task or condition in it is Python.

    Cost: about 50 µs a rule.
    """
    return _Packer(given).packed()


class _Packer:
    def __init__(self, given: RuleSet) -> None:
        self._given = given
        self._pool: list[_Packed] = []
        self._numbers: dict[Expr | Act | AtMost | Consequence, int] = {}
        self._files: dict[str, int] = {}
        self._keys = sorted(given.sources)
        self._at = dict.fromkeys(self._keys, 0)
        """Where in each source the last rule's text ended."""

    def packed(self) -> bytes:
        given = self._given
        if given.continuations:
            raise Unpackable("continuations are Python")
        body = [
            [self._declared(record) for record in given.records.values()],
            [self._declared(event) for event in given.events.values()],
            [self._task(task) for task in given.tasks.values()],
            [[start.type, self._args(start.args), self._span(start.span)] for start in given.starts],
            [self._rule(rule) for rule in given.rules],
            [[s.name, s.source, s.reference, self._span(s.span)] for s in given.secrets.values()],
            [self._procedure(procedure) for procedure in self._again(given.procedures.values())],
            [self._rule(rule) for rule in self._again(given.endings.values())],
            given.scenarios,
            [self._timer(timer) for timer in given.timers.values()],
        ]
        return msgspec.msgpack.encode([self._keys, list(self._files), self._pool, *body])

    def _again(self, things: Iterable[T]) -> Iterable[T]:
        """Things whose texts stand between those that were packed before."""
        self._at = dict.fromkeys(self._keys, 0)
        return things

    def _number(self, thing: Expr | Act | AtMost | Consequence) -> int:
        """The place of a thing in the pool, where it is put with all that it is made of."""
        found = self._numbers.get(thing)
        if found is None:
            number = _NUMBERS.get(type(thing))
            if number is None:
                raise Unpackable(f"{type(thing).__name__} is Python")
            flat = [number, *[self._flat(getattr(thing, name)) for name in _FIELDS[type(thing)]]]
            while type(thing) is Emit and len(flat) > _EMIT_PLAIN and flat[-1] is None:
                flat.pop()
            found = self._numbers[thing] = len(self._pool)
            self._pool.append(flat)
        return found

    def _flat(self, value: object) -> _Packed:
        if type(value) in _NUMBERS:
            return self._number(value)  # type: ignore[arg-type]
        if type(value) is Policy:
            return msgspec.to_builtins(value)
        return [self._flat(item) for item in value] if type(value) is tuple else value

    def _maybe(self, expr: Expr | None) -> int | None:
        return None if expr is None else self._number(expr)

    def _args(self, args: Iterable[tuple[str, Expr]]) -> _Packed:
        return [[name, self._number(value)] for name, value in args]

    def _span(self, span: Span | None) -> _Packed:
        if span is None:
            return None
        return [self._files.setdefault(span.file, len(self._files)), span.line, span.column, span.length]

    # -- declarations ------------------------------------------------------------

    def _type(self, ref: TypeRef) -> _Packed:
        return [ref.name, [self._type(arg) for arg in ref.args], ref.optional]

    def _fields(self, fields: Iterable[FieldDecl] | None) -> _Packed:
        if fields is None:
            return None
        return [[f.name, self._type(f.type), self._maybe(f.default), self._span(f.span)] for f in fields]

    def _declared(self, declared: RecordDecl | EventDecl) -> _Packed:
        return [declared.name, self._fields(declared.fields), self._span(declared.span)]

    def _task(self, task: TaskDecl) -> _Packed:
        if task.function is not None:
            raise Unpackable(f"the task {task.name} is Python")
        run = task.run
        line = (
            None if run is None else [run.kind, self._number(run.target), self._args(run.options), self._span(run.span)]
        )
        limit = task.limit
        return [
            task.name, self._fields(task.inputs), self._fields(task.result), line, task.once, task.priority,
            list(task.done_on), task.may_fail, task.slots, self._span(task.span),
            None if task.policy is None else msgspec.to_builtins(task.policy), self._maybe(task.retry_while),
            task.deadline_us, task.expires_us,
            None if limit is None else [limit.count, self._maybe(limit.by), self._span(limit.span)],
            [[need.name, self._number(need.amount), self._span(need.span)] for need in task.needs],
            self._maybe(task.idempotent_by), [list(pair) for pair in task.secrets],
        ]  # fmt: skip

    # -- rules ---------------------------------------------------------------------

    def _rule(self, rule: Rule) -> _Packed:
        consequence = rule.consequence
        if consequence is None:
            raise Unpackable(f"the rule {rule.name} is Python")
        return [
            rule.name,
            self._trigger(rule.trigger),
            self._number(consequence),
            rule.final,
            self._source(rule.source),
            self._span(rule.span),
        ]

    def _trigger(self, trigger: Trigger) -> _Packed:
        match trigger:
            case Single(pattern):
                return [0, self._pattern(pattern)]
            case Unmatched(pattern):
                return [1, self._pattern(pattern)]
            case Called(name):
                return [2, name]
            case Ended(type):
                return [3, type]
        if trigger.late_generator is not None:
            raise Unpackable("what follows a window is Python")
        parts = [
            [self._pattern(p.pattern), [self._number(k) for k in p.keys], self._maybe(p.where_joined), p.is_absent]
            for p in trigger.parts
        ]
        late = None if trigger.late is None else self._number(trigger.late)
        return [4, trigger.kind, parts, list(trigger.names), trigger.is_by_flow, trigger.within_us, trigger.count, late]

    def _timer(self, timer: TimerDecl) -> _Packed:
        schedule = timer.schedule
        number = next(number for number, kind in enumerate(_SCHEDULES) if type(schedule) is kind)
        said = [getattr(schedule, field.name) for field in attrs.fields(type(schedule))]
        span = self._span(timer.span)
        return [timer.name, [number, said], timer.type, self._args(timer.args), timer.overlap, timer.catch_up, span]

    def _pattern(self, pattern: Pattern) -> _Packed:
        where = self._maybe(pattern.where)
        return [pattern.family, sorted(pattern.outcomes), where, pattern.alias, pattern.callee]

    def _procedure(self, procedure: ProcedureDecl) -> _Packed:
        return [
            procedure.name, self._fields(procedure.inputs), self._fields(procedure.result), self._rule(procedure.first),
            [self._rule(rule) for rule in procedure.rules], procedure.deadline_us, procedure.may_fail,
            self._span(procedure.span),
        ]  # fmt: skip

    def _source(self, text: str) -> _Packed:
        """Where the text stands in the sources: rules come in the order of theirs. The text, where it is not there."""
        for number, key in enumerate(self._keys):
            source = self._given.sources[key]
            if source.startswith(text, at := self._next(source, self._at[key])) or (at := source.find(text, at)) >= 0:
                self._at[key] = at + len(text)
                return [number, at, len(text)]
        return text

    @staticmethod
    def _next(source: str, at: int) -> int:
        while at < len(source) and source[at] in " \t\n":
            at += 1
        return at


def unpack(data: bytes, sources: Mapping[str, str]) -> RuleSet:
    """The set that was packed.

    Args:
        data: what `pack` gave, in this version.
        sources: as the set had them: its own, and where the texts of its rules are taken from.

    Cost: about 15 µs a rule.
    """
    return _Unpacker(msgspec.msgpack.decode(data), sources).rules()


class _Unpacker:
    def __init__(self, packed: _Packed, sources: Mapping[str, str]) -> None:
        keys, self._files, pool, *self._body = packed
        self._sources = dict(sources)
        self._texts = [self._sources[key] for key in keys]
        self._pool: _Pool = []
        self._outcomes: dict[tuple[str, ...], frozenset[str]] = {}
        add = self._pool.append
        for entry in pool:
            add(_MAKERS[entry[0]](entry, self._pool))

    def rules(self) -> RuleSet:
        records, events, tasks, starts, ruled, secrets, procedures, endings, scenarios, timers = self._body
        made = RuleSet([self._rule(rule) for rule in ruled], sources=self._sources)
        for name, fields, span in records:
            made.declare(RecordDecl(name, self._fields(fields), span=self._span(span)))
        for name, fields, span in events:
            made.declare(EventDecl(name, self._fields(fields), span=self._span(span)))
        for task in tasks:
            made.declare(self._task(task))
        for name, source, reference, span in secrets:
            made.declare(SecretDecl(name, source, reference, span=self._span(span)))
        for procedure in procedures:
            made.declare(self._procedure(procedure))
        for rule in endings:
            made.finish(self._rule(rule))
        for timer in timers:
            made.declare(self._timer(timer))
        made.scenarios = msgspec.convert(scenarios, list[Scenario])
        made.starts += [Start(type, _args(self._pool, args), span=self._span(span)) for type, args, span in starts]
        return made

    def _span(self, span: _Packed) -> Span | None:
        return None if span is None else Span(self._files[span[0]], span[1], span[2], span[3])

    def _type(self, ref: _Packed) -> TypeRef:
        return TypeRef(ref[0], tuple(self._type(arg) for arg in ref[1]), ref[2])

    def _fields(self, fields: _Packed) -> tuple[FieldDecl, ...]:
        return tuple(
            FieldDecl(name, self._type(ref), _maybe(self._pool, default), span=self._span(span))
            for name, ref, default, span in fields
        )

    def _procedure(self, packed: _Packed) -> ProcedureDecl:
        name, inputs, result, first, rules, deadline_us, may_fail, span = packed
        return ProcedureDecl(
            name, None if inputs is None else self._fields(inputs), None if result is None else self._fields(result),
            self._rule(first), tuple([self._rule(rule) for rule in rules]), deadline_us, may_fail,
            span=self._span(span),
        )  # fmt: skip

    def _timer(self, packed: _Packed) -> TimerDecl:
        name, (number, said), type, args, overlap, catch_up, span = packed
        schedule = _SCHEDULES[number](*said)
        return TimerDecl(
            name, schedule, type, _args(self._pool, args), overlap, catch_up, span=self._span(span)
        )  # fmt: skip

    def _task(self, packed: _Packed) -> TaskDecl:
        name, inputs, result, run, once, priority, done_on, may_fail, slots, span, *more = packed
        policy, retry_while, deadline_us, expires_us, limit, needs, idempotent_by, secrets = more
        return TaskDecl(
            name,
            None if inputs is None else self._fields(inputs),
            None if result is None else self._fields(result),
            None
            if run is None
            else Run(run[0], self._pool[run[1]], _args(self._pool, run[2]), span=self._span(run[3])),
            once=once,
            priority=priority,
            done_on=tuple(done_on),
            may_fail=may_fail,
            slots=slots,
            policy=_policy(policy),
            retry_while=_maybe(self._pool, retry_while),
            deadline_us=deadline_us,
            expires_us=expires_us,
            limit=None if limit is None else Limit(limit[0], _maybe(self._pool, limit[1]), span=self._span(limit[2])),
            needs=tuple([Need(name, self._pool[amount], span=self._span(at)) for name, amount, at in needs]),
            idempotent_by=_maybe(self._pool, idempotent_by),
            secrets=tuple([(name, secret) for name, secret in secrets]),
            span=self._span(span),
        )

    def _rule(self, packed: _Packed) -> Rule:
        name, trigger, consequence, final, source, span = packed
        if type(source) is list:
            number, at, length = source
            source = self._texts[number][at : at + length]
        made = self._trigger(trigger)
        return Rule(name, made, self._pool[consequence], final=final, source=source, span=self._span(span))

    def _trigger(self, packed: _Packed) -> Trigger:
        kind, what, *more = packed
        if kind < 2:
            pattern = self._pattern(what)
            return Unmatched(pattern) if kind else Single(pattern)
        if kind < 4:
            return Ended(what) if kind == 3 else Called(what)
        parts, names, is_by_flow, within_us, count, late = more
        made = [
            Part(self._pattern(pattern), _all(self._pool, keys), _maybe(self._pool, joined), is_absent)
            for pattern, keys, joined, is_absent in parts
        ]
        return Join(what, tuple(made), tuple(names), is_by_flow, within_us, count, _maybe(self._pool, late))

    def _pattern(self, packed: _Packed) -> Pattern:
        family, words, where, alias, callee = packed
        outcomes = self._outcomes.get(key := tuple(words))
        if outcomes is None:
            outcomes = self._outcomes[key] = frozenset(words)
        return Pattern(family, outcomes, _maybe(self._pool, where), alias, callee)
