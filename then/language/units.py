"""One text on its way to rules, and what stands in it: places, constants, findings.

A unit is a file, or a text that was handed over. Every pass after the parser
takes the unit along, to say where things stand and to report what it finds.
"""

from __future__ import annotations

import attrs

from then.core.errors import RuleError
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

    def span(self, node: Tree | Token) -> Span:
        """Where a node of this text stands."""
        return span_of(node, self.file)

    def refuse(self, error: RuleError, node: Tree | Token | None = None) -> None:
        """Keeps an error; one without place gets the node's."""
        if node is not None and error.span is None:
            error.span = self.span(node)
        if node is not None and error.line is None:
            error.line = line_text(node)
        self.findings.refuse(error)

    def warn(self, number: str, message: str, node: Tree | Token | Span | None, hint: str = "") -> None:
        """Keeps a warning."""
        if isinstance(node, Tree | Token):
            self.findings.warn(number, message, self.span(node), hint, line_text(node))
        else:
            self.findings.warn(number, message, node, hint, self.line(node))

    def line(self, span: Span | None) -> str | None:
        """The text of a span's line, where it is one of this unit."""
        if span is None or span.file != self.file:
            return None
        lines = self.text.split("\n")
        return lines[span.line - 1] if span.line <= len(lines) else None
