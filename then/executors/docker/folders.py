"""The folder of a task that runs in a container, and what a state folder remembers of its containers.

`tasks/<id>/` is as for a process: `out`, `err`, `task.json`, and after the end
`result.json`, `messages.jsonl`, `artifacts/`. A container sees none of that but
`box`, a folder in it, as `/then`; or a copy, where its engine does not share our
file system. So nothing that we read or write by name is in a container's hands
while it runs. At its end what it left in the box is moved out.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tarfile
from pathlib import Path
from typing import Final

HOSTS: Final = "docker.hosts"
"""The engines that a state has used, a line each: there its containers are looked for."""
IDENTITY: Final = "docker.state"
"""Who this state is, to engines that know of several."""
INSIDE: Final = "/then"
"""Where the box is for a container."""
FILES: Final = ("result.json", "messages.jsonl")
NOTE: Final = "container"
"""Where the container of a task is, its id, and whether its start was asked for."""
BEGUN: Final = "begun"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_ANEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def identity(folder: Path) -> str:
    """The name of this state; made with the first use, and for good."""
    path = folder / IDENTITY
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    own = folder / f"{IDENTITY}.{os.getpid()}"
    _write_synced(own, secrets.token_hex(8) + "\n")
    try:
        os.link(own, path)
    except FileExistsError:
        pass  # Another thread was quicker.
    own.unlink()
    return path.read_text().strip()


def hosts(folder: Path) -> list[str]:
    try:
        return [line for line in (folder / HOSTS).read_text().split("\n") if line]
    except FileNotFoundError:
        return []


def remember_host(folder: Path, host: str) -> None:
    """Notes, on the disk when this returns, that containers of this state may be on an engine."""
    known = hosts(folder)
    if host not in known:
        _write_synced(folder / f"{HOSTS}.new", "".join(f"{one}\n" for one in (*known, host)))
        os.rename(folder / f"{HOSTS}.new", folder / HOSTS)


def _write_synced(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


class TaskFolder:
    """The folder of one task."""

    def __init__(self, folder: Path, id: str) -> None:
        self.path = f"{folder}/tasks/{id}"
        self.box = f"{self.path}/box"

    def make(self) -> None:
        """The folder alone: for who has no box."""
        try:
            _make(self.path, 0o700)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)  # The first of all.
            _make(self.path, 0o700)

    def prepare(self, record: bytes) -> None:
        """Makes it, as far as it is not there: again after a crash, it changes nothing that was written."""
        self.make()
        for path in (self.box, f"{self.box}/artifacts"):
            # Above them nobody else may go; in the container every user may write, whoever its image makes it.
            _make(path, 0o777)
        with open(os.open(f"{self.box}/task.json", _ANEW, 0o644), "wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(record)

    def append(self, stream: str, data: memoryview) -> None:
        """Adds to `out` or `err`; where nothing is written there is no file."""
        fd = os.open(f"{self.path}/{stream}", _NEW, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)

    def size(self, stream: str) -> int:
        try:
            return os.stat(f"{self.path}/{stream}", follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    # -- which container it is

    def note(self, host: str, id: str) -> None:
        """Remembers what was made for the task, and where: once that has gone, the task is not run again."""
        with open(os.open(f"{self.path}/{NOTE}", _ANEW, 0o600), "wb", buffering=0) as file:
            file.write(f"{host}\n{id}\n".encode())

    def note_start(self) -> None:
        """Remembers that it is about to be started: from now on only its engine can say that it was not."""
        with open(f"{self.path}/{NOTE}", "ab", buffering=0) as file:
            file.write(f"{BEGUN}\n".encode())

    def may_have_begun(self) -> bool:
        """Whether the start of what was made may have been asked for; True too where a loss of power took the note."""
        return BEGUN in (self._note() or [BEGUN])

    def noted(self) -> tuple[str, str] | None:
        """Where and what, if something was made for it."""
        words = self._note()
        return None if words is None else (words[0], words[1])

    def _note(self) -> list[str] | None:
        try:
            with open(f"{self.path}/{NOTE}") as file:
                words = file.read().split("\n")
        except FileNotFoundError:
            return None
        return words if len(words) >= 3 else None

    # -- what it left

    def is_boxed(self) -> bool:
        return os.path.isdir(self.box)

    def unpack(self, archive: tarfile.TarFile) -> None:
        """Takes what a container far away left into the box: plain files and folders, nothing that leads out of it."""
        shutil.rmtree(self.box, ignore_errors=True)
        os.mkdir(self.box, 0o700)
        for member in archive:
            if not (member.isfile() or member.isdir()):
                continue
            # `then/artifacts/x`: the first part is the name of the folder itself.
            member.name = "/".join(member.name.strip("/").split("/")[1:])
            if member.name:
                archive.extract(member, self.box, set_attrs=False, filter="data")

    def pack(self) -> bytes:
        """The box as an archive, to be copied into a container: in a folder that is root's, with files for any user."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            record = archive.gettarinfo(f"{self.box}/task.json", "task.json")
            with open(f"{self.box}/task.json", "rb") as file:
                archive.addfile(_of_root(record, 0o644), file)
            for name in FILES:
                archive.addfile(_of_root(tarfile.TarInfo(name), 0o666))
            folder = tarfile.TarInfo("artifacts")
            folder.type = tarfile.DIRTYPE
            archive.addfile(_of_root(folder, 0o777))
        return data.getvalue()

    def unbox(self, *, is_copy: bool = False) -> None:
        """Moves what was left to where readers look for it; done again after a crash, it goes on."""
        for name in (*FILES, "task.json", "artifacts"):
            source, target = f"{self.box}/{name}", f"{self.path}/{name}"
            if name in FILES and is_copy and _is_empty(source):
                continue  # As it was given.
            try:
                os.rename(source, target)
            except FileNotFoundError:
                continue
            except OSError:
                # Something is there: a copy from before a crash.
                shutil.rmtree(target, ignore_errors=True)
                os.rename(source, target)
        try:
            os.rmdir(self.box)
        except OSError:
            shutil.rmtree(self.box, ignore_errors=True)


def _make(path: str, mode: int) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    os.chmod(path, mode)


def _is_empty(path: str) -> bool:
    try:
        return os.lstat(path).st_size == 0
    except FileNotFoundError:
        return False


def _of_root(info: tarfile.TarInfo, mode: int) -> tarfile.TarInfo:
    info.mode, info.uid, info.gid = mode, 0, 0
    return info
