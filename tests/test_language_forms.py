"""docs/language.md as a reference: every form of the grammar is shown, in the layout of `andthen fmt`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from then.language.format import format_text
from then.language.loading import check_text
from then.language.parser import parse
from then.language.tables import tables

PAGE = Path(__file__).parent.parent / "docs/language.md"
BLOCKS = re.findall(r"^```(then(?: later)?)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", [text for _, text in BLOCKS], ids=range(len(BLOCKS)))
def test_a_block_is_in_the_layout(text: str) -> None:
    assert format_text(text, "language.md") == text


def test_every_form_of_the_grammar_is_shown() -> None:
    shown = {node.data for _, text in BLOCKS for node in parse(text, "language.md").iter_trees()}
    # Parts that stand alone have no place in a file.
    alone = {"when_text", "then_text", "break_text"}
    named = {production.name for production in tables().productions if not production.origin.startswith("_")}
    folded = {production.origin for production in tables().productions if production.folds}
    assert named - shown - alone - folded == set()


def test_what_is_shown_as_coming_later_is_answered_so() -> None:
    later = [text for kind, text in BLOCKS if kind == "then later" and "start_order" not in text]
    for text in later:
        assert "T104" in {finding.number for finding in check_text(text, "page.then")}
