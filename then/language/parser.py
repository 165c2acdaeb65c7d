"""Text to syntax tree; what is no text of the language is refused with all that is wrong in it.

Who calls: `then.language.compile`, which gives the trees their meaning, and
`then.language.format`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from then.core.errors import RulesRefused
from then.language.automaton import Automaton, Shifted, Stop, check_depth
from then.language.messages import TOO_DEEP, syntax_error
from then.language.tables import tables
from then.language.tree import Lines, Token, Tree

_INNER_DEPTH_MAX: Final = 64
"""Depth of a tree in braces, which may itself stand deep in a tree."""


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
    tree = _parse(file, "start", Lines(text))
    assert isinstance(tree, Tree)
    return tree


def parse_with_tokens(text: str, file: str) -> tuple[Tree, list[Shifted]]:
    """The tree of a whole file, and all its tokens, the end of the text among them.

    Raises:
        RulesRefused: as for `parse`.
    """
    tokens: list[Shifted] = []
    tree = _parse(file, "start", Lines(text), tokens)
    assert isinstance(tree, Tree)
    return tree, tokens


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
    return _parse(file, start, Lines(text, line, column))


def parse_expression(text: str, file: str, line: int = 1, column: int = 1) -> Tree | Token:
    """An expression: the `where` of YAML, the braces of a template."""
    return parse_part(text, file, "expr", line, column)


def parse_inner(lines: Lines, file: str) -> Tree | Token:
    """The expression in the braces of a template.

    Raises:
        RulesRefused: as for `parse`.
    """
    tree = _parse(file, "expr", lines)
    if isinstance(tree, Tree):
        try:
            check_depth(tree, _INNER_DEPTH_MAX)
        except Stop as stop:
            raise RulesRefused([syntax_error(TOO_DEEP, lines, stop.begin, 1, file)]) from None
    return tree


def _parse(file: str, start: str, lines: Lines, tokens: list[Shifted] | None = None) -> Tree | Token:
    try:
        with collector_paused():
            return automaton().run(start, lines, trace=None if tokens is None else tokens.append)
    except Stop:
        from then.language.recovery import find_errors

        raise RulesRefused(find_errors(automaton(), start, lines, file)) from None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Half of the time of a long parse would go into walks over the growing tree, in which nothing is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
