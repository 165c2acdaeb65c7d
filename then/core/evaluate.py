"""The plain truth: what an expression comes to, and why.

One recursion over the nodes, written to be read, not to be quick; what is
quick (`then.core.compiled`, `then.core.index`) is tested against it. An
explanation is the same recursion, taking notes, so that the two cannot differ.

Clauses follow Kleene: `or` is true if one side is, `and` false if one side is,
else cannot say. An evaluation may take STEPS_MAX steps; they are counted inside
`some` and `every` only, where they multiply: outside, the work grows with the
expression and the record, both of which are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from then.core import regex
from then.core.fields import MISSING, read, reader, step_into
from then.core.fields import Scope as Scope  # noqa: PLC0414 (who evaluates needs both)
from then.core.filters import (
    And,
    Coalesce,
    Compare,
    Const,
    Contains,
    Expr,
    Field,
    FlowVariable,
    Function,
    In,
    LoadRef,
    Matches,
    Name,
    Opaque,
    Or,
    Quantified,
    SecretRef,
    Steps,
    Template,
    conjuncts,
    operands,
    place_text,
    walk,
)
from then.core.operations import combine, truth
from then.core.tasks import Json, Task
from then.core.values import CannotSay, described, json_text, kind_of, nodes_count

STEPS_MAX: Final = 1_000_000
"""Of one evaluation: a second or three. Nested loops over a body's lists are what reaches it."""
OVER_LIMIT: Final = CannotSay(f"limit: more than {STEPS_MAX:,} steps")

_PLACES: Final = (Field, Name, FlowVariable)

SHOWN_ITEMS: Final = 10
"""Of a loop that no single item decided: items shown in an explanation."""
SHOWN_CHARACTERS: Final = 60


class Verdict(NamedTuple):
    """What a rule's clause comes to."""

    value: bool | CannotSay
    groups: dict[str, str]
    """What the named groups of its regexes found; bound in the consequence."""


@attrs.frozen
class Explanation:
    """A node, what it came to, and what it came to that from."""

    expr: Expr
    value: Json
    """True, false, a value, or `CannotSay`."""
    children: tuple[Explanation, ...] = ()
    """Its operands', those that did not matter too; of a loop, those items that decide it."""

    @property
    def reason(self) -> str:
        """Why it cannot be said; else what its places held: `total = 250, flow.max = 300`."""
        if isinstance(self.value, CannotSay):
            return self.value.reason
        return ", ".join(
            f"{place_text(child.expr)} = {_shown(child.value)}"
            for child in self.children
            if isinstance(child.expr, _PLACES) and not isinstance(child.value, CannotSay)
        )

    @property
    def first_unmet(self) -> Explanation | None:
        """The first clause that was false or could not be said; null where it holds."""
        if self.value is True:
            return None
        for child in self.children if isinstance(self.expr, And) else ():
            if child.value is not True:
                return child.first_unmet
        return self


def evaluate(expr: Expr, scope: Scope) -> Json:
    """The value of an expression: JSON, or `CannotSay`.

    In an outermost `and` the groups of a regex that was found are bound in the clauses after it.
    """
    return _outermost(expr, _Run(scope), None)


def decide(where: Expr | None, scope: Scope) -> Verdict:
    """Whether a clause holds, and what its regexes bound. No clause holds always."""
    if where is None:
        return Verdict(True, {})
    run = _Run(scope)
    return Verdict(truth(_outermost(where, run, None)), run.groups)


def explain(expr: Expr, scope: Scope) -> Explanation:
    """What `evaluate` gives, as a tree with the value of every node."""
    notes: list[Explanation] = []
    _outermost(expr, _Run(scope), notes)
    return notes[0]


Compiled: TypeAlias = Callable[[Scope], Json]


def compile_value(expr: Expr) -> Compiled:
    """`evaluate` of one expression as a function of the scope, two to five times as quick.

    For what is evaluated again and again: arguments, guards. Loops, and clauses
    that bind groups, are left to `evaluate` itself.
    """
    binds = any(isinstance(clause, Matches) and clause.groups for clause in conjuncts(expr))
    if binds or any(isinstance(node, Quantified) for node in walk(expr)):
        return lambda scope: evaluate(expr, scope)
    return _compiled(expr)


def _compiled(expr: Expr) -> Compiled:
    match expr:
        case Const(value):
            return lambda scope: value
        case Field(path, source, record):
            return _compiled_field(
                reader(path, source), record, CannotSay(f"{place_text(expr)} is missing", True), path
            )
        case Name(name, path) if not path:
            return _compiled_name(expr, name)
        case Name() | FlowVariable():
            return lambda scope: read(expr, scope)
        case And(parts) | Or(parts):
            return _compiled_clauses([_compiled(part) for part in parts], decisive=isinstance(expr, Or))
        case Coalesce(parts):
            return _compiled_coalesce([_compiled(part) for part in parts])
        case Opaque():
            return lambda scope: _asked(expr, scope)
        case LoadRef() | SecretRef() | Quantified():
            return lambda scope: evaluate(expr, scope)
        case _:
            inner = [_compiled(operand) for operand in operands(expr)]
            return lambda scope: combine(expr, [run(scope) for run in inner])


def _compiled_field(reads: Callable[[Task], Json], alias: str | None, absent: CannotSay, path: Steps) -> Compiled:
    def field(scope: Scope) -> Json:
        record = scope.record if alias is None else scope.bindings.get(alias)
        value = reads(record) if type(record) is Task else MISSING if record is None else step_into(record, path)
        return absent if value is MISSING else value

    return field


def _compiled_name(expr: Name, name: str) -> Compiled:
    def value(scope: Scope) -> Json:
        bound = scope.bindings.get(name, MISSING)
        return read(expr, scope) if bound is MISSING or type(bound) is Task else bound

    return value


def _compiled_clauses(parts: Sequence[Compiled], *, decisive: bool) -> Compiled:
    def clauses(scope: Scope) -> Json:
        answer: Json = not decisive
        for part in parts:
            value = truth(part(scope))
            if value is decisive:
                return value
            if value is not answer and not isinstance(answer, CannotSay):
                answer = value
        return answer

    return clauses


def _compiled_coalesce(parts: Sequence[Compiled]) -> Compiled:
    def coalesce(scope: Scope) -> Json:
        value: Json = None
        for part in parts:
            value = part(scope)
            if value is not None and not (isinstance(value, CannotSay) and value.missing):
                break
        return value

    return coalesce


class _OverLimitError(Exception):
    pass


class _Run:
    """One evaluation: what names stand for by now, and the steps that are left."""

    __slots__ = ("groups", "loops", "scope", "steps")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.groups: dict[str, str] = {}
        self.loops = 0
        self.steps = STEPS_MAX

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise _OverLimitError

    def bind(self, name: str, value: Json) -> Scope:
        """Binds a name from here on; gives the scope as it was."""
        before = self.scope
        self.scope = Scope(before.record, {**before.bindings, name: value}, before.flow_variables)
        return before

    def bind_groups(self, clause: Matches) -> None:
        """Binds what the clause's groups found; it is known to be true."""
        text = _value(clause.text, self, None)
        for name, found in (regex.find_groups(clause.pattern, text) or {}).items():
            if name in clause.groups:
                self.groups[name] = found
                self.bind(name, found)


def _outermost(expr: Expr, run: _Run, notes: list[Explanation] | None) -> Json:
    try:
        if isinstance(expr, And):
            children: list[Explanation] | None = None if notes is None else []
            value = _all(conjuncts(expr), run, children, is_outermost=True)
            _note(notes, expr, value, children)
        else:
            value = _value(expr, run, notes)
            if isinstance(expr, Matches) and value is True:
                run.bind_groups(expr)
    except _OverLimitError:
        value = OVER_LIMIT
        if notes is not None:
            notes[:] = [Explanation(expr, value)]
    return value


def _value(expr: Expr, run: _Run, notes: list[Explanation] | None) -> Json:
    children: list[Explanation] | None = None if notes is None else []
    if run.loops:
        run.spend(1)
    if isinstance(expr, Const):
        value = expr.value
    elif isinstance(expr, _PLACES):
        value = read(expr, run.scope)
    elif type(expr) in _LAZY:
        value = _LAZY[type(expr)](expr, run, children)
    else:
        values = [_value(operand, run, children) for operand in operands(expr)]
        if run.loops:
            run.spend(_looked_through(expr, values))
        value = combine(expr, values)
    _note(notes, expr, value, children)
    return value


def _note(notes: list[Explanation] | None, expr: Expr, value: Json, children: Iterable[Explanation] | None) -> None:
    if notes is not None:
        notes.append(Explanation(expr, value, tuple(children or ())))


def _all(parts: Iterable[Expr], run: _Run, notes: list[Explanation] | None, *, is_outermost: bool = False) -> Json:
    """False where one is, else what first could not be said, else true."""
    answer: Json = True
    for part in parts:
        if answer is False:
            _aside(part, run, notes)
            continue
        value = truth(_value(part, run, notes))
        if value is not True and (answer is True or value is False):
            answer = value
        if is_outermost and value is True and isinstance(part, Matches):
            run.bind_groups(part)
        if answer is False and notes is None:
            break
    return answer


def _any(parts: Iterable[Expr], run: _Run, notes: list[Explanation] | None) -> Json:
    """True where one is, else what first could not be said, else false."""
    answer: Json = False
    for part in parts:
        if answer is True:
            _aside(part, run, notes)
            continue
        value = truth(_value(part, run, notes))
        if value is not False and (answer is False or value is True):
            answer = value
        if answer is True and notes is None:
            break
    return answer


def _aside(part: Expr, run: _Run, notes: list[Explanation] | None) -> None:
    """Notes on a clause that no longer matters; it may not use up the steps of those that do."""
    if notes is not None:
        notes.append(explain(part, run.scope))


def _first(parts: Iterable[Expr], run: _Run, notes: list[Explanation] | None) -> Json:
    """The first part that is neither missing nor null; where all are, the last."""
    value: Json = None
    for part in parts:
        value = _value(part, run, notes)
        if value is not None and not (isinstance(value, CannotSay) and value.missing):
            break
    return value


def _quantified(expr: Quantified, run: _Run, notes: list[Explanation] | None) -> Json:
    items = _value(expr.items, run, notes)
    if isinstance(items, CannotSay):
        return items
    if kind_of(items) != "list":
        return CannotSay(f"{expr.kind} {expr.variable} in {described(items)}; give a list")
    decisive = expr.kind == "some"
    answer: Json = not decisive
    shown: list[Explanation] = []
    before = run.scope
    run.loops += 1
    for item in items:
        run.bind(expr.variable, item)
        own: list[Explanation] | None = None if notes is None else []
        value = truth(_value(expr.condition, run, own))
        run.scope = before
        if value is not answer and (value is decisive or not isinstance(answer, CannotSay)):
            # One item decides, or makes it unsayable: that one alone is what there is to see.
            answer, shown = value, own or []
        elif not isinstance(answer, CannotSay) and len(shown) < SHOWN_ITEMS:
            shown.extend(own or [])
        if answer is decisive:
            break
    run.loops -= 1
    if notes is not None:
        notes.extend(shown)
    return answer


def _asked(expr: Opaque, scope: Scope) -> Json:
    if scope.record is None:
        return CannotSay(f"{expr.name} has no record to look at")
    try:
        return bool(expr.predicate(scope.record))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's function; what it raises is the answer)
        return CannotSay(f"{expr.name} raised {type(error).__name__}: {error}")


def _looked_through(expr: Expr, values: Iterable[Json]) -> int:
    """Steps for the sizes of what a node looks through: a step an item, and one for 1,024 characters."""
    if isinstance(expr, Compare | In | Contains | Matches | Template) or (
        isinstance(expr, Function) and expr.name not in ("len", "int", "float", "abs", "round", "env")
    ):
        return sum(len(value) >> 10 if isinstance(value, str) else nodes_count(value) for value in values)
    return 0


def _shown(value: Json) -> str:
    try:
        text = json_text(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


_LAZY: Final[dict[type, Callable[[Any, _Run, list[Explanation] | None], Json]]] = {
    And: lambda node, run, notes: _all(node.parts, run, notes),
    Or: lambda node, run, notes: _any(node.parts, run, notes),
    Coalesce: lambda node, run, notes: _first(node.parts, run, notes),
    Quantified: _quantified,
    Opaque: lambda node, run, notes: _asked(node, run.scope),
    LoadRef: lambda node, run, notes: {"type": "load", "name": list(node.path)},
    SecretRef: lambda node, run, notes: CannotSay(f"secret {node.name} has no value in a record"),
}
"""Nodes that do not need all their operands, or have none. All others are of `then.core.operations`."""
