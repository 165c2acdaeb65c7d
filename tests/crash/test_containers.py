"""kill -9 of engines with containers running: every exit code and output is collected, none is doubled or left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.containers import run_killed
from tests.docker_engine import DockerEngine


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_after_a_kill_every_container_is_collected_once(tmp_path: Path, docker_engine: DockerEngine, seed: int) -> None:
    assert run_killed(tmp_path, docker_engine.host, docker_engine.image, seed) == ""
