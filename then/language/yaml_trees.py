"""YAML as syntax trees of the language: what a mapping says becomes the tree that the same words would have.

So everything past the parser is the language's own: names, types, checks and
the model. A value of YAML stands in a tree as `Given`, which `YamlResolver`
resolves; a text that is in the language is parsed where it stands, inside the
words that it belongs to, so that its errors have their place in the file.

Here are patterns, triggers and parts that are shared; acts are
`then.language.yaml_acts`, declarations `then.language.yaml_declarations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from then.core.errors import RuleError, UnknownName
from then.core.filters import And, Compare, Expr, IsNull
from then.core.rules import FINISHED, RETRIED
from then.core.tasks import check_name
from then.language.compile import Compiler
from then.language.findings import Misplaced
from then.language.parser import parse_expression, parse_part
from then.language.resolve import POISON, Resolver, folded
from then.language.scope import Declared, Scope
from then.language.tree import Lines, Token, Tree
from then.language.units import Unit
from then.language.yaml_text import Node
from then.language.yaml_values import Refused, Values, items_of, kind_of, mapping

PART_KEYS: Final = ("type", "outcome", "as", "where", "absent")
WHEN_KEYS: Final = (
    "type", "outcome", "as", "where", "unmatched", "all", "any", "every", "times", "followed_by", "quiet", "by", "within",
)  # fmt: skip
JOIN_KEYS: Final = {
    "all": ("all", "by", "within"),
    "any": ("any", "by", "within"),
    "every": ("every", "by"),
    "times": ("times", "type", "outcome", "as", "where", "followed_by", "by", "within"),
    "quiet": ("quiet", "type", "outcome", "as", "where", "by"),
}
"""By the key that makes it a join: what may stand beside it."""

_OUTCOMES: Final = {
    "done": {"done"}, "failed": {"failed"}, "cancelled": {"cancelled"}, "timed_out": {"timed_out"},
    "timed out": {"timed_out"}, "finished": FINISHED, "retried": {RETRIED},
}  # fmt: skip
_COUNT: Final = re.compile(r"[0-9]+", re.ASCII)
_SPAN: Final = re.compile(r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)", re.ASCII)


class Given(Tree):
    """A value of YAML where the language has an expression; `equal` is a `where` that is a mapping."""

    __slots__ = ("node",)

    def __init__(self, node: Node, lines: Lines, data: str = "given") -> None:
        super().__init__(data, [], node.begin, node.end, lines)
        self.node = node


class YamlResolver(Resolver):
    """Resolves the expressions of a file of YAML."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.values = Values(unit, self)
        self.compiler: Compiler | None = None
        self._handlers["given"] = self._given
        self._handlers["equal"] = self._equal

    def _given(self, tree: Tree, scope: Scope) -> Expr:
        assert isinstance(tree, Given)
        try:
            return self.values.value(tree.node, scope)
        except Refused:
            return POISON

    def _equal(self, tree: Tree, scope: Scope) -> Expr:
        """A mapping of fields to values: all are equal."""
        assert isinstance(tree, Given)
        fields = tree.node.content
        assert isinstance(fields, dict)
        try:
            clauses = [self._clause_of(key, value, scope) for key, value in fields.items()]
        except Refused:
            return POISON
        return clauses[0] if len(clauses) == 1 else And(tuple(clauses), span=tree.node.span)

    def _clause_of(self, key: Token, node: Node, scope: Scope) -> Expr:
        line, column = key.lines.place(0)
        try:
            path = parse_expression(key, self.unit.file, line, column)
        except RuleError as error:
            self.values.refuse(error, node)
        if not isinstance(path, Tree) or path.data != "path":
            self.values.refuse(
                Misplaced(f'"{key}" is no field; a where that is more than equality is written as a text'), key
            )
        field = self.expr(path, scope)
        # A field that is not there is not equal: nothing more careful can be written in this form.
        assert self.compiler is not None
        self.compiler.typer.guard(field, scope)
        if node.content is None:
            return IsNull(field, span=node.span)
        return Compare("==", field, folded(self.values.value(node, scope)), span=node.span)


def yaml_compiler(unit: Unit, declared: Declared) -> Compiler:
    """What compiles the trees of a file of YAML."""
    resolver = YamlResolver(unit)
    resolver.compiler = Compiler(unit, declared, resolver)
    return resolver.compiler


class Trees:
    """Makes the trees of one file. What is wrong is kept in the unit, and `Refused` raised."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.lines = Lines(unit.text)
        self.values = Values(unit, Resolver(unit))

    # -- pieces ----------------------------------------------------------------------

    def tree(self, data: str, children: Iterable[Tree | Token | None], node: Node) -> Tree:
        """A tree that stands where the node does; children that are None are left out."""
        return Tree(data, [child for child in children if child is not None], node.begin, node.end, self.lines)

    def token(self, type: str, node: Node, text: str | None = None) -> Token:
        """A token that stands where the node does."""
        shown = self.written(node) if text is None else text
        return Token(type, shown, 0, Lines(shown or " ", node.span.line, node.span.column))

    def written(self, node: Node) -> str:
        """A scalar as it is written: `15m`, `0`, `true`."""
        if isinstance(node.content, str):
            return node.content
        if isinstance(node.content, list | dict):
            self.values.refuse(Misplaced(f"this is a text or a number, and not {kind_of(node)}"), node)
        return self.unit.text[node.begin : node.end]

    def plain(self, node: Node) -> Token:
        """A text that is no template, and has no quotes of its own."""
        text = self.values.text(node, "this")
        return Token("PLAIN", text, 0, Lines(text or " ", *self.values.place(node)))

    def name(self, node: Node, what: str) -> Tree:
        """A name, dots in it or not."""
        text = self.values.text(node, f"the name for {what}")
        try:
            check_name(text, what)
        except RuleError as error:
            self.values.refuse(error, node)
        return self._dotted(node, text)

    def _dotted(self, node: Node, text: str) -> Tree:
        token = node.token
        names: list[Tree | Token] = [Token("NAME", part, 0, token.lines) for part in text.split(".")]
        return Tree("tname", names, 0, len(token) or 1, token.lines)

    def part_of(self, before: str, node: Node, after: str = "", start: str = "start", find: str = "") -> Tree:
        """The tree that a text has between words of the language.

        Args:
            before: what stands before it there, in one line.
            start: of which part of the language the whole is.
            find: the name of the tree that is wanted.
        """
        line, column = self.values.place(node)
        text = self.written(node)
        if node.style == "|":
            text = text.replace("\n", "\n" + " " * (column - 1))
        try:
            whole = parse_part(f"{before}{text}{after}", self.unit.file, start, line, column - len(before))
        except RuleError as error:
            self.values.refuse(error, node)
        assert isinstance(whole, Tree)
        found = next((tree for tree in whole.iter_trees() if tree.data == find), None)
        words = before.rpartition("(")[2].strip(") ")
        if found is None:
            self.values.refuse(Misplaced(f"this is nothing that stands after `{words}`"), node)
        rest = text[max(0, found.end_pos - len(before)) :].strip(" \n,")
        if rest and not rest.startswith("#"):
            self.values.refuse(Misplaced(f"`{rest[:40]}` is more than what stands here after `{words}`"), node)
        return found

    def flag(self, fields: dict[str, Node], key: str) -> bool:
        """Whether a key that is true or false is true; False where it is not there."""
        node = fields.get(key)
        if node is None:
            return False
        if not isinstance(node.content, bool):
            self.values.refuse(Misplaced(f"{key} is true or false"), node)
        return node.content

    def count(self, node: Node, what: str) -> Token:
        """A whole number."""
        if _COUNT.fullmatch(self.written(node)) is None:
            self.values.refuse(Misplaced(f"{what} is a whole number"), node)
        return self.token("INT", node)

    def span(self, node: Node, what: str) -> Token:
        """A span of time."""
        if _SPAN.fullmatch(self.written(node)) is None:
            self.values.refuse(Misplaced(f"{what} is a span of time, such as 30s or 2h"), node)
        return self.token("DURATION", node)

    # -- patterns ----------------------------------------------------------------------

    def _pattern(self, fields: dict[str, Node], node: Node) -> Tree:
        """What a mapping with `type`, `outcome`, `as` and `where` waits for."""
        parts = self._pattern_parts(fields, node)
        # What is said of a pattern is said of its type.
        return self.tree("pattern", parts, fields["type"])

    def _pattern_parts(self, fields: dict[str, Node], node: Node) -> list[Tree | None]:
        if "type" not in fields:
            self.values.refuse(Misplaced("when needs type: a task, an event, a family such as deploy.*, or any"), node)
        return [
            self._family(fields["type"]),
            self._outcomes(fields.get("outcome")),
            self.alias(fields),
            self.where(fields),
        ]

    def _family(self, node: Node) -> Tree:
        written = self.values.text(node, "type")
        token = node.token
        if written == "any":
            return Tree("family", [Token("ANY", "any", 0, token.lines)], 0, len(token), token.lines)
        try:
            check_name(written.removesuffix(".*"))
        except RuleError as error:
            self.values.refuse(error, node)
        return Tree("family", [self._dotted(node, written.removesuffix(".*"))], 0, len(token), token.lines)

    def _outcomes(self, node: Node | None) -> Tree | None:
        if node is None:
            return None
        words: set[str] = set()
        for item in items_of(node):
            for word in self.values.text(item, "outcome").split(" or "):
                known = _OUTCOMES.get(word.strip())
                if known is None:
                    self.values.refuse(UnknownName("outcome", word.strip(), _OUTCOMES), item)
                words |= known
        return self.tree("outcomes", [Tree(word, []) for word in sorted(words)], node) if words else None

    def alias(self, fields: dict[str, Node]) -> Tree | None:
        if "as" not in fields:
            return None
        self.values.text(fields["as"], "as")
        return self.tree("alias", [self.token("NAME", fields["as"])], fields["as"])

    def where(self, fields: dict[str, Node]) -> Tree | None:
        node = fields.get("where")
        if node is None:
            return None
        if isinstance(node.content, str):
            return self.tree("where", [self.values.parse(node, "expr")], node)
        if not isinstance(node.content, dict):
            self.values.refuse(Misplaced("where is a mapping of fields to values, or a text in the language"), node)
        return self.tree("where", [Given(node, self.lines, "equal")], node) if node.content else None

    # -- what is waited for ----------------------------------------------------------------

    def when(self, node: Node) -> tuple[Tree, Tree | None]:
        """A trigger and its window."""
        if isinstance(node.content, str):
            tree = self.values.parse(node, "when_text")
            assert isinstance(tree, Tree)
            if tree.data != "when_text":
                return tree, None
            trigger = tree.children[0]
            assert isinstance(trigger, Tree)
            return trigger, tree.find("within")
        kind = next((key for key in JOIN_KEYS if isinstance(node.content, dict) and key in node.content), None)
        if kind is None:
            fields = mapping(self.unit, node, WHEN_KEYS, "when")
            return self._single(fields, node), self._within(fields)
        fields = mapping(self.unit, node, JOIN_KEYS[kind], f"when with {kind}")
        return self._join(kind, fields, node), self._within(fields)

    def _single(self, fields: dict[str, Node], node: Node) -> Tree:
        if self.flag(fields, "unmatched"):
            parts = self._pattern_parts(fields, node)
            return self.tree("unmatched", parts, fields["type"])
        return self.tree("single", [self._pattern(fields, node), self._by(fields.get("by"))], node)

    def _join(self, kind: str, fields: dict[str, Node], node: Node) -> Tree:
        by = self._by(fields.get("by"))
        if kind == "quiet":
            quiet = self.tree("quiet", [self.span(fields["quiet"], "quiet")], fields["quiet"])
            return self.tree("single", [self._pattern(fields, node), by, quiet], node)
        if kind == "times":
            count = self.count(fields["times"], "times")
            after = fields.get("followed_by")
            followed = self._pattern_of(after, "followed_by") if after is not None else None
            return self.tree("times", [count, self._pattern(fields, node), followed, by], node)
        if kind == "every":
            return self.tree("set", [self._pattern_of(fields["every"], "every"), by], node)
        if not isinstance(fields[kind].content, list):
            self.values.refuse(Misplaced(f"{kind} takes a list of parts"), fields[kind])
        parts = [self._part(item) for item in items_of(fields[kind])]
        if not parts:
            self.values.refuse(Misplaced(f"{kind} takes at least one part"), fields[kind])
        return self.tree(f"{kind}of", [*parts, by], node)

    def _pattern_of(self, node: Node, what: str) -> Tree:
        if isinstance(node.content, str):
            return self.part_of("every ", node, "", "when_text", "pattern")
        return self._pattern(mapping(self.unit, node, PART_KEYS[:-1], what), node)

    def _part(self, node: Node) -> Tree:
        if isinstance(node.content, str):
            return self.part_of("all of ", node, "", "when_text", "part")
        fields = mapping(self.unit, node, PART_KEYS, "a part")
        no = self.token("NO", fields["absent"], "no") if self.flag(fields, "absent") else None
        return self.tree("part", [no, self._pattern(fields, node)], node)

    def _within(self, fields: dict[str, Node]) -> Tree | None:
        node = fields.get("within")
        return None if node is None else self.tree("within", [self.span(node, "within")], node)

    def _by(self, node: Node | None) -> Tree | None:
        if node is None:
            return None
        keys: list[Tree | Token] = []
        for item in items_of(node):
            if isinstance(item.content, dict):
                if not item.content:
                    self.values.refuse(Misplaced("by names the field of each part, as in {p: order, o: id}"), item)
                paths = [self._path(alias, field) for alias, field in item.content.items()]
                keys.append(self.tree("key", paths, item))
            else:
                keys += self.part_of("any of x by ", item, "", "when_text", "by").children
        if not keys:
            self.values.refuse(Misplaced("by takes a field, a list of fields, or flow"), node)
        return self.tree("by", keys, node)

    def _path(self, alias: Token, node: Node) -> Tree:
        path = self.part_of("any of x by ", node, "", "when_text", "path")
        return self.tree("path", [Token("NAME", str(alias), 0, alias.lines), *path.children], node)
