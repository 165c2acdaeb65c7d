"""The public names, and how `Engine`, `AsyncEngine` and their flows behave."""

from __future__ import annotations

import ast
import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from then import it
from then.core.errors import BodyRefused, ConfigError, ExecutorError, JournalError, JournalLocked, RuleError, UnknownId
from then.core.rules import TaskDecl

PATIENCE_S = 60

NAMES = [
    "AsyncEngine", "AsyncFlow", "Emission", "Engine", "Flow", "FlowFailed", "Match", "Part", "Procedure", "Rule",
    "Rules", "Task", "ThenError", "absent", "call", "cancel", "cancel_flow", "each", "emit", "end_flow", "it",
    "of", "part", "retry", "return_", "save", "skip", "__version__",
]  # fmt: skip


# -- names -------------------------------------------------------------------------------------


def test_the_public_names_are_exactly_these() -> None:
    assert then.__all__ == NAMES
    assert dir(then) == sorted(NAMES)
    for name in NAMES:
        assert getattr(then, name) is not None


def test_a_type_checker_sees_the_same_names() -> None:
    stub = ast.parse(Path(then.__file__).with_suffix(".pyi").read_text())
    seen = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    seen |= {
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert seen == set(NAMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'then' has no attribute 'nothing'"):
        then.nothing  # type: ignore[attr-defined]  # noqa: B018


# -- rules for all of these ------------------------------------------------------------------------


def shop() -> then.Rules:
    rules = then.Rules()
    rules.event("order", id=int)

    @rules.task("pay")
    def pay(id: int) -> dict[str, int]:
        if id == 13:
            raise ValueError("no thirteen")
        return {"receipt": id * 10}

    @rules.task("ship")
    async def ship(receipt: int) -> None:
        await asyncio.sleep(0)

    rules.set.declare(TaskDecl("approve"))

    @rules.when("order")
    def start(order: then.Task) -> then.Emission:
        return then.emit("pay", id=order.body["id"])

    @rules.when("pay", "done", it.id < 100)
    def send(pay: then.Task) -> Iterator[then.Emission]:
        if pay.result is not None:
            yield then.emit("ship", receipt=pay.result["receipt"])

    @rules.when("pay", "done", it.id >= 100)
    def dear(pay: then.Task) -> Iterator[then.Emission]:
        yield then.emit("approve", id=pay.body["id"])

    return rules


@pytest.fixture
def engine() -> Iterator[then.Engine]:
    with then.Engine(shop()) as engine:
        yield engine


# -- running ------------------------------------------------------------------------------------------


def test_run_posts_and_waits_and_the_flow_tells_what_came(engine: then.Engine) -> None:
    flow = engine.run("order", id=4)
    assert (flow.outcome, flow.state) == ("done", "completed")
    assert [(task.type, task.outcome, task.rule) for task in flow.tasks] == [
        ("order", "done", None), ("pay", "done", "start"), ("ship", "done", "send"),
    ]  # fmt: skip
    assert flow.tasks[1].result == {"receipt": 40}
    assert flow.check() is flow


def test_run_raises_nothing_for_a_flow_that_failed_and_check_does(engine: then.Engine) -> None:
    flow = engine.run("order", id=13)
    assert flow.outcome == "failed"
    pay = flow.tasks[1]
    with pytest.raises(then.FlowFailed) as failed:
        flow.check()
    assert str(failed.value) == f"flow {flow.id} ended failed; pay ({pay.id}): ValueError: no thirteen"


def test_a_post_is_durable_and_does_not_wait(engine: then.Engine) -> None:
    flow = engine.post("order", id=4)
    assert flow.wait().outcome == "done"
    assert flow.wait() is flow, "again, for one that has ended"
    assert engine.flow(flow.id).outcome == "done"


def test_a_body_is_refused_by_name_and_changing_it_afterwards_changes_nothing(engine: then.Engine) -> None:
    with pytest.raises(BodyRefused, match="order: id: "):
        engine.post("order", id="four")
    with pytest.raises(BodyRefused, match=r"order: \$\.x: set is no JSON value"):
        engine.post_record("order", {"id": 1, "x": {1}})
    with pytest.raises(RuleError, match="is no name"):
        engine.post("no name")
    names = ["a"]
    flow = engine.post("stranger", names=names)
    names.append("b")
    assert flow.wait().tasks[0].body == {"names": ["a"]}


def test_the_same_key_gives_the_first_flow(engine: then.Engine) -> None:
    first = engine.post_record("order", {"id": 1}, key="k")
    assert engine.post_record("order", {"id": 1}, key="k").id == first.id
    with pytest.raises(ConfigError, match="stands for another"):
        engine.post_record("order", {"id": 2}, key="k")


def test_a_wait_ends_after_its_time_and_leaves_nothing_behind(engine: then.Engine) -> None:
    flow = engine.post("approve", id=1)
    with pytest.raises(TimeoutError, match=f"flow {flow.id} did not end in 0.0 s"):
        flow.wait(0.0)
    assert not engine.loop._waiters
    assert (flow.outcome, flow.state) == (None, "running")


def test_a_function_may_post_and_wait_for_what_it_posted() -> None:
    rules = then.Rules()
    opened: list[then.Engine] = []

    @rules.task("inner")
    def inner(n: int) -> dict[str, int]:
        return {"m": n + 1}

    @rules.task("outer")
    def outer(n: int) -> dict[str, int]:
        flow = opened[0].post("inner", n=n).wait(PATIENCE_S)
        result = flow.tasks[0].result
        assert result is not None
        return {"m": result["m"]}

    with then.Engine(rules, slots=2) as engine:
        opened.append(engine)
        flow = engine.post("outer", n=1).wait(PATIENCE_S)
        assert flow.tasks[0].result == {"m": 2}


# -- what people do ---------------------------------------------------------------------------------------


def test_a_persons_answer_completes_a_task_and_a_second_one_has_no_effect(engine: then.Engine) -> None:
    flow = engine.post("order", id=100)
    told = threading.Event()
    engine.loop.look(lambda state: None)
    waiting = _until(engine, flow, "approve")
    engine.complete(waiting.id[:13], by="me")
    assert flow.wait(PATIENCE_S).outcome == "done"
    again = engine.complete(waiting.id, "failed")
    assert again.outcome == "done"
    record = flow.history.records[waiting.id]
    assert (record.task.result, record.task.outcome) == ({"by": "me"}, "done")
    assert [late.outcome for late in record.late] == ["failed"]
    assert not told.is_set()


def _until(engine: then.Engine, flow: then.Flow, type: str) -> then.Task:
    """The record of a type, once it lives: told by the pages that were written."""
    seen = threading.Event()
    engine.loop.watchers.append(lambda page: seen.set())
    while True:
        for task in engine.loop.look(lambda state: list(state.live(flow.id))):
            if task.type == type:
                engine.loop.drive(must_commit=True)  # Else it is in the state, and in the journal a moment later.
                return task
        assert seen.wait(PATIENCE_S)
        seen.clear()


@pytest.mark.parametrize(
    ("outcome", "kind"), [("failed", "exit"), ("timed_out", "timeout"), ("cancelled", "cancelled")]
)
def test_a_persons_report_of_a_failure_has_a_kind_or_gives_its_own(
    engine: then.Engine, outcome: str, kind: str
) -> None:
    flow = engine.post("approve", id=1)
    engine.complete(flow.id, outcome, message="no")  # type: ignore[arg-type]
    error = flow.wait(PATIENCE_S).tasks[0].error
    assert error == {"kind": kind, "message": "no"}
    own = engine.post("approve", id=1)
    engine.complete(own.id, outcome, kind="tired")  # type: ignore[arg-type]
    assert own.wait(PATIENCE_S).tasks[0].error == {"kind": "tired"}


def test_what_an_executor_runs_is_not_completed_by_a_person(engine: then.Engine) -> None:
    began, may_end = threading.Event(), threading.Event()
    rules = then.Rules()

    @rules.task("slow")
    def slow() -> None:
        began.set()
        may_end.wait(PATIENCE_S)

    with then.Engine(rules) as other:
        flow = other.post("slow")
        assert began.wait(PATIENCE_S)
        with pytest.raises(ConfigError, match='is run by "python"'):
            other.complete(flow.id)
        may_end.set()
    with pytest.raises(ConfigError, match='"well" is no outcome'):
        engine.complete(flow.id, "well")  # type: ignore[arg-type]
    with pytest.raises(UnknownId):
        engine.complete("zzzzzzz")


def test_cancelling_a_root_or_an_event_cancels_its_flow_and_another_record_only_what_descends(
    engine: then.Engine,
) -> None:
    flow = engine.post("approve", id=1)
    assert engine.cancel(flow.id) == [flow.id]
    assert flow.wait(PATIENCE_S).outcome == "cancelled"
    assert engine.cancel(flow.id) == [], "it has ended"
    flow = engine.post("order", id=100)
    approve = _until(engine, flow, "approve")
    engine.cancel(approve.id)
    assert flow.wait(PATIENCE_S).outcome == "done"
    flow = engine.post("order", id=100)
    approve = _until(engine, flow, "approve")
    assert engine.cancel(flow.id) == [approve.id]
    assert flow.wait(PATIENCE_S).outcome == "cancelled"


def test_only_the_record_alone(engine: then.Engine) -> None:
    flow = engine.post("approve", id=1)
    joined = engine.post_record("approve", {"id": 2}, flow=flow.id)
    assert joined.id == flow.id
    assert engine.cancel(flow.id, only=True) == [flow.id]
    [left] = engine.loop.look(lambda state: list(state.live()))
    assert left.body == {"id": 2}


def test_a_retry_makes_a_new_attempt_and_reopens_the_flow() -> None:
    rules = then.Rules()
    tries: list[int] = []

    @rules.task("flaky")
    def flaky() -> dict[str, int]:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return {"tries": len(tries)}

    @rules.when("start")
    def start(start: then.Task) -> Iterator[then.Emission]:
        yield then.emit("flaky", then=after)

    @rules.continuation
    def after(flaky: then.Task) -> Iterator[then.Emission]:
        yield then.emit("over", tries=flaky.result and flaky.result["tries"])

    rules.event("over", tries=int)
    with then.Engine(rules) as engine:
        flow = engine.run("start")
        assert flow.outcome == "failed"
        for outcome in ("failed", "done"):
            [task] = engine.retry(flow.id)
            assert flow.wait(PATIENCE_S).outcome == outcome
        assert (task.attempt, task.origin) == (3, flow.tasks[1].id)
        assert flow.tasks[-1].body == {"tries": 3}
        with pytest.raises(ConfigError, match="what failed can be tried again"):
            engine.retry(flow.id)


def test_what_is_not_held_cannot_be_released(engine: then.Engine) -> None:
    with pytest.raises(ConfigError, match="is not held"):
        engine.release(engine.post("approve", id=1).id)


def test_new_rules_are_for_new_flows() -> None:
    first, second = then.Rules(), then.Rules()
    first.event("go")
    second.event("go")

    @first.when("go")
    def one(go: then.Task) -> then.Emission:
        return then.emit("was.one")

    @second.when("go")
    def two(go: then.Task) -> then.Emission:
        return then.emit("was.two")

    first.event("was.one")
    second.event("was.two")
    with then.Engine(first) as engine:
        assert [task.type for task in engine.run("go").tasks] == ["go", "was.one"]
        engine.reload(second)
        assert [task.type for task in engine.run("go").tasks] == ["go", "was.two"]


# -- a state folder ---------------------------------------------------------------------------------------------


def test_a_flow_goes_on_where_the_engine_before_left_it(tmp_path: Path) -> None:
    with then.Engine(shop(), tmp_path / "state") as engine:
        flow = engine.post("order", id=100)
        approve = _until(engine, flow, "approve")
    with then.Engine(shop(), tmp_path / "state") as engine:
        again = engine.flow(flow.id)
        assert again.state == "running"
        engine.complete(approve.id)
        assert again.wait(PATIENCE_S).outcome == "done"
        assert engine.post_record("order", {"id": 1}, key="k").wait(PATIENCE_S).outcome == "done"
    with then.Engine(shop(), tmp_path / "state") as engine:
        assert engine.flow(flow.id).outcome == "done"
        assert [task.type for task in engine.flow(flow.id).tasks] == ["order", "pay", "approve"]


def test_a_second_engine_on_one_folder_is_refused(tmp_path: Path) -> None:
    with then.Engine(shop(), tmp_path / "state"), pytest.raises(JournalLocked):
        then.Engine(shop(), tmp_path / "state")


def test_an_engine_that_could_not_be_opened_leaves_nothing_running(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="no rules are in force"):
        then.Engine(None, tmp_path / "state")
    assert set(threading.enumerate()) <= before
    with then.Engine(shop(), tmp_path / "state"):
        pass


def test_a_program_whose_rules_have_changed_moves_its_open_flows_and_says_so(tmp_path: Path) -> None:
    with then.Engine(shop(), tmp_path / "state") as engine:
        flow = engine.post("approve", id=1)
    changed = shop()

    @changed.when("approve", "done")
    def more(approve: then.Task) -> then.Emission:
        return then.emit("pay", id=1)

    with then.Engine(changed, tmp_path / "state") as engine:
        assert engine.notices == [f"Python rules have changed: flow {flow.id} moved to rules version {changed.version}"]
        engine.complete(flow.id)
        assert [task.type for task in engine.flow(flow.id).wait(PATIENCE_S).tasks] == ["approve", "pay", "ship"]


# -- ends ----------------------------------------------------------------------------------------------------------


def test_leaving_the_engine_waits_for_functions_that_run() -> None:
    rules = then.Rules()
    began, ended = threading.Event(), threading.Event()

    @rules.task("slow")
    def slow() -> None:
        began.set()
        ended.wait(0.05)
        ended.set()

    with then.Engine(rules) as engine:
        engine.post("slow")
        assert began.wait(PATIENCE_S)
    assert ended.is_set()


def test_an_engine_may_be_closed_twice_and_is_closed_then(engine: then.Engine) -> None:
    flow = engine.post("approve", id=1)
    waited: list[BaseException] = []

    def wait() -> None:
        try:
            flow.wait()
        except JournalError as error:
            waited.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not engine.loop.look(lambda state: bool(engine.loop._waiters)):
        waiter.join(0)
    engine.close()
    engine.close()
    waiter.join(PATIENCE_S)
    assert [str(error) for error in waited] == ["this engine is closed"]
    with pytest.raises(JournalError, match="this engine is closed"):
        engine.post("order", id=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_engine_used_after_a_fork_raises(engine: then.Engine) -> None:
    flow = engine.post("approve", id=1)
    calls = (
        lambda: engine.post("order", id=1),
        lambda: engine.cancel(flow.id),
        lambda: engine.complete(flow.id),
        lambda: engine.retry(flow.id),
        lambda: engine.release(flow.id),
        lambda: engine.reload(shop()),
        lambda: flow.wait(0.0),
    )
    child = os.fork()
    if child == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except ExecutorError as error:
                refused += "opened by another process" in str(error)
            except BaseException:
                pass
        engine.close()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == len(calls)
    engine.complete(flow.id)
    assert flow.wait(PATIENCE_S).outcome == "done", "the parent goes on"


# -- AsyncEngine -------------------------------------------------------------------------------------------------------


def test_an_async_engine_runs_coroutines_on_the_callers_loop() -> None:
    rules = then.Rules()
    loops: list[object] = []

    @rules.task("a")
    async def a(n: int) -> dict[str, int]:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return {"m": n + 1}

    async def main() -> None:
        async with then.AsyncEngine(rules) as engine:
            flow = await engine.run("a", n=1)
            assert (flow.outcome, flow.state) == ("done", "completed")
            assert flow.tasks[0].result == {"m": 2}
            assert flow.check() is flow
            flows = [await engine.post("a", n=n) for n in range(20)]
            await asyncio.gather(*[flow.wait() for flow in flows])
        assert set(loops) == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_leaving_an_async_engine_waits_for_its_coroutines() -> None:
    # They were left on the caller's loop, and what they came to was refused.
    rules = then.Rules()
    ended: list[str] = []

    async def main() -> None:
        began = asyncio.Event()

        @rules.task("a")
        async def a() -> None:
            began.set()
            for _ in range(20):
                await asyncio.sleep(0)
            ended.append("a")

        async with then.AsyncEngine(rules) as engine:
            await engine.post("a")
            await began.wait()
        assert ended == ["a"]

    asyncio.run(main())


def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with then.AsyncEngine(shop()) as engine:
            flow = await engine.post("approve", id=1)
            waiting = asyncio.create_task(flow.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not engine.engine.loop._waiters
            await engine.complete(flow.id)
            assert (await flow.wait()).outcome == "done"

    asyncio.run(main())


def test_a_coroutine_is_cancelled_where_it_waits() -> None:
    rules = then.Rules()

    async def main() -> None:
        began = asyncio.Event()

        @rules.task("a")
        async def a() -> None:
            began.set()
            await asyncio.Event().wait()

        async with then.AsyncEngine(rules) as engine:
            flow = await engine.post("a")
            await began.wait()
            assert await engine.cancel(flow.id) == [flow.id]
            assert (await flow.wait()).outcome == "cancelled"
            assert flow.tasks[0].error == {"kind": "cancelled"}

    asyncio.run(main())


def test_an_async_engine_says_when_it_is_not_open() -> None:
    engine = then.AsyncEngine(shop())
    with pytest.raises(RuntimeError, match="async with"):
        _ = engine.engine
    with pytest.raises(then.FlowFailed):
        asyncio.run(_failing())


async def _failing() -> None:
    async with then.AsyncEngine(shop()) as engine:
        flow = await engine.run("order", id=13)
        [task] = await engine.retry(flow.id)
        assert task.attempt == 2
        (await flow.wait()).check()
