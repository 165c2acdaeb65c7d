"""The plugin for pytest: each `test` of a `.then` file is an item, with the failure in our words.

Every pytest where this package is installed imports this module, so it imports
nothing of ours before a `.then` file with a test in it was met.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

_TEST = re.compile(rb'\btest\s*"')
"""What may be a test; whether it is one, the parser says."""


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A collector for a `.then` file that may have tests."""
    if file_path.suffix != ".then" or _TEST.search(file_path.read_bytes()) is None:
        return None
    return RulesFile.from_parent(parent, path=file_path)


class RulesFile(pytest.File):
    """A file of rules; all its tests share one reading of it."""

    def collect(self) -> Iterator[ScenarioItem]:
        from then.analysis.verdicts import judge
        from then.app.loading import load_afresh
        from then.core.edition import Edition
        from then.core.errors import ThenError

        try:
            rules = load_afresh(_shown(self.path))
        except ThenError as error:
            # It may test rules in Python or YAML that lie beside it.
            try:
                rules = load_afresh(_shown(self.path.parent))
            except ThenError:
                raise self.CollectError(str(error)) from None
        edition = Edition("tests", rules)
        for scenario in rules.scenarios:
            if scenario.span is not None and not self.path.samefile(scenario.span.file):
                continue
            line = scenario.span.line if scenario.span is not None else 1
            yield ScenarioItem.from_parent(
                self, name=scenario.name, play=partial(judge, scenario, edition, root=self.path.parent), line=line
            )


class _Failure(Protocol):
    def text(self) -> str: ...


class _Verdict(Protocol):
    @property
    def failures(self) -> Sequence[_Failure]: ...


class ScenarioFailed(Exception):
    """What a test expected and did not get."""


class ScenarioItem(pytest.Item):
    """One test.

    Args:
        play: plays it.
        line: where it begins, counted from 1.
    """

    def __init__(self, *, play: Callable[[], _Verdict], line: int, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._play = play
        self._line = line

    def runtest(self) -> None:
        failures = self._play().failures
        if failures:
            raise ScenarioFailed("\n".join(failure.text() for failure in failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The failures alone; of a fault of ours, or of a rule in Python, the traceback."""
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        return self.path, self._line - 1, f'test "{self.name}"'


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown
