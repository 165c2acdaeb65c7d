"""Tokens with the comments around them: what a layout is made of.

Who calls: `then.language.format`.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from then.language.automaton import Shifted
from then.language.tables import END

_BETWEEN: Final = re.compile(r"#[^\n]*|\n")


@attrs.frozen
class Comment:
    """A comment that has its line for itself."""

    text: str
    blank: bool
    """An empty line stands before it."""
    column: int
    """Where it begins on its line, from 0."""


@attrs.define(eq=False)
class Word:
    """A token with the comments that belong to it."""

    terminal: str
    text: str
    begin: int
    own: list[Comment] = attrs.field(factory=list)
    """Comments on the lines before it."""
    blank: bool = False
    """An empty line stands before it, after those comments."""
    trail: str = ""
    """A comment after it, on its line."""

    @property
    def is_apart(self) -> bool:
        """An empty line stands before it and its comments."""
        return self.own[0].blank if self.own else self.blank


def words_of(text: str, tokens: list[Shifted]) -> list[Word]:
    """All tokens of a text in order, the last being its end, with all of its comments."""
    words: list[Word] = []
    end = 0
    before_comma: list[Comment] = []
    for token in tokens:
        word = Word(token.terminal, text[token.begin : token.end], token.begin, before_comma)
        _take_comments(text, end, word, words)
        before_comma = []
        if token.terminal == "COMMA":
            # A comma stays with what it follows, so comments before it come after it.
            before_comma, word.own = word.own, before_comma
        words.append(word)
        end = token.end
    assert words
    assert words[-1].terminal == END
    return words


def _take_comments(text: str, end: int, word: Word, words: list[Word]) -> None:
    """Gives what stands between two tokens to the one or the other."""
    if word.begin - end < 2 and text[end : word.begin] in ("", " "):
        return
    before = words[-1] if words else None
    # A comma goes to the line of what it follows, where there is room for one comment.
    is_taken = before is not None and before.terminal == "COMMA" and bool(words[-2].trail)
    newlines = 0
    for found in _BETWEEN.finditer(text, end, word.begin):
        if found[0] == "\n":
            newlines += 1
            continue
        comment = found[0].rstrip()
        if newlines == 0 and before is not None and not is_taken:
            before.trail = comment
        else:
            is_first = before is None and not word.own
            word.own.append(Comment(comment, newlines > 1 and not is_first, column_of(text, found.start())))
        newlines = 0
    word.blank = newlines > 1 and not (before is None and not word.own)


def column_of(text: str, offset: int) -> int:
    """How far from the beginning of its line an offset is."""
    return offset - text.rfind("\n", 0, offset) - 1
