from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """`andthen`, called in an empty folder."""
    shell = Shell(tmp_path, capsys, monkeypatch)
    yield shell
    shell.close()
