"""Words, names, numbers, texts and marks: how a text falls into tokens.

One regular expression finds the next token whatever stands there; the parser
tells by its state whether a word is a word of the language or a name, and
whether `/` begins a regular expression. No token goes over the end of a line,
which is what recovery after an error stands on.

Who calls: `then.language.automaton`, which reads tokens one by one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from then.language.tables import END, tables

SKIPPED: Final = r"(?>[ \t\n]+|\#[^\n]*)*+"
"""White space and comments, at once and for good: nothing in them is tried twice."""

KINDS: Final = ("NAME", "MARK", "OPENING", "CLOSING")
"""Groups of `token_pattern` that are no terminals yet: the parser's state, or the text, says which they are."""
STRANGE: Final = "STRANGE"
"""A character that begins no token."""

# The grammar's STRING and REGEX, taken in runs and never given back: as they stand in the grammar, where no run can be
# written, each character would cost a step to go back to, and a text of 10 MB six gigabytes.
_STRING: Final = r'"(?>[^"\\\n]++|\\.)*+"'
_REGEX: Final = r"/(?>[^/\\\n]++|\\.)++/"


@cache
def token_pattern() -> re.Pattern[str]:
    """Finds the next token; `lastindex` says what it is.

    Groups are those of KINDS, the grammar's terminals for numbers and texts,
    the end of the text, and STRANGE.
    """
    patterns = dict(tables().patterns)
    name = patterns.pop("NAME")
    for other in ("REGEX", "CMP", "MUL", "ADD"):
        del patterns[other]
    patterns["STRING"] = _STRING
    marks = sorted({*tables().punctuation, "+", "*", "%", "<", ">", "<=", ">=", "!="} - set("()[]{}"))
    longest_first = "|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))
    return re.compile(
        f"{SKIPPED}(?:(?P<NAME>(?!r[\"']){name})"
        rf"|(?P<MARK>{longest_first})|(?P<OPENING>[(\[{{])|(?P<CLOSING>[)\]}}])"
        + "".join(f"|(?P<{terminal}>{pattern})" for terminal, pattern in patterns.items())
        + rf"|(?P<{END}>\Z)|(?P<{STRANGE}>.))",
        re.ASCII,
    )


@cache
def regex_pattern() -> re.Pattern[str]:
    """Finds a regular expression where one may stand: after `matches`."""
    return re.compile(_REGEX)


@cache
def plain_marks() -> dict[str, str]:
    """Marks that are one terminal wherever they stand."""
    comparisons = dict.fromkeys(("<", ">", "<=", ">=", "!="), "CMP")
    marks = {**tables().punctuation, **comparisons}
    return {mark: terminal for mark, terminal in marks.items() if mark not in _SEVERAL}


_SEVERAL: Final = {"+": ("ADD",), "-": ("ADD", "MINUS"), "*": ("MUL",), "%": ("MUL",), "/": ("MUL", "SLASH", "REGEX")}


def mark_type(mark: str, row: dict[str, int]) -> str:
    """The terminal of a mark that is several: the one that may stand.

    Args:
        mark: as it is written.
        row: what the parser's state takes, as in `Tables.actions`.
    """
    several = _SEVERAL[mark]
    return next((terminal for terminal in several if terminal in row), several[0])
