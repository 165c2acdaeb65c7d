"""A rule back to text, on one line: what it waits for, and what follows.

Who calls: `then.language.printer`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Final

import attrs

from then.core.filters import And, Const, Expr, Field, Template, conjuncts
from then.core.policies import Policy, Retry
from then.core.rules import (
    ANY,
    EVENT,
    FINISHED,
    RETRIED,
    Act,
    CancelFlow,
    CancelTasks,
    Consequence,
    Emit,
    EndFlow,
    FieldDecl,
    Join,
    Loop,
    Part,
    Pattern,
    Return,
    Rule,
    RuleSet,
    Save,
    Skip,
    Step,
    Unmatched,
)
from then.core.source import Span
from then.language.patterns import STRAYS
from then.language.phrases import Phrases, Unprintable, is_dotted, is_name, part_text, value_text
from then.language.scope import ANY_TYPE, ENGINE_EVENTS, Declared, Procedure, Scope, Shape, shape_of, shared_shape

_OUTCOMES: Final = {
    "done": "done", "failed": "failed", "timed_out": "timed out", "cancelled": "cancelled", "retried": RETRIED,
}  # fmt: skip
"""Words for outcomes, in the order in which they are listed."""
_UNITS_US: Final = {
    "w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000,
}  # fmt: skip
_FAILURES: Final = frozenset(("failed", "timed_out"))


def span_text(time_us: int) -> str:
    """A duration in the largest unit that it is a whole number of."""
    for unit, unit_us in _UNITS_US.items():
        if time_us % unit_us == 0:
            return f"{time_us // unit_us}{unit}"
    return f"{Decimal(time_us) / 1_000:f}ms"


def retry_text(retry: Retry) -> str:
    """`retry 5 times backoff 1s to 1m factor 3 jitter from failed`."""
    text, place = f"retry {retry.times} times", " from failed" if retry.is_from_failed else ""
    if not retry.backoff_us:
        if retry.jitter or retry.factor != Retry(1).factor or retry.backoff_max_us is not None:
            raise Unprintable("a retry without a wait has nothing that grows")
        return text + place
    text += f" backoff {span_text(retry.backoff_us)}"
    if retry.backoff_max_us is not None:
        text += f" to {span_text(retry.backoff_max_us)}"
    if retry.factor != Retry(1).factor:
        text += f" factor {value_text(int(retry.factor) if retry.factor == int(retry.factor) else retry.factor)}"
    return f"{text}{' jitter' if retry.jitter else ''}{place}"


def outcomes_text(outcomes: Collection[str]) -> str:
    """`done`, `failed or timed out`, in one order."""
    return " or ".join(word for outcome, word in _OUTCOMES.items() if outcome in outcomes)


class RuleTexts:
    """Writes the rules of one set."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._declared = Declared(rules)

    def type_name(self, name: str, span: Span | None) -> str:
        """The name of a type.

        Raises:
            Unprintable: it is none in the language.
        """
        if not is_dotted(name):
            raise Unprintable(f'"{name}" is no name in the language', span)
        return name

    def rule(self, rule: Rule, name: str, procedure: Procedure | None = None) -> str:
        """A rule under that name; `when …` alone where the name is empty."""
        consequence = rule.consequence
        if consequence is None:
            raise Unprintable(f'the rule "{rule.name}" is a Python function', rule.span)
        if name and not is_name(name):
            raise Unprintable(f'"{name}" is no name of a rule in the language', rule.span)
        scope = self._scope(procedure)
        late = ""
        trigger = rule.trigger
        if isinstance(trigger, Join):
            waited = self._join(trigger, scope)
            if trigger.late is not None:
                late = f" on timeout then {self.consequence(trigger.late, attrs.evolve(scope, aliases=dict(scope.aliases)))}"
        else:
            is_unmatched = isinstance(trigger, Unmatched)
            waited = (
                f"{'unmatched ' if is_unmatched else ''}{self._pattern(rule.pattern, scope, is_unmatched=is_unmatched)}"
            )
        head = f"{'final ' if rule.final else ''}rule {name} " if name else ""
        return f"{head}when {waited} then {self.consequence(consequence, scope)}{late}"

    def _scope(self, procedure: Procedure | None) -> Scope:
        names = {field.name: field.type for field in (procedure.inputs if procedure is not None else None) or ()}
        return Scope("act", {}, names=names, procedure=procedure)

    # -- what is waited for ----------------------------------------------------------

    def _join(self, join: Join, scope: Scope) -> str:
        inner = attrs.evolve(scope, aliases=dict(scope.aliases))
        shapes = [self._shape(part.pattern) for part in join.parts]
        parts = []
        for part in join.parts:
            local = attrs.evolve(scope if join.kind == "any" else inner, aliases=dict(inner.aliases))
            clauses = [*_clauses(part.pattern.where), *_clauses(part.where_joined)]
            where = And(tuple(clauses)) if len(clauses) > 1 else clauses[0] if clauses else None
            text = self._pattern(attrs.evolve(part.pattern, where=where), local, is_unmatched=False)
            parts.append(f"no {text}" if part.is_absent else text)
            if join.kind != "any" and not part.is_absent:
                inner = local
        self._bind(join, shapes, scope)
        key = self._key(join, shapes)
        window = f" within {span_text(join.within_us)}" if join.within_us is not None and join.kind != "quiet" else ""
        match join.kind:
            case "all" | "any":
                return f"{join.kind} of {', '.join(parts)}{key}{window}"
            case "times":
                return f"{join.count} times {' followed by '.join(parts)}{key}{window}"
            case "every":
                return f"every {parts[0]}{window}"
            case "quiet":
                return f"{parts[0]}{key} quiet for {span_text(join.within_us or 0)}"

    def _bind(self, join: Join, shapes: list[Shape], scope: Scope) -> None:
        named: dict[str, list[Shape]] = {}
        for part, shape in zip(join.parts, shapes, strict=True):
            if part.pattern.alias is not None and not part.is_absent:
                named.setdefault(part.pattern.alias, []).append(shape)
        scope.aliases.update({alias: shared_shape(found) for alias, found in named.items()})
        scope.names.update({name: ANY_TYPE for name in join.names if name})

    def _key(self, join: Join, shapes: list[Shape]) -> str:
        if join.kind == "every":
            return ""
        written = ["flow"] if join.is_by_flow else []
        aliases = {part.pattern.alias for part in join.parts}
        for place in range(len(join.names)):
            fields = [self._key_field(part, place) for part in join.parts]
            written.append(self._component(fields, join.parts, shapes, aliases))
        return f" by {', '.join(written)}" if written else ""

    def _key_field(self, part: Part, place: int) -> Field:
        field = part.keys[place]
        if not isinstance(field, Field):
            raise Unprintable("a key is a field of each part", part.pattern.span)
        return field

    def _component(
        self, fields: list[Field], parts: tuple[Part, ...], shapes: list[Shape], aliases: set[str | None]
    ) -> str:
        """One component of a key: the same bare field in all parts, or each by its alias."""
        bare = {Phrases(Scope("clause", {}, shape)).text(field) for field, shape in zip(fields, shapes, strict=True)}
        for texts in (bare, {part_text(field) for field in fields}):
            text = next(iter(texts))
            head = text.partition(".")[0].partition("[")[0]
            if len(texts) == 1 and text != "flow" and (head not in aliases or head == text):
                return text
        each = []
        for field, part, shape in zip(fields, parts, shapes, strict=True):
            alias = part.pattern.alias
            if alias is None:
                raise Unprintable("a part of this join has no name, and its key is another field", part.pattern.span)
            each.append(Phrases(Scope("act", {}, aliases={alias: shape})).text(attrs.evolve(field, record=alias)))
        return " == ".join(each)

    def _shape(self, pattern: Pattern) -> Shape:
        if pattern.callee is not None:
            return shape_of(None, pattern.family, pattern.outcomes)
        return self._declared.shape(pattern.family, pattern.outcomes)

    def _pattern(self, pattern: Pattern, scope: Scope, *, is_unmatched: bool) -> str:
        family = pattern.family
        if family != ANY and not is_dotted(family.removesuffix(".*")):
            raise Unprintable(f'"{family}" is no name in the language', pattern.span)
        text = "any" if family == ANY else family
        is_open = family == ANY or family.endswith(".*")
        unsaid = STRAYS if is_unmatched and is_open else {EVENT}
        if pattern.outcomes == FINISHED:
            text += " finished"
        elif pattern.outcomes != unsaid:
            if not pattern.outcomes <= _OUTCOMES.keys():
                raise Unprintable(f'"{family}" with and without an outcome in one pattern', pattern.span)
            text += f" {outcomes_text(pattern.outcomes)}"
        shape = self._shape(pattern)
        if pattern.alias is not None:
            text += f" as {pattern.alias}"
            scope.aliases[pattern.alias] = shape
        if pattern.where is not None:
            text += f" where {Phrases(_clause(shape, pattern.alias, scope)).text(pattern.where)}"
        return text

    # -- what follows --------------------------------------------------------------------

    def consequence(self, consequence: Consequence, scope: Scope) -> str:
        """The chain of steps that stands after `then`, and its `else`."""
        steps = [self._step(step, scope) for step in consequence.steps]
        text = " then ".join(steps)
        return f"{text} else {self._step(consequence.otherwise, scope)}" if consequence.otherwise is not None else text

    def ending(self, rule: Rule, procedure: Procedure | None = None) -> str:
        """`finally …`."""
        if rule.consequence is None:
            raise Unprintable(f'"{rule.name}" is a Python function', rule.span)
        return f"finally {self.consequence(rule.consequence, self._scope(procedure))}"

    def first(self, procedure: Procedure, rule: Rule) -> str:
        """`first …`."""
        if rule.consequence is None:
            raise Unprintable(f'"{rule.name}" is a Python function', rule.span)
        return f"first {self.consequence(rule.consequence, self._scope(procedure))}"

    def _step(self, step: Step, scope: Scope) -> str:
        text = ", ".join(self._act(act, scope) for act in step)
        acts: list[Act | None] = list(step)
        while acts:
            act = acts.pop()
            if act is None:
                continue
            acts.append(act.otherwise)
            if isinstance(act, Emit) and act.alias is not None:
                is_event = act.type in self._rules.events or act.type in ENGINE_EVENTS
                outcomes = frozenset((EVENT if is_event and act.callee is None else "done",))
                shape = self._declared.shape(act.type, outcomes)
                scope.aliases[act.alias] = shape if act.callee is None else shape_of(None, act.type, outcomes)
        return text

    def _act(self, act: Act, scope: Scope) -> str:
        phrases = Phrases(scope)
        match act:
            case Emit():
                text = self._emit(act, scope)
            case Loop(item, items, emit, index):
                names = {item: ANY_TYPE} if index is None else {item: ANY_TYPE, index: ANY_TYPE}
                inner = attrs.evolve(scope, names={**scope.names, **names})
                text = f"for {f'{index}, ' if index is not None else ''}{item} in {phrases.text(items)} emit {self._emit(emit, inner)}"
            case Save(name, value):
                text = f"save {name}: {phrases.text(value)}"
            case Return(args):
                known = scope.procedure.result if scope.procedure is not None else None
                text = f"return ({self._pairs(args, known or (), scope)})"
            case CancelTasks(type, where):
                is_callback = act.callee is not None
                text = f"cancel {type if is_callback else self.type_name(type, act.span)}"
                if where is not None:
                    shape = (
                        shape_of(None, type, frozenset()) if is_callback else self._declared.shape(type, frozenset())
                    )
                    inner = _clause(shape, None, scope)
                    text += f" where {Phrases(inner).text(where)}"
            case Skip(type, args):
                text = f"skip {self.type_name(type, act.span)}({self.args(type, args, scope)})"
            case EndFlow("done"):
                text = "end flow done"
            case EndFlow(_, reason):
                if reason is not None and not _is_text(reason):
                    raise Unprintable("the reason of `end flow failed` is no text", act.span)
                text = f"end flow failed {phrases.text(reason or Const(''))}"
            case CancelFlow():
                text = "cancel flow"
        if act.guard is not None:
            text += f" if {phrases.text(act.guard)}"
        if act.otherwise is not None:
            text += f" otherwise {self._act(act.otherwise, scope)}"
        return text

    def _emit(self, act: Emit, scope: Scope) -> str:
        is_call = act.callee is None and self._declared.procedure(act.type) is not None
        args = self.args(act.type, act.args, scope) if act.callee is None else self._pairs(act.args, (), scope)
        text = f"{'call ' if is_call else ''}{self.type_name(act.type, act.span)}({args})"
        text += f" as {act.alias}" if act.alias is not None else ""
        policy = act.policy or Policy()
        phrases = Phrases(scope)
        if policy.retry is not None:
            text += f" {retry_text(policy.retry)}"
            if act.retry_while is not None:
                shape = self._declared.shape(act.type, _FAILURES)
                if act.callee is not None:
                    shape = shape_of(None, act.type, _FAILURES)
                text += f" while {Phrases(Scope('clause', {}, shape)).text(act.retry_while)}"
        if policy.timeout_us is not None:
            text += f" timeout {span_text(policy.timeout_us)}"
        if policy.fail_fast:
            text += " fail fast"
        if act.after is not None:
            text += f" after {_delay_text(act.after, phrases)}"
        if act.at is not None:
            text += f" at {phrases.sum_text(act.at)}"
        if act.at_most is not None:
            text += f" at most once per {span_text(act.at_most.per_us)}"
            if act.at_most.by is not None:
                text += f" by {phrases.text(act.at_most.by)}"
        return text

    def args(self, type: str, args: Iterable[tuple[str, Expr]], scope: Scope) -> str:
        """Arguments, the names of tasks that are handed over bare."""
        return self._pairs(args, self._declared.inputs(type) or (), scope)

    def _pairs(self, args: Iterable[tuple[str, Expr]], fields: Iterable[FieldDecl], scope: Scope) -> str:
        phrases = Phrases(scope)
        callbacks = {field.name for field in fields if field.type.name == "task"}
        written = []
        for name, value in args:
            is_callback = name in callbacks and isinstance(value, Const) and value.value in self._rules.tasks
            written.append(
                f"{name}: {value.value if is_callback and isinstance(value, Const) else phrases.text(value)}"
            )
        return ", ".join(written)


def _clause(shape: Shape, alias: str | None, scope: Scope) -> Scope:
    return Scope(
        "clause", {}, shape, alias, dict(scope.aliases), dict(scope.names), procedure=scope.procedure
    )  # fmt: skip


def _delay_text(expr: Expr, phrases: Phrases) -> str:
    value = expr.value if isinstance(expr, Const) and expr.name is None else None
    return span_text(value * 1_000_000) if type(value) is int and value > 0 else phrases.sum_text(expr)


def _clauses(where: Expr | None) -> tuple[Expr, ...]:
    return conjuncts(where) if where is not None else ()


def _is_text(expr: Expr) -> bool:
    return isinstance(expr, Template) or (isinstance(expr, Const) and isinstance(expr.value, str) and expr.name is None)
