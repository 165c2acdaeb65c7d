"""What is asked of a Docker engine and answered, by the SDK: a method a request.

Here its errors become ours: `Refused` where the engine says no, `Unreachable`
where it does not answer. The SDK is imported with the first use.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from then.core.errors import nearest
from then.core.tasks import Body
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import ANSWER_S, Address, reason_of

T = TypeVar("T")

CONNECTIONS_MAX: Final = 16


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
        import docker
        from docker.tls import TLSConfig

        self.docker: Any = docker
        url, tls = address.text, None
        if address.scheme == "tcp":
            folder = address.certificates
            url = f"{'tcp' if folder is None else 'https'}://{address.place}:{address.port}"
            if folder is not None:
                pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
                tls = TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)
        self.client: Any = self.said(
            lambda: docker.APIClient(
                base_url=url,
                version="auto",
                timeout=int(ANSWER_S),
                tls=tls or False,
                use_ssh_client=True,
                max_pool_size=CONNECTIONS_MAX,
            ),
            opens=True,
        )
        self.version = str(self.client.api_version)
        self._memory_bytes = 0

    def close(self) -> None:
        self.client.close()

    # -- containers

    def create(self, name: str, config: Body, platform: str | None) -> str:
        """Makes a container. Gives its id.

        Raises:
            Missing: the image is not there.
            Taken: the name is.
        """
        made: Body = self.said(lambda: self.client.create_container_from_config(config, name, platform))
        return str(made["Id"])

    def start(self, id: str) -> None:
        self.said(lambda: self.client.start(id))

    def kill(self, id: str, signal: str) -> None:
        """Sends a signal; nothing where it does not run."""
        try:
            self.said(lambda: self.client.kill(id, signal))
        except (Missing, Taken):
            pass

    def stop(self, id: str, grace_s: float) -> None:
        self.said(lambda: self.client.stop(id, timeout=round(grace_s)))

    def remove(self, id: str) -> None:
        """Takes it away, running or not, with its nameless volumes; nothing where it has gone."""
        try:
            self.said(lambda: self.client.remove_container(id, v=True, force=True))
        except (Missing, Taken):
            pass  # It has gone, or is being removed.

    def inspect(self, id: str) -> Body:
        """All that the engine knows of it.

        Raises:
            Missing: it is not there.
        """
        found: Body = self.said(lambda: self.client.inspect_container(id))
        return found

    def labelled(self, label: str) -> list[Body]:
        """The containers with a label, whatever they do: `Id`, `Labels`, `State` and others."""
        found: list[Body] = self.said(lambda: self.client.containers(all=True, filters={"label": [label]}))
        return found

    # -- files

    def put(self, id: str, folder: str, data: bytes) -> None:
        """Unpacks a tar archive into a folder of a container."""
        self.said(lambda: self.client.put_archive(id, folder, data))

    def get(self, id: str, path: str) -> Iterator[bytes]:
        """A folder of a container as a tar archive, in pieces."""
        pieces, _ = self.said(lambda: self.client.get_archive(id, path))
        try:
            yield from pieces
        except OSError as error:
            raise Unreachable(reason_of(error)) from error

    def memory_bytes(self) -> int:
        """What the machine has; asked once."""
        if not self._memory_bytes:
            self._memory_bytes = int(self.said(self.client.info)["MemTotal"])
        return self._memory_bytes

    def said(self, ask: Callable[[], T], *, opens: bool = False) -> T:
        """What the SDK answers, with our errors."""
        from requests import exceptions

        errors = self.docker.errors
        try:
            return ask()
        except errors.ImageNotFound as error:
            raise Missing(error.explanation) from error
        except errors.NotFound as error:
            raise Missing(error.explanation) from error
        except errors.APIError as error:
            status = error.response.status_code if error.response is not None else 0
            text = str(error.explanation or error).strip()
            if status == 409:
                raise Taken(text) from error
            if status in (502, 503, 504):
                raise Unreachable(text) from error
            raise Refused("engine", f"docker: {text}") from error
        except (exceptions.RequestException, OSError) as error:
            raise Unreachable(reason_of(error)) from error
        except errors.TLSParameterError as error:
            raise Refused("engine", f"docker: {error}") from error
        except errors.DockerException as error:
            if opens:
                raise Unreachable(reason_of(error)) from error
            raise Refused("engine", f"docker: {error}") from error


def pull(calls: Calls, image: str, platform: str | None) -> None:
    """Fetches an image from its registry.

    Raises:
        Refused: it cannot be had.
    """
    utils = calls.docker.utils
    name, tag = utils.parse_repository_tag(image)
    try:
        said: Iterator[Body] = calls.said(
            lambda: calls.client.pull(name, tag=tag or "latest", stream=True, decode=True, platform=platform)
        )
        for line in said:
            if "error" in line:
                raise Refused("image", f'docker: image "{image}" cannot be pulled: {line["error"]}')
    except Missing as error:
        raise Refused("image", f'docker: image "{image}" cannot be pulled: {error}') from error
    except Refused as error:
        if error.kind == "image":
            raise
        text = str(error).removeprefix("docker: ")
        raise Refused("image", f'docker: image "{image}" cannot be pulled: {text}') from error


def images_like(calls: Calls, image: str) -> str:
    """` (did you mean "x"?)` where an image there is nearly called so."""
    tags = [tag for one in calls.said(calls.client.images) for tag in one.get("RepoTags") or ()]
    return nearest(image if ":" in image else f"{image}:latest", tags)


def exec_create(calls: Calls, id: str, args: Sequence[str], variables: Mapping[str, str], **more: str) -> str:
    """Makes ready a command in a container that runs. `more`: `user`, `workdir`. Gives its id."""
    made: Body = calls.said(lambda: calls.client.exec_create(id, list(args), environment=dict(variables), **more))
    return str(made["Id"])


def exec_inspect(calls: Calls, exec_id: str) -> Body:
    found: Body = calls.said(lambda: calls.client.exec_inspect(exec_id))
    return found


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
