"""Parts of YAML with a meaning: texts that are templates or in the language, expressions, flow variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from then.core.errors import RuleError, UnknownName
from then.core.filters import Const, Expr, ListOf, LoadRef, MapOf, Template
from then.language.findings import Misplaced
from then.language.parser import parse_part
from then.language.resolve import Resolver
from then.language.scope import Scope
from then.language.templates import split_plain
from then.language.tree import Token, Tree
from then.language.units import Unit
from then.language.yaml_text import Node


class Refused(Exception):
    """This part was refused, and the error kept."""


class Values:
    """Reads the values of one file. What is wrong is kept in the unit, and `Refused` raised."""

    def __init__(self, unit: Unit, resolver: Resolver) -> None:
        self.unit = unit
        self.resolver = resolver

    # -- values ----------------------------------------------------------------

    def value(self, node: Node, scope: Scope) -> Expr:
        content = node.content
        if isinstance(content, str):
            return self._template(node, scope)
        if isinstance(content, list):
            return ListOf(tuple(self.value(item, scope) for item in content), span=node.span)
        if not isinstance(content, dict):
            return Const(content, span=node.span)
        if content.keys() == {"expr"}:
            return self.resolver.expr(self.parse(content["expr"], "expr"), scope)  # type: ignore[index]
        if content.keys() == {"type", "name"} and content["type"].content == "load":  # type: ignore[index]
            return self._load(content["name"], scope)  # type: ignore[index]
        return MapOf(tuple((str(key), self.value(item, scope)) for key, item in content.items()), span=node.span)

    def _load(self, node: Node, scope: Scope) -> Expr:
        path = [item.content for item in items_of(node)]
        if not path or not isinstance(path[0], str) or not all(type(step) in (str, int) for step in path):
            self.refuse(
                Misplaced("name takes the variable, and perhaps a path into its value, as in [x] or [x, 0, id]"), node
            )
        if scope.place != "act":
            self.refuse(Misplaced(f"{{type: load, …}} stands in a body; here write flow.{path[0]}"), node)
        return LoadRef(tuple(step for step in path if isinstance(step, str | int)), span=node.span)

    def _template(self, node: Node, scope: Scope) -> Expr:
        text = node.content
        assert isinstance(text, str)
        if "{" not in text and "}" not in text:
            return Const(text, span=node.span)
        line, column = _text_place(node, self.unit)
        try:
            pieces = split_plain(text, self.unit.file, line, column)
        except RuleError as error:
            self.refuse(error, node)
        parts: list[str | Expr] = [
            piece if isinstance(piece, str) and not isinstance(piece, Token) else self.resolver.expr(piece, scope)
            for piece in pieces
        ]
        if all(isinstance(part, str) for part in parts):
            return Const("".join(str(part) for part in parts), span=node.span)
        return Template(tuple(parts), span=node.span)

    # -- shared ------------------------------------------------------------------

    def parse(self, node: Node, start: str) -> Tree | Token:
        """A text in the language, as the tree of that part."""
        text = self.text(node, "this")
        line, column = _text_place(node, self.unit)
        if node.style == "|":
            # White space means nothing there, so that columns can be those of the file.
            text = text.replace("\n", "\n" + " " * (column - 1))
        try:
            return parse_part(text, self.unit.file, start, line, column)
        except RuleError as error:
            self.refuse(error, node)

    def place(self, node: Node) -> tuple[int, int]:
        """Line and column at which a text's first character stands."""
        return _text_place(node, self.unit)

    def text(self, node: Node, what: str) -> str:
        if not isinstance(node.content, str):
            self.refuse(Misplaced(f"{what} is a text, and not {kind_of(node)}"), node)
        return node.content

    def refuse(self, error: RuleError, node: Node | Token) -> NoReturn:
        self.unit.refuse(error, node if isinstance(node, Token) else node.token)
        raise Refused from None


def kind_of(node: Node) -> str:
    """What a node is, in the words of YAML."""
    match node.content:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case _:
            return "a number"


def mapping(unit: Unit, node: Node, known: Iterable[str], what: str) -> dict[str, Node]:
    """The fields of a mapping, all of them known."""
    if not isinstance(node.content, dict):
        unit.refuse(
            Misplaced(f"{what} is a mapping with the keys {', '.join(known)}, and not {kind_of(node)}"), node.token
        )
        raise Refused
    for key in node.content:
        if key not in known:
            unit.refuse(UnknownName("key", str(key), known), key)
    return {str(key): value for key, value in node.content.items()}


def items_of(node: Node) -> list[Node]:
    """The items of a list; anything else is one item."""
    return node.content if isinstance(node.content, list) else [] if node.content is None else [node]


def _text_place(node: Node, unit: Unit) -> tuple[int, int]:
    """Line and column at which a text's first character stands."""
    line, column = node.span.line, node.span.column
    if node.style in ("|", ">"):
        line += 1
        while (written := unit.line_at(line)) is not None and not written.strip():
            line += 1
        return line, len(written or "") - len((written or "").lstrip(" ")) + 1
    return line, column + (1 if node.style else 0)
