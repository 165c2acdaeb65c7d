"""What holds for all tests: what a folder is marked as, and how examples are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Texts to be read and refused; where this package is installed, pytest would take their tests for ours.
collect_ignore_glob = ["language/*.then"]

FOLDERS_MARKED = ("clients", "crash", "simulation", "vscode")
"""Tests in these carry their marker by where they stand."""

ENGINE_FIXTURES = frozenset({"docker_engine", "own_dockerd"})
"""Who asks for one of these is marked `containers`."""

pytest_plugins = ("tests.docker_engine",)

# The suites of the seams are no test files by name; their asserts tell what was found all the same.
pytest.register_assert_rewrite("tests.seams", "tests.crash", "tests.simulation")

# Equal on every run, and never judged by the clock of a machine that others use.
# `--hypothesis-profile=long` looks further, from a new seed each time.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=20_000, deadline=None)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in FOLDERS_MARKED:
            item.add_marker(folder)
        if isinstance(item, pytest.Function) and not ENGINE_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("containers")
