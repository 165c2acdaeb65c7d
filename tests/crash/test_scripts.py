"""kill -9 of an engine with a script, at every append to its journal: it goes on from its last step, and does nothing twice."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.crash.appends import appends_of_a_whole_life, kill_at_each
from tests.crash.scripted import TURNS

PROGRAM = "tests.crash.scripted"


def _check(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["outcome"] == "done", told
    seen = told["result"]["seen"]
    assert [(n, code) for n, _, _, code in seen] == [(n, 0) for n in range(TURNS)]
    assert sorted({at for _, at, _, _ in seen}) == [at for _, at, _, _ in seen], "a time of another life"
    assert told["variables"] == {"turn": TURNS - 1, "seen": seen}
    assert sorted((folder / "marks").read_text().split()) == [str(n) for n in range(TURNS)], "each run once"
    lines = told["out"].split("\n")[:-1]
    assert list(dict.fromkeys(lines)) == [f"turn {n}" for n in range(TURNS)]
    assert len(lines) <= TURNS + 1, "what was printed after the last recorded step may be there twice, and no more"
    return told


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("how", "least"), [(("--apart",), 5 * TURNS), ((), TURNS)], ids=["apart", "shared"])
def test_killed_at_every_append_a_script_comes_to_the_same_end(
    tmp_path: Path, when: str, how: tuple[str, ...], least: int
) -> None:
    appends = appends_of_a_whole_life(PROGRAM, tmp_path, _check, *how)
    assert appends >= least, "steps that are apart have an append each"
    kill_at_each(PROGRAM, tmp_path, _check, appends, when, *how)


def _check_steps(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["outcome"], told["result"]) == ("done", {"seen": [1]})
    assert told["hits"] == [f"step {n} at job.py:5" for n in range(2)], "each step is held once"
    assert (folder / "marks").read_text().split() == ["1"]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_append_a_script_is_held_before_the_same_steps(tmp_path: Path, when: str) -> None:
    appends = appends_of_a_whole_life("tests.crash.at_steps", tmp_path, _check_steps)
    assert appends >= 6, "a hold, a release and a step twice"
    kill_at_each("tests.crash.at_steps", tmp_path, _check_steps, appends, when)
