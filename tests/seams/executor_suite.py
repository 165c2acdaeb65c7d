"""The law of `then.abc.Executor`, run over each executor there is.

A module of this folder binds one: it subclasses `ExecutorSuite`, gives the
fixture `executor` (made with the reports of the fixture `reports`) and says how
a job of each sort looks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from then.abc import Executor, Job, Report
from then.core.tasks import Task

PATIENCE_S = 180
"""Nothing takes so long, not 200 MiB on the disk of a busy machine; it bounds a test that would never end."""


class Reports:
    """What an executor reported, in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.all: list[Report] = []
        self.answer: Callable[[Sequence[Report]], object] = len
        """What an engine would do on reports, in the same thread."""

    def __call__(self, reports: Sequence[Report]) -> None:
        self.answer(reports)
        with self._changed:
            self.all += reports
            self._changed.notify_all()

    def wait(self, count: int) -> dict[str, Report]:
        """By id, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all) >= count, PATIENCE_S), self.all
        return {report.id: report for report in self.all}

    def one(self) -> Report:
        self.wait(1)
        assert len(self.all) == 1
        return self.all[0]


def job(id: str, **options: object) -> Job:
    return Job(Task("work", {"n": 1}, id=id, flow="f000000000000"), options)


class ExecutorSuite:
    @pytest.fixture
    def reports(self) -> Reports:
        return Reports()

    @pytest.fixture
    def executor(self, reports: Reports) -> Iterator[Executor]:
        raise NotImplementedError

    def quick(self, id: str) -> Job:
        """One that ends well."""
        raise NotImplementedError

    def failing(self, id: str) -> Job:
        """One that fails."""
        raise NotImplementedError

    def endless(self, id: str) -> Job:
        """One that ends only when it is stopped."""
        raise NotImplementedError

    def test_each_job_is_reported_once(self, executor: Executor, reports: Reports) -> None:
        ids = [f"job{n}" for n in range(8)]
        executor.start([self.quick(id) for id in ids])
        assert {report.outcome for report in reports.wait(8).values()} == {"done"}
        executor.close(wait=True)
        assert sorted(report.id for report in reports.all) == ids

    def test_a_job_that_fails_is_a_report(self, executor: Executor, reports: Reports) -> None:
        executor.start([self.failing("bad")])
        report = reports.one()
        assert report.outcome == "failed"
        assert report.error is not None
        assert report.error["kind"]
        assert report.error["message"]

    def test_a_report_has_its_times(self, executor: Executor, reports: Reports) -> None:
        executor.start([self.quick("timed")])
        report = reports.one()
        assert report.started is not None
        assert 0 < report.started <= report.completed

    def test_nothing_to_start_is_well(self, executor: Executor, reports: Reports) -> None:
        executor.start([])
        executor.recover([])
        executor.forget([])
        executor.close(wait=True)
        assert reports.all == []

    def test_a_report_may_start_the_successor(self, executor: Executor, reports: Reports) -> None:
        following = [self.quick(f"link{n}") for n in range(1, 5)]

        def answer(given: Sequence[Report]) -> None:
            executor.forget([report.id for report in given])
            if following:
                executor.start([following.pop(0)])

        reports.answer = answer
        executor.start([self.quick("link0")])
        reports.wait(5)
        assert [report.id for report in reports.all] == [f"link{n}" for n in range(5)]

    def test_a_stopped_job_is_cancelled(self, executor: Executor, reports: Reports) -> None:
        executor.start([self.endless("long"), self.quick("short")])
        reports.wait(1)
        executor.stop("long", 60)
        found = reports.wait(2)
        assert (found["short"].outcome, found["long"].outcome) == ("done", "cancelled")

    def test_a_stop_of_what_does_not_run_does_nothing(self, executor: Executor, reports: Reports) -> None:
        executor.start([self.quick("quick")])
        reports.wait(1)
        executor.stop("quick", 0)
        executor.stop("unheard", 0)
        executor.start([self.quick("other")])
        reports.wait(2)
        assert [report.outcome for report in reports.all] == ["done", "done"]

    def test_what_was_never_started_is_started_by_a_recovery(self, executor: Executor, reports: Reports) -> None:
        executor.recover([self.quick("again")])
        assert reports.one().outcome == "done"

    def test_a_new_executor_has_nothing_from_before(self, executor: Executor) -> None:
        assert list(executor.inventory()) == []

    def test_a_closed_executor_takes_up_nothing(self, executor: Executor, reports: Reports) -> None:
        executor.start([self.quick("first")])
        reports.wait(1)
        executor.close(wait=True)
        executor.close(wait=True)
        executor.start([self.quick("second")])
        executor.stop("second", 0)
        executor.forget(["first"])
        assert [report.id for report in reports.all] == ["first"]
