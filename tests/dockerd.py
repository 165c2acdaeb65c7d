"""A Docker Engine of one's own: `python -m tests.dockerd COMMAND…` runs a command beside one.

The command finds it by `DOCKER_HOST`, with the image `busybox` in it; it ends
with the command. All that it has is in one temporary folder: another engine on
the same machine is not touched. It takes root, `dockerd` and a static `busybox`
(Debian: `docker.io`, `busybox-static`), and no registry and no network: there
is no bridge, and nothing listens but a socket in the folder. With `--bridge` its
containers are by default on one, as those of users are, in a network namespace that
leads nowhere.

Only what Python brings along is used: CI starts this before anything is installed.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

IMAGE = "busybox"

DRIVERS = (None, "vfs")
"""How layers are stored: what dockerd takes by itself, then what works on every file system."""

SWITCHES = ("--or-without", "--bridge")

START_S = 180.0
STOP_S = 30.0

Json = dict[str, object]


class DockerdFailed(Exception):
    """No engine could be started here; the text says what dockerd said last."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=START_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Dockerd:
    """An engine in a folder: started, killed, started again on what it left, stopped with all that is its."""

    def __init__(self, folder: Path, options: Sequence[str] = (), *, has_bridge: bool = False) -> None:
        """`options`: of `dockerd`, beside those that keep it in its folder."""
        self.folder = folder
        self._has_bridge = has_bridge
        self._options = options
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._log = folder / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._driver: str | None = None

    def start(self) -> None:
        """Returns once the engine answers.

        Raises:
            DockerdFailed: it ended instead, or does not answer in three minutes.
        """
        command = ["unshare", "--net", "--"] if self._has_bridge else []
        command += [shutil.which("dockerd", path=_path()) or "dockerd", "--host", self.host]
        command += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        command += ["--pidfile", f"{self.folder}/dockerd.pid"]
        # Tests need no network, and machines on which they run may forbid to make one.
        if not self._has_bridge:
            command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        command += self._options
        if self._driver is not None:
            command += ["--storage-driver", self._driver]
        environment = {**os.environ, "PATH": _path()}
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # A Ctrl-C is for the command beside it.
                    start_new_session=True,
                )
            except OSError as error:
                raise DockerdFailed(f"dockerd: {error.strerror} (Debian: apt-get install docker.io)") from error
        pause_s = 0.05
        for _ in range(int(START_S / pause_s)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(pause_s)
                raise DockerdFailed(self._last_words())
            with contextlib.suppress(OSError):
                self.ask("GET", "/_ping")
                return
        raise DockerdFailed(self._last_words())

    def start_with_image(self) -> None:
        """An engine that has run a container: how layers are stored is chosen by what works."""
        for driver in DRIVERS:
            self._driver = driver
            try:
                self.start()
                self.ask("POST", f"/images/create?fromSrc=-&repo={IMAGE}&tag=latest", root_file_system())
                self._run_a_container()
            except DockerdFailed:
                self._end()
                if driver == DRIVERS[-1]:
                    raise
            else:
                return

    def kill(self) -> None:
        """As a crash would: no goodbye. What it runs outlives it until it is started again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # It takes its containerd with it; where nobody buries that, the next one would take it for alive.
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Ends the engine and its containers, whatever state they are in, and takes the folder away."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method: str, path: str, body: bytes | Json | None = None) -> bytes:
        """One request to the Engine API; its answer, which must be a good one."""
        connection = _UnixConnection(self.socket)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        kind = "application/json" if isinstance(body, dict) else "application/x-tar"
        with contextlib.closing(connection):
            connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise DockerdFailed(f"{method} {path}: {answer.status} {text.decode(errors='replace').strip()}")
        return text

    def _run_a_container(self) -> None:
        made: Json = json.loads(self.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["/bin/true"]}))
        self.ask("POST", f"/containers/{made['Id']}/start")
        ended: Json = json.loads(self.ask("POST", f"/containers/{made['Id']}/wait"))
        self.ask("DELETE", f"/containers/{made['Id']}")
        if ended["StatusCode"] != 0:
            raise DockerdFailed(f"/bin/true in a container exited with {ended['StatusCode']}")

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError, DockerdFailed):  # It would wait for each of them.
                running: list[Json] = json.loads(self.ask("GET", "/containers/json"))
                for container in running:
                    self.ask("POST", f"/containers/{container['Id']}/kill")
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in self._left_behind():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for point in self._mounted():
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)

    def _left_behind(self) -> Iterator[int]:
        """What of a killed engine still runs: containerd and shims name the folder; their children run in containers."""
        parents: dict[int, int] = {}
        named: set[int] = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"containerd" in words[0] and f"{self.folder}/".encode() in b" ".join(words[1:]):
                    named.add(pid)
        for pid in parents:
            above = pid
            while above in parents and above not in named:
                above = parents[above]
            if above in named:
                yield pid

    def _mounted(self) -> list[str]:
        points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return sorted((point for point in points if point.startswith(f"{self.folder}/")), reverse=True)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-5:]
        return "dockerd did not come up:\n" + "\n".join(f"    {line}" for line in lines)


def root_file_system() -> bytes:
    """A tar with a static busybox under the names of all that it can do: `docker import` makes an image of it."""
    busybox = shutil.which("busybox", path=_path())
    if busybox is None:
        raise DockerdFailed("no busybox on PATH (Debian: apt-get install busybox-static)")
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, mode))
        program = Path(busybox).read_bytes()
        tar.addfile(_entry("bin/busybox", tarfile.REGTYPE, 0o755, size=len(program)), io.BytesIO(program))
        for name in names:
            if name != "busybox":
                tar.addfile(_entry(f"bin/{name}", tarfile.SYMTYPE, 0o777, target="busybox"))
        users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"
        tar.addfile(_entry("etc/passwd", tarfile.REGTYPE, 0o644, size=len(users)), io.BytesIO(users))
    return whole.getvalue()


def _entry(name: str, kind: bytes, mode: int, *, size: int = 0, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, target
    return entry


def _path() -> str:
    """Daemons live where the PATH of a user may not lead."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


@contextlib.contextmanager
def open_dockerd(options: Sequence[str] = (), *, has_bridge: bool = False) -> Iterator[Dockerd]:
    """An engine with the image in it; gone, with its folder, at the end."""
    # Sockets are made beneath, and the path of a socket is short: not in a long TMPDIR.
    folder = Path(tempfile.mkdtemp(prefix="then-dockerd-", dir="/tmp"))
    dockerd = Dockerd(folder, options, has_bridge=has_bridge)
    try:
        dockerd.start_with_image()
        yield dockerd
    finally:
        dockerd.stop()


def main(words: Sequence[str]) -> int:
    """The exit code of the command, or 3 where there is no engine for it.

    With `--or-without` it runs all the same: its tests say what they lack.
    """
    switches = list(itertools.takewhile(SWITCHES.__contains__, words))
    command = words[len(switches) :]
    if not command:
        print("usage: python -m tests.dockerd [--or-without] [--bridge] COMMAND…", file=sys.stderr)
        return 2
    # So that what is open is closed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        try:
            environment["DOCKER_HOST"] = stack.enter_context(open_dockerd(has_bridge="--bridge" in switches)).host
        except DockerdFailed as error:
            print(f"no Docker Engine: {error}", file=sys.stderr, flush=True)
            if "--or-without" not in switches:
                return 3
        child = subprocess.Popen(command, env=environment)
        try:
            return child.wait()
        except KeyboardInterrupt:  # The terminal has told the command as well.
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
