"""A Docker Engine that goes away and comes again, and one that does not see our files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine, lacking
from tests.dockerd import Dockerd, DockerdFailed, open_dockerd

# The SDK forgets to close its socket to an engine that does not answer.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed .socket:ResourceWarning")


@pytest.fixture
def desk(tmp_path: Path, own_dockerd: Dockerd) -> Iterator[DockerDesk]:
    client = docker.DockerClient(base_url=own_dockerd.host, version="auto")
    with DockerDesk(tmp_path, DockerEngine(own_dockerd.host, client)) as desk:
        yield desk
    client.close()


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
