"""Runs tasks as processes that outlive the engine.

The processes are children of the keeper (`then.executors.keeper`), which this
talks to over a socket; docs/processes.md tells the whole story. One thread
waits for what the keeper says and reports it; the engine steps, commits and
orders what follows inside that call, so that between an end and the start of
its successor no other thread has to wake.

Invariants:

1. A job is in `_jobs` before its order is sent, until its report. What a keeper
   that died did not answer is asked of the next one for exactly these.
2. A job is reported when it is taken out of `_jobs`, so once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from then.abc import Job, Report, ReportTo
from then.core.errors import ExecutorError
from then.core.tasks import Body
from then.executors import keeper_client, results
from then.executors.keeper.wire import Frames, frame

KEEPERS_MAX = 5
"""So many keepers in a row may end without a word before their tasks are given up."""

_encode_record = msgspec.json.Encoder().encode


class ProcessExecutor:
    """Runs tasks as processes under the keeper of a state folder."""

    def __init__(self, folder: Path, report: ReportTo) -> None:
        """
        Args:
            folder: the state folder; the keeper's socket and log, and `tasks/<id>/`, lie in it.
            report: called in the thread that reads from the keeper.
        """  # noqa: D205, D212
        self._folder = Path(os.path.abspath(folder))
        self._tasks = f"{self._folder}/tasks/"
        self._report = report
        self._lock = threading.RLock()
        """Guards what follows; never held while reporting."""
        self._jobs: dict[str, Job] = {}
        self._stops: dict[str, float] = {}
        """When the grace of a stop ends, by `time.monotonic`."""
        self._link: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    # -- the seam

    def start(self, jobs: Sequence[Job]) -> None:
        orders = b"".join([order(job) for job in jobs])
        with self._lock:
            for job in jobs:
                self._jobs[job.task.id] = job
            self._send(orders)

    def recover(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        with self._lock:
            for job in jobs:
                self._jobs[job.task.id] = job
            self._send(frame(b"recover", *(job.task.id.encode() for job in jobs)))

    def stop(self, id: str, grace_s: float) -> None:
        with self._lock:
            if id in self._jobs:
                due = time.monotonic() + grace_s
                self._stops[id] = min(due, self._stops.get(id, due))
                self._send(frame(b"stop", id.encode(), b"%f" % grace_s))

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            if self._link is not None and ids:
                self._send(frame(b"forget", *(id.encode() for id in ids)))

    def close(self, *, wait: bool) -> None:
        with self._lock:
            self._is_closed = True
            thread, link = self._thread, self._link
            if link is not None:
                try:
                    link.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # The keeper has gone.
        if thread is not None and wait and thread is not threading.current_thread():
            thread.join()
        keeper_client.reap()

    # -- the keeper

    def _send(self, data: bytes) -> None:
        """Sends, to a keeper that is found or started. One that dies meanwhile is the reader's matter."""
        if self._is_closed:
            raise ExecutorError("process: this executor is closed")
        if self._link is None:
            self._link = keeper_client.connect(self._folder)
            self._thread = threading.Thread(target=self._read, name="then-processes", daemon=True)
            self._thread.start()
        try:
            self._link.sendall(data)
        except OSError:
            pass

    def _read(self) -> None:
        silent = 0
        frames = Frames()
        link = self._link
        while link is not None:
            try:
                data = link.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                silent += 1
                frames = Frames()
                link = self._connect_again(silent)
                continue
            silent = 0
            self._take(frames.feed(data))

    def _connect_again(self, silent: int) -> socket.socket | None:
        """A connection to the next keeper, which is asked for all that is open."""
        with self._lock:
            if self._link is not None:
                self._link.close()
            self._link = None
            if self._is_closed:
                return None
            reason = "its keeper ended again and again; keeper.err in the state folder may say why"
            if silent <= KEEPERS_MAX:
                try:
                    self._link = keeper_client.connect(self._folder)
                    if self._jobs:
                        self._link.sendall(frame(b"recover", *(id.encode() for id in self._jobs)))
                    return self._link
                except (ExecutorError, OSError) as error:
                    reason = str(error)
            ids = list(self._jobs)
            reports = [self._lost(self._jobs.pop(id), _now_us(), reason) for id in ids]
        self._report(reports)
        return None

    def _take(self, frames: Sequence[tuple[list[bytes], bytes]]) -> None:
        """Acts on what the keeper said: reports ends, starts what no keeper ever had."""
        reports: list[Report] = []
        unknown: list[str] = []
        with self._lock:
            for fields, _ in frames:
                kind, id = fields[0], fields[1].decode()
                if kind == b"never":
                    self._start_again(id)
                elif kind in (b"X", b"E", b"L"):
                    job = self._jobs.pop(id, None)
                    if job is None:
                        unknown.append(id)
                    else:
                        reports.append(self._judge(job, kind, fields, self._stops.pop(id, None) is not None))
            if unknown:
                self.forget(unknown)
        if reports:
            self._report(reports)

    def _start_again(self, id: str) -> None:
        job = self._jobs.get(id)
        if job is not None:
            self._send(order(job))
            if id in self._stops:
                self.stop(id, max(0.0, self._stops[id] - time.monotonic()))

    # -- what an end means

    def _judge(self, job: Job, kind: bytes, fields: list[bytes], is_stopped: bool) -> Report:
        id = job.task.id
        if kind == b"X":
            code, started, completed = fields[3], int(fields[4]) or None, int(fields[5])
            if fields[6] == b"stopped":
                result = {} if code == b"-" else {"code": int(code)}
                return Report(id, "cancelled", result, {"kind": "cancelled", "message": "stopped"}, started, completed)
            end = results.judge(int(code), Path(f"{self._tasks}{id}/result.json"), job.options)
            return Report(id, end.outcome, end.result, end.error, started, completed)
        if kind == b"E":
            error = results.spawn_error(int(fields[2]), fields[3].decode(), unescape(fields[5]), job.options)
            return Report(id, "failed", None, error, None, int(fields[4]))
        reason = "the machine went down" if fields[3] == b"machine" else "its keeper was killed"
        return self._lost(job, int(fields[2]), reason)

    def _lost(self, job: Job, at: int, reason: str) -> Report:
        id = job.task.id
        if job.options.get("once"):
            message = f"{reason}, and it may have run; being marked once it is not run again"
            return Report(id, "failed", None, {"kind": "unknown", "message": message}, None, at)
        message = f"{reason}, and how it ended was not recorded"
        return Report(id, "failed", None, {"kind": "lost", "message": message}, None, at)


def order(job: Job) -> bytes:
    """The frame that orders a start; or, where the operating system could not take it, one that refuses it."""
    task, options = job.task, job.options
    argv: Sequence[str] = options["argv"]  # type: ignore[assignment]
    env: Mapping[str, str] = options.get("env") or {}  # type: ignore[assignment]
    stdin: str | None = options.get("stdin")  # type: ignore[assignment]
    flags = (b"c" if options.get("env_clean") else b"") + (b"i" if stdin is not None else b"")
    fields = [
        b"start",
        task.id.encode(),
        flags,
        os.fsencode(os.path.abspath(str(options.get("cwd") or "."))),
        task.flow.encode(),
        b"%d" % task.attempt,
        task.key.encode(),
        _encode_record(task),
        b"%d" % len(argv),
    ]
    fields += [os.fsencode(word) for word in argv]
    fields += [os.fsencode(f"{name}={value}") for name, value in env.items()]
    return frame(*fields, raw=stdin.encode() if stdin is not None else b"")


def unescape(text: bytes) -> str:
    """The path of an `E` line."""
    words = [word.replace(b"\\s", b" ").replace(b"\\n", b"\n") for word in text.split(b"\\\\")]
    return os.fsdecode(b"\\".join(words))


def _now_us() -> int:
    return time.time_ns() // 1000
