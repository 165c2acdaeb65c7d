"""Whole engines with random scripts, from a seed: killed anywhere, they come to the same end, and no step is taken twice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.run import Plan, small_limits
from tests.simulation.scripts import ScriptRun
from then.core import scripts
from then.core.scripts import Recorded, Scripts
from then.core.state import State

SEEDS = 80
SEEDS_A_TEST = 40


def calm(seed: int, root: Path) -> int:
    """With crashes and without, the same. How often a script was run again."""
    with small_limits():
        quiet = ScriptRun(Plan(seed), root).play().check()
        run = ScriptRun(Plan(seed, crashes_max=1 + seed % 7, fulls_max=seed % 3), root)
        story = run.play().check()
    assert story.emissions() == quiet.emissions()
    assert story.ends() == quiet.ends()
    assert len(story.steps) == len(quiet.steps)
    return run.replays


def wild(seed: int, root: Path) -> int:
    """Whatever people and rules do in between, the laws hold."""
    with small_limits():
        run = ScriptRun(Plan(seed, is_wild=True, crashes_max=seed % 5, fulls_max=seed % 4), root)
        run.play().check()
    return run.replays


def held(seed: int, root: Path) -> int:
    """Scripts that are held before their steps, and continued, come to what they would without."""
    with small_limits():
        quiet = ScriptRun(Plan(seed), root).play().check()
        run = ScriptRun(Plan(seed, crashes_max=seed % 5, has_breakpoints=True), root)
        story = run.play().check()
    assert story.emissions() == quiet.emissions()
    assert story.ends() == quiet.ends()
    return run.replays


@pytest.mark.parametrize("way", [calm, wild, held])
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_seeds_with_scripts(
    first: int, way: Callable[[int, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "CHUNK_STEPS", 3)
    monkeypatch.setattr(sys, "path", [*sys.path])
    replays = 0
    for seed in range(first, first + SEEDS_A_TEST):
        try:
            replays += way(seed, tmp_path)
        except BaseException as error:
            error.add_note(f"seed {seed} of {way.__name__}")
            raise
    assert replays > SEEDS_A_TEST


# -- bugs planted into the engine, which it has to find ------------------------------------------------------


def what_has_ended_is_lost_by_a_restart(plant: pytest.MonkeyPatch) -> None:
    load = Scripts.load
    plant.setattr(Scripts, "load", lambda of, kind, rows: load(of, kind, [] if kind == "ended" else rows))


def a_wait_is_forgotten_by_a_restart(plant: pytest.MonkeyPatch) -> None:
    load = Scripts.load

    def forgetful(of: Scripts, kind: str, rows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[int, str]]:
        yield from load(of, kind, rows)
        for script in of.of.values():
            script.give_up()

    plant.setattr(Scripts, "load", forgetful)


def the_time_of_a_wait_is_forgotten_by_a_restart(plant: pytest.MonkeyPatch) -> None:
    load = Scripts.load
    plant.setattr(Scripts, "load", lambda of, kind, rows: [*load(of, kind, rows)][:0])


def steps_are_written_when_they_are_the_first_of_their_cell(plant: pytest.MonkeyPatch) -> None:
    touch = State.touch

    def forgetful(state: State, kind: str, key: str, is_new: bool = False) -> None:
        if kind != "stride" or is_new:
            touch(state, kind, key, is_new)

    plant.setattr(State, "touch", forgetful)


def the_last_step_is_taken_again(plant: pytest.MonkeyPatch) -> None:
    steps = Recorded.steps
    plant.setattr(Recorded, "steps", lambda recorded: steps(recorded)[:-1])


BUGS: Final[tuple[Callable[[pytest.MonkeyPatch], None], ...]] = (
    what_has_ended_is_lost_by_a_restart,
    a_wait_is_forgotten_by_a_restart,
    the_time_of_a_wait_is_forgotten_by_a_restart,
    steps_are_written_when_they_are_the_first_of_their_cell,
    the_last_step_is_taken_again,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(
    bug: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "CHUNK_STEPS", 3)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("tests.simulation.run.TURNS_MAX", 3000)
    bug(monkeypatch)
    for seed in range(SEEDS):
        try:
            calm(seed, tmp_path)
        except Exception as found:
            print(f"found by seed {seed}: {type(found).__name__}: {found}")
            return
    pytest.fail(f"{bug.__name__} was not found by {SEEDS} seeds")
