"""The keeper itself: takes orders, spawns, reaps, stops, remembers until the engine has it."""

# ruff: noqa: TID251  (The keeper's stamps are recorded facts to the engine.)

from __future__ import annotations

# The C modules beneath `signal` and `socket`: those two alone would cost 10 ms and 1 MB.
import _signal
import os
import time
from _collections import deque  # type: ignore[import-not-found]  # (`collections` costs 3 ms)
from select import POLLIN, POLLOUT, poll

from . import spawning, stops
from .folders import Folders
from .limits import Limits
from .log import Log, one_word, take_over
from .processes import Child, ticks
from .signals import Signals
from .wire import Wire, frame

PROTOCOL = b"1"
LOG_REWRITE_BYTES = 1 << 20
"""The log is written anew when it has grown so far and most of it is forgotten."""
SYNC_AFTER_S = 1.0
"""An end that the engine has not taken over for so long is synced by ourselves."""
FULL_RETRY_S = 1.0
"""How long orders wait when the disk has no room for their intent."""
FULL = (28, 122)
"""ENOSPC, EDQUOT."""
LINGER_S = 3600.0
"""So long it stays for values alone, that the next engine needs to mask what a task left; then that reads them anew."""
STARTS_A_TURN = 4
"""So many orders are carried out before ends are looked for again."""


def now_us() -> int:
    return time.time_ns() // 1000


class Keeper:
    def __init__(self, folder: bytes, wire: Wire) -> None:
        self.folder = folder
        self.wire: Wire | None = wire
        self.base: dict[bytes, bytes] = {}
        """The environment of the engine."""
        self.queue: deque[tuple[list[bytes], bytes]] = deque()
        """Orders not carried out yet."""
        self.running: dict[bytes, Child] = {}
        self.own: dict[int, Child] = {}
        """Those of `running` that are our children, by pid."""
        self.finished: dict[bytes, bytes] = {}
        """The line of how each ended, until the engine says that it has it."""
        self.secrets: dict[bytes, list[bytes]] = {}
        """Values that a task was given, for the engine that hears of its end to mask; here alone, on no disk."""
        self.linger_due: float | None = None
        """When values alone keep it no more."""
        self.stopping: list[Child] = []
        self.watched: dict[int, Child] = {}
        """Pidfds of orphans, and of members of what is being stopped."""
        self.unlogged: list[bytes] = []
        self.sync_due: float | None = None
        self.full_until: float | None = None
        self.is_draining = False
        self.poll = poll()
        self.signals = Signals()
        self.log = Log(folder)
        self.folders = Folders(folder, self.own)
        self.folders.watch_children(self.signals.is_reaper)
        for id, end in take_over(self.log).items():
            if isinstance(end, Child):
                self.running[id] = end
            else:
                self.finished[id] = end or b"L %s %d %s\n" % (id, now_us(), self.log.why)
        self.limits = Limits(len(self.running))
        self.unwatched = list(self.running.values())
        """Orphans that no descriptor was left for."""
        self._watch_orphans()
        while not self._rewrite_log():
            # What was found out has to be written before anybody is told, and there is no room.
            self.poll.poll(FULL_RETRY_S * 1000)
        self.listener = spawning.listen(folder)
        self.poll.register(self.signals.fd, POLLIN)
        self.poll.register(wire.fd, POLLIN)

    # -- beginning, turning, ending

    def run(self) -> None:
        while self._is_needed() or self._accept():
            busy = self.queue and self.full_until is None
            events = self.poll.poll(0 if busy or self.folders.is_short else self._wait_ms())
            if not events and not busy and self.folders.is_short:
                self.folders.make_ahead()
            for fd, _ in events:
                if fd == self.signals.fd:
                    self._take_signals(self.signals.read())
                elif self.wire is not None and fd == self.wire.fd:
                    self._hear(self.wire)
                elif fd in self.watched:
                    self._watched_ended(fd)
                elif fd == self.listener.fileno():
                    self._accept()
            self._start_some()
            if self.sync_due is not None or self.full_until is not None or self.stopping:
                self._do_due()
            if self.wire is not None and self.wire.unsent:
                self.wire.send(b"")
                self.poll.modify(self.wire.fd, POLLIN | POLLOUT if self.wire.unsent else POLLIN)
        self.listener.close()
        self.folders.clear()
        try:
            os.unlink(self.folder + b"/keeper.sock")
        except OSError:
            pass  # The state folder was taken away.
        self._rewrite_log()

    def _take_signals(self, numbers: bytes) -> None:
        if _signal.SIGCHLD in numbers:
            self._reap()
        if _signal.SIGIO in numbers:
            self.folders.let_go()
        if _signal.SIGTERM in numbers:
            # What is ordered from now on is not logged, so that the next keeper starts it.
            self.is_draining = True

    def _is_needed(self) -> bool:
        if self.is_draining:
            self.queue.clear()
        if self.running or self.queue or (self.wire is not None and not self.is_draining):
            self.linger_due = None
            return True
        if not self.secrets or self.is_draining:
            return False
        now = time.monotonic()
        if self.linger_due is None:
            self.linger_due = now + LINGER_S
        return now < self.linger_due

    def _wait_ms(self) -> float | None:
        if self.full_until is None and not self.stopping and self.linger_due is None:
            return None if self.sync_due is None else max(0.0, 1000 * (self.sync_due - time.monotonic()))
        dues = [child.due for child in self.stopping] + [self.sync_due, self.full_until, self.linger_due]
        set_dues = [due for due in dues if due is not None]
        return max(0.0, 1000 * (min(set_dues) - time.monotonic())) if set_dues else None

    def _do_due(self) -> None:
        now = time.monotonic()
        if self.sync_due is not None and now >= self.sync_due:
            self.sync_due = None
            self.log.sync()
        if self.full_until is not None and now >= self.full_until:
            self.full_until = None
            self._write([])
        due = [child for child in self.stopping if child.due is not None and now >= child.due]
        if due:
            seen = stops.Snapshot(self.own, self.folders.tasks)
            for child in due:
                child.due = None
                stops.signal_all(child, _signal.SIGKILL, seen)
            self._look_again(due)

    # -- the engine

    def _accept(self) -> bool:
        """Takes the next engine that waits, if one does."""
        if self.is_draining:
            return False
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  (the C module's name for it)
        except OSError:
            return False
        # One engine at a time: the next is heard when this one has gone.
        self.poll.unregister(self.listener.fileno())
        self.wire = Wire(fd)
        self.poll.register(fd, POLLIN)
        return True

    def _hear(self, wire: Wire) -> None:
        frames = wire.receive()
        if frames is None:
            self.poll.unregister(wire.fd)
            wire.socket.close()
            self.wire = None
            self.poll.register(self.listener.fileno(), POLLIN)
            self.log.sync()
            return
        stopped = [(fields[1], float(fields[2])) for fields, _ in frames if fields[0] == b"stop"]
        for fields, raw in frames:
            if fields[0] == b"start":
                if self.log.gap:
                    # It has recovered and now goes on: whatever was open before has been answered.
                    self.log.gap = False
                    self._rewrite_log()
                self.queue.append((fields, raw))
            elif fields[0] == b"secret":
                self.secrets[fields[1]] = fields[2:]
            elif fields[0] == b"forget":
                self._forget(fields[1:])
            elif fields[0] == b"refuse":
                self._finish([b"E %s 0 order %d %s\n" % (fields[1], now_us(), one_word(fields[2]))])
            elif fields[0] == b"inventory":
                wire.send(frame(b"inventory", *self.running, *self.finished, *(order[0][1] for order in self.queue)))
            elif fields[0] == b"recover":
                self._recover(wire, fields[1:])
            elif fields[0] == b"hello":
                entries = [entry.partition(b"=") for entry in fields[2:]]
                self.base = {name: value for name, _, value in entries}
                wire.send(frame(b"welcome", PROTOCOL, b"%d" % os.getpid()))
        if stopped:
            # After the orders that came with them, and all with one look at the processes.
            self._stop(stopped)

    def _recover(self, wire: Wire, ids: list[bytes]) -> None:
        here = self.running.keys() | {fields[1] for fields, _ in self.queue}
        if self.log.gap:
            # Durable before it is said: the next engine must hear the same.
            lines = {
                id: b"L %s %d machine\n" % (id, now_us()) for id in ids if id not in here and id not in self.finished
            }
            self.finished.update(lines)
            self._write(list(lines.values()))
            self.log.sync()
        for id in ids:
            if id in self.secrets:
                wire.send(frame(b"secret", id, *self.secrets[id]))
            if id in self.finished:
                self._tell([self.finished[id]])
            else:
                wire.send(frame(b"running" if id in here else b"never", id))

    def _forget(self, ids: list[bytes]) -> None:
        for id in ids:
            self.finished.pop(id, None)
            self.secrets.pop(id, None)
        if not self.finished:
            self.sync_due = None
        if self.log.size > LOG_REWRITE_BYTES and (len(self.finished) + len(self.running)) * 256 < self.log.size:
            self._rewrite_log()

    # -- remembering

    def _rewrite_log(self) -> bool:
        """Whether there was room; else the log stays as long as it is."""
        running = [b"S " + id + b"\n" + child.line() for id, child in self.running.items()]
        try:
            self.log.rewrite(running + list(self.finished.values()))
        except OSError:
            return False
        return True

    def _write(self, lines: list[bytes]) -> None:
        """Appends ends to the log; where there is no room they wait in memory for the next try."""
        self.unlogged += lines
        try:
            if self.unlogged:
                self.log.append(b"".join(self.unlogged))
            self.unlogged = []
        except OSError:
            self.full_until = time.monotonic() + FULL_RETRY_S

    def _tell(self, lines: list[bytes]) -> None:
        """Ends to the engine; what was printed goes along where we have it, in one more field its length of `out`."""
        frames: list[bytes] = []
        for line in lines:
            words = line[:-1].split(b" ")
            printed = self.folders.printed.pop(words[1], None)
            if printed is None:
                frames.append(frame(*words))
            else:
                out, err = printed
                frames.append(frame(*words, b"%d" % len(out), raw=out + err))
        if self.wire is not None:
            self.wire.send(b"".join(frames))

    def _finish(self, lines: list[bytes]) -> None:
        """Notes ends, each a line, and passes them on (invariant 2)."""
        for line in lines:
            id = line.split(b" ", 2)[1]
            self.running.pop(id, None)
            self.finished[id] = line
            if line.endswith(b" empty\n"):
                self.secrets.pop(id, None)  # There is nothing that they could be masked in.
        self._write(lines)
        if self.wire is None:
            self.log.sync()
        elif self.sync_due is None:
            self.sync_due = time.monotonic() + SYNC_AFTER_S
        self._tell(lines)

    # -- starting

    def _start_some(self) -> None:
        if not self.queue or self.full_until is not None or self.is_draining:
            return
        for _ in range(min(STARTS_A_TURN, len(self.queue))):
            fields, raw = self.queue[0]
            if fields[1] in self.running or fields[1] in self.finished:
                # Ordered by an engine that was killed before it wrote so; the next orders it again.
                self._tell([self.finished[fields[1]]] if fields[1] in self.finished else [])
                self.queue.popleft()
                continue
            if not self._start(fields, raw):
                # The disk is full: the order waits until there is room.
                self.full_until = time.monotonic() + FULL_RETRY_S
                return
            self.queue.popleft()

    def _start(self, fields: list[bytes], raw: bytes) -> bool:
        """False where the disk has no room for the intent or the folder; then nothing was started."""
        id = fields[1]
        try:
            self.log.append(b"S " + id + b"\n")
        except OSError:
            return False
        order = spawning.Order(fields, raw, self.base)
        started, first = now_us(), ticks()
        try:
            pid = order.spawn(self.folders, self.limits, self.signals.to_default)
        except OSError as error:
            self.folders.leave(id)
            if order.what == b"folder" and error.errno in FULL:
                return False
            self._finish([b"E %s %d %s %d %s\n" % (id, error.errno or 0, order.what, now_us(), one_word(order.at))])
            return True
        child = Child(id, pid, first, ticks(), started, ours=True)
        self.running[id] = self.own[pid] = child
        try:
            self.log.append(child.line())
        except OSError:
            pass  # No room: the environment tells who it is (invariant 3).
        return True

    # -- ending

    def _reap(self) -> None:
        lines: list[bytes] = []
        # A leader under a stop stays a zombie until all that is its has gone; then the others are asked one by one.
        held = {child.pid for child in self.stopping}
        for asked in [pid for pid in self.folders.children() or list(self.own) if pid not in held] if held else [-1]:
            while True:
                try:
                    pid, status = os.waitpid(asked, os.WNOHANG)
                except ChildProcessError:
                    break
                if not pid:
                    break
                child = self.own.pop(pid, None)
                if child is not None:
                    lines.append(self._ended(child, status, b"ended"))
        if lines:
            self._finish(lines)
        self._look_again(self.stopping)

    def _ended(self, child: Child, status: int | None, how: bytes) -> bytes:
        if child.ours and self.folders.leave(child.id) and how == b"ended":
            how = b"empty"  # It left nothing that the engine would have to look for.
        code = b"-" if status is None else b"%d" % os.waitstatus_to_exitcode(status)
        return b"X %s %d %s %d %d %s\n" % (child.id, child.pid, code, child.started, now_us(), how)

    def _watch_orphans(self) -> None:
        """Watches those that are not yet; where no descriptor is left they wait until one is."""
        while self.unwatched:
            child = self.unwatched[-1]
            try:
                is_alive = child.watch()
            except OSError:
                return
            self.unwatched.pop()
            if is_alive:
                self._watch(child.pidfd, child)
            else:
                self._finish([b"L %s %d keeper\n" % (child.id, now_us())])

    def _watch(self, fd: int, child: Child) -> None:
        self.watched[fd] = child
        self.poll.register(fd, POLLIN)

    def _unwatch(self, fd: int) -> None:
        self.poll.unregister(fd)
        del self.watched[fd]
        os.close(fd)

    def _watched_ended(self, fd: int) -> None:
        child = self.watched[fd]
        if fd == child.pidfd:
            child.read_status()
            child.pidfd = -1
        else:
            child.watched.remove(fd)
        self._unwatch(fd)
        if child in self.stopping:
            self._look_again([child])
        elif child.status is None:
            self._finish([b"L %s %d keeper\n" % (child.id, now_us())])
        else:
            self._finish([self._ended(child, child.status, b"ended")])
        if self.unwatched:
            self._watch_orphans()

    def _stop(self, orders: list[tuple[bytes, float]]) -> None:
        seen = stops.Snapshot(self.own, self.folders.tasks)
        for id, grace_s in orders:
            child = self.running.get(id)
            if child is not None:
                if not child.is_stopping:
                    self.stopping.append(child)
                stops.begin(child, grace_s, seen)
        self._look_again(self.stopping)
        ids = {id for id, _ in orders}
        waiting = [order for order in self.queue if order[0][1] in ids]
        for order in waiting:
            self.queue.remove(order)
            self.secrets.pop(order[0][1], None)  # Nothing was started that could have them.
        if waiting:
            self._finish([b"X %s 0 - 0 %d stopped\n" % (fields[1], now_us()) for fields, _ in waiting])

    def _look_again(self, children: list[Child]) -> None:
        """Finishes stops of which all has gone; where the leader has, watches what it left."""
        while ended := [child for child in children if stops.has_ended(child)]:
            seen = stops.Snapshot(self.own, self.folders.tasks)
            gone: list[Child] = []
            children = []
            for child in ended:
                members = stops.members(child, seen)
                if not members:
                    gone.append(child)
                    continue
                if child.due is None:
                    stops.signal_all(child, _signal.SIGKILL, seen)
                had = len(child.watched)
                if not stops.watch(child, members):
                    children.append(child)
                for fd in child.watched[had:]:
                    self._watch(fd, child)
            if gone:
                self._finish([self._stopped(child) for child in gone])

    def _stopped(self, child: Child) -> bytes:
        self.stopping.remove(child)
        for fd in child.watched:
            self._unwatch(fd)
        if child.ours:
            _, child.status = os.waitpid(child.pid, 0)
            del self.own[child.pid]
        return self._ended(child, child.status, b"stopped")


def main(folder: bytes, fd: int) -> None:
    """Keeps the processes of a state folder; `fd` is the connection of the engine that started it."""
    wire = Wire(fd)
    spawning.close_others(fd)
    lock = spawning.take_lock(folder)
    if lock is None:
        return  # Another keeper lives: the engine sees the connection close, and takes that one.
    try:
        Keeper(folder, wire).run()
    except BaseException as error:
        spawning.note_crash(folder, error)
        raise
