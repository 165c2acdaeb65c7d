"""The functions of the language: what each gives, and what it cannot take."""

from __future__ import annotations

import pytest

from then.core.filters import FUNCTIONS
from then.core.functions import _CALLS, call
from then.core.tasks import Json
from then.core.values import CannotSay


def test_every_function_of_the_language_has_its_meaning() -> None:
    assert set(_CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("int", ["42"], 42),
        ("int", ["-042"], -42),
        ("int", [-3.9], -3),
        ("float", ["1e3"], 1000.0),
        ("float", [2], 2.0),
        ("str", [True], "true"),
        ("str", [{"a": [1, None]}], '{"a":[1,null]}'),
        ("str", ["a"], "a"),
        ("json", ["a"], '"a"'),
        ("len", ["é€"], 2),
        ("len", [{"a": 1}], 1),
        ("lower", ["ÀB"], "àb"),
        ("upper", ["ß"], "SS"),
        ("trim", [" a\n"], "a"),
        ("abs", [-2.5], 2.5),
        ("round", [2.5], 2),
        ("round", [2.345, 2], 2.35),
        ("min", [3, 1.0, 2], 1.0),
        ("max", [["a", "b"]], "b"),
        ("sh", ["it's"], "'it'\"'\"'s'"),
        ("sh", [["a b"]], "'[\"a b\"]'"),
        ("split", ["a,b,", ","], ["a", "b", ""]),
        ("join", [["a", 1, None], "-"], "a-1-null"),
        ("keys", [{"b": 1, "a": 2}], ["b", "a"]),
    ],
)
def test_functions_give(name: str, args: list[Json], value: Json) -> None:
    assert repr(call(name, args)) == repr(value)


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("int", ["4.5"], 'int of a text "4.5"'),
        ("int", ["1_000"], 'int of a text "1_000"'),
        ("int", ["٣"], 'int of a text "٣"'),
        ("int", ["9" * 30], "a number beyond 64 bits"),
        ("int", ["9" * 5000], "int of a text"),
        ("int", [True], "int of a boolean"),
        ("int", [float("inf")], "int of a number"),
        ("float", ["inf"], 'float of a text "inf"'),
        ("float", [" 1"], 'float of a text " 1"'),
        ("len", [5], "len of a number"),
        ("abs", [-(2**63)], "a number beyond 64 bits"),
        ("min", [1, "a"], "min of number and text; give numbers, or texts"),
        ("max", [[]], "max of nothing; give numbers, or texts"),
        ("sh", ["a\0b"], "sh of a text with NUL, which no argument can hold"),
        ("split", ["a", ""], "split at an empty text"),
        ("join", ["a", "-"], 'join of a text "a"'),
        ("round", [1, 1.5], "round to a number; the digits are an integer up to 40"),
        ("env", ["HOME"], "env is read once, at load, and stands in a `let` only"),
        ("nonsense", [], "there is no function nonsense"),
    ],
)
def test_functions_say_what_they_cannot_take(name: str, args: list[Json], reason: str) -> None:
    assert call(name, args) == CannotSay(reason)


def test_a_function_never_raises_whatever_it_is_given() -> None:
    for value in (object(), {1: 2}, "\ud800", (1,), {"a"}):
        for name in ("str", "json", "sh", "keys", "min", "len"):
            call(name, [value])
    assert isinstance(call("int", [1, 2]), CannotSay)
