"""What is found in rules: chunks of tests/language/check_*.then, each line with what is said of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from then.language.loading import check_text

LANGUAGE = Path(__file__).parent / "language"
EXPECTED = re.compile(r'###\s+"(.*?)"(?=\s*(?:###|$))')
ENV = {"SOME": "thing"}


def _chunks() -> Iterator[object]:
    for path in sorted(LANGUAGE.glob("check_*.then")):
        lines = 0
        for number, chunk in enumerate(path.read_text().split("\n---\n"), 1):
            # Blank lines before, so that the lines of a chunk are those of its file.
            yield pytest.param("\n" * lines + chunk, path.name, id=f"{path.stem}-{number}")
            lines += chunk.count("\n") + 2


@pytest.mark.parametrize(("text", "file"), list(_chunks()))
def test_findings_of(text: str, file: str) -> None:
    expected: dict[int, list[str]] = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        expected[number].extend(EXPECTED.findall(line))
    found: dict[int, list[str]] = defaultdict(list)
    for finding in check_text(text, file, env=ENV):
        assert finding.span is not None, finding.text()
        found[finding.span.line].append(finding.text().split("\n")[0].split(": ", 1)[1])
    for number in sorted({*expected, *found}):
        wanted, got = expected[number], found[number]
        unmatched = [text for text in got if not any(re.search(pattern, text) for pattern in wanted)]
        absent = [pattern for pattern in wanted if not any(re.search(pattern, text) for text in got)]
        assert (unmatched, absent) == ([], []), f"line {number}"
