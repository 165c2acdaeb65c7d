"""Small files that the journal carries: as lasting as the entries behind them, before they are on the disk themselves.

What a task prints is mostly a line. To sync that file, its folder and the folder
above costs several times what the commit of the task's end costs. So files that
are little go along with the next append, in its record of the tail, and are
synced later, many at once. A start after a loss of power puts them back.

Invariants:

1. A file that was added is on the disk, or in a record of the tail's present
   generation, from the next append on.
2. So all of them are settled, that is synced, before SQLite commits: with that
   the tail begins anew. Nothing that is carried is ever in `journal.db`.

What cannot be synced is left as it is: the record of the task is what counts.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from then.journals.connection import sync_folder

SETTLED_AT_ONCE: Final = 16
"""When so many files wait to be synced, a thread does it."""
FILES_MAX: Final = 512
"""No more than so many wait; who brings another syncs it."""
FRESH_BYTES_MAX: Final = 32 * 1024
"""No more than that goes along with one append."""

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A task may have put something else there: no link is followed, no pipe waited for."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Carried:
    """The files that are carried now. Any thread may add; one at a time appends.

    Args:
        folder: the state folder. Files are named from there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._lock = threading.Lock()
        self._open: dict[str, None] = {}
        """Not known to be on the disk, the oldest first."""
        self._fresh: dict[str, bytes] = {}
        """Of these, what is in no record yet."""
        self._fresh_bytes = 0
        self._settling: threading.Thread | None = None

    def add(self, files: Mapping[str, bytes]) -> bool:
        """Has files go along with the next append. False where it is enough; then the caller syncs them."""
        size_bytes = sum(map(len, files.values()))
        with self._lock:
            if len(self._open) + len(files) > FILES_MAX or self._fresh_bytes + size_bytes > FRESH_BYTES_MAX:
                return False
            self._open.update(dict.fromkeys(files))
            self._fresh.update(files)
            self._fresh_bytes += size_bytes
            if len(self._open) >= SETTLED_AT_ONCE and self._settling is None:
                settling = threading.Thread(target=self._settle_aside, name="then-settle", daemon=True)
                with contextlib.suppress(RuntimeError):  # None can be started now: who brings the next tries again.
                    settling.start()
                    self._settling = settling
        return True

    def fresh(self) -> bytes:
        """What the next record has to hold; empty where it is nothing."""
        if not self._fresh:
            return b""
        with self._lock:
            return _encode(self._fresh)

    def is_in_record(self, data: bytes) -> None:
        """What `fresh` gave is durable in a record."""
        with self._lock:
            for name in _decode(data):
                self._forget_fresh(name)

    def settle(self) -> None:
        """Brings to the disk all that was added before."""
        with self._lock:
            names = list(self._open)
        if not names:
            return
        self.sync(names)
        with self._lock:
            for name in names:
                self._open.pop(name, None)
                self._forget_fresh(name)

    def put_back(self, held: Iterable[bytes], *, is_after_a_cut: bool) -> None:
        """Brings to the disk what records hold; after a loss of power also what is not there as it was.

        Raises:
            OSError: it cannot be written.
        """
        files = {name: content for data in held for name, content in _decode(data).items()}
        if is_after_a_cut and files:
            for name, content in files.items():
                # A task put a folder there, or closed its own to us.
                with contextlib.suppress(IsADirectoryError, PermissionError):
                    self.restore(name, content)
            sync_folder(self._folder)
        self.sync(files)

    def close(self) -> None:
        settling = self._settling
        if settling is not None:
            settling.join()

    # -- the disk; these two are all that touches it

    def sync(self, names: Iterable[str]) -> None:
        """Files, then the folders that they are in, up to the state folder; each once."""
        folders: dict[str, None] = {}
        for name in names:
            with contextlib.suppress(OSError):
                _sync(self._folder / name, 0)
                while name := os.path.dirname(name):
                    folders[name] = None
        for name in sorted(folders, reverse=True):
            with contextlib.suppress(OSError):
                _sync(self._folder / name, os.O_DIRECTORY)

    def restore(self, name: str, content: bytes) -> None:
        """Makes a file anew, unless it begins as it was. What else stands there, or cannot be read, gives way. Raises OSError."""
        path = self._folder / name
        for above in reversed(Path(name).parents):
            (self._folder / above).mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError), open(os.open(path, _READ), "rb", buffering=0) as file:
            if file.read(len(content)) == content:
                return
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)

    def _settle_aside(self) -> None:
        try:
            self.settle()
        finally:
            self._settling = None

    def _forget_fresh(self, name: str) -> None:
        content = self._fresh.pop(name, None)
        if content is not None:
            self._fresh_bytes -= len(content)


OpenCarried: TypeAlias = Callable[[Path], Carried]


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, _READ | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
