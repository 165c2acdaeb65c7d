"""The parser's tables: compiled from grammar.lark by Lark, kept beside it as tables.json.

Building them takes Lark most of a second, reading them back a few
milliseconds and no Lark. After a change of the grammar:

    python -m then.language.build_tables

A test holds the two to each other. Who reads them: `then.language.parser`.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final

import msgspec

TABLES_FILE: Final = os.path.join(os.path.dirname(__file__), "tables.json")

STARTS: Final = ("start", "expr", "when_text", "then_text", "break_text")
"""Parts of the language that may be parsed by themselves."""

END: Final = "END_OF_TEXT"
"""The terminal after the last one."""


class Production(msgspec.Struct, frozen=True, array_like=True):
    """One alternative of a rule of the grammar, and the tree that it makes."""

    origin: str
    """The rule. One that begins with `_` is a list that Lark made for `*` and `+`; its children go to its parent."""
    size: int
    """How many symbols it takes."""
    name: str
    """What its tree is called: the alias, else the rule."""
    keep: tuple[int, ...]
    """Which of its symbols become children; the others are only words and punctuation."""
    spliced: tuple[int, ...]
    """Which of those are lists, whose items become children."""
    folds: bool
    """Where it has one child, that stands in its place (`?rule`)."""
    symbols: tuple[str, ...]
    """What it is made of, for the texts of errors."""


class Tables(msgspec.Struct, frozen=True):
    """An LALR(1) automaton as data."""

    grammar: str
    """SHA-256 of the grammar that it was compiled from."""
    keywords: dict[str, str]
    """Word: terminal. Where its terminal cannot stand it is a name."""
    punctuation: dict[str, str]
    patterns: tuple[tuple[str, str], ...]
    """Terminal and regular expression, in the order in which they are tried."""
    kept: frozenset[str]
    """Terminals that may become tokens of a tree."""
    productions: list[Production]
    actions: list[dict[str, int]]
    """For each state, terminal: n >= 0 goes on to state n, n < 0 reduces by production -n - 1."""
    gotos: list[dict[str, int]]
    """For each state, rule: the state after it."""
    starts: dict[str, int]
    """For each of STARTS, the first state."""


@cache
def tables() -> Tables:
    """The tables of this version of the language."""
    with open(TABLES_FILE, "rb") as file:
        return msgspec.json.decode(file.read(), type=Tables)
