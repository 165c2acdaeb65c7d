"""Containers of a real Docker Engine keep the law of executors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import DockerEngine
from tests.seams.executor_suite import ExecutorSuite, Reports, job
from then.abc import Executor, Job
from then.executors.docker.executor import DockerExecutor


class TestContainers(ExecutorSuite):
    engine: DockerEngine

    @pytest.fixture
    def executor(self, tmp_path: Path, reports: Reports, docker_engine: DockerEngine) -> Iterator[Executor]:
        self.engine = docker_engine
        executor = DockerExecutor(tmp_path, reports)
        yield executor
        executor.close(wait=True)
        for container in docker_engine.client.containers.list(
            all=True, filters={"label": f"then.state={executor.state}"}
        ):
            container.remove(force=True)

    def _job(self, id: str, *args: str) -> Job:
        return job(id, target=self.engine.image, args=list(args), network="none", host=self.engine.host)

    def quick(self, id: str) -> Job:
        return self._job(id, "/bin/true")

    def failing(self, id: str) -> Job:
        return self._job(id, "/bin/false")

    def endless(self, id: str) -> Job:
        # The first process of a container hears only those signals that it asked for.
        return self._job(id, "/bin/sh", "-c", "trap 'exit 1' TERM; sleep 1000000 & wait")
