"""The state of an engine: a reading of the journal, and the only way it changes.

Theory of operation. `then.core.engine` decides and gives facts; `evolve` in
`then.core.folds` folds one fact into the state. Nothing else writes to a `State`,
so replay of the facts gives the same state (law 6, held by a property test).

What is live is kept as *cells* beside the log: `task`, `flow`, `chain`, `key`.
Cells are written in batches (`State.cells`), not with each entry: a task that
is born and ends between two checkpoints never touches a table. A start loads
the cells and folds the entries after the checkpoint.

Invariants:
1. `flows[f].live` is the number of records of f in `tasks`; at 0 the flow ends.
2. A record in `tasks` has no outcome, unless it is in `pending` or held.
3. `pending` holds the records that are completed and not matched yet (events), in order of emission.
4. `queue` and `waiting` hold every task that may be started and is not, and perhaps ids that ended meanwhile:
   not many more than there are live records.
5. `running` is not journalled (but for `once`): after a crash a running task is
   waiting, and whoever ran it is asked first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

import attrs
import msgspec
from msgspec.structs import replace

from then.core import facts as f
from then.core.admission import Admission, Turns
from then.core.chains import Chain, PostKey
from then.core.facts import Flow
from then.core.holds import KINDS as HOLD_KINDS
from then.core.holds import Holds
from then.core.resting import Flows, is_at_rest, trimmed
from then.core.tasks import Task
from then.core.waits import KINDS, Waits

FAILURES: Final = frozenset(("failed", "timed_out"))
RULE_FAILED: Final = "rule.failed"
"""The event of a generator that raised, yielded what is no emission, or overran its limits."""
_NO_SLOT: Final = {"slots": 0}


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
    waiting: dict[int, Turns] = attrs.field(factory=dict)
    """Who waits for a slot alone, by priority; those of priority 0 only where they are of several flows."""
    queue: deque[str] = attrs.field(factory=deque)
    """The waiting ones of priority 0, as long as they are of one flow."""
    queue_flow: str = ""
    """That flow."""
    lapsed: int = 0
    """So many ids of these two, or fewer, ended before their turn."""
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
    newest: str = ""
    """Its text, where it was made in this engine."""
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
    rested: int = 0
    """How many records the last checkpoint laid to rest."""

    def task(self, id: str) -> Task | None:
        """A live record."""
        task = self.tasks.get(id)
        if type(task) is bytes:
            task = self.tasks[id] = decode_task(task)
        return task  # type: ignore[return-value]

    def next_waiting(self, slots: int) -> str | None:
        """Takes the id that may start next: highest priority first, then flow by flow; None where none or no slot is free."""
        if self.free:
            return self.free.popleft()
        if self.slots_used >= slots:
            return None
        if self.waiting:
            return self.take_waiting()
        return self.queue.popleft() if self.queue else None

    def take_waiting(self) -> str | None:
        """Takes the id that waits for a slot, the next in order; None where none does."""
        waiting = self.waiting
        if waiting and ((priority := max(waiting)) > 0 or not self.queue):
            turns = waiting[priority]
            id = turns.take()
            if not turns:
                del waiting[priority]
            return id
        return self.queue.popleft() if self.queue else None

    def turns_of(self, priority: int) -> Turns:
        """The turns of those that wait with a priority, which are more than one flow's from now on."""
        turns = self.waiting.get(priority)
        if turns is None:
            turns = self.waiting[priority] = Turns(() if priority else self.queue, self.queue_flow)
            if not priority:
                self.queue.clear()
        return turns

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
        self.rested = 0
        for kind, dirty in self.dirty.items():
            for key, is_stored in dirty.items():
                value = self._value(kind, key)
                if value is not None:
                    data = value if type(value) is bytes else _encode(value)
                    if kind == "flow":
                        data = trimmed(data)
                        self.flows.rest(key, data)
                    elif kind == "task" and key not in self.running and is_at_rest(value):
                        data = self.tasks[key] = trimmed(data)
                        self.rested += 1
                    found.append((kind, key, data))
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
            case "break" | "hold" | "fork":
                return self.holds.cell(kind, key)
        return self.waits.cell(kind, key)

    def enqueue(self, task: Task) -> None:
        """Puts a live record where it waits: for its match, or for its start."""
        if task.policy is not None and task.outcome is None:
            self.note_times(task)
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
        elif task.priority or (self.queue and self.queue_flow != task.flow) or (self.waiting and 0 in self.waiting):
            self.turns_of(task.priority).add(task.id, task.flow)
        else:
            self.queue.append(task.id)
            self.queue_flow = task.flow

    def _is_first(self, task: Task, key: str) -> bool:
        """Whether it runs, of those that share its key; one whose twin is done ends with its result."""
        twin = self.waits.twins.get(key)
        if twin is None or twin.first == task.id:
            return True
        if twin.is_done:
            self.waits.joining.append(task.id)
        return False

    def note_times(self, task: Task) -> None:
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

    def forget_times(self, id: str) -> None:
        for kind in ("start", "at", "expires", "deadline", "timeout"):
            self.waits.forget_due(kind, id)

    def touch(self, kind: str, key: str, is_new: bool = False) -> None:
        """Notes that a cell differs from the journal's."""
        self.dirty[kind].setdefault(key, not is_new)

    def drop(self, kind: str, key: str) -> None:
        """Notes that a cell is gone; one the journal never had is forgotten at once."""
        dirty = self.dirty[kind]
        if dirty.pop(key, True):
            dirty[key] = True

    # -- the fold -------------------------------------------------------------

    def begin(self, flow: str) -> None:
        """The next entry of the journal is one of this flow."""
        self.seq += 1
        if flow:
            seqs = self.trace.get(flow)
            if seqs is None:
                self.trace[flow] = [self.seq]
            else:
                seqs.append(self.seq)

    def change(self, id: str, **changes: object) -> None:
        task = self.task(id)
        if task is not None:
            self.tasks[id] = replace(task, **changes)
            self.touch("task", id)
