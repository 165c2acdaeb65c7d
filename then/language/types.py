"""Types of expressions: what is compared, added and handed on fits, or is refused.

A second pass over resolved expressions. Types are those of declarations
(`TypeRef`), with `null` and `error` besides; `any` fits everything, so that
what is not declared is never refused. `optional` on the way means "may be
missing or null": using such a place without looking first is worth a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs

from then.core.errors import RuleError, TypeMismatch, UnknownName
from then.core.filters import (
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Const,
    Contains,
    Expr,
    Field,
    FlowVariable,
    Function,
    In,
    IsMissing,
    IsNull,
    ListOf,
    LoadRef,
    MapOf,
    Matches,
    Name,
    Negative,
    Not,
    Or,
    Quantified,
    SecretRef,
    Template,
    path_text,
)
from then.core.rules import TypeRef
from then.core.source import Span
from then.core.typed import Types
from then.language.kinship import (
    NUMBERS,
    TEXTS,
    assignable,
    bare,
    common,
    comparable,
    kind,
    shown,
    shown_value,
    type_of_value,
)
from then.language.scope import ANY_TYPE, BOOL, FLOAT, INT, MAP, STR, Declared, Scope, Shape
from then.language.units import Unit

_FUNCTION_TYPES: Final[dict[str, tuple[tuple[str, ...], TypeRef]]] = {
    "int": (("number text",), INT), "float": (("number text",), FLOAT), "str": (("",), STR),
    "len": (("text list map",), INT), "lower": (("text",), STR), "upper": (("text",), STR), "trim": (("text",), STR),
    "abs": (("number",), FLOAT), "round": (("number", "number"), INT), "json": (("",), STR), "sh": (("",), STR),
    "split": (("text", "text"), TypeRef("list", (STR,))), "join": (("list", "text"), STR),
    "keys": (("map",), TypeRef("list", (STR,))), "env": (("text",), attrs.evolve(STR, optional=True)),
}  # fmt: skip
"""Name: the kinds that each argument may be of (empty: any), and what comes of it."""


class _Pending(NamedTuple):
    """An optional place that was used; a guard may still follow in the same clause."""

    key: str
    shown: str
    span: Span | None


class Typer:
    """Finds the types of one unit's expressions."""

    def __init__(self, unit: Unit, declared: Declared) -> None:
        self.unit = unit
        self.declared = declared
        self._values = Types(declared.rules)
        self._pending: list[_Pending] = []
        self._types: dict[type, Callable[[Any, Scope], TypeRef]] = {
            Const: lambda expr, scope: type_of_value(expr.value), Field: self._field, Name: self._name,
            FlowVariable: lambda expr, scope: ANY_TYPE, LoadRef: lambda expr, scope: ANY_TYPE,
            SecretRef: lambda expr, scope: STR,
            Template: self._template, ListOf: self._list, MapOf: self._map, Not: self._not, And: self._all,
            Or: self._all, Compare: self._compare, In: self._in, Contains: self._contains, Matches: self._matches,
            IsNull: self._look, IsMissing: self._look, Coalesce: self._coalesce, Arithmetic: self._arithmetic,
            Negative: self._negative, Function: self._function, Quantified: self._quantified,
        }  # fmt: skip

    def type_of(self, expr: Expr, scope: Scope) -> TypeRef:
        """The type of an expression; `any` where it was refused, or is not known."""
        return self._types[type(expr)](expr, scope)

    def check_clause(self, clause: Expr, scope: Scope) -> None:
        """A `where` or guard: true or false. What it looks at is guarded from then on."""
        self._check_truth(clause, scope)
        self.end_clause(scope, mentions_guard=True)

    def check_condition(self, clause: Expr, scope: Scope) -> None:
        """A clause that may well be one that cannot be said: that of a breakpoint, where this is counted."""
        self._check_truth(clause, scope)
        self.forget()

    def forget(self) -> None:
        """Says nothing of the optional places that were looked at."""
        self._pending.clear()

    def check_value(self, expr: Expr, target: TypeRef, scope: Scope, what: str) -> None:
        """An argument, a default: a value of the declared type.

        Args:
            what: how messages name the place, such as `pay(amount: …)`.
        """
        if isinstance(expr, MapOf) and target.name in self.declared.rules.records:
            self._check_record(expr, target, scope, what)
        elif isinstance(expr, ListOf) and target.name == "list" and target.args:
            for item in expr.items:
                self.check_value(item, target.args[0], scope, what)
        elif isinstance(expr, Const):
            fault = self._values.check(target)(expr.value) if self._is_known(target) else None
            if fault is not None:
                path = f" at {fault.path}" if fault.path else ""
                self._refuse(TypeMismatch(f"{what} is {target}; here is {shown_value(expr)}{path}"), expr.span)
        else:
            found = self.guard(expr, scope) if target.optional else self.type_of(expr, scope)
            if not assignable(found, target):
                self._refuse(TypeMismatch(f"{what} is {target}; {shown(expr)} is {bare(found)}"), expr.span)

    def end_clause(self, scope: Scope, *, mentions_guard: bool = False) -> None:
        """Warns of optional places that nothing in the clause has looked at."""
        for key, place, span in self._pending:
            if not _is_guarded(key, scope.guarded):
                message = f"{place} may be missing, and then this cannot be said"
                self.unit.warn(
                    "T601", message, span, f"look first, as in `has {place}`, or give a default: `{place} ?? …`"
                )
                scope.guarded.add(key)
        if mentions_guard:
            scope.guarded.update(pending.key for pending in self._pending)
        self._pending.clear()

    # -- places --------------------------------------------------------------

    def _field(self, expr: Field, scope: Scope) -> TypeRef:
        found = self._type_at(expr, scope)
        if found.optional:
            self._pending.append(_Pending(_key(expr, scope), shown(expr), expr.span))
        return found

    def _type_at(self, expr: Field, scope: Scope) -> TypeRef:
        shape = scope.shape(expr.record)
        if shape is None or expr.source == "any":
            return ANY_TYPE
        return self._walk(_base(shape, expr), expr.path, expr.span)

    def _name(self, expr: Name, scope: Scope) -> TypeRef:
        if expr.name in scope.names:
            return self._walk(scope.names[expr.name], (expr.name, *expr.path), expr.span)
        return MAP if expr.name in scope.aliases else ANY_TYPE

    def _walk(self, ref: TypeRef, path: tuple[str | int, ...], span: Span | None) -> TypeRef:
        """The type at the end of a path, of which the first step is of type `ref`."""
        optional = ref.optional
        for i in range(1, len(path)):
            step = path[i]
            if ref.name == "any":
                return ANY_TYPE
            inner = self._step(ref, step, path_text(path[:i]), span)
            ref, optional = inner, optional or inner.optional
        return ref if ref.optional == optional else attrs.evolve(ref, optional=optional)

    def _step(self, ref: TypeRef, step: str | int, before: str, span: Span | None) -> TypeRef:
        record = self.declared.rules.records.get(ref.name)
        if record is not None and isinstance(step, str):
            for field in record.fields:
                if field.name == step:
                    return field.type
            self._refuse(UnknownName(f"field of {ref.name}", step, [field.name for field in record.fields]), span)
            return ANY_TYPE
        if ref.name == "error" and isinstance(step, str):
            if step == "message" and ref.args:
                return ref.args[0]
            return STR if step in ("kind", "message") else ANY_TYPE
        if (ref.name == "list" and isinstance(step, int)) or (ref.name == "map" and isinstance(step, str)):
            return ref.args[0] if ref.args else ANY_TYPE
        what = f"no item {step}" if isinstance(step, int) else f'no field "{step}"'
        self._refuse(TypeMismatch(f"{before} is {bare(ref)} and has {what}"), span)
        return ANY_TYPE

    def guard(self, expr: Expr, scope: Scope) -> TypeRef:
        """The type of a place that is looked at with care: `is missing`, `??`, an optional argument."""
        if isinstance(expr, Field):
            scope.guarded.add(_key(expr, scope))
            return self._type_at(expr, scope)
        return self.type_of(expr, scope)

    # -- connectives and tests -------------------------------------------------

    def _check_truth(self, expr: Expr, scope: Scope) -> None:
        found = self.type_of(expr, scope)
        if found.name not in ("bool", "any"):
            message = f"a condition is true or false; {shown(expr)} is {bare(found)}"
            self._refuse(TypeMismatch(message), expr.span)

    def _not(self, expr: Not, scope: Scope) -> TypeRef:
        self._check_truth(expr.of, scope)
        return BOOL

    def _all(self, expr: And | Or, scope: Scope) -> TypeRef:
        for part in expr.parts:
            self._check_truth(part, scope)
        return BOOL

    def _look(self, expr: IsNull | IsMissing, scope: Scope) -> TypeRef:
        self.guard(expr.of, scope)
        return BOOL

    def _compare(self, expr: Compare, scope: Scope) -> TypeRef:
        for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
            if isinstance(one, Const) and one.value is None and expr.op in ("==", "!="):
                self.guard(other, scope)
                return BOOL
        left, right = self.type_of(expr.left, scope), self.type_of(expr.right, scope)
        if expr.op in ("==", "!="):
            if not comparable(left, right):
                self._unlike(expr, left, right, "unlike values are never equal")
        elif not _is_ordered(left) or not _is_ordered(right):
            odd, ref = (expr.left, left) if not _is_ordered(left) else (expr.right, right)
            self._refuse(TypeMismatch(f"{shown(odd)} is {bare(ref)}; numbers and texts have an order"), expr.span)
        elif not comparable(left, right):
            self._unlike(expr, left, right, "unlike values have no order")
        return BOOL

    def _unlike(self, expr: Compare, left: TypeRef, right: TypeRef, why: str) -> None:
        message = f"{shown(expr.left)} is {bare(left)} and {shown(expr.right)} is {bare(right)}; {why}"
        self._refuse(TypeMismatch(message), expr.span)

    def _in(self, expr: In, scope: Scope) -> TypeRef:
        item, container = self.type_of(expr.item, scope), self.type_of(expr.container, scope)
        if container.name == "list":
            wanted = container.args[0] if container.args else ANY_TYPE
        elif kind(container) == "map":
            wanted = STR
        elif container.name == "any":
            return BOOL
        else:
            hint = f"; did you mean `{shown(expr.container)} contains …`?" if container.name in TEXTS else ""
            message = f"`in` looks into a list or a map; {shown(expr.container)} is {bare(container)}{hint}"
            self._refuse(TypeMismatch(message), expr.span)
            return BOOL
        if not comparable(item, wanted):
            message = f"{shown(expr.item)} is {bare(item)} and what {shown(expr.container)} holds is {bare(wanted)}; unlike values are never equal"
            self._refuse(TypeMismatch(message), expr.span)
        return BOOL

    def _contains(self, expr: Contains, scope: Scope) -> TypeRef:
        container, item = self.type_of(expr.container, scope), self.type_of(expr.item, scope)
        if container.name == "list":
            wanted = container.args[0] if container.args else ANY_TYPE
        elif container.name in TEXTS:
            wanted = STR
        elif container.name == "any":
            return BOOL
        else:
            message = f"`contains` looks into a list or a text; {shown(expr.container)} is {bare(container)}"
            self._refuse(TypeMismatch(message), expr.span)
            return BOOL
        if not comparable(item, wanted):
            message = f"{shown(expr.container)} holds {bare(wanted)}; {shown(expr.item)} is {bare(item)}"
            self._refuse(TypeMismatch(message), expr.span)
        return BOOL

    def _matches(self, expr: Matches, scope: Scope) -> TypeRef:
        self._expect(expr.text, "text", scope, "`matches` looks into a text")
        return BOOL

    def _quantified(self, expr: Quantified, scope: Scope) -> TypeRef:
        items = self._expect(expr.items, "list", scope, f"`{expr.kind} {expr.variable} in` goes through a list")
        before = scope.names.get(expr.variable)
        scope.names[expr.variable] = items.args[0] if items.name == "list" and items.args else ANY_TYPE
        self._check_truth(expr.condition, scope)
        if before is None:
            del scope.names[expr.variable]
        else:
            scope.names[expr.variable] = before
        return BOOL

    # -- values ------------------------------------------------------------------

    def _template(self, expr: Template, scope: Scope) -> TypeRef:
        for part in expr.parts:
            if not isinstance(part, str):
                self.type_of(part, scope)
        return STR

    def _list(self, expr: ListOf, scope: Scope) -> TypeRef:
        return TypeRef("list", (common(self.type_of(item, scope) for item in expr.items),))

    def _map(self, expr: MapOf, scope: Scope) -> TypeRef:
        for _, value in expr.items:
            self.type_of(value, scope)
        return MAP

    def _coalesce(self, expr: Coalesce, scope: Scope) -> TypeRef:
        found = [self.guard(part, scope) for part in expr.parts[:-1]]
        last = self.type_of(expr.parts[-1], scope)
        merged = common((*found, last))
        return attrs.evolve(merged, optional=last.optional) if merged.name != "any" else ANY_TYPE

    def _arithmetic(self, expr: Arithmetic, scope: Scope) -> TypeRef:
        left, right = self.type_of(expr.left, scope), self.type_of(expr.right, scope)
        if left.name == "any" or right.name == "any":
            return ANY_TYPE
        if left.name in NUMBERS and right.name in NUMBERS:
            return INT if left.name == right.name == "int" and expr.op != "/" else FLOAT
        if expr.op == "+" and left.name in TEXTS and right.name in TEXTS:
            return STR
        if expr.op == "+" and left.name == right.name == "list":
            return TypeRef("list", (common((*left.args, *right.args)),))
        what = "adds numbers, two texts or two lists" if expr.op == "+" else "takes numbers"
        message = f"`{expr.op}` {what}; {shown(expr.left)} is {bare(left)} and {shown(expr.right)} is {bare(right)}"
        self._refuse(TypeMismatch(message), expr.span)
        return ANY_TYPE

    def _negative(self, expr: Negative, scope: Scope) -> TypeRef:
        return self._expect(expr.of, "number", scope, "`-` takes a number")

    def _function(self, expr: Function, scope: Scope) -> TypeRef:
        if expr.name in ("min", "max"):
            return self._extreme(expr, scope)
        kinds, result = _FUNCTION_TYPES[expr.name]
        for arg, wanted in zip(expr.args, kinds, strict=False):
            if wanted:
                found = self._expect(arg, wanted, scope, f"{expr.name}(…) takes a {' or a '.join(wanted.split())}")
                if expr.name == "abs":
                    result = found
            else:
                self.type_of(arg, scope)
        return FLOAT if expr.name == "round" and len(expr.args) == 2 else result

    def _extreme(self, expr: Function, scope: Scope) -> TypeRef:
        found = [self.type_of(arg, scope) for arg in expr.args]
        if len(found) == 1 and found[0].name == "list":
            return found[0].args[0] if found[0].args else ANY_TYPE
        merged = common(found)
        if any(kind(ref) not in ("number", "text", "any") for ref in found) or (
            merged.name == "any" and all(ref.name != "any" for ref in found)
        ):
            listed = ", ".join(bare(ref) for ref in found)
            self._refuse(
                TypeMismatch(f"{expr.name}(…) takes numbers, texts, or one list of them; here are {listed}"), expr.span
            )
        return merged

    # -- shared --------------------------------------------------------------------

    def _expect(self, expr: Expr, kinds: str, scope: Scope, rule: str) -> TypeRef:
        found = self.type_of(expr, scope)
        if kind(found) not in (*kinds.split(), "any"):
            self._refuse(TypeMismatch(f"{rule}; {shown(expr)} is {bare(found)}"), expr.span)
            return ANY_TYPE
        return found

    def _check_record(self, expr: MapOf, target: TypeRef, scope: Scope, what: str) -> None:
        fields = {field.name: field for field in self.declared.rules.records[target.name].fields}
        given = dict(expr.items)
        for name, value in given.items():
            if name in fields:
                self.check_value(value, fields[name].type, scope, f"{what}.{name}")
            else:
                self._refuse(UnknownName(f"field of {target.name}", name, fields), value.span or expr.span)
        for name, field in fields.items():
            if name not in given and not field.type.optional and field.default is None:
                self._refuse(TypeMismatch(f'{what} is {target}, which needs "{name}: {field.type}"'), expr.span)

    def _is_known(self, ref: TypeRef) -> bool:
        """Whether all names in a type are declared: what was refused once is not looked at again."""
        return (kind(ref) != "map" or ref.name in ("map", *self.declared.rules.records)) and all(
            self._is_known(arg) for arg in ref.args
        )

    def _refuse(self, error: RuleError, span: Span | None) -> None:
        error.span = span
        error.line = self.unit.line(span)
        self.unit.findings.refuse(error)


def _is_ordered(ref: TypeRef) -> bool:
    return kind(ref) in ("number", "text", "any")


def _base(shape: Shape, expr: Field) -> TypeRef:
    if not expr.path:
        return MAP
    name = str(expr.path[0])
    if expr.source == "own":
        return shape.own.get(name, ANY_TYPE)
    declared = shape.body if expr.source == "body" else shape.result
    return (declared or {}).get(name, ANY_TYPE)


def _key(expr: Field, scope: Scope) -> str:
    return f"{expr.record or scope.record_alias or ''}.{expr.source}.{path_text(expr.path)}"


def _is_guarded(key: str, guarded: set[str]) -> bool:
    """Whether something has looked at the place, or at what it is a part of."""
    return key in guarded or any(key.startswith((f"{place}.", f"{place}[")) for place in guarded)
