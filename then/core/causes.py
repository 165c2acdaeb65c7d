"""What goes into a step and what comes out: causes, in the words of the world, and orders.

Causes are not kept; the facts that `then.core.engine` makes of them are.
Orders are carried out by `then.loop`, after the facts are durable.

What is made for each task is a Struct, as `Task` is; the rest are plain tuples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from then.core import facts as f
from then.core.chains import Chain
from then.core.edition import Edition
from then.core.facts import Flow
from then.core.tasks import Body, Json, Outcome, Task

# -- causes ------------------------------------------------------------------


class Post(NamedTuple):
    """A record from outside."""

    type: str
    body: Body
    key: str | None = None
    flow: str | None = None
    """The flow that it joins; None: the root of a new one."""
    priority: int = 0


class Report(msgspec.Struct, frozen=True, gc=False):
    """How a task ended, as its executor, or a person, saw it."""

    id: str
    outcome: Outcome
    result: Body | None
    error: Body | None
    started: int | None
    """Microseconds since 1970, UTC; null where it never started."""
    completed: int
    flow: str = ""
    """Known to who looked the record up; a late report is filed under it."""
    by: str = "executor"


class Reports(NamedTuple):
    """Several that came together: one step, as far as nothing that they bring forth has to go before the rest."""

    reports: Sequence[Report]


class Cancel(NamedTuple):
    """These records end; `flow` names a flow that ends as cancelled with them."""

    ids: tuple[str, ...]
    flow: str | None = None


class Retry(NamedTuple):
    """A new attempt of a settled failure."""

    task: Task
    past: Flow | None
    """The flow as it ended, where it did."""
    chain: Chain | None = None
    """The chain that it was a member of, as it would be without the failure."""


class Release(NamedTuple):
    """A held record, or all that a held flow holds, goes on."""

    id: str
    body: Body | None = None
    """What a record goes on with in the place of its body; None: as it is."""
    result: Body | None = None
    """The same of the result of one that has ended."""
    by: str = ""
    """Who changes it."""
    rule: str | None = None
    """The rule that answers it, in the place of all that would."""
    is_skipped: bool = False
    """A task is not started: it ends done, with this result."""


class SetBreakpoint(NamedTuple):
    """A breakpoint is added by hand."""

    name: str
    text: str
    """The item of the language."""
    flow: str | None = None
    expires_us: int | None = None
    by: str = ""
    replaces: bool = False
    """One of this name that was added by hand makes room for it."""


class SwitchBreakpoint(NamedTuple):
    """A breakpoint is switched on or off."""

    name: str
    is_on: bool


class DropBreakpoint(NamedTuple):
    """A breakpoint is taken away."""

    name: str
    releases: bool = False
    """What it holds goes on."""


class Fork(NamedTuple):
    """A flow begins as another was at a moment."""

    flow: str
    seq: int
    """The last entry of the journal that is true of it."""
    pages: Sequence[f.Page]
    """What the journal says of that flow up to there."""
    answers: Sequence[f.Recorded] = ()
    """What its tasks are answered with."""
    stubs: Mapping[str, Body] = {}
    """The same, by type, for those of which nothing is recorded."""
    is_real: bool = False
    """Its tasks are run."""
    by: str = ""


class Adopt(NamedTuple):
    """The rules version for new flows."""

    version: str


class Move(NamedTuple):
    """A flow goes on under other rules."""

    flow: str
    version: str


class Proceed(NamedTuple):
    """Matches the oldest pending event, and gives out free slots."""


class Tick(NamedTuple):
    """Time has come: whatever is due by the terms' time happens. `State.waits.next_due` says when one is wanted."""


class SetClock(NamedTuple):
    """The machine's clock was set by so much, forward or back."""

    by_us: int


class GiveBack(NamedTuple):
    """Tasks that were to run after another in its slot wait again: it takes longer than was thought."""

    ids: Sequence[str]


class SetTimer(NamedTuple):
    """A person pauses a timer, takes it up again, or fires it now."""

    name: str
    what: Literal["pause", "resume", "fire"]


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A script takes a step; `Told` answers it, at once or when what it waits for has come."""

    id: str
    """Of the script's task."""
    n: int
    """0, 1, 2, …"""
    kind: Literal["run", "call", "emit", "save", "load", "wait", "say"]
    """`say`: what is only written down, an answer that comes with it."""
    what: str
    """What is asked, in one line."""
    place: str
    """File and line that ask: the rule of what is started."""
    type: str = ""
    """Of what is run or emitted; the name of a variable."""
    body: Body = {}
    value: Json = None
    """What is saved, or the answer."""
    ids: Sequence[str] = ()
    """First attempts that are waited for; none: time alone."""
    is_any: bool = False
    timeout_us: int | None = None


Cause: TypeAlias = (
    Post | Report | Reports | Cancel | Retry | Release | Adopt | Move | Proceed | Tick | GiveBack | SetTimer | Ask
    | SetBreakpoint | SwitchBreakpoint | DropBreakpoint | SetClock | Fork
)  # fmt: skip


# -- orders ------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True, gc=False):
    """Give the task to its executor, as soon as what emitted it is durable."""

    task: Task
    kind: str
    """Of its executor."""
    edition: Edition
    after_commit: bool
    """This step has to be durable too: it holds the start of a `once` task, or variables put into its body."""
    following: tuple[Task, ...] = ()
    """Quick ones that are run after it, one after the other, in its slot."""


class Began(NamedTuple):
    """One of those that follow is the one that runs now: tell who watches starts."""

    task: Task


class Stop(NamedTuple):
    """End a running task, with its whole group."""

    task: Task


class Over(NamedTuple):
    """A flow ended; tell who waits for it."""

    flow: Flow


class AllHeld(NamedTuple):
    """All that lives of a flow is held, or cannot run here; tell who waits for it."""

    flow: Flow
    reason: str
    is_stuck: bool
    """A task has no executor here."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """The answer to a step of a script. It may be given before it is durable: what follows from it comes later in the journal."""

    id: str
    n: int
    value: Json = None
    records: tuple[Task, ...] = ()
    """What was waited for, as it settled."""
    refused: str | None = None
    is_over: bool = False
    """Its task has ended, or is held: this run of it takes no further step."""


Order: TypeAlias = Start | Began | Stop | Over | AllHeld | Told


class Step(msgspec.Struct, frozen=True, gc=False):
    pages: list[f.Page]
    orders: list[Order]
    answer: Task | None = None
    """The record that a post or retry brought forth, or that the key stood for."""
    taken: int = 1
    """Of several reports, how many it took; the rest come after what these brought forth."""
