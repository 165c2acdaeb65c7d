"""Records and flows as the journal tells them, live ones and those that ended.

A record is found by its id through the `window` cells (ids grow with time, so
that a window of entries is a range of ids); a flow's entries through its
`trace` cells. What came after the last checkpoint is read from the log's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
import msgspec

from then.abc import Journal
from then.core import facts as f
from then.core.chains import Chain
from then.core.errors import UnknownId
from then.core.facts import Flow, edited, ended
from then.core.folds import load, restore, turn
from then.core.holds import Hold
from then.core.resting import decode_flow
from then.core.scripts import Script
from then.core.state import State
from then.core.tasks import Task


@attrs.define
class Record:
    """One record, and what is known of it beside."""

    task: Task
    key: str | None = None
    """What it was posted under."""
    fired: list[str] = attrs.field(factory=list)
    """The rules that fired on it."""
    version: str | None = None
    taken_up: bool = False
    children: list[str] = attrs.field(factory=list)
    late: list[f.Late] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    hits: list[tuple[int, f.Hit]] = attrs.field(factory=list)
    """The breakpoints that it met, and when."""
    edits: list[tuple[int, f.Edited, Task]] = attrs.field(factory=list)
    """What a person changed of it, when, and the record as it was before."""
    is_stopping: bool = False
    waits_since: int | None = None
    """Of a script: when it began to wait, the last time that it did."""
    recalled: str | None = None
    """Of a task of a fork: the record of the origin as which it ended."""


@attrs.define
class FlowHistory:
    """All that happened in one flow."""

    flow: Flow
    records: dict[str, Record]
    """By id, in the order in which they came."""
    chains: dict[str, f.Waited] = attrs.field(factory=dict)
    variables: dict[str, object] = attrs.field(factory=dict)
    holds: dict[str, Hold] = attrs.field(factory=dict)
    """The stops that hold records of it now, by their ids."""
    scripts: dict[str, Script] = attrs.field(factory=dict)
    """The scripts of it that are under way, by the ids of their tasks."""

    def stack(self, task: Task) -> list[Task]:
        """The calls that a record runs in, the innermost first."""
        found: list[Task] = []
        while task.call is not None and task.call in self.records:
            task = self.records[task.call].task
            found.append(task)
        return found


class History:
    """Reads one journal; made anew for each question, or told to `read_on`, so that it sees what is durable now.

    Args:
        state: the state that the journal tells, where it is known; an empty one where what was written with the
            last checkpoint is all that is asked for. None: it is restored when it is needed.
    """

    def __init__(self, journal: Journal, state: State | None = None) -> None:
        self._journal = journal
        self._state = state
        self._folded: dict[str, tuple[int, FlowHistory]] = {}
        """By flow, its entries up to one, folded: without what the state tells of its live records."""

    @property
    def state(self) -> State:
        """The engine's state of now, as the journal tells it."""
        if self._state is None:
            self._state = restore(
                self._journal.cells, lambda after: (entry.data for entry in self._journal.read(after))
            )
        return self._state

    def read_on(self) -> None:
        """Comes to what is durable now; of what was read by then nothing is read again, but for the state after a checkpoint.

        The state that it gave becomes that of now.

        Cost: grows with the entries that came since, or since the last checkpoint.
        """
        state, self._state = self._state, None  # What an interrupt leaves half read is read anew.
        if state is None:
            return
        kept = State()
        load(kept, "meta", self._journal.cells("meta"))
        if kept.seq > state.seq:
            return
        for entry in self._journal.read(state.seq):
            if entry.seq != state.seq + 1:
                return  # Between the two looks a checkpoint was written, and what lay there was pruned.
            turn(state, f.decode(entry.data))
        self._state = state

    # -- flows ------------------------------------------------------------------

    def flows(self) -> Iterator[Flow]:
        """All flows that are kept, the oldest first; announcements of ends left out."""
        state = self.state
        found: dict[str, Flow] = {key: decode_flow(data) for key, data in self._journal.cells("past")}
        for flow in (*state.past, *state.flows.values()):
            found[flow.id] = flow
        for id in sorted(found):
            yield found[id]

    def past(self) -> Iterator[Flow]:
        """Flows that ended and are kept, in the order of their ids; read as they are asked for."""
        state = self.state
        recent = {flow.id: flow for flow in state.past}
        for key, data in self._journal.cells("past"):
            if key not in recent and key not in state.flows:
                yield decode_flow(data)
        for id in sorted(recent):
            yield recent[id]

    def flow(self, id: str) -> FlowHistory:
        """One flow whole.

        Raises:
            UnknownId: there is none.
        """
        state = self.state
        flow = state.flows.get(id) or next((past for past in state.past if past.id == id), None)
        if flow is None:
            flow = next((decode_flow(data) for key, data in self._journal.cells("past", id) if key == id), None)
        if flow is None:
            raise UnknownId(id)
        upto, folded = self._folded.pop(id, (0, FlowHistory(flow, {})))
        for seq, page in self._pages(id, upto):
            upto = seq
            _fold(folded, page)
        self._folded[id] = upto, folded
        history = FlowHistory(flow, dict(folded.records), dict(folded.chains), dict(folded.variables))
        for task in state.live(id) if id in state.flows else ():
            history.records[task.id] = attrs.evolve(history.records[task.id], task=task)
            hold = state.holds.holding(task)
            if hold is not None:
                history.holds[task.id] = hold
            script = state.waits.scripts.of.get(task.id)
            if script is not None:
                history.scripts[task.id] = script
        return history

    def seqs(self, id: str) -> list[int]:
        """The entries of a flow."""
        seqs = {seq for key, data in self._journal.cells("trace", f"{id}/") for seq in msgspec.msgpack.decode(data)}
        seqs.update(self.state.trace.get(id, ()))
        # A checkpoint after the state was read has what the state has, and what came later.
        is_of_then = id in self.state.flows or any(flow.id == id for flow in self.state.past)
        return sorted(seq for seq in seqs if not is_of_then or seq <= self.state.seq)

    def _pages(self, id: str, after: int) -> Iterator[tuple[int, f.Page]]:
        for first, last in _runs(seq for seq in self.seqs(id) if seq > after):
            for entry in self._journal.read(first - 1, last):
                page = f.decode(entry.data)
                if page.flow == id:
                    yield entry.seq, page

    # -- records ------------------------------------------------------------------

    def find(self, prefix: str) -> tuple[str, str]:
        """The id that begins so, and its flow. Id of a record or a flow; whole ids need no scan of others.

        Raises:
            UnknownId: none begins so, or several do.
        """
        prefix = prefix.lower()
        state = self.state
        found: dict[str, str] = {}
        if prefix in state.tasks:
            task = state.task(prefix)
            return prefix, task.flow if task is not None else ""
        for id, flow in self._candidates(prefix):
            if id == prefix:
                return id, flow
            found[id] = flow
            if len(found) > 5:
                break
        if len(found) != 1:
            raise UnknownId(prefix, found)
        return next(iter(found.items()))

    def _candidates(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Ids that begin so, with their flows, in the order of the journal."""
        low, high = prefix, prefix + "~"
        windows = [(key, *msgspec.msgpack.decode(data)) for key, data in self._journal.cells("window")]
        if self.state.window is not None:
            windows.append((self.state.window[0], self.state.window[1], self.state.seq))
        for place, (first_id, first, last) in enumerate(windows):
            following = windows[place + 1][0] if place + 1 < len(windows) else "~"
            if first_id > high or following < low:
                continue
            for entry in self._journal.read(first - 1, last):
                page = f.decode(entry.data)
                for fact in page.facts:
                    if isinstance(fact, f.Posted | f.Emitted) and fact.task.id.startswith(prefix):
                        yield fact.task.id, fact.task.flow

    def record(self, prefix: str) -> tuple[Record, FlowHistory]:
        """One record with its flow.

        Raises:
            UnknownId: no record, or several, begin so.
        """
        id, flow = self.find(prefix)
        history = self.flow(flow)
        return history.records[id], history


def chain_of(record: Record, history: FlowHistory) -> Chain | None:
    """The chain that a failed record was a member of, as it would be without its failure: for a retry.

    Whom it waits for says whether that one lived, so that the engine can tell when it does no more.
    """
    waited = history.chains.get(record.task.cont or "")
    if waited is None:
        return None
    waiting: dict[str, bool] = {}
    records = dict(waited.records)
    for member in waited.members:
        task = history.records[member].task
        if task.outcome != "done" or task.is_held:
            waiting[member] = task.outcome is None or task.is_held
            continue
        for alias, of in waited.aliases.items():
            if of == member:
                records[alias] = task
    return Chain(
        waited.id, history.flow.id, waited.rule, waited.step, waiting, waited.aliases, records,
        waited.values, waited.call, waited.by_unmatched, waited.otherwise,
    )  # fmt: skip


def descendants(history: FlowHistory, id: str) -> list[str]:
    """The live records among a record and all that descends from it."""
    todo, found = [id], []
    while todo:
        record = history.records[todo.pop()]
        if record.task.outcome is None or record.task.is_held:
            found.append(record.task.id)
        todo.extend(record.children)
    return sorted(found)


def _runs(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Consecutive seqs as (first, last), so that one read fetches them."""
    first = last = 0
    for seq in seqs:
        if last and seq - last <= 8:
            last = seq
            continue
        if last:
            yield first, last
        first = last = seq
    if last:
        yield first, last


def _fold(history: FlowHistory, page: f.Page) -> None:
    records = history.records
    for fact in page.facts:
        match fact:
            case f.Posted(task=task, key=key):
                _born(history, task).key = key
            case f.Emitted(task=task):
                _born(history, task)
            case f.Completed(id=id):
                records[id].task = ended(records[id].task, fact)
            case f.Matched():
                record = records[fact.id]
                record.fired, record.version, record.taken_up = fact.rules, fact.version, fact.taken_up
            case f.Waited():
                history.chains[fact.id] = fact
            case f.Loaded(id=id, body=body):
                records[id].task = msgspec.structs.replace(records[id].task, body=body)
            case f.Started(id=id) | f.Entered(id=id):
                records[id].task = msgspec.structs.replace(records[id].task, started=page.time)
            case f.Ripened(id=id):
                records[id].task = _ripe(records[id].task, page.time, is_asked=fact.is_asked)
            case f.Hit(id=id) if id in records:
                records[id].hits.append((page.time, fact))
            case f.Edited(id=id) if id in records:
                record = records[id]
                record.edits.append((page.time, fact, record.task))
                record.task = edited(record.task, fact)
            case f.Released(id=id, is_asked=True):
                records[id].task = msgspec.structs.replace(records[id].task, started=page.time)
            case f.Late(id=id) if id in records:
                records[id].late.append(fact)
            case f.Fault(id=id) if id in records:
                records[id].faults.append(fact.text)
            case f.Stubbed(id=id, of=of):
                records[id].recalled = of
                records[id].task = msgspec.structs.replace(records[id].task, started=page.time)
            case f.Awaited(id=id) if id in records:
                records[id].waits_since = page.time
            case f.Stopping(id=id):
                records[id].is_stopping = True
            case f.TakenUp(id=id):
                records[id].taken_up = True
            case f.Saved(name=name, value=value):
                history.variables[name] = value
            case _:
                pass


def _ripe(task: Task, time: int, *, is_asked: bool) -> Task:
    """A record that was put off, when its time has come: an event is, a person is asked."""
    if task.event:
        return msgspec.structs.replace(task, outcome="done", completed=time)
    return msgspec.structs.replace(task, started=time) if is_asked else task


def _born(history: FlowHistory, task: Task) -> Record:
    record = history.records[task.id] = Record(task)
    if task.parent is not None and task.parent in history.records:
        history.records[task.parent].children.append(task.id)
    return record
