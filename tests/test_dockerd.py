"""The engine of one's own for tests, and what tests do without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker_engine import DockerEngine
from tests.dockerd import Dockerd

ROOT = Path(__file__).parent.parent

ASKS = f"{Path(__file__).name}::test_the_engine_runs_a_container_of_the_image"


def _outcome(**environment: str) -> str:
    """What pytest says at last of the one test that asks for an engine, in this environment."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsE", f"tests/{ASKS}"]
    ambient = {name: value for name, value in os.environ.items() if name not in {"CI", "DOCKER_HOST"}}
    done = subprocess.run(command, cwd=ROOT, env=ambient | environment, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.slow
def test_without_an_engine_what_asks_for_one_is_skipped_and_says_how_to_get_one(tmp_path: Path) -> None:
    said = _outcome(DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")

    assert "1 skipped" in said
    assert f"no Docker Engine at unix://{tmp_path}/nobody.sock" in said
    assert "python -m tests.dockerd" in said


@pytest.mark.slow
def test_in_ci_what_asks_for_an_engine_fails_without_one(tmp_path: Path) -> None:
    said = _outcome(DOCKER_HOST=f"unix://{tmp_path}/nobody.sock", CI="true")

    assert "1 error" in said
    assert "skipped" not in said.splitlines()[-1]


def test_a_command_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dockerd"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m tests.dockerd")


@pytest.mark.slow
def test_the_engine_runs_a_container_of_the_image(docker_engine: DockerEngine) -> None:
    said = docker_engine.client.containers.run(docker_engine.image, ["/bin/echo", "here"], remove=True)

    assert said == b"here\n"


@pytest.mark.slow
def test_an_engine_that_is_killed_comes_back_with_what_it_has(own_dockerd: Dockerd) -> None:
    before = own_dockerd.ask("GET", "/images/json")

    own_dockerd.kill()
    own_dockerd.start()

    assert own_dockerd.ask("GET", "/images/json") == before


@pytest.mark.slow
def test_a_command_gets_an_engine_and_the_engine_ends_with_it(own_dockerd: Dockerd) -> None:
    """Beside another, which this test asks for."""
    shown = "import os; print(os.environ['DOCKER_HOST']); raise SystemExit(7)"
    command = [sys.executable, "-m", "tests.dockerd", sys.executable, "-c", shown]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 7
    host = done.stdout.strip()
    assert host.startswith("unix:///tmp/then-dockerd-")
    assert host != own_dockerd.host
    assert not Path(host.removeprefix("unix://")).parent.exists()
