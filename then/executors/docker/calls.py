"""What is asked of a Docker engine and answered: a method a request.

The SDK pulls images and moves files, and is imported with the first use; short
requests go by `then.executors.docker.exchange`. Errors become ours: `Refused`
where the engine says no, `Unreachable` where it does not answer.
"""

from __future__ import annotations

import functools
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from then.core.errors import nearest
from then.core.tasks import Body
from then.executors.docker.exchange import Exchange
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import ANSWER_S, Address, connect, reason_of, words_in

T = TypeVar("T")
UNCHANGED: Final = 304
"""It runs already, or does not run any more."""


class Missing(Exception):
    """There is no such container or image there."""


class Taken(Exception):
    """A container of that name is there."""


class Calls:
    """Requests to one engine; may be used by several threads."""

    def __init__(self, address: Address) -> None:
        """Connects, and agrees on the version of the protocol.

        Raises:
            Unreachable: nobody answers there.
            Refused: what answers is no engine that can be used.
        """
        self._address = address
        self.exchange = Exchange(address)
        self.version = ""
        self.version = _version(self.ask("GET", "/version"))
        self._memory_bytes = 0

    def close(self) -> None:
        self.exchange.close()
        if "client" in vars(self):
            self.client.close()

    @functools.cached_property
    def client(self) -> Any:
        """The SDK's."""
        import docker
        from docker.tls import TLSConfig

        address = self._address
        url, tls = address.text, None
        if address.scheme == "ssh":
            url = "unix:///ssh"  # Another way goes before it, below.
        elif address.scheme == "tcp":
            folder = address.certificates
            url = f"{'tcp' if folder is None else 'https'}://{address.place}:{address.port}"
            if folder is not None:
                pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
                tls = TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)
        made = docker.APIClient(base_url=url, version=self.version, timeout=int(ANSWER_S), tls=tls or False)
        if address.scheme == "ssh":
            made.mount("http+docker://", _way(address))
        # A proxy is never between us and an engine, and its certificate is not to be looked for among those of the web.
        made.trust_env = False
        return made

    # -- containers

    def create(self, name: str, config: Body, platform: str | None) -> str:
        """Makes a container. Gives its id.

        Raises:
            Missing: the image is not there.
            Taken: the name is.
        """
        query = {"name": name} if platform is None else {"name": name, "platform": platform}
        made: Body = msgspec.json.decode(self.ask("POST", f"/containers/create?{urlencode(query)}", config))
        return str(made["Id"])

    def start(self, id: str) -> None:
        self.ask("POST", f"{place(id)}/start")

    def kill(self, id: str, signal: str) -> None:
        """Sends a signal; nothing where it does not run."""
        try:
            self.ask("POST", f"{place(id)}/kill?{urlencode({'signal': signal})}")
        except (Missing, Taken):
            pass

    def remove(self, id: str) -> None:
        """Takes it away, running or not, with its nameless volumes; nothing where it has gone."""
        try:
            self.ask("DELETE", f"{place(id)}?v=1&force=1")
        except (Missing, Taken):
            pass  # It has gone, or is being removed.

    def inspect(self, id: str) -> Body:
        """All that the engine knows of it.

        Raises:
            Missing: it is not there.
        """
        found: Body = msgspec.json.decode(self.ask("GET", f"{place(id)}/json"))
        return found

    def labelled(self, label: str) -> list[Body]:
        """The containers with a label, whatever they do: `Id`, `Labels`, `State` and others."""
        query = urlencode({"all": 1, "filters": json.dumps({"label": [label]})})
        found: list[Body] = msgspec.json.decode(self.ask("GET", f"/containers/json?{query}"))
        return found

    # -- files

    def put(self, id: str, folder: str, data: bytes) -> None:
        """Unpacks a tar archive into a folder of a container."""
        said(lambda: self.client.put_archive(id, folder, data))

    def get(self, id: str, path: str) -> Iterator[bytes]:
        """A folder of a container as a tar archive, in pieces."""
        pieces, _ = said(lambda: self.client.get_archive(id, path))
        try:
            yield from pieces
        except OSError as error:
            raise Unreachable(reason_of(error)) from error

    def memory_bytes(self) -> int:
        """What the machine has; asked once."""
        if not self._memory_bytes:
            self._memory_bytes = int(msgspec.json.decode(self.ask("GET", "/info"))["MemTotal"])
        return self._memory_bytes

    def ask(self, method: str, path: str, body: Body | None = None) -> bytes:
        """One short request, without the SDK."""
        data = None if body is None else msgspec.json.encode(body)
        status, text = self.exchange.ask(method, f"/v{self.version}{path}" if self.version else path, data)
        if not 200 <= status < 300 and status != UNCHANGED:
            raise refusal(status, text)
        return text


def _way(address: Address) -> Any:
    """The way of the SDK to an engine behind ssh. Its own takes paramiko, and leaves each `ssh` running."""
    from docker.transport import UnixHTTPAdapter
    from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool

    class Link(UnixHTTPConnection):  # type: ignore[misc]
        def connect(self) -> None:
            self.sock = connect(address)
            self.sock.settimeout(self.timeout)

    class Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
        def _new_conn(self) -> Link:
            return Link(self.base_url, self.socket_path, self.timeout)

    class Way(UnixHTTPAdapter):  # type: ignore[misc]
        def get_connection(self, url: str, proxies: object = None) -> Pool:
            with self.pools.lock:
                if url not in self.pools:
                    self.pools[url] = Pool(url, self.socket_path, self.timeout, self.max_pool_size)
                found: Pool = self.pools[url]
                return found

    return Way("/ssh", int(ANSWER_S))


def place(id: str, kind: str = "containers") -> str:
    """The path of a container, or of a command in one. Its name may come out of a record, and hold anything."""
    return f"/{kind}/{quote(id, safe='')}"


def _version(text: bytes) -> str:
    """What an engine speaks, by its own words.

    Raises:
        Refused: it is none.
    """
    try:
        about: Body = msgspec.json.decode(text)
        return str(about["ApiVersion"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        # It was reached: to ask again would bring the same.
        raise Refused("engine", f"docker: what answers there speaks as no Docker engine does: {error}") from error


def said(ask: Callable[[], T]) -> T:
    """What the SDK answers, with our errors."""
    from docker import errors
    from requests import exceptions

    try:
        return ask()
    except errors.NotFound as error:
        raise Missing(error.explanation) from error
    except errors.APIError as error:
        status = error.response.status_code if error.response is not None else 0
        raise refusal(status, str(error.explanation or error).strip().encode()) from error
    except (exceptions.RequestException, OSError) as error:
        raise Unreachable(reason_of(error)) from error
    except errors.DockerException as error:
        raise Refused("engine", f"docker: {error}") from error


def refusal(status: int, text: bytes) -> Exception:
    """What an answer that is none means."""
    message = words_in(text)
    if status == 404:
        return Missing(message)
    if status == 409:
        return Taken(message)
    if status in (502, 503, 504):
        return Unreachable(f"it answers {status}: {message}")
    if status < 400:
        message = f"it answers {status}, and does nothing: {message or 'without a word'}"
    return Refused("engine", f"docker: {message}")


def pull(calls: Calls, image: str, platform: str | None) -> None:
    """Fetches an image from its registry.

    Raises:
        Refused: it cannot be had.
    """
    from docker.utils import parse_repository_tag

    name, tag = parse_repository_tag(image)
    try:
        lines: Iterator[Body] = said(
            lambda: calls.client.pull(name, tag=tag or "latest", stream=True, decode=True, platform=platform)
        )
        why = next((str(line["error"]) for line in lines if "error" in line), None)
    except (Missing, Refused) as error:
        why = str(error).removeprefix("docker: ")
    if why is not None:
        raise Refused("image", f'docker: image "{image}" cannot be pulled: {why}{images_like(calls, image)}')


def images_like(calls: Calls, image: str) -> str:
    """` (did you mean "x"?)` where an image there is nearly called so."""
    images: list[Body] = msgspec.json.decode(calls.ask("GET", "/images/json"))
    tags = [tag for one in images for tag in one.get("RepoTags") or ()]
    return nearest(image if ":" in image else f"{image}:latest", tags)


def stop(calls: Calls, id: str, grace_s: float) -> None:
    """Asks a container to end, and makes it after this time."""
    calls.ask("POST", f"{place(id)}/stop?t={round(grace_s)}")


def exec_create(calls: Calls, id: str, args: Sequence[str], variables: Mapping[str, str], more: Body) -> str:
    """Makes ready a command in a container that runs. `more`: `User`, `WorkingDir`. Gives its id."""
    env = [f"{name}={value}" for name, value in variables.items()]
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(args), "Env": env, **more}
    made: Body = msgspec.json.decode(calls.ask("POST", f"{place(id)}/exec", body))
    return str(made["Id"])


def exec_inspect(calls: Calls, exec_id: str) -> Body:
    found: Body = msgspec.json.decode(calls.ask("GET", f"{place(exec_id, 'exec')}/json"))
    return found


def has_seen(calls: Calls, id: str) -> bool:
    """Whether the engine, since it is up, made this container or attached somebody to it.

    False too where that was long ago: it remembers the last few hundred events, and none of before it came up.
    """
    now = datetime.fromisoformat(msgspec.json.decode(calls.ask("GET", "/info"))["SystemTime"])  # By its own clock.
    about = {"type": ["container"], "container": [id], "event": ["create", "attach"]}
    query = {"since": 1, "until": f"{now.timestamp():.6f}", "filters": json.dumps(about)}
    return bool(calls.ask("GET", f"/events?{urlencode(query)}").strip())


def unpacked(pieces: Iterator[bytes]) -> tarfile.TarFile:
    """An archive that comes in pieces, read as it comes."""
    return tarfile.open(fileobj=io.BufferedReader(_Pieces(pieces)), mode="r|")


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
