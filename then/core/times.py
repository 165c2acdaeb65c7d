"""What happens because time has come: starts that were put off, timeouts, deadlines, windows."""

from __future__ import annotations

from then.core import facts as f
from then.core.asking import answer
from then.core.ending import OVER, complete, runs_here, stop
from then.core.stepping import Stepping
from then.core.tasks import Task
from then.core.timers import come
from then.core.windows import end_window


def tick(at: Stepping) -> None:
    """Does what is due by now, the oldest first."""
    waits, now = at.state.waits, at.terms.time
    while (due := waits.take_due(now)) is not None:
        kind, of = due
        if kind in ("timer", "every"):
            # An engine that is ending starts nothing: to the next it is a time that was missed.
            if at.terms.only is None:
                come(at, of)
            continue
        if kind == "script":
            answer(at, of)
            continue
        if kind == "wait":
            wait = waits.wait(of)
            if wait is not None:
                at.match_began = at.state.last_id
                end_window(at, wait)
            continue
        task = at.state.task(of)
        if task is not None and task.outcome is None:
            _come(at, task, kind)


def _come(at: Stepping, task: Task, kind: str) -> None:
    """The time of a record has come."""
    state = at.state
    is_running = task.started is not None or task.id in state.running
    if kind in ("start", "at"):
        is_run = task.event or task.is_call or runs_here(at, task)
        at.add(task.flow, f.Ripened(task.id, not is_run))
    elif kind == "expires" and not is_running:
        error = {"kind": "expired", "message": OVER["expired"]}
        complete(at, task, "timed_out", None, error, None, at.terms.time)
    elif kind in ("timeout", "deadline"):
        stop(at, task, kind)
