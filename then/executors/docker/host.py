"""One Docker engine: whether it can be reached, what ended there, and what is to be asked of it.

Theory of operation. A thread keeps one stream of events open: it hears of the
end of each of our containers, with its exit code, so that nobody waits for
one. A few workers do what takes an engine long: make and start, collect, remove.
They work only while the stream is open. When it, or any request, breaks, all
stop; the thread tries again, later each time, and once the engine is there it
asks what became of every container of ours before it lets the workers go on.
What was being done is done again: each step looks first whether it was done.

Invariants:

1. A container that runs is in `containers`, and events are heard from before it
   was started; or all are asked for after the hearing began.
2. Work that meets an engine that does not answer goes back to the queue, and none is done until it answers.
"""

from __future__ import annotations

import heapq
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs

from then.abc import Job
from then.core.tasks import Body
from then.executors.docker import transport
from then.executors.docker.calls import Calls
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.wanted import LABEL, STATE_LABEL

WORKERS_MAX: Final = 8
IDLE_S: Final = 5.0
"""A worker that had nothing to do for so long ends."""
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Between attempts to reach an engine; the last holds on."""
STEADY_S: Final = 10.0
"""A stream of events that lasted so long was a good one: the next attempt is made at once."""
TRIES_MIN: Final = 6
"""Work that an engine lets come and does not answer is done so often at least, before it is given up."""
LEAVE_S: Final = 10.0
"""So long the removal of what is over may hold up the end of the engine."""
PATIENCE_S: Final = 60.0
"""An engine that restarts is back by then; one that was misspelt never is."""
FINISH, BEGIN, REMOVE = 0, 1, 2
"""What goes first: what frees a slot, what fills it, what nobody waits for."""


class Member(Protocol):
    """A task of ours on an engine, as its host and the executor see it."""

    job: Job
    host: Host
    id: str | None
    """Of its container; None before that was made, and where it has none."""
    keep: str

    def begin(self) -> None:
        """Done by a worker, and again where the engine did not answer."""

    def stop(self, grace_s: float) -> None: ...

    def remove(self) -> None:
        """Its report is durable."""

    def died(self, code: int) -> None: ...

    def found(self, status: str) -> None:
        """After an outage: it is there, and what it does."""

    def vanished(self) -> None:
        """After an outage: it is not there."""

    def waits(self, reason: str, since_s: float) -> None:
        """Its engine has not been reached for so long."""

    def tired(self, reason: str) -> None:
        """Its engine lets us in, and has answered nothing but this for too long."""

    def broke(self, error: Exception) -> None:
        """What was done for it ended in an error that nobody foresaw: it fails, and says so."""


@attrs.define(order=True)
class Work:
    """A piece of it; the least comes first."""

    order: int
    number: int
    do: Callable[[], None] = attrs.field(order=False)
    member: Member | None = attrs.field(order=False)
    tries: int = attrs.field(default=0, order=False)
    """How often an engine that was there did not answer it."""
    since: float = attrs.field(default=0.0, order=False)
    """When it did not answer first."""


class Host:
    """One engine."""

    def __init__(
        self,
        address: transport.Address,
        state: Callable[[], str],
        notice: Callable[[str], None] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Connects to nobody yet.

        Args:
            state: gives the label of our containers.
            notice: takes what the person in front should know.
            patience_s: how long an engine that is there may leave something unanswered.
        """
        self._notice = notice
        self._patience_s = patience_s
        self.address = address
        self.copies_box = False
        """The engine does not see our files: boxes are copied there and back."""
        self.containers: dict[str, Member] = {}
        """By the id of the task; those that are not yet reported."""
        self._state = state
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        """Waited for by the watcher, and by who closes this."""
        self._work_came = threading.Condition(lock)
        """Waited for by workers: one is woken by each piece of work, since none else waits here."""
        self._queue: list[Work] = []
        self._count = itertools.count()
        self._workers: set[threading.Thread] = set()
        self._idle = 0
        self._busy = 0
        self._calls: Calls | None = None
        self._is_up = False
        self._is_failing = False
        """The last attempt to reach it was in vain."""
        self._events: socket.socket | None = None
        self._watcher: threading.Thread | None = None
        self._down_since = 0.0
        self._is_leaving = False
        self._is_closed = False

    # -- work

    def submit(self, order: int, work: Callable[[], None], member: Member | None = None) -> None:
        """Has something done by a worker, as soon as the engine can be reached; `member` hears what nobody foresaw."""
        with self._changed:
            if self._is_closed or (self._is_leaving and order != REMOVE):
                return
            heapq.heappush(self._queue, Work(order, next(self._count), work, member))
            if self._watcher is None:
                self._down_since = time.monotonic()
                self._watcher = threading.Thread(target=self._watch, name="then-docker-events", daemon=True)
                self._watcher.start()
            self._staff()

    def _staff(self) -> None:
        """Wakes a worker, or takes one on."""
        if not self._is_up or not self._queue:
            return
        self._work_came.notify()
        if self._idle >= len(self._queue) or len(self._workers) >= WORKERS_MAX:
            return
        worker = threading.Thread(target=self._work, name="then-docker-worker", daemon=True)
        self._workers.add(worker)
        worker.start()

    @property
    def calls(self) -> Calls:
        """Requests to it.

        Raises:
            Unreachable: it is not connected.
        """
        calls = self._calls
        if calls is None:
            raise Unreachable("not connected")
        return calls

    def stream(self, method: str, path: str, query: Mapping[str, str], body: Body | None = None) -> socket.socket:
        """A request whose answer goes on."""
        return transport.open_stream(self.address, self.calls.version, method, path, query, body)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                has_work = self._work_came.wait_for(
                    lambda: self._is_closed or (self._is_up and bool(self._queue)), IDLE_S
                )
                self._idle -= 1
                if self._is_closed or not has_work:
                    self._workers.discard(threading.current_thread())
                    return
                work = heapq.heappop(self._queue)
                self._busy += 1
            is_done = self._try(work)
            with self._changed:
                self._busy -= 1
                if not is_done:
                    heapq.heappush(self._queue, work)
                    self._lose()
                if self._is_leaving:
                    self._changed.notify_all()

    def _try(self, work: Work) -> bool:
        """False where the engine did not answer. Nothing ends the worker: tasks that wait for it would wait for ever."""
        member = work.member
        try:
            work.do()
        except Unreachable as error:
            now = time.monotonic()
            work.tries += 1
            work.since = work.since or now
            if work.tries < TRIES_MIN or now - work.since < self._patience_s:
                return False
            if member is not None:
                member.tired(str(error))
            elif self._notice is not None:
                self._notice(f"docker: {self.address.text}: {error}; {LEFT}")
        except Exception as error:  # noqa: BLE001 (told to its task, or to the person in front)
            if member is not None:
                member.broke(error)
            elif self._notice is not None:
                self._notice(f"docker: {self.address.text}: {odd(error)}; {LEFT}")
        return True

    def _lose(self) -> None:
        """Something broke: the watcher connects anew, and asks for everything."""
        if self._is_up:
            self._is_up = False
            self._down_since = time.monotonic()
        if self._events is not None:
            _shut(self._events)
        if self._calls is not None:
            self._calls.exchange.drop_kept()

    # -- events

    def _watch(self) -> None:
        attempt = broken = 0
        while not self._is_closed:
            try:
                events = self._connect()
            except Exception as error:  # noqa: BLE001 (what is no Docker engine breaks in many ways; told, and tried again)
                reason = str(error) if isinstance(error, Unreachable | Refused) else odd(error)
                self._wait(reason, BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
                continue
            attempt, begun = 0, time.monotonic()
            self._hear(events)
            with self._changed:
                self._lose()
                self._events = None
            events.close()
            # One that lets us in, and breaks with the first thing it is asked, is soon not asked without a pause.
            broken = broken + 1 if time.monotonic() - begun < STEADY_S else 0
            if broken > 1:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, BACKOFF_S[min(broken, len(BACKOFF_S)) - 1])

    def _connect(self) -> socket.socket:
        """Opens the stream of events, and then asks what became of the containers (invariant 1)."""
        transport.connect(self.address).close()
        if self._calls is None:
            self._calls = Calls(self.address)
        filters = {"type": ["container"], "event": ["die"], "label": [f"{STATE_LABEL}={self._state()}"]}
        events = self.stream("GET", "/events", {"filters": json.dumps(filters)})
        try:
            self._ask_for_all()
        except BaseException:
            events.close()
            raise
        events.settimeout(None)
        if self._is_failing:
            self._tell("is there again")
        with self._changed:
            if self._is_closed:
                _shut(events)
            self._events = events
            self._is_up, self._is_failing = True, False
            for _ in self._queue:
                self._staff()
        return events

    def _ask_for_all(self) -> None:
        known = [one for one in list(self.containers.values()) if one.id is not None]
        if not known:
            return
        there = {one["Id"]: one["State"] for one in self.ours()}
        for one in known:
            status = there.get(one.id)
            if status is None:
                one.vanished()
            else:
                one.found(status)

    def _tell(self, what: str) -> None:
        if self._notice is not None and self.containers:
            self._notice(f"docker: {self.address.text} {what}")

    def ours(self) -> list[Body]:
        """The containers of our state."""
        return self.calls.labelled(f"{STATE_LABEL}={self._state()}")

    def _hear(self, events: socket.socket) -> None:
        rest = b""
        while True:
            try:
                data = events.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                try:
                    actor = json.loads(line)["Actor"]
                    attributes: dict[str, str] = actor["Attributes"]
                    id, name, code = str(actor["ID"]), attributes.get(LABEL, ""), int(attributes.get("exitCode", 255))
                except (ValueError, KeyError, TypeError, AttributeError):
                    return  # No event: it connects anew, and asks for all.
                found = self.containers.get(name)
                if found is not None and found.id in (None, id):
                    found.died(code)

    def _wait(self, reason: str, delay_s: float) -> None:
        since_s = time.monotonic() - self._down_since
        if not self._is_failing:
            self._tell(f"cannot be reached: {reason}; it is tried again")
        for one in list(self.containers.values()):
            one.waits(reason, since_s)
        with self._changed:
            self._is_failing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closed, delay_s)

    # -- the end

    def try_now(self) -> Calls:
        """Requests for whoever comes before or after the work: without the watcher.

        Raises:
            Unreachable: nobody answers there.
        """
        if self._calls is None:
            transport.connect(self.address).close()
            self._calls = Calls(self.address)
        return self._calls

    def close(self, *, wait: bool) -> None:
        """Nothing more is begun; containers go on. What is over is removed before, if there is time to wait."""
        with self._changed:
            self._is_leaving = True
            self._queue = [work for work in self._queue if work.order == REMOVE]
            heapq.heapify(self._queue)
            if wait and threading.current_thread() not in self._workers:
                self._changed.wait_for(lambda: self._is_failing or not (self._queue or self._busy), LEAVE_S)
            self._is_closed = True
            self._queue.clear()
            if self._events is not None:
                _shut(self._events)
            self._changed.notify_all()
            self._work_came.notify_all()
            threads = [*self._workers, *([self._watcher] if self._watcher is not None else [])]
        for thread in threads:
            if wait and thread is not threading.current_thread():
                thread.join()
        if self._calls is not None:
            self._calls.close()


LEFT: Final = "`andthen prune` removes what was left behind"


def odd(error: Exception) -> str:
    """What nobody foresaw, named by its class: its text alone may say nothing."""
    return f"{type(error).__name__}: {error}"


def _shut(link: socket.socket) -> None:
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It has gone.
