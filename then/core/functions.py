"""The functions of the language, over values that are there.

Each takes JSON values and gives one, or `CannotSay` for a value that it cannot
take. How many arguments each takes stands in `then.core.filters.FUNCTIONS`;
`then.core.evaluate` calls them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from then.core.tasks import BODY_BYTES_MAX, Json
from then.core.values import CannotSay, described, is_nan, is_within_limits, json_text, kind_of, text_of

DIGITS_MAX: Final = 40
"""Of a text that is read as a number: reading an integer takes the square of its digits."""
PARTS_MAX: Final = 1_000_000
"""Of a text that is split: each takes fifty times its letter."""

# Python's int() and float() also read "1_000", " 1", "inf" and the digits of other scripts.
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _int(value: Json) -> Json:
    """Numbers lose their fraction, toward zero; a text must be an integer's digits."""
    if kind_of(value) == "number":
        return _within(int(value)) if is_within_limits(value) or isinstance(value, int) else _refused("int", value)
    if isinstance(value, str) and len(value) <= DIGITS_MAX and _INTEGER.fullmatch(value):
        return _within(int(value))
    return _refused("int", value)


def _float(value: Json) -> Json:
    if kind_of(value) == "number":
        return _within(float(value))
    if isinstance(value, str) and len(value) <= DIGITS_MAX and _NUMBER.fullmatch(value):
        return _within(float(value))
    return _refused("float", value)


def _str(value: Json) -> Json:
    return text_of(value)


def _len(value: Json) -> Json:
    return len(value) if kind_of(value) in ("text", "list", "map") else _refused("len", value)


def _lower(value: Json) -> Json:
    return value.lower() if isinstance(value, str) else _refused("lower", value)


def _upper(value: Json) -> Json:
    return value.upper() if isinstance(value, str) else _refused("upper", value)


def _trim(value: Json) -> Json:
    return value.strip() if isinstance(value, str) else _refused("trim", value)


def _abs(value: Json) -> Json:
    return _within(abs(value)) if kind_of(value) == "number" else _refused("abs", value)


def _round(value: Json, digits: Json = None) -> Json:
    """To the nearest, a half to the even one; without digits an integer."""
    if kind_of(value) != "number" or not is_within_limits(value):
        return _refused("round", value)
    if digits is None:
        return _within(round(value))
    if kind_of(digits) != "number" or not isinstance(digits, int) or not -DIGITS_MAX <= digits <= DIGITS_MAX:
        return CannotSay(f"round to {described(digits)}; the digits are an integer up to {DIGITS_MAX}")
    return _within(round(value, digits))


def _least(*values: Json) -> Json:
    return _extreme("min", min, values)


def _most(*values: Json) -> Json:
    return _extreme("max", max, values)


def _extreme(name: str, choose: Callable[[Sequence[Json]], Json], values: Sequence[Json]) -> Json:
    """Of the arguments, or of the items of a lone list."""
    if len(values) == 1 and kind_of(values[0]) == "list":
        values = values[0]
    kinds = {kind_of(value) for value in values}
    if kinds not in ({"number"}, {"text"}) or any(is_nan(value) for value in values):
        found = " and ".join(sorted(kinds)) or "nothing"
        return CannotSay(f"{name} of {found}; give numbers, or texts")
    return choose(values)


def _json(value: Json) -> Json:
    return json_text(value)


def _sh(value: Json) -> Json:
    import shlex

    text = text_of(value)
    return CannotSay("sh of a text with NUL, which no argument can hold") if "\0" in text else shlex.quote(text)


def _split(text: Json, separator: Json) -> Json:
    if not isinstance(text, str) or not isinstance(separator, str):
        return _refused("split", separator if isinstance(text, str) else text)
    if not separator:
        return CannotSay("split at an empty text")
    if text.count(separator) >= PARTS_MAX:
        return CannotSay(f"limit: split into more than {PARTS_MAX:,} parts")
    return text.split(separator)


def _join(items: Json, separator: Json) -> Json:
    if kind_of(items) != "list" or not isinstance(separator, str):
        return _refused("join", items if isinstance(separator, str) else separator)
    return joined([text_of(item) for item in items], separator)


def joined(parts: Sequence[str], separator: str = "") -> Json:
    """The parts as one text, if a record can hold it: what is asked for may be larger than any memory."""
    size = sum(map(len, parts)) + len(separator) * len(parts)
    if size > BODY_BYTES_MAX:
        return CannotSay(f"limit: a text of {size} characters")
    return separator.join(parts)


def _keys(value: Json) -> Json:
    return list(value) if kind_of(value) == "map" else _refused("keys", value)


def _env(value: Json) -> Json:
    return CannotSay("env is read once, at load, and stands in a `let` only")


def _within(number: float) -> Json:
    return number if is_within_limits(number) else CannotSay("a number beyond 64 bits")


def _refused(name: str, value: Json) -> CannotSay:
    shown = f' "{value}"' if isinstance(value, str) and len(value) <= DIGITS_MAX else ""
    return CannotSay(f"{name} of {described(value)}{shown}")


_CALLS: Final[dict[str, Callable[..., Json]]] = {
    "int": _int,
    "float": _float,
    "str": _str,
    "len": _len,
    "lower": _lower,
    "upper": _upper,
    "trim": _trim,
    "abs": _abs,
    "round": _round,
    "min": _least,
    "max": _most,
    "json": _json,
    "sh": _sh,
    "split": _split,
    "join": _join,
    "keys": _keys,
    "env": _env,
}


def call(name: str, values: Sequence[Json]) -> Json:
    """The function's value, or `CannotSay`. Never raises for a value, whatever it is."""
    function = _CALLS.get(name)
    if function is None:
        return CannotSay(f"there is no function {name}")
    try:
        return function(*values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # Wrong counts, and what only a record made by hand holds: no JSON, half of a surrogate pair.
        return CannotSay(f"{name}: {error}")
