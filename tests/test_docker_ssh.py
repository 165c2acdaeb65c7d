"""A Docker Engine that is reached by ssh: with a server, keys and a client's configuration made for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine, lacking
from tests.seams.executor_suite import PATIENCE_S
from tests.test_docker_outage import blind_engine
from tests.test_docker_tls import free_port
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import Dialled, address_of, broken, connect

__all__ = ["blind_engine"]
pytestmark = [pytest.mark.containers, pytest.mark.slow]
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
ME = pwd.getpwuid(os.geteuid()).pw_name

SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 1000
SetEnv DOCKER_HOST={docker}
"""
CLIENT = """\
IdentityFile {folder}/{key}
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking yes
"""


class Server:
    """An ssh server at whose `docker` an engine is, and an `ssh` that knows it, for those who have its PATH."""

    def __init__(self, folder: Path, program: str, docker: str) -> None:
        self.folder = folder
        for name in ("host", "user", "stranger"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True, capture_output=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Where root runs it, it looks for this.
        for _ in range(3):
            # Somebody may take the port before it does.
            self.port = free_port()
            (folder / "server").write_text(SERVER.format(port=self.port, folder=folder, docker=docker))
            with (folder / "said").open("ab") as said:
                words = [program, "-D", "-e", "-f", str(folder / "server")]
                self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            if self._answers():
                break
        else:
            lacking(f"no ssh server of one's own: {(folder / 'said').read_text()}")
        key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")
        (folder / "bin").mkdir()
        (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
        (folder / "bin" / "ssh").chmod(0o755)
        self.shows("user")

    def shows(self, key: str) -> None:
        """From now on we are known by this key."""
        (self.folder / "client").write_text(CLIENT.format(folder=self.folder, key=key))

    def _answers(self) -> bool:
        while self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 60) as link:
                if link.recv(4) == b"SSH-":
                    return True
        return False

    @property
    def host(self) -> str:
        return f"ssh://{ME}@127.0.0.1:{self.port}"

    def connections(self) -> list[int]:
        """The clients that run: their configuration stands in their command line."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/client".encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def wait_gone(self, desk: DockerDesk) -> None:
        """Each connection goes with what it was for; who brings standard input sees the end of it a moment later."""
        end = time.monotonic() + PATIENCE_S
        while self.connections():
            assert time.monotonic() < end, self.connections()
            desk.engine.client.api.ping()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def open_server(folder: Path, docker: str) -> Iterator[Server]:
    program = shutil.which("sshd", path=SBIN)
    if program is None or shutil.which("ssh") is None:
        lacking("an engine behind ssh takes sshd and ssh (Debian: openssh-server)")
    if shutil.which("docker", path="/usr/local/bin:/usr/bin:/bin") is None:
        lacking("an engine behind ssh takes the command docker, where ssh looks for it")
    folder.mkdir()
    with contextlib.closing(Server(folder, program, docker)) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with open_server(tmp_path / "ssh", docker_engine.host) as server:
        monkeypatch.setenv("PATH", str(server.folder / "bin"), prepend=os.pathsep)
        yield server


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("ssh://Box", ("far.example", "2222", "somebody")),
        ("ssh://me@Box:77", ("far.example", "77", "me")),
        ("ssh://[fe80::1]", ("fe80::1", "22", "")),
        ("ssh://me@[::1]:2222/", ("::1", "2222", "me")),
    ],
)
def test_ssh_is_told_what_the_address_says_and_its_configuration_the_rest(
    host: str, told: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("ssh")
    if program is None:
        lacking("an engine behind ssh takes ssh (Debian: openssh-client)")
    config = tmp_path / "config"
    config.write_text("Host Box\nHostName far.example\nPort 2222\nUser somebody\n")
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec {program} -F {config} -G "$@"\n')  # It says what it would do.
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with contextlib.closing(connect(address_of(host, {}))) as link, link.makefile() as lines:
        said = dict(line.rstrip("\n").partition(" ")[::2] for line in lines)
    assert (said["hostname"], said["port"]) == told[:2]
    assert said["user"] == (told[2] or ME)


def test_an_address_by_ssh_that_names_a_socket_is_refused_for_another_would_be_taken() -> None:
    with pytest.raises(Refused, match="is no address of a Docker engine"):
        address_of("ssh://me@box/run/other.sock", {})


def test_a_greeting_is_no_reason_for_what_broke_later() -> None:
    link = Dialled(["sh", "-c", "echo 'all use is logged' >&2; echo; exec sleep 1000000"])
    assert link.recv(1) == b"\n"
    assert str(broken(link, TimeoutError("timed out"))) == "timed out"


def test_where_ssh_cannot_be_started_its_engine_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    address = address_of("ssh://box", {})
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unreachable, match="No such file or directory"):
        connect(address)


def test_containers_run_by_ssh_with_all_they_write(tmp_path: Path, server: Server, docker_engine: DockerEngine) -> None:
    with DockerDesk(tmp_path, docker_engine) as desk:
        host = server.host
        report = desk.run("sh", "-c", "cat; seq 100000; echo err >&2; exit 3", host=host, stdin="in\n" * 50_000)
        assert (report.outcome, report.result) == ("failed", {"code": 3}), report.error
        assert desk.output(report.id) == b"in\n" * 50_000 + b"".join(b"%d\n" % n for n in range(1, 100_001))
        assert desk.output(report.id, "err") == b"err\n"
        hosts = {"far": host, "near": docker_engine.host}
        script = "echo up; exec sleep 1000000"
        desk.executor.start([desk.job(id, "sh", "-c", script, host=at) for id, at in hosts.items()])
        for id in hosts:
            desk.wait_output(id, b"up\n")
        assert desk.restart() == ["far", "near"]
        desk.executor.recover([desk.job(id, "never", host=at) for id, at in hosts.items()])
        for id in hosts:
            desk.executor.stop(id, 0)
            assert desk.report_of(id).outcome == "cancelled"
        desk.executor.close(wait=True)
        assert desk.containers() == []
        server.wait_gone(desk)


def test_a_key_that_is_not_let_in_is_told_as_ssh_says_it(
    tmp_path: Path, server: Server, docker_engine: DockerEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    server.shows("stranger")
    with DockerDesk(tmp_path, docker_engine, patience_s=0) as desk:
        report = desk.run("true", host=server.host)
        assert report.error is not None
        assert report.error["kind"] == "engine"
        said = str(report.error["message"])
        assert f"{server.host} cannot be reached: " in said, said
        assert "Permission denied (publickey)" in said, said
        desk.executor.close(wait=True)
        server.wait_gone(desk)
    assert capfd.readouterr().err == "", "what ssh says is not for the terminal"


def test_boxes_go_by_ssh_to_an_engine_that_does_not_see_our_files_and_come_back(
    tmp_path: Path, blind_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_server(tmp_path / "ssh", blind_engine.host) as server:
        monkeypatch.setenv("PATH", str(server.folder / "bin"), prepend=os.pathsep)
        with DockerDesk(tmp_path / "work", blind_engine) as desk:
            script = "cat $THEN_TASK; echo '{\"x\": 1}' > $THEN_RESULT; echo page > $THEN_ARTIFACTS/x"
            report = desk.run("sh", "-c", script, host=server.host)
            assert (report.outcome, report.result) == ("done", {"x": 1, "code": 0}), report.error
            assert b'"type":"work"' in desk.output(report.id)
            assert (desk.state / "tasks" / report.id / "artifacts" / "x").read_text() == "page\n"
            wrong = desk.run("true", host=server.host, target="nowhere:1").error
            assert wrong is not None
            assert wrong["kind"] == "image", wrong
            desk.executor.close(wait=True)
            assert desk.containers() == []
            server.wait_gone(desk)
