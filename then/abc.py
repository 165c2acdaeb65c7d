"""The seams: everything that may be swapped, one small interface each.

Each has one suite under tests/seams/ that runs over all its implementations.
Who calls: `then.loop` and `then.app`. What is behind: `then.journals`,
`then.executors`, `then.formats`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from then.core.causes import Report as Report  # noqa: PLC0414 (it belongs to the seams and is found here)
from then.core.masking import Mask as Mask  # noqa: PLC0414 (likewise)
from then.core.tasks import Task


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of the journal: what one step of the engine brought about."""

    seq: int
    """1, 2, 3, …: the order of the journal. Gaps only where flows were pruned."""
    data: bytes
    """The step's facts, encoded by `then.core.facts`; opaque to the journal."""


class Cell(NamedTuple):
    """A named value beside the log: a reading of it that a start needs at once."""

    kind: str
    """A family of cells: `task`, `flow`, `record`, `past`, …; `[a-z]+`."""
    key: str
    data: bytes | None
    """None takes the cell away."""


class Journal(Protocol):
    """Ordered entries, never changed, and the cells that were read off them.

    One writer, many readers. Entries and cells of one `append` are one
    transaction: after a crash all of it is there, or nothing.
    """

    @property
    def last(self) -> int:
        """The seq of the newest entry; 0 where there is none."""

    def append(self, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
        """Writes entries (their seqs follow `last`) and cells; durable when it returns.

        Raises:
            JournalFull: no room; nothing was written, and the same call may be made again.
            JournalFailed: a write or sync failed; nothing more can be appended by this object.
        """

    def carry(self, files: Mapping[str, bytes]) -> bool:
        """From any thread: small files of the state folder are to last as the next append does.

        Args:
            files: what they hold, by their paths in the state folder; they are there, and perhaps not on the disk.

        Returns:
            False where this journal does not see to it: the caller syncs them before it goes on.
        """

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        """Entries with `after < seq <= upto`, in order. Sees what is durable at each fetch."""

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Key and data of the cells of a kind whose key begins so, in the order of keys."""

    def prune(self, seqs: Iterable[int], cells: Iterable[Cell] = ()) -> None:
        """Takes entries away for ever, and writes cells, in one transaction; room is given back."""

    def close(self) -> None:
        """Lets go of the files. Twice is well."""


Carry: TypeAlias = Callable[[Mapping[str, bytes]], bool]
"""`Journal.carry`."""


class Job(msgspec.Struct, frozen=True, gc=False):
    """What an executor is given: a record and how to run it, all names resolved."""

    task: Task
    options: Mapping[str, object]
    """What stood after `run KIND`, evaluated: for a process `argv`, `env`, `cwd`, `stdin`, …"""
    follows: bool = False
    """It is begun when the job before it has ended, and not before. Given to those executors only that have `quick`."""


ReportTo: TypeAlias = Callable[[Sequence[Report]], None]
"""Takes reports from any thread; those given in one call share a transaction.

When it returns the reports are durable, or will be before anything acts on
them; the executor's own copy may be let go when `forget` was called for it.
"""


class Secrets(Protocol):
    """The values of secrets, read at the start of a task that is given them."""

    @property
    def mask(self) -> Mask:
        """Knows each value that was read here, or told."""

    def know(self, values: Iterable[str]) -> None:
        """Masks these too: values that an engine before read for a task that still runs."""

    def filled(self, job: Job) -> Job:
        """The job with values where its options have declarations; for the start only, and not to be kept.

        May wait for a program: no lock is to be held.

        Raises:
            CannotRead: one cannot be read.
        """


class Executor(Protocol):
    """Runs one kind of task somewhere and reports each outcome once.

    Made with a `ReportTo`. No method blocks for long; all may be called from
    any thread. An error of one task is a report, never an exception.

    One that runs tasks of a few microseconds may have an attribute `quick`: the
    set of their types, which it changes as it sees fit. Of these it is given
    several at once (`Job.follows`), and gives those that it does not get round
    to back by the cause `GiveBack`.
    """

    def start(self, jobs: Sequence[Job]) -> None:
        """Runs these. The transactions that emitted them are durable."""

    def recover(self, jobs: Sequence[Job]) -> None:
        """After a restart: these were ordered to start by an engine that is gone.

        For each: re-attach to it, report how it ended meanwhile, start it where
        it is certain that it never ran, or report `lost` (`unknown` where
        `options["once"]` is set and a start cannot be ruled out).
        """

    def inventory(self) -> Sequence[str]:
        """Ids it still has from an engine that is gone, whether or not that one journalled their start."""

    def stop(self, id: str, grace_s: float) -> None:
        """Ends one: asks, waits `grace_s`, then kills its whole group; reported as `cancelled` when all is gone."""

    def forget(self, ids: Sequence[str]) -> None:
        """The reports on these are durable in the journal; nothing need be kept for them."""

    def close(self, *, wait: bool) -> None:
        """Takes up nothing more. What outlives the engine is left running; what cannot is waited for when `wait`."""


class Clock(Protocol):
    """Time as the loop sees it."""

    def now_us(self) -> int:
        """Microseconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds that never step back."""
