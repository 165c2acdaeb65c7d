"""Processes under a keeper keep the law of executors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seams.executor_suite import ExecutorSuite, Reports, job
from then.abc import Executor, Job
from then.executors.process import ProcessExecutor


class TestProcesses(ExecutorSuite):
    @pytest.fixture
    def executor(self, tmp_path: Path, reports: Reports) -> Iterator[Executor]:
        executor = ProcessExecutor(tmp_path, reports)
        yield executor
        executor.close(wait=True)

    def quick(self, id: str) -> Job:
        return job(id, argv=["true"])

    def failing(self, id: str) -> Job:
        return job(id, argv=["false"])

    def endless(self, id: str) -> Job:
        return job(id, argv=["sleep", "infinity"])
