"""A Docker Engine that goes away and comes again, and one that does not see our files."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine, lacking
from tests.dockerd import Dockerd, DockerdFailed, open_dockerd
from tests.seams.executor_suite import PATIENCE_S
from then.core.tasks import Body
from then.executors.docker.calls import Calls
from then.executors.docker.container import Container
from then.executors.docker.host import Host
from then.executors.docker.refused import Unreachable

# The SDK forgets to close its socket to an engine that does not answer.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed .socket:ResourceWarning")


@pytest.fixture
def desk(tmp_path: Path, own_dockerd: Dockerd) -> Iterator[DockerDesk]:
    client = docker.DockerClient(base_url=own_dockerd.host, version="auto")
    with DockerDesk(tmp_path, DockerEngine(own_dockerd.host, client)) as desk:
        yield desk
    client.close()


@pytest.fixture
def steady(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[DockerDesk]:
    """A desk at an engine that stays there."""
    with DockerDesk(tmp_path, docker_engine) as desk:
        yield desk


@pytest.mark.slow
def test_what_ran_on_an_engine_that_was_killed_is_lost_and_what_is_new_is_run(
    desk: DockerDesk, own_dockerd: Dockerd
) -> None:
    desk.start("victim", "echo before; sleep 1000000")
    desk.wait_output("victim", b"before\n")
    desk.wait_running("victim")  # The engine has written down that it runs.
    own_dockerd.kill()
    desk.start("later", "echo after")
    assert desk.reports.all == []
    own_dockerd.start()
    victim, later = desk.report_of("victim"), desk.report_of("later")
    assert victim.error is not None
    assert (victim.outcome, victim.error["kind"]) == ("failed", "lost")
    assert own_dockerd.host in str(victim.error["message"])
    assert desk.output("victim") == b"before\n"
    assert (later.outcome, desk.output("later")) == ("done", b"after\n")
    desk.executor.close(wait=True)
    assert desk.containers() == []


@pytest.mark.slow
def test_a_task_on_an_engine_that_is_away_can_be_cancelled_and_its_container_goes_when_the_engine_is_back(
    desk: DockerDesk, own_dockerd: Dockerd
) -> None:
    desk.start("held", "echo up; sleep 1000000")
    desk.wait_output("held", b"up\n")
    desk.wait_running("held")  # The engine has written down that it runs.
    own_dockerd.kill()
    desk.executor.stop("held", 0)
    own_dockerd.start()
    assert desk.report_of("held").outcome == "cancelled"


@pytest.mark.slow
def test_a_restart_of_the_executor_while_the_engine_is_away_loses_nothing(
    desk: DockerDesk, own_dockerd: Dockerd
) -> None:
    desk.shell("true")
    own_dockerd.kill()
    assert desk.restart() == []
    desk.executor.recover([])
    desk.start("new", "echo new")
    own_dockerd.start()
    assert desk.report_of("new").outcome == "done"


@pytest.mark.slow
def test_what_was_about_to_start_when_its_engine_was_killed_is_not_started_again(
    desk: DockerDesk, own_dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It runs on below a killed engine, whose files say `created`: the next engine started it a second time.
    starts, start = list[str](), Calls.start

    def start_in_vain(calls: Calls, id: str) -> None:
        starts.append(id)
        own_dockerd.kill()
        start(calls, id)

    monkeypatch.setattr(Calls, "start", start_in_vain)
    desk.start("doubtful", "echo run")
    while not starts:
        desk.output("doubtful")
    monkeypatch.setattr(Calls, "start", start)
    own_dockerd.start()
    report = desk.report_of("doubtful")
    assert report.error is not None
    assert report.error["kind"] == "lost"
    assert "went away while it was being started" in str(report.error["message"])
    assert desk.output("doubtful") == b""


def test_what_was_about_to_start_when_its_connection_broke_is_started(
    steady: DockerDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, start = list[str](), Calls.start

    def start_late(calls: Calls, id: str) -> None:
        starts.append(id)
        if len(starts) == 1:
            raise Unreachable("broken")
        start(calls, id)

    monkeypatch.setattr(Calls, "start", start_late)
    steady.start("later", "echo run")
    assert steady.report_of("later").outcome == "done"
    assert steady.output("later") == b"run\n"
    assert len(starts) == 2


@pytest.fixture
def blind_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    """An engine that sees another file system where our state is, as one on another machine would."""
    real = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or real is None or shutil.which("unshare") is None:
        lacking("an engine with a file system of its own takes root, dockerd and unshare")
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    program = tmp_path / "bin" / "dockerd"
    program.write_text(
        f'#!/bin/sh\nexec unshare -m sh -c \'mount -t tmpfs none {tmp_path}/work && exec {real} "$@"\' dockerd "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    try:
        with open_dockerd() as dockerd:
            client = docker.DockerClient(base_url=dockerd.host, version="auto")
            yield DockerEngine(dockerd.host, client)
            client.close()
    except DockerdFailed as error:
        lacking(f"no dockerd of one's own: {error}")


@pytest.mark.slow
@pytest.mark.containers
def test_an_engine_that_does_not_see_our_files_gets_copies_and_gives_them_back(
    blind_engine: DockerEngine, tmp_path: Path
) -> None:
    with DockerDesk(tmp_path / "work", blind_engine) as desk:
        script = (
            'cat $THEN_TASK; echo \'{"f": "a/x"}\' > $THEN_RESULT; mkdir $THEN_ARTIFACTS/a; echo page > $THEN_ARTIFACTS/a/x;'
            " ln -s /etc/passwd $THEN_ARTIFACTS/link; echo '{}' > $THEN_MESSAGES; id -u >&2"
        )
        for options in ({}, {"user": 4711}, {"read_only": "yes"}):
            report = desk.shell(script, file_results=["f"], **options)
            assert (report.outcome, report.error) == ("done", None)
            folder = desk.state / "tasks" / report.id
            assert b'"type":"work"' in desk.output(report.id)
            assert (folder / "artifacts" / "a" / "x").read_text() == "page\n"
            assert not os.path.lexists(folder / "artifacts" / "link")
            assert (folder / "messages.jsonl").read_text() == "{}\n"
            assert report.result is not None
            assert report.result["files"]["f"]["size"] == 5
        desk.start("far", "trap 'echo {} > $THEN_RESULT; exit 2' TERM; echo one; sleep 1000000 & wait")
        desk.wait_output("far", b"one\n")
        container = desk.wait_running("far")["Id"]
        desk.restart(lambda desk: desk.engine.client.api.kill(container, "TERM"))
        desk.executor.recover([desk.job("far", "never")])
        assert desk.report_of("far").result == {"code": 2}
        desk.executor.close(wait=True)
        assert desk.containers() == []
        assert blind_engine.client.volumes.list() == []


@pytest.mark.slow
def test_an_engine_that_goes_away_is_told_once_and_when_it_is_back(tmp_path: Path, own_dockerd: Dockerd) -> None:
    told: list[str] = []
    client = docker.DockerClient(base_url=own_dockerd.host, version="auto")
    with DockerDesk(tmp_path, DockerEngine(own_dockerd.host, client), notice=told.append) as desk:
        desk.start("victim", "echo up; sleep 1000000")
        desk.wait_output("victim", b"up\n")
        desk.wait_running("victim")  # The engine has written down that it runs.
        own_dockerd.kill()
        while not told:
            desk.output("victim")
        own_dockerd.start()
        desk.report_of("victim")
    client.close()
    away, back = told
    assert away.startswith(f"docker: {own_dockerd.host} cannot be reached: ")
    assert back == f"docker: {own_dockerd.host} is there again"


def test_containers_of_an_engine_without_a_state_folder_go_with_it(tmp_path: Path, docker_engine: DockerEngine) -> None:
    with DockerDesk(tmp_path, docker_engine, outlives=False) as desk:
        desk.start("brief", "echo up; sleep 1000000")
        desk.wait_output("brief", b"up\n")
        desk.executor.close(wait=True)
        assert desk.containers() == []


# -- connections that break alone ---------------------------------------------------------------

TWO_LINES = "trap 'echo two; exit 4' TERM; echo one; sleep 1000000 & wait"


class Streams:
    """The streams that an executor opens, by the last word of their paths: `events`, `attach`, `logs`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened: list[tuple[str, socket.socket]] = []
        self._news = threading.Condition()
        asked = Host.stream

        def stream(
            host: Host, method: str, path: str, query: dict[str, str], body: Body | None = None
        ) -> socket.socket:
            link = asked(host, method, path, query, body)
            with self._news:
                self._opened.append((path.rpartition("/")[2], link))
                self._news.notify_all()
            return link

        monkeypatch.setattr(Host, "stream", stream)

    def of(self, kind: str) -> list[socket.socket]:
        return [link for one, link in self._opened if one == kind]

    def wait(self, kind: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.of(kind), PATIENCE_S)

    def cut(self, kind: str) -> None:
        """The only one of its kind ends, for both sides."""
        (link,) = self.of(kind)
        link.shutdown(socket.SHUT_RDWR)


def test_a_container_that_is_being_started_while_all_are_asked_for_is_started_once_and_read_once(
    steady: DockerDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was found `created`, and begun a second time beside: both streams of its output were written.
    monkeypatch.setattr("then.executors.docker.host.WORKERS_MAX", 2)  # One is at its start, one does all else in turn.
    streams, starts, listed = Streams(monkeypatch), list[str](), threading.Event()
    ask_for_all, start = Host._ask_for_all, Calls.start

    def ask(host: Host) -> None:
        ask_for_all(host)
        if len(streams.of("events")) > 1:
            listed.set()

    def start_late(calls: Calls, id: str) -> None:
        starts.append(id)
        if len(starts) == 1:
            streams.cut("events")
            assert listed.wait(PATIENCE_S)
            steady.start("other", "true")
            steady.report_of("other")
        start(calls, id)

    monkeypatch.setattr(Host, "_ask_for_all", ask)
    monkeypatch.setattr(Calls, "start", start_late)
    steady.start("one", "echo one; exit 4")
    report = steady.report_of("one")
    assert (report.outcome, report.result) == ("failed", {"code": 4})
    assert steady.output("one") == b"one\n"
    assert starts.count(starts[0]) == 1
    assert len(streams.of("attach")) == 2


def test_what_a_broken_stream_hid_is_collected_where_it_ends_before_it_is_followed_again(
    steady: DockerDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, asked, heard = Streams(monkeypatch), list[Container](), threading.Event()
    died, follow = Container.died, Container._follow_again

    def hear(container: Container, code: int) -> None:
        died(container, code)
        heard.set()

    def follow_late(container: Container) -> None:
        asked.append(container)
        if len(asked) == 1:
            steady.engine.client.api.kill(container.id, "TERM")
        assert heard.wait(PATIENCE_S)
        follow(container)

    monkeypatch.setattr(Container, "died", hear)
    monkeypatch.setattr(Container, "_follow_again", follow_late)
    steady.start("long", TWO_LINES)
    steady.wait_output("long", b"one\n")
    streams.cut("attach")
    streams.cut("events")
    report = steady.report_of("long")
    assert (report.outcome, report.result) == ("failed", {"code": 4})
    assert steady.output("long") == b"one\ntwo\n"


def test_a_stream_that_breaks_alone_is_opened_again(steady: DockerDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a proxy breaks one on which nothing came for long; what came later was lost.
    streams = Streams(monkeypatch)
    steady.start("long", TWO_LINES)
    steady.wait_output("long", b"one\n")
    streams.cut("attach")
    streams.wait("logs")
    steady.engine.client.api.kill(steady.wait_running("long")["Id"], "TERM")
    report = steady.report_of("long")
    assert (report.outcome, report.result) == ("failed", {"code": 4})
    assert steady.output("long") == b"one\ntwo\n"
