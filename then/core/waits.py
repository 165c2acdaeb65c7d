"""What an engine waits for beside its tasks: open calls, half-filled joins, sets, times.

Cells like those of `then.core.state`, which keeps this and folds facts into it;
the decisions are of `then.core.joins`, `then.core.calls` and `then.core.times`.

Invariants:
1. `frames[c].live` is the number of live records whose innermost call is c, and of its open windows with `on timeout`.
2. Each open wait with a `due`, and each live record with a time in its policy, stands in `dues`.
3. A wait of a flow or call ends with it. One across flows ends with its window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs
import msgspec
from msgspec.structs import replace

from then.core import facts as f
from then.core import scripts
from then.core.dues import Dues
from then.core.tasks import Body, Json, Task
from then.core.ties import Ties
from then.core.twins import Twin
from then.core.values import CannotSay, canonical

MARKS_MAX: Final = 1000
_PLAIN: Final = (str, int)
"""Values that are their own canonical form."""
_FEW: Final = 8
"""Ids that are sooner looked through than put into a set."""


class Frame(msgspec.Struct, array_like=True, gc=False):
    """A call that is open, or that has completed while something in it still lives."""

    id: str
    """Of the call's record."""
    flow: str
    type: str
    """The procedure."""
    body: Body
    """Its arguments: names in the rules of the procedure."""
    call: str | None
    """The call that it was made in."""
    depth: int
    live: int = 0
    untaken: dict[str, Body] = {}
    """Failures in it that nothing took up, with their errors."""
    is_over: bool = False
    """It has completed: a further return is a fault."""
    was_cancelled: bool = False
    """Something in it ended as cancelled."""
    waits: dict[str, bool] | None = None
    """A place that is kept free: what waits in a call is not written with it (`then.core.ties`)."""
    tries: int = 0
    """Of `retry … from failed`: how often something in it was tried again."""


class Wait(msgspec.Struct, array_like=True, gc=False):
    """A join that has some of its parts."""

    key: str
    rule: str
    scope: str
    """The flow or call whose records it joins; empty: all that share its values."""
    flow: str
    """Of its first part; where it keeps one, that."""
    values: list[Json]
    """The key's components."""
    parts: list[list[Task]]
    """What came, oldest first. Of an absent part the newest alone, unless its clause has to see all."""
    due: int | None = None
    """When its window ends."""
    keeps: bool = False
    """Its flow lives until the window ends."""
    is_spent: bool = False
    """`any of` that has fired: it takes more, and fires no more."""
    answered: str = ""
    """The newest id when its `else` ran: what was born by then ends without effect."""


class _Head(msgspec.Struct, array_like=True, gc=False):
    """A wait, by position, without what came."""

    key: msgspec.Raw
    rule: msgspec.Raw
    scope: msgspec.Raw
    flow: str
    values: msgspec.Raw
    parts: msgspec.Raw
    due: int | None = None
    keeps: bool = False


class Tally(msgspec.Struct, array_like=True, gc=False):
    """The records of a set, `every X done`, in one flow or call."""

    key: str
    open: int = 0
    is_closed: bool = False
    """It fired, or one ended otherwise."""
    count: int = 0
    """Of how many it was so far, those that have ended with them; for a person to look at."""


class TimerState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A timer of the rules in force, and when it fires."""

    name: str
    due: int | None
    flow: str | None
    is_paused: bool
    queued: int
    is_span: bool = False
    times: list[int] = []
    when: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(Frame).decode
_decode_wait = msgspec.msgpack.Decoder(Wait).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_twin = msgspec.msgpack.Decoder(Twin).decode
_decode_timer = msgspec.msgpack.Decoder(TimerState).decode
_decode_tally = msgspec.msgpack.Decoder(Tally).decode
_encode_values = msgspec.json.Encoder().encode
_decode_values = msgspec.json.Decoder(list[Json]).decode


def _packed(wait: Wait) -> bytes:
    """A wait without what its key tells: there may be very many."""
    first = next((tasks[0] for tasks in wait.parts if tasks), None)
    flow = "" if first is not None and first.flow == wait.flow else wait.flow
    return _encode(Wait("", "", "", flow, [], wait.parts, wait.due, wait.keeps, wait.is_spent, wait.answered))


def _unpacked(key: str, data: bytes) -> Wait:
    wait = _decode_wait(data)
    wait.key = key
    wait.rule, wait.scope, values = key.split("\0", 2)
    wait.values = _decode_values(values)
    if not wait.flow:
        for tasks in wait.parts:
            if tasks:
                wait.flow = tasks[0].flow
                break
    return wait


def without(parts: Iterable[Iterable[Task]], used: Sequence[str]) -> list[list[Task]]:
    """What came, part by part, less those of these ids."""
    ids = used if len(used) < _FEW else frozenset(used)
    return [[task for task in part if task.id not in ids] for part in parts]


def _kind_of(timer: TimerState) -> str:
    return "every" if timer.is_span else "timer"


def wait_key(rule: str, scope: str, values: Sequence[Json]) -> str:
    """The name of a join's wait for one key: the same for values that are equal as JSON; "" where one cannot be said."""
    if len(values) == 1 and type(values[0]) is int:
        return f"{rule}\0{scope}\0[{values[0]}]"
    for value in values:
        if type(value) not in _PLAIN:
            if any(type(one) is CannotSay for one in values):
                return ""
            values = [canonical(value) for value in values]
            break
    return f"{rule}\0{scope}\0{_encode_values(values).decode()}"


@attrs.define
class Waits:
    """Open calls, joins, sets and times of an engine."""

    frames: dict[str, Frame] = attrs.field(factory=dict)
    tallies: dict[str, Tally] = attrs.field(factory=dict)
    quiet: list[str] = attrs.field(factory=list)
    """Calls in which nothing lives any more: to be looked at once the match under way is over."""
    timers: dict[str, TimerState] = attrs.field(factory=dict)
    twins: dict[str, Twin] = attrs.field(factory=dict)
    """`idempotent by`: by key."""
    scripts: scripts.Scripts = attrs.field(factory=scripts.Scripts)
    """Scripts under way, by the id of their task."""
    joining: list[str] = attrs.field(factory=list)
    """Records that end with the result of their twin, in this step."""
    marks: dict[str, int] = attrs.field(factory=dict)
    """`at most once`: by key, until when its act is dropped."""
    marks_max: int = MARKS_MAX
    """With more of them, those that are over are looked for."""
    _waits: dict[str, bytes] = attrs.field(factory=dict)
    """Half-filled joins; encoded, since there may be very many of which none is looked at for days."""
    _seen: tuple[bytes, Wait | None] = (b"", None)
    """The join that was looked at last: who fills one asks for it several times."""
    dues: Dues = attrs.field(factory=Dues)
    ties: Ties = attrs.field(factory=Ties)
    """Chains, joins and sets of a flow: they end with it."""
    call_ties: Ties = attrs.field(factory=Ties)
    """Joins and sets of the rules of a call's procedure: they end with the call."""

    # -- joins

    def wait(self, key: str) -> Wait | None:
        """A half-filled join as it stands now; to look at, and not to change."""
        data = self._waits.get(key)
        if data is None:
            return None
        if self._seen[0] is not data:
            self._seen = data, _unpacked(key, data)
        return self._seen[1]

    def joined(self, fact: f.Joined, flow: str, wait: Wait | None) -> Wait:
        """Takes a record in."""
        came = wait.parts if wait is not None else []
        # The rule may have fewer parts than it has now, where the first came.
        parts: list[list[Task]] = [*came, *([] for _ in range(len(came), fact.parts))]
        parts[fact.part] = [fact.task] if fact.is_last else [*parts[fact.part], fact.task]
        if wait is None:
            new = Wait(fact.key, fact.rule, fact.scope, flow, fact.values, parts, fact.due, fact.keeps)
        else:
            new = replace(wait, parts=parts, due=fact.due)
            if fact.keeps and not wait.keeps:
                new.keeps, new.flow = True, flow
        self._put(new)
        return new

    def met(self, fact: f.Met, wait: Wait) -> Wait | None:
        """Uses up what fired. What is left of the wait."""
        parts = without(wait.parts, fact.used)
        return self._put_or_drop(wait, parts, wait.is_spent or fact.is_spent, fact.due, fact.keeper)

    def parted(self, fact: f.Parted, flow: str, wait: Wait | None) -> Wait | None:
        """Lets go what is out of its window. What is left of the wait."""
        upto = fact.upto
        if wait is None:
            rule, scope, values = fact.key.split("\0", 2)
            wait = Wait(fact.key, rule, scope, flow, msgspec.json.decode(values), [])
        parts = [[] if upto is None else [task for task in part if (task.completed or 0) > upto] for part in wait.parts]
        answered = replace(wait, answered=fact.answered) if wait.answered != fact.answered else wait
        return self._put_or_drop(answered, parts, False, fact.due, fact.keeper)

    def _put_or_drop(
        self, wait: Wait, parts: list[list[Task]], is_spent: bool, due: int | None, keeper: str
    ) -> Wait | None:
        is_empty = not any(parts)
        if is_empty and not is_spent and not wait.answered:
            self.drop(wait.key)
            return None
        if is_empty and wait.answered and due is None:
            due = wait.due
        keeps, flow = bool(keeper), keeper or wait.flow
        new = replace(wait, parts=parts, is_spent=is_spent, due=due, keeps=keeps, flow=flow)
        self._put(new)
        return new

    def _put(self, wait: Wait) -> None:
        data = self._waits[wait.key] = _packed(wait)
        self._seen = data, wait
        if wait.due is None:
            self.dues.drop("wait", wait.key)
        else:
            self.dues.put(wait.due, "wait", wait.key)

    def shift_windows(self, by_us: int) -> Iterator[str]:
        """Moves the windows that run, and with them when what is in them came. Gives the keys of their joins."""
        for wait in self.open_waits():
            if wait.due is not None:
                parts = [
                    [replace(task, completed=(task.completed or 0) + by_us) for task in part] for part in wait.parts
                ]
                self._put(replace(wait, parts=parts, due=wait.due + by_us))
                yield wait.key

    def drop(self, key: str) -> None:
        if self._waits.pop(key, None) is not None:
            self.dues.drop("wait", key)

    @property
    def half_filled(self) -> dict[str, bytes]:
        """All half-filled joins as they are kept, in a map of its own."""
        return dict(self._waits)

    def open_waits(self) -> Iterable[Wait]:
        """All half-filled joins, for a person to look at."""
        for key in list(self._waits):
            wait = self.wait(key)
            if wait is not None:
                yield wait

    # -- times

    def schedule(self, timer: TimerState) -> None:
        """Sets a timer."""
        before = self.timers.get(timer.name)
        if before is not None and before.is_span != timer.is_span:
            self.forget_due(_kind_of(before), timer.name)
        self.timers[timer.name] = timer
        if timer.due is None:
            self.forget_due(_kind_of(timer), timer.name)
        else:
            self.set_due(timer.due, _kind_of(timer), timer.name)

    def set_due(self, at: int, kind: str, of: str) -> None:
        """Notes that something is due."""
        self.dues.put(at, kind, of)

    def forget_due(self, kind: str, of: str) -> None:
        self.dues.drop(kind, of)

    @property
    def next_due(self) -> int | None:
        """When something is due next: microseconds since 1970; None where nothing is."""
        return self.dues.next

    def take_due(self, now: int) -> tuple[str, str] | None:
        """What is due, the oldest first, and is noted no more; None where nothing is due by now."""
        return self.dues.take(now)

    # -- cells

    def cell(self, kind: str, key: str) -> object:
        """The value of a cell: a struct, or bytes that need no encoding; None where there is none."""
        match kind:
            case "frame":
                return self.frames.get(key)
            case "tally":
                return self.tallies.get(key)
            case "wait":
                return self._waits.get(key)
            case "mark":
                return self.marks.get(key)
            case "timer":
                return self.timers.get(key)
            case "twin":
                return self.twins.get(key)
        return self.scripts.cell(kind, key) if kind in scripts.KINDS else None

    def load(self, kind: str, rows: Iterable[tuple[str, bytes]]) -> None:
        """Takes up the cells of a kind."""
        match kind:
            case "frame":
                self.frames.update((key, _decode_frame(data)) for key, data in rows)
            case "tally":
                self.tallies.update((key, _decode_tally(data)) for key, data in rows)
            case "mark":
                self.marks.update((key, msgspec.msgpack.decode(data)) for key, data in rows)
            case "twin":
                self.twins.update((key, _decode_twin(data)) for key, data in rows)
            case "timer":
                for _, data in rows:
                    self.schedule(_decode_timer(data))
            case _:
                for at, id in self.scripts.load(kind, rows):
                    self.set_due(at, "script", id)

    def load_waits(self, rows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str, str, bool]]:
        """Takes up half-filled joins. Gives those that end with a flow or call: key, scope, flow, and whether it is kept."""
        for key, data in rows:
            self._waits[key] = data
            head = _decode_head(data)
            if head.due is not None:
                self.set_due(head.due, "wait", key)
            scope = key.split("\0", 2)[1]
            if scope or head.keeps:
                yield key, scope, head.flow or _unpacked(key, data).flow, head.keeps


def as_kept(waits: Waits, key: str) -> Wait | None:
    """A half-filled join as it is kept: without what its key tells, and perhaps without its flow; at a third of the cost."""
    data = waits._waits.get(key)  # noqa: SLF001 (its own: the class lists as many methods as it may)
    return None if data is None else _decode_wait(data)


KINDS: Final = ("frame", "tally", "mark", "timer", "twin", "wait", *scripts.KINDS)
"""The kinds of its cells."""
