"""`Flow`: a handle on a root record and all that descends from it."""

from __future__ import annotations

import threading
from typing import Protocol

from then.analysis.history import FlowHistory, History
from then.core.errors import ThenError
from then.core.facts import Flow as FlowState
from then.core.state import FAILURES
from then.core.tasks import Outcome, Task
from then.loop import Loop
from then.waiting import FlowNews


class Followed(Protocol):
    """What a flow is followed in: `then.app.engine.Engine`."""

    @property
    def loop(self) -> Loop:
        """What drives the core."""

    def history(self) -> History:
        """A reader over what is durable now."""


class FlowFailed(ThenError):
    """A flow ended otherwise than done; raised by `Flow.check` alone."""

    number = "T600"

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.id)
        self.flow = flow

    def text(self) -> str:
        history = self.flow.history
        failed = [record.task for record in history.records.values() if record.task.outcome in FAILURES]
        # One that nothing took up is why it failed.
        first = next((task for task in failed if task.id in history.flow.untaken), failed[0] if failed else None)
        what = f"; {first.type} ({first.id}): {(first.error or {}).get('message', first.outcome)}" if first else ""
        return f"flow {self.flow.id} ended {self.flow.outcome or self.flow.state}{what}"


class Flow:
    """A handle on a root record and all that descends from it.

    What it shows is read from the journal when it is asked for.
    """

    def __init__(self, engine: Followed, id: str) -> None:
        self.engine = engine
        self.id = id
        self.news: FlowNews | None = None
        """What the last wait came to; None before."""

    def wait(self, timeout_s: float | None = None) -> Flow:
        """Waits until it has ended, or all that lives of it is held or cannot run here.

        Raises:
            TimeoutError: it did neither in this time.
            ThenError: the engine ended by itself.
        """
        told = threading.Event()

        def tell(news: FlowNews) -> None:
            self.news = news
            told.set()

        wait_no_more = self.engine.loop.wait_for(self.id, tell)
        if not told.wait(timeout_s):
            wait_no_more()
            raise TimeoutError(f"flow {self.id} did not end in {timeout_s} s")
        if self.news is not None and self.news.error is not None:
            raise self.news.error
        return self

    @property
    def history(self) -> FlowHistory:
        """All that is known of it."""
        return self.engine.history().flow(self.id)

    @property
    def outcome(self) -> Outcome | None:
        """`done`, `failed` or `cancelled`; None while it lives."""
        return self._flow().outcome

    @property
    def state(self) -> str:
        """`running`, `held` or `completed`."""
        return self._flow().state

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Its records, in the order in which they came."""
        return tuple(record.task for record in self.history.records.values())

    def check(self) -> Flow:
        """Itself, where it ended done.

        Raises:
            FlowFailed: it did not.
        """
        if self.outcome != "done":
            raise FlowFailed(self)
        return self

    def _flow(self) -> FlowState:
        live = self.engine.loop.look(lambda state: state.flows.get(self.id))
        if live is not None:
            return live
        if self.news is not None and self.news.flow.outcome is not None:
            return self.news.flow
        return self.engine.loop.past(self.id) or self.history.flow

    def __repr__(self) -> str:
        return f"<Flow {self.id}>"
