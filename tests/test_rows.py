"""Many at a time: reports that share a step, and quick tasks that share a slot."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from random import Random

import pytest

import then
from tests.loop_bench import Bench
from tests.rulesets import EVENTS, N_MAX, TASKS, outcome_of, random_rules
from tests.seams.executor_suite import PATIENCE_S, Reports
from tests.seams.test_function_executor import body_job
from tests.simulation.checker import plain
from tests.world import BEGIN_US, World
from then.abc import Job
from then.alarm import SystemClock
from then.core import engine as engine_module
from then.core import facts as f
from then.core.causes import Began, Cancel, GiveBack, Post, Proceed, Report, Start
from then.core.causes import Reports as Several
from then.core.edition import Edition
from then.core.ids import ID_STEP, next_id
from then.core.rows import ROW_MAX, runs_now
from then.core.tasks import Body, Task
from then.executors.coroutines import OwnLoop
from then.executors.function import QUICK_RUNS, QUICK_US, FunctionExecutor
from then.language.loading import load_text

# -- reports in one step ---------------------------------------------------------------------


def told(run: World) -> dict[str, list[bytes]]:
    """By flow what happened in it, in order."""
    found: dict[str, list[bytes]] = {}
    for page in run.pages:
        found.setdefault(page.flow, []).extend(f.encode(fact) for fact in page.facts)
    return found


def state_of(run: World) -> dict[str, object]:
    """All that is known, but for how many entries tell it."""
    return {**plain(run.state), "seq": None, "last id": run.state.last_id, "running": sorted(run.state.running)}


def bring_alike(together: World, apart: World, reports: Sequence[Report]) -> int:
    """Brings reports to one engine in as few steps as it takes, and to the other one by one. The steps of the first."""
    steps, rest = 0, list(reports)
    while rest:
        time = together.terms.time
        taken = together.bring(Several(rest)).taken
        steps += 1
        for report in rest[:taken]:
            apart.terms.time = time
            apart.bring(report)
        rest = rest[taken:]
        assert bool(together.state.pending) == bool(apart.state.pending)
        assert not rest or together.state.pending, "a step ended early, and nothing had to go first"
        together.rest()
        apart.rest()
        apart.terms.time = together.terms.time
    return steps


def test_several_reports_in_one_step_come_to_the_same_as_one_by_one() -> None:
    found = [play_alike(seed) for seed in range(25)]
    assert 2 * sum(steps for steps, _ in found) < sum(brought for _, brought in found), "little was brought together"


def play_alike(seed: int) -> tuple[int, int]:
    """How many steps it took for how many reports."""
    chance = Random(f"together {seed}")
    # Not the wild ones: a start that fails for want of a variable comes after all reports. And who gets a lock that
    # several reports gave back is settled when all of them are in.
    rules = random_rules(seed, takes=False)
    together, apart = World(rules), World(rules)
    steps = brought = 0
    for _ in range(12):
        for _ in range(chance.randint(1, 6)):
            post = Post(chance.choice((*EVENTS, *TASKS)), {"n": chance.randint(1, N_MAX)})
            for run in (together, apart):
                run.give(post)
        while chance.random() < 0.8:
            running = [task for task in together.live() if task.outcome is None and task.id in together.state.running]
            if not running:
                break
            some = chance.sample(running, chance.randint(1, len(running)))
            reports = [ending_of(task, seed, together.terms.time) for task in some]
            if chance.random() < 0.2:
                reports.append(reports[0])  # It comes twice: the second is late.
            steps += bring_alike(together, apart, reports)
            brought += len(reports)
        assert state_of(together) == state_of(apart)
    assert told(together) == told(apart)
    assert sorted(together.started()) == sorted(apart.started())
    return steps, brought


def ending_of(task: Task, seed: int, now: int) -> Report:
    outcome = outcome_of(task, seed)
    error = None if outcome == "done" else {"kind": "exit"}
    return Report(task.id, outcome, {"m": 1} if outcome == "done" else None, error, now - 5, now, task.flow)


FAN = 'event go() task a(n: int) run python "m:f" rule r when go then {} rule x when a done where n < 0 then a(n: 0)'


def fan(count: int, slots: int = 100) -> World:
    run = World(FAN.format(", ".join(f"a(n: {n})" for n in range(count))), slots=slots)
    run.terms.quick = {"python": {"a"}}
    return run


def done(task: Task, **result: object) -> Report:
    return Report(task.id, "done", dict(result), None, 1, 2, task.flow)


def test_reports_on_one_flow_are_one_entry() -> None:
    run = fan(5)
    run.post("go")
    step = run.bring(Several([done(task) for task in run.live("a")]))
    assert (step.taken, len(step.pages)) == (5, 1)
    kinds = [type(fact) for fact in step.pages[0].facts]
    assert kinds == [f.Completed] * 5 + [f.FlowEnded]


def test_a_page_that_would_be_a_large_row_ends_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STEP_BYTES_MAX", 3000)
    run = fan(5)
    run.post("go")
    assert run.bring(Several([done(task, text="x" * 1000) for task in run.live("a")])).taken == 3


def test_an_event_that_a_report_brings_forth_is_matched_before_the_next_report() -> None:
    run = World(
        'event go() event e() task a(n: int) run process ["a"] rule r when go then a(n: 1), a(n: 2), a(n: 3)'
        " rule s when a done where n == 2 then e()"
    )
    run.post("go")
    assert run.bring(Several([done(task) for task in run.live("a")])).taken == 2


# -- what need not be done for each ----------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "follows"),
    [
        ("rule r when a done then b()", True),
        ("rule r when a finished then b()", True),
        ("rule r when any done then b()", True),
        ("rule r when unmatched any finished then b()", True),
        ("rule r when unmatched a done then b()", True),
        ("rule r when every a done then b()", True),
        ("rule r when all of a done, b done by flow then e()", True),
        ("rule r when a failed then b()", False),
        ("rule r when b done then a()", False),
        ("rule r when unmatched b done then a()", False),
        ("rule r when flow.ended then b()", False),
    ],
)
def test_whether_a_rule_may_fire_on_a_task_that_is_done(rule: str, follows: bool) -> None:
    run = World(f'event e() task a() run process ["a"] task b() run process ["b"] {rule}')
    assert run.editions["v1"].follows_done("a") is follows


def test_what_is_declared_to_follow_a_task_follows_it() -> None:
    rules = then.Rules()
    rules.task("a", run=("process", ["a"]))
    rules.task("b", run=("process", ["b"]))
    assert not Edition("v1", rules.set).follows_done("a")
    rules.set.endings["a"] = load_text('event e() task b() run process ["b"] rule r when e then b()').rules.rules[0]
    assert Edition("v1", rules.set).follows_done("a")


@pytest.mark.parametrize("last", [next_id(0, BEGIN_US, 7), next_id(0, BEGIN_US + 4095, 1023) | 4095 << 10])
def test_ids_of_one_step_follow_each_other_as_ids_of_several_do(last: int) -> None:
    for _ in range(5000):
        number = next_id(last, BEGIN_US, last & 1023)
        assert number == last + ID_STEP
        last = number


# -- rows: what the core gives out ---------------------------------------------------------------


def starts(run: World) -> list[list[int]]:
    """The rows that were given out, by `n`."""
    return [
        [task.body["n"] for task in (order.task, *order.following)] for order in run.orders if isinstance(order, Start)
    ]


def tasks_of(run: World) -> dict[int, Task]:
    return {task.body["n"]: task for task in run.emitted("a")}


def test_quick_tasks_are_given_out_together_and_take_one_slot() -> None:
    run = fan(5, slots=1)
    run.post("go")
    assert starts(run) == [[0, 1, 2, 3, 4]]
    assert run.state.slots_used == 1
    assert [run.born[id].body["n"] for id in runs_now(run.state)] == [0]


def test_what_waits_is_shared_among_the_free_slots() -> None:
    run = fan(7, slots=3)
    run.post("go")
    assert starts(run) == [[0, 1, 2], [3, 4], [5, 6]]
    assert run.state.slots_used == 3


def test_a_row_has_a_longest() -> None:
    run = fan(ROW_MAX + 5, slots=1)
    run.post("go")
    assert [len(row) for row in starts(run)] == [ROW_MAX]


def test_the_slot_goes_from_one_to_the_next_and_is_free_after_the_last() -> None:
    run = fan(3, slots=1)
    run.post("go")
    tasks = tasks_of(run)
    for n, order in ((0, 1), (2, 1), (1, 0)):
        run.give(done(tasks[n]))
        assert run.state.slots_used == order == sum(run.state.running.values())
    assert not run.state.rows


def test_who_comes_to_be_the_first_of_a_row_is_told_of_while_it_runs() -> None:
    run = fan(4, slots=1)
    run.post("go")
    tasks = tasks_of(run)
    step = run.give(Several([done(tasks[0]), done(tasks[1])]))
    assert [order.task.body["n"] for order in step.orders if isinstance(order, Began)] == [2]
    assert not [order for order in run.give(Several([done(tasks[2]), done(tasks[3])])).orders if type(order) is Began]


def test_what_is_given_back_waits_before_what_came_later_and_may_take_another_slot() -> None:
    run = fan(4, slots=2)
    run.post("go")
    assert starts(run) == [[0, 1], [2, 3]]
    tasks = tasks_of(run)
    run.give(Several([done(tasks[2]), done(tasks[3])]))
    run.give(GiveBack([tasks[1].id]))
    assert starts(run) == [[0, 1], [2, 3], [1]]
    assert run.state.slots_used == 2


def test_a_report_that_was_quicker_than_the_giving_back_counts() -> None:
    run = fan(3, slots=1)
    run.post("go")
    tasks = tasks_of(run)
    run.give(done(tasks[1]))
    run.give(GiveBack([tasks[1].id, tasks[2].id]))
    assert (len(starts(run)), run.state.slots_used) == (1, 1)
    run.give(done(tasks[0]))
    assert starts(run)[-1] == [2]


def test_one_that_was_told_to_stop_on_its_way_back_is_cancelled() -> None:
    run = fan(3, slots=1)
    run.post("go")
    tasks = tasks_of(run)
    run.cancel(tasks[1])
    assert run.stopped() == ["a"], "it is with its executor"
    run.give(GiveBack([tasks[1].id, tasks[2].id]))
    assert run.completed(tasks[1]).outcome == "cancelled"
    run.give(done(tasks[0]))
    assert starts(run)[-1] == [2]


@pytest.mark.parametrize(
    "other",
    [
        'task b() run python "m:f"',  # not known to be quick
        'task b() run python "m:f" once',
        'task b() run python "m:f" timeout 1h',
        'task b() run python "m:f" needs {slots: 0}',
        'task b() run process ["b"]',
    ],
)
def test_a_row_ends_before_what_is_started_otherwise(other: str) -> None:
    quick = {"a"} if other == 'task b() run python "m:f"' else {"a", "b"}
    run = World(f'event go() task a() run python "m:f" {other} rule r when go then a(), a(), b(), a()', slots=1)
    run.terms.quick = {"python": quick}
    run.post("go")
    given = [[order.task.type, *(one.type for one in order.following)] for order in run.orders if type(order) is Start]
    assert given in ([["a", "a"]], [["b"], ["a", "a", "a"]])  # What takes no slot is started in any case.


def test_a_held_flow_gives_nothing_into_the_rows_of_others() -> None:
    run = fan(2, slots=1)
    run.terms.may_start = False
    first, held = run.post("go"), run.post("go")
    run.state.flows[held.flow].held = "a guard"
    run.terms.may_start = True
    run.give(Proceed())
    assert [[task.flow for task in (order.task, *order.following)] for order in run.orders if type(order) is Start] == [
        [first.flow] * 2
    ]


# -- the loop ---------------------------------------------------------------------------------------


ROWS = """
event go()
task a(n: int) run process ["a"]
task first() run process ["first"]
rule r when go then a(n: 0), a(n: 1), a(n: 2)
rule s when first done then a(n: 0), a(n: 1), a(n: 2)
"""


@pytest.fixture
def bench() -> Bench:
    bench = Bench(rules=ROWS, slots=1)
    bench.hands.quick = {"a"}  # type: ignore[attr-defined]
    bench.loop.attach("process", bench.hands)
    return bench.open()


def test_a_row_is_started_when_what_emitted_all_of_it_is_durable(bench: Bench) -> None:
    at_append: list[int] = []
    bench.paper.before = lambda: at_append.append(len(bench.hands.started))
    bench.post("go")
    assert set(at_append) == {0}
    assert [task.body["n"] for task in bench.hands.started] == [0, 1, 2]


def test_a_row_that_is_stopped_in_the_transaction_that_emits_it_is_not_started(bench: Bench) -> None:
    root = bench.post("first")
    [first] = bench.hands.started
    told = bench.wait(root.flow)
    # Brought in one go: the row and the order to stop it are of one commit.
    bench.loop.give(Report(first.id, "done", {}, None, 1, 2, first.flow), Cancel((), root.flow))
    assert bench.hands.started == [first]
    assert not bench.hands.stopped
    assert [news.flow.outcome for news in told] == ["cancelled"]
    assert not bench.loop.state.running


def test_who_watches_starts_is_told_of_one_of_a_row_at_a_time(bench: Bench) -> None:
    told: list[int] = []
    bench.loop.start_watchers.append(lambda task, _: told.append(task.body["n"]))
    bench.post("go")
    assert told == [0]
    bench.end(bench.hands.started[0])
    assert told == [0, 1]
    bench.end(*bench.hands.started[1:])
    assert told == [0, 1]


# -- functions -----------------------------------------------------------------------------------


class StillClock(SystemClock):
    """Functions take as long as the test says."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_us(self) -> int:
        return self.now


class Desk:
    """Where an executor brings what it has."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.back: list[str] = []
        self.was_given_back = threading.Event()
        self.calls: list[list[str]] = []

    def report(self, reports: Sequence[Report]) -> None:
        self.calls.append([report.id for report in reports])
        self.reports(reports)

    def give_back(self, ids: Sequence[str]) -> None:
        self.back += ids
        self.was_given_back.set()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def no_relief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is given up by the test's clock alone: where its worker stands still, nobody heeds that."""
    monkeypatch.setattr("then.executors.function.RELIEF_S", PATIENCE_S)


@pytest.fixture
def executor(desk: Desk, clock: StillClock) -> Iterator[FunctionExecutor]:
    executor = FunctionExecutor(desk.report, desk.report, clock, OwnLoop(), give_back=desk.give_back)
    yield executor
    executor.close(wait=True)


def row(*jobs: Job) -> list[Job]:
    return [jobs[0], *(Job(job.task, job.options, True) for job in jobs[1:])]


@pytest.mark.usefixtures("no_relief")
def test_a_row_is_run_in_order_and_reported_in_one_call(executor: FunctionExecutor, desk: Desk) -> None:
    ran: list[int] = []

    def run(n: int) -> None:
        ran.append(n)

    executor.start(row(*(body_job(f"t{n}", run, n=n) for n in range(20))))
    desk.reports.wait(20)
    assert ran == list(range(20))
    assert desk.calls == [[f"t{n}" for n in range(20)]]


def test_a_slow_one_holds_up_neither_who_was_before_it_nor_who_is_behind(
    executor: FunctionExecutor, desk: Desk
) -> None:
    may_end = threading.Event()

    def slow() -> None:
        assert may_end.wait(PATIENCE_S)

    jobs = {id: body_job(id, slow if id == "slow" else lambda: None) for id in ("before", "slow", "b1", "b2")}
    executor.start(row(*jobs.values()))
    # What is given back may run in other slots. On a busy machine that may be the slow one too.
    while "slow" not in desk.back and not {"b1", "b2"} <= set(desk.back):
        assert desk.was_given_back.wait(PATIENCE_S)
    executor.start([jobs[id] for id in desk.back])
    assert set(desk.reports.wait(3)) == {"before", "b1", "b2"}
    may_end.set()
    assert set(desk.reports.wait(4)) == {"before", "slow", "b1", "b2"}


@pytest.mark.usefixtures("no_relief")
def test_a_row_of_which_each_takes_a_while_is_given_up_too(
    executor: FunctionExecutor, desk: Desk, clock: StillClock
) -> None:
    def takes_a_while() -> None:
        clock.now += 900

    executor.start(row(*(body_job(f"t{n}", takes_a_while) for n in range(6))))
    assert desk.was_given_back.wait(PATIENCE_S)
    assert desk.back == ["t3", "t4", "t5"]
    assert set(desk.reports.wait(3)) == {"t0", "t1", "t2"}


@pytest.mark.usefixtures("no_relief")
def test_one_that_waits_in_a_row_is_stopped_without_a_run(executor: FunctionExecutor, desk: Desk) -> None:
    ran: list[str] = []

    def stops_another() -> None:
        executor.stop("behind", 0.0)
        ran.append("first")

    executor.start(row(body_job("first", stops_another), body_job("behind", lambda: ran.append("behind"))))
    found = desk.reports.wait(2)
    assert (found["first"].outcome, found["behind"].outcome, ran) == ("done", "cancelled", ["first"])


@pytest.mark.usefixtures("no_relief")
def test_one_in_a_row_that_nobody_took_up_is_stopped_without_a_run(executor: FunctionExecutor, desk: Desk) -> None:
    began, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        assert may_end.wait(PATIENCE_S)
        executor.start(row(body_job("a", lambda: None), body_job("b", lambda: None)))
        executor.stop("b", 0.0)

    executor.start([body_job("slow", slow)])
    assert began.wait(PATIENCE_S)
    may_end.set()
    found = desk.reports.wait(3)
    assert found["a"].outcome == "done"
    assert found["b"].outcome in ("cancelled", "done")


def test_a_type_is_quick_after_some_quick_runs_and_no_more_after_a_slow_one(
    executor: FunctionExecutor, desk: Desk, clock: StillClock
) -> None:
    took = 0

    def takes() -> None:
        clock.now += took

    for n in range(QUICK_RUNS):
        assert not executor.quick
        executor.start([body_job(f"t{n}", takes)])
        desk.reports.wait(n + 1)
    assert executor.quick == {"work"}
    took = QUICK_US
    executor.start([body_job("slow", takes)])
    desk.reports.wait(QUICK_RUNS + 1)
    assert not executor.quick


@pytest.mark.usefixtures("no_relief")
def test_closing_leaves_what_was_not_begun_of_a_row_to_the_next_engine(desk: Desk, clock: StillClock) -> None:
    executor = FunctionExecutor(desk.report, desk.report, clock, OwnLoop(), give_back=desk.give_back)
    executor.start(row(body_job("first", lambda: executor.close(wait=False)), body_job("behind", lambda: None)))
    assert set(desk.reports.wait(1)) == {"first"}
    executor.close(wait=True)
    assert (desk.back, len(desk.reports.all)) == ([], 1)


# -- a whole engine --------------------------------------------------------------------------------


def test_a_function_that_waits_for_one_behind_it_in_its_row_does_not_wait_for_ever() -> None:
    rules = then.Rules()
    closed = threading.Event()

    @rules.task("quick")
    def quick(n: int) -> Body | None:
        if n == 40:
            assert closed.wait(PATIENCE_S)  # Of one that was given out behind it.
        if n == 41:
            closed.set()
        return None

    @rules.when("go")
    def go(go: then.Task) -> Iterator[then.Emission]:
        for n in range(60):
            yield then.emit("quick", n=n)

    with then.Engine(rules, slots=2) as engine:
        flow = engine.run("go")
        assert flow.outcome == "done"
        assert len(flow.tasks) == 61
