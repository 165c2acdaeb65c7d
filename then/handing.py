"""Files on their way from one task to another: what they were when they were handed over, and whether they still are.

A task that hands a file on leaves a note beside it, in its own folder:
`tasks/<id>/files.json`, of each file path, size, SHA-256 and time of change. A
task that is given the path of such a file, as an input of type `file`, is
started only where the file is what it was. Of a file that lies elsewhere there
is no note, and nothing is known.

Who calls: `then.executors.files` writes notes, `then.starting` reads them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Final

from then.core.launch import CannotLaunch
from then.core.tasks import Body

CHUNK_BYTES: Final = 1 << 20
NOTE: Final = "files.json"
"""In the folder of the task that handed files on."""


class FileChanged(CannotLaunch):
    """A file is not what it was when it was handed over."""

    kind = "load"


def digest(path: str) -> tuple[int, str]:
    """Size and SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    found, size = hashlib.sha256(), 0
    # A pipe would be waited for; a folder is refused by the read.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
            size += len(chunk)
    return size, found.hexdigest()


def leave_note(folder: str, files: Mapping[str, Body]) -> None:
    """Notes files that a task hands on; where it cannot be written nothing is known of them later.

    Args:
        folder: of the task; its artifacts lie below.
        files: by field, `path`, `size` and `sha256`.
    """
    notes = {}
    for one in files.values():
        path = str(one["path"])
        with contextlib.suppress(OSError):
            notes[path] = {**one, "changed": os.stat(path).st_mtime_ns}
    with contextlib.suppress(OSError), open(os.path.join(folder, NOTE), "w", encoding="utf-8") as file:
        json.dump(notes, file)


def check_files(names: object, body: Body) -> None:
    """Whether the files that a task is given are what they were.

    Args:
        names: its inputs of type `file`.

    Raises:
        FileChanged: one is another, or is gone.

    Cost: a look at each file; one whose size and time are another is read.
    """
    assert isinstance(names, list)
    for name in names:
        path = body.get(name)
        note = _note_of(path) if isinstance(path, str) else None
        if note is None:
            continue
        try:
            status = os.stat(str(path))
            is_same = (status.st_size, status.st_mtime_ns) == (note.get("size"), note.get("changed"))
            if is_same or digest(str(path)) == (note.get("size"), note.get("sha256")):
                continue
        except OSError as error:
            raise FileChanged(
                f'{name}: file "{path}" was handed on, and now: {(error.strerror or "").lower()}'
            ) from None
        raise FileChanged(
            f'{name}: file "{path}" is not what was handed on: it had {note.get("size")} bytes, '
            f"SHA-256 {str(note.get('sha256'))[:12]}…; `andthen retry` the task that made it"
        )


def _note_of(path: str) -> Body | None:
    """What was noted of a file when it was handed on; None where nothing is known."""
    folder, found, _ = path.partition("/artifacts/")
    if not found:
        return None
    try:
        with open(os.path.join(folder, NOTE), encoding="utf-8") as file:
            notes = json.load(file)
    except (OSError, ValueError):
        return None
    note = notes.get(path) if isinstance(notes, dict) else None
    return note if isinstance(note, dict) else None
