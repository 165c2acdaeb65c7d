"""Regexes: which are taken, how those that are not are refused, what they begin with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.core import regex
from then.core.errors import RuleError
from then.core.regex import Finder, Prefix, Regex, check_pattern, find_groups, kept, prefix_of
from then.core.source import Span


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(a)\1", r"regex /(a)\1/: invalid escape sequence: \1: there are no backreferences here; compare two named groups instead"),
        (r"a(?=b)", r"regex /a(?=b)/: invalid perl operator: (?=: there is no look-around here; put a second clause beside it"),
        (r"(?<!a)b", r"regex /(?<!a)b/: invalid perl operator: (?<!: there is no look-around here; put a second clause beside it"),
        ("(", "regex /(/: missing ): ("),
        ("a{2000}", "regex /a{2000}/: invalid repetition size: {2000}"),
        (r"\C", r"regex /\C/: \C takes characters apart; use . instead"),
        ("(?P<n>a)(?P<n>b)", 'regex /(?P<n>a)(?P<n>b)/: the group "n" is there twice'),
        ("a\ud800", "a regex with half of a surrogate pair, which is no Unicode"),
        ("a" * 10_001, "a regex of 10001 characters; 10000 at most"),
        ("(" + "a" * 100, "regex /(" + "a" * 56 + ".../: missing ): (" + "a" * 100),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_in_linear_time_is_refused_with_its_reason(pattern: str, message: str) -> None:
    with pytest.raises(RuleError) as refused:
        check_pattern(pattern, Span("a.then", 7, 3))
    assert refused.value.message == message
    assert refused.value.text() == f"a.then:7:3: {message}"


def test_the_names_of_groups_are_known_in_order() -> None:
    assert check_pattern(r"^v(?P<major>\d+)\.(?P<minor>\d+)(?:-(?<tag>[(?P<x>]+))?$") == ("major", "minor", "tag")
    assert check_pattern(r"\(?P<no>[(?P<none>a)]") == ()


def test_groups_that_took_no_part_are_left_out() -> None:
    assert find_groups("(?P<a>x)?(?P<b>é)", "é") == {"b": "é"}
    assert find_groups("(?P<a>x)", "y") is None
    assert find_groups("(?P<a>x*)", "y") == {"a": ""}


def test_a_pattern_that_would_run_for_ever_elsewhere_is_quick() -> None:
    text = "a" * 100_000 + "b"
    assert not Regex("^(a+)+$").is_found(text)
    assert Regex("(x+x+)+y|b$").is_found(text)


@pytest.mark.parametrize(
    "pattern", [r"\pL{8}", r"(foo|bar|baz){150,300}x", r"[a-z]{1000}", r"(a?){700}a", r"([ab]*a[ab]{300})"]
)
def test_large_patterns_are_found_as_small_ones_are(pattern: str) -> None:
    assert check_pattern(pattern) == ()
    text = "foobarbaz" * 60 + "x" + "ab" * 500 + "z" * 1000
    search = regex.compiled(pattern).search
    assert Regex(pattern).is_found(text) is (search(text.encode()) is not None) is True
    assert not Regex(pattern).is_found("-")
    assert sorted(Finder([pattern, "x", pattern]).find(text)) == [0, 1, 2]
    assert Finder([pattern]).find("-") == []


def test_more_patterns_than_one_set_holds_are_all_found() -> None:
    patterns = [f"(foo|bar){{{n % 90 + 1}}}{n}$" for n in range(300)]
    finder = Finder(patterns)
    for n in (0, 1, 150, 299):
        text = "foobar" * 45 + str(n)
        found = sorted(finder.find(text))
        assert found == [m for m, pattern in enumerate(patterns) if Regex(pattern).is_found(text)]
        assert n in found
    assert finder.find("") == []
    assert finder.find("foo\ud800") == []
    assert Finder([]).find("a") == []


def test_kept_patterns_are_the_same() -> None:
    assert kept("a+") is kept("a+")


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("^abc", Prefix("abc", is_all=True, is_whole=False)),
        ("^abc$", Prefix("abc", is_all=False, is_whole=True)),
        ("^$", Prefix("", is_all=False, is_whole=True)),
        (r"^a\.b\-\\", Prefix("a.b-\\", is_all=True, is_whole=False)),
        ("^src/[a-z]+", Prefix("src/", is_all=False, is_whole=False)),
        ("^abc*", Prefix("ab", is_all=False, is_whole=False)),
        ("^abc?d", Prefix("ab", is_all=False, is_whole=False)),
        ("^abc{0}", Prefix("ab", is_all=False, is_whole=False)),
        ("^abc+", Prefix("abc", is_all=False, is_whole=False)),
        (r"^ab\.*", Prefix("ab", is_all=False, is_whole=False)),
        ("^a(b|c)", Prefix("a", is_all=False, is_whole=False)),
        ("^a[|]", Prefix("a", is_all=False, is_whole=False)),
        (r"^a\|b", Prefix("a|b", is_all=True, is_whole=False)),
        ("^a|b", None),
        ("^a?", None),
        ("^", None),
        ("abc", None),
        ("(?i)^abc", None),
        (r"^\Qa|b\E", None),
        (r"^\d", None),
    ],
)
def test_a_prefix_is_what_every_text_begins_with(pattern: str, prefix: Prefix | None) -> None:
    assert prefix_of(pattern) == prefix


PIECES = [
    "a",
    "b",
    "ab",
    r"\.",
    ".",
    "*",
    "?",
    "+",
    "{0}",
    "{2}",
    "|",
    "(a|b)",
    "[ab]",
    "[|]",
    r"\|",
    "$",
    "^",
    r"\Q|\E",
    r"\d",
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.text("ab.|é1", max_size=6))
def test_a_prefix_says_no_more_than_the_pattern(pieces: list[str], text: str) -> None:
    pattern = "^" + "".join(pieces)
    try:
        check_pattern(pattern)
    except RuleError:
        return
    prefix = prefix_of(pattern)
    if prefix is None:
        return
    is_found = Regex(pattern).is_found(text)
    assert is_found is (regex.compiled(pattern).search(text.encode()) is not None)
    assert text.startswith(prefix.text) or not is_found
    if prefix.is_all:
        assert is_found is text.startswith(prefix.text)
    if prefix.is_whole:
        assert is_found is (text == prefix.text)
