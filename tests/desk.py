"""A desk to run processes from: an executor on a state folder, and pipes to speak with what it runs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Self

from tests.seams.executor_suite import PATIENCE_S, Reports, job
from then.abc import Report
from then.executors.outputs import Stream, open_output
from then.executors.process import ProcessExecutor


def wait_gone(pid: int) -> None:
    """Until a process has ended; at once where there is none."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], PATIENCE_S)[0], pid
    os.close(fd)


def files_of(folder: Path) -> dict[Path, bytes]:
    """What stands in all files below a folder, whatever a keeper that ends renames and removes there meanwhile."""
    found: dict[Path, bytes] = {}
    for at, _, names in os.walk(folder):
        for path in (Path(at, name) for name in names):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    found[path.relative_to(folder)] = path.read_bytes()
    return found


class Signal:
    """A named pipe: one side waits in `wait` (`read line < PATH`) until the other sends (`echo > PATH`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def __str__(self) -> str:
        return str(self.path)

    def send(self) -> None:
        self.path.write_text("go\n")

    def wait(self) -> str:
        return self.path.read_text()


class Desk:
    """An executor on a state folder, and what it reported."""

    def __init__(self, folder: Path, reports: Reports | None = None) -> None:
        self.folder = folder
        self.reports = reports or Reports()
        self.executor = ProcessExecutor(folder / "state", self.reports, root=folder)
        (folder / "state").mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What a test that failed left running ends with it.
        for id in list(self.executor._jobs):
            self.executor.stop(id, 0)
        self.executor.close(wait=True)

    def signal(self, name: str) -> Signal:
        return Signal(self.folder / name)

    def run(self, *argv: str, **options: object) -> Report:
        """Runs one to its end."""
        count = len(self.reports.all)
        self.executor.start([job(f"task{count}", argv=list(argv), **options)])
        return self.reports.wait(count + 1)[f"task{count}"]

    def shell(self, script: str, **options: object) -> Report:
        return self.run("sh", "-c", script, **options)

    def start_shell(self, id: str, script: str, **options: object) -> None:
        self.executor.start([job(id, argv=["sh", "-c", script], **options)])

    @property
    def keeper_log(self) -> Path:
        return self.folder / "state" / "keeper.log"

    @property
    def keeper_pid(self) -> int:
        return int((self.folder / "state" / "keeper.lock").read_text())

    def kill_keeper(self) -> int:
        """Kills the keeper, as the kernel does when memory is short, and sees it gone; gives its pid."""
        pid = self.keeper_pid
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        return pid

    def output(self, report: Report, stream: Stream = "out") -> bytes:
        file = open_output(self.folder / "state", report.id, stream)
        if file is None:
            return b""
        with file:
            return file.read()
