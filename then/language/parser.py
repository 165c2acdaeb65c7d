"""Text to syntax tree; what is no text of the language is refused with all that is wrong in it.

Who calls: `then.language.compile`, which gives the trees their meaning, and
`then.language.format`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from then.core.errors import RulesRefused, RuleSyntaxError
from then.core.source import Span
from then.language.automaton import Automaton, Stop
from then.language.tables import tables
from then.language.tree import Lines, Token, Tree


@cache
def automaton() -> Automaton:
    """The machine for this version of the language."""
    return Automaton(tables())


def parse(text: str, file: str) -> Tree:
    """The tree `start` of a whole file, its items as children.

    Raises:
        RulesRefused: with a RuleSyntaxError for each mistake, in the order of the text.

    Cost: about 0.2 ms a rule.
    """
    tree = _parse(text, file, "start", Lines(text))
    assert isinstance(tree, Tree)
    return tree


def parse_part(text: str, file: str, start: str, line: int = 1, column: int = 1) -> Tree | Token:
    """A part of the language that stands alone: one of STARTS.

    Args:
        text: the part.
        file: what errors name.
        start: `expr`, `when_text` (what follows `when`), `then_text`, `break_text` (what follows `breakpoint NAME`).
        line: where in the file the text begins.
        column: where in that line.

    Raises:
        RulesRefused: as for `parse`.
    """
    return _parse(text, file, start, Lines(text, line, column))


def parse_expression(text: str, file: str, line: int = 1, column: int = 1) -> Tree | Token:
    """An expression: the `where` of YAML, the braces of a template."""
    return parse_part(text, file, "expr", line, column)


def _parse(text: str, file: str, start: str, lines: Lines) -> Tree | Token:
    try:
        with _collector_paused():
            return automaton().run(start, lines)
    except Stop as stop:
        line, column = lines.place(stop.begin)
        found = text[stop.begin : stop.end]
        raise RulesRefused(
            [
                RuleSyntaxError(
                    f'found "{found}"', Span(file, line, column, max(1, len(found))), lines.line_of(stop.begin)
                )
            ]
        ) from None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Half of the time of a long parse would go into walks over the growing tree, in which nothing is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
