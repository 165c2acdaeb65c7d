"""What is wrong with a text, in words: what was found, what may stand there, what was meant.

Who calls: `then.language.recovery`, with the machine's `Stop` and what may
stand there.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from then.core.errors import RuleSyntaxError
from then.core.source import Span
from then.language.automaton import BRACKETS_MAX, Stop
from then.language.lexer import STRANGE
from then.language.tables import END, tables
from then.language.tree import Lines

ITEM_TERMINALS: Final = frozenset(
    "USE LOAD LET SECRET RECORD EVENT TASK START FINAL RULE PROCEDURE EVERY CRON BREAKPOINT LOGPOINT TEST".split()
)
"""What may begin an item of a file."""

_SHOWN_MAX: Final = 8

_GROUPS: Final[tuple[tuple[frozenset[str], str, frozenset[str]], ...]] = (
    # Where all of the first may stand, the text says so, and the third are not named one by one.
    (
        frozenset("INT STRING NAME LPAR".split()),
        "a value",
        frozenset(
            "INT FLOAT DURATION SIZE TIMESTAMP STRING RAW NAME LPAR LSQB LBRACE MINUS TRUE FALSE NULL SECRET LOAD"
            " NOT HAS SOME EVERY".split()
        ),
    ),
    (
        frozenset("ADD MUL".split()),
        "an operator",
        frozenset("ADD MUL EQ CMP IN NOT CONTAINS MATCHES IS COALESCE AND OR DOT LSQB LPAR".split()),
    ),
    (frozenset("DONE FAILED".split()), "an outcome", frozenset("DONE FAILED FINISHED CANCELLED TIMED RETRIED".split())),
    (
        frozenset("MONDAY DAY".split()),
        "a day",
        frozenset("DAY WEEKDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY".split()),
    ),
    (frozenset(("RULE", "TASK", "USE")), "the next item (rule, task, event, …)", ITEM_TERMINALS),
    (frozenset(("STRING", "RAW")), "a text in quotes", frozenset(("STRING", "RAW"))),
)

_NAMED: Final = {
    "NAME": "a name",
    "INT": "a whole number",
    "FLOAT": "a number",
    "DURATION": "a duration such as 30s",
    "SIZE": "a size such as 512MiB",
    "TIMESTAMP": "a time such as 2026-01-05T10:00",
    "CLOCK": "a time such as 06:30",
    "REGEX": "a regular expression in /…/",
    "STRING": "a text in quotes",
    "RAW": "a raw text",
    "ADD": '"+"',
    "MUL": '"*"',
    "CMP": '"<"',
    END: "the end",
}

_HINTS: Final = {
    "'": "a text stands in double quotes, or is raw: r'…'",
    "&": 'write "and"',
    "|": 'write "or"',
    "!": 'write "not", or "!=" between two values',
    ";": "nothing ends a line here; leave it out",
    "“": 'a text stands in straight quotes: "…"',
    "”": 'a text stands in straight quotes: "…"',
    "„": 'a text stands in straight quotes: "…"',
    "‘": 'a text stands in straight quotes: "…"',
    "’": 'a text stands in straight quotes: "…"',
    "–": 'write "-"',
    "—": 'write "-"',
    "−": 'write "-"',
    "`": 'a text stands in double quotes: "…"',
    "$": "a name stands without a sign before it",
    "@": "a name stands without a sign before it",
    "\\": "a line goes on by itself; leave it out",
}
_UNITS: Final = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hour": "h", "hours": "h", "hr": "h", "day": "d", "days": "d", "week": "w", "weeks": "w", "msec": "ms",
    "kb": "KiB", "mb": "MiB", "gb": "GiB", "k": "KiB", "g": "GiB", "kib": "KiB", "mib": "MiB", "gib": "GiB",
    "ms": "ms", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w",
}  # fmt: skip


TOO_DEEP: Final = (
    f"nested deeper than {BRACKETS_MAX} levels; give the inner part a name with `let`, or a task of its own"
)


def syntax_error(message: str, lines: Lines, begin: int, length: int, file: str) -> RuleSyntaxError:
    """An error at an offset of a text."""
    line, column = lines.place(begin)
    return RuleSyntaxError(message, Span(file, line, column, max(1, length)), lines.line_of(begin))


def explain(stop: Stop, text: str, expected: frozenset[str]) -> str:
    """The reason of a stop: lower case, one line, what was found first."""
    if stop.too_deep:
        return TOO_DEEP
    found = text[stop.begin : stop.end]
    if stop.terminal == STRANGE:
        return _strange(found, text, stop, expected)
    if stop.terminal == END:
        message = f"the text ends where {alternatives(expected)} must stand"
    else:
        hint = _hint(stop, text, found, expected)
        message = f'found "{_shown(found)}"{hint or f"; here may stand {alternatives(expected)}"}'
    return message + _still_open(stop, text)


def misspelt(found: str, meant: str, expected: frozenset[str]) -> str:
    """The reason where a word of the language was misspelt."""
    more = f"; here may stand {alternatives(expected)}" if len(expected) > 1 else ""
    return f'found "{_shown(found)}" (did you mean "{meant}"?){more}'


def alternatives(expected: frozenset[str]) -> str:
    """What may stand somewhere, as a list in words."""
    rest = set(expected)
    said: list[str] = []
    for needed, name, covered in _GROUPS:
        if needed <= rest:
            said.append(name)
            rest -= covered
    words = {terminal: word for word, terminal in (*tables().keywords.items(), *tables().punctuation.items())}
    named = [_NAMED[terminal] for terminal in _NAMED if terminal in rest]
    said += sorted(f'"{words[terminal]}"' for terminal in rest if terminal not in _NAMED and terminal in words)
    said += named
    if len(said) > _SHOWN_MAX:
        return f"{', '.join(said[:_SHOWN_MAX])}, …"
    return _listed(said) if said else "nothing more"


def _listed(said: list[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


def _strange(found: str, text: str, stop: Stop, expected: frozenset[str]) -> str:
    if found == '"':
        return 'this text is not closed on its line; a line break in a text is written "\\n"'
    if found in _HINTS:
        return f'found "{found}"; {_HINTS[found]}'
    name = unicodedata.name(found, "no character")
    shown = f'"{found}" (U+{ord(found):04X}, {name})' if found.isprintable() else f"U+{ord(found):04X} ({name})"
    if found.isalpha() or found.isdecimal():
        before = stop.begin
        while before and (text[before - 1].isalnum() or text[before - 1] == "_"):
            before -= 1
        after = stop.end
        while after < len(text) and (text[after].isalnum() or text[after] == "_"):
            after += 1
        word = text[before:after]
        where = f' in "{_shown(word)}"' if word != found else ""
        return (
            f'found {shown}{where}; names have the letters a-z and A-Z, digits and "_", other letters stand in quotes'
        )
    if found.isspace():
        return f"found {shown}; write a plain space"
    return f"found {shown}; here may stand {alternatives(expected)}"


def _hint(stop: Stop, text: str, found: str, expected: frozenset[str]) -> str | None:
    """What helps for mistakes that other languages teach."""
    if found == "=" and "EQ" in expected:
        return '; equality is written "=="'
    if found == "/" and "REGEX" in expected:
        return "; this regular expression is not closed on its line"
    if found == "/" and text[stop.end : stop.end + 1] == "/":
        return '; a comment begins with "#"'
    if found in ("and", "or") and "WHERE" in expected:
        return '; conditions begin with "where"; several records are "all of A, B" or "any of A, B"'
    if found == "==" and "COLON" in expected:
        return '; a value is given as "name: value"'
    before = text[: stop.begin].rstrip(" ")
    if stop.terminal == "NAME" and before[-1:].isdigit() and (unit := _UNITS.get(found.lower())):
        return f'; durations and sizes are written in one piece: "{_number_before(before)}{unit}"'
    return None


def _number_before(text: str) -> str:
    at = len(text)
    while at and (text[at - 1].isdigit() or text[at - 1] == "."):
        at -= 1
    return text[at:]


def _still_open(stop: Stop, text: str) -> str:
    if not stop.opened or (stop.terminal != END and stop.terminal not in tables().keywords.values()):
        return ""
    at = stop.opened[-1]
    line = text.count("\n", 0, at) + 1
    return f'; the "{text[at]}" of line {line} is open'


def _shown(found: str) -> str:
    return found if len(found) <= 40 else found[:37] + "…"
