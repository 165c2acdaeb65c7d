"""Processes as /proc shows them: who a pid is, whose it is, how it ended."""

from __future__ import annotations

# The C module beneath `signal`: that one would cost 5 ms and 0.5 MB (enum).
import _signal
import fcntl
import os
import time

PIDFD_GET_INFO = 0xC040FF0B
"""_IOWR(0xFF, 11, struct pidfd_info of 64 bytes): Linux 6.13; with the exit status since 6.15."""
PIDFD_INFO_EXIT = 1 << 3
NS_A_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def ticks() -> int:
    """The clock by which the kernel stamps the start of a process, in its unit."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // NS_A_TICK


def read_file(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while chunk := os.read(fd, 1 << 16):
            data += chunk
        return data
    finally:
        os.close(fd)


def begun_us(tick: int) -> int:
    """When that tick was over, in microseconds since 1970: what began in it had begun by then."""
    up_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return min(now_ns, now_ns - up_ns + (tick + 1) * NS_A_TICK) // 1000


class Stat:
    """A line of /proc/PID/stat; the name in it may hold spaces and parentheses."""

    __slots__ = ("group", "is_alive", "pid", "ppid", "session", "start", "status")

    def __init__(self, pid: int, data: bytes) -> None:
        fields = data[data.rindex(b")") + 2 :].split()
        self.pid = pid
        self.is_alive = fields[0] not in (b"Z", b"X", b"x")
        self.ppid, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.start = int(fields[19])
        self.status = int(fields[49])


def stat_of(pid: int) -> Stat | None:
    try:
        return Stat(pid, read_file(f"/proc/{pid}/stat"))
    except (OSError, ValueError):
        return None


def living() -> list[Stat]:
    """All processes but zombies."""
    found = (stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in found if stat is not None and stat.is_alive]


def task_id_of(pid: int, tasks: bytes) -> bytes | None:
    """The id of the task in a process's environment; none where it cannot be read or was wiped.

    It is told by its folder in `tasks` (with a slash at its end): a copy of a state
    folder has tasks of the same ids, and those are another's.
    """
    try:
        entries = read_file(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return None
    record = next((entry[10:] for entry in entries if entry.startswith(b"THEN_TASK=")), b"")
    if not record.startswith(tasks):
        return None
    return record[len(tasks) :].partition(b"/")[0]


def send_signal(pid: int, start: int, number: int) -> None:
    """Signals the process of that start time, and no other that got its pid."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        stat = stat_of(pid)
        if stat is not None and stat.start == start:
            _signal.pidfd_send_signal(fd, number)
    except OSError:
        pass  # It has ended meanwhile, or became another user's.
    finally:
        os.close(fd)


class Child:
    """A process that runs: ours, or an orphan of an earlier keeper."""

    __slots__ = (
        "due",
        "ended",
        "first",
        "id",
        "is_stopping",
        "known",
        "last",
        "ours",
        "pid",
        "pidfd",
        "started",
        "status",
        "watched",
    )

    def __init__(self, id: bytes, pid: int, first: int, last: int, started: int, ours: bool) -> None:
        self.id = id
        self.pid = pid
        # Its start lies between these ticks: with boot and pid that is its identity.
        # Two readings of the clock cost a tenth of reading it in /proc.
        self.first, self.last = first, last
        self.started = started
        self.ours = ours
        self.pidfd = -1
        """Open while an orphan is watched."""
        self.ended = False
        self.status: int | None = None
        """An orphan's wait status, where the kernel still told."""
        self.is_stopping = False
        self.due: float | None = None
        """While it is stopped: when KILL follows TERM; null once it was sent."""
        self.known: dict[int, int] = {}
        """While it is stopped: pid and start of each member seen. They stay members when they pass to us."""
        self.watched: list[int] = []
        """While it is stopped: pidfds of members whose end makes us look again."""

    def line(self) -> bytes:
        return b"P %s %d %d %d %d\n" % (self.id, self.pid, self.first, self.last, self.started)

    def is_pid(self, stat: Stat | None) -> bool:
        return stat is not None and stat.pid == self.pid and self.first <= stat.start <= self.last

    def watch(self) -> bool:
        """Opens the pidfd of an orphan; False where its pid is gone or another's.

        Raises OSError where no descriptor is left.
        """
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        # A zombie is watched too: its pidfd is readable at once, and its status may be there.
        if self.is_pid(stat_of(self.pid)):
            return True
        os.close(self.pidfd)
        self.pidfd = -1
        return False

    def _users(self) -> set[int]:
        """As whom it runs; raises OSError where it is gone."""
        line = read_file(f"/proc/{self.pid}/status").split(b"Uid:")[1]
        return {int(uid) for uid in line.split(b"\n")[0].split()}

    def read_status(self) -> None:
        """Notes the status of an orphan that has ended, where the kernel still tells."""
        self.ended = True
        stat = stat_of(self.pid)
        if stat is not None and self.is_pid(stat):
            # A zombie. To others than its owner the kernel shows 0 in place of the status.
            mine = os.geteuid()
            try:
                if mine == 0 or self._users() == {mine}:
                    self.status = stat.status
                return
            except OSError:
                pass  # Who started it took note of its end just now.
        info = bytearray(64)
        info[0] = PIDFD_INFO_EXIT
        try:
            fcntl.ioctl(self.pidfd, PIDFD_GET_INFO, info)
        except OSError:
            return  # A kernel before 6.15.
        if info[0] & PIDFD_INFO_EXIT:
            self.status = int.from_bytes(info[60:64], "little", signed=True)
