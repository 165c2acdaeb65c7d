"""The keeper's log: starts and ends of processes, a line each.

then-keeper 1 BOOT_ID
S id                                        it will be spawned
P id pid first last started                 it was, between these two ticks
X id pid code started completed how         it ended (how: ended, empty, stopped)
E id errno what completed path              it could not be spawned
L id completed why                          nobody knows (why: keeper, machine)
gap                                         orders of before may be unknown here
"""

from __future__ import annotations

import os

from .processes import Child, begun_us, living, read_file, task_id_of

HEAD = b"then-keeper 1 "
WORDS = {b"S": 2, b"P": 6, b"X": 7, b"E": 6, b"L": 4, b"gap": 1}
ENOSPC = 28
WORD_MAX = 1000


class Log:
    """Starts and exits, a line each, appended by write(2)."""

    def __init__(self, folder: bytes) -> None:
        self.folder = folder
        self.boot = read_file("/proc/sys/kernel/random/boot_id").strip()
        self.size = 0
        self.is_dirty = False
        self.why = b"keeper"
        """Why what is open in the log is lost, where it does not run: keeper or machine."""
        self.gap = False
        """An order of before may be unknown here: the machine went down, or lines are damaged."""
        self.fd = os.open(folder + b"/keeper.log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def load(self) -> list[list[bytes]]:
        """The lines of earlier keepers, split into words."""
        data = b""
        while chunk := os.read(self.fd, 1 << 20):
            data += chunk
        # What follows the last newline is a line whose writing was cut off: it never counted.
        rows = [row.split(b" ") for row in data.split(b"\n")[:-1]]
        if not rows:
            self.gap = bool(data)
            return []
        head, rows = rows[0], rows[1:]
        good = [row for row in rows if WORDS.get(row[0]) == len(row)]
        is_same_boot = head == (HEAD + self.boot).split(b" ")
        self.why = b"keeper" if is_same_boot else b"machine"
        self.gap = not is_same_boot or [b"gap"] in good or len(good) != len(rows)
        return good

    def append(self, lines: bytes) -> None:
        """Raises OSError where there is no room; then nothing was written."""
        try:
            written = os.write(self.fd, lines)
            if written != len(lines):
                raise OSError(ENOSPC, "no room")
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += written
        self.is_dirty = True

    def sync(self) -> None:
        if self.is_dirty:
            try:
                os.fdatasync(self.fd)
            except OSError:
                pass  # Who lives hears of it all the same; after a loss of power it is lost.
            self.is_dirty = False

    def rewrite(self, lines: list[bytes]) -> None:
        """Puts a log of only these lines in its place; it is on the disk when this returns.

        Raises OSError where there is no room; then the log is as it was.
        """
        data = HEAD + self.boot + b"\n" + (b"gap\n" if self.gap else b"") + b"".join(lines)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.folder + b"/keeper.log.new", flags, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(ENOSPC, "no room")
            os.fsync(fd)
            os.rename(self.folder + b"/keeper.log.new", self.folder + b"/keeper.log")
        except OSError:
            os.close(fd)
            raise
        os.close(self.fd)
        self.fd, self.size, self.is_dirty = fd, len(data), False
        folder = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


def take_over(log: Log) -> dict[bytes, Child | bytes]:
    """What earlier keepers left open.

    By id: the line of its end; the process, which may run still; or nothing (`b""`)
    where nobody knows.
    """
    found: dict[bytes, Child | bytes] = {}
    for words in log.load():
        if words[0] == b"P":
            pid, first, last, started = map(int, words[2:])
            found[words[1]] = Child(words[1], pid, first, last, started, ours=False)
        elif words[0] != b"gap":
            found[words[1]] = b"" if words[0] == b"S" else b" ".join(words) + b"\n"
    is_same_boot = log.why == b"keeper"
    if is_same_boot and b"" in found.values():
        # Their keeper was killed between spawn and `P`: the environment tells them (invariant 3).
        for stat in living():
            id = task_id_of(stat.pid, log.folder + b"/tasks/") if stat.session == stat.pid else None
            if id is not None and found.get(id) == b"":
                found[id] = Child(id, stat.pid, stat.start, stat.start, begun_us(stat.start), ours=False)
    if not is_same_boot:
        found.update((id, b"") for id, child in found.items() if isinstance(child, Child))
    return found


def one_word(text: bytes) -> bytes:
    """A path or message as a word of a line; `then.executors.results.unescape` reads it."""
    return text[:WORD_MAX].replace(b"\\", b"\\\\").replace(b" ", b"\\s").replace(b"\n", b"\\n") or b"\\s"
