"""The journal in memory keeps the law."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.seams.journal_suite import JournalSuite
from then.abc import Journal
from then.journals.memory import open_memory


class TestMemory(JournalSuite):
    @pytest.fixture
    def journal(self) -> Iterator[Journal]:
        journal = open_memory()
        yield journal
        journal.close()
