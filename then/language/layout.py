"""Lines of a given width out of pieces that may be broken at stated places.

A document is a tree of plain values: text, places where a line may or must
end, groups that are kept on one line where they fit. `render` decides from the
outside in, once for each group.

Source: Wadler, "A prettier printer" (2003); Lindig, "Strictly pretty" (2000),
for a language that evaluates at once. Comments are ours: `Trail` ends its line
wherever it stands, `Own` has a line for itself.

Who calls: `then.language.format`, which makes documents of texts.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

WIDTH: Final = 100
"""Columns: two files side by side, or one with a review beside it."""


class Line(NamedTuple):
    """A place where the line may end."""

    flat: str = " "
    """What stands there where it does not end."""
    broken: str = ""
    """What stands before its end."""


class Hard(NamedTuple):
    """The end of a line."""

    blank: bool = False
    """An empty line follows."""


class Trail(NamedTuple):
    """A comment after other things: ends its line, and counts for no width."""

    comment: str


class Own(NamedTuple):
    """A comment on a line of its own."""

    comment: str
    blank: bool = False
    """An empty line stands before it."""


class Group(NamedTuple):
    """Kept on one line where it fits; else each `Line` that is directly in it ends one."""

    doc: Doc


class Nest(NamedTuple):
    """Lines that begin in it are indented further."""

    by: int
    doc: Doc


class Align(NamedTuple):
    """Lines that begin in it begin where it begins."""

    doc: Doc


Doc: TypeAlias = str | Line | Hard | Trail | Own | Group | Nest | Align | list["Doc"]

_Entry: TypeAlias = tuple[int, bool, Doc]
"""Indentation, whether it is kept on one line, and what."""


def render(doc: Doc, indent: int = 0) -> str:
    """The text: no blank at a line's end, no line end at its own.

    Cost: grows with the length of the text.
    """
    writer = _Writer(indent)
    todo: list[_Entry] = [(indent, False, doc)]
    while todo:
        at, flat, piece = todo.pop()
        match piece:
            case str():
                writer.write(piece, at)
            case list():
                todo.extend((at, flat, inner) for inner in reversed(piece))
            case Line():
                if flat and not writer.is_ended:
                    writer.write(piece.flat, at)
                else:
                    writer.write(piece.broken, at)
                    writer.end(at)
            case Hard():
                writer.end(at)
                if piece.blank:
                    writer.end(at)
            case Trail():
                writer.trail(piece.comment)
            case Own():
                writer.own(piece, at)
            case Nest():
                todo.append((at + piece.by, flat, piece.doc))
            case Align():
                todo.append((writer.column(at), flat, piece.doc))
            case Group():
                fits = flat or _fits(WIDTH - writer.column(at), piece.doc, todo)
                todo.append((at, fits, piece.doc))
    return writer.text()


class _Writer:
    """Lines as they come into being."""

    def __init__(self, indent: int) -> None:
        self._lines: list[str] = []
        self._pieces: list[str] = []
        self._indent = indent
        """Of the line that is being written."""
        self._column = indent
        self._comment = ""
        """Ends the line: nothing more may stand on it but a comma, which goes before."""
        self._is_own = False
        """The line holds a comment and nothing else."""

    @property
    def is_ended(self) -> bool:
        return bool(self._comment) or self._is_own

    def write(self, text: str, indent: int) -> None:
        if self._is_own or (self._comment and text != ","):
            if not text.strip(" "):
                return
            self.end(self._indent if self._is_own else indent)
        if not self._pieces:
            text = text.lstrip(" ")
        if not text:
            return
        self._pieces.append(text)
        self._column += len(text)

    def trail(self, comment: str) -> None:
        self._comment = f"{self._comment}  {comment}"

    def own(self, own: Own, indent: int) -> None:
        if self._pieces:
            self.end(self._indent if self._is_own else indent)
        if own.blank and self._lines and self._lines[-1]:
            self.end(self._indent)
        self._pieces.append(own.comment)
        self._is_own = True

    def end(self, indent: int) -> None:
        self._lines.append(self._line())
        self._pieces.clear()
        self._indent = self._column = indent
        self._comment = ""
        self._is_own = False

    def column(self, indent: int) -> int:
        """Where the next text goes."""
        if self._is_own:
            return self._indent
        return indent if self._comment else self._column

    def text(self) -> str:
        return "\n".join([*self._lines, self._line()])

    def _line(self) -> str:
        line = "".join(self._pieces).rstrip(" ")
        return f"{' ' * self._indent}{line}{self._comment}" if line else self._comment.lstrip()


def _fits(width: int, doc: Doc, after: list[_Entry]) -> bool:
    """Whether a document, and what follows it up to the next line end, has room on this line.

    Cost: grows with the width, and with the length of the lists that begin in it.
    """
    todo: list[tuple[bool, Doc]] = [(True, doc)]
    follows = len(after)
    ended = False
    while width >= 0:
        if not todo:
            if not follows:
                return True
            follows -= 1
            _, flat, next_doc = after[follows]
            todo.append((flat, next_doc))
        flat, piece = todo.pop()
        match piece:
            case str():
                if ended and piece.strip(" ") and piece != ",":
                    return False
                width -= len(piece)
            case list():
                todo.extend((flat, inner) for inner in reversed(piece))
            case Line():
                if not flat:
                    return True
                if ended:
                    return False
                width -= len(piece.flat)
            case Hard() | Own():
                # In the group it must break; after it the line is complete.
                return not flat
            case Trail():
                ended = True
            case Nest() | Align() | Group():
                todo.append((flat, piece.doc))
    return False
