"""The editor grammar: its words are those of the language, and its expressions can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from then.language.tables import tables

FOLDER = Path(__file__).parent.parent / "editors/vscode"
GRAMMAR = json.loads((FOLDER / "syntaxes/then.tmLanguage.json").read_text())


def rules(node: Any) -> Iterator[dict[str, Any]]:
    """All rules of the grammar, outer ones first."""
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from rules(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from rules(inner)


def test_its_words_are_those_of_the_language_each_once() -> None:
    words = [
        word
        for rule in GRAMMAR["repository"]["words"]["patterns"]
        for word in re.findall(r"[a-z]+", rule["match"].partition("(?:")[2].partition(")")[0])
    ]
    assert sorted(words) == sorted(tables().keywords)


def test_its_expressions_are_ones_and_what_it_includes_is_there() -> None:
    for rule in rules(GRAMMAR):
        for key in ("match", "begin", "end"):
            if isinstance(rule.get(key), str):
                re.compile(rule[key])
        if isinstance(rule.get("include"), str):
            assert rule["include"].removeprefix("#") in GRAMMAR["repository"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("when", "keyword.control.then"),
        ("timed", "constant.language.outcome.then"),
        ("o.when", None),
        ("when: 1", None),
        ("whenever", None),
    ],
)
def test_a_word_is_none_after_a_dot_or_before_a_colon(text: str, name: str | None) -> None:
    found = [rule["name"] for rule in GRAMMAR["repository"]["words"]["patterns"] if re.search(rule["match"], text)]
    assert found == ([name] if name else [])


def test_the_extension_names_files_that_are_there() -> None:
    package = json.loads((FOLDER / "package.json").read_text())["contributes"]
    (language,), (grammar,) = package["languages"], package["grammars"]
    assert language["id"] == grammar["language"]
    assert grammar["scopeName"] == GRAMMAR["scopeName"]
    for path in (language["configuration"], grammar["path"]):
        json.loads((FOLDER / path).read_text())
