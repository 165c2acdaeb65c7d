"""Whole engines under a virtual clock, from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import Plan, Run, small_limits

SEEDS = 1000
SEEDS_A_TEST = 50


def calm(seed: int) -> None:
    """The same flows with crashes and without come to the same."""
    with small_limits():
        quiet = Run(Plan(seed)).play().check()
        story = Run(Plan(seed, crashes_max=1 + seed % 7, fulls_max=seed % 3)).play().check()
    assert story.emissions() == quiet.emissions()
    assert story.ends() == quiet.ends()


def wild(seed: int) -> None:
    """Whatever people and rules do in between, the laws hold."""
    with small_limits():
        Run(Plan(seed, is_wild=True, crashes_max=seed % 5, fulls_max=seed % 4)).play().check()


def held(seed: int) -> int:
    """What breakpoints held and people continued, through crashes, comes to what it would without. How often it was."""
    with small_limits():
        quiet = Run(Plan(seed)).play().check()
        run = Run(Plan(seed, crashes_max=seed % 5, fulls_max=seed % 3, has_breakpoints=True)).play()
        story = run.check()
    assert story.emissions() == quiet.emissions()
    assert story.ends() == quiet.ends()
    return run.continued


def debugged(seed: int) -> None:
    """Breakpoints while people cancel and retry, and rules end flows: the laws hold."""
    with small_limits():
        Run(Plan(seed, is_wild=True, crashes_max=seed % 5, fulls_max=seed % 4, has_breakpoints=True)).play().check()


@pytest.mark.parametrize("first", range(0, 200, SEEDS_A_TEST))
def test_seeds_with_breakpoints(first: int) -> None:
    continued = 0
    for seed in range(first, first + SEEDS_A_TEST):
        try:
            if seed % 2:
                debugged(seed)
            else:
                continued += held(seed)
        except BaseException as error:
            error.add_note(f"seed {seed} of {'debugged' if seed % 2 else 'held'}")
            raise
    assert continued > SEEDS_A_TEST // 4


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_seeds(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        try:
            (wild if seed % 2 else calm)(seed)
        except BaseException as error:
            error.add_note(f"python -m tests.simulation --first {seed} --seeds 1")
            raise


def test_the_same_seed_writes_the_same_journal_in_any_process() -> None:
    code = (
        "from tests.simulation.run import Plan, Run\n"
        "for seed in range(12):\n"
        "    print(Run(Plan(seed, is_wild=bool(seed % 2), crashes_max=4, fulls_max=2)).play().digest())\n"
    )
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, cwd=root,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1
    assert len(set(found.pop().split())) == 12
