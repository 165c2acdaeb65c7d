"""An engine in the foreground: it is shown at work, hears signals, and ends with an exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Final, Self

from then.app.engine import Engine
from then.cli.changes import Changes
from then.cli.feed import Alone, Begun, Feed, Fullness, Item, Printed, Signalled
from then.cli.lines import View
from then.cli.settings import RunOptions
from then.core import facts as f
from then.core.causes import Cancel
from then.core.tasks import Task
from then.waiting import FlowNews

FUNCTIONS_S: Final = 5.0
"""So long TERM and HUP leave functions that run; a later engine calls them again."""
KILL_S: Final = 5.0
"""So long a kill waits for what was killed to be gone."""
HELD_SHOWN: Final = 5
POST_S: Final = 0.2
"""A post that takes longer may wait for room on the disk; so often it is looked whether that is so."""
NO_ROOM: Final = "no room left on the disk: nothing is taken up until there is"

OK, FAILED, NO_EXECUTOR, HELD = 0, 1, 3, 4
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Foreground:
    """Shows some flows of an engine until all of them ended or came to rest.

    Args:
        feed: what happens in it, since it was opened.
        options: whether held flows are waited for, and what TERM and HUP do.
        again: the command that goes on with this state, for messages.
    """

    def __init__(
        self,
        engine: Engine,
        feed: Feed,
        view: View,
        options: RunOptions,
        again: Callable[[str], str],
    ) -> None:
        self.engine = engine
        self.view = view
        self._waits = options.waits
        self._cancels_on_term = options.cancels_on_term
        self._again = again
        self.feed = feed
        engine.debuggers.leave_watchers.append(lambda: feed.put(Alone()))
        self._flows: set[str] = set()
        self._open: set[str] = set()
        self._rested: dict[str, FlowNews] = {}
        """How each flow came to its end, or to rest."""
        self._changes = Changes(feed.live)
        self._is_full_said = False
        """Whether the next word on a full disk was said already."""
        self._said: set[str] = set()
        """Ids of what is held, and was said to be."""
        self._stays = False
        self._has_stayed = False
        """Whether flows were told of one by one; what ended before it stayed no longer may still be to be shown."""
        self._interrupts = 0
        self._code: int | None = None
        """Of the signal that ends us."""
        self._heard: int | None = None
        """The last signal; obeyed when the feed comes to it."""
        self._deadline: float | None = None
        self._limit: float | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def was_signalled(self) -> bool:
        """Whether a signal ended it: then nobody waits for functions that still run."""
        return self._code is not None

    @property
    def flows(self) -> frozenset[str]:
        """Those that it shows."""
        return frozenset(self._flows)

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self.feed.close()
        self.view.close()

    def post(self, make: Callable[[], list[str]]) -> list[str]:
        """What `make` posts, as flows; none where a signal came first.

        A post waits for room on a full disk: in a thread of its own, so that
        somebody says so, and Ctrl-C is heard.

        Raises:
            ThenError: what `make` raises.
        """
        flows: list[str] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                flows.extend(make())
            except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
                errors.append(error)

        thread = threading.Thread(target=run, name="andthen-post", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POST_S)
            if self._heard is not None and thread.is_alive():
                self._code = 128 + self._heard
                return []
            if thread.is_alive() and self.engine.loop.is_full and not self._is_full_said:
                self._is_full_said = True
                self.view.message(NO_ROOM)
        if errors:
            raise errors[0]
        return flows

    def follow(self, flows: Iterable[str], timeout_s: float | None = None, *, stays: bool = False) -> int:
        """Shows these flows to their end. Gives the exit code.

        Args:
            timeout_s: after so long they are cancelled.
            stays: goes on until it is told to end, and shows all flows that begin meanwhile.

        Raises:
            ThenError: the engine ended by itself.
        """
        self._flows = set(flows)
        self._open = set(self._flows)
        self._limit = self._now() + timeout_s if timeout_s is not None else None
        with self.feed.resting() as loop:
            for flow in self._flows:
                loop.wait_for(flow, self.feed.put)
        self._stays = self._has_stayed = stays
        while (self._open or self._stays) and not self._is_stopped():
            self._show(self.feed.take(self._patience()))
            self._look_at_clock()
        self._show_rest()
        return self._code if self._code is not None else self._outcome()

    # -- what happens -------------------------------------------------------------

    def _show(self, item: Item | None) -> None:
        match item:
            case None:
                self.view.tick()
            case f.Page():
                if self._stays and any(isinstance(fact, f.Posted) for fact in item.facts):
                    self._flows.add(item.flow)
                for fact in item.facts:
                    if isinstance(fact, f.Hit) and fact.text is not None and item.flow in self._flows:
                        self.view.message(f"{fact.name}: {fact.text}")
                for change in self._changes.of(item):
                    if change.task.flow in self._flows:
                        self.view.changed(change)
                if self._has_stayed and any(isinstance(fact, f.FlowEnded) for fact in item.facts):
                    self._leave_behind(item.flow)
            case Begun(task=task, time_us=time_us):
                change = self._changes.begun(task, time_us)
                if task.flow in self._flows:
                    self.view.changed(change)
            case FlowNews():
                self._hear_of(item)
            case Signalled(number=number):
                self._obey(number)
            case Alone():
                self._look_at_rest()
            case Fullness(is_full=is_full):
                if not is_full or not self._is_full_said:
                    self.view.message(NO_ROOM if is_full else "there is room on the disk again")
                self._is_full_said = False
            case Printed(text=text):
                self.view.printed(text)

    def _leave_behind(self, id: str) -> None:
        """Says of a flow that has ended how, where others come after it: nothing of it is kept."""
        if id in self._flows:
            self._flows.discard(id)
            with self.feed.resting() as loop:
                flow = loop.past(id)
            if flow is not None:  # Retention is never so quick, but a person may prune.
                self.view.passed(flow, self.engine.clock.now_us())

    def _show_rest(self) -> None:
        """What came before the end, and has not been shown."""
        while (item := self.feed.take(0)) is not None:
            if not isinstance(item, Signalled):
                self._show(item)
        self.view.tick()
        now = self.engine.clock.now_us()
        for flow in sorted(self._flows):
            news = self._rested.get(flow)
            if news is not None:
                self.view.ended(news.flow, now)

    def _hear_of(self, news: FlowNews) -> None:
        if news.error is not None:
            raise news.error
        flow = news.flow.id
        self._rested[flow] = news
        # A debugger may let it go on: as long as one is here it is waited for.
        if news.flow.outcome is None and (self._waits or self.engine.debuggers) and not news.is_stuck:
            self._say_held(news)
            with self.feed.resting() as loop:
                loop.wait_for(flow, self.feed.put, is_told=True)
            return
        self._open.discard(flow)

    def _look_at_rest(self) -> None:
        """Nobody is here any more to let flows go on: those that stand still are told of again."""
        with self.feed.resting() as loop:
            for flow in self._open:
                loop.wait_for(flow, self.feed.put)

    # -- how it ends ----------------------------------------------------------------

    def _outcome(self) -> int:
        """3 goes before 4, 4 before 1."""
        codes = {OK}
        for news in self._rested.values():
            if news.flow.outcome is None:
                codes.add(NO_EXECUTOR if news.is_stuck else HELD)
                self._say_held(news)
            elif news.flow.outcome != "done":
                codes.add(FAILED)
        return next(code for code in (NO_EXECUTOR, HELD, FAILED, OK) if code in codes)

    def _say_held(self, news: FlowNews) -> None:
        """Says what holds a flow, and how it goes on; once."""
        if news.is_stuck:
            self.view.message(f"{news.held}; it stays waiting")
            return
        if news.flow.held is not None:
            if news.flow.id in self._said:
                return
            self._said.add(news.flow.id)
            self.view.message(f"flow {news.flow.id} is held: {news.held}")
            self.view.message(f"`{self._again(f'continue {news.flow.id}')}` lets it go on")
            return
        held = [task for task in self._changes.live.values() if task.is_held and task.flow == news.flow.id]
        held = [task for task in held if task.id not in self._said]
        self._said.update(task.id for task in held)
        with self.feed.resting() as loop:
            stops = loop.look(lambda state: {task.id: state.holds.holding(task) for task in held})
        for task in held[:HELD_SHOWN]:
            stop = stops[task.id]
            where = f" at breakpoint {stop.breakpoint} ({stop.place})" if stop is not None else ""
            again = self._again(f"continue {task.id}")
            self.view.message(f"{task.type} ({task.id}) is held{where}; `{again}` lets it go on")
        if len(held) > HELD_SHOWN:
            self.view.message(f"and {len(held) - HELD_SHOWN} more; `{self._again('ps --state-is held')}` lists them")

    # -- signals ----------------------------------------------------------------------

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = number
        self.feed.put(Signalled(number))

    def _obey(self, number: int) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
            self._code = 130
            match self._interrupts:
                case 1:
                    self._drain()
                case 2:
                    self._cancel()
                    self.view.message("cancelling; Ctrl-C again kills what still runs")
                case _:
                    self._kill()
            return
        self._code = 128 + number
        if self._cancels_on_term:
            self._cancel()
            self.view.message("told to end: cancelling")
            return
        with self.feed.resting() as loop:
            loop.drain()
        self._deadline = self._now() + FUNCTIONS_S
        self.view.message("told to end: nothing new is started, processes run on")

    def _drain(self) -> None:
        with self.feed.resting() as loop:
            loop.drain()
        count = len(self._running())
        what = (
            f"waiting for {count} task{'' if count == 1 else 's'} that run{'s' if count == 1 else ''}; "
            if count
            else ""
        )
        self.view.message(f"stopping: nothing new is started, {what}Ctrl-C again cancels")

    def _cancel(self) -> None:
        """Ends the flows, those of timers too, as cancelled; what cleans up after them may still run, and is waited for."""
        with self.feed.resting() as loop:
            if self._stays:
                self._stays = False  # What timers start from now on is not waited for.
                begun = loop.look(lambda state: {id for id in self._flows if id in state.flows}) - self._open
                self._open |= begun
                for flow in begun:  # One that stands still now goes on by being cancelled.
                    loop.wait_for(flow, self.feed.put, is_told=True)
            loop.drain(but=self._flows)
            for flow in self._open:
                live = loop.look(lambda state, flow=flow: list(state.live(flow)))  # type: ignore[misc]
                loop.give(Cancel(tuple(task.id for task in live), flow))
        self._interrupts = max(self._interrupts, 2)

    def _kill(self) -> None:
        self.view.message("killing")
        with self.feed.resting() as loop:
            loop.drain()
            for task in self._running():
                loop.executors[self.engine.kind_of(task) or ""].stop(task.id, 0.0)
        self._interrupts = 3
        self._deadline = self._now() + KILL_S

    def _running(self) -> list[Task]:
        """Tasks of these flows that an executor runs; a script that waits does nothing by itself."""
        live = self._changes.live
        with self.feed.resting() as loop:
            ids = loop.look(lambda state: [id for id in state.running if not state.waits.scripts.is_waiting(id)])
        return [live[id] for id in ids if id in live and live[id].flow in self._flows]

    def _is_stopped(self) -> bool:
        """Whether a signal's wait is over."""
        if self._code is None:
            return False
        if self._deadline is not None and self._now() >= self._deadline:
            return True
        if self._interrupts == 2 and not self._stays:
            return False  # The flows end by themselves.
        with self.feed.resting():
            running = self._running()
            if self._interrupts == 0:
                running = [task for task in running if self.engine.kind_of(task) == "python"]
        return not running

    # -- time ---------------------------------------------------------------------------

    def _patience(self) -> float | None:
        """How long to wait for the next item; None: for ever."""
        ends = [end - self._now() for end in (self._limit, self._deadline) if end is not None]
        shown = self.view.patience_s
        waits = [max(0.0, wait) for wait in (*ends, *([shown] if shown is not None else []))]
        return min(waits) if waits else None

    def _look_at_clock(self) -> None:
        if self._limit is not None and self._now() >= self._limit:
            self._limit = None
            self._cancel()
            self.view.message(f"time is over{': cancelling' if self._open else ''}")

    def _now(self) -> float:
        return self.engine.clock.monotonic()
