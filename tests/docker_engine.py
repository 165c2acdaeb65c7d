"""The Docker Engine that tests run containers on, and what they do where there is none.

It is the one that `DOCKER_HOST` names, else the one that `docker` would take.
`python -m tests.dockerd COMMAND…` gives a command one of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import warnings
from collections.abc import Iterator
from typing import NoReturn

import attrs
import docker
import docker.errors
import pytest
import requests.exceptions

from tests.dockerd import IMAGE, Dockerd, DockerdFailed, open_dockerd

OWN_ENGINE = "`python -m tests.dockerd COMMAND…` runs a command beside an engine"


@attrs.frozen
class DockerEngine:
    """An engine that answers and has the image; nobody else's containers on it are touched."""

    host: str
    client: docker.DockerClient
    image: str = IMAGE


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Tests that ask for it are marked `containers`; without an engine they are skipped, and fail in CI."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    client = _open_client(host)
    try:
        try:
            client.images.get(IMAGE)
        except (docker.errors.APIError, requests.exceptions.RequestException) as error:
            lacking(f"no image {IMAGE} at {host} (docker pull {IMAGE}): {error}")
        yield DockerEngine(host, client)
    finally:
        client.close()


def _open_client(host: str) -> docker.DockerClient:
    client, said = None, ""
    with warnings.catch_warnings():
        # The SDK forgets to close its socket to an engine that does not answer.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.DockerClient(base_url=host, version="auto")
        except docker.errors.DockerException as error:
            said = str(error)
        gc.collect()
    if client is None:
        lacking(f"no Docker Engine at {host}: {said}; {OWN_ENGINE}")
    return client


@pytest.fixture
def own_dockerd() -> Iterator[Dockerd]:
    """An engine to kill: that of `DOCKER_HOST` has other things to do."""
    if os.geteuid() != 0:
        lacking("a dockerd of one's own takes root")
    with contextlib.ExitStack() as stack:
        try:
            dockerd = stack.enter_context(open_dockerd())
        except DockerdFailed as error:
            lacking(f"no dockerd of one's own: {error}")
        yield dockerd


def lacking(reason: str) -> NoReturn:
    """Here a skip with a reason; in CI, where what is missing is installed, a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
