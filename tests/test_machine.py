"""Cores and memory, as the files of the kernel tell them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from then.app.machine import machine
from then.core.errors import ConfigError

HERE = float(len(os.sched_getaffinity(0)))
MEMINFO = "MemTotal:       16307000 kB\nMemFree:         1234 kB\n"
TOTAL = 16307000 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    return tmp_path


def group(root: Path, path: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def test_without_control_groups_the_machine_is_all_that_bounds(root: Path) -> None:
    found = machine(root)
    assert found.cores == HERE
    assert found.memory_bytes == TOTAL


def test_a_quota_may_be_part_of_a_core(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/\n")
    group(root, "", cpu_max="50000 100000\n", memory_max=f"{2**30}\n")
    found = machine(root)
    assert found.cores == 0.5
    assert found.memory_bytes == 2**30


def test_the_lowest_bound_of_all_groups_holds(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/system.slice/then.service\n")
    group(root, "system.slice/then.service", cpu_max="max 100000\n", memory_max="max\n")
    group(root, "system.slice", cpu_max="25000 100000\n", memory_max=f"{2**31}\n")
    group(root, "", cpu_max="90000 100000\n", memory_max=f"{2**33}\n")
    found = machine(root)
    assert found.cores == 0.25
    assert found.memory_bytes == 2**31


def test_a_group_elsewhere_does_not_bound(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/mine\n")
    group(root, "mine", cpu_max="max 100000\n")
    group(root, "other", cpu_max="1000 100000\n", memory_max="4096\n")
    found = machine(root)
    assert found.cores == HERE
    assert found.memory_bytes == TOTAL


def test_a_bound_above_what_there_is_adds_nothing(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/\n")
    group(root, "", cpu_max="100000000 100\n", memory_max=f"{2**60}\n")
    found = machine(root)
    assert found.cores == HERE
    assert found.memory_bytes == TOTAL


@pytest.mark.parametrize("shown", ["0::/../../elsewhere\n", "12:cpu:/old\n1:name=systemd:/x\n", ""])
def test_where_the_own_group_is_not_to_be_seen_the_mounted_root_counts(root: Path, shown: str) -> None:
    (root / "proc/self/cgroup").write_text(shown)
    group(root, "", cpu_max="10000 100000\n")
    assert machine(root).cores == 0.1


@pytest.mark.parametrize("text", ["", "max", "abc def", "0 100000", "100000 0", "-1 100000", "1 2 3"])
def test_a_bound_that_cannot_be_read_is_none(root: Path, text: str) -> None:
    (root / "proc/self/cgroup").write_text("0::/\n")
    group(root, "", cpu_max=text, memory_max="lots")
    found = machine(root)
    assert found.cores == HERE
    assert found.memory_bytes == TOTAL


def test_bytes_that_are_no_text_are_no_bound(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe")
    assert machine(root).cores == HERE


@pytest.mark.parametrize("text", ["", "MemFree: 1 kB\n", "MemTotal: lots kB\n", "MemTotal: 12 pages\n"])
def test_memory_that_cannot_be_told_is_said_with_what_to_do(root: Path, text: str) -> None:
    (root / "proc/meminfo").write_text(text)
    with pytest.raises(ConfigError) as caught:
        machine(root)
    assert str(caught.value) == (
        f'{root}/proc/meminfo: no line "MemTotal: … kB"; give the memory for tasks in the configuration'
    )


def test_this_machine_has_some_of_both() -> None:
    found = machine()
    assert 0 < found.cores <= HERE
    assert found.memory_bytes > 2**20
