"""kill -9 of an engine that is debugged, at every append to its journal: held at the same places, with the same edits, the same end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.crash.campaign import ROOT, kill_keeper

PATIENCE_S = 120
AT_ONCE = 2
HOLDS = [["b1", "before", True], ["b2", "after", True], ["b3", "rule over", True], ["b4", "after", True]]
ENDS = [
    ["go", {"n": 1}, None], ["mark", {"n": 1}, 1], ["mark", {"n": 3}, 2], ["mark", {"n": 3}, 3], ["mark", {"n": 4}, 50],
    ["last", {"m": 50}, 50],
]  # fmt: skip


def _life(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.crash.held", str(folder), *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def _check(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["outcome"] == "done", told
    assert told["holds"] == HOLDS, "each stop once, and in the entry that holds the record"
    assert told["ends"] == ENDS
    assert (folder / "marks").read_text().split() == ["1", "3", "3", "4"], "each run once"
    return told


def _killed_at(base: Path, number: int, when: str) -> None:
    folder = base / f"{when}-{number}"
    folder.mkdir()
    try:
        first = _life(folder, "--kill", str(number), "--when", when)
        if first.returncode != 0:  # A life with fewer appends than the longest ends by itself.
            assert first.returncode == -signal.SIGKILL, first.stderr
            first = _life(folder)
        _check(folder, first)
    finally:
        kill_keeper(folder)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_append_it_is_held_at_the_same_places_with_the_same_edits(tmp_path: Path, when: str) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    try:
        appends = int(_check(whole, _life(whole))["appends"])
    finally:
        kill_keeper(whole)
    assert appends >= 3 * len(HOLDS), "an end, a release and a setting each have an append"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _killed_at(tmp_path, number, when), range(1, appends + 1)))
