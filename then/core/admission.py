"""Admission: which of the tasks that wait may start next, given what is taken.

Theory of operation. A task starts when all that it takes is there, and takes it
all at once. What is asked is not "who of all fits", which would cost a look at
all, but "who waits first for what has become free":

- Tasks of one flow, one priority and the same resources form a *lane*. The
  oldest of a lane, its head, is the only one looked at: whatever it waits for,
  those behind it need as well.
- A head goes through its resources in the order of its claim (limit, locks,
  tokens, memory, cores, slots). At the first of which there is not enough it
  joins that resource's *line*, and what it passed before is *kept* for it.
  Having passed all, it starts.
- A line stands by priority, then round robin over flows, then by age. While
  somebody stands in a line nobody of the same or lower priority gets any of
  that resource: so what a large request waits for gathers, a lock that is
  wanted alone is not shared on and on, and tasks that need other things only
  are not held up.
- What is kept for a head is out of reach for the same and lower priorities.
  A higher priority takes no notice of it; a head so robbed waits once more.

Invariants:
1. Of no resource more is taken than the take with the smallest `of` allows: `used` <= `of`, at each start.
2. When `next` has given None, the first of each line lacks what the line is for.
3. A head keeps only what comes before what it waits for. Heads of one priority
   can so not wait for each other in a ring: the one that waits for the last
   resource in the order waits for tasks that run.
4. A head that stands first in a line is passed there by higher priorities only,
   and once past it, comes back to it for a higher priority only. With no such,
   it starts when, as often as it takes resources, what runs has ended.

Nothing of it is journalled: it is made anew from the live records.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable
from itertools import count
from typing import Final, TypeAlias

import attrs

from then.core.claims import Claim, Resource, Take, amount_text, place_of

NOWHERE: Final = -1
"""Where a head stands that was not looked at yet."""
_AFTER_LINES: Final = (9, "")
"""Heads that come anew are looked at after the lines of their priority: who waits goes first."""


@attrs.define(eq=False)
class _Lane:
    """Tasks of one flow, one priority and the same resources, oldest first."""

    flow: str
    priority: int
    resources: tuple[Resource, ...]
    tasks: OrderedDict[str, Claim] = attrs.field(factory=OrderedDict)
    at: int = NOWHERE
    """Which of its resources the head waits for; what comes before is kept for it."""
    head: Claim | None = None
    """Of the head, once it was looked at."""


@attrs.define(eq=False)
class _Pool:
    """One resource: what is taken and kept of it, and the line of those who wait for it."""

    resource: Resource
    place: tuple[int, str]
    """Where it stands in claims."""
    used: int = 0
    kept: dict[int, int] = attrs.field(factory=dict)
    """By priority: what passed heads keep."""
    lines: dict[int, OrderedDict[str, OrderedDict[_Lane, None]]] = attrs.field(factory=dict)
    """By priority, then flow: the lanes that wait. A flow that was served goes to the end."""
    due: int | None = None
    """The priority that its line is to be looked at for, where it is."""

    def first(self) -> _Lane | None:
        if not self.lines:
            return None
        flows = self.lines[max(self.lines)]
        return next(iter(next(iter(flows.values()))))

    def join(self, lane: _Lane) -> None:
        self.lines.setdefault(lane.priority, OrderedDict()).setdefault(lane.flow, OrderedDict())[lane] = None

    def part(self, lane: _Lane) -> None:
        """Takes a lane out of the line; its flow goes to the end, where the lane was first of it."""
        flows = self.lines[lane.priority]
        lanes = flows[lane.flow]
        if next(iter(lanes)) is lane:
            flows.move_to_end(lane.flow)
        del lanes[lane]
        if not lanes:
            del flows[lane.flow]
            if not flows:
                del self.lines[lane.priority]

    def keep(self, priority: int, amount: int) -> None:
        """Keeps so much more, or less, for heads of a priority."""
        left = self.kept.get(priority, 0) + amount
        if left:
            self.kept[priority] = left
        else:
            del self.kept[priority]

    def has(self, take: Take, priority: int, own: int = 0) -> bool:
        """Whether there is enough for a head that keeps `own` of it already."""
        taken = self.used - own
        if self.kept:
            taken += sum(amount for of, amount in self.kept.items() if of >= priority)
        return taken + take.amount <= take.of

    @property
    def is_idle(self) -> bool:
        return not self.used and not self.kept and not self.lines


class Turns(dict[str, "str | deque[str]"]):
    """Who waits for a slot and nothing else, by flow: one of each flow in its turn, of a flow the oldest first.

    A flow of which one waits has its id here, for most have no more.
    """

    def __init__(self, ids: Iterable[str] = (), flow: str = "") -> None:
        super().__init__()
        self._order: deque[str] = deque()
        self._more = 0
        for id in ids:
            self.add(id, flow)

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self) + self._more

    def copied(self) -> Turns:
        """The same turns, to be taken apart."""
        copy = Turns()
        copy.update((flow, line if isinstance(line, str) else line.copy()) for flow, line in self.items())
        copy._order, copy._more = self._order.copy(), self._more
        return copy

    def add(self, id: str, flow: str) -> None:
        """One is the last of its flow."""
        self._put(id, flow, deque.append)

    def put_back(self, id: str) -> None:
        """One that was taken is the next once more: all of those are a line of no flow, which goes before the others."""
        self._put(id, "", deque.appendleft)

    def _put(self, id: str, flow: str, join: Callable[[deque[str], str], None]) -> None:
        line = self.get(flow)
        if line is None:
            self[flow] = id
            join(self._order, flow)
            return
        self._more += 1
        if isinstance(line, str):
            line = self[flow] = deque((line,))
        join(line, id)

    def keep(self, those: Container[str]) -> None:
        """Lets go of all others; who waits still has the turn that it had."""
        lines = [(flow, self[flow]) for flow in self._order]
        self.clear()
        self._order.clear()
        self._more = 0
        for flow, line in lines:
            for id in (line,) if isinstance(line, str) else line:
                if id in those:
                    self.add(id, flow)

    def first(self) -> str:
        """The next, which stays."""
        line = self[self._order[0]]
        return line if isinstance(line, str) else line[0]

    def take(self) -> str:
        """The next; its flow has its turn again after the others."""
        flow = self._order.popleft()
        line = self[flow]
        if isinstance(line, str):
            del self[flow]
            return line
        id = line.popleft()
        self._more -= 1
        if len(line) == 1:
            self[flow] = line[0]
        if flow:
            self._order.append(flow)
        else:
            self._order.appendleft(flow)
        return id

    def ids(self) -> list[str]:
        """All of them, flow by flow."""
        return [id for line in self.values() for id in ((line,) if isinstance(line, str) else line)]


Todo: TypeAlias = tuple[int, tuple[int, str], int, _Pool | _Lane]
"""-priority, the place of the resource that a line is for, a count, and the line or lane to look at."""


class Admission:
    """Who waits, who runs, and who is next.

    A task is `add`ed when it may be started, given by `next` when it is to start (it has all it takes from then
    on), and `release`d when it has ended, or does not start after all; `take` is for those found running after a
    restart. All are by id; a task is here once. Tasks that take a slot and nothing else may start without coming
    here while nobody waits here; their slots are told by `occupy`.

    Cost: of each call, grows with the resources of the claims it moves, the priorities in use among them, and the
    logarithm of the lines that became free at once; not with how many wait.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int, tuple[Resource, ...]], _Lane] = {}
        self.waiting: dict[str, _Lane] = {}
        """Who waits, by id."""
        self.running: dict[str, Claim] = {}
        """Who runs, and what it takes."""
        self._pools: dict[Resource, _Pool] = {}
        self._todo: list[Todo] = []
        self._count = count()
        self._occupied: dict[Resource, int] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self.waiting)

    def __contains__(self, id: str) -> bool:
        """Whether a task waits or runs here."""
        return id in self.waiting or id in self.running

    def add(self, id: str, claim: Claim, flow: str, priority: int = 0) -> None:
        """A task waits from now on: behind what waits already of its flow and priority for the same."""
        assert id not in self
        key = (flow, priority, claim.resources)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(flow, priority, claim.resources)
            self._look_at(lane)
        lane.tasks[id] = claim
        self.waiting[id] = lane

    def next(self) -> str | None:
        """Starts one task, the first in order for which all is there, and gives its id; None where there is none."""
        todo = self._todo
        while todo:
            priority, _, _, subject = heapq.heappop(todo)
            if isinstance(subject, _Lane):
                if subject.at != NOWHERE or not subject.tasks:
                    continue
                lane = subject
            else:
                if subject.due != -priority:
                    continue
                subject.due = None
                first = subject.first()
                if first is None:
                    continue  # Perhaps a pool that was forgotten since, with another of its name now in use.
                if first.priority < -priority:
                    self._freed(subject)  # Whom it was due for has gone: others are looked at before who is there now.
                    continue
                lane = first
            started = self._advance(lane)
            if started is not None:
                return started
        return None

    def take(self, id: str, claim: Claim) -> None:
        """A task was found running: it has what it takes, also where that is more than there is now."""
        if id in self.waiting:
            self.release(id)
        assert id not in self.running
        self.running[id] = claim
        for take in claim.takes:
            self._pool(take.resource).used += take.amount

    def release(self, id: str) -> None:
        """A task has ended, or waits no more: what it took and kept is there for others. One unknown is passed over."""
        claim = self.running.pop(id, None)
        if claim is not None:
            for take in claim.takes:
                pool = self._pools[take.resource]
                pool.used -= take.amount
                self._freed(pool)
            return
        lane = self.waiting.pop(id, None)
        if lane is None:
            return
        was_head = next(iter(lane.tasks)) == id
        del lane.tasks[id]
        if was_head and lane.at != NOWHERE:
            self._stand_back(lane)
            self._come_anew(lane)
        elif not lane.tasks:
            del self._lanes[lane.flow, lane.priority, lane.resources]

    def occupy(self, resource: Resource, amount: int) -> None:
        """So much of a resource, in place of what was said before, is taken by tasks that are not known here."""
        change = amount - self._occupied.get(resource, 0)
        if not change:
            return
        self._occupied[resource] = amount
        pool = self._pool(resource)
        pool.used += change
        if change < 0:
            self._freed(pool)

    def reason(self, id: str) -> str | None:
        """What a waiting task waits for, in words; None where it does not wait, or was not looked at yet."""
        lane = self.waiting.get(id)
        if lane is None or lane.at == NOWHERE:
            return None
        claim, take = lane.tasks[id], lane.tasks[id].takes[lane.at]
        of, pool = take.resource, self._pools[take.resource]
        if claim is not lane.head or pool.first() is not lane:
            return f"waits for {of}, behind others"
        if of.startswith("lock."):
            return f"waits for {of}, {'shared' if take.amount == 1 else 'exclusive'}"
        free = max(take.of - pool.used, 0)
        return f"waits for {of}: {amount_text(of, take.amount)} needed, {amount_text(of, free)} of {amount_text(of, take.of)} free"

    # -- how a head goes on -----------------------------------------------------

    def _advance(self, lane: _Lane) -> str | None:
        """Takes a head as far as it gets. Gives its id where that is through."""
        id, claim = next(iter(lane.tasks.items()))
        lane.head = claim
        at, priority = lane.at, lane.priority
        if at != NOWHERE and not self._pools[claim.takes[at].resource].has(claim.takes[at], priority):
            return None
        for index, take in enumerate(claim.takes):
            if index == at:
                continue
            pool = self._pool(take.resource)
            if index < at:
                is_there = pool.has(take, priority, take.amount)
            else:
                first = pool.first()
                is_there = (first is None or first.priority < priority) and pool.has(take, priority)
            if not is_there:
                self._wait_at(lane, claim, index)
                return None
        self._start(lane, id, claim)
        return id

    def _wait_at(self, lane: _Lane, claim: Claim, index: int) -> None:
        """The head waits for the resource of that index, and keeps those before it."""
        at, takes, priority = lane.at, claim.takes, lane.priority
        lane.at = index
        self._pools[takes[index].resource].join(lane)
        for take in takes[max(at, 0) : index]:
            self._pools[take.resource].keep(priority, take.amount)
        if at != NOWHERE:
            pool = self._pools[takes[at].resource]
            pool.part(lane)
            self._freed(pool)
        for take in takes[index : max(at, 0)]:
            pool = self._pools[take.resource]
            pool.keep(priority, -take.amount)
            self._freed(pool)

    def _start(self, lane: _Lane, id: str, claim: Claim) -> None:
        for index, take in enumerate(claim.takes):
            pool = self._pool(take.resource)
            pool.used += take.amount
            if index < lane.at:
                pool.keep(lane.priority, -take.amount)
            elif index == lane.at:
                pool.part(lane)
                self._freed(pool)
        self.running[id] = claim
        del lane.tasks[id], self.waiting[id]
        self._come_anew(lane)

    def _stand_back(self, lane: _Lane) -> None:
        """A head that ends without a start leaves its line, and what is kept for it."""
        assert lane.head is not None
        pool = self._pools[lane.head.takes[lane.at].resource]
        pool.part(lane)
        self._freed(pool)
        for take in lane.head.takes[: lane.at]:
            pool = self._pools[take.resource]
            pool.keep(lane.priority, -take.amount)
            self._freed(pool)

    def _come_anew(self, lane: _Lane) -> None:
        """A lane has another head, or none."""
        lane.at, lane.head = NOWHERE, None
        if lane.tasks:
            self._look_at(lane)
        else:
            del self._lanes[lane.flow, lane.priority, lane.resources]

    # -- what is to be looked at --------------------------------------------------

    def _look_at(self, lane: _Lane) -> None:
        heapq.heappush(self._todo, (-lane.priority, _AFTER_LINES, next(self._count), lane))

    def _freed(self, pool: _Pool) -> None:
        """There may be enough for the first of a line, or it has another first; a pool without a use is forgotten."""
        first = pool.first()
        if first is None:
            if pool.is_idle:
                # Of each value of a limit there is a pool: they must not become as many as there have been values.
                self._pools.pop(pool.resource, None)
        elif pool.due is None or pool.due < first.priority:
            pool.due = first.priority
            heapq.heappush(self._todo, (-first.priority, pool.place, next(self._count), pool))

    def _pool(self, resource: Resource) -> _Pool:
        pool = self._pools.get(resource)
        if pool is None:
            pool = self._pools[resource] = _Pool(resource, place_of(resource))
        return pool
