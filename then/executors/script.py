"""Runs tasks as rule scripts: `main` in a thread while it does something, in none while it waits for long.

Theory of operation. A script that waits keeps its thread for a while, for what
it waits for may come soon; then, or as soon as another script needs the thread,
it is taken off it: `Unwound` is raised in its wait, and only its recorded steps
stay, in the state of the engine. When its answer comes it is run again from the
begin, with the answers that are recorded, up to where it was (`then.scripts.play`).
The longer a script is, the longer it keeps its thread: running it again takes
longer too, and is to be a small part of what it waited.

Invariants:
1. `_live` has every script that was started and has not been reported.
2. A script is in one of these: queued for a thread, on a thread (running, asking, waiting in it, or leaving it), or
   parked. It is on one thread at a time: one that is answered while it leaves is queued when it has left.
   It is interrupted where it runs, and nowhere else: while it asks its thread may be the one that steps the core.
3. `_lock` is held for moments, and nothing of the loop is called under it; `tell` comes under the loop's lock.
4. What was given up (`is_given_up`) runs in a thread that nobody counts; all that it asks for is refused.
"""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from msgspec.structs import replace

from then.abc import Clock, Job, Report, ReportTo
from then.core.causes import Ask, Told
from then.core.masking import Mask
from then.core.scripts import Recorded
from then.core.tasks import Body, Outcome
from then.executors.files import with_own_files
from then.executors.raised import failure_of
from then.scripts.play import CannotLoad, Play, Unwound
from then.scripts.running import result_of, run_script

THREADS_MAX: Final = 32
"""Scripts that compute, or wait for something short, at once; the others queue, or are parked."""
KEPT_S: Final = 0.5
"""A script that waits keeps its thread so long at least: most tasks are over by then."""
KEPT_STEP_S: Final = 0.002
"""And so much longer for each step that it has taken: a hundred times what running it again takes."""
KEPT_MAX_S: Final = 30.0
_PACKAGE: Final = str(Path(__file__).parent.parent) + os.sep
CLOSE_S: Final = 2.0
"""So long the end of an engine waits for scripts that compute; they go on from their last step."""


class _Live:
    """A script that was started and has not ended."""

    __slots__ = (
        "gate",
        "is_again",
        "is_given_up",
        "is_rung",
        "is_stopped",
        "job",
        "place",
        "play",
        "started",
        "thread",
        "told",
    )

    def __init__(self, job: Job) -> None:
        self.job = job
        self.place = "queued"
        """`queued`, `asking`, `running`, `waiting`, `leaving`, `parked` or `over`."""
        self.started: int | None = None
        self.play: Play | None = None
        self.thread = 0
        self.gate = threading.Lock()
        self.gate.acquire()
        self.is_rung = False
        self.told: Told | None = None
        self.is_stopped = False
        self.is_again = False
        """It is to be run again, as soon as it has left its thread."""
        self.is_given_up = False

    def heard(self) -> Told | None:
        """Its answer, where that has come meanwhile."""
        return self.told

    def is_to_end(self) -> bool:
        """Whether it was told to, be it a moment ago by another thread."""
        return self.is_stopped

    def ring(self) -> None:
        """Wakes its thread; under the lock."""
        if not self.is_rung:
            self.is_rung = True
            self.gate.release()


class ScriptExecutor:
    """The executor of the kind `script`.

    Args:
        report: takes its reports.
        give: brings the core what a script asks.
        recorded: what a script has done so far, from the state; waits for the loop.
        root: the project's root, where scripts are found.
        folder: the state folder, for what they print.
    """

    def __init__(
        self,
        report: ReportTo,
        give: Callable[[Ask], None],
        recorded: Callable[[str], Recorded | None],
        clock: Clock,
        root: Path,
        folder: Path,
        mask: Mask | None = None,
    ) -> None:
        self._report = report
        self._give = give
        self._recorded = recorded
        self._clock = clock
        self._root = root
        self._folder = folder
        self._mask = mask
        self._lock = threading.Lock()
        self._live: dict[str, _Live] = {}
        self._queue: deque[_Live] = deque()
        self._waiting: OrderedDict[str, _Live] = OrderedDict()
        """On a thread, the one that has waited longest first."""
        self._idle: list[threading.Lock] = []
        self._early: dict[str, float] | None = {}
        """Who was told to stop before it was taken up from the engine before, and its grace; None: all are."""
        self._threads: set[threading.Thread] = set()
        self._count = 0
        """Threads that are counted."""
        self._is_closing = False

    # -- the seam ---------------------------------------------------------------

    def start(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            if self._is_closing:
                return
            for job in jobs:
                held = self._live.get(job.task.id)
                if held is not None and held.told is not None and held.told.is_over:
                    # It was held before a step and is released, and its run to there has not left its thread.
                    held.job, held.is_again = job, True
                    continue
                live = self._live[job.task.id] = _Live(job)
                self._queue.append(live)
            self._call_threads(len(jobs))

    def recover(self, jobs: Sequence[Job]) -> None:
        """Scripts go on from their last step; those that wait for something need no thread for that."""
        waiting = [_Live(job) for job in jobs]
        with self._lock:
            for live in waiting:
                # Before the state is asked: an answer that comes meanwhile finds them parked, and has them run.
                live.place = "parked"
                self._live[live.job.task.id] = live
            early, self._early = self._early, None
        for live in waiting:
            recorded = self._recorded(live.job.task.id)
            with self._lock:
                if recorded is not None:
                    live.started = recorded.began
                if live.place == "parked" and (recorded is None or recorded.open is None):
                    live.place = "queued"
                    self._queue.append(live)
                    self._call_threads(1)
        for id, grace_s in (early or {}).items():
            self.stop(id, grace_s)

    def inventory(self) -> Sequence[str]:
        """Nothing outlives the engine here but what the state has."""
        return ()

    def stop(self, id: str, grace_s: float) -> None:
        """Ends a script at its next step, or wherever its Python is; one that does not end in time is given up."""
        with self._lock:
            live = self._live.get(id)
            if live is None and self._early is not None:
                self._early[id] = grace_s
            if live is None or live.is_stopped:
                return
            live.is_stopped = True
            is_at_rest = live.place in ("queued", "parked")
            if is_at_rest:
                live.place = "over"
                del self._live[id]
            else:
                if live.place == "waiting":
                    live.ring()
                elif live.place == "running":
                    _interrupt(live.thread)
                timer = threading.Timer(grace_s, self._give_up, (live,))
                timer.daemon = True
                timer.start()
        if is_at_rest:
            self._report((self._cancelled(live),))

    def forget(self, ids: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self, *, wait: bool) -> None:
        """Takes all scripts off their threads: they go on from their last step with the next engine."""
        with self._lock:
            self._is_closing = True
            self._queue.clear()
            for live in self._live.values():
                if live.place == "waiting":
                    live.ring()
                elif live.place == "running" and live.play is not None:
                    live.play.is_over = True
            for gate in self._idle:
                gate.release()
            self._idle.clear()
            threads = list(self._threads)
        until = self._clock.monotonic() + CLOSE_S
        for thread in threads if wait else ():
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - self._clock.monotonic()))

    # -- answers ------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        """Brings a script its answer, whether it is on a thread or not."""
        with self._lock:
            live = self._live.get(told.id)
            if live is None:
                return
            if live.place == "parked":
                live.place = "queued"
                self._queue.append(live)
                self._call_threads(1)
                return
            live.told = told
            if live.place == "waiting":
                live.ring()

    def _answer(self, live: _Live, ask: Ask | None, n: int) -> Told:
        """Asks for a step, and waits for its answer.

        Raises:
            Unwound: the script was ended, or is taken off its thread.
        """
        with self._lock:
            if live.is_to_end() or self._is_closing:
                raise Unwound
            # From here on it is not interrupted: what is raised in the middle of a step would end the engine.
            live.place = "asking"
        if ask is not None:
            live.told = None
            if self._mask is not None and not self._mask.is_empty:
                ask = _masked(ask, self._mask)
            self._give(ask)
        with self._lock:
            answer = live.heard()
            if answer is not None and not live.is_to_end():
                live.place = "leaving" if answer.is_over else "running"
                return answer
            if live.is_to_end() or self._is_closing:
                live.place = "leaving"
                raise Unwound
            live.place = "waiting"
            self._waiting[live.job.task.id] = live
            if self._queue:
                self._make_room()
        live.gate.acquire(timeout=min(KEPT_S + n * KEPT_STEP_S, KEPT_MAX_S))
        with self._lock:
            self._waiting.pop(live.job.task.id, None)
            if live.is_rung:
                live.gate.acquire(blocking=False)
                live.is_rung = False
            answer = live.heard()
            if answer is not None and not live.is_to_end():
                live.place = "leaving" if answer.is_over else "running"
                return answer
            live.place = "leaving"
            raise Unwound

    # -- threads --------------------------------------------------------------------

    def _call_threads(self, wanted: int) -> None:
        """Somebody takes up what is queued; under the lock."""
        while wanted and self._idle:
            self._idle.pop().release()
            wanted -= 1
        while wanted and self._count < THREADS_MAX:
            self._count += 1
            thread = threading.Thread(target=self._work, name=f"andthen-script-{self._count}", daemon=True)
            self._threads.add(thread)
            thread.start()
            wanted -= 1
        if wanted:
            self._make_room()

    def _make_room(self) -> None:
        """Who has waited longest leaves its thread to those that are queued; under the lock."""
        if self._waiting:
            _, live = self._waiting.popitem(last=False)
            live.ring()

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        while True:
            with self._lock:
                if self._is_closing:
                    return
                live = self._queue.popleft() if self._queue else None
                if live is None:
                    self._idle.append(gate)
                elif live.place != "queued":
                    continue  # It was ended meanwhile.
                else:
                    live.place, live.thread, live.told = "asking", threading.get_ident(), None
            if live is None:
                gate.acquire()
                continue
            report = self._play(live)
            with self._lock:
                if live.is_given_up:
                    self._threads.discard(threading.current_thread())
                    return
                if report is not None:
                    live.place = "over"
                    self._drop(live)
            if report is not None:
                self._report((report,))

    def _give_up(self, live: _Live) -> None:
        """It was told to end and does not: its task ends without it, its thread is let go."""
        with self._lock:
            if self._live.get(live.job.task.id) is not live or live.place not in ("running", "leaving"):
                return
            live.is_given_up = True
            live.place = "over"
            if live.play is not None:
                live.play.is_over = True
            del self._live[live.job.task.id]
            self._count -= 1
            if self._queue:
                self._call_threads(1)
        self._report((self._cancelled(live),))

    # -- a run ------------------------------------------------------------------------

    def _play(self, live: _Live) -> Report | None:
        """Runs a script as far as it goes. Its report, where it has ended."""
        try:
            try:
                return self._run(live)
            finally:
                with self._lock:
                    live.thread = 0
                _interrupt_no_more()
        except Unwound:
            # Told to end where it waited for nothing of ours, or taken off its thread.
            with self._lock:
                if not live.is_stopped and live.told is not None and live.told.is_over:
                    self._left(live)
                    return None
                if not live.is_stopped:
                    is_answered = live.place == "leaving" and live.told is not None
                    live.place = "queued" if is_answered else "parked"
                    if is_answered:
                        self._queue.append(live)  # This thread looks there next.
                    return None
            return self._cancelled(live)

    def _left(self, live: _Live) -> None:
        """It is held before a step, and has left its thread: it goes on where it was released meanwhile; under the lock."""
        live.told = None
        if live.is_again:
            live.is_again, live.place = False, "queued"
            self._queue.append(live)
        else:
            live.place = "over"
            self._drop(live)

    def _drop(self, live: _Live) -> None:
        """It is known no more; under the lock."""
        if self._live.get(live.job.task.id) is live:
            del self._live[live.job.task.id]

    def _run(self, live: _Live) -> Report:
        task, options = live.job.task, live.job.options
        recorded = self._still_to_run(live)
        play = Play(
            task,
            recorded,
            lambda ask, n: self._answer(live, ask, n),
            random.random,  # noqa: TID251 (here it comes in; what is drawn is recorded)
            self._clock.now_us,
            str(options["target"]),
        )
        live.play = play
        live.started = recorded.began if recorded is not None else live.started or self._clock.now_us()
        output = _Output(self._folder / "tasks" / task.id)
        play.write = output.write
        try:
            result, wrong = result_of(run_script(play, self._root))
        except Unwound:
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a script raises: it ends the script, not the engine)
            return self._raised(live, error, output)
        finally:
            output.close()
        files = options.get("file_results")
        if result is not None and files:
            result, wrong = with_own_files(result, files)  # type: ignore[arg-type]
        if wrong is not None:
            return self._ended(live, "failed", result, {"kind": "result", "message": wrong})
        return self._ended(live, "done", result, None)

    def _still_to_run(self, live: _Live) -> Recorded | None:
        """What it has done so far.

        Raises:
            Unwound: it waits, and its answer is not there; or it was ended.
        """
        while True:
            recorded = self._recorded(live.job.task.id)
            with self._lock:
                if live.is_to_end() or self._is_closing:
                    raise Unwound
                if recorded is None or recorded.open is None:
                    live.place = "running"
                    return recorded
                live.started = recorded.began
                if live.told is None:
                    live.place = "leaving"
                    raise Unwound
                live.told = None

    def _raised(self, live: _Live, error: BaseException, output: _Output) -> Report:
        failure = failure_of(error, _without_own_frames(error.__traceback__), self._mask)
        if isinstance(error, CannotLoad):
            failure["kind"] = "load"
        output.error(failure["traceback"])
        return self._ended(live, "failed", None, failure)

    def _cancelled(self, live: _Live) -> Report:
        return self._ended(live, "cancelled", None, {"kind": "cancelled"})

    def _ended(self, live: _Live, outcome: Outcome, result: Body | None, error: Body | None) -> Report:
        task = live.job.task
        if live.is_stopped:
            outcome, result, error = "cancelled", None, {"kind": "cancelled"}
        return Report(task.id, outcome, result, error, live.started, self._clock.now_us(), task.flow)


class _Output:
    """What a script prints: `out` and `err` in the folder of its task, made when there is something."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._out: int | None = None

    def write(self, text: str) -> None:
        if self._out is None:
            self._out = self._open("out")
        os.write(self._out, text.encode("utf-8", "backslashreplace"))

    def error(self, text: str) -> None:
        fd = self._open("err")
        try:
            os.write(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._out is not None:
            os.close(self._out)
            self._out = None


def _masked(ask: Ask, mask: Mask) -> Ask:
    """What a script asks for, without the values of secrets: it is recorded."""
    return replace(ask, what=mask.text(ask.what), body=mask.body(ask.body) or {}, value=mask.tree(ask.value))


def _without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without frames of ours, above the script's and below: they say nothing to its author."""
    own: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            own.append(trace)
        trace = trace.tb_next
    made: TracebackType | None = None
    for one in reversed(own):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made


def _interrupt(thread: int) -> None:
    """Raises `Unwound` in a thread, as soon as it runs Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Unwound))


def _interrupt_no_more() -> None:
    """What was to be raised in this thread, and is not yet, never is."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
