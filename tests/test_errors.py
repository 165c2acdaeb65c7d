"""What errors say beside what was wrong: the name that was perhaps meant. Their texts are pinned by tests/test_docs.py."""

from __future__ import annotations

import difflib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.core.errors import nearest

names = st.text("abc", min_size=1, max_size=6)


@given(names, st.lists(names, max_size=12))
def test_the_nearest_name_is_the_one_that_difflib_finds(found: str, known: list[str]) -> None:
    close = difflib.get_close_matches(found, known, n=1, cutoff=0.6)
    assert nearest(found, known) == (f' (did you mean "{close[0]}"?)' if close else "")


def test_a_slip_in_a_name_is_found_among_very_many_that_are_like_it() -> None:
    # They were compared in their order, and the bound came before the one that was meant: none or another was named.
    chance = Random(1)
    names = ["deploy_" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=23)) for _ in range(300)]
    meant = names[-1]
    assert nearest(meant[:10] + meant[11:], names) == f' (did you mean "{meant}"?)'


@pytest.mark.parametrize(("length", "most"), [(10, 1000), (100, 10)])
def test_long_names_of_the_same_letters_are_compared_a_few_times(
    length: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    ratio = difflib.SequenceMatcher.ratio

    def counted(self: difflib.SequenceMatcher[str]) -> float:
        nonlocal compared
        compared += 1
        return ratio(self)

    monkeypatch.setattr(difflib.SequenceMatcher, "ratio", counted)
    chance = Random(1)
    first, *others = ("".join(chance.sample("ab" * (length // 2), length)) for _ in range(1001))
    assert nearest(first, others).startswith(" (did you mean ")
    assert 0 < compared <= most
