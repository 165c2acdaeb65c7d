"""What answers at the address of a Docker engine and is none: tasks for it fail, and say what came."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest

from tests.seams.executor_suite import Reports, job
from then.abc import Job
from then.executors.docker.endings import seen_us
from then.executors.docker.executor import DockerExecutor
from then.executors.docker.host import WORKERS_MAX

# The SDK forgets to close its socket to an engine that does not answer.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed .socket:ResourceWarning")


class Stranger(BaseHTTPRequestHandler):
    """A server that says of itself that it is a Docker engine, and knows no more than that."""

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self._answer(b'{"ApiVersion": "1.41"}')
        else:
            self.send_response(200)
            self.end_headers()
            self.rfile.read()  # A stream of events without any; until the other side goes.

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(b"<p>Welcome</p>")

    def log_message(self, format: str, *args: object) -> None: ...

    def _answer(self, text: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def server() -> type[Stranger]:
    return Stranger


@pytest.fixture
def stranger(server: type[Stranger]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), server) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_an_answer_that_nobody_foresaw_fails_its_task_and_no_worker_is_lost_by_it(
    tmp_path: Path, stranger: str
) -> None:
    reports, count = Reports(), 2 * WORKERS_MAX
    executor = DockerExecutor(tmp_path, reports)
    try:
        executor.start([job(f"task{n}", target="busybox", host=stranger) for n in range(count)])
        found = reports.wait(count)
    finally:
        executor.close(wait=True)
    errors = [one.error for one in found.values() if one.outcome == "failed"]
    assert len(errors) == count
    for error in errors:
        assert error is not None
        assert error["kind"] == "engine"
        assert str(error["message"]).startswith(f"docker: {stranger}: an error that nobody foresaw: DecodeError: ")


def test_an_act_upon_a_container_fails_by_such_an_answer_and_does_not_ask_for_ever(
    tmp_path: Path, stranger: str
) -> None:
    reports = Reports()
    executor = DockerExecutor(tmp_path, reports)
    try:
        executor.start([job("act", target="web", host=stranger, action="exec", args=["true"])])
        report = reports.one()
    finally:
        executor.close(wait=True)
    assert report.error is not None
    assert (report.outcome, report.error["kind"]) == ("failed", "engine")


class Overrun(Stranger):
    """As a proxy before an engine that is overrun, or has gone: it lets everybody in."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(b"Bad Gateway\n", 502)


@pytest.mark.parametrize("server", [Overrun])
def test_an_engine_that_is_there_and_never_does_as_asked_is_given_up_and_named(tmp_path: Path, stranger: str) -> None:
    reports = Reports()
    executor = DockerExecutor(tmp_path, reports, patience_s=0)
    try:
        executor.start([job("one", target="busybox", host=stranger)])
        report = reports.one()
        executor.start([job("two", target="web", host=stranger, action="exec", args=["true"])])
        second = reports.wait(2)["two"]
    finally:
        executor.close(wait=True)
    for one in (report, second):
        assert one.error == {
            "kind": "engine",
            "message": f"docker: {stranger} is there, and does not do what it is asked: it answers 502: Bad Gateway; is it "
            "an engine, or something before one?",
        }


class Recorder(Stranger):
    """Does as it is asked, and notes what that was; connections may be kept."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]]

    def do_GET(self) -> None:
        if self.path.endswith("/json"):
            self.do_POST()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        about = b'{"Id": "of an engine", "State": {"ExitCode": 0}, "StatusCode": 0, "Running": false, "ExitCode": 0}'
        self._answer(b"" if self.path.endswith("/start") else about)

    def do_DELETE(self) -> None:
        self.do_POST()


@pytest.mark.parametrize("server", [Recorder])
def test_the_name_of_a_container_is_a_name_whatever_it_holds(
    tmp_path: Path, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Recorder, "seen", seen, raising=False)
    name = "x/wait HTTP/1.1\r\nHost: docker\r\n\r\nDELETE /v1.41/containers/other?v=1&force=1 HTTP/1.1\r\nX: "
    actions = ("start", "wait", "stop", "exec", "remove")
    reports = Reports()
    executor = DockerExecutor(tmp_path, reports)
    try:
        executor.start(
            [job(action, target=name, host=stranger, action=action, args=["true"]) for action in actions],
        )
        found = reports.wait(len(actions))
    finally:
        executor.close(wait=True)
    assert {one.outcome for one in found.values()} == {"done"}
    place = f"/v1.41/containers/{quote(name, safe='')}"
    of_engine = "of%20an%20engine"
    assert sorted(seen) == sorted(
        [
            f"GET {place}/json",
            f"POST /v1.41/containers/{of_engine}/start",
            f"POST {place}/wait?",
            f"POST {place}/stop?t=10",
            f"GET {place}/json",
            f"POST {place}/exec",
            f"POST /v1.41/exec/{of_engine}/start?",
            f"GET /v1.41/exec/{of_engine}/json",
            f"DELETE {place}?v=1&force=1",
        ]
    )


class Elsewhere(Stranger):
    """As an engine to which a path is not as it should be."""

    def do_DELETE(self) -> None:
        self._answer(b"Moved Permanently\n", 301)


@pytest.mark.parametrize("server", [Elsewhere])
def test_an_answer_that_leads_elsewhere_is_not_taken_for_a_yes(tmp_path: Path, stranger: str) -> None:
    assert refused_by(tmp_path, job("act", target="..", host=stranger, action="remove")) == (
        "docker: it answers 301, and does nothing: Moved Permanently"
    )


class Busy(Stranger):
    """As an engine whose container is paused; what it says first is no HTTP, as where something broke on the way."""

    has_spoken: ClassVar[bool]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if type(self).has_spoken:
            self._answer(b'{"message": "Container web is paused, unpause the container before exec"}', 409)
        else:
            type(self).has_spoken = True
            self.wfile.write(b"hello\r\n\r\n")


@pytest.mark.parametrize("server", [Busy])
def test_a_command_is_asked_for_again_after_no_http_and_fails_where_its_container_is_paused(
    tmp_path: Path, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Busy, "has_spoken", False, raising=False)
    assert refused_by(tmp_path, job("act", target="web", host=stranger, action="exec", args=["true"])) == (
        f"docker: {stranger}: what the container does now does not allow for it: Container web is paused, unpause the "
        "container before exec"
    )


def refused_by(folder: Path, asked: Job) -> str:
    """What is told of a task that an engine says no to."""
    reports = Reports()
    executor = DockerExecutor(folder, reports)
    try:
        executor.start([asked])
        report = reports.one()
    finally:
        executor.close(wait=True)
    assert report.error is not None
    assert (report.outcome, report.error["kind"]) == ("failed", "engine")
    return str(report.error["message"])


def test_what_ended_by_a_clock_that_is_behind_ours_did_not_end_before_it_began() -> None:
    # The engine's clock was hours behind; its stream broke, and the end was not heard of: the task took less than nothing.
    one = job("slow")
    started = 1_700_000_000_000_000
    assert seen_us(one, "2023-11-14T20:13:20.000000001Z", started) == started
    assert seen_us(one, "2023-11-14T22:13:21.5Z", started) == started + 1_500_000
