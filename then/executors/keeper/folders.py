"""The folder of each task, `tasks/<id>`: made, passed on, taken away.

A new folder with its files costs 200 µs and five inodes in the file system's
journal; a rename costs 15 µs. So the folder of a task that left nothing in it becomes
that of the next one. Its path is right from before the exec, and for good.

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
HELD_MAX = 64
"""So many folders are held open at once: five descriptors each. All others stay where they are."""
REUSE_BELOW = 256
"""With more children than this the look for strays costs more than a new folder."""
SEASONED_NS = 2_500_000_000
"""A folder changed so long ago gets another time stamp at its next change, on any file system."""
READ_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(path: bytes) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


class Folder:
    """A folder that is held open, to be passed on if it stays untouched."""

    __slots__ = ("changed", "fds", "id", "is_seasoned", "size")

    def __init__(self, id: bytes, fds: tuple[int, int, int, int, int]) -> None:
        self.id = id
        self.fds = fds
        """Of `out`, `err`, `task.json`, the folder itself, and `artifacts`."""
        self.size = 0
        """Of the record in `task.json`."""
        self.stamp()

    def stamp(self) -> None:
        """Notes when the folders were changed last, and whether that tells of a change to come."""
        self.changed = (os.fstat(self.fds[3]).st_mtime_ns, os.fstat(self.fds[4]).st_mtime_ns)
        self.is_seasoned = time.time_ns() - max(self.changed) > SEASONED_NS

    def write_record(self, record: bytes) -> None:
        os.pwrite(self.fds[2], record, 0)
        if self.size > len(record):
            os.ftruncate(self.fds[2], len(record))
        self.size = len(record)

    def lease(self) -> bool:
        """Whether nobody else has one of the outputs open. Who opens one now waits until `release`."""
        try:
            fcntl.fcntl(self.fds[0], fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(self.fds[1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
        return True

    def release(self) -> None:
        fcntl.fcntl(self.fds[0], fcntl.F_SETLEASE, fcntl.F_UNLCK)
        fcntl.fcntl(self.fds[1], fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def is_surely_empty(self) -> bool:
        """No output, and no file or folder came or went, as far as time stamps tell."""
        fds = self.fds
        return (
            self.is_seasoned
            and not os.fstat(fds[0]).st_size
            and not os.fstat(fds[1]).st_size
            and self.changed == (os.fstat(fds[3]).st_mtime_ns, os.fstat(fds[4]).st_mtime_ns)
        )

    def is_untouched(self) -> bool:
        """Whether it is as it was given: files empty, of their mode, and no others."""
        out, err, task = os.fstat(self.fds[0]), os.fstat(self.fds[1]), os.fstat(self.fds[2])
        if out.st_size or err.st_size or not (out.st_mode == err.st_mode == task.st_mode == 0o100600):
            return False
        if task.st_nlink != 1 or task.st_size != self.size:
            return False
        if self.is_seasoned and self.changed == (os.fstat(self.fds[3]).st_mtime_ns, os.fstat(self.fds[4]).st_mtime_ns):
            return True
        # Something came and went; or it would have the same time stamp. Look.
        self.stamp()
        return sorted(os.listdir(self.fds[3])) == FRESH and not os.listdir(self.fds[4])

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Folders:
    """Gives each task its folder, mostly that of an earlier task which left nothing in it."""

    def __init__(self, folder: bytes, own: dict[int, Child]) -> None:
        self.tasks = folder + b"/tasks/"
        self.own = own
        self.held: dict[bytes, Folder] = {}
        """Of tasks that run."""
        self.spares: list[Folder] = []
        """Of tasks that have ended."""
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
        while self.spares:
            spare = self.spares.pop()
            if self._pass_on(spare, id):
                self.held[id] = spare
                try:
                    spare.write_record(record)
                finally:
                    spare.release()
                return
            spare.close()
        folder = self._make(id)
        folder.write_record(record)
        if self.children_fd >= 0 and len(self.held) < HELD_MAX:
            self.held[id] = folder
        else:
            folder.close()

    def leave(self, id: bytes) -> bool:
        """The task has ended: what it left empty may serve another. Returns whether that is certain already."""
        folder = self.held.pop(id, None)
        if folder is None:
            return False
        is_empty = folder.is_surely_empty()
        self.spares.append(folder)
        if len(self.spares) > HELD_MAX:
            self._remove(self.spares.pop(0))
        return is_empty

    def clear(self) -> None:
        """Takes away what nobody has used."""
        while self.spares:
            self._remove(self.spares.pop())

    def _make(self, id: bytes) -> Folder:
        path = self.tasks + id
        make_folder(path)
        make_folder(path + b"/artifacts")
        fds: list[int] = []
        try:
            fds += [os.open(path + name, READ_WRITE | os.O_CREAT, 0o600) for name in (b"/out", b"/err", b"/task.json")]
            fds += [os.open(path, FOLDER), os.open(path + b"/artifacts", FOLDER)]
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        return Folder(id, (fds[0], fds[1], fds[2], fds[3], fds[4]))

    def _pass_on(self, spare: Folder, id: bytes) -> bool:
        """Renames a spare to another task's, its files leased; False where it must stay (invariant 5)."""
        if len(self.own) > REUSE_BELOW or self._has_strays(spare.id):
            return False
        try:
            # A reader that opens a file from now on gets it when we let go, and finds that its path is gone.
            if spare.lease() and spare.is_untouched():
                os.rename(spare.id, id, src_dir_fd=self.tasks_fd, dst_dir_fd=self.tasks_fd)
                spare.id = id
                spare.is_seasoned = time.time_ns() - max(spare.changed) > SEASONED_NS
                return True
        except OSError:
            pass
        return False

    def _remove(self, spare: Folder) -> None:
        path = self.tasks + spare.id
        try:
            if not self._has_strays(spare.id) and spare.lease() and spare.is_untouched():
                for name in (b"/out", b"/err", b"/task.json"):
                    os.unlink(path + name)
                os.rmdir(path + b"/artifacts")
                os.rmdir(path)
        except OSError:
            pass  # Somebody was quicker; what is left is harmless.
        spare.close()

    def _has_strays(self, id: bytes) -> bool:
        pids = self.children()
        if len(pids) == len(self.own):
            return False
        known = self.strays
        self.strays = {pid: known[pid] if pid in known else task_id_of(pid) for pid in pids if pid not in self.own}
        whose = self.strays.values()
        return id in whose or None in whose
