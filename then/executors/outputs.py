"""What a task leaves in its folder, for those who read it: while it runs, after it, from any process.

`tasks/<id>/` of the state folder holds `out` and `err` (raw bytes), `task.json`,
and what the task wrote: `result.json`, `messages.jsonl`, `artifacts/`. Where a task
left nothing the folder goes to another task; that is why a reader opens by
`open_output`, which notices.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal

from then.abc import Carry
from then.core.masking import Mask

Stream = Literal["out", "err"]

OWN: Final = ("task.json", "container")
"""Files that are of no use once the end of a task is on the disk."""
LITTLE_BYTES: Final = 4096
"""So much goes along with the end of a task: more is synced, which then costs little beside the writing."""
TAIL_BYTES: Final = 64 * 1024
"""So much of the end of an output is looked at for its last lines."""


def output_path(folder: Path, id: str, stream: Stream) -> Path | None:
    """The file that holds a task's standard output or error, as far as it was written; none where it wrote nothing."""
    path = _task_folder(folder, id) / stream
    return path if path.is_file() else None


def open_output(folder: Path, id: str, stream: Stream) -> BinaryIO | None:
    """The output, open for reading; it may still grow. None where there is none.

    While it is open its folder is not given to another task; and one that was
    given away before is noticed: what is read is this task's or nothing.
    """
    path = _task_folder(folder, id) / stream
    try:
        fd = _open_regular(path)
    except OSError:
        return None
    try:
        # The open may have waited until the keeper had renamed the folder away: then the path is gone.
        is_there = os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        is_there = False
    if is_there:
        return open(fd, "rb")
    os.close(fd)
    return None


def _open_regular(path: Path) -> int:
    """Opens a file for reading, and nothing else: to open a pipe could last for ever.

    It waits while the keeper has the file leased, to see whether it is empty; an open that does not wait fails then.

    Raises:
        OSError: there is none.
    """
    at = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        return os.open(f"/proc/self/fd/{at}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(at)


def tail(folder: Path, id: str, lines: int, stream: Stream = "err", mask: Mask | None = None) -> list[str]:
    """The last lines that a task wrote, fewer where they are long; bytes that are no UTF-8 as escapes.

    Args:
        mask: what of it is not to be seen; none where no secret is known.
    """
    if mask is not None and mask.hides(id):
        return []
    file = open_output(folder, id, stream)
    if file is None or lines <= 0:
        return []
    # More than is looked at, so that a value of which only the end would be seen is found.
    looked_at = TAIL_BYTES + (mask.reach if mask is not None else 0)
    with file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - looked_at))
        data = file.read(looked_at)
    if mask is not None and not mask.is_empty:
        data = mask.data(data)[-TAIL_BYTES:]
    return data.decode(errors="backslashreplace").splitlines()[-lines:]


def sync(folder: Path, *ids: str) -> None:
    """Brings to the disk what tasks left; nothing where they left nothing.

    What cannot be synced is left as it is: the record of the task is what counts.
    """
    is_new = False
    for id in ids:
        path = str(_task_folder(folder, id))
        try:
            names = _written(path)
            for name in names:
                _sync_file(name)
            if names:
                _sync_file(path)
                is_new = True
        except OSError:
            pass
    if is_new:
        try:
            _sync_file(str(folder / "tasks"))  # Once for all of them.
        except OSError:
            pass


def printed(id: str, out_bytes: int, data: bytes) -> dict[str, bytes]:
    """What a task printed, `out` and then `err`, as files by their paths in the state folder."""
    files = {f"tasks/{id}/out": data[:out_bytes], f"tasks/{id}/err": data[out_bytes:]}
    return {name: content for name, content in files.items() if content}


def carry_or_sync(
    folder: Path, ids: Sequence[str], carry: Carry, mask: Mask | None, told: Mapping[str, Mapping[str, bytes]]
) -> None:
    """What is little and holds no value of a secret lasts as the next append to the journal does; all else is synced.

    Args:
        told: all that some of them left, as far as that is known without a look.
    """
    rest: list[str] = []
    for id in ids:
        files = told[id] if id in told else _little(folder, id)
        is_open = mask is None or not (mask.hides(id) or any(mask.data(data) != data for data in files.values()))
        if not (files and is_open and carry(files)):
            rest.append(id)
    if rest:
        sync(folder, *rest)


def _little(folder: Path, id: str) -> dict[str, bytes]:
    """All that a task left, by paths in the state folder; nothing where it is more than a little, or in folders."""
    path = str(_task_folder(folder, id))
    files: dict[str, bytes] = {}
    room = LITTLE_BYTES
    try:
        for name in _written(path):
            if os.path.dirname(name) != path:
                return {}
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb", buffering=0) as file:
                data = file.read(room + 1)
            room -= len(data)
            if room < 0:
                return {}
            relative = os.path.relpath(name, folder)
            relative.encode()
            files[relative] = data
    except (OSError, UnicodeEncodeError):  # A name that is no UTF-8 cannot be carried.
        return {}
    return files


def _written(path: str) -> list[str]:
    """Files with something in them, our own left out, then the folders they are in, innermost first."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    found = _written(entry.path)
                    files += found
                    folders += [entry.path] if found else []
                elif entry.is_file(follow_symlinks=False) and entry.name not in OWN and entry.stat().st_size:
                    files.append(entry.path)
            except FileNotFoundError:
                pass  # It was empty, and the keeper has given it to another task.
    return files + folders


def _sync_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _task_folder(folder: Path, id: str) -> Path:
    # Ids are letters and digits; one from elsewhere must not lead out of the folder.
    return folder / "tasks" / (id if id.isalnum() else "-")
