"""The folder of each task, `tasks/<id>`: made, passed on, taken away.

A new folder with its files costs 200 µs and five inodes in the file system's
journal; a rename costs 15 µs. So the folder of a task that left nothing in it is
kept when the task has ended, and becomes that of a later one. The path of a task's
folder is right from before its exec, and for good.

From the look at it until its rename the keeper holds a lease on its outputs: the
kernel grants that only when nobody else has them open, makes who opens one wait,
and tells us by SIGIO (`let_go`). So what was empty at the look is empty at the rename.

The keeper holds the files and folders of such a folder open from its making: that
they are unchanged is then seen by five fstat, without a path.
"""

# ruff: noqa: TID251  (Times are compared with those that the file system stamps.)

from __future__ import annotations

import fcntl
import os
import time

from .processes import Child, task_id_of

FRESH = ["artifacts", "err", "out", "task.json"]
HELD_MAX = max(0, min(64, os.sysconf("SC_OPEN_MAX") // 10 - 10))
"""So many folders are held open at once: five descriptors each. All others stay where they are."""
REUSE_BELOW = 256
"""With more children than this the look for strays costs more than a new folder."""
AGED_NS = 10_000_000_000
READ_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_MODE = 0o100600


def make_folder(path: bytes) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


class Folder:
    """A folder that is held open, to be passed on if it stays untouched."""

    __slots__ = ("artifacts", "err", "folder", "mark", "name", "out", "size", "task")

    def __init__(self, name: bytes, fds: list[int]) -> None:
        self.name = name
        self.out, self.err, self.task, self.folder, self.artifacts = fds
        self.size = 0
        """Of the record in `task.json`."""
        self.set_mark()

    def set_mark(self) -> None:
        """Dates the folders back: what changes them from now on gives them another time, however coarse the clock."""
        self.mark = time.time_ns() - AGED_NS
        os.utime(self.folder, ns=(self.mark, self.mark))
        os.utime(self.artifacts, ns=(self.mark, self.mark))
        self.mark = os.fstat(self.folder).st_mtime_ns  # As exactly as the file system keeps it.

    def write_record(self, record: bytes) -> None:
        os.pwrite(self.task, record, 0)
        if self.size > len(record):
            os.ftruncate(self.task, len(record))
        self.size = len(record)

    def is_unchanged(self) -> bool:
        """No file or folder came or went."""
        return os.fstat(self.folder).st_mtime_ns == self.mark == os.fstat(self.artifacts).st_mtime_ns

    def lease(self) -> bool:
        """Whether nobody else has one of the outputs open. Who opens one from now on waits until `release`."""
        try:
            fcntl.fcntl(self.out, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(self.err, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
        return True

    def release(self) -> None:
        fcntl.fcntl(self.out, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        fcntl.fcntl(self.err, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def is_wanted(self) -> bool:
        """Whether somebody waits for the end of a lease."""
        return any(fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK for fd in (self.out, self.err))

    def is_untouched(self) -> bool:
        """Whether it is as it was given: files empty, of their mode, and no others."""
        fstat = os.fstat
        out, err, task = fstat(self.out), fstat(self.err), fstat(self.task)
        if out.st_size or err.st_size or not out.st_mode == err.st_mode == task.st_mode == FILE_MODE:
            return False
        if task.st_nlink != 1 or task.st_size != self.size:
            return False
        if self.is_unchanged():
            return True
        # Something came, and perhaps went again.
        self.set_mark()
        return sorted(os.listdir(self.folder)) == FRESH and not os.listdir(self.artifacts)

    def close(self) -> None:
        for fd in (self.out, self.err, self.task, self.folder, self.artifacts):
            os.close(fd)


class Folders:
    """Gives each task its folder, mostly that of an earlier task which left nothing in it."""

    def __init__(self, folder: bytes, own: dict[int, Child]) -> None:
        self.tasks = folder + b"/tasks/"
        self.own = own
        self.held: dict[bytes, Folder] = {}
        """Of tasks that run."""
        self.spares: list[Folder] = []
        """Of tasks that have ended: empty, and leased."""
        self.strays: dict[int, bytes | None] = {}
        """Adopted descendants of tasks, and whose: their task's folder stays as it is."""
        self.children_fd = -1
        make_folder(self.tasks)
        self.tasks_fd = os.open(self.tasks, FOLDER)

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
        folder = self._pass_on(id) if self.spares else None
        if folder is None:
            folder = self._make(id)
        folder.write_record(record)
        if self.children_fd >= 0 and len(self.held) < HELD_MAX:
            self.held[id] = folder
        else:
            folder.close()

    def leave(self, id: bytes) -> bool:
        """The task has ended. Whether it left nothing; then its folder is kept for another (invariant 5)."""
        folder = self.held.pop(id, None)
        if folder is None:
            return False
        if self._is_free(folder):
            self.spares.append(folder)
            return True
        folder.close()  # And with that the lease is gone.
        return False

    def let_go(self) -> None:
        """Somebody waits for the lease of a spare (SIGIO): that one stays its task's."""
        wanted = [spare for spare in self.spares if spare.is_wanted()]
        for spare in wanted:
            self.spares.remove(spare)
            spare.close()

    def clear(self) -> None:
        """Takes away what is kept for others."""
        for spare in self.spares:
            path = self.tasks + spare.name
            try:
                for name in (b"/out", b"/err", b"/task.json"):
                    os.unlink(path + name)
                os.rmdir(path + b"/artifacts")
                os.rmdir(path)
            except OSError:
                pass  # Somebody was quicker; what is left is harmless.
            spare.close()
        self.spares.clear()

    def _make(self, id: bytes) -> Folder:
        path = self.tasks + id
        make_folder(path)
        make_folder(path + b"/artifacts")
        fds: list[int] = []
        try:
            for name in (b"/out", b"/err", b"/task.json"):
                fds.append(os.open(path + name, READ_WRITE | os.O_CREAT, 0o600))
            for name in (b"", b"/artifacts"):
                fds.append(os.open(path + name, FOLDER))
            return Folder(id, fds)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise

    def _is_free(self, folder: Folder) -> bool:
        """Whether it may become another's; it is leased then."""
        if len(self.spares) >= HELD_MAX or len(self.own) > REUSE_BELOW or self._has_strays(folder.name):
            return False
        try:
            return folder.lease() and folder.is_untouched()
        except OSError:
            return False

    def _pass_on(self, id: bytes) -> Folder | None:
        """A spare, renamed; none where somebody took it away or put something into it."""
        spare = self.spares.pop()
        try:
            # Its outputs are leased, so as empty as they were.
            if spare.is_unchanged():
                os.rename(spare.name, id, src_dir_fd=self.tasks_fd, dst_dir_fd=self.tasks_fd)
                spare.name = id
                # Who waited to read the file has it now, and finds that its path is gone.
                spare.release()
                return spare
        except OSError:
            pass
        spare.close()
        return None

    def _has_strays(self, id: bytes) -> bool:
        pids = self.children()
        if len(pids) == len(self.own):
            return False
        known = self.strays
        self.strays = {
            pid: known[pid] if pid in known else task_id_of(pid, self.tasks) for pid in pids if pid not in self.own
        }
        whose = self.strays.values()
        return id in whose or None in whose
