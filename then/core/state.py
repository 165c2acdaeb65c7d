"""The state of an engine: a reading of the journal, and the only way it changes.

Theory of operation. `then.core.engine` decides and gives facts; `evolve` here
folds one fact into the state. Nothing else writes to a `State`, so replay of
the facts gives the same state (law 6, held by a property test).

What is live is kept as *cells* beside the log: `task`, `flow`, `chain`, `key`.
Cells are written in batches (`State.cells`), not with each entry: a task that
is born and ends between two checkpoints never touches a table. A start loads
the cells and folds the entries after the checkpoint.

Invariants:
1. `flows[f].live` is the number of records of f in `tasks`; at 0 the flow ends.
2. A record in `tasks` has no outcome, unless it is in `pending` or held.
3. `pending` holds the records that are completed and not matched yet (events), in order of emission.
4. `queue` and `waiting` hold every task that may be started and is not, and perhaps ids that ended meanwhile.
5. `running` is not journalled (but for `once`): after a crash a running task is
   waiting, and whoever ran it is asked first.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import msgspec
from msgspec.structs import replace

from then.core import facts as f
from then.core.admission import Admission
from then.core.chains import Chain, PostKey
from then.core.facts import Flow, ended
from then.core.holds import KINDS as HOLD_KINDS
from then.core.holds import Holds
from then.core.resting import Flows, decode_flow, is_at_rest
from then.core.tasks import Body, Task
from then.core.twins import Twin
from then.core.waits import KINDS, Frame, Waits

FAILURES: Final = frozenset(("failed", "timed_out"))
RULE_FAILED: Final = "rule.failed"
"""The event of a generator that raised, yielded what is no emission, or overran its limits."""
_NO_SLOT: Final = {"slots": 0}
TRAIL_LENGTH: Final = 12
"""How many steps of a run of events are remembered, to name a cycle."""


_KINDS: Final = ("task", "flow", "chain", "key", "past", *KINDS, *HOLD_KINDS)
_encode = f.encode
decode_task = msgspec.msgpack.Decoder(Task).decode


@attrs.define
class State:
    """All that an engine knows without reading history. Memory follows what is live."""

    tasks: dict[str, Task | bytes] = attrs.field(factory=dict)
    """Live records by id; those that wait since before the last start, or were put off, are kept encoded."""
    flows: Flows = attrs.field(factory=Flows)
    chains: dict[str, Chain] = attrs.field(factory=dict)
    keys: dict[str, PostKey] = attrs.field(factory=dict)
    pending: OrderedDict[str, None] = attrs.field(factory=OrderedDict)
    """What is to be matched, in order; by id, for what is cancelled before its turn."""
    waiting: list[tuple[int, str]] = attrs.field(factory=list)
    """A heap of (-priority, id)."""
    queue: deque[str] = attrs.field(factory=deque)
    """The waiting ones of priority 0, which need no heap: ids sort by time."""
    free: deque[str] = attrs.field(factory=deque)
    """The waiting ones that take no slot."""
    claiming: deque[str] = attrs.field(factory=deque)
    """The waiting ones that take more than slots, and are not known to `admission` yet."""
    admission: Admission = attrs.field(factory=Admission)
    """Who of those that wait may start, while some of them take more than slots."""
    running: dict[str, int] = attrs.field(factory=dict)
    """Id: slots taken."""
    rows: dict[str, dict[str, None]] = attrs.field(factory=dict)
    """Of those that run one after the other in one slot: by each, those that are left, in order. The first has the slot."""
    advanced: list[str] = attrs.field(factory=list)
    """Who came to be the first of a row in the step under way."""
    waits: Waits = attrs.field(factory=Waits)
    """Open calls, half-filled joins, sets, and what is due when."""
    holds: Holds = attrs.field(factory=Holds)
    """Breakpoints that are set, and what they hold."""
    is_watched: bool = False
    """Whether a breakpoint is on: asked at each start and end, so that without one nothing else is."""
    stopping: set[str] = attrs.field(factory=set)
    stop_kinds: dict[str, str] = attrs.field(factory=dict)
    """Of those, `timeout` or `deadline` where that is why."""
    begun: set[str] = attrs.field(factory=set)
    """Live records whose start is journalled (`once`), and those that a person was asked for: what a restart asks about."""
    stuck: dict[str, str] = attrs.field(factory=dict)
    """Waiting tasks that no executor here can run, with the kind that is missing."""
    stuck_in: dict[str, dict[str, bool]] = attrs.field(factory=dict)
    """The same by flow; perhaps also ids that are stuck no more."""
    slots_used: int = 0
    slots_admitted: int = 0
    """Of those, by tasks that `admission` knows."""
    seq: int = 0
    last_id: int = 0
    version: str = ""
    """The rules version for new flows."""
    dirty: dict[str, dict[str, bool]] = attrs.field(factory=lambda: {kind: {} for kind in _KINDS})
    """By kind the keys of cells that differ from the journal; True where the journal has an older one."""
    trace: dict[str, list[int]] = attrs.field(factory=dict)
    """Flow: seqs of its entries since the last checkpoint."""
    past: list[Flow] = attrs.field(factory=list)
    """Flows that ended since the last checkpoint."""
    window: tuple[str, int] | None = None
    """First id and first seq since the last checkpoint: what finds a record by its id."""

    def task(self, id: str) -> Task | None:
        """A live record."""
        task = self.tasks.get(id)
        if type(task) is bytes:
            task = self.tasks[id] = decode_task(task)
        return task  # type: ignore[return-value]

    def next_waiting(self, slots: int) -> str | None:
        """Takes the id that may start next: highest priority first, then oldest; None where none or no slot is free."""
        if self.free:
            return self.free.popleft()
        if self.slots_used >= slots:
            return None
        return self.take_waiting()

    def take_waiting(self) -> str | None:
        """Takes the id that waits for a slot, the next in order; None where none does."""
        if self.waiting and (self.waiting[0][0] < 0 or not self.queue):
            return heapq.heappop(self.waiting)[1]
        return self.queue.popleft() if self.queue else None

    def leave_row(self, id: str, taken: int) -> int:
        """Takes an id out of its row; the next of it has its slot from now on. Gives the slots that are free with that."""
        row = self.rows.pop(id)
        del row[id]
        if not taken or not row:
            return taken
        first = next(iter(row))
        self.running[first] = taken
        self.advanced.append(first)
        return 0

    def live(self, flow: str | None = None) -> Iterator[Task]:
        """Live records, in order of their ids. Those of other flows that are kept encoded stay so."""
        mark = flow.encode() if flow is not None else b""
        ids = [id for id, kept in self.tasks.items() if not isinstance(kept, bytes) or mark in kept]
        for id in sorted(ids):
            kept = self.tasks.get(id)
            task = decode_task(kept) if isinstance(kept, bytes) else kept
            if task is not None and (flow is None or task.flow == flow):
                yield task

    # -- checkpoint and load --------------------------------------------------

    def cells(self) -> list[tuple[str, str, bytes | None]]:
        """What changed since the last call, as (kind, key, data or None), and forgets that it changed."""
        found: list[tuple[str, str, bytes | None]] = []
        for kind, dirty in self.dirty.items():
            for key, is_stored in dirty.items():
                value = self._value(kind, key)
                if value is not None:
                    data = value if type(value) is bytes else _encode(value)
                    found.append((kind, key, data))
                    if kind == "flow":
                        self.flows.rest(key, data)
                    elif kind == "task" and key not in self.running and is_at_rest(value):
                        self.tasks[key] = data
                elif is_stored:
                    found.append((kind, key, None))
            dirty.clear()
        for flow, seqs in self.trace.items():
            found.append(("trace", f"{flow}/{seqs[0]:016x}", _encode(seqs)))
        self.trace.clear()
        for over in self.past:
            found.append(("past", over.id, _encode(over)))
        self.past.clear()
        if self.window is not None:
            found.append(("window", self.window[0], _encode((self.window[1], self.seq))))
            self.window = None
        stopping = sorted(self.stopping)
        meta = (self.seq, self.last_id, self.version, stopping, self.stop_kinds, self.holds.number)
        found.append(("meta", "state", _encode(meta)))
        return found

    def _value(self, kind: str, key: str) -> object:
        match kind:
            case "task":
                return self.tasks.get(key)
            case "flow":
                return self.flows.get(key)
            case "chain":
                return self.chains.get(key)
            case "key":
                return self.keys.get(key)
            case "break" | "hold":
                return self.holds.cell(kind, key)
        return self.waits.cell(kind, key)

    def enqueue(self, task: Task) -> None:
        """Puts a live record where it waits: for its match, or for its start."""
        if task.policy is not None and task.outcome is None:
            self._note_times(task)
            if task.policy.twin is not None and not self._is_first(task, task.policy.twin):
                return
        if task.is_held:
            return
        if task.started is not None and task.outcome is None:
            if not task.is_call:
                self.begun.add(task.id)
            return
        if task.policy is not None and task.policy.due is not None and task.outcome is None:
            return  # Until it is due.
        if task.outcome is not None or task.is_call:
            self.pending[task.id] = None
        elif task.needs is not None:
            (self.free if task.needs == _NO_SLOT else self.claiming).append(task.id)
        elif task.priority:
            heapq.heappush(self.waiting, (-task.priority, task.id))
        else:
            self.queue.append(task.id)

    def _is_first(self, task: Task, key: str) -> bool:
        """Whether it runs, of those that share its key; one whose twin is done ends with its result."""
        twin = self.waits.twins.get(key)
        if twin is None or twin.first == task.id:
            return True
        if twin.is_done:
            self.waits.joining.append(task.id)
        return False

    def _note_times(self, task: Task) -> None:
        policy, put = task.policy, self.waits.dues.put
        assert policy is not None
        if policy.due is not None:
            put(policy.due, "at" if policy.is_due_by_clock else "start", task.id)
        if policy.expires is not None and task.started is None:
            put(policy.expires, "expires", task.id)
        if policy.deadline is not None:
            put(policy.deadline, "deadline", task.id)
        if policy.timeout_us is not None and task.started is not None:
            put(task.started + policy.timeout_us, "timeout", task.id)

    def _forget_times(self, id: str) -> None:
        for kind in ("start", "at", "expires", "deadline", "timeout"):
            self.waits.forget_due(kind, id)

    def touch(self, kind: str, key: str, is_new: bool = False) -> None:
        """Notes that a cell differs from the journal's."""
        self.dirty[kind].setdefault(key, not is_new)

    def drop(self, kind: str, key: str) -> None:
        """Notes that a cell is gone; one the journal never had is forgotten at once."""
        dirty = self.dirty[kind]
        if dirty.get(key) is False:
            del dirty[key]
        else:
            dirty[key] = True

    # -- the fold -------------------------------------------------------------

    def begin(self, flow: str) -> None:
        """The next entry of the journal is one of this flow."""
        self.seq += 1
        if flow:
            self.trace.setdefault(flow, []).append(self.seq)

    def _emitted(self, fact: f.Emitted, flow: str, time: int) -> None:
        self._born(fact.task)

    def _posted(self, fact: f.Posted, flow: str, time: int) -> None:
        task = fact.task
        if fact.version is not None:
            self.flows[flow] = Flow(flow, task.type, fact.version, time)
            self.touch("flow", flow, is_new=True)
        if fact.key is not None:
            self.keys[fact.key] = PostKey(task.id, flow, task.type, task.body)
            self.touch("key", fact.key, is_new=True)
        self._born(task)

    def _born(self, task: Task) -> None:
        id = task.id
        if self.window is None:
            self.window = (id, self.seq)
        self.tasks[id] = task
        # `touch`, written out here and below: the call takes longer than what it does.
        dirty = self.dirty
        dirty["task"][id] = False
        flow = self.flows[task.flow]
        flow.live += 1
        flow.records += 1
        dirty["flow"].setdefault(flow.id, True)
        if task.outcome in FAILURES or task.type == RULE_FAILED:
            flow.untaken[id] = True
        if task.call is not None or task.is_call:
            self._born_in_call(task)
        if task.policy is not None and task.policy.twin is not None:
            self._born_twin(task, task.policy.twin)
        self.enqueue(task)

    def _born_twin(self, task: Task, key: str) -> None:
        twin = self.waits.twins.get(key)
        self.touch("twin", key, is_new=twin is None)
        if twin is None:
            self.waits.twins[key] = Twin(key, task.id, task.flow)
        else:
            twin.joined_by(task)

    def _twin_ended(self, task: Task, key: str, end: Task) -> None:
        twin = self.waits.twins.get(key)
        if twin is None or not end.settled or end.outcome is None:
            return
        before = twin.first
        self.waits.joining += twin.ended(task.id, end.outcome, end.result)
        self.touch("twin", key)
        if not twin.first:
            del self.waits.twins[key]
            self.drop("twin", key)
        elif twin.first != before and (successor := self.task(twin.first)) is not None:
            twin.flow = successor.flow
            self.enqueue(successor)

    def _born_in_call(self, task: Task) -> None:
        waits, call = self.waits, task.call
        outer = waits.frames.get(call) if call is not None else None
        if outer is not None:
            outer.live += 1
            if task.outcome in FAILURES or task.type == RULE_FAILED:
                outer.untaken[task.id] = task.error or _error_of(task)
            self.touch("frame", outer.id)
        if task.is_call:
            depth = 1 if outer is None else outer.depth + 1
            waits.frames[task.id] = Frame(task.id, task.flow, task.type, task.body, call, depth)
            self.touch("frame", task.id, is_new=True)

    def _completed(self, fact: f.Completed, flow: str, time: int) -> None:
        id = fact.id
        task = self.task(id)
        if task is None:
            return
        taken = self.running.pop(id, None)
        if taken is not None:
            self.slots_used -= taken if id not in self.rows else self.leave_row(id, taken)
        if id in self.admission:
            self.admission.release(id)
            self.slots_admitted -= taken or 0
        self.stopping.discard(id)
        self.begun.discard(id)
        if task.is_call:
            self.pending.pop(id, None)  # It may not have begun.
            self.flows[flow].calls -= 1 if task.started is not None else 0
        elif task.needs is not None and id in self.waits.scripts.of:
            self.flows[flow].calls -= 1 if self.waits.scripts.of[id].awaits_records else 0
            self.waits.scripts.of[id].give_up()
            self.waits.forget_due("script", id)
            self.touch("script", id)
        if self.stop_kinds:
            self.stop_kinds.pop(id, None)
        open_flow = self.flows[flow]
        if fact.started is not None:
            open_flow.idle_run = 0
            if open_flow.trail:
                open_flow.trail = []
        elif fact.outcome in FAILURES:
            # It never ran: what emits it again and again runs idle like events.
            self.count_idle(task)
        if fact.outcome in FAILURES and fact.settled:
            open_flow.untaken[id] = True
        if task.call is not None or task.is_call:
            self._completed_in_call(task, fact)
        if fact.held is None:
            if task.policy is not None and task.policy.twin is not None:
                self._twin_ended(task, task.policy.twin, ended(task, fact))
            # Only a chain keeps the record as it ended.
            self._leave(task if task.cont is None else ended(task, fact))
        else:
            if task.policy is not None:
                self._forget_times(id)
            self.tasks[id] = replace(ended(task, fact), is_held=True)
            open_flow.stopped += 0 if task.is_held else 1
            self.touch("task", id)
            self.touch("flow", flow)

    def _completed_in_call(self, task: Task, fact: f.Completed) -> None:
        frames = self.waits.frames
        outer = frames.get(task.call) if task.call is not None else None
        if outer is not None:
            if fact.outcome in FAILURES and fact.settled:
                outer.untaken[task.id] = fact.error or {}
            outer.was_cancelled |= fact.outcome == "cancelled"
            self.touch("frame", outer.id)
        own = frames.get(task.id) if task.is_call else None
        if own is not None:
            own.is_over = True
            if fact.outcome != "done":
                # Its own end stands for those in it.
                for id in own.untaken:
                    self.flows[task.flow].untaken.pop(id, None)
            own.untaken = {}
            self.touch("frame", own.id)
            if not own.live:
                self.drop_frame(own)

    def _end_frame(self, frame: Frame) -> None:
        """Notes a frame of which nothing lives: the match under way may yet bring something forth in it."""
        if not frame.live:
            self.waits.quiet.append(frame.id)

    def drop_frame(self, frame: Frame) -> None:
        """A call is over, and nothing lives in it: its joins and sets end with it."""
        ties = self.waits.ties
        for key in self.waits.call_ties.take(frame.id):
            ties.drop(frame.flow, key)
            self._drop_wait(key)
        del self.waits.frames[frame.id]
        self.drop("frame", frame.id)

    def _drop_wait(self, key: str) -> None:
        if self.waits.tallies.pop(key, None) is not None:
            self.drop("tally", key)
        elif self.waits.cell("wait", key) is not None:
            self.waits.drop(key)
            self.drop("wait", key)

    def _leave(self, task: Task) -> None:
        """A record is not live any more: it was matched."""
        id, flow = task.id, self.flows[task.flow]
        del self.tasks[id]
        if task.needs is not None and id in self.waits.scripts.of:
            for kind, key in self.waits.scripts.drop(id):
                self.drop(kind, key)
        if task.policy is not None:
            self._forget_times(id)
        if task.call is not None and (frame := self.waits.frames.get(task.call)) is not None:
            frame.live -= 1
            self.touch("frame", frame.id)
            self._end_frame(frame)
        dirty = self.dirty["task"]
        if dirty.get(id) is False:
            del dirty[id]  # The journal never had it.
        else:
            self.drop("task", id)
        if self.stuck and self.stuck.pop(id, None) is not None:
            self.stuck_in[flow.id].pop(id, None)
        if self.holds.stops and self.holds.stops.pop(id, None) is not None:
            self.drop("hold", id)
        flow.live -= 1
        if task.is_held:
            flow.stopped -= 1
        self.dirty["flow"].setdefault(flow.id, True)
        if task.cont is not None:
            self._left_waiter(task, task.cont)

    def _left_waiter(self, task: Task, waiter: str) -> None:
        """A record has left for which a chain, or the script that started it, waits."""
        chain = self.chains.get(waiter) if task.outcome == "done" else None
        if chain is not None:
            chain.waiting.pop(task.id, None)
            for alias, member in chain.aliases.items():
                if member == task.id:
                    chain.records[alias] = task
            self.touch("chain", chain.id)
            return
        script = self.waits.scripts.of.get(waiter)
        if script is not None and task.settled:
            self.touch("ended", self.waits.scripts.settle(script, task), is_new=True)
            self.touch("script", waiter)
            if script.is_answerable:
                self.waits.quiet.append(waiter)

    def _matched(self, fact: f.Matched, flow: str, time: int) -> None:
        if fact.taken_up:
            self._take_up(fact.id, flow, fact.call)

    def _take_up(self, id: str, flow: str, call: str | None) -> None:
        self.flows[flow].untaken.pop(id, None)
        frame = self.waits.frames.get(call) if call is not None else None
        if frame is not None:
            frame.untaken.pop(id, None)
            self.touch("frame", frame.id)

    def _taken(self, fact: f.Taken, flow: str, time: int) -> None:
        task = self.task(fact.id)
        if task is not None:
            self.pending.pop(task.id, None)
            self.count_idle(task)
            if task.is_held and task.policy is not None and task.policy.twin is not None:
                self._twin_ended(task, task.policy.twin, task)
            self._leave(task)

    def count_idle(self, task: Task) -> None:
        """A run of records that bring forth records while nothing ran: counted, its end remembered, for the guard."""
        flow = self.flows[task.flow]
        flow.idle_run += 1
        if task.rule is not None:
            flow.trail = [*flow.trail[1 - TRAIL_LENGTH :], f"{task.type} by rule {task.rule}"]

    def _waited(self, fact: f.Waited, flow: str, time: int) -> None:
        # A retry writes a chain that is open anew.
        is_new = fact.id not in self.chains
        self.chains[fact.id] = Chain(
            fact.id, flow, fact.rule, fact.step, dict.fromkeys(fact.members, True), fact.aliases,
            dict(fact.records), fact.values, fact.call, fact.by_unmatched, fact.otherwise,
        )  # fmt: skip
        self.touch("chain", fact.id, is_new=is_new)
        self.waits.ties.add(flow, fact.id)

    def _dropped(self, fact: f.Dropped, flow: str, time: int) -> None:
        if self.chains.pop(fact.id, None) is not None:
            self.drop("chain", fact.id)
            self.waits.ties.drop(flow, fact.id)

    def _started(self, fact: f.Started, flow: str, time: int) -> None:
        self.change(fact.id, started=time)
        self.begun.add(fact.id)
        task = self.task(fact.id)
        if task is not None and task.policy is not None:
            self.begin_times(task)

    def begin_times(self, task: Task) -> None:
        self.waits.forget_due("expires", task.id)
        self._note_times(task)

    def _loaded(self, fact: f.Loaded, flow: str, time: int) -> None:
        self.change(fact.id, body=fact.body)

    def _stopping(self, fact: f.Stopping, flow: str, time: int) -> None:
        self.stopping.add(fact.id)
        if fact.kind is None:
            self.stop_kinds.pop(fact.id, None)
        else:
            self.stop_kinds[fact.id] = fact.kind
            self.waits.forget_due(fact.kind, fact.id)

    def _taken_up(self, fact: f.TakenUp, flow: str, time: int) -> None:
        self._take_up(fact.id, flow, fact.call)
        self.touch("flow", flow)

    def _flow_reopened(self, fact: f.FlowReopened, flow: str, time: int) -> None:
        again = decode_flow(_encode(fact.flow))
        again.outcome = again.ended = again.bent = again.text = again.held = None
        self.flows[flow] = again
        self.touch("flow", flow, is_new=True)
        self.past = [past for past in self.past if past.id != flow]
        self.drop("past", flow)

    def _flow_ended(self, fact: f.FlowEnded, flow: str, time: int) -> None:
        over = self.flows.pop(flow)
        self.stuck_in.pop(flow, None)
        over.outcome, over.text, over.ended = fact.outcome, fact.text, time
        for key in self.waits.ties.take(flow):
            # Half-filled, and nothing is left to fill it.
            if self.chains.pop(key, None) is not None:
                self.drop("chain", key)
            else:
                self._drop_wait(key)
        self.drop("flow", flow)
        self.past.append(over)

    def _nothing(self, fact: f.Fact, flow: str, time: int) -> None:
        """A fact that is for readers only."""

    def change(self, id: str, **changes: object) -> None:
        task = self.task(id)
        if task is not None:
            self.tasks[id] = replace(task, **changes)
            self.touch("task", id)


def _error_of(task: Task) -> Body:
    """Of an event that is a failure: what it says."""
    return {"kind": "exception", "message": str(task.body.get("error", ""))}


# How the facts of records and flows are folded in; `then.core.folds` has all.
RECORD_FOLDS: dict[type, Callable[[State, Any, str, int], None]] = {
    f.Emitted: State._emitted,
    f.Posted: State._posted,
    f.Completed: State._completed,
    f.Matched: State._matched,
    f.Taken: State._taken,
    f.Waited: State._waited,
    f.Dropped: State._dropped,
    f.Started: State._started,
    f.Loaded: State._loaded,
    f.Stopping: State._stopping,
    f.TakenUp: State._taken_up,
    f.FlowReopened: State._flow_reopened,
    f.FlowEnded: State._flow_ended,
    f.Late: State._nothing,
    f.Fault: State._nothing,
}
