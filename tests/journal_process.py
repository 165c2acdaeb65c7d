"""Another process with a journal open, and what a test may need of the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

WRITER = """
import sys
from pathlib import Path
from then.abc import Entry
from then.journals.sqlite import open_sqlite

journal = open_sqlite(Path(sys.argv[1]), durability=sys.argv[3])
try:
    for seq in range(journal.last + 1, journal.last + 1 + int(sys.argv[2])):
        journal.append([Entry(seq, b"fact %d" % seq)])
        print(seq, flush=True)
except Exception as error:
    print(type(error).__name__, error, flush=True)
print("ready", flush=True)
sys.stdin.read()
journal.close()
"""
"""Appends so many entries, says which are durable, and waits for the end of its input."""


def command(state: Path, count: int, durability: str = "power") -> list[str]:
    return [sys.executable, "-c", WRITER, str(state), str(count), durability]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}


@contextlib.contextmanager
def writer(state: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has appended so many entries and holds the journal open; killed at the end."""
    process = subprocess.Popen(
        command(state, count), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                break
        try:
            yield process
        finally:
            process.kill()


def traced(options: Sequence[str], state: Path, count: int, durability: str = "power") -> tuple[str, str]:
    """What such a process printed under strace, and what strace did."""
    need(shutil.which("strace") is not None, "strace")
    done = subprocess.run(
        ["strace", "-f", *options, *command(state, count, durability)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


def need(is_there: bool, what: str) -> None:
    """Skips where the machine lacks something, and fails where it must not."""
    if not is_there:
        if os.environ.get("CI"):
            pytest.fail(f"needs {what}, which CI must have")
        pytest.skip(f"needs {what}")


@contextlib.contextmanager
def small_disk(place: Path, size_kib: int) -> Iterator[Path]:
    """A file system of this size, with a folder in it."""
    need(os.geteuid() == 0, "root, to mount a small disk")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)], capture_output=True, check=False
    )
    need(mounted.returncode == 0, "the right to mount a small disk")
    try:
        yield place
    finally:
        done = subprocess.run(["umount", str(place)], check=False)
        if done.returncode:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
            pytest.fail("a file was left open")


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)
