"""The folder of each task, `tasks/<id>`: made, passed on, taken away.

A new folder with its files costs 200 µs and five inodes in the file system's
journal; a rename costs 15 µs. So the folder of a task that left nothing in it is
kept when the task has ended, and becomes that of a later one. The path of a task's
folder is right from before its exec, and for good.

From the look at it until its rename the keeper holds a lease on its outputs: the
kernel grants that only when nobody else has them open, makes who opens one wait,
and tells us by SIGIO (`let_go`). So what was empty at the look is empty at the rename.

Of a folder whose task printed something, and left nothing else, what is empty goes
to a folder that is made (`_given`): three inodes less, each of which costs as much as
five renames, or fifty where many files were deleted just before (ext4 without a
journal looks at each of them).

The keeper holds the files and folders of such a folder open from its making: that
they are unchanged is then seen by five fstat, without a path.

Where tasks leave something, and so none is passed on, the next folder is made while
a task runs (`make_ahead`): its start is not to wait for that, nor its end to be seen.
"""

# ruff: noqa: TID251  (Times are compared with those that the file system stamps.)

from __future__ import annotations

import fcntl
import os
import time

from .processes import Child, task_id_of

TYPE_CHECKING = False  # (`typing` costs 5 ms)
if TYPE_CHECKING:
    from collections.abc import Generator

FRESH = ["artifacts", "err", "out", "task.json"]
REMOVALS = (
    (os.unlink, b"/out"),
    (os.unlink, b"/err"),
    (os.unlink, b"/task.json"),
    (os.rmdir, b"/artifacts"),
    (os.rmdir, b""),
)
HELD_MAX = max(0, min(64, os.sysconf("SC_OPEN_MAX") // 10 - 10))
"""So many folders are held open at once: five descriptors each. All others stay where they are."""
GIVERS_MAX = 8
"""So many of them are held open for what is empty in them."""
REUSE_BELOW = 256
"""With more children than this the look for strays costs more than a new folder."""
AHEAD = b"../keeper.spare"
"""The folder that is made ahead, seen from `tasks`."""
AGED_NS = 10_000_000_000
PRINTED_BYTES = 4096
"""So much is told with the end of a task, where it is all that the task left: who hears it need not look into files."""
READ_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_MODE = 0o100600
FOLDER_MODE = 0o700
"""Of a folder's bits those for users."""
ENOSPC = 28


def make_folder(path: bytes) -> bool:
    """Whether it is new."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    return True


def remove_fresh(path: bytes) -> None:
    """Takes away a folder that no task has, or what was made of it; nothing where it is not there."""
    for remove, name in REMOVALS:
        try:
            remove(path + name)
        except OSError:
            pass  # It was not made yet, or somebody was quicker; what is left is harmless.


class Folder:
    """A folder that is held open, to be passed on if it stays untouched."""

    __slots__ = ("artifacts", "err", "folder", "mark", "name", "out", "size", "task")

    def __init__(self, name: bytes, fds: list[int]) -> None:
        self.name = name
        self.out, self.err, self.task, self.folder, self.artifacts = fds
        self.size = os.fstat(self.task).st_size
        """Of the record in `task.json`: of another task's, where it was given, or given to a start that failed then."""
        self.set_mark()

    def set_mark(self) -> None:
        """Dates the folders back: what changes them from now on gives them another time, however coarse the clock."""
        self.mark = time.time_ns() - AGED_NS
        os.utime(self.folder, ns=(self.mark, self.mark))
        os.utime(self.artifacts, ns=(self.mark, self.mark))
        self.mark = os.fstat(self.folder).st_mtime_ns  # As exactly as the file system keeps it.

    def write_record(self, record: bytes) -> None:
        if os.pwrite(self.task, record, 0) < len(record):
            raise OSError(ENOSPC, os.strerror(ENOSPC))  # There was room for a piece of it.
        if self.size > len(record):
            os.ftruncate(self.task, len(record))
        self.size = len(record)

    def is_unchanged(self) -> bool:
        """No file or folder came or went, and they may be used by whom they were made for."""
        folder, artifacts = os.fstat(self.folder), os.fstat(self.artifacts)
        return (
            folder.st_mtime_ns == self.mark == artifacts.st_mtime_ns
            and folder.st_mode & 0o777 == FOLDER_MODE == artifacts.st_mode & 0o777
        )

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

    def is_silent(self) -> bool:
        """Nothing was written to the outputs: most of what is not untouched is told by that."""
        return not os.fstat(self.out).st_size and not os.fstat(self.err).st_size

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
        return self.is_unchanged() and sorted(os.listdir(self.folder)) == FRESH and not os.listdir(self.artifacts)

    def printed(self) -> tuple[bytes, bytes] | None:
        """What is in the outputs, where that is little and no file or folder came; else none."""
        out = os.pread(self.out, PRINTED_BYTES + 1, 0)
        err = os.pread(self.err, PRINTED_BYTES + 1, 0)
        return (out, err) if len(out) + len(err) <= PRINTED_BYTES and self.is_unchanged() else None

    def give(self, path: bytes, at: int) -> dict[bytes, int]:
        """Moves what is empty, and the record, to the new folder at the path: their descriptors, by name.

        It is to be closed then. Nothing is moved of what somebody else has open.
        """
        if not self.is_unchanged():
            return {}
        given: dict[bytes, int] = {}
        for name, fd in ((b"/out", self.out), (b"/err", self.err), (b"/task.json", self.task)):
            size = self.size if fd == self.task else 0
            try:
                if os.fstat(fd).st_size != size:
                    continue  # Whoever reads what a task printed is not to wait for us.
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError:
                continue
            try:
                found = os.fstat(fd)  # Leased, so that it stays as it is found.
                if (found.st_size, found.st_nlink, found.st_mode) == (size, 1, FILE_MODE):
                    os.rename(self.name + name, path + name, src_dir_fd=at)
                    given[name] = fd
            except OSError:
                pass  # Somebody took it away.
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        try:
            os.rename(self.name + b"/artifacts", path + b"/artifacts", src_dir_fd=at)
            given[b"/artifacts"] = self.artifacts
        except OSError:
            pass
        return given

    def close(self, kept: tuple[int, ...] = ()) -> None:
        for fd in (self.out, self.err, self.task, self.folder, self.artifacts):
            if fd not in kept:
                os.close(fd)


def _whole(pieces: Generator[None, None, Folder]) -> Folder:
    """A folder whose making was begun, or was not."""
    try:
        while True:
            next(pieces)
    except StopIteration as made:
        return made.value  # type: ignore[no-any-return]


class Folders:
    """Gives each task its folder, mostly that of an earlier task which left nothing in it."""

    def __init__(self, folder: bytes, own: dict[int, Child]) -> None:
        self.tasks = folder + b"/tasks/"
        self.own = own
        self.held: dict[bytes, Folder] = {}
        """Of tasks that run."""
        self.spares: list[Folder] = []
        """Of tasks that have ended: empty, and leased."""
        self.givers: list[Folder] = []
        """Of tasks that have ended and printed a little."""
        self.printed: dict[bytes, tuple[bytes, bytes]] = {}
        """What tasks that have ended printed, until that is told."""
        self.strays: dict[int, bytes | None] = {}
        """Adopted descendants of tasks, and whose: their task's folder stays as it is."""
        self.is_short = False
        """The next task would have to wait for its folder."""
        self.made = 0
        """How many were made since the start. A lone task is no reason to make another ahead."""
        self.ahead: Generator[None, None, Folder] | None = None
        """The one that is being made."""
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
        data = b""
        # A page of them at a time, however much is asked for.
        while self.children_fd >= 0 and (page := os.pread(self.children_fd, 1 << 16, len(data))):
            data += page
        return [int(word) for word in data.split()]

    def take(self, id: bytes, record: bytes) -> None:
        """Makes the task's folder, with its record in it. Raises OSError."""
        if self.ahead is not None and not self.spares:
            try:
                self._add(_whole(self.ahead))
            except OSError:
                self.ahead = None
        folder = self._pass_on(id) if self.spares else None
        if folder is None:
            folder = self._make(id)
            self.made += 1
        try:
            folder.write_record(record)
        except OSError:
            folder.close()
            raise
        if self.children_fd >= 0 and len(self.held) < HELD_MAX:
            self.held[id] = folder
            self.is_short = not self.spares and self.made > 1
        else:
            folder.close()

    def make_ahead(self) -> None:
        """Makes a piece of the folder of the next task: who calls it can look about between two."""
        if self.ahead is None:
            remove_fresh(self.tasks + AHEAD)  # What a keeper that was killed has left.
            self.ahead = self._pieces(AHEAD, is_new=True)
        try:
            next(self.ahead)
        except StopIteration as made:
            self._add(made.value)
        except OSError:
            self.ahead, self.is_short = None, False

    def _add(self, folder: Folder) -> None:
        """Puts the folder that was made ahead to those that wait for a task."""
        self.ahead, self.is_short = None, False
        try:
            is_free = folder.lease() and folder.is_untouched()
        except OSError:
            is_free = False  # It cannot be looked at.
        if is_free:
            self.spares.append(folder)
        else:
            folder.close()

    def leave(self, id: bytes) -> bool:
        """The task has ended. Whether it left nothing; then its folder is kept for another (invariant 5)."""
        folder = self.held.pop(id, None)
        if folder is None:
            return False
        try:
            is_silent = folder.is_silent()
            printed = None if is_silent else folder.printed()
        except OSError:
            is_silent, printed = False, None  # It cannot be looked at; who hears of the end may try.
        if is_silent and self._is_free(folder):
            self.spares.append(folder)
            return True
        if printed is not None:
            self.printed[id] = printed
            if len(self.givers) < GIVERS_MAX:
                self.givers.append(folder)
                return False
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
            remove_fresh(self.tasks + spare.name)
            spare.close()
        self.spares.clear()
        for giver in self.givers:
            giver.close()
        self.givers.clear()
        remove_fresh(self.tasks + AHEAD)

    def _make(self, id: bytes) -> Folder:
        return _whole(self._pieces(id))

    def _pieces(self, id: bytes, is_new: bool = False) -> Generator[None, None, Folder]:
        """Makes a folder, an inode at a time. Raises OSError; also where there is one that was to be new."""
        path = self.tasks + id
        fds: list[int] = []
        given: dict[bytes, int] = {}
        try:
            if is_new:
                os.mkdir(path, 0o700)
                yield
                given = self._given(path)
            elif make_folder(path):
                given = self._given(path)
            if b"/artifacts" not in given:
                make_folder(path + b"/artifacts")
            for name in (b"/out", b"/err", b"/task.json"):
                if name in given:
                    fds.append(given.pop(name))
                else:
                    yield
                    fds.append(os.open(path + name, READ_WRITE | os.O_CREAT, 0o600))
            fds.append(os.open(path, FOLDER))
            fds.append(given.pop(b"/artifacts") if given else os.open(path + b"/artifacts", FOLDER))
            return Folder(id, fds)
        except OSError:
            for fd in (*fds, *given.values()):
                os.close(fd)
            raise

    def _given(self, path: bytes) -> dict[bytes, int]:
        """What a new folder is given of one whose task has ended: descriptors by name."""
        while self.givers:
            giver = self.givers.pop()
            given: dict[bytes, int] = {}
            try:
                if not self._has_strays(giver.name):
                    given = giver.give(path, self.tasks_fd)
            except OSError:
                pass  # It cannot be looked at.
            giver.close(kept=tuple(given.values()))
            if given:
                return given
        return {}

    def _is_free(self, folder: Folder) -> bool:
        """Whether one whose task printed nothing may become another's; it is leased then."""
        if len(self.spares) >= HELD_MAX or self._has_strays(folder.name):
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
        """Whether something of the task lives, or it is not worth a look."""
        if len(self.own) > REUSE_BELOW:
            return True
        pids = self.children()
        if len(pids) == len(self.own):
            return False
        known = self.strays
        self.strays = {
            pid: known[pid] if pid in known else task_id_of(pid, self.tasks) for pid in pids if pid not in self.own
        }
        whose = self.strays.values()
        return id in whose or None in whose
