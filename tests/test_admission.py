"""Who may start next: the quick answer against lists that are looked through, and what is promised of it."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.checked import Checked
from tests.plain_admission import PlainAdmission
from tests.world import World
from then.core.admission import Admission, Turns
from then.core.causes import Start
from then.core.claims import ALONE, CORES, MEMORY, SLOTS, Claim, Take, claim
from then.core.lives import LAPSED_MAX

SLOTS_THERE, CORES_THERE, MEMORY_THERE, TOKENS_THERE = 4, 6, 10, 3


def slot(there: int = SLOTS_THERE) -> Claim:
    return claim([Take(SLOTS, 1, there)])


def limited(key: str = "", count: int = 1, there: int = SLOTS_THERE) -> Claim:
    return claim([Take(f"limit of t{key}", 1, count), Take(SLOTS, 1, there)])


def locked(*, alone: bool, there: int = SLOTS_THERE) -> Claim:
    return claim([Take("lock.x", ALONE if alone else 1, ALONE), Take(SLOTS, 1, there)])


def granted(admission: Admission) -> list[str]:
    """All that start now."""
    found = []
    while (id := admission.next()) is not None:
        found.append(id)
    return found


def amounts(name: str, there: int) -> st.SearchStrategy[Take]:
    return st.integers(0, there).map(lambda amount: Take(name, amount, there))


takes = st.tuples(
    st.sampled_from([Take("limit of t by 1", 0, 1), Take("limit of t by 1", 1, 1), Take("limit of t by 2", 1, 2)]),
    st.sampled_from([Take("limit of s", 0, 2), Take("limit of s", 0, 2), Take("limit of s", 1, 2)]),
    st.sampled_from([Take("lock.a", amount, ALONE) for amount in (0, 0, 0, 1, 1, ALONE)]),
    st.sampled_from([Take("lock.b", amount, ALONE) for amount in (0, 0, 0, 1, ALONE)]),
    st.one_of(st.just(Take("seat", 0, TOKENS_THERE)), amounts("seat", TOKENS_THERE)),
    st.one_of(st.just(Take(MEMORY, 0, MEMORY_THERE)), amounts(MEMORY, MEMORY_THERE)),
    st.one_of(st.just(Take(CORES, 0, CORES_THERE)), amounts(CORES, CORES_THERE)),
    st.sampled_from([Take(SLOTS, amount, SLOTS_THERE) for amount in (0, 1, 1, 1, 1, 2, 4)]),
)  # fmt: skip
claims = takes.map(lambda parts: claim(list(parts)))
flows = st.sampled_from("ABC")
priorities = st.sampled_from([0, 0, 0, 0, 1, 7, -2])


class AgainstThePlainTruth(RuleBasedStateMachine):
    """Both are told the same, and start the same tasks in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.quick, self.plain = Admission(), PlainAdmission()
        self.count = 0
        self.plain.running["beside"] = claim([])

    @rule(claim=claims, flow=flows, priority=priorities, times=st.sampled_from([1, 1, 2, 5]))
    def add(self, claim: Claim, flow: str, priority: int, times: int) -> None:
        for _ in range(times):
            self.count += 1
            self.quick.add(f"{self.count}", claim, flow, priority)
            self.plain.add(f"{self.count}", claim, flow, priority)

    @rule()
    def start_one(self) -> None:
        before = {one.id: one for one in self.plain.waiting}
        id = self.quick.next()
        assert id == self.plain.next()
        if id is not None:
            self.nobody_before_it_could_have_started(before[id].priority)

    @rule()
    def start_all(self) -> None:
        while (id := self.quick.next()) is not None:
            assert id == self.plain.next()
        assert self.plain.next() is None
        self.the_highest_priority_waits_for_what_is_not_there()

    @rule(wanted=st.integers(0, SLOTS_THERE))
    def occupy(self, wanted: int) -> None:
        """Tasks that take a slot alone run beside, as many as there is room for."""
        del self.plain.running["beside"]
        amount = min(wanted, SLOTS_THERE - self.taken()[SLOTS])
        self.plain.running["beside"] = claim([Take(SLOTS, amount, SLOTS_THERE)])
        self.quick.occupy(SLOTS, amount)

    @precondition(lambda self: len(self.plain.running) > 1)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.plain.running.keys() - {"beside"})))
        self.quick.release(id)
        self.plain.release(id)

    @precondition(lambda self: self.plain.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from([one.id for one in self.plain.waiting]))
        self.quick.release(id)
        self.plain.release(id)

    def taken(self) -> dict[str, int]:
        """What is taken, by name."""
        used: Counter[str] = Counter()
        for running in self.plain.running.values():
            for take in running.takes:
                used[take.resource] += take.amount
        return used

    def nobody_before_it_could_have_started(self, priority: int) -> None:
        """Of the highest priority that waits, nobody for whom all was there beside what has just started."""
        waiting = self.plain.waiting
        highest = max((one.priority for one in waiting), default=priority)
        heads = {one.lane: one for one in reversed(waiting) if one.priority == highest}
        if highest > priority and len(heads) == 1:
            used = self.taken()
            (one,) = heads.values()
            assert any(used[take.resource] + take.amount > take.of for take in one.claim.takes)

    def the_highest_priority_waits_for_what_is_not_there(self) -> None:
        if not any(running.takes for running in self.plain.running.values()):
            assert not self.plain.waiting, "nothing runs, and something waits"
        self.nobody_before_it_could_have_started(-(10**9))

    @invariant()
    def never_is_more_taken_than_there_is(self) -> None:
        used = self.taken()
        for running in self.plain.running.values():
            for take in running.takes:
                assert used[take.resource] <= take.of
        holders = [
            take.amount for one in self.plain.running.values() for take in one.takes if take.resource == "lock.a"
        ]
        assert ALONE not in holders or len(holders) == 1

    @invariant()
    def it_knows_who_waits(self) -> None:
        assert len(self.quick) == len(self.plain.waiting)

    def teardown(self) -> None:
        self.occupy(0)
        self.start_all()
        while len(self.plain.running) > 1:
            for id in self.plain.running.keys() - {"beside"}:
                self.quick.release(id)
                self.plain.release(id)
            self.start_all()
        assert not self.plain.waiting
        assert len(self.quick) == 0
        assert not self.quick._pools, "a pool for each value of a limit would stay for ever"
        assert not self.quick._lanes


AgainstThePlainTruth.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestAgainstThePlainTruth = AgainstThePlainTruth.TestCase


# -- fair among flows, none starved ---------------------------------------------------------


@given(
    st.lists(st.tuples(flows, st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 3),
    st.sampled_from(["slot", "limit"]),
)
def test_no_other_flow_goes_twice_while_one_waits(plan: list[tuple[str, int]], there: int, kind: str) -> None:
    admission, running = Admission(), deque[str]()
    waiting: dict[str, list[str]] = {"A": [], "B": [], "C": []}
    passed: dict[str, Counter[str]] = {flow: Counter() for flow in waiting}
    wanted = slot(there) if kind == "slot" else limited(count=there, there=9)

    def start() -> None:
        for id in granted(admission):
            flow = id[0]
            assert waiting[flow].pop(0) == id, "oldest first"
            passed[flow].clear()
            running.append(id)
            for other, still in waiting.items():
                if other != flow and still:
                    passed[other][flow] += 1
                    assert passed[other][flow] <= 1

    for number, (flow, ends) in enumerate(plan):
        admission.add(f"{flow}{number}", wanted, flow)
        waiting[flow].append(f"{flow}{number}")
        start()
        for _ in range(min(ends, len(running))):
            admission.release(running.popleft())
            start()


def test_one_task_of_a_flow_is_not_starved_by_ten_thousand_of_another() -> None:
    admission = Admission()
    for number in range(10_000):
        admission.add(f"many{number}", slot(1), "many")
    assert granted(admission) == ["many0"]
    admission.add("one", slot(1), "other")
    assert granted(admission) == []
    admission.release("many0")
    assert granted(admission) == ["many1"]
    admission.release("many1")
    assert granted(admission) == ["one"]


def test_a_flow_whose_tasks_all_differ_has_one_turn_all_the_same() -> None:
    admission = Admission()
    for number in range(1_000):
        admission.add(f"many{number}", limited(f" by {number}", there=1), "many")
    assert granted(admission) == ["many0"]
    admission.add("one", slot(1), "other")
    assert granted(admission) == []
    admission.release("many0")
    assert granted(admission) == ["many1"]
    admission.release("many1")
    assert granted(admission) == ["one"]


LARGE = {
    "slots": (slot(), claim([Take(SLOTS, 4, 4)])),
    "memory": (
        claim([Take(MEMORY, 3, 10), Take(SLOTS, 1, 9)]),
        claim([Take(MEMORY, 10, 10), Take(SLOTS, 1, 9)]),
    ),
    "an exclusive lock": (locked(alone=False), locked(alone=True)),
    "tokens and cores": (
        claim([Take("seat", 1, 3), Take(CORES, 1, 6), Take(SLOTS, 1, 9)]),
        claim([Take("seat", 3, 3), Take(CORES, 6, 6), Take(SLOTS, 1, 9)]),
    ),
    "all at once": (
        claim([Take("lock.x", 1, ALONE), Take(MEMORY, 3, 10), Take(SLOTS, 1, 4)]),
        claim([Take("lock.x", ALONE, ALONE), Take(MEMORY, 10, 10), Take(SLOTS, 4, 4)]),
    ),
}


@pytest.mark.parametrize("what", LARGE)
@given(streams=st.integers(1, 5), order=st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_large_request_starts_although_small_ones_never_cease(what: str, streams: int, order: object) -> None:
    small, large = LARGE[what]
    admission, running, started = Admission(), list[str](), list[str]()
    number = 0

    def go_on() -> None:
        nonlocal number
        for stream in range(streams):
            number += 1
            admission.add(f"small{number}", small, f"flow{stream}")
        fresh = granted(admission)
        running.extend(fresh)
        started.extend(fresh)

    for _ in range(5):
        go_on()
    admission.add("large", large, "large")
    at_most = len(running) + streams * (len(large.takes) + 1)
    before = len(started)
    for _ in range(at_most + streams):
        go_on()
        if "large" in started:
            break
        # Whoever runs longest ends last in some runs, first in others: it is all the same.
        running.sort()
        admission.release(running.pop(order.randrange(len(running))))  # type: ignore[attr-defined]
    assert "large" in started
    assert len(started[before:]) - 1 <= streams * len(large.takes), "more than a turn each, for each thing it takes"


def test_who_does_not_need_what_a_large_request_waits_for_starts_meanwhile() -> None:
    admission = Admission()
    admission.add("holds", claim([Take(MEMORY, 5, 10), Take(SLOTS, 1, 4)]), "A")
    admission.add("large", claim([Take(MEMORY, 8, 10), Take(SLOTS, 1, 4)]), "B")
    admission.add("small", claim([Take(MEMORY, 1, 10), Take(SLOTS, 1, 4)]), "C")
    admission.add("other", slot(), "C")
    assert granted(admission) == ["holds", "other"]
    assert admission.reason("large") == "waits for memory: 8 needed, 5 of 10 free"
    assert admission.reason("small") == "waits for memory, behind others"
    admission.release("holds")
    assert granted(admission) == ["large", "small"]


def test_who_waits_for_its_limit_keeps_no_slot_from_others() -> None:
    admission = Admission()
    for number in range(100):
        admission.add(f"limited{number}", limited(there=2), "A")
    admission.add("free", slot(2), "A")
    assert granted(admission) == ["limited0", "free"]


def test_a_place_under_a_limit_is_kept_for_who_waits_for_a_slot_and_not_for_two() -> None:
    admission = Admission()
    admission.add("busy", slot(1), "A")
    assert granted(admission) == ["busy"]
    admission.add("first", limited(count=2, there=1), "B")
    admission.add("limit only", claim([Take("limit of t", 1, 2)]), "C")
    admission.add("limit too", claim([Take("limit of t", 1, 2)]), "D")
    assert granted(admission) == ["limit only"]
    assert admission.reason("limit too") == "waits for limit of t: 1 needed, 1 of 2 free"
    admission.release("busy")
    assert granted(admission) == ["first"]


def test_readers_do_not_share_a_lock_on_and_on_before_a_writer() -> None:
    admission = Admission()
    admission.add("reader0", locked(alone=False), "A")
    assert granted(admission) == ["reader0"]
    admission.add("writer", locked(alone=True), "B")
    admission.add("reader1", locked(alone=False), "A")
    assert granted(admission) == []
    assert admission.reason("writer") == "waits for lock.x, exclusive"
    admission.release("reader0")
    assert granted(admission) == ["writer"]
    admission.release("writer")
    assert granted(admission) == ["reader1"]


def test_who_waits_in_a_line_goes_before_who_comes_anew() -> None:
    admission = Admission()
    admission.add("first", limited(there=1), "A")
    admission.add("second", limited(there=1), "A")
    assert granted(admission) == ["first"]
    admission.add("new", slot(1), "B")
    admission.release("first")
    assert granted(admission) == ["second"]


def test_a_higher_priority_takes_what_was_kept_for_a_lower_one() -> None:
    admission = Admission()
    admission.add("busy", slot(1), "A")
    assert granted(admission) == ["busy"]
    admission.add("low", limited(there=1), "B")
    assert granted(admission) == []
    admission.add("high", limited(there=1), "C", 5)
    admission.release("busy")
    assert granted(admission) == ["high"]
    admission.release("high")
    assert granted(admission) == ["low"]


def test_priority_goes_before_age_and_below_nought_comes_last() -> None:
    admission = Admission()
    for id, priority in (("idle", -1), ("plain", 0), ("urgent", 9), ("plain too", 0)):
        admission.add(id, slot(1), "A", priority)
    order = granted(admission)
    while len(admission):
        admission.release(order[-1])
        order += granted(admission)
    assert order == ["urgent", "plain", "plain too", "idle"]


def test_what_takes_nothing_starts_at_once() -> None:
    admission = Admission()
    admission.add("busy", slot(1), "A")
    admission.add("waits", slot(1), "A")
    admission.add("person", claim([]), "A")
    assert granted(admission) == ["busy", "person"]


# -- restarts, withdrawals, odd ends ---------------------------------------------------------


def test_what_is_found_running_has_what_it_takes_even_where_there_is_less_now() -> None:
    admission = Admission()
    for number in range(4):
        admission.add(f"{number}", slot(2), "A")
    for number in range(3):
        admission.take(f"{number}", slot(2))
    assert granted(admission) == []
    assert len(admission) == 1
    for number in range(2):
        admission.release(f"{number}")
    assert granted(admission) == ["3"]


def test_a_head_that_is_withdrawn_lets_the_smaller_one_behind_it_go() -> None:
    admission = Admission()
    admission.add("busy", slot(4), "A")
    admission.add("large", claim([Take(SLOTS, 4, 4)]), "B")
    admission.add("small", slot(4), "B")
    assert granted(admission) == ["busy"]
    assert "large" in admission
    admission.release("large")
    assert "large" not in admission
    assert granted(admission) == ["small"]


def test_a_task_given_back_may_be_added_again() -> None:
    admission = Admission()
    admission.add("a", slot(1), "A")
    assert granted(admission) == ["a"]
    admission.release("a")
    admission.release("a")
    admission.add("a", slot(1), "A")
    assert granted(admission) == ["a"]


def test_slots_of_tasks_that_are_not_known_here_count() -> None:
    admission = Admission()
    admission.occupy(SLOTS, 2)
    admission.add("a", slot(2), "A")
    assert granted(admission) == []
    assert admission.reason("a") == "waits for slots: 1 needed, 0 of 2 free"
    admission.occupy(SLOTS, 1)
    assert granted(admission) == ["a"]


def test_no_reason_is_given_for_who_does_not_wait() -> None:
    admission = Admission()
    assert admission.reason("nobody") is None
    admission.add("new", slot(1), "A")
    assert admission.reason("new") is None


@pytest.mark.parametrize("flow", ["A", "many"])
def test_ten_thousand_that_wait_for_one_limit_are_not_looked_at_when_one_ends(
    flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission, looked = Admission(), Counter[str]()
    advance = Admission._advance

    def counted(self: Admission, lane: object) -> str | None:
        looked["all"] += 1
        return advance(self, lane)  # type: ignore[arg-type]

    for number in range(10_000):
        admission.add(f"{number}", limited(), flow if flow == "A" else f"flow{number}")
    assert granted(admission) == ["0"]
    monkeypatch.setattr(Admission, "_advance", counted)
    for number in range(100):
        admission.release(f"{number}")
        assert granted(admission) == [f"{number + 1}"]
    assert looked["all"] <= 300


# -- a slot, and nothing else --------------------------------------------------------


@pytest.mark.parametrize("words", ["", "priority 3", "priority -3"])
def test_flows_take_turns_for_slots_however_much_one_of_them_emits(words: str) -> None:
    world = Checked(
        f'event go(who: str, ns: list[int]) task a(who: str, n: int) run process ["a"] {words}\n'
        "rule s when go as g then for n in g.ns emit a(who: g.who, n: n)",
        slots=1,
    )
    world.post("go", who="A", ns=list(range(30)))
    world.post("go", who="B", ns=[0])
    world.post("go", who="C", ns=[0, 1, 2])
    while world.live("a"):
        (running,) = [task for task in world.live("a") if task.id in world.state.running]
        world.end(running)
    started = [order.task.body for order in world.orders if isinstance(order, Start)]
    assert "".join(str(body["who"]) for body in started[:9]) == "AABCACACA"
    assert [body["n"] for body in started if body["who"] == "A"] == list(range(30))
    assert not world.state.waiting
    assert not world.state.queue


@pytest.mark.parametrize("words", ["", "priority 3"])
@pytest.mark.parametrize("flows", [1, 2])
def test_what_ends_before_its_turn_is_let_go_of_though_no_slot_becomes_free(words: str, flows: int) -> None:
    world = World(
        f'event go(ns: list[int]) task a(n: int) run process ["a"] {words}\nrule s when go as g then for n in g.ns emit a(n: n)',
        slots=1,
    )
    world.post("go", ns=[0])
    for many in [world.post("go", ns=list(range(3000))) for _ in range(flows)]:
        world.cancel(flow=many.flow)
    state = world.state
    assert len(state.queue) + sum(turns.count for turns in state.waiting.values()) <= LAPSED_MAX + 2
    last = world.post("go", ns=[1])
    world.end("a")
    assert [state.tasks[id].flow for id in state.running] == [last.flow]  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.sampled_from(["add", "add", "add", "take", "back", "keep"]), flows), max_size=60))
def test_turns_are_those_of_plain_lists(told: list[tuple[str, str]]) -> None:
    turns = Turns()
    order: list[str] = []
    lines: dict[str, list[str]] = {}
    back: list[str] = []
    taken: list[str] = []
    for number, (what, flow) in enumerate(told):
        if what == "add" or (what == "back" and not taken):
            turns.add(f"{number}", flow)
            if flow not in lines:
                order.append(flow)
            lines.setdefault(flow, []).append(f"{number}")
        elif what == "keep":
            those = {id for line in [back, *lines.values()] for id in line if int(id) % 3}
            turns.keep(those)
            back = [id for id in back if id in those]
            lines = {of: left for of, line in lines.items() if (left := [id for id in line if id in those])}
            order = [of for of in order if of in lines]
        elif what == "back":
            back.insert(0, taken.pop())
            turns.put_back(back[0])
        elif back:
            taken.append(back.pop(0))
            assert turns.first() == taken[-1]
            assert turns.take() == taken[-1]
        elif order:
            of = order.pop(0)
            id = lines[of].pop(0)
            if lines[of]:
                order.append(of)
            else:
                del lines[of]
            assert turns.first() == id
            assert turns.take() == id
            taken.append(id)
        assert turns.count == len(back) + sum(map(len, lines.values()))
        assert sorted(turns.ids()) == sorted(back + [id for line in lines.values() for id in line])
        assert bool(turns) == bool(lines or back)


def test_what_is_put_back_is_looked_for_in_no_line() -> None:
    class Order(deque[str]):
        def remove(self, value: str) -> None:
            raise AssertionError("the flows that wait are looked through")

    turns = Turns()
    turns._order = Order()
    for number in range(20):
        turns.add(f"{number}", f"flow{number % 10}")
    taken = [turns.take() for _ in range(7)]
    for id in reversed(taken):
        turns.put_back(id)
    assert [turns.take() for _ in range(20)] == [f"{number}" for number in range(20)]
