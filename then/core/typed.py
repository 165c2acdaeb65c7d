"""Values of declared types: bodies on their way in, results, texts of a command line.

`Types` compiles the declarations of one rule set into small checks, because
they run on each emission and each completion. What is declared stands in
`then.core.rules`; whether an expression may have a type is decided before
anything runs, in `then.language.types`.

A value of a type: `int` an integer, `float` any number, `str` text, `bool`
true or false, `file` and `task` text (a path, a task's name), `any` anything,
`list[T]`, `map` and `map[T]` an object, a record's name an object with its
fields. `T?` is null or missing besides. Numbers are not turned into each
other: `1.0` is no `int`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from then.core.errors import BodyRefused, nearest
from then.core.filters import Const
from then.core.rules import FieldDecl, RuleSet, TypeRef
from then.core.tasks import Body, Json
from then.core.values import check_keys
from then.core.variables import is_reference


class Fault(NamedTuple):
    """The first thing in a value that is not as declared."""

    path: str
    """From the value down: `items[2].sku`; empty for the value itself."""
    reason: str


Check: TypeAlias = Callable[[Json], Fault | None]
"""None where the value is of the type."""

_EXACT: Final[dict[str, type]] = {"int": int, "str": str, "bool": bool, "file": str, "task": str}
_KINDS: Final = {
    bool: "a boolean", int: "an integer", float: "a number", str: "text", list: "a list", dict: "an object",
}  # fmt: skip
_TEXTS: Final = frozenset(("str", "file", "task"))


class _Fields(NamedTuple):
    checks: tuple[tuple[str, Check, bool], ...]
    """Name, check, whether it must be there."""
    defaults: tuple[tuple[str, Json], ...]
    declared: dict[str, FieldDecl]


class Types:
    """The declared types of a rule set, compiled on first use of each."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._records: dict[str, _Fields] = {}
        self._inputs: dict[str, _Fields | None] = {}
        self._results: dict[str, _Fields | None] = {}

    def body(self, type: str, body: Body) -> Body:
        """The body with its defaults; the same object where none was filled in.

        Fields that are not declared are kept: clauses reach them as `body.x`.

        Args:
            type: of a task or event; one that is not declared takes any body.
            body: JSON, within the limits of `check_json`.

        Raises:
            BodyRefused: a field is missing or of another type.

        Cost: grows with the declared fields and the items of lists in them.
        """
        try:
            fields = self._inputs[type]
        except KeyError:
            fields = self._inputs[type] = self._compile(self.inputs(type))
        if fields is None:
            return body
        for name, value in fields.defaults:
            if name not in body:
                body = {**body, name: value}
        fault = _check_object(body, fields)
        if fault is not None:
            raise BodyRefused(type, fault.path, fault.reason)
        return body

    def result(self, type: str, result: Body | None) -> str | None:
        """What is wrong with the result of a task that is done; None where all is as declared."""
        try:
            fields = self._results[type]
        except KeyError:
            declared = self._rules.tasks.get(type) or self._rules.procedures.get(type)
            fields = self._results[type] = self._compile(declared.result if declared else None)
        if fields is None:
            return None
        fault = _check_object(result or {}, fields)
        return f"{fault.path}: {fault.reason}" if fault else None

    def inputs(self, type: str) -> tuple[FieldDecl, ...] | None:
        """The declared fields of a task's or event's body; None where nothing is declared."""
        declared = self._rules.tasks.get(type) or self._rules.procedures.get(type)
        if declared is not None:
            return declared.inputs
        event = self._rules.events.get(type)
        return event.fields if event is not None else None

    def unknown(self, type: str, names: Iterable[str]) -> tuple[str, ...]:
        """Those names that a declared body has no field for, each with what was perhaps meant."""
        inputs = self.inputs(type)
        if inputs is None:
            return ()
        known = [field.name for field in inputs]
        return tuple(f'"{name}"{nearest(name, known)}' for name in names if name not in known)

    def read(self, type: str, name: str, text: str, fields: Iterable[FieldDecl] | None) -> Json:
        """A value of the command line, `KEY=VALUE`, read by the declared type of that field.

        Args:
            type: of the record, for messages.
            fields: that are declared: its inputs, or its result; None where nothing is.

        Raises:
            BodyRefused: the text is no value of the type, or an object in it has a key twice.
        """
        ref = next((field.type for field in fields or () if field.name == name), None)
        if ref is not None and ref.name in _TEXTS:
            return text
        try:
            value = msgspec.json.decode(text)
            check_keys(text, type, name)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            value = text
        if ref is not None:
            fault = self.check(ref)(value)
            if fault is not None:
                below = _below(name, fault)
                raise BodyRefused(type, below.path, below.reason)
        return value

    def check(self, ref: TypeRef) -> Check:
        """The check of one type."""
        inner = self._check_bare(ref)
        if not ref.optional or ref.name == "any":
            return inner
        return lambda value: None if value is None else inner(value)

    def _check_bare(self, ref: TypeRef) -> Check:
        if ref.name == "any":
            return lambda value: None
        exact = _EXACT.get(ref.name)
        if exact is not None:
            return lambda value: None if type(value) is exact else _unlike(value, ref)
        if ref.name == "float":
            return lambda value: None if type(value) is float or type(value) is int else _unlike(value, ref)
        if ref.name == "list":
            return _check_list(ref, self.check(ref.args[0]) if ref.args else None)
        if ref.name == "map":
            return _check_map(ref, self.check(ref.args[0]) if ref.args else None)
        # Looked up when a value comes, since records may hold themselves.
        return lambda value: (
            _check_object(value, self._record(ref.name)) if type(value) is dict else _unlike(value, ref)
        )

    def _record(self, name: str) -> _Fields:
        fields = self._records.get(name)
        if fields is None:
            fields = self._records[name] = self._compile_fields(self._rules.records[name].fields)
        return fields

    def _compile(self, declared: tuple[FieldDecl, ...] | None) -> _Fields | None:
        return None if declared is None else self._compile_fields(declared)

    def _compile_fields(self, declared: tuple[FieldDecl, ...]) -> _Fields:
        return _Fields(
            tuple((field.name, self.check(field.type), not field.type.optional) for field in declared),
            tuple((field.name, field.default.value) for field in declared if isinstance(field.default, Const)),
            {field.name: field for field in declared},
        )


_MISSING: Final = object()


def _check_object(value: Body, fields: _Fields) -> Fault | None:
    for name, check, is_required in fields.checks:
        item = value.get(name, _MISSING)
        if item is _MISSING:
            if is_required:
                return Fault(name, _missing(name, value, fields))
            continue
        fault = check(item)
        if fault is not None and not is_reference(item):  # What it stands for is checked when it is there.
            return _below(name, fault)
    return None


def _missing(name: str, value: Body, fields: _Fields) -> str:
    undeclared = [key for key in value if key not in fields.declared]
    hint = nearest(name, undeclared).replace("did you mean", "is it given as")
    return f"missing, {fields.declared[name].type} is declared{hint}"


def _check_list(ref: TypeRef, check: Check | None) -> Check:
    def run(value: Json) -> Fault | None:
        if type(value) is not list:
            return _unlike(value, ref)
        if check is not None:
            for i, item in enumerate(value):
                fault = check(item)
                if fault is not None:
                    return _below(f"[{i}]", fault)
        return None

    return run


def _check_map(ref: TypeRef, check: Check | None) -> Check:
    def run(value: Json) -> Fault | None:
        if type(value) is not dict:
            return _unlike(value, ref)
        if check is not None:
            for key, item in value.items():
                fault = check(item)
                if fault is not None:
                    return _below(key, fault)
        return None

    return run


def _below(step: str, fault: Fault) -> Fault:
    joint = "" if not fault.path or fault.path.startswith("[") else "."
    return Fault(f"{step}{joint}{fault.path}", fault.reason)


def _unlike(value: Json, ref: TypeRef) -> Fault:
    found = "null" if value is None else _KINDS.get(type(value), type(value).__name__)
    if type(value) is str:
        shown = value if len(value) <= 40 else value[:37] + "..."
        found = f'the text "{shown}"'
    elif type(value) in (int, float):
        found = f"the number {value}"
    return Fault("", f"{found}, {ref} is declared")
