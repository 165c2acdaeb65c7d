"""kill -9 of engines while their containers run, and of the Docker Engine itself: each end is there, none runs twice."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.crash.docker_lanes import SLOTS, outputs
from tests.docker_engine import DockerEngine
from tests.dockerd import Dockerd
from tests.simulation.checker import Story, check_replay
from then.core import facts as f
from then.executors.outputs import Stream, output_path
from then.journals.sqlite import open_sqlite

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 240
STATES = 10
KILLS = 5
"""Of each state: fifty in all."""
CONTAINERS = 6
STREAMS: tuple[Stream, ...] = ("out", "err")


def open_engine(folder: Path, host: str, count: int, pause: str = "0.1", key: str = "go") -> subprocess.Popen[str]:
    """An engine that has posted its flow, or taken it up."""
    argv = [sys.executable, "-m", "tests.crash.docker_lanes", str(folder), host, str(count), pause, key]
    with (folder / "errors").open("w") as errors:
        engine = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert engine.stdout is not None
    assert engine.stdout.readline() == "running\n", (folder / "errors").read_text()
    return engine


def resume(folder: Path) -> None:
    """Has the command take up what the last engine left, to its end."""
    argv = [sys.executable, "-m", "then", "--state", str(folder / "state"), "resume", "-j", str(SLOTS)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def finish(engine: subprocess.Popen[str]) -> str:
    """What it says at last."""
    with engine:
        assert engine.stdout is not None
        return engine.stdout.read()


def kill(engine: subprocess.Popen[str]) -> None:
    engine.kill()
    finish(engine)


class Starts:
    """How often the containers of each task were started, as their engine tells it."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._counts: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._news = threading.Condition()
        self._stream = engine.client.events(decode=True, filters={"type": "container", "event": "start"})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for event in self._stream:
            with self._news:
                actor = event["Actor"]
                self._seen.add(actor["ID"])
                self._counts[actor["Attributes"].get("then", "")] += 1
                self._news.notify_all()

    def counts(self) -> Counter[str]:
        """All up to now: a container of our own is started, and its start is waited for."""
        last = self._engine.client.containers.create(self._engine.image, ["/bin/true"])
        last.start()
        with self._news:
            assert self._news.wait_for(lambda: last.id in self._seen, PATIENCE_S)
        last.remove(force=True)
        return self._counts

    def close(self) -> None:
        self._stream.close()


@pytest.fixture(scope="module")
def starts(docker_engine: DockerEngine) -> Iterator[Starts]:
    with contextlib.closing(Starts(docker_engine)) as opened:
        yield opened


def ends(folder: Path) -> dict[str, tuple[int, f.Completed]]:
    """The number and the end of each container's task, after a look at the whole journal."""
    journal = open_sqlite(folder / "state", read_only=True)
    try:
        check_replay(journal)
        story = Story(journal)
        story.check_end()
        completed: dict[str, f.Completed] = {}
        for entry in journal.read():
            for fact in f.decode(entry.data).facts:
                if isinstance(fact, f.Completed):
                    assert fact.id not in completed, "one task ended twice"
                    completed[fact.id] = fact
    finally:
        journal.close()
    told = sorted(str(task.body["n"]) for task in story.records.values() if task.type == "noted")
    numbers = {id: task.body["n"] for id, task in story.records.items() if task.type == "one"}
    assert told == sorted(map(str, numbers.values())), "each end is answered once"
    return {id: (int(str(n)), completed[id]) for id, n in numbers.items()}


def output_text(state: Path, id: str, stream: Stream) -> str:
    path = output_path(state, id, stream)
    return "" if path is None else path.read_text()


def left(client: docker.DockerClient, ids: Iterator[str] | dict[str, Any]) -> list[str]:
    """Containers of these tasks that are still there, running or not."""
    there = client.containers.list(all=True, filters={"label": "then"})
    return [one.name for one in there if one.labels["then"] in set(ids)]


@pytest.mark.slow
@pytest.mark.parametrize("state", range(STATES))
def test_engines_killed_at_random_moments_lose_no_container_and_double_none(
    tmp_path: Path, docker_engine: DockerEngine, starts: Starts, state: int
) -> None:
    rng = random.Random(f"containers {state}")
    killed, flows = 0, 1
    while killed < KILLS:
        engine = open_engine(tmp_path, docker_engine.host, CONTAINERS, key=f"flow {flows}")
        try:
            engine.wait(timeout=rng.random() * 0.6)
            flows += 1  # It came to its end before: another flow is there to be killed.
        except subprocess.TimeoutExpired:
            killed += 1
        kill(engine)
    if state % 2:
        resume(tmp_path)
    else:
        last = open_engine(tmp_path, docker_engine.host, CONTAINERS, key=f"flow {flows}")
        assert (finish(last), last.returncode, (tmp_path / "errors").read_text()) == ("done\n", 0, "")
    found = ends(tmp_path)
    counts = starts.counts()
    assert len(found) == CONTAINERS * flows
    for id, (n, end) in found.items():
        assert end.result == {"said": n, "code": n % 3}
        assert (end.outcome, end.error and end.error["kind"]) == (("failed", "exit") if n % 3 else ("done", None))
        streams = [(tmp_path / "state" / "tasks" / id / name).read_text() for name in ("out", "err")]
        assert tuple(streams) == outputs(n)
        assert counts[id] == 1, f"{id} was started {counts[id]} times"
    assert left(docker_engine.client, found) == []


@pytest.mark.slow
@pytest.mark.parametrize("engine_lives", [True, False])
def test_a_docker_engine_that_is_killed_loses_no_task_and_its_flow_goes_on(
    tmp_path: Path, own_dockerd: Dockerd, *, engine_lives: bool
) -> None:
    """Its containers end with it (no live-restore): found again with their exit, or `lost`; a rule answers each."""
    engine = open_engine(tmp_path, own_dockerd.host, 6, "2")
    with contextlib.closing(docker.DockerClient(base_url=own_dockerd.host)) as client:
        begun = {"type": "container", "event": "start", "label": "then"}
        with contextlib.closing(client.events(since=1, decode=True, filters=begun)) as events:
            next(events)
        own_dockerd.kill()
        if not engine_lives:
            kill(engine)
        own_dockerd.start()
        if not engine_lives:
            engine = open_engine(tmp_path, own_dockerd.host, 6, "2")

        assert (finish(engine), engine.returncode) == ("done\n", 0), (tmp_path / "errors").read_text()
        found = ends(tmp_path)
        kinds = Counter(end.error and end.error["kind"] for _, end in found.values())
        assert set(kinds) <= {None, "exit", "lost"}, "\n".join(str(end.error) for _, end in found.values())
        for id, (n, end) in found.items():
            streams = [output_text(tmp_path / "state", id, name) for name in STREAMS]
            if end.error is None or end.error["kind"] == "exit":
                assert end.result == {"said": n, "code": n % 3}
                assert tuple(streams) == outputs(n)
            else:
                assert [whole.startswith(one) for one, whole in zip(streams, outputs(n), strict=True)] == [True, True]
        assert left(client, found) == []
