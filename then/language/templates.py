r"""Texts in quotes: their escapes, and the expressions in their braces.

In `"…"` the escapes are JSON's: `\" \\ \/ \b \f \n \r \t \uXXXX`. Where a text
is a template, `{expr}` is an expression, and `{{` and `}}` are braces. Inside
the braces `\"` and `\\` are a quote and a backslash, so a text there is
written `\"…\"`, or `r'…'`, which needs no escape. `r"…"` and `r'…'` are taken
as they stand: no escapes, no braces.

Who calls: `then.language.resolve`, for the texts of a tree, and what reads
rules from YAML, whose texts are templates too.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final, TypeAlias

from then.core.errors import RulesRefused, RuleSyntaxError
from then.language.messages import syntax_error
from then.language.parser import parse_inner
from then.language.tree import InnerLines, Lines, Token, Tree

Parts: TypeAlias = list[str | Tree | Token]
"""Text as it is (plain `str`) and expressions, in order; no two texts stand side by side, none is empty."""

_LITERAL: Final = re.compile(
    r"""(?P<text>[^{}\\]+)|\\u(?P<code>[0-9A-Fa-f]{4})|\\(?P<short>["\\/bfnrt])|(?P<escape>\\u.{0,4}|\\.?)"""
    r"""|(?P<brace>\{\{|\}\})|(?P<open>\{)|(?P<close>\})""",
    re.DOTALL,
)
"""What a text in quotes is made of, outside braces. In other texts a backslash is itself."""
_ESCAPED: Final = re.compile(_LITERAL.pattern.replace(r"[^{}\\]+", r"[^\\]+", 1), re.DOTALL)
"""The same where braces are text."""
_PLAIN: Final = re.compile(r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|(?P<open>\{)|(?P<close>\})")
_SHORT: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_FOREIGN: Final = re.compile(r'\s*["\w.-]+\s*:|[^"]*[$;]')
"""JSON, or a program of awk or the shell, rather than an expression."""
_INNER: Final = re.compile(
    r"""(?P<open>\{)|(?P<close>\})|(?<![A-Za-z0-9_])r(?:'[^']*'|"[^"]*")|"(?:\\.|[^"\\])*\""""
    r"""|\bmatches\s*/(?:\\.|[^\\/])+/|[^{}"rm]+|.""",
    re.DOTALL,
)
"""What stands between braces, in pieces, so that a brace in an inner text or regular expression ends nothing."""


def read_text(token: Token) -> str:
    """The text of a STRING or RAW token that is no template, or of a PLAIN one, which YAML has without quotes.

    Raises:
        RuleSyntaxError: an escape is none of JSON's; the error has no place of its own.
    """
    if token.type == "RAW":
        return token[2:-1]
    if token.type == "PLAIN":
        return str(token)
    if "\\" not in token:
        return token[1:-1]
    return _whole_text("".join(_unescaped(found) for found in _ESCAPED.finditer(token[1:-1])))


def split_template(token: Token, file: str) -> Parts:
    """The parts of a STRING token; a RAW one is a single text.

    Raises:
        RuleSyntaxError: an escape or brace that is none; the error points at it.
        RulesRefused: what stands in braces is no expression.

    Cost: grows with the length of the text.
    """
    if token.type == "RAW":
        return [read_text(token)] if len(token) > 3 else []
    return _Splitter(str(token[1:-1]), token.lines, token.start_pos + 1, file, escapes=True).parts()


def split_plain(text: str, file: str, line: int = 1, column: int = 1) -> Parts:
    """The parts of a template that comes without quotes and escapes: a text of YAML or JSON.

    Raises:
        RuleSyntaxError, RulesRefused: as for `split_template`.
    """
    return _Splitter(text, Lines(text, line, column), 0, file, escapes=False).parts()


class _Splitter:
    """One template on its way into parts."""

    def __init__(self, body: str, lines: Lines, at: int, file: str, *, escapes: bool) -> None:
        self._body = body
        self._lines = lines
        self._at = at
        """Offset of the body in `lines`."""
        self._file = file
        self._literal = _LITERAL if escapes else _PLAIN
        # The body as it reads inside braces, and where a character was taken out for that.
        self._inner, self._removed = _without_escapes(body) if escapes and "\\" in body else (body, [])

    def parts(self) -> Parts:
        parts: Parts = []
        texts: list[str] = []
        at = 0
        while found := self._literal.match(self._body, at):
            at = found.end()
            kind = found.lastgroup
            if kind == "text":
                texts.append(found[0])
            elif kind == "brace":
                texts.append(found[0][0])
            elif kind == "close":
                raise self._error('this "}" ends nothing; a brace that is text is written "}}"', found.start(), 1)
            elif kind == "open":
                self._add_text(texts, parts)
                expression, at = self._expression(found.start())
                parts.append(expression)
            else:
                try:
                    texts.append(_unescaped(found))
                except RuleSyntaxError as error:
                    raise self._error(error.message, found.start(), len(found[0])) from None
        self._add_text(texts, parts)
        return parts

    def _add_text(self, texts: list[str], parts: Parts) -> None:
        if texts:
            try:
                parts.append(_whole_text("".join(texts)))
            except RuleSyntaxError as error:
                raise self._error(error.message, -1, len(self._body) + 2) from None
            texts.clear()

    def _expression(self, opening: int) -> tuple[Tree | Token, int]:
        """The expression after an opening brace, and the offset after the closing one, both in the body."""
        start = self._to_inner(opening + 1)
        depth, at = 1, start
        while found := _INNER.match(self._inner, at):
            at = found.end()
            depth += (found.lastgroup == "open") - (found.lastgroup == "close")
            if depth == 0:
                break
        else:
            raise self._error('this "{" is not closed; a brace that is text is written "{{"', opening, 1)
        text = self._inner[start : at - 1]
        if not text.strip():
            raise self._error('nothing stands in these braces; braces that are text are written "{{}}"', opening, 2)
        low, high = bisect_left(self._removed, start), bisect_left(self._removed, at - 1)
        removed = tuple(offset - start for offset in self._removed[low:high])
        lines = InnerLines(text, self._lines, self._at + opening + 1, removed)
        try:
            return parse_inner(lines, self._file), self._to_body(at)
        except RulesRefused as refused:
            if _FOREIGN.match(text):
                refused.errors[0].message += '; braces that are text are written "{{" and "}}"'
            raise

    def _to_inner(self, offset: int) -> int:
        """An offset of the body in `_inner`. `_removed[i]` had i + 1 characters taken out up to it."""
        low, high = 0, len(self._removed)
        while low < high:
            middle = (low + high) // 2
            if self._removed[middle] + middle < offset:
                low = middle + 1
            else:
                high = middle
        return offset - low

    def _to_body(self, offset: int) -> int:
        return offset + bisect_left(self._removed, offset)

    def _error(self, message: str, offset: int, length: int) -> RuleSyntaxError:
        return syntax_error(message, self._lines, self._at + offset, length, self._file)


def _unescaped(found: re.Match[str]) -> str:
    """What an escape stands for.

    Raises:
        RuleSyntaxError: it is none.
    """
    if found["code"]:
        return chr(int(found["code"], 16))
    if found["short"]:
        return _SHORT[found["short"]]
    if found["escape"]:
        escape = found["escape"]
        wrong = "four digits 0-9 a-f follow \\u" if escape.startswith("\\u") else f'write "\\{escape}", or r"…"'
        raise RuleSyntaxError(f'"{escape}" is no escape; {wrong}')
    return found[0]


def _whole_text(text: str) -> str:
    """The text, its pairs of surrogates made one character, as JSON writes those beyond U+FFFF.

    Raises:
        RuleSyntaxError: half of a pair stands alone.
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise RuleSyntaxError("this text holds half of a surrogate pair, which is no character") from None


def _without_escapes(body: str) -> tuple[str, list[int]]:
    r"""The body with `\"` and `\\` as what they stand for, and the offsets there before which a `\` was taken out."""
    removed: list[int] = []
    pieces: list[str] = []
    length = at = 0
    for found in re.finditer(r"\\[\s\S]", body):
        if found[0] not in ('\\"', "\\\\"):
            continue
        pieces.append(body[at : found.start()])
        length += found.start() - at
        removed.append(length)
        at = found.start() + 1
    pieces.append(body[at:])
    return "".join(pieces), removed
