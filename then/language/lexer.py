"""Words, names, numbers, texts and marks: how a text falls into tokens.

One regular expression finds the next token whatever stands there; the parser
tells by its state whether a word is a word of the language or a name, and
whether `/` begins a regular expression. No token goes over the end of a line,
which is what recovery after an error stands on.

Who calls: `then.language.automaton`, which reads tokens one by one, and
`then.language.format`, which reads comments too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from then.language.tables import END, tables

SKIPPED: Final = r"(?>[ \t\n]+|\#[^\n]*)*+"
"""White space and comments, at once and for good: nothing in them is tried twice."""

OPENING: Final = "OPENING"
CLOSING: Final = "CLOSING"
MARK: Final = "MARK"
STRANGE: Final = "STRANGE"
"""A character that begins no token."""

# The grammar's STRING and REGEX, taken in runs and never given back: as they stand in the grammar, where no run can be
# written, each character would cost a step to go back to, and a text of 10 MB six gigabytes.
_STRING: Final = r'"(?>[^"\\\n]++|\\.)*+"'
_REGEX: Final = r"/(?>[^/\\\n]++|\\.)++/"


@cache
def token_pattern() -> re.Pattern[str]:
    """Finds the next token; `lastgroup` says what it is.

    Groups are NAME (a word or a name), OPENING, CLOSING, MARK (punctuation
    and operators), the grammar's terminals for numbers and texts, the
    end of the text, and STRANGE.
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
        rf"|(?P<{OPENING}>[(\[{{])|(?P<{CLOSING}>[)\]}}])|(?P<{MARK}>{longest_first})"
        + "".join(f"|(?P<{terminal}>{pattern})" for terminal, pattern in patterns.items())
        + rf"|(?P<{END}>\Z)|(?P<{STRANGE}>.))",
        re.ASCII,
    )


@cache
def regex_pattern() -> re.Pattern[str]:
    """Finds a regular expression where one may stand: after `matches`."""
    return re.compile(_REGEX)


def mark_type(mark: str, row: dict[str, int]) -> str:
    """The terminal of a mark, where several have the same text: the one that may stand.

    Args:
        mark: as it is written.
        row: what the parser's state takes, as in `Tables.actions`.
    """
    if mark in ("+", "-") and "ADD" in row:
        return "ADD"
    if mark in ("*", "/", "%") and "MUL" in row:
        return "MUL"
    return _MARKS.get(mark) or tables().punctuation.get(mark) or mark


_MARKS: Final = {
    "<": "CMP", ">": "CMP", "<=": "CMP", ">=": "CMP", "!=": "CMP",
    "+": "ADD", "*": "MUL", "%": "MUL",
}  # fmt: skip
