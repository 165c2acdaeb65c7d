"""No power cut takes back what was acknowledged, and the simulation would see it if one did.

`THEN_POWERCUT_IMAGES=200000` looks further than the 2,000 of a push.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.crash import powercut
from tests.crash.powercut import Disk, Platter, Run, Tally
from then.abc import Entry
from then.core.errors import JournalFailed
from then.journals import opening
from then.journals.connection import connect
from then.journals.sqlite import SqliteJournal, open_sqlite

IMAGES = int(os.environ.get("THEN_POWERCUT_IMAGES", "2000"))
IMAGES_OF_A_BUG = 300

STEPS = powercut.workload(seed=1, transactions=200)
EXPECTED = powercut.states(STEPS)
CHAIN = powercut.chain(seed=1, transactions=240)
EXPECTED_OF_CHAIN = powercut.states(CHAIN)


def tally_of(folder: Path, run: Run, images: int) -> Tally:
    return powercut.cut_everywhere(folder / "image", run, EXPECTED, images, seed=2)


def chain_tally(folder: Path, run: Run, images: int) -> Tally:
    return powercut.cut_everywhere(folder / "image", run, EXPECTED_OF_CHAIN, images, seed=2)


def test_the_workload_is_worth_the_trouble(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS)
    verbs = [(call.verb, call.file) for call in run.calls]
    assert sum(1 for step in STEPS if step is not powercut.RESTART) == 200
    assert sum(1 for step in STEPS if step.pruned) >= 5
    assert verbs.count(("sync", "journal.db")) >= 8, "few checkpoints"
    syncs = verbs.count(("sync", "journal.db-wal")), verbs.count(("sync", "journal.tail"))
    assert sum(syncs) >= 200, "one commit, one sync"
    assert min(syncs) >= 60, "the tail is used, and left"
    assert ("truncate", "journal.db") in verbs, "room was given back"
    assert ("delete", "journal.db-wal") in verbs, "it was closed in between"


def test_power_loses_nothing_wherever_it_is_cut(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS)
    assert tally_of(folder, run, IMAGES) == Tally(IMAGES, corrupt=0, lost=0, half=0)


def test_a_tail_that_fills_again_and_again_loses_nothing(folder: Path) -> None:
    run = powercut.run(folder / "state", CHAIN)
    verbs = [(call.verb, call.file) for call in run.calls]
    assert verbs.count(("sync", "journal.tail")) >= 200
    assert 5 <= verbs.count(("sync", "journal.db-wal")) <= 60, "moved a few times"
    assert chain_tally(folder, run, IMAGES) == Tally(IMAGES, corrupt=0, lost=0, half=0)


def test_a_tail_in_process_may_lose_the_end_and_is_never_damaged(folder: Path, restarted: None) -> None:
    run = powercut.run(folder / "state", CHAIN, partial(powercut.open_on, durability="process"))
    found = chain_tally(folder, run, IMAGES // 4)
    assert (found.corrupt, found.half) == (0, 0)
    assert found.lost > 0


def test_process_may_lose_the_end_and_is_never_damaged(folder: Path, restarted: None) -> None:
    run = powercut.run(folder / "state", STEPS, partial(powercut.open_on, durability="process"))
    found = tally_of(folder, run, IMAGES // 4)
    assert (found.corrupt, found.half) == (0, 0)
    assert found.lost > 0, "what `process` gives up is not what the page says"


def test_a_cut_while_starting_after_a_cut_loses_nothing(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS)
    tally = Tally()
    for done, files in powercut.cuts(run, 100, seed=3):
        powercut.lay_out(folder / "image", files)
        disk = Disk()
        powercut.open_on(disk, folder / "image").close()
        start = Run(files, disk.calls, [])
        for _, again in powercut.cuts(start, 3, seed=done):
            powercut.lay_out(folder / "image", again)
            tally = tally.with_one(powercut.look(folder / "image"), EXPECTED, done)
    assert tally == Tally(300, corrupt=0, lost=0, half=0)


def test_a_new_journal_is_there_whole_or_not_at_all(folder: Path) -> None:
    disk = Disk()
    journal = powercut.open_on(disk, folder / "state")
    made = len(disk.calls)
    journal.append([Entry(1, b"1")])
    journal.close()

    last = max(place for place, call in enumerate(disk.calls) if call.file.startswith("journal.db.new"))
    assert last < made
    platter = Platter({})
    for call in disk.calls[: last + 1]:
        platter.take(call)
    assert platter.is_synced("journal.db.new"), "renamed before it was synced"

    for _, files in powercut.cuts(Run({}, disk.calls[: last + 1], []), 100, seed=4):
        powercut.lay_out(folder / "image", files)
        assert powercut.look(folder / "image") == powercut.states([])[0]


def test_a_cut_while_the_schema_is_led_forward_loses_nothing(folder: Path) -> None:
    later = (*opening.load_schemas(), "CREATE TABLE added (name TEXT); INSERT INTO added VALUES ('here')")
    with closing(open_sqlite(folder / "state")) as journal:
        for step in STEPS[:50]:
            step.run(journal)
        expected = powercut.contents(journal)
    base = {"journal.db": (folder / "state" / "journal.db").read_bytes()}

    disk = Disk()
    powercut.open_with(later, disk, folder / "state").close()
    assert any(call.file == "journal.db-wal" for call in disk.calls)
    for _, files in powercut.cuts(Run(base, disk.calls, []), 150, seed=5):
        powercut.lay_out(folder / "image", files)
        reopen = partial(SqliteJournal, connect=connect, schemas=later, durability="power", read_only=False)
        assert powercut.look(folder / "image", reopen) == expected


def test_a_sync_that_failed_is_made_up_for_by_the_next_start(folder: Path) -> None:
    # The kernel reports a failed sync once and then takes the pages for clean. An engine that
    # starts again finds them in memory; were it to go on behind them, it would sync only what is new.
    state = folder / "state"
    open_sqlite(state).close()
    platter = Platter({"journal.db": (state / "journal.db").read_bytes()})

    sick = Disk()
    with closing(powercut.open_on(sick, state)) as journal:
        journal.append([Entry(1, b"1")])
        sick.fail_next("sync", "journal.tail")
        with pytest.raises(JournalFailed, match="its tail failed"):
            journal.append([Entry(2, b"2")])
        remembered = {name: (state / name).read_bytes() for name in ("journal.db", "journal.db-wal", "journal.tail")}
        for call in sick.calls:
            platter.take(call)
        platter.forget()

    powercut.lay_out(state, remembered)
    well = Disk()
    with closing(powercut.open_on(well, state)) as journal:
        assert journal.last == 2
        journal.append([Entry(3, b"3")])
        # Here the power goes, and with it what the kernel remembered.
        for call in well.calls:
            platter.take(call)
    powercut.lay_out(folder / "image", platter.after_a_cut(random.Random(0)))
    with closing(open_sqlite(folder / "image")) as journal:
        assert [entry.data for entry in journal.read()] == [b"1", b"2", b"3"]


# -- bugs planted to see that they are found -----------------------------------------


def _without_syncs(sql: str) -> str:
    return sql.replace("synchronous = FULL", "synchronous = OFF")


def _without_transactions(sql: str) -> str:
    return "SELECT 1" if sql in ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK") else sql


def test_syncs_that_are_switched_off_are_found(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS, partial(powercut.open_on, reword=_without_syncs))
    found = tally_of(folder, run, IMAGES_OF_A_BUG)
    assert found.corrupt > 0
    assert found.lost > 0


def test_transactions_that_are_left_out_are_found(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS, partial(powercut.open_on, reword=_without_transactions))
    assert tally_of(folder, run, IMAGES_OF_A_BUG).half > 0


def _without_calls(honest: Run, verb: str, file: str) -> Run:
    """The run as it were without these calls."""
    places = [place for place, call in enumerate(honest.calls) if call[:2] != (verb, file)]
    return Run(
        honest.base,
        [honest.calls[place] for place in places],
        [bisect_left(places, count) for count in honest.acknowledged],
    )


@pytest.mark.parametrize("file", ["journal.db-wal", "journal.tail"])
def test_a_log_or_tail_that_is_not_synced_is_found(folder: Path, file: str) -> None:
    lying = _without_calls(powercut.run(folder / "state", STEPS), "sync", file)
    assert tally_of(folder, lying, IMAGES_OF_A_BUG).lost > 0


def _with_late_syncs(sql: str) -> str:
    return sql.replace("synchronous = FULL", "synchronous = NORMAL")


def test_a_tail_begun_anew_before_what_was_moved_is_synced_is_found(folder: Path) -> None:
    run = powercut.run(folder / "state", CHAIN, partial(powercut.open_on, reword=_with_late_syncs))
    found = chain_tally(folder, run, IMAGES_OF_A_BUG)
    assert found.lost + found.corrupt > 0


def _without_generations(sql: str) -> str:
    return "SELECT ?" if sql.startswith("UPDATE mark") else sql


def test_a_move_that_leaves_the_generation_is_found(folder: Path) -> None:
    run = powercut.run(folder / "state", CHAIN, partial(powercut.open_on, reword=_without_generations))
    found = chain_tally(folder, run, IMAGES_OF_A_BUG)
    assert found.lost + found.corrupt + found.half > 0


def test_checksums_that_nobody_looks_at_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("then.journals.records.crc32", lambda *_: 0)
    run = powercut.run(folder / "state", CHAIN)
    assert chain_tally(folder, run, IMAGES_OF_A_BUG).half > 0


def test_an_acknowledgement_before_the_commit_is_found(folder: Path) -> None:
    run = powercut.run(folder / "state", STEPS)
    hasty = run._replace(acknowledged=[0, *run.acknowledged[:-1]])
    assert tally_of(folder, hasty, IMAGES_OF_A_BUG).lost > 0
