"""What a task printed lasts as its end does, wherever power is cut or the engine is killed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.crash import powercut
from tests.crash.powercut import RESTART, Disk, Platter, Run, Step
from then.abc import Cell, Entry
from then.journals.carried import FILES_MAX
from then.journals.sqlite import open_sqlite

TASKS: Final = 120
IMAGES: Final = 240
IMAGES_OF_A_BUG: Final = 40


class End(NamedTuple):
    """The end of a task, and what it left."""

    step: Step
    files: dict[str, bytes]


SETTLE: Final = End(Step(), {})
"""The thread that settles has its turn."""


def ends(seed: int) -> list[End]:
    """Ends that fill the tail again and again, some with cells, some too large for it; restarts, and times to settle."""
    chance = random.Random(seed)
    found: list[End] = []
    for seq in range(1, TASKS + 1):
        size_bytes = chance.choice((100, 3_000, 20_000, 70_000 if seq % 9 == 0 else 200))
        cells = (Cell("task", "a", b"%d" % seq),) if chance.random() < 0.04 else ()
        names = chance.choice((["out"], ["out", "err"], ["out", "result.json"], []))
        files = {f"tasks/t{seq}/{name}": chance.randbytes(chance.randrange(1, 4_000)) for name in names}
        found.append(End(Step((Entry(seq, chance.randbytes(size_bytes)),), cells), files))
        if chance.random() < 0.06:
            found.append(SETTLE)
        if seq % 40 == 0:
            found.append(End(RESTART, {}))
    return found


ENDS: Final = ends(seed=1)
EXPECTED: Final = powercut.states(end.step for end in ENDS)


@pytest.fixture(autouse=True)
def settled_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread of its own settles, so that each run makes the same calls."""
    monkeypatch.setattr("then.journals.carried.SETTLED_AT_ONCE", FILES_MAX + 1)


def run(folder: Path, *, carries: bool = True) -> Run:
    """The ends as a disk saw them: what a task writes, then its journal's work.

    Args:
        carries: False plants a bug: nobody sees to the files.
    """
    open_sqlite(folder).close()
    base = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}
    disk = Disk()
    journal = powercut.open_on(disk, folder)
    acknowledged: list[int] = []
    for step, files in ENDS:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            disk.note("write", name, 0, data)
        if files and carries:
            assert journal.carry(files)
        if step is RESTART:
            journal.close()
            journal = powercut.open_on(disk, folder)
        elif step.entries:
            step.run(journal)
        else:
            journal._carried.settle()
        acknowledged.append(len(disk.calls))
    journal.close()
    return Run(base, disk.calls, acknowledged)


def missing(folder: Path, done: int) -> list[str]:
    """What the first ends have left, and is not there as it was."""
    files = [file for end in ENDS[:done] for file in end.files.items()]
    return [name for name, data in files if not (folder / name).is_file() or (folder / name).read_bytes() != data]


def cut_everywhere(folder: Path, run: Run, images: int) -> tuple[powercut.Tally, list[str]]:
    tally, lost = powercut.Tally(), list[str]()
    for done, files in powercut.cuts(run, images, seed=2):
        powercut.lay_out(folder, files)
        tally = tally.with_one(powercut.look(folder), EXPECTED, done)
        lost += missing(folder, done)
    return tally, lost


def test_power_takes_back_no_output_of_a_task_that_ended(folder: Path, restarted: None) -> None:
    carried = run(folder / "state")
    syncs = [call.file for call in carried.calls if call.verb == "sync"]
    assert syncs.count("journal.tail") >= 80
    assert 12 <= syncs.count("journal.db-wal") <= 30, "moved a few times"
    assert cut_everywhere(folder / "image", carried, IMAGES) == (powercut.Tally(IMAGES), [])


def test_a_start_after_a_kill_or_a_cut_puts_on_the_disk_what_was_carried_before_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(folder / "state")
    chance = random.Random(3)
    for place in sorted(chance.sample(range(len(first.calls)), 40)):
        done = sum(count <= place for count in first.acknowledged)
        platter = Platter(first.base)
        for call in first.calls[:place]:
            platter.take(call)
        is_cut = chance.random() < 0.5
        files = platter.after_a_cut(chance) if is_cut else platter.after_a_kill()
        if is_cut:
            platter = Platter(files)
        powercut.lay_out(folder / "image", files)
        start = Disk()
        with monkeypatch.context() as patch:
            if is_cut:
                patch.setattr("then.journals.tail.boot_id", lambda: "another run of the kernel")
            powercut.open_on(start, folder / "image").close()
        for call in start.calls[: chance.randrange(len(start.calls) + 1)]:
            platter.take(call)
        powercut.lay_out(folder / "image", platter.after_a_cut(chance))
        with monkeypatch.context() as patch:
            patch.setattr("then.journals.tail.boot_id", lambda: "a third run of the kernel")
            assert powercut.look(folder / "image") in EXPECTED[done : done + 2]
        assert missing(folder / "image", done) == []


# -- bugs planted to see that they are found -----------------------------------------


def test_output_that_nobody_sees_to_is_found(folder: Path, restarted: None) -> None:
    careless = run(folder / "state", carries=False)
    assert cut_everywhere(folder / "image", careless, IMAGES_OF_A_BUG)[1]


def test_a_start_that_puts_nothing_back_is_found(folder: Path) -> None:
    # As in the same run of the kernel, where all is there that was written.
    assert cut_everywhere(folder / "image", run(folder / "state"), IMAGES_OF_A_BUG)[1]


def test_a_tail_begun_anew_before_what_it_carries_is_settled_is_found(
    folder: Path, restarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(powercut.CarriedOn, "sync", lambda self, names: None)
    assert cut_everywhere(folder / "image", run(folder / "state"), IMAGES_OF_A_BUG)[1]
