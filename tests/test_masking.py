"""Masks: values are found however they are written, in parts and in trees, and nothing else is touched."""

from __future__ import annotations

import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from then.core.masking import MASKED, VALUES_MAX, Mask

KEY = "s3cr3t-Wöhlk/1"
PEM = "-----BEGIN KEY-----\nMIIB\tqz\n-----END KEY-----"

values = st.lists(st.text("abc\n", min_size=4, max_size=7), min_size=1, max_size=4)
texts = st.text("abc\nx", max_size=60)


def test_what_is_no_value_stays_the_same_object() -> None:
    tree = {"a": ["b", {"c": 1.5}], "d": None}

    assert Mask([KEY]).tree(tree) is tree
    assert Mask().tree(tree) is tree


def test_a_value_is_found_in_texts_keys_and_deep_in_trees() -> None:
    given = {"a": [f"x{KEY}y", {KEY: KEY}], "b": 1}

    assert Mask([KEY]).tree(given) == {"a": ["x***y", {"***": "***"}], "b": 1}
    assert given["a"] == [f"x{KEY}y", {KEY: KEY}]


def test_a_value_that_reads_as_a_number_is_found_in_numbers() -> None:
    mask = Mask(["481516"])

    assert mask.tree([481516, 14815169, 4815.16, True, 48151]) == [MASKED, MASKED, 4815.16, True, 48151]


def test_a_value_is_found_as_repr_json_and_urls_write_it() -> None:
    for value in (KEY, PEM, 'with "quotes" and \\', "two words & more", "it's \x07", "\U0001f511key"):
        mask = Mask([value])
        error = str(KeyError(value))
        written = [value, error, repr({"k": value}), json.dumps(value), json.dumps(value, ensure_ascii=False)]
        for text in (*written, quote(value, safe=""), f"https://host/?key={quote(value)}" if "/" not in value else ""):
            found = mask.text(text)
            assert value not in found
            assert not text or MASKED in found, text


def test_where_values_overlap_no_end_of_one_stays() -> None:
    mask = Mask(["abcd", "cdef", "abcdefgh"])

    assert mask.text("-abcdef-") == "-***-"
    assert mask.text("-abcdefgh-") == "-***-"
    assert mask.text("-abcdabcd-") == "-******-"


@given(values, texts)
def test_no_value_is_left(values: list[str], text: str) -> None:
    mask = Mask(values)
    assert not [value for value in values if value in mask.text(text)]
    assert mask.data(text.encode()) == mask.text(text).encode()


@given(values, st.lists(texts, max_size=6))
def test_a_stream_is_masked_like_the_whole(values: list[str], parts: list[str]) -> None:
    mask = Mask(values)
    stream = mask.stream()
    shown = b"".join([*(stream.feed(part.encode()) for part in parts), stream.finish()])
    assert shown == mask.data("".join(parts).encode())


@given(values, texts, st.integers(0, 60))
def test_a_text_is_not_begun_within_a_value(values: list[str], text: str, at: int) -> None:
    mask, data = Mask(values), text.encode()
    at = min(at, len(data))
    begin = mask.beginning(data, at)
    assert begin <= at
    assert mask.data(data).endswith(mask.data(data[begin:]))


def test_a_stream_shows_at_once_what_cannot_be_a_beginning() -> None:
    stream = Mask(["abcd"]).stream()

    assert stream.feed(b"one abc") == b"one "
    assert stream.feed(b"e two") == b"abce two"
    assert stream.feed(b"\nab") == b"\n"
    assert stream.finish() == b"ab"


def test_bytes_that_are_no_utf_8_are_found_as_the_environment_holds_them() -> None:
    assert Mask([b"caf\xe9-key".decode(errors="surrogateescape")]).data(b"\xff caf\xe9-key") == b"\xff ***"


def test_the_newest_values_are_known() -> None:
    mask = Mask(f"token-{n:05}" for n in range(VALUES_MAX + 1))

    assert mask.text("token-00000 token-00001") == "token-00000 ***"
    assert mask.text(f"token-{VALUES_MAX:05}") == MASKED
