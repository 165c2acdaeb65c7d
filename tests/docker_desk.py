"""A desk to run containers from: an executor on a state folder and a real Docker Engine, and what it reported."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.docker_engine import DockerEngine
from tests.seams.executor_suite import PATIENCE_S, Reports, job
from then.abc import Job, Report, Secrets
from then.executors.docker.executor import DockerExecutor
from then.executors.outputs import Stream, open_output


class DockerDesk:
    """An executor on a state folder."""

    def __init__(self, folder: Path, engine: DockerEngine, *, forgets: bool = True, **settings: object) -> None:
        """`forgets`: reports are durable as soon as they are there, as an engine would have it."""
        self.folder = folder
        self.engine = engine
        self.reports = Reports()
        self.secrets: Secrets | None = None
        self._forgets = forgets
        self._settings = settings
        self._numbers = itertools.count()
        self.state.mkdir(exist_ok=True)
        self.executor = self._open()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def _open(self) -> DockerExecutor:
        executor = DockerExecutor(self.state, self.reports, root=self.folder, **self._settings)  # type: ignore[arg-type]
        if self._forgets:
            self.reports.answer = lambda reports: executor.forget([one.id for one in reports])
        return executor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.close(wait=True)
        for container in self.containers():
            self.engine.client.api.remove_container(container, force=True, v=True)

    def containers(self) -> list[str]:
        """The containers of this state, whatever they do."""
        label = f"then.state={self.executor.state}"
        return [one["Id"] for one in self.engine.client.api.containers(all=True, filters={"label": [label]})]

    def job(self, id: str, *args: str, **options: object) -> Job:
        given = {"target": self.engine.image, "host": self.engine.host, "network": "none", "args": list(args)}
        return job(id, **{**given, **options})

    def start(self, id: str, script: str, **options: object) -> None:
        self.executor.start([self.job(id, "sh", "-c", script, **options)])

    def run(self, *args: str, **options: object) -> Report:
        """Runs one to its end."""
        id = f"task{next(self._numbers)}x{self.folder.name[-6:]}".replace("_", "")
        self.executor.start([self.job(id, *args, **options)])
        return self.report_of(id)

    def report_of(self, id: str) -> Report:
        """The report on a task, once it is there."""
        found: dict[str, Report] = {}
        while id not in found:
            found = self.reports.wait(len(found) + 1)
        return found[id]

    def shell(self, script: str, **options: object) -> Report:
        return self.run("sh", "-c", script, **options)

    def output(self, id: str, stream: Stream = "out") -> bytes:
        file = open_output(self.state, id, stream)
        if file is None:
            return b""
        with file:
            return file.read()

    def is_there(self, id: str) -> bool:
        """Whether the container of a task is."""
        return bool(self.engine.client.api.containers(all=True, filters={"label": [f"then={id}"]}))

    def restart(self, again: Callable[[Self], object] = lambda desk: None) -> list[str]:
        """Another executor in place of this one, which takes up nothing more; gives what it finds."""
        self.executor.close(wait=True)
        again(self)
        self.executor = self._open()
        return list(self.executor.inventory())

    def wait_running(self, id: str) -> dict[str, Any]:
        """What the engine says of the container of a task, once it runs."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.engine.client.api.containers(filters={"label": [f"then={id}"]})
            if found:
                inspected: dict[str, Any] = self.engine.client.api.inspect_container(found[0]["Id"])
                return inspected
            assert all(report.id != id for report in self.reports.all), self.reports.all
        raise AssertionError(f"{id} does not run")

    def wait_output(self, id: str, data: bytes) -> None:
        """Until a task has written this."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.output(id) == data:
                return
            self.engine.client.api.ping()
        raise AssertionError(self.output(id))
