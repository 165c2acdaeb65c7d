"""Where a thing was written: files, lines and columns.

Every rule, error, finding and breakpoint points somewhere. What reads files
lives in `then.language`; here is only the address.
"""

from __future__ import annotations

import attrs


@attrs.frozen(order=True)
class Span:
    """A place in a text: `length` characters from line and column on."""

    file: str
    """The path as the user gave it, relative where that is shorter."""
    line: int = 1
    """Counted from 1."""
    column: int = 1
    """Counted from 1, in characters, not bytes."""
    length: int = 1
    """In characters; at least 1, so that a caret has something to point at."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
