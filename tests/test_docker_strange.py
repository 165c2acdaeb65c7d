"""What answers at the address of a Docker engine and is none: tasks for it fail, and say what came."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.seams.executor_suite import Reports, job
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
