"""What the end of a container means: outcome, result and error of its task."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from then.abc import Job, Report
from then.core.tasks import Body
from then.executors import results
from then.executors.docker.folders import INSIDE, TaskFolder
from then.executors.keeper_client import now_us

KILLED: Final = 137
"""By a signal, which the engine sends too where its memory is used up."""
BY_OTHERS: Final = frozenset((KILLED, 143, 255))
"""Codes of containers that ended with their engine: TERM, KILL, and what it says of an end that it did not see."""
_SIGNALS: Final = frozenset(int(number) for number in signal.Signals)


def code_of(code: int, options: Mapping[str, object]) -> int:
    """An exit code as a process would have it: minus the number of a signal where Docker says 128 more.

    Docker does not tell a program that exits with 137 from one that was killed; the former is rare, and `done on [137]`
    takes it for what it says.
    """
    done_on = options.get("done_on")
    is_meant = isinstance(done_on, Iterable) and code in done_on
    return -(code - 128) if code - 128 in _SIGNALS and not is_meant else code


def judged(
    job: Job, folder: TaskFolder | None, code: int, *, started: int | None, is_oom: bool = False, memory: str = ""
) -> Report:
    """The report on a container that ended by itself."""
    number = code_of(code, job.options)
    path = None if folder is None else f"{folder.path}/result.json"
    end = results.judge(number, path, job.options, inside=INSIDE)
    error = end.error
    if is_oom and end.outcome == "failed" and error is not None:
        bound = f" of {memory}" if memory else ""
        error = {
            **error,
            "kind": "oom",
            "message": f"out of memory: its bound{bound} was reached; give it more by memory",
        }
    return Report(job.task.id, end.outcome, end.result, error, started, now_us())


def seen_us(job: Job, text: str, started: int | None = None) -> int:
    """When something became of a container that we did not see: by its engine's clock, which may differ from ours.

    Args:
        started: when it began, by our clock perhaps: nothing became of it before.
    """
    at, now = datetime.fromisoformat(text), now_us()
    # It says the year 1 of what never was.
    return now if at.year == 1 else max(job.task.created, started or 0, min(now, int(at.timestamp() * 1e6)))


def lost(job: Job, why: str, started: int | None = None) -> Report:
    """The report on a container of which nobody can say how it ended."""
    report = results.lost(job, f"docker: {why}", now_us())
    return Report(report.id, report.outcome, report.result, report.error, started, report.completed)


def failed(job: Job, error: Body, started: int | None = None) -> Report:
    return Report(job.task.id, "failed", None, error, started, now_us())


def tired(job: Job, where: str, reason: str, started: int | None) -> Report:
    """The report on one whose engine is there and does not do what is asked for it."""
    text = f"docker: {where} is there, and does not do what it is asked: {reason}; is it an engine, or something before one?"
    return failed(job, {"kind": "engine", "message": text}, started)


def broken(job: Job, where: str, error: Exception, started: int | None) -> Report:
    """The report on one for which an error came that nobody foresaw."""
    text = f"docker: {where}: an error that nobody foresaw: {type(error).__name__}: {error}"
    return failed(job, {"kind": "engine", "message": text}, started)


def cancelled(job: Job, code: int | None, started: int | None, note: str = "") -> Report:
    result = None if code is None else {"code": code_of(code, {})}
    error = {**results.CANCELLED, "message": note} if note else results.CANCELLED
    return Report(job.task.id, "cancelled", result, error, started, now_us())
