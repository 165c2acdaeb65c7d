"""Functions keep the law of executors, in threads and on an event loop; and what is particular to them."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.seams.executor_suite import PATIENCE_S, ExecutorSuite, Reports, job
from then.abc import Executor, Job, Report
from then.alarm import SystemClock
from then.core.tasks import Body, Task
from then.executors.coroutines import OwnLoop
from then.executors.function import FunctionExecutor
from then.executors.raised import MESSAGE_CHARACTERS_MAX


def quick(n: int) -> Body:
    return {"m": n + 1}


def failing(n: int) -> Body:
    raise ValueError(f"no {n}")


async def quick_coroutine(n: int) -> Body:
    await asyncio.sleep(0)
    return {"m": n + 1}


async def failing_coroutine(n: int) -> Body:
    await asyncio.sleep(0)
    raise ValueError(f"no {n}")


async def endless(n: int) -> None:
    await asyncio.Event().wait()


class _Functions(ExecutorSuite):
    @pytest.fixture
    def executor(self, reports: Reports) -> Iterator[Executor]:
        executor = FunctionExecutor(reports, reports, SystemClock(), OwnLoop())
        yield executor
        executor.close(wait=False)

    def endless(self, id: str) -> Job:
        return job(id, function=endless)


class TestThreads(_Functions):
    def quick(self, id: str) -> Job:
        return job(id, function=quick)

    def failing(self, id: str) -> Job:
        return job(id, function=failing)


class TestCoroutines(_Functions):
    def quick(self, id: str) -> Job:
        return job(id, function=quick_coroutine)

    def failing(self, id: str) -> Job:
        return job(id, function=failing_coroutine)


# -- what is particular to functions -----------------------------------------------------------


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def executor(reports: Reports) -> Iterator[FunctionExecutor]:
    executor = FunctionExecutor(reports, reports, SystemClock(), OwnLoop())
    yield executor
    executor.close(wait=True)


def body_job(id: str, function: Callable[..., object], **body: Any) -> Job:
    return Job(Task("work", body, id=id, flow="f000000000000"), {"function": function})


def outcome_of(executor: FunctionExecutor, reports: Reports, function: Callable[..., object], **body: Any) -> Report:
    executor.start([body_job("it", function, **body)])
    return reports.one()


def test_the_body_comes_as_keywords_and_the_dict_is_the_result(executor: FunctionExecutor, reports: Reports) -> None:
    report = outcome_of(executor, reports, lambda a, b: {"sum": a + b}, a=1, b=2)
    assert (report.outcome, report.result, report.flow) == ("done", {"sum": 3}, "f000000000000")


def test_none_is_an_empty_result(executor: FunctionExecutor, reports: Reports) -> None:
    assert outcome_of(executor, reports, lambda: None).result == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "returned int; a task returns a dict of JSON values, or None"),
        ({"x": {"y": [1, {2, 3}]}}, "result: $.x.y[1]: set is no JSON value"),
        ({"x": float("nan")}, "result: $.x: nan is no JSON number; give null or text"),
        ({"x": 2**64}, "result: $.x: an integer beyond 64 bits; give it as text"),
        ({1: "x"}, "result: $: the key 1 is no text"),
        ({"x": "\ud800"}, "result: $.x: text with half of a surrogate pair, which is no Unicode"),
    ],
)
def test_a_result_that_is_no_json_fails_and_says_where(
    executor: FunctionExecutor, reports: Reports, given: object, said: str
) -> None:
    report = outcome_of(executor, reports, lambda: given)
    assert report.outcome == "failed"
    assert report.error == {"kind": "result", "message": said}


def test_an_exception_is_a_failure_with_the_traceback_of_the_tasks_own_code(
    executor: FunctionExecutor, reports: Reports
) -> None:
    report = outcome_of(executor, reports, failing, n=3)
    assert report.error is not None
    assert (report.error["kind"], report.error["type"]) == ("exception", "ValueError")
    assert report.error["message"] == "ValueError: no 3"
    assert "in failing" in report.error["traceback"]
    assert "executors/function.py" not in report.error["traceback"]


def test_a_body_that_does_not_fit_the_parameters_is_a_failure_of_the_task(
    executor: FunctionExecutor, reports: Reports
) -> None:
    executor.start([body_job("sync", quick, x=1), body_job("async", quick_coroutine, x=1)])
    found = reports.wait(2)
    for id in ("sync", "async"):
        error = found[id].error
        assert error is not None
        assert error["type"] == "TypeError"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_without_words_is_a_failure_all_the_same(executor: FunctionExecutor, reports: Reports) -> None:
    def fails() -> None:
        raise Unspeakable

    report = outcome_of(executor, reports, fails)
    assert report.error is not None
    assert report.error["message"] == "Unspeakable: (its text cannot be had: RuntimeError)"


def test_what_an_exception_says_is_made_printable_and_bounded(executor: FunctionExecutor, reports: Reports) -> None:
    def fails() -> None:
        raise ValueError("\ud800" + "x" * 10 * MESSAGE_CHARACTERS_MAX)

    report = outcome_of(executor, reports, fails)
    assert report.error is not None
    assert report.error["message"].startswith("ValueError: \\ud800xxx")
    assert len(report.error["message"]) < 2 * MESSAGE_CHARACTERS_MAX


def test_an_exit_ends_the_task_and_not_its_worker(executor: FunctionExecutor, reports: Reports) -> None:
    def leaves() -> None:
        sys.exit(3)

    async def leaves_loop() -> None:
        sys.exit(4)

    executor.start([body_job("sync", leaves), body_job("async", leaves_loop), body_job("after", lambda: None)])
    found = reports.wait(3)
    assert [found[id].outcome for id in ("sync", "async", "after")] == ["failed", "failed", "done"]


def test_what_a_function_does_with_its_body_and_result_is_not_in_the_record(
    executor: FunctionExecutor, reports: Reports
) -> None:
    # A list of the body was the record's own, and a rule saw it sorted.
    kept: Body = {"found": [1]}

    def sorts(names: list[str]) -> Body:
        names.sort()
        return kept

    given = body_job("it", sorts, names=["b", "a"])
    executor.start([given])
    report = reports.one()
    kept["found"].append(2)
    assert given.task.body == {"names": ["b", "a"]}
    assert report.result == {"found": [1]}


def test_a_function_that_gives_a_coroutine_is_awaited(executor: FunctionExecutor, reports: Reports) -> None:
    def gives(n: int) -> object:
        return quick_coroutine(n)

    assert outcome_of(executor, reports, gives, n=1).result == {"m": 2}


def test_a_function_is_imported_by_name_from_the_root(tmp_path: Path, reports: Reports) -> None:
    (tmp_path / "shop_for_a_test.py").write_text(
        "class Till:\n    @staticmethod\n    def pay(n):\n        return {'m': n}\n"
    )
    executor = FunctionExecutor(reports, reports, SystemClock(), OwnLoop(), str(tmp_path))
    try:
        executor.start([job("it", target="shop_for_a_test:Till.pay"), job("odd", target="shop_for_a_test")])
        found = reports.wait(2)
        assert found["it"].result == {"m": 1}
        assert found["odd"].error is not None
        assert 'names no function; write "module:function"' in found["odd"].error["message"]
    finally:
        executor.close(wait=True)
        sys.path.remove(str(tmp_path))


# -- threads --------------------------------------------------------------------------------------


def test_functions_run_beside_one_another(executor: FunctionExecutor, reports: Reports) -> None:
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def meets() -> None:
        together.wait()

    executor.start([body_job(f"job{n}", meets) for n in range(3)])
    assert {report.outcome for report in reports.wait(3).values()} == {"done"}


def test_a_function_that_starts_others_and_waits_for_them_is_not_waited_for_itself(
    executor: FunctionExecutor, reports: Reports
) -> None:
    # A worker takes the successor of what it ran itself; this one never came back to take it.
    ended = threading.Event()

    def inner() -> None:
        ended.set()

    def outer() -> None:
        executor.start([body_job("inner", inner)])
        assert ended.wait(PATIENCE_S)

    executor.start([body_job("outer", outer)])
    assert {report.outcome for report in reports.wait(2).values()} == {"done"}


def test_a_function_that_runs_is_cancelled_when_it_returns(executor: FunctionExecutor, reports: Reports) -> None:
    began, may_end = threading.Event(), threading.Event()

    def waits() -> Body:
        began.set()
        may_end.wait(PATIENCE_S)
        return {"m": 1}

    executor.start([body_job("it", waits)])
    assert began.wait(PATIENCE_S)
    executor.stop("it", 0)
    assert reports.all == []
    may_end.set()
    report = reports.one()
    assert (report.outcome, report.result, report.error) == ("cancelled", None, {"kind": "cancelled"})


def test_closing_waits_for_what_runs_and_leaves_the_rest_to_the_next_engine(reports: Reports) -> None:
    executor = FunctionExecutor(reports, reports, SystemClock(), OwnLoop())
    began, may_end = threading.Event(), threading.Event()

    def waits() -> None:
        began.set()
        may_end.wait(PATIENCE_S)

    async def waits_too() -> None:
        await asyncio.get_running_loop().run_in_executor(None, may_end.wait)

    executor.start([body_job("sync", waits), body_job("async", waits_too)])
    assert began.wait(PATIENCE_S)
    closing = threading.Thread(target=executor.close, kwargs={"wait": True})
    closing.start()
    may_end.set()
    closing.join(PATIENCE_S)
    assert {id: report.outcome for id, report in reports.wait(2).items()} == {"sync": "done", "async": "done"}
    executor.start([body_job("late", lambda: None), body_job("late too", quick_coroutine, n=1)])
    assert len(reports.all) == 2


# -- recovery ---------------------------------------------------------------------------------------


def test_what_ran_when_the_engine_went_down_runs_again_and_once_ends_in_doubt(
    executor: FunctionExecutor, reports: Reports
) -> None:
    once = Job(Task("work", {}, id="once", flow="f", started=5), {"function": lambda: None, "once": True})
    executor.recover([body_job("again", lambda: None), once])
    found = reports.wait(2)
    assert found["again"].outcome == "done"
    assert found["once"].error is not None
    assert (found["once"].outcome, found["once"].error["kind"]) == ("failed", "unknown")
    assert found["once"].started == 5


def test_reports_of_coroutines_go_their_own_way(reports: Reports) -> None:
    from_loop: list[Sequence[Report]] = []
    told = threading.Event()

    def report_from_loop(given: Sequence[Report]) -> None:
        from_loop.append(given)
        told.set()

    executor = FunctionExecutor(reports, report_from_loop, SystemClock(), OwnLoop())
    try:
        executor.start([body_job("it", quick_coroutine, n=1)])
        assert told.wait(PATIENCE_S)
        assert [report.id for [report] in from_loop] == ["it"]
        assert reports.all == []
    finally:
        executor.close(wait=True)


def test_a_context_of_one_task_is_not_seen_by_the_next(executor: FunctionExecutor, reports: Reports) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")

    async def sets() -> Body:
        before = mark.get()
        mark.set("set")
        return {"before": before}

    executor.start([body_job("one", sets)])
    reports.wait(1)
    executor.start([body_job("two", sets)])
    assert {report.result["before"] for report in reports.wait(2).values() if report.result} == {"none"}
