"""Drives the pure core in real time: steps, appends to the journal, then acts.

Theory of operation. There is no thread that owns the engine. Whoever brings a
cause (a worker whose function returned, the reader of the process keeper, a
person's thread) puts it into the inbox and tries to take the one lock. Who has
it works the inbox off: step after step, then one commit for all of them, then
the orders that waited for it (`then.dispatch`). Who does not get it leaves: its
cause is worked off by the holder, and shares a commit with what else came
meanwhile. So a completion that comes alone is committed in the thread that
brought it, with no hand-over (which costs a third of what a commit takes), and
under load commits are grouped by themselves. Reports that wait in the inbox
together are one step, and those on one flow one entry.

Orders. A task may start once the transaction that emitted it is durable (law
3). One that was emitted earlier may start before the step that gave it its
slot is committed: the commit may then be put off (`then.turns`), for which the
committer, a thread that sleeps till then, stands in.

Invariants:
1. State and journal are touched only under `_lock`.
2. `_batch.entries` are those between the journal's last and the state's seq.
3. An order of `_batch.gated` is carried out after the commit of its entries.
4. Nobody is answered before its facts are durable.
5. Whoever had the lock looks at the inbox after it let go: who came meanwhile has left.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar

from then.abc import Cell, Clock, Entry, Executor, Journal, Report, ReportTo
from then.alarm import Timekeeper
from then.committer import Committer, Patience
from then.core import facts as f
from then.core.causes import (
    Adopt,
    Ask,
    Cause,
    Over,
    Proceed,
    Reports,
    SetClock,
    Start,
    Step,
    Tick,
    Told,
)
from then.core.claims import Capacity
from then.core.copies import SCATTERING, gather
from then.core.edition import Edition
from then.core.engine import Terms, step
from then.core.errors import InternalError, JournalError, JournalFull, ThenError
from then.core.facts import Flow
from then.core.guards import USUAL, Guards
from then.core.ids import id_text
from then.core.standing import standing
from then.core.state import State
from then.core.stepping import ReadBreakpoint, no_breakpoint
from then.core.tasks import Task
from then.core.timers import are_far
from then.dispatch import GRACE_S, Dispatcher
from then.freeing import give_back
from then.starting import forget, left_behind
from then.turns import STAND_INS, Batch, Brought, changed_cells, together
from then.waiting import FlowNews, Ticket, Waiter, Waiters

T = TypeVar("T")

TURN_S: Final = 0.002
"""How long a turn steps before it commits."""
BATCH_ENTRIES_MAX: Final = 1000
CHECKPOINT_ENTRIES: Final = 8000
CHECKPOINT_FACTS: Final = 32_000
"""Cells are written every so many entries, or facts: few enough that a start folds the rest in a tenth of a second."""
_PROCEED: Final = Proceed()
_CLOSED: Final = "this engine is closed"

Watcher: TypeAlias = Callable[[f.Page], None]
"""Gets durable pages in journal order, under the loop's lock: quick, and calls nothing of the loop."""


class Loop:
    """One engine at work: state, journal and executors held together."""

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        journal: Journal,
        state: State,
        editions: Mapping[str, Edition],
        *,
        clock: Clock,
        slots: int,
        engine: int = 0,
        capacity: Capacity | None = None,
        breakpoint_of: ReadBreakpoint = no_breakpoint,
        guards: Guards = USUAL,
    ) -> None:
        self.journal = journal
        self.state = state
        self.clock = clock
        self.failure: ThenError | None = None
        """Why the engine ended by itself."""
        self.is_full = False
        """The disk has no room: nothing is taken up until there is."""
        self._patience = Patience()
        self.committer: Committer | None = None
        """Stands in for commits that are put off; without one none is."""
        self.watchers: list[Watcher] = []
        self.tell: Callable[[Told], object] = lambda told: None
        """Brings scripts their answers, under the lock: quick, and calls nothing of the loop."""
        self.fullness_watchers: list[Callable[[bool], None]] = []
        self.chance: Callable[[], float] = random.random  # noqa: TID251 (here it comes in; what is drawn is recorded)
        """What jitter is drawn from."""
        self._waiters = Waiters()
        self._terms = Terms(
            0, editions, slots, engine, capacity=capacity, may_start=False, breakpoint_of=breakpoint_of, guards=guards
        )
        self._inbox: deque[Brought] = deque()
        self._dispatcher = Dispatcher(state, self._terms, self._inbox, self._waiters)
        self.executors = self._dispatcher.executors
        """By the kind of the tasks that they run."""
        self.start_watchers = self._dispatcher.start_watchers
        self._lock = threading.Lock()
        self._batch = Batch()
        self._durable_id = id_text(state.last_id)
        self._checkpoint_seq = state.seq
        self._facts = 0
        """How many were decided since the last checkpoint."""
        self._rested = 0
        """How many records were laid to rest since memory was given back."""
        self._is_closed = False
        self._heeds_time = False
        self._times = Timekeeper(clock, lambda: self.give(Tick()))

    # -- from outside -----------------------------------------------------------

    def attach(self, kind: str, executor: Executor) -> None:
        """Tasks of this kind run there from now on."""
        with self._alone():
            self.executors[kind] = executor
            quick = getattr(executor, "quick", None)
            if quick is not None:
                self._terms.quick = {**self._terms.quick, kind: quick}
            self._terms.kinds = frozenset(self.executors)
            for id in [id for id, missing in self.state.stuck.items() if missing == kind]:
                del self.state.stuck[id]
                task = self.state.task(id)
                if task is not None:
                    self.state.enqueue(task)

    def reporter(self, kind: str, *, forgets: bool = True, hurries: bool = False) -> ReportTo:
        """Where an executor of this kind brings its reports.

        Args:
            forgets: it keeps a report until it is told that the journal has it.
            hurries: it reports from an event loop, which no commit may stop: the committer's thread makes them.
        """
        inbox = self._inbox

        def report(reports: Sequence[Report]) -> None:
            executor = self.executors.get(kind) if forgets else None
            inbox.append((reports[0] if len(reports) == 1 else Reports(reports), None, executor))
            if hurries and self.committer is not None:
                self.committer.hurry()
            else:
                self.drive()

        return report

    def give(self, *causes: Cause) -> None:
        """Brings causes; they are worked off here, or by whoever is at it."""
        self._inbox.extend((cause, None, None) for cause in causes)
        self.drive()

    def ask(self, cause: Cause) -> Task | None:
        """Brings a cause and waits until its facts are durable.

        Raises:
            ThenError: it was refused (nothing changed), the disk is full (nothing was taken up), or the engine ended.
        """
        if self.failure is not None:
            raise self.failure
        if self.is_full:
            raise JournalFull("of this engine")
        ticket = Ticket()
        self._inbox.append((cause, ticket, None))
        self.drive()
        return ticket.wait()

    def note(self, cell: Cell) -> None:
        """Writes a cell with the next commit."""
        with self._alone():
            self._batch.notes += (cell,)

    def wait_for(self, flow: str, waiter: Waiter, *, is_told: bool = False) -> Callable[[], None]:
        """Tells `waiter` once when the flow has ended, or stands still until a person acts.

        Args:
            is_told: it knows that the flow stands still now, and waits for what comes after.

        Returns:
            What takes the waiter back, for one that waits no more.
        """
        with self._alone():
            error = self.failure or (JournalError(_CLOSED) if self._is_closed else None)
            open_flow = self.state.flows.get(flow)
            if error is None and (open_flow is not None or self._is_ending(flow)):
                self._waiters.add(flow, waiter)
                still = standing(self.state, open_flow) if open_flow is not None and not is_told else None
                if still is not None and self._batch.entries:
                    self._batch.gated.append(still)  # Told when all that it may stand on is durable.
                elif still is not None:
                    self._waiters.tell(FlowNews(still.flow, still.reason, still.is_stuck))
                return lambda: self._wait_no_more(flow, waiter)
        over = self.past(flow)
        waiter(FlowNews(over or Flow(flow, "", "", 0), error=error if over is None else None))
        return lambda: None

    def _wait_no_more(self, flow: str, waiter: Waiter) -> None:
        with self._alone():
            self._waiters.take_back(flow, waiter)

    def _is_ending(self, flow: str) -> bool:
        """Whether the end of a flow was stepped and is not durable yet."""
        return any(type(order) is Over and order.flow.id == flow for order in self._batch.gated)

    def past(self, flow: str) -> Flow | None:
        """A flow that ended, from the journal."""
        with self._alone():
            for over in self.state.past:
                # After a failure the state may be ahead of the journal, for good.
                if over.id == flow and self.failure is None and not self._is_ending(flow):
                    return over
        from then.core.resting import decode_flow

        return next((decode_flow(data) for key, data in self.journal.cells("past", flow) if key == flow), None)

    def look(self, at: Callable[[State], T]) -> T:
        """What `at` gives for the state of now, while nothing moves."""
        with self._alone():
            return at(self.state)

    def recover(self, *, starts: bool = True) -> None:
        """After a start: asks the executors for what still runs, or ended, since the engine before.

        Args:
            starts: False where nothing is to be started now, be it because it is due.
        """
        with self._alone():
            now = self.clock.now_us()
            known = {id for executor in self.executors.values() for id in executor.inventory()}
            left = left_behind(self.state, self._terms, known, now, starts=starts)
            self._inbox.extend((report, None, None) for report in left.gone)
            self._terms.may_start, self._terms.began = True, now
            self._heeds_time = starts
            if starts:
                if are_far(self.state, self._terms, now):  # The clock was set back.
                    self._inbox.append((Adopt(self.state.version), None, None))
                # What was due while no engine ran.
                self._inbox.append((Tick(), None, None))
        for kind, executor in self.executors.items():
            executor.recover(left.jobs.get(kind, []))
        for kind, id in left.stopping:
            self.executors[kind].stop(id, GRACE_S)

    def drain(self, but: Iterable[str] = ()) -> None:
        """Starts nothing more, but for these flows; what runs goes on."""
        with self._alone():
            self._terms.only = frozenset(but)

    def prune(self, choose: Callable[[State], tuple[Sequence[int], Sequence[Cell]]]) -> None:
        """Takes entries away for ever, and writes cells; `choose` names both, when all else is written.

        Raises:
            JournalError: the journal cannot be written.
        """
        with self._alone():
            batch = self._batch
            if not batch.cells:
                batch.cells = changed_cells(self.state)
                self._checkpoint_seq, self._facts = self.state.seq, 0
            if self.failure is not None or not self._commit():
                raise self.failure or JournalFull("of this engine")
            try:
                self.journal.prune(*choose(self.state))
            except JournalFull:
                raise
            except JournalError as error:
                self._fail(error)
                raise

    def close(self) -> None:
        """Writes what is unwritten and a checkpoint. The journal stays open; executors are the caller's."""
        if self.committer is not None:
            self.committer.close()
        self._times.close()
        self._patience.end()  # A last try.
        self.drive(must_commit=True)
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            try:
                if self.failure is None and not self.is_full and not was_closed:
                    self.journal.append((), changed_cells(self.state) + self._batch.notes)
            except JournalFull:
                pass  # The next start folds more of the log, that is all.
            finally:
                self._settle(self.failure or JournalError(_CLOSED))
        self.drive()  # Who came while this was written is refused.

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """State and journal stand still. Who brought something meanwhile found the lock taken and left: it is seen to."""
        try:
            with self._lock:
                yield
        finally:
            if self._inbox and self.committer is not None and not self._is_over:
                self.committer.hurry()
            elif self._inbox:
                self.drive()

    @property
    def _is_over(self) -> bool:
        return self.failure is not None or self._is_closed

    # -- the work ------------------------------------------------------------------

    def drive(self, must_commit: bool = False) -> None:
        """Works off the inbox, unless somebody is at it: then that one does."""
        inbox = self._inbox
        while must_commit or inbox or (self.state.pending and not self._is_over):
            if not self._lock.acquire(must_commit):
                return
            try:
                if self.failure is not None or self._is_closed:
                    self._refuse()
                else:
                    self._guarded_turn(must_commit)
            finally:
                self._lock.release()
            must_commit = False
            if self.is_full:
                return

    def commit_old(self) -> float | None:
        """Commits what was put off for long enough. Gives the seconds to look again after; None: nothing waits."""
        with self._alone():
            batch = self._batch
            if self._is_over or not (batch.entries or self._inbox or self.is_full):
                return None
            age = self.clock.monotonic() - batch.began if batch.began else batch.delay_s
            if age < batch.delay_s:
                return STAND_INS * batch.delay_s - age
            self._guarded_turn(must_commit=True)
        return self._patience.left_s(self.clock.monotonic()) if self.is_full else None

    def _guarded_turn(self, must_commit: bool) -> None:
        """The one guard: a fault of ours, or an interrupt in the middle of a step, ends the engine and not a worker.

        The state may have gone ahead of what would ever be written; what is in the journal is right.
        """
        try:
            self._terms.chance = self.chance()
            waits, holds = self.state.waits, self.state.holds
            dues = waits.dues
            has_spans = bool(waits.marks) or holds.may_expire or (dues.is_used and waits.next_due is not None)
            if has_spans and (step_us := self._times.step_us()):
                self._inbox.appendleft((SetClock(step_us), None, None))
            self._turn(must_commit)
            if not has_spans and (waits.marks or holds.may_expire or (dues.is_used and waits.next_due is not None)):
                self._times.step_us()  # What was set before is nothing to the spans that run since now.
            if dues.is_used and self.committer is not None and self._heeds_time:
                # Without a committer nobody is woken: who drives the loop by hand asks when something is due.
                self._times.set(waits.next_due)
        except BaseException as error:
            fault = InternalError(
                f"engine: {type(error).__name__}: {error}; it stops here, report this with the journal"
            )
            fault.__cause__ = error
            self._fail(fault)
            if not isinstance(error, Exception):
                raise

    def _turn(self, must_commit: bool) -> None:
        """Steps until the inbox is empty or the time of a turn is over; commits; acts; again."""
        if self.is_full and (self._patience.left_s(self.clock.monotonic()) or not self._commit()):
            return
        inbox, state, clock = self._inbox, self.state, self.clock
        while True:
            began = clock.monotonic()
            has_started = False
            while inbox or state.pending:
                if state.pending:
                    has_started |= self._step(_PROCEED, None, None)
                else:
                    cause, ticket, executor = together(inbox) if len(inbox) > 1 else inbox.popleft()
                    has_started |= self._step(cause, ticket, executor)
                if (inbox or state.pending) and clock.monotonic() - began > TURN_S:
                    break
            batch = self._batch
            if not batch.entries and not batch.gated and not batch.tickets:
                return
            may_wait = has_started and not must_commit and len(batch.gated) <= batch.lenient and not batch.tickets
            if may_wait and self._may_put_off(began):
                return
            if not self._commit() or not (inbox or state.pending):
                return
            must_commit = False

    def _may_put_off(self, now: float) -> bool:
        batch = self._batch
        if self.committer is None or len(batch.entries) >= BATCH_ENTRIES_MAX:
            return False
        batch.began = batch.began or now
        if now - batch.began >= batch.delay_s:
            return False
        self.committer.arm(STAND_INS * batch.delay_s)
        return True

    def _step(self, cause: Cause, ticket: Ticket | None, executor: Executor | None) -> bool:
        """One step of the core. Returns whether something was given to an executor at once."""
        terms, state, batch = self._terms, self.state, self._batch
        terms.time = self.clock.now_us()
        seq = state.seq
        try:
            done: Step = step(state, cause, terms)
        except ThenError as error:
            if ticket is None or state.seq != seq:
                raise
            ticket.error = error
            ticket.settle()
            return False
        for page in done.pages:
            seq += 1
            self._facts += len(page.facts)
            batch.entries.append(Entry(seq, f.encode(page)))
            batch.is_kept &= executor is not None
        if self.watchers:
            batch.pages.extend(done.pages)
        if ticket is not None:
            ticket.answer = done.answer
            batch.tickets.append(ticket)
        if type(cause) is Reports:
            taken = cause.reports[: done.taken]
            if len(taken) < len(cause.reports):
                self._inbox.appendleft((Reports(cause.reports[done.taken :]), None, executor))
            if executor is not None:
                batch.reported.extend([(executor, one.id) for one in taken])
        elif executor is not None and type(cause) is Report:
            batch.reported.append((executor, cause.id))
        has_started, durable = False, self._durable_id
        for order in done.orders:
            # Law 3: what emitted its tasks has to be durable.
            if (
                type(order) is Start
                and not order.after_commit
                and order.task.id <= durable
                and (not order.following or all(task.id <= durable for task in order.following))
            ):
                self._dispatcher.start(order)
                has_started = True
            elif type(order) is Told:
                # Before it is durable: what the script makes of it comes later in the journal, perhaps in this commit.
                self.tell(order)
                has_started = True
            else:
                batch.gated.append(order)
                if type(cause) is Ask:
                    batch.lenient += 1
        return has_started

    def _commit(self) -> bool:
        """Makes the batch durable and acts on it. False where the journal could not take it."""
        batch = self._batch
        entries = self.state.seq - self._checkpoint_seq
        if not batch.cells and (entries >= CHECKPOINT_ENTRIES or self._facts >= CHECKPOINT_FACTS):
            batch.cells = changed_cells(self.state)
            self._checkpoint_seq, self._facts = self.state.seq, 0
        try:
            if batch.cells or batch.notes:
                self.journal.append(batch.entries, batch.cells + batch.notes)
            elif batch.entries:
                self.journal.append(batch.entries)
        except JournalFull:
            self._wait_for_room()
            return False
        except JournalError as error:
            self._fail(error)
            return False
        if self.is_full:
            self._set_full(False)
            self._patience.end()
            self._terms.time = self.clock.now_us()  # What starts now was held up.
        self._batch = Batch()
        self._durable_id = self.state.newest or self._durable_id
        for ticket in batch.tickets:
            ticket.settle()
        for page in batch.pages:
            for watcher in tuple(self.watchers):  # Any thread may take one away meanwhile.
                watcher(page)
        if batch.reported:
            forget(batch.reported)
        if batch.gated:
            self._dispatcher.carry_out(batch.gated)
        if batch.cells:
            batch.cells, batch.entries, batch.pages = (), [], []  # Who called this knows the batch, too.
            self._rested += self.state.rested
            gather(self.state)
            if self._rested >= SCATTERING:
                self._rested = 0
                give_back()
        return True

    # -- when the journal cannot go on ------------------------------------------------

    def _wait_for_room(self) -> None:
        """No room: the batch stays, and with it all that would follow from it."""
        if not self.is_full:
            self._set_full(True)
        wait_s = self._patience.refused(self.clock.monotonic())
        if self.committer is not None:
            self.committer.arm(wait_s)

    def _set_full(self, is_full: bool) -> None:
        self.is_full = is_full
        for watcher in tuple(self.fullness_watchers):
            watcher(is_full)

    def _fail(self, error: ThenError) -> None:
        """A write that failed ends the engine; what was acknowledged is safe."""
        self.failure = error
        self._settle(error)
        self._refuse()

    def _settle(self, error: ThenError) -> None:
        """What was stepped and is not durable never will be: whoever waits is told."""
        for ticket in self._batch.tickets:
            ticket.error = error
            ticket.settle()
        self._batch = Batch()
        self._waiters.tell_all(error)

    def _refuse(self) -> None:
        """Nothing more is taken up: who waits for an answer is told."""
        error = self.failure or JournalError(_CLOSED)
        while self._inbox:
            _, ticket, _ = self._inbox.popleft()
            if ticket is not None:
                ticket.error = error
                ticket.settle()
