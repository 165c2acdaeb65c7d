"""All that is wrong with a text: goes on after a mistake as a reader would.

A misspelt word is taken for what it was meant to be, where the text then
reads on further. After any other mistake the machine goes on at the next line
that begins an item, or, inside a procedure or test, the next of its lines;
what it left is put away, so that one mistake gives one message. Layout counts
here, and here only.

Who calls: `then.language.parser`, when a text has been refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from then.core.errors import RuleSyntaxError
from then.core.source import Span
from then.language.automaton import Automaton, Shifted, Stacks, Stop
from then.language.executors import KINDS, WORDS_AFTER
from then.language.messages import ITEM_TERMINALS, explain, left_out, limit_cut_short, misspelt, syntax_error
from then.language.tables import END
from then.language.tree import Lines, Token, Tree

ERRORS_MAX: Final = 20
"""Mistakes that are looked for in one text; whoever has more begins at the top anyway."""

_WINDOW: Final = 2_000
"""Characters before and after a mistake that are read again to find out which word was meant."""
_CLOSE: Final = 0.6
_WORDS_TRIED: Final = 4
_OPTIONS_TRIED: Final = 40
"""More than any executor has."""
_SHORTEST: Final = 3
"""Shorter words are close to too many."""

_TOKEN: Final = re.compile(
    r"""\#[^\n]*|r"[^"\n]*"|r'[^'\n]*'|"(?:\\.|[^"\\\n])*"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|\d\w*|[^\s\w]""", re.ASCII
)
_LINE_WORD: Final = re.compile(r"^([ \t]*)([a-z]+)\b(?!\s*[:(])(?!\s+flow\b)", re.MULTILINE)
_BODY_WORDS: Final = {
    "procedure": frozenset("when rule final finally end".split()),
    "test": frozenset("given post stub advance expect end".split()),
}


class _Meant(NamedTuple):
    """A word that is misspelt, and what it is taken for."""

    begin: int
    found: str
    word: str
    reach: int
    """How far the text can be read then."""


class _Point(NamedTuple):
    """A place from which the text can be read again."""

    at: int
    stacks: Stacks | None = None
    """What is open there; None at the beginning of an item."""

    def opened(self) -> Stacks | None:
        """The stacks, to be changed."""
        return self.stacks.cut(len(self.stacks.states)) if self.stacks else None


def find_errors(automaton: Automaton, start: str, lines: Lines, file: str) -> list[RuleSyntaxError]:
    """At most ERRORS_MAX mistakes, in the order of the text; none where it is well.

    Cost: that of reading the text once, and a window around each misspelt word a few times.
    """
    recovery = _Recovery(automaton, start, lines, file)
    return sorted(recovery.errors(), key=lambda error: error.span or Span(file))[:ERRORS_MAX]


class _Recovery:
    """One text that has been refused, read again for all its mistakes."""

    def __init__(self, automaton: Automaton, start: str, lines: Lines, file: str) -> None:
        self._automaton = automaton
        self._start = start
        self._lines = lines
        self._file = file
        self._known = automaton.tables.keywords
        self._keywords = dict(self._known)
        """The words of the language, and those that were taken for one."""
        self._meant: dict[str, str] = {}
        """For each of the latter, the word."""
        self._errors: dict[int, RuleSyntaxError] = {}
        """By the offset at which the machine stopped, or which a word was taken for another."""

    def errors(self) -> list[RuleSyntaxError]:
        point = _Point(0)
        while len(self._errors) < ERRORS_MAX:
            try:
                self._automaton.run(
                    self._start, self._lines, point.at, point.opened(), self._keywords, self._note_taken
                )
                break
            except Stop as stop:
                item = _item_start(stop)
                # What cannot stand where we went on belongs to the mistake before.
                if not self._errors or stop.begin > point.at or point.at == item == 0:
                    again = point if point.at > item else _Point(item)
                    meant = self._read_as_option(stop, again, item) or self._misspelt(stop, again)
                    if meant is not None:
                        self._take(meant, stop)
                        point = again
                        continue
                    self._errors[stop.begin] = self._explained(stop, item)
                found = self._resume(stop, item, point)
                if found is None:
                    break
                point = found
        return list(self._errors.values())

    def _take(self, meant: _Meant, stop: Stop) -> None:
        """Takes a word for another, here and wherever else that other may stand."""
        expected = self._automaton.expected(stop.stacks.states) if meant.begin == stop.begin else frozenset()
        message = misspelt(meant.found, meant.word, expected)
        self._errors[meant.begin] = self._error(message, meant.begin, len(meant.found))
        self._keywords[meant.found] = self._known[meant.word]
        self._meant[meant.found] = meant.word

    def _note_taken(self, token: Shifted) -> None:
        """A token was read: where it is a word that was taken for another, that is a mistake too."""
        if self._meant and token.terminal != "NAME" and token.begin not in self._errors:
            found = self._lines.text[token.begin : token.end]
            word = self._meant.get(found)
            if word is not None and len(self._errors) < ERRORS_MAX:
                message = misspelt(found, word, frozenset())
                self._errors[token.begin] = self._error(message, token.begin, len(found))

    def _explained(self, stop: Stop, item: int) -> RuleSyntaxError:
        text = self._lines.text
        if (missing := left_out(stop, text)) is not None:
            begin, word, message = missing
            return self._error(message, begin, len(word))
        if (short := limit_cut_short(stop, text)) is not None:
            begin, length, message = short
            return self._error(message, begin, length)
        expected = self._automaton.expected(stop.stacks.states) if stop.stacks.states else frozenset()
        if self._begins_line(stop.begin) and self._indent(stop.begin) <= self._indent(item) and "RULE" in expected:
            # Where the writer begins an item, nobody wants to hear how the one before might go on.
            expected &= ITEM_TERMINALS
        begin = stop.after if stop.terminal == END else stop.begin
        return self._error(explain(stop, text, expected), begin, stop.end - stop.begin)

    def _error(self, message: str, begin: int, length: int) -> RuleSyntaxError:
        return syntax_error(message, self._lines, begin, length, self._file)

    # -- a misspelt word -------------------------------------------------------

    def _misspelt(self, stop: Stop, again: _Point) -> _Meant | None:
        """The word, at the stop or a few words before it, with which the text reads on, were it one of the language."""
        if stop.too_deep or stop.begin - again.at > _WINDOW * 10:
            return None
        best: _Meant | None = None
        needed = self._after_next(stop.end)
        for begin, found in reversed(self._words_before(again.at, stop.end)[-_WORDS_TRIED:]):
            if len(found) < _SHORTEST and found.lower() not in self._known:
                continue
            for word in difflib.get_close_matches(found.lower(), self._known, n=4, cutoff=_CLOSE):
                reach = self._reach(again, {**self._keywords, found: self._known[word]}, stop.end + _WINDOW)
                if reach > needed and (best is None or reach > best.reach):
                    best = _Meant(begin, found, word, reach)
        return best

    def _read_as_option(self, stop: Stop, again: _Point, item: int) -> _Meant | None:
        """The first option of a `run` that is none but a misspelt word: what it swallowed reads on without it.

        After `run process […]` any two words are an option and its value, so that the text stops far behind.
        """
        if stop.too_deep or stop.begin - again.at > _WINDOW * 10:
            return None
        for option, known in islice(_options(stop), _OPTIONS_TRIED):
            begin, found = option.start_pos, str(option)
            if len(found) < _SHORTEST or found in known or found in self._keywords:
                continue
            begins_line = self._begins_line(begin)
            is_item = begins_line and self._indent(begin) <= self._indent(item)
            words = [word for word, terminal in self._known.items() if terminal in ITEM_TERMINALS]
            words += () if is_item else WORDS_AFTER
            close = difflib.get_close_matches(found.lower(), words, n=1, cutoff=_CLOSE)
            if close and (is_item or not difflib.get_close_matches(found.lower(), known, cutoff=_CLOSE)):
                reach = self._reach(again, {**self._keywords, found: self._known[close[0]]}, stop.end + _WINDOW)
                if reach >= self._after_next(begin + len(found)):  # The word after it may be misspelt as well.
                    return _Meant(begin, found, close[0], reach)
        return None

    def _words_before(self, at: int, end: int) -> list[tuple[int, str]]:
        """Offset and text of the words in a stretch that are none of the language."""
        words: list[tuple[int, str]] = []
        while found := _TOKEN.search(self._lines.text, at, end):
            at = found.end()
            if found["word"] and found["word"] not in self._keywords:
                words.append((found.start(), found["word"]))
        return words

    def _after_next(self, at: int) -> int:
        found = _TOKEN.search(self._lines.text, at)
        return found.start() if found else at

    def _reach(self, again: _Point, keywords: Mapping[str, str], limit: int) -> int:
        """The offset at which the text cannot be read on, or the limit."""
        window = Lines(self._lines.text[again.at : limit])
        try:
            self._automaton.run(self._start, window, 0, again.opened(), keywords)
        except Stop as stop:
            if (missing := left_out(stop, window.text)) is not None:
                return again.at + missing[0]
            if stop.terminal != END or limit >= len(self._lines.text):
                return again.at + stop.begin
        return limit

    # -- going on ---------------------------------------------------------------

    def _resume(self, stop: Stop, item: int, last: _Point) -> _Point | None:
        """The next line that can be read whatever stood before it."""
        text = self._lines.text
        at = text.rfind("\n", 0, stop.begin) + 1
        if not self._begins_line(stop.begin) or stop.begin <= max(item, last.at):
            at = text.find("\n", stop.begin) + 1
            if not at:
                return None
        indent = self._indent(item)
        body = _BODY_WORDS.get(_word_at(text, item), frozenset())
        for found in _LINE_WORD.finditer(text, at):
            word, begin = found[2], found.start(2)
            terminal = self._known.get(word, "")
            if terminal in ITEM_TERMINALS and len(found[1]) <= indent and self._start == "start":
                return _Point(begin)
            if word not in body:
                continue
            for height in range(2, len(stop.stacks.states) + 1):
                states = stop.stacks.states[:height]
                # Where an action may stand, `end` would begin `end flow`.
                if self._automaton.takes(states, terminal) and not self._automaton.takes(states, "SAVE"):
                    return _Point(begin, stop.stacks.cut(height))
            if word == "end" and len(found[1]) <= indent:
                return _Point(found.end(2))
        return None

    def _begins_line(self, at: int) -> bool:
        return not self._lines.text[self._lines.text.rfind("\n", 0, at) + 1 : at].strip(" \t")

    def _indent(self, at: int) -> int:
        return at - self._lines.text.rfind("\n", 0, at) - 1 if self._begins_line(at) else 0


def _item_start(stop: Stop) -> int:
    """Where the item begins in which the machine stopped."""
    _, values, begins = stop.stacks
    before = 1 if values and isinstance(values[0], list) else 0
    return begins[before] if len(begins) > before else stop.begin


def _options(stop: Stop) -> Iterator[tuple[Tree | Token, Mapping[str, object]]]:
    """The names of the options that were read in the item of a stop, and the options that their executor has."""
    kind, has_target = "", False
    for value in stop.stacks.values:
        inner = value.children if isinstance(value, Tree) and value.data == "run" else value
        for node in inner if isinstance(inner, list) else [value]:
            is_word = isinstance(node, Token) and node.type == "NAME"
            if isinstance(node, Tree) and node.data == "option":
                yield node.children[0], KINDS[kind].options if kind in KINDS else {}
            elif is_word and has_target:
                # It is not put together with its value, another word, yet.
                yield node, KINDS[kind].options if kind in KINDS else {}
                return
            elif is_word:
                kind = str(node)
            has_target = bool(kind) and not is_word and node is not None


def _word_at(text: str, at: int) -> str:
    found = _TOKEN.match(text, at)
    return found["word"] or "" if found else ""
