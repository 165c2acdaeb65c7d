"""Stopping a task: TERM to all that is its, KILL after the grace, until nothing is left.

What is its: the group and session of its leader; descendants by parent; and
what went off with `setsid` and, its parent dead, became a child of ours, told by
its environment.
"""

from __future__ import annotations

import _signal
import os
import time

from .processes import Child, living, send_signal, stat_of, task_id_of

WATCHED_MAX = 64
"""So many members are watched at once; when one ends all are looked at again."""
RETRY_S = 1.0
FAR = float("inf")


def begin(child: Child, grace_s: float) -> None:
    """Asks; or, asked already, shortens the grace."""
    due = time.monotonic() + grace_s
    if child.due is None and not child.known:
        child.due = due
        signal_all(child, _signal.SIGTERM)
        # One that was halted would not see it.
        signal_all(child, _signal.SIGCONT)
    elif child.due is not None:
        child.due = min(child.due, due)


def has_ended(child: Child) -> bool:
    """Whether the leader has; ours stays a zombie, so that its number remains its own."""
    if not child.ours:
        return child.ended
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def members(child: Child) -> dict[int, int]:
    """Pid and start of all living processes of the task; noted in `known`.

    The numbers of group and session are its own as long as the leader is not
    reaped; for an orphan that is: as long as it lives, which is looked up after
    the processes were.
    """
    stats = living()
    me = os.getpid()
    holds = child.ours or child.is_pid(stat_of(child.pid))
    found = {}
    for stat in stats:
        if stat.pid == me:
            continue
        if (
            (holds and child.pid in (stat.session, stat.group))
            or child.known.get(stat.pid) == stat.start
            or ((stat.ppid == me or not child.ours) and task_id_of(stat.pid) == child.id)
        ):
            found[stat.pid] = stat.start
    grew = True
    while grew:
        more = {stat.pid: stat.start for stat in stats if stat.ppid in found and stat.pid not in found}
        found.update(more)
        grew = bool(more)
    child.known.update(found)
    return found


def signal_all(child: Child, number: int) -> dict[int, int]:
    """Signals all that is the task's, and gives it."""
    found = members(child)
    if child.ours:
        # At once for the whole group, so that none can fork out of it in between.
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
    for pid, start in found.items():
        if not child.ours or _group(pid) != child.pid:
            send_signal(pid, start, number)
    return found


def watch(child: Child, members: dict[int, int]) -> list[int]:
    """New pidfds, of members that are to be waited for; more when one of them has ended."""
    if child.watched:
        return []
    for pid, start in list(members.items())[:WATCHED_MAX]:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        except OSError:
            # No descriptor is left: look again in a while.
            child.due = min(child.due or FAR, time.monotonic() + RETRY_S)
            break
        stat = stat_of(pid)
        if stat is not None and stat.start == start and stat.is_alive:
            child.watched.append(fd)
        else:
            os.close(fd)
    return list(child.watched)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
