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
from then.language.tree import Lines, Token, Tree

ITEM_TERMINALS: Final = frozenset(
    "USE LOAD LET SECRET RECORD EVENT TASK START FINAL RULE PROCEDURE EVERY CRON BREAKPOINT LOGPOINT TEST".split()
)
"""What may begin an item of a file."""

_SHOWN_MAX: Final = 8
_BESIDE_MEANT_MAX: Final = 5
"""With a word that was meant, only a short list is of help."""

_VALUES: Final = frozenset("INT FLOAT DURATION SIZE TIMESTAMP STRING RAW NAME LPAR LSQB LBRACE MINUS".split())
_VALUE_WORDS: Final = frozenset("TRUE FALSE NULL SECRET LOAD NOT HAS SOME EVERY".split())
_OPERATORS: Final = frozenset("ADD MUL EQ CMP IN NOT CONTAINS MATCHES IS COALESCE AND OR".split())
_ACTIONS: Final = frozenset("NAME CALL FOR SAVE RETURN CANCEL SKIP END".split())
_AFTER_ACTION: Final = frozenset("AS RETRY TIMEOUT AFTER AT FAIL IF".split())
_OUTCOMES: Final = frozenset("DONE FAILED FINISHED CANCELLED TIMED RETRIED".split())
_DAYS: Final = frozenset("DAY WEEKDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY".split())
_CONTINUATIONS: Final = frozenset("DOT WILD LSQB LPAR SLASH".split())
"""What makes a name longer: not worth a word where something else may stand."""

_GROUPS: Final[tuple[tuple[frozenset[str], str, frozenset[str]], ...]] = (
    # Where all of the first may stand, the text says so, and the third are not named one by one.
    (frozenset("INT STRING NAME LPAR".split()), "a value", _VALUES | _VALUE_WORDS),
    (frozenset("ADD MUL".split()), "an operator", _OPERATORS),
    (frozenset("CALL SAVE".split()), "an action", _ACTIONS),
    (frozenset("DONE FAILED".split()), "an outcome", _OUTCOMES),
    (frozenset("MONDAY DAY".split()), "a day", _DAYS),
    (frozenset("STRING RAW".split()), "a text in quotes", frozenset("STRING RAW".split())),
    (frozenset("RETRY AFTER".split()), "more of the action (if, retry, timeout, …)", _AFTER_ACTION),
    (frozenset("RULE TASK USE".split()), "the next item (rule, task, event, …)", ITEM_TERMINALS | {END}),
    (frozenset((END,)), "the end", frozenset((END,))),
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

_OUTCOMES_MEANT: Final = {
    "timedout": "timed out", "timeout": "timed out", "succeeded": "done", "success": "done", "ok": "done",
    "completed": "finished", "ended": "finished", "failure": "failed", "error": "failed", "canceled": "cancelled",
}  # fmt: skip
_STRUCTURE: Final = frozenset("then when where by within and or else otherwise as if end rule task event".split())
"""Words that, read as a name, tell that something before them was left out."""


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
        message = f"found {_quoted(found)}{hint or f'; {may_stand(expected)}'}"
    return message + _still_open(stop, text)


def misspelt(found: str, meant: str, expected: frozenset[str]) -> str:
    """The reason where a word of the language was misspelt."""
    more = f"; {may_stand(expected)}" if 1 < len(_alternatives(expected)) <= _BESIDE_MEANT_MAX else ""
    return f'found {_quoted(found)} (did you mean "{meant}"?){more}'


def left_out(stop: Stop, text: str) -> tuple[int, str, str] | None:
    """A word of the language that was read as a name, because something before it was left out.

    Returns:
        Its offset, itself, and the reason; None where the stop has another cause.
    """
    values = stop.stacks.values
    last = values[-1] if values else None
    begin = stop.stacks.begins[-1] if values else 0
    word = text[begin : stop.after]
    if word not in _STRUCTURE or not isinstance(last, (Tree, Token)) or stop.terminal == STRANGE:
        return None
    follows = "the end" if stop.terminal == END else _quoted(text[stop.begin : stop.end])
    return begin, word, f'something is missing before "{word}": it was read as a name, which {follows} cannot follow'


def limit_cut_short(stop: Stop, text: str) -> tuple[int, int, str] | None:
    """A `limit N` without its `at once`, which nobody looks for at the word that follows.

    Returns:
        Its offset, its length, and the reason; None where the stop has another cause.
    """
    for height in (2, 3):
        begin = stop.stacks.begins[-height] if len(stop.stacks.begins) >= height else stop.after
        found = text[begin : stop.after].split()
        if len(found) == height and found[0] == "limit" and found[1].isdecimal() and found[2:] in ([], ["at"]):
            return begin, stop.after - begin, f"found `{' '.join(found)}`; it is written `limit {found[1]} at once`"
    return None


def may_stand(expected: frozenset[str]) -> str:
    """What may stand somewhere, as a sentence."""
    said = _alternatives(expected)
    return f"here {'may' if len(said) > 1 else 'must'} stand {_listed(said)}"


def alternatives(expected: frozenset[str]) -> str:
    """What may stand somewhere, as a list in words."""
    return _listed(_alternatives(expected))


def _alternatives(expected: frozenset[str]) -> list[str]:
    rest = set(expected)
    groups: list[str] = []
    for needed, name, covered in _GROUPS:
        if needed <= rest:
            groups.append(name)
            rest -= covered
    if "DOT" in rest and (groups or not rest <= _CONTINUATIONS):
        rest -= _CONTINUATIONS
    words = {terminal: word for word, terminal in (*tables().keywords.items(), *tables().punctuation.items())}
    named = [name for terminal, name in _NAMED.items() if terminal in rest]
    said = sorted(f'"{words[terminal]}"' for terminal in rest if terminal not in _NAMED and terminal in words)
    said = [*said, *named]
    room = _SHOWN_MAX - len(groups)
    return [*said[:room], *(["…"] if len(said) > room else []), *groups]


def _listed(said: list[str]) -> str:
    if not said:
        return "nothing more"
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
    return f"found {shown}; {may_stand(expected)}"


def _hint(stop: Stop, text: str, found: str, expected: frozenset[str]) -> str | None:
    """What helps for mistakes that other languages teach."""
    if found == "=" and text[stop.end : stop.end + 1] in ("<", ">"):
        return f'; write "{text[stop.end]}="'
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
    if found == "," and stop.opened and text[stop.opened[-1]] == "(":
        return "; a list stands in brackets: [a, b]"
    if "DONE" in expected and (meant := _OUTCOMES_MEANT.get(found.lower())):
        return f' (did you mean "{meant}"?)'
    if found == "when" and "RULE" in expected:
        return '; a rule begins with its name: "rule NAME when …"'
    if stop.after == stop.begin and text[stop.begin - 1 : stop.begin] == '"' and found[:1].isalnum():
        if text[stop.begin - 2 : stop.begin - 1] == "\\":
            return """; a raw text ends at its next quote; one that holds double quotes stands in r'…'"""
        return r"""; the text before it ends at that quote; one that it holds is written \", or the text r'…'"""
    before = text[max(0, stop.begin - 40) : stop.begin].rstrip(" ")
    if stop.terminal == "NAME" and before[-1:].isdigit() and (unit := _UNITS.get(found.lower())):
        return f'; durations and sizes are written in one piece: "{_number_before(before)}{unit}"'
    return None


def _number_before(text: str) -> str:
    at = len(text)
    while at and (text[at - 1].isdigit() or text[at - 1] == "."):
        at -= 1
    return text[at:]


def _still_open(stop: Stop, text: str) -> str:
    if not stop.opened or (stop.terminal != END and text[stop.begin : stop.end] not in tables().keywords):
        return ""
    at = stop.opened[-1]
    line = text.count("\n", 0, at) + 1
    return f'; the "{text[at]}" of line {line} is open'


def _quoted(found: str) -> str:
    if found[:1] == '"':
        return f"the text {_shown(found)}"
    return f'"{_shown(found)}"'


def _shown(found: str) -> str:
    return found if len(found) <= 40 else found[:37] + "…"
