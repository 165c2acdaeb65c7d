"""How a client hears of its flows: one thread waits for what happens to all of them, and tells it in the words of the protocol."""

from __future__ import annotations

import threading
from typing import Final

from then.core import facts as f
from then.core.errors import ThenError
from then.core.tasks import Body
from then.dap.client import Client, Thread
from then.debugger.session import Stop

WATCH_S: Final = 1.0
"""So long one question waits; flows that came to be followed meanwhile are in the next."""
BEHIND_MAX: Final = 5000
"""Entries further back are not looked through for what logpoints print."""


class Follower:
    """Follows the flows of a client, from `start` to `stop`."""

    def __init__(self, client: Client, *, takes_all: bool, entry: str | None = None) -> None:
        self._client = client
        self._takes_all = takes_all
        """What is held in any flow becomes a thread."""
        self._entry = entry
        """The name of the breakpoint at which launched flows begin."""
        assert client.access is not None
        self._access = client.access
        self._read = self._access.journal.last
        self._is_over = self._had_ours = False
        self._exit_code = 0
        self._runner = threading.Thread(target=self._run, name="andthen-dap-watch", daemon=True)

    def start(self) -> None:
        self._runner.start()

    def stop(self) -> None:
        """Tells nothing more. What it waits for may go on for a moment."""
        self._is_over = True

    def _run(self) -> None:
        since: int | None = None
        while not self._is_over:
            try:
                flows = list(self._client.threads)
                news = self._access.call("watch", flows=flows, since=since, timeout_s=WATCH_S)
                with self._client.lock:
                    if not self._is_over:
                        self._take(news)
            except Exception as error:  # noqa: BLE001  # Whatever it is: a client that hears nothing more is told.
                with self._client.lock:
                    if not self._is_over:
                        self._lost(error)
                return
            since = news["seq"]

    def _lost(self, error: Exception) -> None:
        fault = "" if isinstance(error, ThenError) else f"{type(error).__name__}, a fault of andthen: "
        self._client.say(f"{fault}{error}", "important")
        self._client.terminate()

    # -- what happened -------------------------------------------------------------------

    def _take(self, news: Body) -> None:
        client = self._client
        held: dict[str, str] = news["held"]
        self._print(news["seq"])
        if self._takes_all:
            for flow in held.values():
                if flow not in client.threads and len(client.threads) < THREADS_MAX:
                    client.follow(flow, is_ours=False)
        for thread in list(client.threads.values()):
            mine = {id for id, flow in held.items() if flow == thread.flow}
            self._settle(thread, mine, news)
        ours = [thread for thread in client.threads.values() if thread.is_ours]
        if client.has_begun and not ours and self._had_ours:
            client.event("exited", {"exitCode": self._exit_code})
            client.terminate()

    def _settle(self, thread: Thread, held: set[str], news: Body) -> None:
        """Brings what the client knows of a flow to what is."""
        session, client = thread.session, self._client
        self._had_ours = self._had_ours or thread.is_ours
        if thread.is_stopped:
            stop = session.stop
            is_there = stop is None or (stop.id in held if stop.id is not None else thread.flow in news["still"])
            if is_there:
                return
            session.lose()
            client.has_gone_on(thread)
        if thread.flow in news["over"]:
            self._end(thread, news["over"][thread.flow])
            return
        if held or ((thread.is_ours or thread.is_fork) and thread.flow in news["still"]):
            stop = session.wait(0.0)
            if stop is not None and stop.reason == "ended":
                self._end(thread, None)
            elif stop is not None:
                self._stopped(thread, stop)

    def _end(self, thread: Thread, outcome: str | None) -> None:
        flow = self._access.history().flow(thread.flow).flow
        outcome = outcome or flow.outcome
        self._client.say(f"flow {thread.flow} ended {outcome}" + (f": {flow.text}" if flow.text else ""))
        if thread.is_ours and outcome != "done":
            self._exit_code = 1
        thread.console.close()
        self._client.drop(thread)

    def _stopped(self, thread: Thread, stop: Stop) -> None:
        client, session = self._client, thread.session
        names = _met(thread)
        if self._entry in names:
            self._access.call("break_rm", name=self._entry)
            others = [name for name in names if name != self._entry and not client.points.is_logpoint(name)]
            self._entry = None
            if thread.asked != "entry" and not others:
                session.go("continue")
                return
        reason = self._reason(thread, stop)
        ids = client.points.ids(names)
        text = stop.text
        if ids:  # Not by the name that it has here: where it stands, the client shows.
            text = text.removeprefix(f"breakpoint {stop.breakpoint}, ")
        body: Body = {"reason": reason, "description": text, "text": text}
        if ids:
            body["hitBreakpointIds"] = ids
        client.has_stopped(thread, body)

    def _reason(self, thread: Thread, stop: Stop) -> str:
        """Why a thread stands still, in a word of the protocol."""
        if thread.asked == "entry":
            return "entry"
        match stop.reason:
            case "step":
                return "pause" if thread.asked == "pause" else "step"
            case "watch":
                return "data breakpoint"
            case "catch":
                return "exception"
            case "still":
                return "pause"
        point = self._client.points.named(stop.breakpoint or "")
        return point.wanted.kind if point is not None else "breakpoint"

    # -- what is printed -----------------------------------------------------------------

    def _print(self, upto: int) -> None:
        """What logpoints print, and what went wrong without a stop."""
        first, self._read = max(self._read, upto - BEHIND_MAX), upto
        for entry in self._access.journal.read(first, upto):
            page = f.decode(entry.data)
            if page.flow not in self._client.threads and not self._takes_all:
                continue
            for fact in page.facts:
                if isinstance(fact, f.Hit) and fact.text is not None:
                    self._client.say(fact.text)
                elif isinstance(fact, f.Completed) and page.flow in self._client.threads:
                    self._tell_output(fact.id)
                elif isinstance(fact, f.Fault):
                    self._client.say(fact.text, "important")

    def _tell_output(self, id: str) -> None:
        """What a task wrote, when it has ended: the last of it, where that is much."""
        for stream, category in (("out", "stdout"), ("err", "stderr")):
            lines = self._access.written(id, "out" if stream == "out" else "err", LINES_MAX)
            if lines:
                self._client.say("\n".join(lines), category)


THREADS_MAX: Final = 200
LINES_MAX: Final = 500
"""Of what a task wrote."""


def _met(thread: Thread) -> set[str]:
    """The names of the breakpoints that the record in view met where it is held, or would have met."""
    view = thread.session.view
    hold = view.hold
    if hold is None:
        return set()
    hits = [hit for _, hit in view.flow.records[view.id].hits if (hit.place == "before") == hold.is_before]
    return {hold.breakpoint, *(hit.name for hit in hits if hit.unsaid is None)}
