"""docs/language.md: its blocks are one file, and `check` finds nothing wrong in it."""

from __future__ import annotations

import re
from pathlib import Path

from then.language.loading import check_path
from then.testing import check_tests

PAGE = Path(__file__).parent.parent / "docs" / "language.md"


def test_the_page_is_one_file_without_errors(tmp_path: Path) -> None:
    blocks = re.findall(r"^```then\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "page.then").write_text("\n".join(blocks))
    (tmp_path / "common.then").write_text("event greeting(text: str)\n")
    (tmp_path / "limits.yaml").write_text("max: 1000\n")

    found = check_path(tmp_path / "page.then", env={})

    assert [str(one) for one in found if one.severity == "error"] == []


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"^```then\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "page.then").write_text("\n".join(blocks))
    (tmp_path / "common.then").write_text("event greeting(text: str)\n")
    (tmp_path / "limits.yaml").write_text("max: 1000\n")

    assert check_tests(tmp_path / "page.then") >= 2
