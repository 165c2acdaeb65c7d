"""Runs tasks as processes that outlive the engine.

The processes are children of the keeper (`then.executors.keeper`), to which this
talks over a socket; docs/processes.md tells the whole story. One thread waits for
what the keeper says and reports it. The engine steps, commits and orders what
follows inside that call, so that between an end and the start of its successor
no other thread has to wake.

Invariants:

1. A job is in `_jobs` from before its order is sent until its report. What a
   keeper that died left unanswered is asked of the next one, for exactly these.
2. A job is reported when it is taken out of `_jobs`, so once.
3. Of a job that is given secrets only the declarations are kept here. Their
   values are read in a thread of its own (a program may be asked for them), go
   into the order, and are remembered by the mask and by the keeper: who hears
   of the end masks by them what the task handed back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from then.abc import Carry, Job, Report, ReportTo, Secrets
from then.core.errors import ExecutorError
from then.core.launch import CannotRead
from then.executors import keeper_client, outputs, results
from then.executors.keeper.wire import RECEIVED_MAX, Frames, frame
from then.executors.orders import order, order_with_secrets

SILENT_MAX = 5
"""So many keepers in a row may end without a word before their tasks are given up."""
SILENCE_S = 2.0
"""A keeper answers at once; after so long it is looked whether it can."""
ROOM_BYTES = 16 * 1024
"""A keeper writes no more than that to begin: a few pages."""
FORGOTTEN_MAX = 100
"""So many ids may wait for the next order that goes to the keeper anyway."""


class ProcessExecutor:
    """Runs tasks as processes under the keeper of a state folder."""

    def __init__(
        self,
        folder: Path,
        report: ReportTo,
        *,
        root: Path | None = None,
        syncs: bool = True,
        secrets: Secrets | None = None,
        carry: Carry | None = None,
    ) -> None:
        """Starts nothing yet: the keeper is started on first use.

        Args:
            folder: the state folder; the keeper's socket and log, and `tasks/<id>/`, lie in it.
            report: called in the thread that reads from the keeper.
            root: where a process runs that names no `cwd`, and what a relative one starts from; else the engine's own.
            syncs: whether what a task left is on the disk before its end is reported.
            secrets: reads the values that jobs name; none is needed where no job does.
            carry: has what a task left go along with its end; without one it is synced before.
        """
        self._folder = Path(os.path.abspath(folder))
        self._root = os.path.abspath(root or ".")
        self._report = report
        self._syncs = syncs
        self._secrets = secrets
        self._carry = carry
        self._lock = threading.RLock()
        """Guards what follows; never held while reporting."""
        self._jobs: dict[str, Job] = {}
        self._stops: dict[str, float] = {}
        """When the grace of a stop ends, by `time.monotonic`."""
        self._filling: set[str] = set()
        """Ids whose secrets are being read: they are not ordered yet."""
        self._masked: set[str] = set()
        """Ids of `_jobs` that are given secrets, whose values the mask knows."""
        self._forgotten: list[str] = []
        self._left: set[str] = set()
        """What the keeper has from an engine that is gone, and nobody claimed yet."""
        self._asked: threading.Event | None = None
        self._link: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    # -- the seam

    def start(self, jobs: Sequence[Job]) -> None:
        with_secrets = [job for job in jobs if "secrets" in job.options]
        if with_secrets:
            jobs = [job for job in jobs if "secrets" not in job.options]
            with self._lock:
                for job in with_secrets:
                    self._jobs[job.task.id] = job
                    self._fill(job)
        orders = b"".join([order(job, self._root) for job in jobs])
        with self._lock:
            for job in jobs:
                self._jobs[job.task.id] = job
            try:
                self._send(orders)
            except ExecutorError as error:
                self._give_up(error.text())

    def recover(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            ids = [job.task.id for job in jobs]
            self._jobs.update(zip(ids, jobs, strict=True))
            # What ended and is not asked for was completed in the journal.
            self._forgotten += self._left.difference(ids)
            self._left = set()
            if ids:
                self._send(frame(b"recover", *(id.encode() for id in ids)))

    def inventory(self) -> Sequence[str]:
        if not keeper_client.has_traces(self._folder):
            return ()
        with self._lock:
            self._asked = threading.Event()
            self._send(frame(b"inventory"))
        while not self._asked.wait(SILENCE_S):
            # A keeper that has nowhere to write waits for room, and answers nobody.
            self._check_room()
        with self._lock:
            self._asked = None
            if self._link is None and not self._is_closed:
                self._check_room()
                raise ExecutorError(
                    f"process: {self._folder}: the keeper of processes ended again and again; see keeper.err there"
                )
            return sorted(self._left)

    def stop(self, id: str, grace_s: float) -> None:
        with self._lock:
            is_ordered = id not in self._filling
            if id in self._jobs and is_ordered:
                due = time.monotonic() + grace_s
                self._stops[id] = min(due, self._stops.get(id, due))
                self._send(stop_frame(id, grace_s))
            elif not is_ordered:
                self._let_go(id)
        if not is_ordered:
            # Whoever reads its secrets finds that it has gone.
            self._report((Report(id, "cancelled", None, results.CANCELLED, None, keeper_client.now_us()),))

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            # The keeper is in no hurry: they go along with what is sent next.
            self._forgotten += ids
            if len(self._forgotten) >= FORGOTTEN_MAX and self._link is not None:
                self._send(b"")

    def close(self, *, wait: bool) -> None:
        with self._lock:
            if self._link is not None and not self._is_closed:
                self._send(b"")
                try:
                    self._link.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # The keeper has gone.
            self._is_closed = True
            thread = self._thread
        if thread is not None and wait and thread is not threading.current_thread():
            thread.join()
        keeper_client.reap()

    # -- secrets

    def _fill(self, job: Job) -> None:
        """Has the secrets of a job of `_jobs` read, and then orders its start."""
        if job.task.id not in self._filling:
            self._filling.add(job.task.id)
            threading.Thread(target=self._start_filled, args=(job,), name="then-secrets", daemon=True).start()

    def _start_filled(self, job: Job) -> None:
        id = job.task.id
        try:
            assert self._secrets is not None
            data = order_with_secrets(job, self._secrets.filled(job), self._root)
        except CannotRead as error:
            with self._lock:
                is_open = id in self._filling
                self._let_go(id)
            if is_open:
                self._report((results.unread(job, error, keeper_client.now_us()),))
            return
        with self._lock:
            if id not in self._filling:
                return  # It was stopped meanwhile, and reported.
            self._filling.discard(id)
            self._masked.add(id)
            if id in self._stops:
                # Told before the keeper said that it never had it: the order goes, and is taken back with it.
                data += stop_frame(id, max(0.0, self._stops[id] - time.monotonic()))
            try:
                self._send(data)
            except ExecutorError as error:
                self._give_up(error.text())

    def _let_go(self, id: str) -> None:
        self._jobs.pop(id, None)
        self._stops.pop(id, None)
        self._filling.discard(id)
        self._masked.discard(id)

    def _ended(self, job: Job, fields: Sequence[bytes], *, is_stopped: bool) -> Report:
        """How a job ended; of one that was given secrets, what it handed back is masked in its files too."""
        report = results.report(job, fields, self._folder, is_stopped)
        if "secrets" in job.options and self._secrets is not None:
            try:
                results.mask_files(self._folder, job.task.id, self._secrets.mask)
            except OSError:
                pass  # No room: they stay as the task wrote them. The report is masked where it is recorded.
        return report

    def _report_unmasked(self, job: Job, fields: Sequence[bytes], *, is_stopped: bool) -> None:
        """Reports the end of a job whose values nobody here knows: they are read again to be masked, or nothing of it is told."""
        assert self._secrets is not None
        unread: CannotRead | None = None
        try:
            self._secrets.filled(job)
        except CannotRead as error:
            unread = error
            self._secrets.mask.hide(job.task.id)
        report = self._ended(job, fields, is_stopped=is_stopped)
        self._report((report if unread is None else results.withheld(report, unread),))

    # -- the keeper

    def _check_room(self) -> None:
        """Nothing, where the disk has room.

        Raises:
            ExecutorError: it has none.
        """
        if not has_room(self._folder):
            raise ExecutorError(
                f"process: {self._folder}: no room left on the disk, and the keeper of processes needs some to take up"
                " what was left; make room, then `andthen resume`"
            )

    def _send(self, data: bytes) -> None:
        """Sends, to a keeper that is found or started. One that dies meanwhile is the reader's matter.

        Raises:
            ExecutorError: none can be started.
        """
        if self._is_closed:
            return  # It stays in the journal as ordered, and the next engine asks for it.
        if self._link is None:
            self._link = keeper_client.connect(self._folder)
            self._thread = threading.Thread(target=self._read, args=(self._link,), name="then-processes", daemon=True)
            self._thread.start()
        if self._forgotten:
            data = frame(b"forget", *[id.encode() for id in self._forgotten]) + data
            self._forgotten = []
        try:
            self._link.sendall(data)
        except OSError:
            pass

    def _read(self, first: socket.socket) -> None:
        link: socket.socket | None = first
        frames = Frames()
        silent = 0
        while link is not None:
            try:
                data = link.recv(RECEIVED_MAX)
            except OSError:
                data = b""
            if data:
                silent = 0
                self._take(frames.feed(data))
            else:
                silent += 1
                frames = Frames()
                link = self._connect_again(silent)

    def _connect_again(self, silent: int) -> socket.socket | None:
        """A connection to the next keeper, which is asked for all that is open."""
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None
            reason = "its keeper ended again and again; " + (
                "keeper.err in the state folder may say why"
                if has_room(self._folder)
                else "no room is left on the disk of the state folder"
            )
            if not self._is_closed and silent <= SILENT_MAX:
                try:
                    self._link = keeper_client.connect(self._folder)
                except ExecutorError as error:
                    reason = error.text()
                else:
                    asked = frame(b"inventory") if self._asked is not None else b""
                    self._send(asked + (frame(b"recover", *(id.encode() for id in self._jobs)) if self._jobs else b""))
                    return self._link
            if self._asked is not None:
                self._asked.set()
            if not self._is_closed:
                self._give_up(reason)
            return None

    def _give_up(self, reason: str) -> None:
        """There is no keeper to be had: what is open ends here, told by a thread that holds no lock."""
        jobs, self._jobs, self._stops = list(self._jobs.values()), {}, {}
        for job in jobs:
            if "secrets" in job.options and job.task.id not in self._masked and self._secrets is not None:
                self._secrets.mask.hide(job.task.id)
        self._filling, self._masked = set(), set()
        now = keeper_client.now_us()
        reports = [results.lost(job, reason, now) for job in jobs]
        threading.Thread(target=self._report, args=(reports,), name="then-processes-lost").start()

    def _take(self, frames: Sequence[tuple[list[bytes], bytes]]) -> None:
        """Acts on what the keeper said: reports ends, starts what no keeper ever had."""
        reports: list[Report] = []
        unsynced: list[str] = []
        carried: list[str] = []
        told: dict[str, dict[str, bytes]] = {}
        unmasked: list[tuple[Job, list[bytes], bool]] = []
        with self._lock:
            for fields, raw in frames:
                kind = fields[0]
                if kind in (b"X", b"E", b"L"):
                    id = fields[1].decode()
                    job = self._jobs.pop(id, None)
                    # One that nobody asked for stays with the keeper: an engine that was killed
                    # before it wrote so ordered it, and the journal may still order it again.
                    if job is not None:
                        has_words = kind == b"L" or (kind == b"X" and fields[-1] != b"empty")
                        if has_words and "secrets" in job.options and id not in self._masked:
                            unmasked.append((job, fields, id in self._stops))
                        else:
                            reports.append(self._ended(job, fields, is_stopped=id in self._stops))
                        self._stops.pop(id, None)
                        self._masked.discard(id)
                        if fields[-1] != b"empty":
                            # No value of a secret goes into the journal, not for a moment.
                            (unsynced if "secrets" in job.options or self._carry is None else carried).append(id)
                            if results.is_told(fields):
                                told[id] = outputs.printed(id, int(fields[-1]), raw)
                elif kind == b"secret":
                    self._know(fields[1].decode(), fields[2:])
                elif kind in (b"never", b"running"):
                    self._go_on(fields[1].decode(), is_known=kind == b"running")
                elif kind == b"inventory":
                    self._left = {id.decode() for id in fields[1:]}
                    if self._asked is not None:
                        self._asked.set()
        if self._syncs and unsynced:
            outputs.sync(self._folder, *unsynced)
        if self._syncs and carried:
            assert self._carry is not None
            mask = self._secrets.mask if self._secrets is not None else None
            outputs.carry_or_sync(self._folder, carried, self._carry, mask, told)
        for job, fields, is_stopped in unmasked:
            threading.Thread(
                target=self._report_unmasked,
                args=(job, fields),
                kwargs={"is_stopped": is_stopped},
                name="then-secrets",
                daemon=True,
            ).start()
        if reports:
            self._report(reports)

    def _know(self, id: str, values: Sequence[bytes]) -> None:
        """The keeper tells what an engine before gave a task."""
        if self._secrets is not None and id in self._jobs:
            self._secrets.know(os.fsdecode(value) for value in values)
            self._masked.add(id)

    def _go_on(self, id: str, *, is_known: bool) -> None:
        """The keeper answered: it runs there, or was never had and is started; a stop holds on."""
        job = self._jobs.get(id)
        if job is None:
            return
        if not is_known:
            if "secrets" in job.options:
                self._fill(job)
                return
            self._send(order(job, self._root))
        if id in self._stops:
            self._send(stop_frame(id, max(0.0, self._stops[id] - time.monotonic())))


def has_room(folder: Path) -> bool:
    """Whether something can be written there; True where that cannot be told."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return True
    return found.f_bavail * found.f_frsize >= ROOM_BYTES and (found.f_favail > 0 or not found.f_files)


def stop_frame(id: str, grace_s: float) -> bytes:
    return frame(b"stop", id.encode(), b"%f" % grace_s)
