"""One text on its way to rules, and what stands in it: places, constants, findings.

A unit is a file, or a text that was handed over. Every pass after the parser
takes the unit along, to say where things stand and to report what it finds.
"""

from __future__ import annotations

import attrs

from then.core.errors import RuleError, RulesRefused
from then.core.filters import Const
from then.core.source import Span
from then.language.findings import Findings
from then.language.tree import Token, Tree, line_text, span_of


@attrs.define(eq=False)
class Unit:
    """A text, its name for messages, and what its names stand for."""

    file: str
    """As messages show it."""
    key: str
    """Its path from the project's root: its name in `RuleSet.sources`."""
    text: str
    findings: Findings
    tree: Tree | None = None
    constants: dict[str, Const] = attrs.field(factory=dict)
    """What `let` and `load … from` gave, here and in the files that are used."""
    is_strict: bool = True
    """Types must be declared, as in `.then`; YAML may leave that out."""
    _lines: list[str] | None = attrs.field(default=None, init=False)

    def span(self, node: Tree | Token) -> Span:
        """Where a node of this text stands."""
        return span_of(node, self.file)

    def refuse(self, error: RuleError, node: Tree | Token | None = None) -> None:
        """Keeps an error, of a `RulesRefused` each one; one without place gets the node's."""
        for each in error.errors if isinstance(error, RulesRefused) else (error,):
            if node is not None and each.span is None:
                each.span = self.span(node)
            if not self.is_strict:
                # The tree is that of a text in the file, which stands in a line of the file.
                each.line = self.line(each.span)
            elif node is not None and each.line is None:
                each.line = line_text(node)
            self.findings.refuse(each)

    def warn(self, number: str, message: str, node: Tree | Token | Span | None, hint: str = "") -> None:
        """Keeps a warning."""
        if isinstance(node, Tree | Token) and self.is_strict:
            self.findings.warn(number, message, self.span(node), hint, line_text(node))
        else:
            span = self.span(node) if isinstance(node, Tree | Token) else node
            self.findings.warn(number, message, span, hint, self.line(span))

    def line(self, span: Span | None) -> str | None:
        """The text of a span's line, where it is one of this unit."""
        return self.line_at(span.line) if span is not None and span.file == self.file else None

    def line_at(self, number: int) -> str | None:
        """A line of the text, counted from 1."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines[number - 1] if number <= len(self._lines) else None
