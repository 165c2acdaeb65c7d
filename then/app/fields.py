"""Declared fields in Python: `id=int`, `tag="str?"`, `items=list[int]`."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Final

from then.core.errors import RuleError
from then.core.rules import FieldDecl, TypeRef

_TYPES: Final[dict[object, str]] = {
    int: "int", float: "float", str: "str", bool: "bool", list: "list", dict: "map", object: "any", typing.Any: "any",
}  # fmt: skip
_WRITTEN: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\[(.*)\])?\s*(\?)?\s*", re.DOTALL)


def fields_of(fields: Mapping[str, object]) -> tuple[FieldDecl, ...]:
    """The fields of a declaration, in the order given."""
    return tuple(FieldDecl(name, type_ref(type)) for name, type in fields.items())


def type_ref(type: object) -> TypeRef:
    """A type as Python says it (`int`, `list[str]`, `int | None`), or as the language does (`"list[str]?"`).

    Raises:
        RuleError: it is none of a field.
    """
    if isinstance(type, str):
        found = _WRITTEN.fullmatch(type)
        if found is not None:
            inner = () if found[2] is None else (type_ref(found[2]),)
            return TypeRef(found[1], inner, optional=found[3] is not None)
    elif isinstance(type, types.UnionType) or typing.get_origin(type) is typing.Union:
        given = [one for one in typing.get_args(type) if one is not types.NoneType]
        if len(given) == 1 and len(typing.get_args(type)) == 2:
            ref = type_ref(given[0])
            return TypeRef(ref.name, ref.args, optional=True)
    elif typing.get_origin(type) in (list, dict):
        args = typing.get_args(type)
        return TypeRef("list" if typing.get_origin(type) is list else "map", (type_ref(args[-1]),))
    elif (name := _TYPES.get(type)) is not None:
        return TypeRef(name)
    raise RuleError(f'{type!r} is no type of a field; one of int, float, str, bool, list, dict, or text such as "str?"')
