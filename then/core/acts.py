"""What follows when a rule fires: acts, steps and chains as data, and what a Python generator yields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import attrs
import msgspec

from then.core.filters import Expr
from then.core.policies import Policy
from then.core.source import Span
from then.core.tasks import Body


def _span() -> Span | None:
    return attrs.field(default=None, eq=False, repr=False, kw_only=True)  # type: ignore[no-any-return]


@attrs.frozen
class AtMost:
    """`at most once per 1h by user`: further acts of the same key within the span are dropped."""

    per_us: int
    by: Expr | None = None
    """None: one key for the act."""


@attrs.frozen
class Emit:
    """`T(a: x, …) as l if guard otherwise act`; with `call` before it where T is a procedure."""

    type: str
    """The task, event or procedure; with `callee`, the name in the text."""
    args: tuple[tuple[str, Expr], ...] = ()
    alias: str | None = None
    guard: Expr | None = None
    otherwise: Act | None = None
    callee: Expr | None = None
    """Gives the type: of a task that was handed over as an argument."""
    policy: Policy | None = None
    """`retry`, `timeout`, `fail fast` of this act."""
    retry_while: Expr | None = None
    """Over the attempt that failed."""
    after: Expr | None = None
    """A span in seconds: it may start so long after it was emitted."""
    at: Expr | None = None
    """A time in text (ISO 8601) or in seconds since 1970: it may start then."""
    at_most: AtMost | None = None
    span: Span | None = _span()


@attrs.frozen
class Loop:
    """`for i, x in xs emit T(…)`: one emission for each item, in order."""

    item: str
    items: Expr
    emit: Emit
    index: str | None = None
    """The name of the item's number, from 0."""
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class Save:
    """`save NAME: expr`: writes a flow variable in the firing's transaction."""

    name: str
    value: Expr
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class Return:
    """`return (a: x)`: completes the call that the record belongs to. A rule that returns is final."""

    args: tuple[tuple[str, Expr], ...] = ()
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class CancelTasks:
    """`cancel T where …`: ends the live records of a type in this flow."""

    type: str
    where: Expr | None = None
    """Over each of them; sees the aliases of the rule."""
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class Skip:
    """`skip T(…)`: a record that is never run, completed as `cancelled`, kind `skipped`."""

    type: str
    args: tuple[tuple[str, Expr], ...] = ()
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class EndFlow:
    """`end flow done`, `end flow failed "text"`: sets the outcome and cancels what lives."""

    outcome: Literal["done", "failed"]
    text: Expr | None = None
    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


@attrs.frozen
class CancelFlow:
    """`cancel flow`."""

    guard: Expr | None = None
    otherwise: Act | None = None
    span: Span | None = _span()


Act: TypeAlias = Emit | Loop | Save | Return | CancelTasks | Skip | EndFlow | CancelFlow
Step: TypeAlias = tuple[Act, ...]
"""Acts side by side; the next step waits until what they emitted is done."""


@attrs.frozen
class Consequence:
    """A chain of steps. Step k > 0 of rule R is the continuation `R/k`."""

    steps: tuple[Step, ...]
    otherwise: Step | None = None
    """The `else` of the last `then`: `R/k/else`, where k is the last step. Of a chain of one step: of the join."""


class Emission(msgspec.Struct, frozen=True):
    """What a Python generator yields: a record to be, or another act."""

    type: str
    body: Body
    then: str | None = None
    """The continuation that is called when it is done; a name given by `rules.continuation`."""
    otherwise: str | None = None
    bind: Body = {}
    """JSON values that the continuation gets as keywords."""
    policy: Policy | None = None
    after_us: int | None = None
    """It may start so long after it was emitted."""
    at_us: int | None = None
    """It may start then: microseconds since 1970, UTC."""
    act: Literal["emit", "return", "save", "skip", "cancel", "end", "cancel_flow"] = "emit"
    """`return` with `body` as the result; `save` of `body`; `skip` and `cancel` of `type`; `end` with
    `type` as the outcome and `body["text"]`."""


Generator: TypeAlias = Callable[..., Iterable[Emission] | Emission | None]
