"""Disks on which the power goes: where they are laid out, and the start that follows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of disks are laid out in it."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts on a disk after a power cut does so in another run of the kernel."""
    monkeypatch.setattr("then.journals.tail.boot_id", lambda: "another run of the kernel")
