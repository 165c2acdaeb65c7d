"""Time as an engine heeds it: what rings when, and a machine's clock that is set."""

from __future__ import annotations

import threading

from then.alarm import Alarm, SystemClock, Timekeeper
from then.core.waits import Waits

HOUR_US = 3_600_000_000


class Hands:
    """A clock whose hands a test moves: the wall's and the one that never steps."""

    def __init__(self) -> None:
        self.wall_us = 1_780_000_000_000_000
        self.elapsed_s = 100.0

    def now_us(self) -> int:
        return self.wall_us

    def monotonic(self) -> float:
        return self.elapsed_s

    def pass_s(self, seconds: float) -> None:
        self.wall_us += round(seconds * 1e6)
        self.elapsed_s += seconds


def _waits(hands: Hands) -> Waits:
    waits = Waits()
    waits.set_due(hands.wall_us + 60_000_000, "start", "after")
    waits.set_due(hands.wall_us + 90_000_000, "timer", "daily")
    return waits


def test_a_clock_that_is_set_back_does_not_put_spans_off() -> None:
    hands = Hands()
    keeper, waits = Timekeeper(hands, lambda: None), _waits(hands)
    hands.pass_s(30)
    hands.wall_us -= HOUR_US
    waits.dues.shift(keeper.step_us())
    assert waits.take_due(hands.wall_us + 29_000_000) is None
    assert waits.take_due(hands.wall_us + 30_000_000) == ("start", "after")


def test_a_clock_that_is_set_forward_does_not_bring_spans_on_and_loses_none() -> None:
    hands = Hands()
    keeper, waits = Timekeeper(hands, lambda: None), _waits(hands)
    hands.pass_s(30)
    hands.wall_us += HOUR_US
    waits.dues.shift(keeper.step_us())
    # What goes by the clock on the wall is due at once, and once.
    assert waits.take_due(hands.wall_us) == ("timer", "daily")
    assert waits.take_due(hands.wall_us) is None
    hands.pass_s(30)
    assert keeper.step_us() == 0
    assert waits.take_due(hands.wall_us) == ("start", "after")
    assert waits.next_due is None


def test_a_clock_that_drifts_is_not_one_that_was_set() -> None:
    hands = Hands()
    keeper = Timekeeper(hands, lambda: None)
    for _ in range(10):
        hands.wall_us += 50_000
        assert keeper.step_us() == 0
    hands.wall_us -= HOUR_US
    assert keeper.step_us() == -HOUR_US
    assert keeper.step_us() == 0


def test_a_thread_that_stands_still_between_two_looks_sees_no_clock_that_was_set() -> None:
    hands, stalls = Hands(), [0.0, 7.0, 0.0, 3.0]

    class Slow(Hands):
        def now_us(self) -> int:
            now = hands.wall_us
            hands.pass_s(stalls.pop() if stalls else 0.0)
            return now

        def monotonic(self) -> float:
            return hands.elapsed_s

    keeper = Timekeeper(Slow(), lambda: None)
    assert stalls == [0.0, 7.0]
    assert keeper.step_us() == 0
    stalls += [7.0]
    assert keeper.step_us() == 0
    assert not stalls


def test_an_alarm_rings_when_it_is_due_and_again_when_it_is_set_again() -> None:
    rang = threading.Semaphore(0)
    alarm = Alarm(rang.release)
    try:
        for _ in range(3):
            alarm.set(0.001)
            assert rang.acquire(timeout=30)
    finally:
        alarm.close()


def test_an_alarm_that_is_set_nearer_does_not_wait_for_what_it_was_set_to_before() -> None:
    rang = threading.Semaphore(0)
    alarm = Alarm(rang.release)
    try:
        alarm.set(25)
        alarm.set(0.001)
        assert rang.acquire(timeout=20)
    finally:
        alarm.close()


def test_nobody_is_rung_for_where_nothing_is_due() -> None:
    keeper = Timekeeper(SystemClock(), lambda: None)
    before = set(threading.enumerate())
    keeper.set(None)
    assert set(threading.enumerate()) <= before
    keeper.close()
