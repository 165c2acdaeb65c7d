"""A Docker Engine that is reached by TLS, and lets nobody in who has no certificate of its."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine, lacking
from tests.dockerd import DockerdFailed, open_dockerd

pytestmark = pytest.mark.containers


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """`ca.pem`, and signed by it what the engine shows, and what we show to it."""
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests", "-days", "2")
    for name, use in (("server", "serverAuth"), ("", "clientAuth")):
        stem = f"{name}-" if name else ""
        openssl(folder, "req", *key, "-keyout", f"{stem}key.pem", "-out", "asked", "-subj", f"/CN={name or 'us'}")
        (folder / "extensions").write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={use}\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
        openssl(folder, "x509", "-req", "-in", "asked", "-out", f"{stem}cert.pem", *signed)


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        lacking("certificates take openssl")
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def engine(certificates: Path) -> Iterator[DockerEngine]:
    """Its client takes the socket in its folder; what we test takes the other way."""
    at = certificates
    files = [f"--tlscacert={at}/ca.pem", f"--tlscert={at}/server-cert.pem", f"--tlskey={at}/server-key.pem"]
    with contextlib.ExitStack() as stack:
        for port in (free_port(), free_port(), 0):
            if not port:
                lacking("no dockerd of one's own with TLS could be started")
            # Somebody may take the port before it does.
            with contextlib.suppress(DockerdFailed):
                options = [f"--host=tcp://127.0.0.1:{port}", "--tlsverify", *files]
                dockerd = stack.enter_context(open_dockerd(options))
                break
        client = stack.enter_context(contextlib.closing(docker.DockerClient(base_url=dockerd.host, version="auto")))
        yield DockerEngine(f"https://127.0.0.1:{port}", client)


@pytest.fixture
def desk(tmp_path: Path, engine: DockerEngine) -> Iterator[DockerDesk]:
    with DockerDesk(tmp_path, engine, patience_s=0) as desk:
        yield desk


@pytest.mark.slow
@pytest.mark.parametrize("is_by_setting", [False, True])
def test_containers_run_by_tls_with_all_they_write(
    desk: DockerDesk, certificates: Path, monkeypatch: pytest.MonkeyPatch, *, is_by_setting: bool
) -> None:
    """`https://` asks for TLS, and so does DOCKER_TLS_VERIFY for `tcp://`."""
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    host = desk.engine.host
    if is_by_setting:
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        host = host.replace("https:", "tcp:")
    report = desk.run("sh", "-c", "cat; seq 100000; echo err >&2; exit 3", host=host, stdin="in\n")
    assert (report.outcome, report.result) == ("failed", {"code": 3}), report.error
    assert desk.output(report.id) == b"in\n" + b"".join(b"%d\n" % n for n in range(1, 100_001))
    assert desk.output(report.id, "err") == b"err\n"
    desk.executor.start([desk.job("held", "sh", "-c", "echo up; exec sleep 1000000", host=host)])
    desk.wait_output("held", b"up\n")
    assert desk.restart() == ["held"]
    desk.executor.recover([desk.job("held", "never", host=host)])
    desk.executor.stop("held", 0)
    assert desk.report_of("held").outcome == "cancelled"
    desk.executor.close(wait=True)
    assert desk.containers() == []


@pytest.mark.slow
@pytest.mark.parametrize("lacks", ["a certificate of ours", "a trusted one of theirs"])
def test_without_the_right_certificates_nothing_runs_and_that_is_said(
    desk: DockerDesk, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    own = tmp_path / "own"
    make_certificates(own)
    if lacks == "a certificate of ours":
        shutil.copy(certificates / "ca.pem", own)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(own))
    report = desk.run("true")
    assert report.error is not None
    assert report.error["kind"] == "engine"
    said = str(report.error["message"]).lower()
    assert ("certificate verify failed" in said) == (lacks == "a trusted one of theirs"), said
    assert f"{desk.engine.host} cannot be reached" in said, said
    assert desk.containers() == []
