"""The syntax of the language by example: chunks of tests/language/syntax_*.then, each line with what is said of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from then.core.errors import RulesRefused, RuleSyntaxError
from then.language.parser import parse

LANGUAGE = Path(__file__).parent / "language"
EXPECTED = re.compile(r'###\s+"(.*?)"(?=\s*(?:###|$))')


def _chunks() -> Sequence[object]:
    params = []
    for path in sorted(LANGUAGE.glob("syntax_*.then")):
        lines = 0
        for number, chunk in enumerate(path.read_text().split("\n---\n"), 1):
            # Blank lines before, so that the lines of a chunk are those of its file.
            params.append(pytest.param("\n" * lines + chunk, path.name, id=f"{path.stem}-{number}"))
            lines += chunk.count("\n") + 2
    return params


@pytest.mark.parametrize(("text", "file"), _chunks())
def test_syntax_of(text: str, file: str) -> None:
    expected: dict[int, list[str]] = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        expected[number].extend(EXPECTED.findall(line))
    found: dict[int, list[str]] = defaultdict(list)
    try:
        parse(text, file)
    except RulesRefused as refused:
        for error in refused.errors:
            assert isinstance(error, RuleSyntaxError)
            assert error.span is not None
            assert error.span.file == file
            assert error.line == text.split("\n")[error.span.line - 1]
            found[error.span.line].append(f"{error.span.column}: {error.message}")
    for number in sorted({*expected, *found}):
        wanted, got = expected[number], found[number]
        unmatched = [text for text in got if not any(re.search(pattern, text) for pattern in wanted)]
        absent = [pattern for pattern in wanted if not any(re.search(pattern, text) for text in got)]
        assert (unmatched, absent) == ([], []), f"line {number}"
