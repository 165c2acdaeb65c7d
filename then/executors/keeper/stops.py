"""Stopping a task: TERM to all that is its, KILL after the grace, until nothing is left.

What is its: the session of its leader (a process group is within one); descendants
by parent; and what went off with `setsid` and got another parent, told by its
environment.
"""

from __future__ import annotations

import _signal
import os
import time

from .processes import Child, Stat, living, send_signal, stat_of, task_id_of

WATCHED_MAX = 64
"""So many members are watched at once; when one ends all are looked at again."""
RETRY_S = 1.0
FAR = float("inf")


class Snapshot:
    """All processes at one moment, for any number of stops."""

    def __init__(self, own: dict[int, Child], tasks: bytes) -> None:
        self.own = own
        self.tasks = tasks
        self.all = [stat for stat in living() if stat.pid != os.getpid()]
        self.by_session: dict[int, list[Stat]] = {}
        self.by_parent: dict[int, list[Stat]] = {}
        self.by_pid: dict[int, Stat] = {}
        for stat in self.all:
            self.by_pid[stat.pid] = stat
            self.by_session.setdefault(stat.session, []).append(stat)
            self.by_parent.setdefault(stat.ppid, []).append(stat)
        self._by_task: dict[bytes | None, list[Stat]] | None = None

    def of_task(self, id: bytes) -> list[Stat]:
        """Those whose environment names the task, its leader left out."""
        if self._by_task is None:
            self._by_task = {}
            for stat in self.all:
                if stat.pid not in self.own:
                    self._by_task.setdefault(task_id_of(stat.pid, self.tasks), []).append(stat)
        return self._by_task.get(id, [])


def begin(child: Child, grace_s: float, seen: Snapshot) -> None:
    """Asks; or, asked already, shortens the grace."""
    due = time.monotonic() + grace_s
    if child.is_stopping:
        child.due = None if child.due is None else min(child.due, due)
        return
    child.is_stopping = True
    child.due = due
    signal_all(child, _signal.SIGTERM, seen)
    # One that was halted would not see it.
    signal_all(child, _signal.SIGCONT, seen)


def has_ended(child: Child) -> bool:
    """Whether the leader has; ours stays a zombie, so that its number remains its own."""
    if not child.ours:
        return child.ended
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def members(child: Child, seen: Snapshot) -> dict[int, int]:
    """Pid and start of all living processes of the task; noted in `known`.

    The number of the session is its own as long as the leader is not reaped; for
    an orphan that is: as long as it lives, which is looked up after the snapshot.
    """
    todo = [
        seen.by_pid[pid] for pid, start in child.known.items() if pid in seen.by_pid and seen.by_pid[pid].start == start
    ]
    todo += seen.of_task(child.id)
    if child.ours or child.is_pid(stat_of(child.pid)):
        todo += seen.by_session.get(child.pid, [])
    found: dict[int, int] = {}
    while todo:
        stat = todo.pop()
        if stat.pid not in found:
            found[stat.pid] = stat.start
            todo += seen.by_parent.get(stat.pid, [])
    child.known.update(found)
    return found


def signal_all(child: Child, number: int, seen: Snapshot) -> None:
    """Signals all that is the task's."""
    found = members(child, seen)
    if child.ours:
        # At once for the whole group, so that none can fork out of it in between.
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
    for pid, start in found.items():
        if not child.ours or seen.by_pid[pid].group != child.pid:
            send_signal(pid, start, number)


def watch(child: Child, found: dict[int, int]) -> bool:
    """Opens pidfds of members that are to be waited for, unless some are; False when all ended meanwhile."""
    if child.watched:
        return True
    for pid, start in list(found.items())[:WATCHED_MAX]:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        except OSError:
            # No descriptor is left: look again in a while.
            child.due = min(FAR if child.due is None else child.due, time.monotonic() + RETRY_S)
            return True
        stat = stat_of(pid)
        if stat is not None and stat.start == start and stat.is_alive:
            child.watched.append(fd)
        else:
            os.close(fd)
    return bool(child.watched)
