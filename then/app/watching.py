"""What happens to several flows, waited for: how a debugger of many hears of them, in this process or over the socket."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Final

from then.app.engine import Engine
from then.app.stops import SYNC_S
from then.core import facts as f
from then.core.standing import standing
from then.core.state import State
from then.core.tasks import Body

BEHIND_MAX: Final = 1000
"""Who is further behind is told at once, without a look at what came meanwhile."""


def watch_flows(engine: Engine, flows: Collection[str], since: int | None, timeout_s: float) -> Body:
    """Waits until something is journalled about these flows, or meets a breakpoint in any, or the time is over.

    Gives what is durable then: `seq`, the last entry; `held`, the flow of each record that a breakpoint holds, by
    its id; of these flows, `over`, how they ended (null where that is long ago), and `still`, why nothing of them
    moves without a person, by the id of the flow.

    Args:
        since: the last entry that is known; None: it tells at once.

    Raises:
        ThenError: the engine ended by itself.
    """
    wanted = frozenset(flows)
    moved = threading.Event()

    def watch(page: f.Page) -> None:
        if _concerns(page, wanted):
            moved.set()

    loop = engine.loop
    loop.watchers.append(watch)
    try:
        if since is not None and not _has_news(engine, wanted, since, moved):
            moved.wait(timeout_s)
        while True:
            moved.clear()
            if loop.failure is not None:
                raise loop.failure
            told, seq = loop.look(lambda state: (_told(state, flows), state.seq))
            if loop.journal.last >= seq:
                return {"seq": seq, **told}
            moved.wait(SYNC_S)
    finally:
        loop.watchers.remove(watch)


def _concerns(page: f.Page, flows: Collection[str]) -> bool:
    return page.flow in flows or any(isinstance(fact, f.Hit) for fact in page.facts)


def _has_news(engine: Engine, flows: Collection[str], since: int, moved: threading.Event) -> bool:
    """Whether what was decided before anybody watched concerns them: of such steps no watcher is told."""
    journal = engine.loop.journal
    seq = engine.loop.look(lambda state: state.seq)
    if seq - since > BEHIND_MAX:
        return True
    while journal.last < seq and engine.loop.failure is None:
        moved.wait(SYNC_S)
    return any(_concerns(f.decode(entry.data), flows) for entry in journal.read(since, seq))


def _told(state: State, flows: Collection[str]) -> Body:
    held = {id: hold.flow for id, hold in state.holds.stops.items() if not hold.is_released}
    past = {flow.id: flow.outcome for flow in state.past}
    still: Body = {}
    for id in flows:
        flow = state.flows.get(id)
        stands = standing(state, flow) if flow is not None else None
        if stands is not None:
            still[id] = stands.reason
    return {"held": held, "over": {id: past.get(id) for id in flows if id not in state.flows}, "still": still}
