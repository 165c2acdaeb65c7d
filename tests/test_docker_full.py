"""A disk that is full while a container writes: its output waits with its engine, and is whole once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine, lacking

LOOKS_MAX = 20_000
"""A question to the engine each; it bounds a test that would never end."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds one mebibyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        lacking("a small disk takes root and mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if made.returncode != 0:
        lacking(f"no small disk can be mounted here: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_output_that_finds_the_disk_full_is_whole_once_there_is_room(small: Path, docker_engine: DockerEngine) -> None:
    lines = 400_000
    with DockerDesk(small, docker_engine) as desk:
        desk.start("much", f"seq {lines}; exit 3")
        while (
            docker_engine.client.api.containers(all=True, filters={"label": ["then=much"], "status": ["exited"]}) == []
        ):
            pass
        assert desk.reports.all == []
        assert len(desk.output("much")) <= 1 << 20
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        report = desk.report_of("much")
        assert (report.outcome, report.result) == ("failed", {"code": 3})
        assert desk.output("much") == b"".join(b"%d\n" % n for n in range(1, lines + 1))
