"""What stops a flow, waited for: how a debugger hears of it, in this process or over the socket."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Final

from then.app.engine import Engine
from then.core import facts as f
from then.core.standing import standing
from then.core.state import State
from then.core.tasks import Body

SYNC_S: Final = 0.005
"""How long a look waits for a commit that was put off, before it looks again."""


def wait_for_stop(engine: Engine, flow: str, known: Collection[str], timeout_s: float) -> Body:
    """Waits until a record of the flow is held that was not, or nothing of it can move, or a logpoint speaks, or the
    time is over.

    Gives what is durable then: `held`, the ids of its records that breakpoints hold, `is_over`, `still`, why
    nothing of it moves without a person (null where something does), and `is_said`, whether a logpoint spoke.

    Args:
        known: ids of what is held and need not be told of.

    Raises:
        ThenError: the engine ended by itself.
    """
    moved, said = threading.Event(), threading.Event()

    def watch(page: f.Page) -> None:
        if page.flow == flow:
            if any(isinstance(fact, f.Hit) and fact.text is not None for fact in page.facts):
                said.set()
            moved.set()

    loop, clock = engine.loop, engine.clock
    end = clock.monotonic() + timeout_s
    loop.watchers.append(watch)
    try:
        while True:
            moved.clear()
            if loop.failure is not None:
                raise loop.failure
            found, seq = loop.look(lambda state: (_standing(state, flow), state.seq))
            left = end - clock.monotonic()
            is_durable = loop.journal.last >= seq
            is_news = found["is_over"] or found["still"] is not None or any(id not in known for id in found["held"])
            if is_durable and (is_news or said.is_set() or left <= 0):
                return {**found, "is_said": said.is_set()}
            moved.wait(SYNC_S if not is_durable else left)
    finally:
        loop.watchers.remove(watch)


def _standing(state: State, flow: str) -> Body:
    open_flow = state.flows.get(flow)
    if open_flow is None:
        return {"held": [], "is_over": True, "still": None}
    held = sorted(id for id, hold in state.holds.stops.items() if hold.flow == flow and not hold.is_released)
    still = standing(state, open_flow)
    return {"held": held, "is_over": False, "still": still.reason if still is not None else None}
