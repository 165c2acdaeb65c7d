"""What the keeper asks of the operating system: to spawn, to listen, to be the only one."""

from __future__ import annotations

import _signal
import _socket
import fcntl
import os

from .folders import Folders
from .limits import Limits

CLEAN = (b"PATH", b"HOME", b"USER", b"LANG", b"TZ", b"TMPDIR")
"""What `env clean` leaves of the engine's environment."""
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
LOCK_RETRY_S = 0.5
ENOENT, EACCES = 2, 13


class Order:
    """One start: what to run, and how far it came, for the error."""

    def __init__(self, fields: list[bytes], raw: bytes, base: dict[bytes, bytes]) -> None:
        self.fields = fields
        self.raw = raw
        self.base = base
        self.what = b"folder"
        """What is being tried: folder, stdin, cwd, program, spawn."""
        self.at = b""
        """The path that it concerns."""

    def spawn(self, folders: Folders, limits: Limits, ignored: tuple[int, ...]) -> int:
        """The pid; the exec was well. Raises OSError."""
        _, id, flags, cwd, flow, attempt, key, record, count = self.fields[:9]
        argv, overlay = self.fields[9 : 9 + int(count)], self.fields[9 + int(count) :]
        env = {name: self.base[name] for name in CLEAN if name in self.base} if b"c" in flags else self.base.copy()
        for entry in overlay:
            name, is_set, value = entry.partition(b"=")
            if is_set:
                env[name] = value
            else:
                env.pop(name, None)
        self.at = path = folders.tasks + id
        folders.take(id, record)
        env[b"THEN_TASK_ID"], env[b"THEN_FLOW_ID"] = id, flow
        env[b"THEN_ATTEMPT"], env[b"THEN_KEY"] = attempt, key
        env[b"THEN_TASK"], env[b"THEN_RESULT"] = path + b"/task.json", path + b"/result.json"
        env[b"THEN_MESSAGES"], env[b"THEN_ARTIFACTS"] = path + b"/messages.jsonl", path + b"/artifacts"
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # Opened by the child: were the descriptors ours, a lease could not tell that one is still held.
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, path + b"/out", append, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, path + b"/err", append, 0o600),
        ]
        stdin = -1
        try:
            if b"i" in flags:
                self.what = b"stdin"
                stdin = data_file(path, self.raw)
                actions[0] = (os.POSIX_SPAWN_DUP2, stdin, 0)
            self.what, self.at = b"cwd", cwd
            os.chdir(cwd)
            self.what, self.at = b"program", argv[0]
            self.at = program = find(argv[0], env)
            self.what = b"spawn"
            with limits:
                return os.posix_spawn(
                    program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=ignored
                )
        finally:
            if stdin >= 0:
                os.close(stdin)


def find(name: bytes, env: dict[bytes, bytes]) -> bytes:
    """The program's path, by the task's own PATH and folder. Raises OSError."""
    if b"/" in name:
        return name
    error = ENOENT
    for folder in env.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = (folder or b".") + b"/" + name
        if not os.access(path, os.F_OK):
            continue
        if os.access(path, os.X_OK) and os.stat(path).st_mode & 0o170000 == 0o100000:
            return path
        error = EACCES
    raise OSError(error, os.strerror(error))


def data_file(folder: bytes, data: bytes) -> int:
    """A file without a name that holds the data, at its beginning. Raises OSError."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # A file system without such files.
        name = folder + b"/.stdin"
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.unlink(name)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def listen(folder: bytes) -> _socket.socket:
    """The keeper's socket. The lock is ours, so one that lies there is stale."""
    path = folder + b"/keeper.sock"
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # 108 bytes are the limit for the path of a socket; by the descriptor of its folder it is short.
    at = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    listener.bind(f"/proc/self/fd/{at}/keeper.sock")
    os.umask(mask)
    os.close(at)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def close_others(fd: int) -> None:
    """Lets go of what a careless shell or engine passed on: children are to hold nothing of it."""
    for other in [int(name) for name in os.listdir("/proc/self/fd")]:
        if other > 2 and other != fd:
            try:
                os.close(other)
            except OSError:
                pass
    os.set_inheritable(fd, False)


def take_lock(folder: bytes) -> int | None:
    """The lock of the only keeper; None when another lives and listens.

    One that has it and does not listen is ending, or beginning: it is waited
    for, and asked again now and then.
    """
    lock = os.open(folder + b"/keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _signal.signal(_signal.SIGALRM, _ring)
    while True:
        _signal.setitimer(_signal.ITIMER_REAL, LOCK_RETRY_S)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except TimeoutError:
            if is_listening(folder):
                os.close(lock)
                return None
            continue
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        # For people, and for who has to end it: its pid. On a full disk the lock holds as well.
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass
        return lock


def _ring(number: int, at: object) -> None:
    raise TimeoutError


def is_listening(folder: bytes) -> bool:
    at = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    asking = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        asking.connect(f"/proc/self/fd/{at}/keeper.sock")
    except OSError:
        return False
    finally:
        asking.close()
        os.close(at)
    return True


def note_crash(folder: bytes, error: BaseException) -> None:
    """Our own fault: it stands in `keeper.err`, for standard error leads nowhere."""
    import traceback

    fd = os.open(folder + b"/keeper.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.write(fd, "".join(traceback.format_exception(error)).encode(errors="backslashreplace"))
    os.close(fd)
