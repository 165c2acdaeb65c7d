"""One engine to a state folder: the lock, and who holds it.

The lock is the kernel's (`flock` on the file `lock`), so that it ends with its
process however that ends; what stands in the file is only for the message to
the second engine. The file stays when the lock is let go: were it unlinked,
two engines could each hold a lock on a file of that name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import weakref
from io import FileIO
from pathlib import Path

from then.core.errors import JournalError, JournalLocked


class StateLock:
    """Held from construction to `release`, by this process alone.

    Args:
        folder: the state folder; it exists.

    Raises:
        JournalLocked: another engine holds it; names its pid.
        JournalError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            # Not inheritable, as all that Python opens: an exec'd child has no part in it.
            self._file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        except OSError as error:
            raise unwritable(folder, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with self._file:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise JournalLocked(str(folder), _holder(self._file)) from None
            raise JournalError(
                f"{folder}: cannot be locked ({error.strerror}); give --state a folder on a local disk"
            ) from error
        self._sign()
        self.is_held = True
        """False after release, and in a forked child, which never had it."""
        _held.add(self)

    def _sign(self) -> None:
        text = json.dumps(
            {
                "pid": os.getpid(),
                "boot": boot_id(),
                "started": started_ticks(),
            }
        )
        # On a full disk the lock holds as well; only the message will know less.
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(text.encode() + b"\n")

    def release(self) -> None:
        """Lets the next engine in. Twice is well."""
        self.is_held = False
        self._file.close()


# A forked child shares the open file and with it the lock, which would then
# outlive the engine. Closing (not unlocking) there leaves the parent's lock be.
_held: weakref.WeakSet[StateLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)


def _holder(file: FileIO) -> str:
    try:
        found = json.loads(file.read(4096))
        return f"pid {int(found['pid'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its pid is not known"


def unwritable(folder: Path, error: OSError) -> JournalError:
    """The error for a state folder in which nothing can be made."""
    return JournalError(
        f"{folder}: cannot be written ({error.strerror}); make it writable, or give --state another folder"
    )


def boot_id() -> str:
    """Names this run of the kernel; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started_ticks() -> int:
    """When this process started, in clock ticks since boot; 0 where the system does not tell."""
    try:
        # The command name may hold blanks and parentheses; the last one ends it.
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
