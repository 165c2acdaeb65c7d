"""Facts as they are written: numbers, order of fields, and histories that every version reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tests.histories.make import told
from then.core import facts as f
from then.core.chains import Chain, PostKey
from then.core.facts import Flow, Page
from then.core.folds import turn
from then.core.state import State
from then.core.tasks import Task

TAGS: dict[int, tuple[type[msgspec.Struct], str]] = {
    1: (f.Posted, "task key version"),
    2: (f.Emitted, "task"),
    3: (f.Started, "id"),
    4: (f.Completed, "id outcome result error started completed settled held"),
    5: (f.Matched, "id rules version taken_up variables unmatched call breakpoints"),
    6: (f.Waited, "id rule step members aliases records values call by_unmatched otherwise"),
    7: (f.Taken, "id"),
    8: (f.Dropped, "id"),
    9: (f.Saved, "name value"),
    10: (f.Late, "id outcome result error by"),
    11: (f.Stopping, "id kind"),
    12: (f.Held, "id reason"),
    13: (f.Released, "id is_asked"),
    14: (f.FlowHeld, "reason"),
    15: (f.FlowReleased, ""),
    16: (f.FlowBent, "outcome text"),
    17: (f.FlowEnded, "outcome text"),
    18: (f.FlowReopened, "flow"),
    19: (f.FlowMoved, "version"),
    20: (f.TakenUp, "id call"),
    21: (f.InForce, "version"),
    22: (f.Loaded, "id body"),
    23: (f.Fault, "id text"),
    24: (f.Entered, "id"),
    25: (f.Joined, "key rule scope values parts part task is_last due keeps"),
    26: (f.Met, "key used is_spent due keeper"),
    27: (f.Parted, "key upto due keeper answered fired"),
    28: (f.Counted, "key more"),
    29: (f.Settled, "key"),
    30: (f.Gathered, "key"),
    31: (f.Ripened, "id is_asked"),
    32: (f.Marked, "key until"),
    33: (f.Scheduled, "name due flow is_paused queued is_span times"),
    34: (f.Unscheduled, "name"),
    35: (f.Left, "id"),
    36: (f.Asked, "id n what place value refused"),
    37: (f.Awaited, "id n what place ids is_any due"),
    38: (f.Answered, "id n ids"),
    39: (f.TriedAgain, "id"),
    40: (f.ClockSet, "by_us"),
    50: (f.BreakSet, "name text version flow due by"),
    51: (f.BreakRemoved, "name"),
    52: (f.BreakSwitched, "name is_on"),
    53: (f.Hit, "id name place stops is_last text shown unsaid"),
    54: (f.Edited, "id body result by needs rule is_skipped"),
    55: (f.Forked, "origin seq by is_real answers stubs"),
    56: (f.Stubbed, "id of"),
}
"""What is in journals: a number never means another fact, a place never another field. New ones go to the end."""

RECORDS: dict[type[msgspec.Struct], str] = {
    Page: "flow time facts seed",
    Task: "type body id flow parent rule call cont attempt origin outcome result error priority needs created started"
    " completed event settled by_unmatched is_held is_call policy",
    Flow: "id type version created live records untaken bent text variables held idle_run trail outcome ended stopped waits",
    Chain: "id flow rule step waiting aliases records values call by_unmatched otherwise",
    PostKey: "id flow type body",
}

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.jsonl"))


def check_places(kind: type[msgspec.Struct], pinned: list[str]) -> None:
    fields = msgspec.structs.fields(kind)
    assert [field.name for field in fields][: len(pinned)] == pinned
    for added in fields[len(pinned) :]:
        assert not added.required, f"{kind.__name__}.{added.name} is new: older entries lack it"


@pytest.mark.parametrize("tag", TAGS)
def test_a_facts_number_and_the_places_of_its_fields_stay(tag: int) -> None:
    kind, fields = TAGS[tag]
    assert kind.__struct_config__.tag == tag
    assert kind.__struct_config__.array_like
    check_places(kind, fields.split())


def test_every_kind_of_fact_has_its_number_here() -> None:
    assert {kind for kind, _ in TAGS.values()} == set(get_args(f.Fact))


@pytest.mark.parametrize("kind", RECORDS)
def test_the_places_of_a_records_fields_stay(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.array_like
    check_places(kind, RECORDS[kind].split())


def pages(path: Path) -> tuple[list[Page], dict[str, object]]:
    *lines, end = path.read_text().splitlines()
    return [f.decode(bytes.fromhex(line)) for line in lines], json.loads(end)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_history_of_an_earlier_version_comes_to_the_same_state(path: Path) -> None:
    written, end = pages(path)
    state = State()
    for page in written:
        turn(state, page)
    now = json.loads(json.dumps(told(state)))
    assert leaves(now) >= leaves(end)


def leaves(value: object, place: str = "$") -> set[tuple[str, str]]:
    """Every value with its place; what a later version adds is more of them."""
    if isinstance(value, dict):
        return {leaf for key, item in value.items() for leaf in leaves(item, f"{place}.{key}")}
    if isinstance(value, list):
        return {leaf for at, item in enumerate(value) for leaf in leaves(item, f"{place}[{at}]")}
    return {(place, json.dumps(value))}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_history_holds_every_kind_of_fact_there_was(path: Path) -> None:
    written, _ = pages(path)
    assert len({type(fact) for page in written for fact in page.facts}) >= 23


def test_the_latest_history_has_scripts_that_are_over_and_one_that_waits() -> None:
    written, _ = pages(HISTORIES[-1])
    assert {f.Asked, f.Awaited, f.Answered} <= {type(fact) for page in written for fact in page.facts}
    state = State()
    for page in written:
        turn(state, page)
    waiting = {script.open.what for script in state.waits.scripts.of.values() if script.open is not None}
    assert "wait 8" in waiting


def test_a_page_is_the_same_after_it_was_written() -> None:
    written, _ = pages(HISTORIES[-1])
    for page in written:
        assert f.decode(f.encode(page)) == page


def test_a_fact_of_a_later_version_is_an_error_and_not_another_fact() -> None:
    unknown = msgspec.msgpack.encode(["flow", 1, [[99, "x"]], 0])
    with pytest.raises(msgspec.ValidationError, match="99"):
        f.decode(unknown)
