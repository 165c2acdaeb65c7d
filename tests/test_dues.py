"""Times of which only the nearest are kept in order: they come as from a plain sorted list."""

from __future__ import annotations

from random import Random

import pytest

from then.core.dues import NEAR_MAX, Dues

NEAR = 64


class Plain:
    """The same, looked through whole each time."""

    def __init__(self) -> None:
        self.times: dict[tuple[str, str], int] = {}

    @property
    def next(self) -> int | None:
        return min(self.times.values(), default=None)

    def take(self, now: int) -> tuple[str, str] | None:
        due = min(((at, kind, of) for (kind, of), at in self.times.items() if at <= now), default=None)
        if due is not None:
            del self.times[due[1:]]
        return due[1:] if due is not None else None


@pytest.mark.parametrize("seed", range(8))
def test_what_is_due_comes_as_from_a_plain_list(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("then.core.dues.NEAR_MAX", NEAR)
    chance = Random(f"dues {seed}")
    dues, plain = Dues(), Plain()
    span = chance.choice((10, 10_000, 10**9))
    now = 0
    # First more than are kept in order, then all that may be done with them.
    for number in range(NEAR * 4 if seed % 2 else NEAR // 2):
        at = chance.randrange(span)
        dues.put(at, "at", str(number))
        plain.times["at", str(number)] = at
    for _ in range(400):
        kind, of, at = chance.choice(("at", "wait")), str(chance.randrange(200)), now + chance.randrange(span)
        what = chance.random()
        if what < 0.4:
            dues.put(at, kind, of)
            plain.times[kind, of] = at
        elif what < 0.6:
            dues.drop(kind, of)
            plain.times.pop((kind, of), None)
        elif what < 0.62:
            dues.shift(7)
            plain.times = {key: at + 7 if key[0] == "wait" else at for key, at in plain.times.items()}
        elif what < 0.64:
            dues.call_owners(dues.copied_owners("at"))
        else:
            now = max(now, plain.next or 0)
            for _ in range(chance.randrange(4)):
                assert dues.take(now) == plain.take(now)
        assert len(dues) == len(plain.times)
    assert dict(dues.items()) == plain.times
    while plain.times:
        assert dues.next == plain.next
        assert dues.take(10**18) == plain.take(10**18)
    assert dues.next is None
    assert dues.take(10**18) is None


def test_of_very_many_times_few_are_kept_in_order() -> None:
    dues = Dues()
    for number in range(12 * NEAR_MAX):
        dues.put(10**9 + number, "start", str(number))
    assert dues.next == 10**9
    assert len(dues._heap) < 3 * NEAR_MAX


def test_of_very_many_that_are_due_at_once_few_are_kept_in_order() -> None:
    dues = Dues()
    for number in range(12 * NEAR_MAX):
        dues.put(5, "start", str(number))
    assert dues.next == 5
    assert len(dues._heap) < 3 * NEAR_MAX


def test_times_are_kept_without_the_room_of_a_sum_and_equal_ones_once() -> None:
    dues, now = Dues(), 1_790_000_000_000_000
    for number in range(8):
        dues.put(now + 3_600_000_000, "start", str(number))
    times = [at for _, at in dues.items()]
    assert all(at is times[0] for at in times)
    assert times[0] == 1_790_003_600_000_000


def test_very_many_things_that_are_due_at_once_are_all_there() -> None:
    dues = Dues()
    for number in range(3 * NEAR_MAX):
        dues.put(5, "start", str(number))
    taken = [dues.take(5) for _ in range(3 * NEAR_MAX)]
    assert len(set(taken)) == 3 * NEAR_MAX
    assert dues.next is None


def test_times_that_are_put_and_dropped_again_do_not_heap_up() -> None:
    dues = Dues()
    dues.put(1, "start", "first")
    assert dues.next == 1
    for number in range(5 * NEAR_MAX):
        dues.put(1000 + number, "timeout", str(number))
        dues.drop("timeout", str(number))
    assert len(dues._heap) <= NEAR_MAX + 1
    assert dues.take(1) == ("start", "first")
