"""`AsyncEngine`: the same engine for programs that live on an event loop.

`async def` tasks run on the caller's loop. Commits do not: the committer's
thread makes them, so that a slow disk never stops the loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from then.app.breakpoints import Breakpoints
from then.app.engine import RETENTION_S, Durability, Engine
from then.app.flows import Flow
from then.app.rules import Rules
from then.core.tasks import Body, Json, Outcome, Task
from then.executors.coroutines import CallersLoop
from then.waiting import FlowNews


class AsyncFlow:
    """A handle on a flow, for a program on an event loop."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.id = flow.id

    async def wait(self) -> AsyncFlow:
        """Waits until it has ended, or all that lives of it is held or cannot run here.

        Raises:
            ThenError: the engine ended by itself.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Future[FlowNews] = loop.create_future()

        def settle(news: FlowNews) -> None:
            if not told.done():
                told.set_result(news)

        def tell(news: FlowNews) -> None:
            try:
                loop.call_soon_threadsafe(settle, news)
            except RuntimeError:
                pass  # The event loop was closed, and whoever waited there with it.

        wait_no_more = self._flow.engine.loop.wait_for(self.id, tell)
        try:
            self._flow.news = await told
        finally:
            wait_no_more()
        if self._flow.news.error is not None:
            raise self._flow.news.error
        return self

    @property
    def outcome(self) -> Outcome | None:
        """`done`, `failed` or `cancelled`; None while it lives."""
        return self._flow.outcome

    @property
    def state(self) -> str:
        """`running`, `held` or `completed`."""
        return self._flow.state

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Its records, in the order in which they came."""
        return self._flow.tasks

    def check(self) -> AsyncFlow:
        """Itself, where it ended done.

        Raises:
            FlowFailed: it did not.
        """
        self._flow.check()
        return self


class AsyncEngine:
    """Rules at work on a journal, opened by `async with`. Arguments as of `Engine`."""

    def __init__(
        self,
        rules: Rules,
        state: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "power",
        slots: int | None = None,
        resources: Mapping[str, float] | None = None,
        retention_s: float | None = RETENTION_S,
        docker_allows: Iterable[str] = (),
        guards: Mapping[str, int] | None = None,
    ) -> None:
        self.rules = rules
        self._state = Path(state) if state is not None else None
        self._durability: Durability = durability
        self._slots = slots
        self._resources = resources
        self._retention_s = retention_s
        self._docker_allows = tuple(docker_allows)
        self._guards = guards
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine below.

        Raises:
            RuntimeError: it is not open.
        """
        if self._engine is None:
            raise RuntimeError("open the engine with `async with`")
        return self._engine

    async def __aenter__(self) -> Self:
        coroutines = CallersLoop(asyncio.get_running_loop())

        def open_engine() -> Engine:
            return Engine(
                self.rules,
                self._state,
                durability=self._durability,
                slots=self._slots,
                resources=self._resources,
                retention_s=self._retention_s,
                docker_allows=self._docker_allows,
                guards=self._guards,
                coroutines=coroutines,
            )

        self._engine = await asyncio.to_thread(open_engine)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, self._engine = self.engine, None
        await asyncio.to_thread(engine.close)

    async def run(self, type: str, /, **body: Json) -> AsyncFlow:
        """Posts a record and waits for its flow."""
        flow = await self.post(type, **body)
        return await flow.wait()

    async def post(self, type: str, /, **body: Json) -> AsyncFlow:
        """Posts a record; it is durable when this returns."""
        return await self.post_record(type, body)

    async def post_record(self, type: str, body: Body, *, key: str | None = None, flow: str | None = None) -> AsyncFlow:
        """Posts a record; see `Engine.post_record`."""
        return AsyncFlow(await asyncio.to_thread(self.engine.post_record, type, body, key=key, flow=flow))

    async def complete(self, id: str, outcome: Outcome = "done", /, **result: Json) -> Task:
        """Reports on a task that nothing here runs; see `Engine.complete`."""
        return await asyncio.to_thread(self.engine.complete, id, outcome, **result)

    async def cancel(self, id: str | AsyncFlow, *, only: bool = False) -> list[str]:
        """Ends a record and what descends from it; see `Engine.cancel`."""
        return await asyncio.to_thread(self.engine.cancel, id.id if isinstance(id, AsyncFlow) else id, only=only)

    async def joins(self) -> list[Body]:
        """The half-filled joins; see `Engine.joins`."""
        return await asyncio.to_thread(self.engine.joins)

    async def timers(self) -> list[Body]:
        """The timers of the rules in force; see `Engine.timers`."""
        return await asyncio.to_thread(self.engine.timers)

    async def set_timer(self, name: str, what: Literal["pause", "resume", "fire"]) -> str | None:
        """Pauses a timer, takes it up again, or fires it now; see `Engine.set_timer`."""
        return await asyncio.to_thread(self.engine.set_timer, name, what)

    @property
    def breakpoints(self) -> Breakpoints:
        """The breakpoints that are set. What changes them waits for the journal: `asyncio.to_thread` calls it."""
        return self.engine.breakpoints

    async def release(
        self, id: str | Task | AsyncFlow, *, body: Body | None = None, result: Body | None = None, who: str = ""
    ) -> None:
        """Continues a held record or flow; see `Engine.release`."""
        of = id.id if isinstance(id, AsyncFlow) else id
        await asyncio.to_thread(self.engine.release, of, body=body, result=result, who=who)

    async def retry(self, id: str) -> list[Task]:
        """A new attempt of a settled failure; see `Engine.retry`."""
        return await asyncio.to_thread(self.engine.retry, id)
