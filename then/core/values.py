"""JSON values as clauses see them: kinds, equality, order, 64 bits, text.

One place for what "equal" means: the evaluator, the index and the keys of
joins all ask here, or are tested against it. Nothing here knows of fields.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

import msgspec

from then.core.errors import BodyRefused
from then.core.tasks import Json

Kind: TypeAlias = Literal["null", "boolean", "number", "text", "list", "map", "other"]


class CannotSay(msgspec.Struct, frozen=True):
    """The third outcome of a clause, and what stands for a value that cannot be had."""

    reason: str
    """Why, in a few words, with the values of that moment."""
    missing: bool = False
    """Because of a field that is not there: what `??` skips and `is missing` sees."""

    def __bool__(self) -> bool:
        # Neither true nor false: `if evaluate(…)` would take it for true.
        raise TypeError(f"cannot say ({self.reason}); compare the outcome with `is True`")


INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

HALF_PAIR: Final = re.compile(r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")
"""Half of a surrogate pair, in JSON: msgspec says of it that the text is cut short."""

_KEYS: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+(:?)|[{}]', re.DOTALL)
"""What there is to see of JSON for who looks for its keys: objects, and texts, of which a key has a colon."""
_KINDS: Final[dict[type, Kind]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    list: "list",
    dict: "map",
}
_ARTICLES: Final[dict[Kind, str]] = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "text": "a text",
    "list": "a list",
    "map": "a map",
    "other": "no JSON value",
}


def check_keys(text: str | bytes, what: str, path: str = "") -> None:
    """Refuses JSON in which an object has a key twice: which of the two is meant nobody knows.

    Args:
        text: has been read as JSON.

    Raises:
        BodyRefused: with line and column of the second.

    Cost: grows with the text, at 0.1 s for a megabyte, or half a second where it is keys all through.
    """
    if isinstance(text, bytes):
        text = text.decode()
    objects: list[set[str]] = []
    for found in _KEYS.finditer(text):
        key = found[1]
        if key is None:
            if found[0] == "{":
                objects.append(set())
            else:
                objects.pop()
        elif found[2]:
            if "\\" in key:
                key = msgspec.json.decode(f'"{key}"')
            if key in objects[-1]:
                line, start = text.count("\n", 0, found.start()) + 1, text.rfind("\n", 0, found.start())
                place = f"{line}:{found.start() - start}"
                reason = f'the key "{found[1][:60]}" is there twice'
                raise BodyRefused(what, f"{path}: {place}" if path else place, reason)
            objects[-1].add(key)


def kind_of(value: Json) -> Kind:
    """What a value is in JSON; a boolean is no number, and a subclass is what its base is.

    `other` is what only a record made by hand can hold, such as a tuple.
    """
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    for base, kind in _KINDS.items():
        if isinstance(value, base):
            return kind
    return "other"


def described(value: Json) -> str:
    """`a text`, `null`, …: for reasons."""
    return _ARTICLES[kind_of(value)]


def equal(left: Json, right: Json) -> bool:
    """Equality by JSON type and value: `1 == 1.0`, exactly; `true != 1`; lists and maps deeply.

    Two values that are no JSON are equal where Python says so, a boolean aside:
    then a dict lookup, which the index does, and this agree.

    Cost: grows with the number of nodes; no recursion, so depth cannot end it.
    """
    if type(left) is type(right) and type(left) in _FLAT:
        return bool(left == right)
    todo: list[tuple[Json, Json]] = [(left, right)]
    while todo:
        one, other = todo.pop()
        kind = kind_of(one)
        if kind == "list" and kind_of(other) == "list":
            if len(one) != len(other):
                return False
            todo.extend(zip(one, other, strict=True))
        elif kind == "map" and kind_of(other) == "map":
            if one.keys() != other.keys():
                return False
            todo.extend((value, other[key]) for key, value in one.items())
        elif (kind == "boolean") != (kind_of(other) == "boolean") or one != other:
            return False
    return True


# Where both have one of these types Python's equality is that of JSON.
_FLAT: Final = frozenset((str, int, float, bool, type(None)))


def nodes_count(value: Json) -> int:
    """How many values a value is made of, itself included: what walking it costs."""
    count = 0
    todo = [value]
    while todo:
        node = todo.pop()
        count += 1
        kind = kind_of(node)
        if kind == "list":
            todo.extend(node)
        elif kind == "map":
            todo.extend(node.values())
    return count


def is_ordered(left: Json, right: Json) -> bool:
    """Whether `<` can be said: between two numbers that are none but numbers, or two texts."""
    kind = kind_of(left)
    if kind == "number":
        return kind_of(right) == "number" and not is_nan(left) and not is_nan(right)
    return kind == "text" and kind_of(right) == "text"


def is_nan(value: Json) -> bool:
    """The one number that does not equal itself; no body has it, arithmetic by hand may."""
    return bool(value != value)  # noqa: PLR0124 (that is what a NaN is known by)


def is_within_limits(number: float) -> bool:
    """Whether a body may hold the number: an integer of 64 bits, or a finite float."""
    if isinstance(number, int):
        return INTEGER_MIN <= number <= INTEGER_MAX
    return number - number == 0


def json_text(value: Json) -> str:
    """The value as compact JSON.

    Raises:
        TypeError, ValueError, UnicodeEncodeError: it is no JSON.
    """
    return msgspec.json.encode(value).decode()


def text_of(value: Json) -> str:
    """How a value stands in a template: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def canonical_text(value: Json) -> str:
    """One text for all values that are equal as JSON: of `1` and `1.0`, not of `1` and `"1"`."""
    return json_text(canonical(value))


def canonical(value: Json) -> Json:
    """The one form of all values that equal it: `1.0` is 1, the fields of an object are in order."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    if kind is list:
        return [canonical(item) for item in value]
    if kind is dict:
        return {key: canonical(value[key]) for key in sorted(value)}
    return value
