"""Durations, tables, what a terminal may be shown; and words of a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.app.objects import time_text
from then.cli.texts import LINE_CHARACTERS_MAX, clean, clean_output, cut, duration, table, width
from then.cli.values import seconds
from then.core.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"), (-1, "0 ms"), (0.0004, "0 ms"), (0.0994, "99 ms"), (0.0996, "0.1 s"), (2.14, "2.1 s"), (59.94, "59.9 s"),
        (59.96, "1 min 0 s"), (185, "3 min 5 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min"),
        (86399, "23 h 59 min"), (86400, "1 d 0 h"), (273600, "3 d 4 h"), (1e9, "11574 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_two_figures_at_most(value: float, text: str) -> None:
    assert duration(value) == text


def test_times_are_told_in_utc_to_the_microsecond() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000000Z"
    assert time_text(1_795_317_255_926_535) == "2026-11-22T03:14:15.926535Z"
    assert time_text(None) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link", "alink"),
        ("a\tb\nc\rd\x07", "a b c\\x0dd\\x07"),
        ("\x1b", "\\x1b"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_in_one_line_nothing_moves_a_cursor(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\n", "a\nb\n"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("10%\r50%\r100%\r\n", "100%\n"),
        ("bell\x07 and alone \x1b", "bell\\x07 and alone \\x1b"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_of_output_colours_stay(text: str, shown: str) -> None:
    assert clean_output(text) == shown


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_no_text_whatever_reaches_a_terminal_as_a_command(text: str) -> None:
    for shown in (clean(text), clean_output(text)):
        rest = shown.replace("\x1b[0m", "")
        assert "\x07" not in rest
        assert "\r" not in rest
        assert all(part[:1] == "[" and "m" in part for part in rest.split("\x1b")[1:])


def test_a_line_of_output_is_cut_where_nobody_reads_on() -> None:
    shown = clean_output("x" * (LINE_CHARACTERS_MAX + 5) + "\ny")
    assert shown.endswith("x… (5 more characters)\ny")


@given(st.text(alphabet="ab漢ä\u0301\u200b😀", max_size=30), st.integers(1, 20))
def test_what_is_cut_takes_no_more_columns(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns
    if width(text) <= columns:
        assert cut(text, columns) == text


def test_columns_of_a_table_are_as_wide_as_their_widest_cell() -> None:
    lines = list(table(("A", "LONGER", "C"), [("漢字", "x", "one\ntwo"), ("y", "zz", "")], None))
    assert lines == ["A     LONGER  C", "漢字  x       one two", "y     zz"]
    assert list(table(("A",), [("x" * 50,)], 10)) == ["A", "x" * 9 + "…"]


@pytest.mark.parametrize(
    ("text", "value"), [("30d", 2_592_000), ("12h", 43200), ("5m", 300), ("90", 90), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_a_span_of_time_is_a_number_and_a_unit(text: str, value: float) -> None:
    assert seconds(text, "--older") == value


@pytest.mark.parametrize("text", ["", "d", "-1d", "1y", "1d2h", "١d", "nan"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no span of time"):
        seconds(text, "--older")
