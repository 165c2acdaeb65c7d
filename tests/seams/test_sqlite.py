"""The journal in SQLite keeps the law, in either durability."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seams.journal_suite import JournalSuite
from then.abc import Journal
from then.journals.sqlite import open_sqlite


class TestSqlite(JournalSuite):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        journal = open_sqlite(tmp_path / "state")
        yield journal
        journal.close()


class TestSqliteForProcesses(JournalSuite):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        journal = open_sqlite(tmp_path / "state", durability="process")
        yield journal
        journal.close()
