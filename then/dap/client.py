"""One client at its flows: what it sees as threads, frames and variables, and what it is told.

Frames and variables of a thread are gone as soon as it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import attrs

from then.core.errors import ConfigError
from then.core.tasks import Body
from then.dap.points import Points
from then.dap.values import Values
from then.dap.voice import Voice
from then.debugger.access import Access
from then.debugger.console import Console
from then.debugger.session import Session
from then.debugger.view import Frame, View

Asked = Literal["", "entry", "step", "pause", "goto"]


@attrs.define(eq=False)
class Thread:
    """A flow, as a client sees it."""

    number: int
    session: Session
    console: Console
    is_ours: bool
    """It was launched, or is what was attached to: with the end of all of these the session is over."""
    is_fork: bool = False
    """It was begun from here: that it waits for somebody is told too."""
    is_stopped: bool = False
    asked: Asked = ""
    """What the client asked of it last."""
    target: str | None = None
    """The rule that is to answer the record in view, when that goes on; None: those that would."""
    frames: list[Frame] = attrs.field(factory=list)
    """As they were shown last."""
    numbers: dict[int, int] = attrs.field(factory=dict)
    """The number of a frame that was shown, by its place."""

    @property
    def flow(self) -> str:
        return self.session.flow

    def shown(self, place: int) -> Frame:
        """A frame, as it was shown."""
        return (self.frames or self.session.view.stack())[place]


class Stoppable(Protocol):
    """What follows the flows of a client."""

    def stop(self) -> None: ...


class Client(Voice):
    """What one connection knows."""

    def __init__(self, who: str, send: Callable[[Body], None]) -> None:
        super().__init__(send)
        self.who = who
        self.access: Access | None = None
        self.is_read_only = False
        self.is_initialized = False
        self.has_begun = False
        """Flows are there, and followed."""
        self.is_configured = False
        self.supports_invalidated = self.starts_debugging = False
        self.points = Points(who, self.event)
        self.values = Values()
        self.threads: dict[str, Thread] = {}
        """By flow."""
        self.sources: list[tuple[str, str]] = []
        """Name and text of those that have no path; their reference is their place, counted from 1."""
        self.targets: list[str] = []
        """Rules that could be gone to, by their place, counted from 1."""
        self._frames: dict[int, tuple[Thread, int]] = {}
        self._numbers: dict[str, int] = {}
        self._last_frame = 0
        self.leave: Callable[[bool | None], None] = lambda ends: None
        """Lets go of what was launched or attached to; given whether that is to end."""
        self.follower: Stoppable | None = None

    # -- threads -------------------------------------------------------------------------

    def follow(self, flow: str, *, is_ours: bool) -> Thread:
        """A flow is a thread from now on."""
        assert self.access is not None
        session = Session(self.access, flow, self.who)
        console = Console(session)
        console.waits = False
        number = self._numbers.setdefault(flow, len(self._numbers) + 1)
        thread = self.threads[flow] = Thread(number, session, console, is_ours)
        self.event("thread", {"reason": "started", "threadId": number})
        return thread

    def thread(self, number: int) -> Thread:
        """The one that a client was told by this number.

        Raises:
            ConfigError: it is none, or none any more.
        """
        for thread in self.threads.values():
            if thread.number == number:
                return thread
        raise ConfigError(f"thread {number} is no flow that is followed here; `threads` lists them")

    def stopped(self, number: int) -> Thread:
        """A thread that stands still.

        Raises:
            ConfigError: it goes.
        """
        thread = self.thread(number)
        if not thread.is_stopped:
            raise ConfigError(f"flow {thread.flow} is not stopped: it goes on, or somebody let it go on")
        return thread

    def foremost(self) -> Thread:
        """The thread that is meant where none is said: one that stands still, else the first."""
        if not self.threads:
            raise ConfigError("no flow is here yet")
        threads = self.threads.values()
        return next((thread for thread in threads if thread.is_stopped), next(iter(threads)))

    def has_stopped(self, thread: Thread, body: Body) -> None:
        """Tells that a thread stands still."""
        self._forget(thread)
        thread.is_stopped = True
        self.event("stopped", {"threadId": thread.number, "allThreadsStopped": False, **body})

    def has_gone_on(self, thread: Thread) -> None:
        """Tells that a thread goes on."""
        self._forget(thread)
        thread.is_stopped, thread.target = False, None
        self.event("continued", {"threadId": thread.number, "allThreadsContinued": False})

    def goes_on(self, thread: Thread, asked: Asked) -> None:
        """Notes that a thread was let go on by a request that says so itself."""
        self._forget(thread)
        thread.is_stopped, thread.asked, thread.target = False, asked, None

    def drop(self, thread: Thread) -> None:
        """A flow is no thread any more."""
        self._forget(thread)
        del self.threads[thread.flow]
        self.event("thread", {"reason": "exited", "threadId": thread.number})

    # -- frames --------------------------------------------------------------------------

    def frame_number(self, thread: Thread, place: int) -> int:
        number = thread.numbers.get(place)
        if number is None:
            self._last_frame = number = self._last_frame + 1
            thread.numbers[place] = number
            self._frames[number] = (thread, place)
        return number

    def frame(self, number: int) -> tuple[Thread, int]:
        """The thread and the place, 0 is the innermost, of a frame.

        Raises:
            ConfigError: it is gone.
        """
        if number not in self._frames:
            raise ConfigError(f"frame {number} is none any more: the flow went on")
        return self._frames[number]

    def view(self, thread: Thread, place: int) -> View:
        """What there is to see at a frame."""
        if place == 0:
            return thread.session.view
        session, id = thread.session, thread.shown(place).task.id
        return session.view if id == session.view.id else View(session.access, session.flow, id, session.at)

    def refresh(self, thread: Thread) -> None:
        """What was shown of a thread is to be asked for anew, in other words: it was changed, or another moment is seen."""
        self._forget(thread)

    def _forget(self, thread: Thread) -> None:
        gone = set(thread.numbers.values())
        self._frames = {number: one for number, one in self._frames.items() if number not in gone}
        self.values.forget(gone)
        thread.frames, thread.numbers = [], {}
