"""How types stand to each other, and how messages name them.

`any` fits everything: what is not declared is never refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from then.core.filters import Const, Expr, Field, FlowVariable, Function, Name, path_text
from then.core.rules import TypeRef
from then.core.tasks import Json
from then.core.values import json_text
from then.language.scope import ANY_TYPE, BOOL, FLOAT, INT, MAP, NULL, STR

TEXTS: Final = frozenset(("str", "file", "task"))
NUMBERS: Final = frozenset(("int", "float"))
_KINDS: Final = {
    "int": "number", "float": "number", "str": "text", "file": "text", "task": "text", "bool": "boolean",
    "list": "list", "null": "null",
}  # fmt: skip
_SHOWN_MAX: Final = 40


def kind(ref: TypeRef) -> str:
    """What JSON knows of a type: `number`, `text`, `boolean`, `list`, `map`, `null`, or `any`."""
    return "any" if ref.name == "any" else _KINDS.get(ref.name, "map")


def comparable(left: TypeRef, right: TypeRef) -> bool:
    """Whether two values may be equal."""
    one, other = kind(left), kind(right)
    if "any" in (one, other):
        return True
    if one != other:
        return False
    return one != "list" or not left.args or not right.args or comparable(left.args[0], right.args[0])


def assignable(found: TypeRef, target: TypeRef) -> bool:
    """Whether a value of one type may be handed on as another."""
    if "any" in (found.name, target.name):
        return True
    if found.name == "null":
        return target.optional
    if target.name in NUMBERS:
        return found.name == target.name or found.name == "int"
    one, other = kind(found), kind(target)
    if one != other:
        return False
    if one == "list":
        return not found.args or not target.args or assignable(found.args[0], target.args[0])
    return one != "map" or found.name in ("map", "error", target.name) or target.name == "map"


def common(refs: Iterable[TypeRef]) -> TypeRef:
    """The one type that holds them all; `any` where there is none."""
    merged: TypeRef | None = None
    for ref in refs:
        if merged is None or (merged.name == "int" and ref.name == "float"):
            merged = ref
        elif not assignable(ref, merged) or ref.name == "any":
            return ANY_TYPE
    return merged or ANY_TYPE


def type_of_value(value: Json) -> TypeRef:
    """The type of a value that is known."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return STR
    if isinstance(value, int | float):
        return INT if isinstance(value, int) else FLOAT
    if isinstance(value, list):
        return TypeRef("list", (common(type_of_value(item) for item in value),))
    return MAP


def shown(expr: Expr) -> str:
    """How messages name an expression: a place by its path, a value as JSON."""
    match expr:
        case Field(path, _, record):
            words = [record or "", path_text(path)]
            return ".".join(word for word in words if word)
        case Name(name, path):
            return path_text((name, *path)) if name else "this"
        case FlowVariable(path):
            return f"flow.{path_text(path)}"
        case Const(value, name):
            text = name or json_text(value)
            return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."
        case Function(name):
            return f"{name}(…)"
        case _:
            return "this"


def shown_value(expr: Const) -> str:
    text = shown(expr)
    return text if expr.value is None else f"{text}, {bare(type_of_value(expr.value))}"


def bare(ref: TypeRef) -> str:
    """A type without its question mark, as messages name it."""
    return ref.name if ref.name == "error" else str(attrs.evolve(ref, optional=False))
