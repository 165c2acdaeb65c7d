"""The folder of each task, `tasks/<id>`: made, passed on, taken away.

A new folder costs 200 µs and two hundred inodes of journal traffic a second; a
rename costs 15. So the folder of a task that left nothing in it becomes that of
the next one. Its path is right from before the exec, and for good.
"""

from __future__ import annotations

import fcntl
import os

from .processes import Child, task_id_of

FRESH = [b"artifacts", b"err", b"out", b"task.json"]
FILES = (b"/out", b"/err", b"/task.json")
SPARES_MAX = 64
REUSE_BELOW = 256
"""With more children than this the check for strays costs more than a new folder."""


class Folders:
    """Gives each task its folder, mostly that of an earlier task which left nothing in it."""

    def __init__(self, folder: bytes, own: dict[int, Child]) -> None:
        self.tasks = folder + b"/tasks/"
        self.own = own
        self.spares: list[bytes] = []
        self.strays: dict[int, bytes | None] = {}
        """Adopted descendants of tasks, and whose: their task's folder stays as it is."""
        self.children_fd = -1
        os.makedirs(self.tasks, 0o700, exist_ok=True)

    def watch_children(self, is_reaper: bool) -> None:
        """To be called once. Only a subreaper gets every stray for a child; else no folder is passed on."""
        if is_reaper:
            try:
                self.children_fd = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                pass  # A kernel without that file.

    def children(self) -> list[int]:
        data = os.pread(self.children_fd, 1 << 20, 0) if self.children_fd >= 0 else b""
        return [int(word) for word in data.split()]

    def take(self, id: bytes, record: bytes) -> None:
        """Makes the task's folder, with its record in it. Raises OSError."""
        path = self.tasks + id
        while self.spares:
            if self._pass_on(self.spares.pop(), path, record):
                return
        for folder in (path, path + b"/artifacts"):
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                pass
        for name in FILES:
            fd = os.open(path + name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if name == b"/task.json":
                os.ftruncate(fd, 0)
                os.write(fd, record)
            os.close(fd)

    def leave(self, id: bytes) -> None:
        """The task has ended: what it left empty may serve another."""
        if self.children_fd >= 0:
            self.spares.append(id)
            if len(self.spares) > SPARES_MAX:
                self._pass_on(self.spares.pop(0), None, b"")

    def clear(self) -> None:
        """Takes away what nobody has used."""
        while self.spares:
            self._pass_on(self.spares.pop(), None, b"")

    def _pass_on(self, id: bytes, path: bytes | None, record: bytes) -> bool:
        """Renames an untouched folder to `path`, or removes it; False where it must stay (invariant 5)."""
        if len(self.own) > REUSE_BELOW or self._has_strays(id):
            return False
        old = self.tasks + id
        fds: list[int] = []
        try:
            for name in FILES:
                fds.append(os.open(old + name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
                # The kernel grants it only when nobody else has the file open, and who
                # opens it now waits until we let go; a reader then finds the path gone.
                fcntl.fcntl(fds[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
            out, err, task = map(os.fstat, fds)
            if out.st_size or err.st_size or not (out.st_mode == err.st_mode == task.st_mode == 0o100600):
                return False
            if sorted(os.listdir(old)) != FRESH or os.listdir(old + b"/artifacts"):
                return False
            if path is None:
                for name in FILES:
                    os.unlink(old + name)
                os.rmdir(old + b"/artifacts")
                os.rmdir(old)
                return True
            os.rename(old, path)
        except OSError:
            return False
        else:
            os.pwrite(fds[2], record, 0)
            if task.st_size > len(record):
                os.ftruncate(fds[2], len(record))
            return True
        finally:
            for fd in fds:
                os.close(fd)

    def _has_strays(self, id: bytes) -> bool:
        pids = self.children()
        if len(pids) == len(self.own):
            return False
        known = self.strays
        self.strays = {pid: known[pid] if pid in known else task_id_of(pid) for pid in pids if pid not in self.own}
        whose = self.strays.values()
        return id in whose or None in whose


