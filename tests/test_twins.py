"""Which record of a key runs, and which end with its result."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from then.core.tasks import OUTCOMES, Outcome
from then.core.twins import After, Joined, Twins, twin_key


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (0, -0.0), ("a", "a"), ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}), (None, None), (2**53, 2.0**53)],
)
def test_values_that_are_equal_have_one_key(left: Any, right: Any) -> None:
    assert twin_key("pay", left) == twin_key("pay", right)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, "1"), (1, True), (0, False), (None, "null"), ([], {}), (1, [1]), (2**53, 2**53 + 1), ("é", "e\u0301")],
)
def test_values_that_differ_have_two(left: Any, right: Any) -> None:
    assert twin_key("pay", left) != twin_key("pay", right)


def test_another_type_has_another_key() -> None:
    assert twin_key("pay", 1) != twin_key("refund", 1)
    assert twin_key("a", "b c") != twin_key("a b", "c")


def test_the_second_is_parked_and_ends_with_the_first() -> None:
    twins = Twins()
    assert twins.add("1", "k") is None
    assert twins.add("2", "k") == Joined("1", False)
    assert twins.add("3", "k") == Joined("1", False)
    assert twins.first_of("2") == "1"
    assert twins.ended("1", "done") == After(("2", "3"))
    assert twins.first_of("2") is None


def test_who_comes_after_the_end_joins_at_once_until_the_result_is_dropped() -> None:
    twins = Twins()
    twins.add("1", "k")
    twins.ended("1", "done")
    assert twins.add("2", "k") == Joined("1", True)
    assert twins.ended("2", "done") == After()
    twins.drop(["0", "1"])
    assert twins.add("3", "k") is None


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "cancelled"])
def test_a_failure_frees_the_key_for_the_oldest_that_is_parked(outcome: Outcome) -> None:
    twins = Twins()
    for id in "1234":
        twins.add(id, "k")
    assert twins.ended("2", "cancelled") == After()
    assert twins.ended("1", outcome) == After(successor="3")
    assert twins.first_of("4") == "3"
    assert twins.ended("3", "done") == After(("4",))


def test_a_failure_with_nobody_parked_leaves_nothing() -> None:
    twins = Twins()
    twins.add("1", "k")
    assert twins.ended("1", "failed") == After()
    assert twins.add("2", "k") is None


def test_the_next_attempt_has_the_place_of_the_one_that_failed() -> None:
    twins = Twins()
    twins.add("1", "k")
    twins.add("2", "k")
    twins.replace("1", "3")
    assert twins.first_of("2") == "3"
    assert twins.ended("1", "done") == After()
    assert twins.ended("3", "failed") == After(successor="2")


def test_what_lives_is_not_dropped_with_old_results() -> None:
    twins = Twins()
    twins.add("1", "k")
    twins.drop(["1"])
    assert twins.add("2", "k") == Joined("1", False)


def test_after_a_restart_a_kept_result_is_joined() -> None:
    twins = Twins()
    twins.keep("1", "k")
    assert twins.add("2", "k") == Joined("1", True)


class AgainstAListOfAllThatCame(RuleBasedStateMachine):
    """The truth looks through all records that ever came: what lives, what is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()
        self.came: list[tuple[str, str]] = []
        self.live: dict[str, str] = {}
        """By id, what it does: `runs` or `parked`."""
        self.kept: dict[str, str] = {}
        """By key, whose result is kept."""

    def of_key(self, key: str) -> list[str]:
        return [id for id, its in self.came if its == key and id in self.live]

    @rule(key=st.sampled_from("xyz"))
    def add(self, key: str) -> None:
        id = f"{len(self.came)}"
        runs = [other for other in self.of_key(key) if self.live[other] == "runs"]
        joined = self.twins.add(id, key)
        self.came.append((id, key))
        if key in self.kept:
            assert joined == Joined(self.kept[key], True)
        elif runs:
            assert joined == Joined(runs[0], False)
            self.live[id] = "parked"
        else:
            assert joined is None
            self.live[id] = "runs"

    @precondition(lambda self: self.live)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        id = data.draw(st.sampled_from(sorted(self.live)))
        key = dict(self.came)[id]
        did = self.live.pop(id)
        after = self.twins.ended(id, outcome)
        parked = self.of_key(key)
        if did == "parked":
            assert after == After()
        elif outcome == "done":
            assert after == After(tuple(parked))
            self.kept[key] = id
            for other in parked:
                del self.live[other]
        else:
            assert after == After(successor=parked[0] if parked else None)
            if parked:
                self.live[parked[0]] = "runs"

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.kept)))
        self.twins.drop([self.kept.pop(key)])

    @invariant()
    def one_of_a_key_runs_where_one_lives(self) -> None:
        for key in "xyz":
            does = [self.live[id] for id in self.of_key(key)]
            assert does.count("runs") == bool(does)
            assert not (does and key in self.kept)

    def teardown(self) -> None:
        for id in list(self.live):
            self.twins.ended(id, "cancelled")
        self.twins.drop(self.kept.values())
        assert not self.twins._keys
        assert not self.twins._key_of


AgainstAListOfAllThatCame.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAgainstAListOfAllThatCame = AgainstAListOfAllThatCame.TestCase
