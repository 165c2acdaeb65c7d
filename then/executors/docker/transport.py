"""The way to a Docker engine: addresses, and streams that stay open.

Requests with an answer go by the SDK. What is followed, the output of a
container and the events of an engine, comes over sockets of our own: one
thread can wait for hundreds of them, and each costs a socket and no more. They
speak HTTP/1.0, so that what follows the head is the stream itself, not chunks.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import attrs
import msgspec

from then.core.tasks import Body
from then.executors.docker.refused import Refused, Unreachable

CONNECT_S: Final = 5.0
"""So long a connection may take to come about."""
ANSWER_S: Final = 120.0
"""So long an engine may take to answer: the making of a container waits for its storage."""
SSH_S: Final = 15
"""So long `ssh` may take to connect. After twice that without a word it asks whether the other side is there."""
LAST_WORD_S: Final = 1.0
HEAD_BYTES_MAX: Final = 64 * 1024
DEFAULT: Final = "unix:///var/run/docker.sock"


@attrs.frozen
class Address:
    """Where an engine listens."""

    text: str
    """As the user gave it, and as messages show it."""
    scheme: str
    """`unix`, `tcp` or `ssh`."""
    place: str
    """A path, or a host."""
    port: int
    """0 with `ssh`: the one that its configuration names."""
    certificates: Path | None = None
    """The folder with ca.pem, cert.pem and key.pem; None: no TLS."""


def address_of(host: str | None, environment: Mapping[str, str]) -> Address:
    """The address that a `host` option names, or what the environment says where there is none.

    Raises:
        Refused: it is none.
    """
    text = host or environment.get("DOCKER_HOST") or DEFAULT
    found = urlsplit(text)
    forms = '"unix:///path/docker.sock", "tcp://name:2375", "https://name:2376" or "ssh://user@name"'
    if found.scheme == "unix" and found.path.startswith("/") and not found.netloc:
        return Address(text, "unix", found.path, 0)
    try:
        port = found.port
    except ValueError:
        port = -1
    is_odd = found.scheme == "ssh" and found.path not in ("", "/")
    if found.scheme not in ("tcp", "http", "https", "ssh") or not found.hostname or port == -1 or is_odd:
        raise Refused("engine", f'docker: host "{text}" is no address of a Docker engine; it is written {forms}')
    if found.scheme == "ssh":
        if shutil.which("ssh") is None:
            raise Refused(
                "engine", f'docker: host "{text}" takes the program ssh, which is not on PATH; install OpenSSH'
            )
        return Address(text, "ssh", found.netloc, port or 0)
    place = found.hostname
    is_asked = bool(environment.get("DOCKER_TLS_VERIFY")) or found.scheme == "https"
    port = port or (2376 if is_asked else 2375)
    certificates = None
    if is_asked and found.scheme != "http":
        folder = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
        own = folder / f"{place}:{port}"
        certificates = own if own.is_dir() else folder
        if not (certificates / "ca.pem").is_file():
            raise Refused(
                "engine",
                f'docker: host "{text}" is reached by TLS, and {certificates} has no ca.pem; set DOCKER_CERT_PATH',
            )
    return Address(text, "tcp", place, port, certificates)


def connect(address: Address) -> socket.socket:
    """A connection to an engine.

    Raises:
        Unreachable: nobody answers there.
    """
    try:
        if address.scheme == "unix":
            return _dial_unix(address.place)
        if address.scheme == "ssh":
            return _dial_by_ssh(address)
        link = socket.create_connection((address.place, address.port), CONNECT_S)
        # An engine whose machine went down says nothing more: the kernel notices.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        return link if address.certificates is None else _secured(link, address.place, address.certificates)
    except OSError as error:
        raise Unreachable(reason_of(error)) from error


def _secured(link: socket.socket, name: str, certificates: Path) -> socket.socket:
    try:
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        return context.wrap_socket(link, server_hostname=name)
    except OSError:
        link.close()
        raise


def _dial_unix(path: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(CONNECT_S)
        link.connect(path)
    except OSError:
        link.close()
        raise
    return link


class Dialled(socket.socket):
    """A connection through a program, which is there as long as it is."""

    def __init__(self, words: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        with theirs:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the connection)
            try:
                end = theirs.fileno()
                self._process = subprocess.Popen(
                    words, stdin=end, stdout=end, stderr=self._said, start_new_session=True
                )
            except OSError:
                self._said.close()
                super()._real_close()  # type: ignore[misc]  # There is no program to be ended with it.
                raise

    def _real_close(self) -> None:
        # As that of `ssl` does: what reads on (`makefile`) keeps it open.
        super()._real_close()  # type: ignore[misc]
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def reason(self) -> str:
        """The last that the program said when it ended, which it may be about to; nothing where it said nothing."""
        try:
            self._process.wait(LAST_WORD_S)  # It ends the connection before it has said why.
        except subprocess.TimeoutExpired:
            return ""  # It goes on: what it said was a greeting.
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _dial_by_ssh(address: Address) -> socket.socket:
    """The user's `ssh` and what the Docker command line there offers for this: a stream to its engine."""
    user, _, name = address.place.rpartition("@")
    name = (name.rpartition(":")[0] if ":" in name and not name.endswith("]") else name).strip("[]")
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_S}", "-o", f"ServerAliveInterval={2 * SSH_S}"]
    words += [*(["-p", str(address.port)] if address.port else []), *(["-l", user] if user else []), "--", name]
    return Dialled([*words, "docker", "system", "dial-stdio"])


def open_stream(
    address: Address, version: str, method: str, path: str, query: Mapping[str, str], body: Body | None = None
) -> socket.socket:
    """A request whose answer goes on: the socket, at the first byte after the head.

    Raises:
        Refused: the engine says no, or the path is none.
        Unreachable: it does not answer.
    """
    target = f"/v{version}{path}?{urlencode(query)}"
    check_target(target)
    link = connect(address)
    try:
        link.settimeout(ANSWER_S)
        data = b"" if body is None else msgspec.json.encode(body)
        about = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
        head = f"{method} {target} HTTP/1.0\r\nHost: docker\r\n{about}\r\n"
        link.sendall(head.encode() + data)
        if (status := _head(link)) >= 300:
            raise Refused("engine", f"docker: {_message(link) or f'it answers {status} without a word'}")
    except OSError as error:
        raise broken(link, error) from error
    except BaseException:
        link.close()
        raise
    return link


def send(link: socket.socket, text: str) -> None:
    """Standard input, whole and then its end, on a connection of its own: by TLS none has an end for one direction."""
    with link:
        try:
            link.settimeout(None)
            link.sendall(text.encode(errors="surrogateescape"))
            if isinstance(link, ssl.SSLSocket):
                link.unwrap()
            else:
                link.shutdown(socket.SHUT_WR)
            if isinstance(link, Dialled):
                link.recv(1)  # With the program would go what it has not brought there yet.
        except OSError:
            pass  # It ended without reading on.


def broken(link: socket.socket, error: OSError) -> Unreachable:
    """What a connection that broke is told as; it is closed."""
    said = link.reason() if isinstance(link, Dialled) else ""
    link.close()
    return Unreachable(said or reason_of(error))


def _head(link: socket.socket) -> int:
    """The status of an answer. What comes after its head is left in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if isinstance(link, ssl.SSLSocket):
            data = link.recv(1)
        else:
            seen = link.recv(HEAD_BYTES_MAX, socket.MSG_PEEK)
            end = (head + seen).find(b"\r\n\r\n")
            data = link.recv(len(seen) if end < 0 else end + 4 - len(head))
        if not data or len(head) > HEAD_BYTES_MAX:
            raise ConnectionResetError("the connection ended before an answer")
        head += data
    return status_of(head)


def check_target(target: str) -> None:
    """What would end the line of a request, and so begin another, does not come into one.

    Raises:
        Refused: it is there.
    """
    if " " in target or not (target.isascii() and target.isprintable()):
        raise Refused("engine", f"docker: {target!r} is no path of a request; what is odd in a name has to be quoted")


def status_of(head: bytes) -> int:
    """That of an answer, by its first line.

    Raises:
        ConnectionResetError: it is no HTTP.
    """
    version, _, rest = head.partition(b" ")
    if not version.upper().startswith(b"HTTP/"):
        raise no_http(head)
    return number_of(rest[:3])


def number_of(text: bytes, base: int = 10) -> int:
    """A status, or a size.

    Raises:
        ConnectionResetError: it is none.
    """
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise no_http(text)
    return number


def no_http(data: bytes) -> ConnectionResetError:
    return ConnectionResetError(f'what answers does not speak HTTP: "{data[:40].decode(errors="replace")}"')


def _message(link: socket.socket) -> str:
    data = b""
    while len(data) < HEAD_BYTES_MAX and (more := link.recv(4096)):
        data += more
    return words_in(data)


def words_in(data: bytes) -> str:
    """What an engine says where it does not do as asked."""
    try:
        said: Body = msgspec.json.decode(data)
        return str(said["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return data.decode(errors="replace").strip()


def reason_of(error: BaseException) -> str:
    """The innermost word of a chain of errors: `Connection refused`, not how it was wrapped."""
    seen: BaseException | None = error
    inner = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            inner = seen
        # The `reason` of urllib3 is an error, that of the ssl module a text.
        within = [one for one in (*seen.args, getattr(seen, "reason", None)) if isinstance(one, BaseException)]
        seen = within[0] if within else (seen.__cause__ or seen.__context__)
        if seen is error:
            break
    return inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
