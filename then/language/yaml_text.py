"""YAML as data: the 1.2 core types, nothing clever, every node with its place.

PyYAML's C parser is fed on, its events only: its constructor reads `NO` as
false, `12:30:00` as 45000 and `010` as 8, keeps the last of two equal keys,
and falls over on deep nesting, which is counted here before anything is built.
Refused, with the place: tags, anchors and aliases, merge keys, keys that are
there twice, more than one document.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from then.core.errors import RuleError, RuleSyntaxError
from then.core.source import Span
from then.core.tasks import Json
from then.core.values import is_within_limits
from then.language.tree import Lines, Token

DEPTH_MAX: Final = 64
EVENTS_MAX: Final = 100_000
"""About 30,000 lines. The rules of a program that writes more belong into `.then`, which has no such limit."""

_CORE: Final = re.compile(
    r"(?P<null>null|Null|NULL|~|)"
    r"|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<odd>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_INTEGER_BASES: Final = {"int": 10, "octal": 8, "hex": 16}


@attrs.frozen(eq=False)
class Node:
    """A scalar, list or mapping, and where it stands."""

    content: Content
    span: Span
    style: str = ""
    """Of a text: `'`, `"`, `|`, `>`, or nothing where it is plain."""
    begin: int = 0
    """Offset in the file."""
    end: int = 0

    def value(self) -> Json:
        """The tree as JSON. Nesting is bounded, so that recursion is."""
        match self.content:
            case list() as items:
                return [item.value() for item in items]
            case dict() as fields:
                return {str(key): item.value() for key, item in fields.items()}
            case scalar:
                return scalar

    @property
    def token(self) -> Token:
        """What stands for it where a syntax tree would have a token: a place, and a text."""
        text = self.content if isinstance(self.content, str) else ""
        return place_token(text, self.span)


Content: TypeAlias = str | int | float | bool | list[Node] | dict[Token, Node] | None
"""Keys are tokens: texts that know where they stand."""


def place_token(text: str, span: Span) -> Token:
    """A text that stands at a place, for messages."""
    return Token("YAML", text, 0, Lines(text or " ", span.line, span.column))


def read_yaml(text: str, file: str) -> Node:
    """The one document of a text.

    Raises:
        RuleError: it is no YAML, or YAML that is not read here; with the place.

    Cost: grows with the length of the text.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(text, file).build(yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from None


def has_top_key(text: str, key: str) -> bool:
    """Whether the document is a mapping with that key, or, where it cannot be read, looks like one."""
    try:
        content = read_yaml(text, "").content
    except RuleError:
        return re.search(rf"^{key}\s*:", text, re.MULTILINE) is not None
    return isinstance(content, dict) and key in content


class _Builder:
    """Events to nodes, with a stack of our own."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._events = 0
        self._documents = 0
        # Open collections: the node's content, its start event, and the key that waits for its value.
        self._open: list[tuple[list[Node] | dict[Token, Node], Any, list[Token]]] = []
        self._root: Node | None = None
        self._takers: dict[str, Callable[[Any], None]] = {
            "DocumentStartEvent": self._document, "AliasEvent": self._alias, "ScalarEvent": self._scalar,
            "MappingStartEvent": lambda event: self._start(event, {}), "MappingEndEvent": self._end,
            "SequenceStartEvent": lambda event: self._start(event, []), "SequenceEndEvent": self._end,
        }  # fmt: skip

    def build(self, events: Any) -> Node:
        for event in events:
            self._events += 1
            if self._events > EVENTS_MAX:
                raise self._error(event, f"more than {EVENTS_MAX:,} values; write so many rules in .then")
            take = self._takers.get(type(event).__name__)
            if take is not None:
                take(event)
        if self._root is None:
            return Node(None, Span(self._file))
        return self._root

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._error(event, "a second document; one file holds one")

    def _alias(self, event: Any) -> None:
        raise self._error(event, f'the alias "*{event.anchor}"; anchors and aliases are not read here: write it out')

    def _start(self, event: Any, content: list[Node] | dict[Token, Node]) -> None:
        self._check(event)
        if self._open and isinstance(self._open[-1][0], dict) and not self._open[-1][2]:
            raise self._error(event, "a key that is a list or a mapping; keys are texts")
        if len(self._open) >= DEPTH_MAX:
            raise self._error(event, f"nested deeper than {DEPTH_MAX} levels")
        self._open.append((content, event, []))

    def _end(self, event: Any) -> None:
        content, start, _ = self._open.pop()
        self._put(Node(content, self._span(start), "", start.start_mark.index, event.end_mark.index))

    def _scalar(self, event: Any) -> None:
        self._check(event)
        if self._open and isinstance(self._open[-1][0], dict) and not self._open[-1][2]:
            self._key(event)
            return
        value = event.value if event.style else self._plain(event)
        node = Node(value, self._span(event), event.style or "", event.start_mark.index, event.end_mark.index)
        self._put(node)

    def _key(self, event: Any) -> None:
        fields, _, waiting = self._open[-1]
        assert isinstance(fields, dict)
        if event.value == "<<" and not event.style:
            raise self._error(event, "a merge key; it is not read here: write the fields out")
        if event.value in fields:
            raise self._error(event, f'the key "{event.value}" is there twice')
        waiting.append(place_token(event.value, self._span(event)))

    def _put(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        content, _, waiting = self._open[-1]
        if isinstance(content, list):
            content.append(node)
        else:
            content[waiting.pop()] = node

    def _check(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._error(
                event, f'the anchor "&{event.anchor}"; anchors and aliases are not read here: write it out'
            )
        if event.tag is not None:
            raise self._error(event, f'the tag "{event.tag}"; tags are not read here')

    def _plain(self, event: Any) -> str | int | float | bool | None:
        """A text without quotes, by the core schema of YAML 1.2: `NO`, `12:30:00` and dates stay texts."""
        text: str = event.value
        found = _CORE.fullmatch(text)
        if found is None:
            return text
        kind = found.lastgroup
        if kind in ("true", "false"):
            return kind == "true"
        if kind in _INTEGER_BASES:
            base = _INTEGER_BASES[kind]
            # Reading an integer takes the square of its digits.
            number = int(text, base) if len(text) <= 40 else 2**64
            if not is_within_limits(number):
                raise self._error(event, "an integer beyond 64 bits; put it into quotes")
            return number
        if kind == "float":
            value = float(text)
            if not is_within_limits(value):
                raise self._error(event, "a number that is too large; put it into quotes")
            return value
        if kind == "odd":
            raise self._error(event, f"{text} is no JSON number; give null, or put it into quotes")
        return None

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Span(self._file, start.line + 1, start.column + 1, max(1, length))

    def _error(self, event: Any, message: str) -> RuleSyntaxError:
        return _error(message, self._span(event), self._text)


def _error(message: str, span: Span, text: str) -> RuleSyntaxError:
    lines = text.split("\n")
    return RuleSyntaxError(message, span, lines[span.line - 1] if span.line <= len(lines) else None)


def _syntax_error(error: Any, text: str, file: str) -> RuleSyntaxError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    words = ", ".join(str(part) for part in (context, problem) if part)
    if "mapping values are not allowed" in words:
        words += '; put a text with ": " in it into quotes'
    span = Span(file, mark.line + 1, mark.column + 1) if mark is not None else Span(file)
    if mark is None and (position := getattr(error, "position", None)) is not None:
        span = Span(file, text.count("\n", 0, position) + 1, position - (text.rfind("\n", 0, position) + 1) + 1)
        words = f"a character that YAML does not have: U+{getattr(error, 'character', 0):04X}"
    return _error(f"no YAML: {words}", span, text)
