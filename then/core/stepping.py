"""A step under way: the facts decided so far, folded into the state, and the orders that follow.

What decides stands above: `then.core.ending`, `emitting`, `outside` and `engine`
give facts to `Stepping.add`, and nothing else changes the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import attrs
import msgspec

from then.core import facts as f
from then.core import guards
from then.core.causes import Order
from then.core.claims import Capacity
from then.core.declarations import Breakpoint
from then.core.edition import Edition
from then.core.firing import Firing
from then.core.folds import FOLDS
from then.core.ids import ID_STEP, id_text, next_id
from then.core.state import State
from then.core.tasks import Task

ReadBreakpoint: TypeAlias = Callable[[Edition, str], Breakpoint | None]
"""What the text of one that was added by hand means in an edition; None where it means nothing there."""


def no_breakpoint(edition: Edition, text: str) -> Breakpoint | None:
    """Of an engine to which none is added by hand."""
    return None


@attrs.define
class Terms:
    """What a step stands on beside state and cause. The loop keeps one and moves its time on."""

    time: int
    editions: Mapping[str, Edition]
    slots: int
    engine: int = 0
    """The engine's number, 0 to 1023: keeps ids of different engines apart."""
    kinds: frozenset[str] = frozenset()
    """The executors that are here."""
    only: frozenset[str] | None = None
    """The flows of which tasks are started; None: all. An engine that is ending starts nothing more."""
    quick: Mapping[str, AbstractSet[str]] = attrs.field(factory=dict)
    """By kind, where its executor tells: the types that run so shortly that several are given to it at once."""
    began: int = 0
    """When this engine took its state up: what was due before was missed."""
    chance: float = 0.5
    """Drawn anew for each step, 0 <= chance < 1: what jitter comes from."""
    capacity: Capacity | None = None
    """What the machine and the configuration have for tasks; None: slots alone are counted."""
    guards: guards.Guards = attrs.field(factory=lambda: guards.USUAL)
    """How far rules may go before their flow is held."""
    answered: AbstractSet[str] = frozenset()
    """Procedures of which calls begin and do nothing of their own: a report ends them, as stubs do in a trial."""
    may_start: bool = True
    """False until an engine that took up a state has asked what still runs of it."""
    breakpoint_of: ReadBreakpoint = no_breakpoint


class Stepping(msgspec.Struct, eq=False, gc=False):
    """One step under way. A Struct, since one is made for each step: an `__init__` of Python takes four times as long."""

    state: State
    terms: Terms
    pages: list[f.Page] = []
    page: f.Page | None = None
    """The last of them."""
    orders: list[Order] = []
    answer: Task | None = None
    ended: list[Task] = []
    """Completed in this step, to be matched in it."""
    empty: list[Firing] = []
    """Of which a `for` emitted none."""
    has_id: bool = False
    """One was made in this step."""
    match_began: int = 0
    """The last id before the match under way."""
    late: frozenset[str] = frozenset()
    """Were held, and count from now for the windows of joins."""
    fired: list[Firing] | None = None
    """Noted in a trial."""

    def add(self, flow: str, fact: f.Fact) -> None:
        """Decides a fact: writes it on the flow's page and folds it into the state."""
        page = self.page
        if page is None or page.flow != flow:
            page = self.turn_to(flow)
        page.facts.append(fact)
        FOLDS[type(fact)](self.state, fact, flow, page.time)

    def trial(self, record: Task) -> Stepping:
        """The match of a record that has ended, tried on a copy of the state: what it would fire and emit."""
        raise NotImplementedError  # Matching stands above what asks for it.

    def turn_to(self, flow: str) -> f.Page:
        """A new page, for facts of this flow."""
        self.state.begin(flow)
        page = self.page = f.Page(flow, self.terms.time, [])
        self.pages.append(page)
        return page

    def new_id(self) -> str:
        state = self.state
        if self.has_id:
            number = state.last_id + ID_STEP
        else:
            self.has_id = True
            number = next_id(state.last_id, self.terms.time, self.terms.engine)
        state.last_id = number
        text = state.newest = id_text(number)
        return text
