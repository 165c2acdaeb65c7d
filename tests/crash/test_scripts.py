"""kill -9 of an engine with a script, at every append to its journal: it goes on from its last step, and does nothing twice."""

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
from tests.crash.scripted import TURNS

PATIENCE_S = 120
AT_ONCE = 2


def _life(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.crash.scripted", str(folder), *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


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


def _killed_at(base: Path, number: int, when: str, *how: str) -> None:
    folder = base / f"{when}-{number}"
    folder.mkdir()
    try:
        first = _life(folder, "--kill", str(number), "--when", when, *how)
        if first.returncode != 0:  # A life with fewer appends than the longest ends by itself.
            assert first.returncode == -signal.SIGKILL, first.stderr
            first = _life(folder, *how)
        _check(folder, first)
    finally:
        kill_keeper(folder)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("how", "least"), [(("--apart",), 5 * TURNS), ((), TURNS)], ids=["apart", "shared"])
def test_killed_at_every_append_a_script_comes_to_the_same_end(
    tmp_path: Path, when: str, how: tuple[str, ...], least: int
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    try:
        appends = int(_check(whole, _life(whole, *how))["appends"])
    finally:
        kill_keeper(whole)
    assert appends >= least, "steps that are apart have an append each"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _killed_at(tmp_path, number, when, *how), range(1, appends + 1)))
