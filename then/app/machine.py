"""The machine that an engine runs on: how many cores and how much memory its tasks may take.

What the kernel allows, not what is built in: the processors that this process
may run on, and the bounds of its control groups (version 2), each from the
process's own group up to the root, of which the lowest holds. A bound that
cannot be read is none.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, `cpu.max` and `memory.max`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from then.core.claims import Capacity
from then.core.errors import ConfigError
from then.core.tasks import check_name


@attrs.frozen
class Machine:
    """What there is for tasks."""

    cores: float
    """Of a container with a quota of one and a half: 1.5."""
    memory_bytes: int


def machine(root: Path = Path("/")) -> Machine:
    """What the system that is mounted at `root` (its `proc` and `sys`) allows this process.

    Raises:
        ConfigError: its memory cannot be told.
    """
    cores = float(len(os.sched_getaffinity(0)))
    memory_bytes = _memory_total(root)
    for folder in _groups(root):
        cores = min(cores, _cores_max(folder) or cores)
        memory_bytes = min(memory_bytes, _memory_max(folder) or memory_bytes)
    return Machine(cores, memory_bytes)


def _memory_total(root: Path) -> int:
    place = root / "proc/meminfo"
    for line in _text(place).splitlines():
        name, _, rest = line.partition(":")
        amount = rest.split()
        if name == "MemTotal" and len(amount) == 2 and amount[0].isdecimal() and amount[1] == "kB":
            return int(amount[0]) * 1024
    raise ConfigError(f'{place}: no line "MemTotal: … kB"; give the memory for tasks in the configuration')


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control group and of those that it is in, innermost first."""
    mount = root / "sys/fs/cgroup"
    own = next((line[3:] for line in _text(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    # A process outside what a container has mounted shows as "/../…": then the mounted root is all that is seen.
    parts = [] if ".." in own.split("/") else [part for part in own.split("/") if part]
    for count in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:count])


def _cores_max(folder: Path) -> float | None:
    """From `max 100000` or `150000 100000`: microseconds of processor time in each period of so many."""
    words = _text(folder / "cpu.max").split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or "0" in words:
        return None
    return int(words[0]) / int(words[1])


def _memory_max(folder: Path) -> int | None:
    text = _text(folder / "memory.max").strip()
    return int(text) if text.isdecimal() and int(text) else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def capacity_of(slots: int, resources: Mapping[str, float]) -> Capacity:
    """What an engine has for its tasks: what the machine has, and named tokens.

    Args:
        resources: counts by name; `cores` and `memory` (bytes) go before what the machine has.

    Raises:
        ConfigError: a name that is none, a negative count, or one that is not whole.
    """
    here = machine()
    tokens: dict[str, int] = {}
    for name, count in resources.items():
        check_name(name, "resource")
        if not 0 <= count < math.inf or (name != "cores" and count != int(count)):
            raise ConfigError(f"resource {name}={count}: a whole number of 0 or more is expected")
        tokens[name] = int(count)
    cores = float(resources.get("cores", here.cores))
    memory_bytes = tokens.pop("memory", here.memory_bytes)
    tokens.pop("cores", None)
    return Capacity(slots, cores, memory_bytes, tokens)
