"""kill -9 of an engine that is debugged, at every append to its journal: held at the same places, with the same edits, the same end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.crash.appends import appends_of_a_whole_life, kill_at_each

PROGRAM = "tests.crash.held"
HOLDS = [["b1", "before", True], ["b2", "after", True], ["b3", "rule over", True], ["b4", "after", True],
         ["b5", "before", True], ["b6", "after", True]]  # fmt: skip
ENDS = [
    ["go", {"n": 1}, None], ["mark", {"n": 1}, 1], ["mark", {"n": 3}, 2], ["mark", {"n": 3}, 3], ["mark", {"n": 4}, 50],
    ["last", {"m": 50}, 50], ["bye", {"m": 50}, 51], ["stop", {"m": 51}, None],
]  # fmt: skip


def _check(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["outcome"] == "done", told
    assert told["holds"] == HOLDS, "each stop once, and in the entry that holds the record"
    assert told["ends"] == ENDS
    assert (folder / "marks").read_text().split() == ["1", "3", "3", "4"], "each run once"
    return told


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_append_it_is_held_at_the_same_places_with_the_same_edits(tmp_path: Path, when: str) -> None:
    appends = appends_of_a_whole_life(PROGRAM, tmp_path, _check)
    assert appends >= 2 * len(HOLDS), "a hold and a release each have an append"
    kill_at_each(PROGRAM, tmp_path, _check, appends, when)


def _check_steps(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["stops"] == [["entry", {"n": 1}, True], ["step", {"n": 1}, True], ["step", {"n": 3}, True]]
    assert told["edits"] == [["ann", {"code": 0, "m": 2}]]
    assert told["flows"] == [
        [False, "done", [["go", None], ["mark", {"code": 0, "m": 2}], ["mark", {"code": 0, "m": 3}]]],
        [True, "done", [["go", None], ["mark", {"code": 0, "m": 1}], ["mark", {"m": 9}]]],
    ]
    assert (folder / "marks").read_text().split() == ["1", "3"], "each run once, and none by the fork"
    return told


@pytest.mark.slow
def test_killed_after_every_append_it_steps_to_the_same_records_and_forks_once(tmp_path: Path) -> None:
    # Before one is after the one before: what a session does besides is in the journal, or nowhere.
    appends = appends_of_a_whole_life("tests.crash.stepped", tmp_path, _check_steps)
    assert appends >= 8, "two steps set, two released, each a stop; and a fork"
    kill_at_each("tests.crash.stepped", tmp_path, _check_steps, appends, "after")
