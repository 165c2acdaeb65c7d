"""Facts: what happened, in the past tense, and how it is written down.

A step of the engine gives pages; a page holds facts of one flow and is one
entry of the journal, so that a flow can be pruned whole. Facts are positional
and tagged by number: a kind's number and the order of its fields never change,
new fields go to the end and have a default (golden histories hold us to it).

Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from then.core.tasks import Body, Json, Outcome, Task


class Origin(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a fork was begun from."""

    flow: str
    seq: int
    """The entry of the journal after which it was so."""
    by: str = ""
    is_real: bool = False
    """It runs its tasks; else they are answered."""


class Flow(msgspec.Struct, array_like=True, gc=False):
    """A root record and all that descends from it."""

    id: str
    type: str
    """The root's type."""
    version: str
    """The rules version that it was started under, or moved to."""
    created: int
    live: int = 0
    records: int = 0
    """How many were ever emitted in it."""
    untaken: dict[str, bool] = {}
    """Failures that nothing took up; one is enough for it to fail."""
    bent: Outcome | None = None
    """The outcome that `end flow`, `cancel flow` gave it."""
    text: str | None = None
    variables: dict[str, Json] = {}
    held: str | None = None
    """Why a guard holds it."""
    idle_run: int = 0
    """Events in a row without a task that ran between them."""
    trail: list[str] = []
    """The last steps of that run, `type by rule`."""
    outcome: Outcome | None = None
    ended: int | None = None
    stopped: int = 0
    """How many of its live records are held."""
    waits: dict[str, bool] | None = None
    """A place that is kept free: what a flow waits for is not written with it (`then.core.ties`); older journals have it."""
    calls: int = 0
    """How many of its live records move by others only: calls that are open, and scripts that wait for records."""
    origin: Origin | None = None
    """Of a fork: from where."""
    skipped: int = 0
    """How many of its records `skip` left out."""
    unfilled: list[str] | None = None
    """Of one that has ended: the rules whose joins and sets it left half-filled."""

    @property
    def is_stubbed(self) -> bool:
        """Whether nothing of it is given to an executor."""
        return self.origin is not None and not self.origin.is_real

    @property
    def state(self) -> str:
        if self.outcome is not None:
            return "completed"
        return "held" if self.held or (self.stopped and self.stopped + self.calls == self.live) else "running"


class _Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Posted(_Fact, tag=1, frozen=True):
    """A record came from outside: a person, a program, a timer."""

    task: Task
    key: str | None = None
    """The same key twice gives the first's flow."""
    version: str | None = None
    """The rules version of the flow that it is the root of; null where it joins one."""


class Emitted(_Fact, tag=2, frozen=True):
    """A rule, a retry or the engine itself brought a record forth."""

    task: Task


class Started(_Fact, tag=3, frozen=True):
    """A task marked `once` was given to its executor; of others no restart needs to know."""

    id: str


class Completed(_Fact, tag=4, frozen=True):
    """A record ended. Law 1: once."""

    id: str
    outcome: Outcome
    result: Body | None
    error: Body | None
    started: int | None
    completed: int
    settled: bool = True
    held: str | None = None
    """Why it is held with its outcome instead of being matched in this step."""


class Matched(_Fact, tag=5, frozen=True):
    """What the match of a record brought; of a task on which nothing fired only `Completed` tells."""

    id: str
    rules: list[str]
    """Continuations first, then rules in order."""
    version: str
    taken_up: bool = False
    """Its failure was taken up by one of them."""
    variables: dict[str, Json] = {}
    """The flow variables that clauses may have read, with their values of then."""
    unmatched: bool = False
    """The rules are `unmatched` ones."""
    call: str | None = None
    """The record's: the call in which its failure was taken up."""
    breakpoints: int = 0
    """The version of the breakpoints that it went past."""


class Waited(_Fact, tag=6, frozen=True):
    """A step of a chain waits for its members."""

    id: str
    rule: str
    step: int
    """The step that runs when all members are done; `rule/step` is its name."""
    members: list[str]
    aliases: dict[str, str]
    """Alias: the member that will be it."""
    records: dict[str, Task]
    """Records bound so far, by alias."""
    values: dict[str, Json]
    """Other names bound so far: groups, `bind` of Python."""
    call: str | None = None
    by_unmatched: bool = False
    otherwise: str | None = None
    """The return address for a member that failed: of Python's `otherwise=`."""


class Taken(_Fact, tag=7, frozen=True):
    """An event, or a record that was held with its outcome, went to its match."""

    id: str


class Dropped(_Fact, tag=8, frozen=True):
    """A chain ended: it went on, or a member ended otherwise than done."""

    id: str


class Saved(_Fact, tag=9, frozen=True):
    """A flow variable was written."""

    name: str
    value: Json


class Late(_Fact, tag=10, frozen=True):
    """A report on a record that had ended before; recorded, without effect."""

    id: str
    outcome: Outcome
    result: Body | None
    error: Body | None
    by: str = "executor"


class Stopping(_Fact, tag=11, frozen=True):
    """A running task was told to stop; it ends `cancelled` when all of it is gone, or as its kind says."""

    id: str
    kind: str | None = None
    """`timeout` or `deadline`: it ends as `timed_out`; null of one that had a kind: it ends as cancelled after all."""


class Held(_Fact, tag=12, frozen=True):
    """A waiting task, an event before its match, or a script before a step is held; nothing sees it until the release."""

    id: str
    reason: str


class Released(_Fact, tag=13, frozen=True):
    id: str
    is_asked: bool = False
    """Nothing runs it: it counts as started, and a person answers."""


class FlowHeld(_Fact, tag=14, frozen=True):
    """A guard, or a continuation that is no longer there, stopped a flow."""

    reason: str


class FlowReleased(_Fact, tag=15, frozen=True):
    pass


class FlowBent(_Fact, tag=16, frozen=True):
    """`end flow`, `cancel flow`: the outcome that the flow will end with."""

    outcome: Outcome
    text: str | None = None


class FlowEnded(_Fact, tag=17, frozen=True):
    """Nothing of the flow is live."""

    outcome: Outcome
    text: str | None = None
    unfilled: list[str] | None = None
    """Rules whose joins and sets have some parts, and wait no more."""


class FlowReopened(_Fact, tag=18, frozen=True):
    """A retry of a record of an ended flow, which is as it was then."""

    flow: Flow


class FlowMoved(_Fact, tag=19, frozen=True):
    """The flow goes on under other rules."""

    version: str


class TakenUp(_Fact, tag=20, frozen=True):
    """A failure was taken up later, by a person's retry."""

    id: str
    call: str | None = None


class InForce(_Fact, tag=21, frozen=True):
    """The rules version for new flows from here on."""

    version: str


class Loaded(_Fact, tag=22, frozen=True):
    """Flow variables were put into a task's body when it was given to its executor."""

    id: str
    body: Body


class Fault(_Fact, tag=23, frozen=True):
    """Something that should not be and had no effect: a second return, a return without call."""

    id: str
    text: str


class Entered(_Fact, tag=24, frozen=True):
    """A call began: the first steps of its procedure follow."""

    id: str


class Joined(_Fact, tag=25, frozen=True):
    """A record came for a join as one of its parts."""

    key: str
    """Rule, scope and the values of the key: `then.core.waits.wait_key`."""
    rule: str
    scope: str
    values: list[Json]
    parts: int
    """How many the join has."""
    part: int
    task: Task
    is_last: bool
    """It takes the place of those that came for this part before."""
    due: int | None
    keeps: bool


class Met(_Fact, tag=26, frozen=True):
    """A join fired, or was closed by an absent part: these records are used up."""

    key: str
    used: list[str]
    is_spent: bool = False
    """It takes what comes until its window ends, and fires no more."""
    due: int | None = None
    """When the window of what is left ends."""
    keeper: str = ""
    """The flow that lives until then; empty: none."""
    is_whole: bool = False
    """Nothing is left of the wait, and no flow lives on for it."""


class Parted(_Fact, tag=27, frozen=True):
    """The window of a join ended: what came by this time is let go; null: all of it."""

    key: str
    upto: int | None = None
    due: int | None = None
    """When the window of what is left ends."""
    keeper: str = ""
    """The flow that lives until then; empty: none."""
    answered: str = ""
    """Its `else` has run: what was born by this id belongs to that, and is let go as it ends."""
    fired: list[str] = []
    """What followed, as often as it did: `R/late`, or R where it waited for silence."""


class Counted(_Fact, tag=28, frozen=True):
    """So many records more belong to a set."""

    key: str
    more: int


class Settled(_Fact, tag=29, frozen=True):
    """A record of a set ended."""

    key: str


class Gathered(_Fact, tag=30, frozen=True):
    """A set fired, or one of it ended otherwise than it should: it is closed."""

    key: str


class Ripened(_Fact, tag=31, frozen=True):
    """The time has come at which a task may start, or an event is."""

    id: str
    is_asked: bool = False
    """Nothing runs it: it counts as started, and a person answers."""


class Marked(_Fact, tag=32, frozen=True):
    """An act that happens at most once in a span happened."""

    key: str
    until: int


class Scheduled(_Fact, tag=33, frozen=True):
    """A timer was set, fired, paused, or taken up again. On a page of no flow."""

    name: str
    due: int | None
    """When it fires next; null: it does no more, or is paused."""
    flow: str | None = None
    """The last that it started."""
    is_paused: bool = False
    queued: int = 0
    """Times that have come and wait for the end of that flow."""
    is_span: bool = False
    """It goes by elapsed time, `every 15m`, and not by what clocks show."""
    times: list[int] = []
    """When those came that wait; of very many the first."""
    when: str = ""
    """Its schedule in words; another one in the rules sets it anew."""


class Unscheduled(_Fact, tag=34, frozen=True):
    """A timer is not in the rules any more."""

    name: str


class Left(_Fact, tag=35, frozen=True):
    """Nothing lives any more in a call that had completed before."""

    id: str


class Asked(_Fact, tag=36, frozen=True):
    """A script took a step, and has its answer."""

    id: str
    """Of the script's task."""
    n: int
    what: str
    """What was asked, in one line."""
    place: str
    """File and line that asked."""
    value: Json = None
    """The answer: of `run` the id of what was started, of `wait` the ids of what had settled."""
    refused: str | None = None
    """Why it was refused; it did nothing then."""


class Awaited(_Fact, tag=37, frozen=True):
    """A script waits, for records or for a time."""

    id: str
    n: int
    what: str
    place: str
    ids: list[str]
    """First attempts of what it waits for."""
    is_any: bool = False
    """One of them is enough."""
    due: int | None = None
    """When it waits no more."""


class Answered(_Fact, tag=38, frozen=True):
    """The wait of a script is over."""

    id: str
    n: int
    ids: list[str] | None = None
    """The records that it waited for, as they settled; null: its time was over before."""


class TriedAgain(_Fact, tag=39, frozen=True):
    """A failure in a call is tried again, out of the tries of that call."""

    id: str
    """Of the call."""


class BreakSet(_Fact, tag=50, frozen=True):
    """A breakpoint is met from here on. On a page of no flow, as the other two."""

    name: str
    text: str
    """The item of the language that it is."""
    version: str | None = None
    """The rules version that brought it; null: it was added by hand."""
    flow: str | None = None
    """The one flow that it is for."""
    due: int | None = None
    """When it expires."""
    by: str = ""


class ClockSet(_Fact, tag=40, frozen=True):
    """The machine's clock was set, forward or back: spans that run go by elapsed time, and end so much later on it. On a page of no flow."""

    by_us: int


class BreakRemoved(_Fact, tag=51, frozen=True):
    name: str


class BreakSwitched(_Fact, tag=52, frozen=True):
    name: str
    is_on: bool


class Hit(_Fact, tag=53, frozen=True):
    """A record met a breakpoint."""

    id: str
    name: str
    place: str
    """`before`, `after`, `rule` and its name, or `step`, its number, `at` and its line."""
    stops: bool = False
    """It is held; the fact that holds it follows."""
    is_last: bool = False
    """The breakpoint was for one stop: it is switched off."""
    text: str | None = None
    """What a logpoint says."""
    shown: dict[str, Json] = {}
    """What its `show` names, as far as that can be said."""
    unsaid: str | None = None
    """Why its condition cannot be said: then it is no hit, and is counted apart."""


class Edited(_Fact, tag=54, frozen=True):
    """A person changed a held record; what it was stands in the facts before."""

    id: str
    body: Body | None = None
    """Null: as it was."""
    result: Body | None = None
    by: str = ""
    needs: Body | None = None
    """What a task that waits needs, with this body."""
    rule: str | None = None
    """The rule that alone answers it, as the person wants it."""
    is_skipped: bool = False
    """It is not started: it ends done, with this result."""


class Recorded(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """How a task of an origin ended."""

    id: str
    type: str
    attempt: int
    body: Body
    outcome: Outcome
    result: Body | None = None
    error: Body | None = None


class Forked(_Fact, tag=55, frozen=True):
    """The flow was begun from what another was; the facts before it on its page are that one's."""

    origin: str
    seq: int
    by: str = ""
    is_real: bool = False
    answers: list[Recorded] = []
    """What its tasks are answered with."""
    stubs: dict[str, Body] = {}
    """By type, what those are answered with for which there is nothing recorded."""


class Stubbed(_Fact, tag=56, frozen=True):
    """A task of a fork was answered in the place of a run, or waits for a person."""

    id: str
    of: str | None = None
    """The record of the origin whose end it has."""


def edited(task: Task, fact: Edited) -> Task:
    """The record as a person changed it."""
    return replace(
        task, body=task.body if fact.body is None else fact.body,
        result=task.result if fact.result is None else fact.result,
        needs=task.needs if fact.needs is None else fact.needs,
    )  # fmt: skip


def ended(task: Task, fact: Completed) -> Task:
    """The record as it is after its completion."""
    return replace(
        task, outcome=fact.outcome, result=fact.result, error=fact.error,
        started=fact.started, completed=fact.completed, settled=fact.settled,
    )  # fmt: skip


Fact: TypeAlias = (
    Posted | Emitted | Started | Completed | Matched | Waited | Taken | Dropped | Saved | Late
    | Stopping | Held | Released | FlowHeld | FlowReleased | FlowBent | FlowEnded | FlowReopened
    | FlowMoved | TakenUp | InForce | Loaded | Fault | Entered | Joined | Met | Parted | Counted
    | Settled | Gathered | Ripened | Marked | Scheduled | Unscheduled | Left
    | Asked | Awaited | Answered | TriedAgain | ClockSet
    | BreakSet | BreakRemoved | BreakSwitched | Hit | Edited | Forked | Stubbed
)  # fmt: skip


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The facts that one step brought about in one flow: one journal entry."""

    flow: str
    """Empty for what belongs to no flow (rules in force)."""
    time: int
    facts: list[Fact]
    seed: int = 0
    """The chance of this step: what jitter is drawn from."""


encode = msgspec.msgpack.Encoder().encode
"""A page, or any of our structs, as bytes."""
_decoder = msgspec.msgpack.Decoder(Page)


def decode(data: bytes) -> Page:
    """The page in a journal entry."""
    return _decoder.decode(data)
