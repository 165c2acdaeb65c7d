"""Orders carried out: starts and stops given to executors, ends and halts told to whoever waits for them.

When an order may be carried out is for `then.loop` to say, which calls this
under its lock; what a start is to its executor, for `then.starting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from then.abc import Executor, Job
from then.core.causes import AllHeld, Began, Order, Over, Report, Start, Stop
from then.core.state import State
from then.core.stepping import Terms
from then.core.tasks import Task
from then.starting import jobs_of
from then.turns import Brought
from then.waiting import FlowNews, Waiters

GRACE_S: Final = 5.0

StartWatcher: TypeAlias = Callable[[Task, int], None]
"""Gets a task that is given to its executor, and when, in microseconds since 1970."""


class Dispatcher:
    """Knows the executors, and who watches starts.

    Args:
        inbox: takes how those ended that were never started.
    """

    def __init__(self, state: State, terms: Terms, inbox: deque[Brought], waiters: Waiters) -> None:
        self.executors: dict[str, Executor] = {}
        self.start_watchers: list[StartWatcher] = []
        self._state = state
        self._terms = terms
        self._inbox = inbox
        self._waiters = waiters

    def carry_out(self, orders: list[Order]) -> None:
        """Orders whose facts are durable."""
        if len(orders) == 1 and type(orders[0]) is Start:
            self.start(orders[0])
            return
        starts, fresh = list[Start](), set[str]()
        for order in orders:
            match order:
                case Start():
                    starts.append(order)
                    fresh.add(order.task.id)
                    fresh.update([task.id for task in order.following])
                case Began(task=task):
                    for watcher in tuple(self.start_watchers):
                        watcher(task, self._terms.time)
                case Stop(task=task) if task.id in fresh:
                    # Told to stop before it was started: it never is.
                    fresh.discard(task.id)
                    never = Report(task.id, "cancelled", None, {"kind": "cancelled"}, None, self._terms.time)
                    self._inbox.append((never, None, None))
                case Stop(task=task):
                    kind = self._kind(task)
                    if kind is not None and kind in self.executors:
                        self.executors[kind].stop(task.id, GRACE_S)
                case Over(flow=flow):
                    self._waiters.tell(FlowNews(flow))
                case AllHeld(flow=flow, reason=reason, is_stuck=is_stuck):
                    self._waiters.tell(FlowNews(flow, reason, is_stuck))
        if starts:
            self._start_all(starts, fresh)

    def start(self, order: Start) -> None:
        """Gives a task to its executor, with those that follow it."""
        task = order.task
        options = order.edition.runners[task.type].options
        if options is None or order.following or "file_inputs" in options:
            self._start_all([order], None)
            return
        # Nearly every order comes alone, and most of a type whose options are known.
        for watcher in tuple(self.start_watchers):  # Any thread may take one away meanwhile.
            watcher(task, self._terms.time)
        self.executors[order.kind].start((Job(task, options),))

    def _start_all(self, orders: list[Start], those: set[str] | None) -> None:
        """Gives tasks to their executors; one whose run line cannot be evaluated fails at once.

        Args:
            those: who is still to be started of them; None: all.
        """
        begun: list[Task] | None = [] if self.start_watchers else None
        jobs, refused = jobs_of(orders, those, self._terms.time, begun)
        for report in refused:
            self._inbox.append((report, None, None))
        for task in begun or ():
            for watcher in tuple(self.start_watchers):
                watcher(task, self._terms.time)
        for kind, group in jobs.items():
            self.executors[kind].start(group)

    def _kind(self, task: Task) -> str | None:
        flow = self._state.flows.get(task.flow)
        return None if flow is None else self._terms.editions[flow.version].kind_of(task.type)
