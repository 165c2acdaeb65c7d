"""Runs tasks as Python functions: `def` in a pool of threads, `async def` on an event loop.

What runs here ends with the engine; after a restart it is run again, with the
same id and attempt (law 4), unless it is marked `once`.

The worker that ran a function brings its report itself, and takes its next
task from the queue when that call returns: no hand-over between threads while
there is one chain to follow. asyncio is imported with the first `async def`.

Functions that take a few microseconds come in rows (`Job.follows`): a worker
runs one after the other and brings all their reports in one call. Which types
are so quick is measured, run by run. Where one of a row is not, what ended
before it is reported, and what would come after it is given back, after a
millisecond: it may run in another slot, and it never waits for long.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from then.abc import Clock, Job, Report, ReportTo, Secrets
from then.core.errors import BodyRefused
from then.core.launch import CannotRead
from then.core.tasks import Body, Outcome, flat_size, is_flat, own_copy, taken_over
from then.executors.coroutines import Coroutines
from then.executors.files import with_own_files
from then.executors.raised import failure_of

T = TypeVar("T")

RELIEF_S: Final = 0.001
"""How long a task may wait for a worker that is about to come back, before another is woken.

Two threads that run quick functions take the interpreter from each other and
are slower together than one alone; a function that is not quick is noticed
after this time.
"""
QUICK_US: Final = 50
"""A function that takes less is quick: a row of them takes as long as a commit."""
QUICK_RUNS: Final = 8
"""So many quick runs, one after the other, make a type quick; one that is not ends it."""
ROW_US: Final = 2000
"""After this time a row is given up: what ended is reported, the rest given back."""
WORKERS_MAX: Final = 64
"""Threads at most: tasks that take no slot could else ask for any number."""


class _Row:
    """Jobs that a worker runs one after the other, with the reports that were not brought yet."""

    __slots__ = ("begun", "ended", "jobs")

    def __init__(self, first: Job) -> None:
        self.jobs = deque((first,))
        self.ended: deque[Report] = deque()
        self.begun = 0
        """How many were: shows whether it moves on."""


class FunctionExecutor:
    """The executor of the kind `python`."""

    def __init__(
        self,
        report: ReportTo,
        report_from_loop: ReportTo,
        clock: Clock,
        coroutines: Coroutines,
        root: str | None = None,
        secrets: Secrets | None = None,
        give_back: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """Starts no thread yet.

        Args:
            report: takes the reports of threads.
            report_from_loop: takes those of coroutines, and does not keep their event loop.
            root: the project's root, where `module:function` is imported from.
            secrets: reads the values that jobs name; none is needed where no job does.
            give_back: takes the ids of a row that were not begun; without it no rows are asked for.
        """
        self.quick: set[str] = set()
        """Types of which the last runs were so quick that rows of them are welcome."""
        self._streaks: dict[str, int] = {}
        self._give_back = give_back
        self._under_way: set[_Row] = set()
        self._report = report
        self._report_from_loop = report_from_loop
        self._clock = clock
        self._coroutines = coroutines
        self._root = root
        self._secrets = secrets
        self._jobs: deque[Job | _Row] = deque()
        self._idle: list[threading.Lock] = []
        self._workers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closing = False
        self._cancelled: set[str] = set()
        self._coroutine_cancels: dict[str, Callable[[], object]] = {}
        self._reporting: set[int] = set()
        """The threads that report, and take a task up when that is done. A look here costs a fifth of a thread's own."""
        self._relief_wanted = threading.Event()
        self._relief: threading.Thread | None = None
        self._closing = threading.Event()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._is_async: dict[Callable[..., Any], bool] = {}

    # -- the seam ---------------------------------------------------------------

    def start(self, jobs: Sequence[Job]) -> None:
        if self._is_closing:
            return  # They wait in the journal for the next engine.
        waiting_jobs, known = self._jobs, self._is_async
        is_lone = len(jobs) == 1 and threading.get_ident() in self._reporting
        if is_lone and known.get(jobs[0].options.get("function")) is False:  # type: ignore[call-overload]
            # The frequent case: the worker that brings it here takes it up at once.
            waiting_jobs.append(jobs[0])
            if len(waiting_jobs) > 1:
                self._ask_for_relief()
            return
        found: list[Job | _Row] = []
        for job in jobs:
            function = job.options.get("function")
            is_async = known.get(function) if function is not None else False  # type: ignore[call-overload]
            if is_async is None:
                is_async = callable(function) and self._is_coroutine_function(function)
            if is_async and "secrets" not in job.options:
                self._start_coroutine(job, function)  # type: ignore[arg-type]
            elif job.follows and found:
                row = found[-1]
                if type(row) is Job:
                    row = found[-1] = _Row(row)
                row.jobs.append(job)  # type: ignore[union-attr]
            else:
                found.append(job)
        waiting_jobs.extend(found)
        waiting = len(waiting_jobs)
        # A worker that starts tasks while it reports takes one of them itself; for others one comes at once,
        # for a function too that posts, and may wait for what it posted.
        if waiting and threading.get_ident() not in self._reporting:
            self._wake(1)
        if waiting > 1:
            self._ask_for_relief()

    def _is_coroutine_function(self, function: Callable[..., Any]) -> bool:
        """Asked once of each function: `inspect` takes longer than a quick task."""
        known = self._is_async.get(function)
        if known is None:
            known = self._is_async[function] = inspect.iscoroutinefunction(function)
        return known

    def recover(self, jobs: Sequence[Job]) -> None:
        """Functions died with their engine: they run again, those marked `once` end in doubt."""
        again = [job for job in jobs if not job.options.get("once")]
        doubt = [job for job in jobs if job.options.get("once")]
        now = self._clock.now_us()
        message = "the engine went down while this ran, and it is marked `once`"
        if doubt:
            self._report(
                [
                    Report(job.task.id, "failed", None, {"kind": "unknown", "message": message}, job.task.started, now)
                    for job in doubt
                ]
            )
        self.start(again)

    def inventory(self) -> Sequence[str]:
        """Nothing outlives the engine here."""
        return ()

    def stop(self, id: str, grace_s: float) -> None:
        """A coroutine is cancelled; a thread cannot be: its task ends as cancelled when the function returns."""
        self._cancelled.add(id)
        job = self._taken_out(id)
        if job is not None:
            self._report((self._ended(job, "cancelled", None, {"kind": "cancelled"}, None),))
            return
        cancel = self._coroutine_cancels.get(id)
        if cancel is not None:
            cancel()

    def _taken_out(self, id: str) -> Job | None:
        """The job of a task that was not begun, which it will not be any more."""
        waiting = tuple(self._jobs)
        rows = [row for row in (*waiting, *tuple(self._under_way)) if isinstance(row, _Row)]
        with contextlib.suppress(ValueError):  # A worker has it now.
            for one in waiting:
                if isinstance(one, Job) and one.task.id == id:
                    self._jobs.remove(one)
                    return one
            for row in rows:
                for job in tuple(row.jobs):
                    if job.task.id == id:
                        row.jobs.remove(job)
                        return job
        return None

    def forget(self, ids: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self, *, wait: bool) -> None:
        self._is_closing = True
        self._closing.set()
        self._relief_wanted.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for gate in idle:
            gate.release()
        if wait:
            for worker in self._workers:
                if worker is not threading.current_thread():
                    worker.join()
        self._coroutines.close(wait=wait)

    # -- threads ------------------------------------------------------------------

    def _wake(self, count: int) -> None:
        with self._lock:
            while count > 0 and self._idle:
                self._idle.pop().release()
                count -= 1
            spare = min(count, WORKERS_MAX - len(self._workers))
            fresh = [
                threading.Thread(target=self._work, name=f"andthen-worker-{len(self._workers) + i}", daemon=True)
                for i in range(max(0, spare))
            ]
            self._workers.extend(fresh)
        for worker in fresh:
            worker.start()

    def _ask_for_relief(self) -> None:
        """Somebody waits for a worker, or a row is under way: there is something to watch."""
        if not self._relief_wanted.is_set():
            self._relief_wanted.set()
            if self._relief is None:
                self._start_relief()

    def _start_relief(self) -> None:
        with self._lock:
            if self._relief is not None:
                return
            self._relief = threading.Thread(target=self._relieve, name="andthen-relief", daemon=True)
        self._relief.start()

    def _relieve(self) -> None:
        """Wakes more workers when the head of the queue stays there; a row that stays where it is, is given up."""
        jobs, under_way = self._jobs, self._under_way
        while not self._is_closing:
            self._relief_wanted.wait()
            while (jobs or under_way) and not self._is_closing:
                try:
                    head = jobs[0] if jobs else None
                except IndexError:
                    head = None
                seen = [(row, row.begun) for row in tuple(under_way)]
                self._closing.wait(RELIEF_S)
                for row, begun in seen:
                    if begun and row.begun == begun and row in under_way:
                        under_way.discard(row)
                        self._give_up(row)
                if head is not None and jobs and jobs[0] is head:
                    self._wake(len(jobs))
            self._relief_wanted.clear()
            if jobs or under_way:
                self._relief_wanted.set()

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        jobs, report, reporting, own = self._jobs, self._report, self._reporting, threading.get_ident()
        while not self._is_closing:
            try:
                job = jobs.popleft()
            except IndexError:
                with self._lock:
                    if jobs or self._is_closing:
                        continue
                    self._idle.append(gate)
                gate.acquire()
                continue
            reports: Sequence[Report]
            if type(job) is _Row:
                reports = self._run_row(job)
            else:
                ended = self._run(job)  # type: ignore[arg-type]
                reports = () if ended is None else (ended,)
            if reports:
                reporting.add(own)
                try:
                    report(reports)
                finally:
                    reporting.discard(own)

    def _run_row(self, row: _Row) -> list[Report]:
        """Runs the jobs of a row. The reports that are still to be brought."""
        jobs, ended, under_way = row.jobs, row.ended, self._under_way
        under_way.add(row)
        self._ask_for_relief()
        give_up_at = 0
        while jobs and not self._is_closing:
            try:
                job = jobs.popleft()
            except IndexError:
                break
            row.begun += 1
            report = self._run(job)
            if report is None:
                continue
            ended.append(report)
            if not give_up_at:
                give_up_at = (report.started or report.completed) + ROW_US
            if report.completed > give_up_at and jobs:
                self._give_up(row)
        under_way.discard(row)
        return _all_of(ended)

    def _give_up(self, row: _Row) -> None:
        """A row takes longer than was thought: what ended is reported, what was not begun given back."""
        rest = [job.task.id for job in _all_of(row.jobs)]
        reports = _all_of(row.ended)
        if reports:
            self._report(reports)
        if rest and self._give_back is not None and not self._is_closing:
            self._give_back(rest)

    def _run(self, job: Job) -> Report | None:
        """Runs a function; None where it is a coroutine, whose report comes by itself."""
        started = self._clock.now_us()
        options = job.options
        try:
            function = options.get("function") or self._import(str(options["target"]))
            body = job.task.body
            if not is_flat(body):
                body = own_copy(body)  # A call copies the rest.
            given = function(**body, **self._extra(job)) if "with" in options else function(**body)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 (SystemExit of a task too: it ends the task, not the worker)
            return self._raised(job, error, started)
        if type(given) is not dict and inspect.iscoroutine(given):
            self._submit(job, given, started)
            return None
        report = self._returned(job, given, started)
        type_ = job.task.type
        if report.completed - started >= QUICK_US:
            self._streaks[type_] = 0
            self.quick.discard(type_)
        elif type_ not in self.quick and self._give_back is not None:
            streak = self._streaks[type_] = self._streaks.get(type_, 0) + 1
            if streak >= QUICK_RUNS:
                self.quick.add(type_)
        return report

    def _extra(self, job: Job) -> dict[str, Any]:
        """`with {…}` of the run line: keyword arguments that are in no record. Secrets are read now.

        Raises:
            CannotRead: one cannot be.
        """
        if "secrets" in job.options:
            assert self._secrets is not None
            job = self._secrets.filled(job)
        extra = job.options.get("with")
        return extra if isinstance(extra, dict) else {}

    def _import(self, target: str) -> Callable[..., Any]:
        """`module:function`, imported with the project's root on the path; once."""
        known = self._functions.get(target)
        if known is not None:
            return known
        module_name, _, name = target.partition(":")
        if not name:
            raise ImportError(f'run python "{target}" names no function; write "module:function"')
        if self._root is not None and self._root not in sys.path:
            sys.path.insert(0, self._root)
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
        self._functions[target] = found
        return found  # type: ignore[no-any-return]

    # -- coroutines -----------------------------------------------------------------

    def _start_coroutine(self, job: Job, function: Callable[..., Any]) -> None:
        started = self._clock.now_us()
        try:
            coroutine = function(**own_copy(job.task.body), **self._extra(job))
        except TypeError as error:  # The body does not fit the parameters.
            self._report_from_loop((self._raised(job, error, started),))
            return
        self._submit(job, coroutine, started)

    def _submit(self, job: Job, coroutine: Coroutine[Any, Any, Any], started: int) -> None:
        async def run() -> None:
            import asyncio

            try:
                given = await coroutine
                if "file_results" in job.options:
                    # Files are read: the loop has others to run meanwhile.
                    report = await asyncio.to_thread(self._returned, job, given, started)
                else:
                    report = self._returned(job, given, started)
            except asyncio.CancelledError:
                report = self._ended(job, "cancelled", None, {"kind": "cancelled"}, started)
            except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever a user's function raises)
                report = self._raised(job, error, started)
            self._coroutine_cancels.pop(job.task.id, None)
            self._report_from_loop((report,))

        cancel = self._coroutine_cancels[job.task.id] = self._coroutines.submit(run())
        if job.task.id in self._cancelled:
            cancel()  # It was stopped before it could be found here.

    # -- outcomes ---------------------------------------------------------------------

    def _returned(self, job: Job, given: object, started: int) -> Report:
        """What a function gave back, as an outcome."""
        if given is None:
            given = {}
        if not isinstance(given, dict):
            message = f"returned {type(given).__name__}; a task returns a dict of JSON values, or None"
            return self._ended(job, "failed", None, {"kind": "result", "message": message}, started)
        try:
            # A copy: what the function does with its lists afterwards is not in the record.
            result = given.copy() if flat_size(given) >= 0 else taken_over(given, "result")[0]
        except BodyRefused as refused:
            return self._ended(job, "failed", None, {"kind": "result", "message": refused.text()}, started)
        files = job.options.get("file_results")
        if files:
            result, fault = with_own_files(result, files)  # type: ignore[arg-type]
            if fault is not None:
                return self._ended(job, "failed", result, {"kind": "result", "message": fault}, started)
        if self._cancelled:
            return self._ended(job, "done", result, None, started)
        # The frequent case without a further call.
        return Report(job.task.id, "done", result, None, started, self._clock.now_us(), job.task.flow)

    def _raised(self, job: Job, error: BaseException, started: int) -> Report:
        """What a function raised, as an outcome."""
        if isinstance(error, CannotRead):
            return self._ended(job, "failed", None, {"kind": error.kind, "message": str(error)}, None)
        mask = self._secrets.mask if self._secrets is not None else None
        failure = failure_of(error, _own_frames_off(error), mask)
        return self._ended(job, "failed", None, failure, started)

    def _ended(
        self, job: Job, outcome: Outcome, result: Body | None, error: Body | None, started: int | None
    ) -> Report:
        id = job.task.id
        if self._cancelled and id in self._cancelled:
            self._cancelled.discard(id)
            outcome, result, error = "cancelled", None, {"kind": "cancelled"}
        return Report(id, outcome, result, error, started, self._clock.now_us(), job.task.flow)


def _all_of(items: deque[T]) -> list[T]:
    """Takes all out; of two threads that do, each gets a part."""
    taken: list[T] = []
    with contextlib.suppress(IndexError):
        while items:
            taken.append(items.popleft())
    return taken


def _own_frames_off(error: BaseException) -> Any:
    """The traceback from the task's own code on: ours says nothing to its author."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace or error.__traceback__
