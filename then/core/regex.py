"""Regular expressions of the language: RE2, in time linear in the text.

Patterns come from rule files, which may be anybody's; Python's `re` would let
`(a+)+$` run for ever. RE2 has neither look-around nor backreferences; a
pattern that uses them is refused at load, with its reason. The library is
imported when the first pattern is compiled.

Also here: what a pattern begins with, which is what the index files it under.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from then.core.errors import RuleError
from then.core.source import Span

PATTERN_LENGTH_MAX: Final = 10_000
"""Characters; RE2 compiles that in a few milliseconds."""
KEPT_MAX: Final = 1_000
"""Patterns that stay compiled for the plain evaluator; a few KiB each, SET_BYTES_MAX at the very most."""
SET_SIZE_MAX: Final = 2_000
"""Instructions of RE2's programs that are put into one set. A set too large for
its memory finds nothing, and says nothing: with SET_BYTES_MAX that begins far
beyond. A lone pattern that is larger is searched for instead."""
SET_BYTES_MAX: Final = 1 << 20


def check_pattern(pattern: str, span: Span | None = None) -> tuple[str, ...]:
    """The names of a pattern's groups, in order, if it is one that can be evaluated.

    Raises:
        RuleError: it is too long, or RE2 refuses it; with the reason and what there is instead.
    """
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise RuleError(f"a regex of {len(pattern)} characters; {PATTERN_LENGTH_MAX} at most", span)
    try:
        compiled(pattern)
    except RuleError as error:
        raise RuleError(error.message, span) from None
    shape = _shape(pattern)
    if shape.splits_characters:
        raise RuleError(f"regex {_shown(pattern)}: \\C takes characters apart; use . instead", span)
    for name in shape.groups:
        if shape.groups.count(name) > 1:
            raise RuleError(f'regex {_shown(pattern)}: the group "{name}" is there twice', span)
        if not name.isidentifier():
            raise RuleError(f'regex {_shown(pattern)}: the group name "{name}" is no name', span)
    return shape.groups


@functools.lru_cache(maxsize=KEPT_MAX)
def compiled(pattern: str) -> Any:
    """The pattern as RE2's object, which has no types; over UTF-8 bytes, then no offsets are counted in characters.

    Raises:
        RuleError: RE2 refuses it.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except UnicodeEncodeError:
        raise RuleError("a regex with half of a surrogate pair, which is no Unicode") from None
    except re2.error as error:
        raise RuleError(f"regex {_shown(pattern)}: {_reason(error)}") from None


class Regex:
    """A pattern that is looked for again and again; compiled when it is first looked for, and kept."""

    __slots__ = ("_is_found", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._is_found: Callable[[bytes], object] | None = None

    def is_found(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text.

        Raises:
            UnicodeEncodeError: the text has half of a surrogate pair.
        """
        encoded = text.encode()
        if self._is_found is None:
            one = compiled(self.pattern)
            # A set of one says whether, and not where, in half the time of a search.
            self._is_found = _set((self.pattern,)).Match if one.programsize <= SET_SIZE_MAX else one.search
        return bool(self._is_found(encoded))


@functools.lru_cache(maxsize=KEPT_MAX)
def kept(pattern: str) -> Regex:
    """The pattern, for who looks for it now and then."""
    return Regex(pattern)


Finds: TypeAlias = Callable[[bytes], Sequence[int] | None]
"""The numbers of the patterns that are found in a text; null for none."""


class Finder:
    """Looks for many patterns in one text, at little more than the price of one."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compiles nothing yet: a table may never be asked."""
        self._patterns = tuple(patterns)
        self._parts: list[tuple[int, Finds]] | None = None

    def find(self, text: str) -> list[int]:
        """The numbers of the patterns that are found in the text, in no order."""
        if not text.isascii() and not is_unicode(text):
            return []
        if self._parts is None:
            self._parts = list(self._compiled())
        encoded = text.encode()
        return [first + number for first, found in self._parts for number in found(encoded) or ()]

    def _compiled(self) -> Iterator[tuple[int, Finds]]:
        """Sets of neighbours, each of a bounded size, with the number of its first."""
        first, size = 0, 0
        for number, pattern in enumerate(self._patterns):
            own = compiled(pattern).programsize
            if number > first and size + own > SET_SIZE_MAX:
                yield first, self._part(first, number)
                first, size = number, 0
            size += own
        if self._patterns:
            yield first, self._part(first, len(self._patterns))

    def _part(self, first: int, end: int) -> Finds:
        if end - first > 1 or compiled(self._patterns[first]).programsize <= SET_SIZE_MAX:
            return cast("Finds", _set(self._patterns[first:end]).Match)
        search = compiled(self._patterns[first]).search
        return lambda text: None if search(text) is None else (0,)


def _set(patterns: Iterable[str]) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = SET_BYTES_MAX
    patterns_set = re2.Set.SearchSet(options)
    for pattern in patterns:
        patterns_set.Add(pattern.encode())
    patterns_set.Compile()
    return patterns_set


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_groups(pattern: str, text: str) -> dict[str, str] | None:
    """The named groups where the pattern is found, else null. A group that took no part is left out.

    Raises:
        UnicodeEncodeError: the text has half of a surrogate pair.
    """
    match = compiled(pattern).search(text.encode())
    if match is None:
        return None
    found: dict[bytes | str, bytes | None] = match.groupdict()
    return {
        name if isinstance(name, str) else name.decode(): value.decode()
        for name, value in found.items()
        if value is not None
    }


class Prefix(NamedTuple):
    """What every text begins with in which an anchored pattern is found."""

    text: str
    is_all: bool
    """Beginning so is not only needed but enough."""
    is_whole: bool
    """The text is the prefix and nothing else: `^abc$`."""


def prefix_of(pattern: str) -> Prefix | None:
    """The literal that the pattern is anchored to; null where it has none, or that is not plain to see."""
    if not pattern.startswith("^") or (_MAY_CHOOSE.search(pattern) and _shape(pattern).has_choice):
        return None
    literals: list[str] = []
    end = 1
    while (piece := _LITERAL.match(pattern, end)) is not None:
        literals.append(piece[0])
        end = piece.end()
    rest = pattern[end:]
    if rest[:1] in ("*", "?", "{") and literals:
        rest = literals.pop() + rest
    literal = "".join([piece[1:] if piece[0] == "\\" else piece for piece in literals])
    if not literal and rest != "$":
        return None
    return Prefix(literal, is_all=not rest, is_whole=rest == "$")


# These patterns are ours, and read a pattern in one pass; no text of a record meets Python's `re`.
_LITERAL: Final = re.compile(
    r"[^.\[\]()*+?{}|^$\\]+(?![*?{])|[^.\[\]()*+?{}|^$\\]|\\[" + re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + "]"
)
_MAY_CHOOSE: Final = re.compile(r"\||\\Q")


class _Shape(NamedTuple):
    groups: tuple[str, ...]
    has_choice: bool
    """A `|` outside all parentheses, or something in which we would not see one."""
    splits_characters: bool


def _shape(pattern: str) -> _Shape:
    """Groups and choices, read over escapes and classes; RE2 is asked whether the pattern is one at all."""
    groups: list[str] = []
    at, depth = 0, 0
    has_choice = splits = False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            follower = pattern[at + 1 : at + 2]
            splits = splits or follower == "C"
            has_choice = has_choice or follower == "Q"
            at += 1
        elif character == "[":
            at = _class_end(pattern, at)
        elif character == "(":
            depth += 1
            for opening in ("(?P<", "(?<"):
                if pattern.startswith(opening, at):
                    end = pattern.find(">", at)
                    groups.append(pattern[at + len(opening) : end if end > 0 else None])
                    break
        elif character == ")":
            depth -= 1
        elif character == "|" and depth == 0:
            has_choice = True
        at += 1
    return _Shape(tuple(groups), has_choice, splits)


def _class_end(pattern: str, at: int) -> int:
    """The index of the `]` that ends the class which begins at `at`."""
    at += 1
    if pattern[at : at + 1] == "^":
        at += 1
    first = at
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        if pattern.startswith("[:", at):
            end = pattern.find(":]", at)
            at = end + 1 if end > 0 else at
        elif pattern[at] == "\\":
            at += 1
        at += 1
    return at


def _reason(error: Exception) -> str:
    """RE2's own words, and what there is instead."""
    words = error.args[0] if error.args else b""
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    if "invalid perl operator" in text:
        return f"{text}: there is no look-around here; put a second clause beside it"
    if "invalid escape sequence" in text and text[-1:].isdigit():
        return f"{text}: there are no backreferences here; compare two named groups instead"
    return text


def _shown(pattern: str) -> str:
    return f"/{pattern if len(pattern) <= 60 else pattern[:57] + '...'}/"
