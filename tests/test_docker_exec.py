"""Commands inside a container that somebody else made, which we end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine
from tests.seams.executor_suite import PATIENCE_S
from then.abc import Job
from then.executors.docker.actions import UNREAD
from then.executors.docker.folders import TaskFolder


@pytest.fixture
def desk(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[DockerDesk]:
    with DockerDesk(tmp_path, docker_engine) as desk:
        assert desk.run("sleep", "1000000", name=warm(desk), action="start").outcome == "done"
        yield desk


def warm(desk: DockerDesk) -> str:
    """The name of a container that is there for commands."""
    return f"warm-{desk.executor.state}"


def command(desk: DockerDesk, id: str, script: str) -> Job:
    return desk.job(id, "sh", "-c", script, target=warm(desk), action="exec")


def inside(desk: DockerDesk) -> list[str]:
    """What sleeps in the container: beside it may be what was to send a signal."""
    top: dict[str, list[list[str]]] = desk.engine.client.api.top(warm(desk))
    return sorted(row[-1] for row in top["Processes"] if row[-1].startswith("sleep "))


def wait_inside(desk: DockerDesk, *words: str) -> None:
    """Until these sleep there: a shell that says that it is there becomes what it says a moment later."""
    end = time.monotonic() + PATIENCE_S
    while inside(desk) != sorted(words):
        assert time.monotonic() < end, inside(desk)


def test_a_command_that_is_stopped_may_say_goodbye_and_is_gone_with_all_that_it_began(desk: DockerDesk) -> None:
    desk.executor.start(
        [
            command(
                desk,
                "polite",
                "trap 'echo bye; exit 7' TERM; sleep 1000001 & sleep 1000002 & echo up; while :; do wait; done",
            )
        ]
    )
    desk.executor.start([command(desk, "other", "echo up; exec sleep 1000003")])
    desk.wait_output("polite", b"up\n")
    desk.wait_output("other", b"up\n")
    desk.executor.stop("polite", 1000)
    report = desk.report_of("polite")
    assert (report.outcome, report.result) == ("cancelled", {"code": 7})
    assert desk.output("polite") == b"up\nbye\n"
    wait_inside(desk, "sleep 1000000", "sleep 1000003")
    desk.executor.stop("other", 0)
    assert desk.report_of("other").result == {"code": -9}
    wait_inside(desk, "sleep 1000000")


def test_a_command_that_does_not_react_is_killed_when_its_time_is_over(desk: DockerDesk) -> None:
    desk.executor.start([command(desk, "deaf", "trap '' TERM; echo up; while :; do sleep 1000001; done")])
    desk.wait_output("deaf", b"up\n")
    desk.executor.stop("deaf", 0.1)
    report = desk.report_of("deaf")
    assert (report.outcome, report.result) == ("cancelled", {"code": -9})
    wait_inside(desk, "sleep 1000000")


def test_a_command_from_before_is_stopped_too(desk: DockerDesk) -> None:
    desk.executor.start([command(desk, "old", "echo up; exec sleep 1000001")])
    desk.wait_output("old", b"up\n")
    desk.restart()
    desk.executor.recover([command(desk, "old", "never")])
    desk.executor.stop("old", 0)
    assert desk.report_of("old").outcome == "cancelled"
    wait_inside(desk, "sleep 1000000")


def test_a_command_that_cannot_be_reached_inside_is_given_up_and_that_is_said(desk: DockerDesk) -> None:
    desk.executor.start([command(desk, "alone", "echo up; exec sleep 1000001")])
    desk.wait_output("alone", b"up\n")
    assert desk.run("rm", "/bin/sh", "/bin/grep", target=warm(desk), action="exec").outcome == "done"
    desk.executor.stop("alone", 0)
    report = desk.report_of("alone")
    assert report.outcome == "cancelled"
    assert report.error is not None
    assert "it goes on in its container" in str(report.error["message"])
    wait_inside(desk, "sleep 1000000", "sleep 1000001")


def test_a_command_that_wrote_while_nobody_read_is_lost_for_its_code_is_not_kept(desk: DockerDesk) -> None:
    assert desk.run("mkfifo", "/go", target=warm(desk), action="exec").outcome == "done"
    desk.executor.start([command(desk, "unread", "echo up; read line < /go; echo more; exit 0")])
    desk.wait_output("unread", b"up\n")
    desk.restart()
    assert desk.run("sh", "-c", "echo > /go", target=warm(desk), action="exec").outcome == "done"
    noted = TaskFolder(desk.state, "unread").noted()
    assert noted is not None
    end = time.monotonic() + PATIENCE_S
    while desk.engine.client.api.exec_inspect(noted[1])["ExitCode"] != UNREAD:
        assert time.monotonic() < end
    desk.executor.recover([command(desk, "unread", "never")])
    report = desk.report_of("unread")
    assert report.error is not None
    assert (report.outcome, report.error["kind"]) == ("failed", "lost")
