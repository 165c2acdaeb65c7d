"""Syntax trees: what a text of the language looks like before it means anything.

`Tree` and `Token` have the names and attributes of Lark's (`data`, `children`,
`meta.line`, `type`, `value`, …), so that its grammar pages apply. They are our
own because importing Lark takes longer than parsing most files, because a node
is three times as small, and because lines and columns are counted only for the
few nodes that are asked for them: a node keeps offsets into its text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Self

from then.core.source import Span


class Lines:
    """A text, and where it stands in a file: turns offsets into lines and columns.

    Args:
        text: the whole text, or a part of one.
        line: the line in which `text` begins, counted from 1.
        column: the column in which it begins there.
    """

    __slots__ = ("_column", "_line", "_starts", "text")

    def __init__(self, text: str, line: int = 1, column: int = 1) -> None:
        self.text = text
        self._line = line
        self._column = column
        self._starts: list[int] | None = None

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        if self._starts is None:
            self._starts = line_starts(self.text)
        index = bisect_right(self._starts, offset) - 1
        column = offset - self._starts[index] + 1
        return self._line + index, column if index else column + self._column - 1

    def line_of(self, offset: int) -> str | None:
        """The line that holds an offset, without its end; None where only a part of that is known."""
        start = self.text.rfind("\n", 0, offset) + 1
        if not start and self._column > 1:
            return None
        end = self.text.find("\n", offset)
        return self.text[start : end if end >= 0 else len(self.text)]


class InnerLines(Lines):
    """A text that stands in another: what is in the braces of a template.

    Args:
        text: the inner text, escapes taken out.
        outer: what it stands in.
        at: the offset there at which it begins.
        removed: offsets into `text` before which an escaping character was taken out, ascending.
    """

    __slots__ = ("_at", "_outer", "_removed")

    def __init__(self, text: str, outer: Lines, at: int, removed: tuple[int, ...] = ()) -> None:
        super().__init__(text)
        self._outer = outer
        self._at = at
        self._removed = removed

    def _outward(self, offset: int) -> int:
        return self._at + offset + bisect_right(self._removed, offset)

    def place(self, offset: int) -> tuple[int, int]:
        return self._outer.place(self._outward(offset))

    def line_of(self, offset: int) -> str | None:
        return self._outer.line_of(self._outward(offset))


def line_starts(text: str) -> list[int]:
    """Offsets at which lines begin; the first is 0."""
    starts, at = [0], text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts


class Token(str):
    """A word, name, number or text as it was written, with its place.

    Tokens are equal to each other and to plain text when the text is the same.
    """

    __slots__ = ("lines", "start_pos", "type")

    lines: Lines
    type: str
    """The terminal of the grammar: `NAME`, `STRING`, …"""
    start_pos: int
    """Offset into the text that was parsed."""

    def __new__(cls, type: str, value: str, start_pos: int = 0, lines: Lines | None = None) -> Self:
        self = str.__new__(cls, value)
        self.type = type
        self.start_pos = start_pos
        self.lines = lines if lines is not None else Lines(value)
        return self

    @property
    def value(self) -> str:
        return str(self)

    @property
    def meta(self) -> Token:
        """Itself: a token has all that a tree's `meta` has."""
        return self

    @property
    def end_pos(self) -> int:
        return self.start_pos + len(self)

    @property
    def line(self) -> int:
        return self.lines.place(self.start_pos)[0]

    @property
    def column(self) -> int:
        return self.lines.place(self.start_pos)[1]

    @property
    def end_line(self) -> int:
        return self.line

    @property
    def end_column(self) -> int:
        return self.lines.place(self.end_pos)[1]

    def __repr__(self) -> str:
        return f"Token({self.type!r}, {str(self)!r})"


class Tree:
    """A rule of the grammar as it was found: its name, and what it is made of."""

    __slots__ = ("children", "data", "end_pos", "lines", "start_pos")

    __match_args__ = ("data", "children")

    data: str
    """The name of the rule, or of its alternative (`-> done`)."""
    children: list[Tree | Token]
    start_pos: int
    end_pos: int
    """Offset after its last character; equal to `start_pos` where it is empty."""

    def __init__(
        self,
        data: str,
        children: list[Tree | Token],
        start_pos: int = 0,
        end_pos: int = 0,
        lines: Lines | None = None,
    ) -> None:
        self.data = data
        self.children = children
        self.start_pos = start_pos
        self.end_pos = end_pos
        self.lines = lines if lines is not None else Lines("")

    @property
    def meta(self) -> Tree:
        """Itself: line, column and offsets, as Lark has them."""
        return self

    @property
    def empty(self) -> bool:
        return self.start_pos == self.end_pos

    @property
    def line(self) -> int:
        return self.lines.place(self.start_pos)[0]

    @property
    def column(self) -> int:
        return self.lines.place(self.start_pos)[1]

    @property
    def end_line(self) -> int:
        return self.lines.place(self.end_pos)[0]

    @property
    def end_column(self) -> int:
        return self.lines.place(self.end_pos)[1]

    def find(self, data: str) -> Tree | None:
        """The first child of that name; children only, not what they are made of."""
        for child in self.children:
            if isinstance(child, Tree) and child.data == data:
                return child
        return None

    def iter_trees(self) -> Iterator[Tree]:
        """This tree and all trees in it, in the order of the text. No recursion."""
        todo = [self]
        while todo:
            tree = todo.pop()
            yield tree
            todo.extend(child for child in reversed(tree.children) if isinstance(child, Tree))

    def tokens(self) -> Iterator[Token]:
        """All tokens in it, in the order of the text. No recursion."""
        todo: list[Tree | Token] = [self]
        while todo:
            node = todo.pop()
            if isinstance(node, Token):
                yield node
            else:
                todo.extend(reversed(node.children))

    def __eq__(self, other: object) -> bool:
        """Same names and tokens in the same shape; places are left out."""
        if not isinstance(other, Tree):
            return NotImplemented
        todo: list[tuple[Tree | Token, Tree | Token]] = [(self, other)]
        while todo:
            a, b = todo.pop()
            if isinstance(a, Token) or isinstance(b, Token):
                if not (isinstance(a, Token) and isinstance(b, Token) and a.type == b.type and a == b):
                    return False
            elif a.data != b.data or len(a.children) != len(b.children):
                return False
            else:
                todo.extend(zip(a.children, b.children, strict=True))
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tree({self.data!r}, {len(self.children)} children)"

    def pretty(self) -> str:
        """One node a line, indented: for tests and for the curious."""
        lines = []
        todo: list[tuple[int, Tree | Token]] = [(0, self)]
        while todo:
            depth, node = todo.pop()
            if isinstance(node, Token):
                lines.append(f"{'  ' * depth}{node.type} {str(node)!r}")
            else:
                lines.append(f"{'  ' * depth}{node.data}")
                todo.extend((depth + 1, child) for child in reversed(node.children))
        return "\n".join(lines)


def span_of(node: Tree | Token, file: str) -> Span:
    """Where a node stands; of one that goes over several lines, its first line."""
    line, column = node.lines.place(node.start_pos)
    end = node.end_pos
    newline = node.lines.text.find("\n", node.start_pos, end)
    if newline >= 0:
        end = newline
    return Span(file, line, column, max(1, end - node.start_pos))


def line_text(node: Tree | Token) -> str | None:
    """The source line of a node's beginning, for the caret of an error."""
    return node.lines.line_of(node.start_pos)
