"""Event loops for `async def` tasks: one of our own in a thread, or the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Coroutines(Protocol):
    """Where `async def` tasks run."""

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Runs it on the event loop, from any thread; gives what cancels it."""

    def close(self, *, wait: bool) -> None:
        """Ends what still runs there, or waits for it."""


class OwnLoop:
    """An event loop in a thread, started with the first coroutine."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="andthen-asyncio", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).cancel

    def close(self, *, wait: bool) -> None:
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        import asyncio

        async def rest() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            if not wait:
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(rest(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class CallersLoop:
    """The event loop that an `AsyncEngine` was opened in."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._running: set[Any] = set()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
        import asyncio

        running = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running.cancel

    def close(self, *, wait: bool) -> None:
        """The loop is the caller's and goes on; who closes the engine is in another thread, and may wait here."""
        import concurrent.futures

        running = list(self._running)
        if not wait:
            for one in running:
                one.cancel()
        concurrent.futures.wait(running)
