"""Every folder in rules/ runs as its README says and prints what its expect.txt holds."""

from __future__ import annotations

import pytest

from tests.examples import EXAMPLES, ROOT, commands, transcript, unordered


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_prints_what_it_says(example: str) -> None:
    expected = (ROOT / "rules" / example / "expect.txt").read_text()

    assert unordered(transcript(example)) == unordered(expected)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_shows_a_command(example: str) -> None:
    assert commands(example)
