"""Event loops of scripts with `async def main`: what such a loop would sleep for is a wait of the script.

A loop runs whatever is ready; where nothing is, and coroutines wait for handles,
the script waits for any of these: one step, which is recorded. So coroutines go
on in the same order each time. Neither time nor sockets are waited for beside it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from then.core.tasks import Body, Task
from then.scripts.words import Handle, own, wait_any


class _Patient(selectors.DefaultSelector):
    """A selector for which waiting is a step of the script, as long as something is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited: list[tuple[Handle, asyncio.Future[Task]]] = []

    def awaited(self, handle: Handle) -> asyncio.Future[Task]:
        """What is resolved when the handle has settled."""
        future: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._awaited.append((handle, future))
        return future

    def select(self, timeout: float | None = None) -> Any:
        self._awaited = [(handle, future) for handle, future in self._awaited if not future.done()]
        if (timeout is not None and timeout <= 0) or not self._awaited:
            return super().select(timeout)
        record = wait_any([handle for handle, _ in self._awaited])
        for handle, future in self._awaited:
            if handle.id == record.key:
                future.set_result(record)
        return []


def run_async(main: Callable[..., Any], body: Body) -> object:
    """Runs an `async def main` to its end, or until the script is taken off its thread."""
    selector = _Patient()
    loop = asyncio.SelectorEventLoop(selector)
    # Coroutines that are left when the script is taken off its thread are no fault of it.
    loop.set_exception_handler(lambda *_: None)
    own.awaited = selector.awaited
    try:
        return loop.run_until_complete(main(**body))
    finally:
        own.awaited = None
        loop.close()
