"""Threads for scripts: one while a script does something, none while it waits for long.

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

What a run is, and how it ends, is `then.executors.script`.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from then.abc import Clock, Job, Report, ReportTo
from then.core.causes import Told
from then.core.scripts import Recorded
from then.core.tasks import Body, Outcome
from then.scripts.play import Play, Unwound

THREADS_MAX: Final = 32
"""Scripts that compute, or wait for something short, at once; the others queue, or are parked."""
KEPT_S: Final = 0.5
"""A script that waits keeps its thread so long at least: most tasks are over by then."""
KEPT_STEP_S: Final = 0.002
"""And so much longer for each step that it has taken: a hundred times what running it again takes."""
KEPT_MAX_S: Final = 30.0
CLOSE_S: Final = 2.0
"""So long the end of an engine waits for scripts that compute; they go on from their last step."""


class Live:
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

    def report(self, outcome: Outcome, result: Body | None, error: Body | None, now_us: int) -> Report:
        """How it ended; one that was told to end was cancelled, however it ended."""
        if self.is_stopped:
            outcome, result, error = "cancelled", None, {"kind": "cancelled"}
        task = self.job.task
        return Report(task.id, outcome, result, error, self.started, now_us, task.flow)


class ScriptThreads:
    """Who of those that live has a thread.

    Args:
        run: runs a script as far as it goes, in the thread of the caller, and gives its report; raises `Unwound` where
            that run of it is over.
        report: takes its reports.
    """

    def __init__(self, run: Callable[[Live], Report], report: ReportTo, clock: Clock) -> None:
        self._run = run
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[str, Live] = {}
        self._queue: deque[Live] = deque()
        self._waiting: OrderedDict[str, Live] = OrderedDict()
        """On a thread, the one that has waited longest first."""
        self._idle: list[threading.Lock] = []
        self._early: dict[str, float] | None = {}
        """Who was told to stop before it was taken up from the engine before, and its grace; None: all are."""
        self._threads: set[threading.Thread] = set()
        self._count = 0
        """Threads that are counted."""
        self._is_closing = False

    def start(self, jobs: Sequence[Job]) -> None:
        """Runs scripts, each as soon as there is a thread for it."""
        with self._lock:
            if self._is_closing:
                return
            for job in jobs:
                held = self._live.get(job.task.id)
                if held is not None and held.told is not None and held.told.is_over:
                    # It was held before a step and is released, and its run to there has not left its thread.
                    held.job, held.is_again = job, True
                    continue
                live = self._live[job.task.id] = Live(job)
                self._queue.append(live)
            self._call_threads(len(jobs))

    def take_up(self, jobs: Sequence[Job], recorded: Callable[[str], Recorded | None]) -> None:
        """Scripts of an engine that is gone: those that wait for something need no thread for that.

        Args:
            recorded: what a script has done so far.
        """
        waiting = [Live(job) for job in jobs]
        with self._lock:
            for live in waiting:
                # Before the state is asked: an answer that comes meanwhile finds them parked, and has them run.
                live.place = "parked"
                self._live[live.job.task.id] = live
            early, self._early = self._early, None
        for live in waiting:
            done = recorded(live.job.task.id)
            with self._lock:
                if done is not None:
                    live.started = done.began
                if live.place == "parked" and (done is None or done.open is None):
                    live.place = "queued"
                    self._queue.append(live)
                    self._call_threads(1)
        for id, grace_s in (early or {}).items():
            self.stop(id, grace_s)

    def stop(self, id: str, grace_s: float) -> None:
        """Ends a script at its next step, or wherever its Python is; one that does not end in time is given up.

        Told again, it changes nothing but where there is no more time.
        """
        with self._lock:
            live = self._live.get(id)
            if live is None and self._early is not None:
                self._early[id] = grace_s
            if live is None or (live.is_stopped and grace_s > 0):
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

    # -- a script on its thread -----------------------------------------------------

    def still_to_run(self, live: Live, recorded: Callable[[str], Recorded | None]) -> Recorded | None:
        """What it has done so far.

        Raises:
            Unwound: it waits, and its answer is not there; or it was ended.
        """
        while True:
            done = recorded(live.job.task.id)
            with self._lock:
                if live.is_to_end() or self._is_closing:
                    raise Unwound
                if done is None or done.open is None:
                    live.place = "running"
                    return done
                live.started = done.began
                if live.told is None:
                    live.place = "leaving"
                    raise Unwound
                live.told = None

    def answer(self, live: Live, ask: Callable[[], None] | None, n: int) -> Told:
        """Asks for a step, and waits for its answer.

        Args:
            ask: None where that was done in an earlier run.
            n: which of its steps it is.

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
            ask()
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

    # -- the threads ----------------------------------------------------------------

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

    def _play(self, live: Live) -> Report | None:
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

    def _left(self, live: Live) -> None:
        """It is held before a step, and has left its thread: it goes on where it was released meanwhile; under the lock."""
        live.told = None
        if live.is_again:
            live.is_again, live.place = False, "queued"
            self._queue.append(live)
        else:
            live.place = "over"
            self._drop(live)

    def _drop(self, live: Live) -> None:
        """It is known no more; under the lock."""
        if self._live.get(live.job.task.id) is live:
            del self._live[live.job.task.id]

    def _give_up(self, live: Live) -> None:
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

    def _cancelled(self, live: Live) -> Report:
        return live.report("cancelled", None, {"kind": "cancelled"}, self._clock.now_us())


def _interrupt(thread: int) -> None:
    """Raises `Unwound` in a thread, as soon as it runs Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Unwound))


def _interrupt_no_more() -> None:
    """What was to be raised in this thread, and is not yet, never is."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
