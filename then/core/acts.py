"""What follows when a rule fires: acts, steps and chains as data, and what a Python generator yields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import attrs
import msgspec
from msgspec.structs import replace

from then.core.errors import RuleError
from then.core.filters import Expr
from then.core.policies import Policy, retry
from then.core.source import Span
from then.core.spans import Time, TimeSpan, span_us, time_us
from then.core.tasks import Body, Json


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
    """With `callee`, the name in the text."""
    where: Expr | None = None
    """Over each of them; sees the aliases of the rule."""
    guard: Expr | None = None
    otherwise: Act | None = None
    callee: Expr | None = None
    """Gives the type: of a task that was handed over, of which those of this call are meant."""
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


class Emission(msgspec.Struct, frozen=True, gc=False):
    """What a Python generator yields: a record to be, or another act. Made by `then.emit` and its kin.

    What the methods say of a record to be, they say of a copy, so that they can be written one behind the other:
    `then.emit("pay", order=7).retry(5, backoff="1s").timeout("30s")`.
    """

    type: str
    body: Body
    then: str | None = None
    """The continuation that is called when it is done; a name given by `rules.continuation`."""
    otherwise: str | None = None
    bind: Body | None = None
    """JSON values that the continuation gets as keywords."""
    policy: Policy | None = None
    after_us: int | None = None
    """It may start so long after it was emitted."""
    at_us: int | None = None
    """It may start then: microseconds since 1970, UTC."""
    act: Literal["emit", "call", "none", "return", "save", "skip", "cancel", "end", "cancel_flow"] = "emit"
    """`call` of a procedure; `none` says that there is none of `type` to emit; `return` with `body` as the result;
    `save` of `body`; `skip` and `cancel` of `type`; `end` with `type` as the outcome and `body["text"]`."""
    at_most: tuple[Json, int] | None = None
    """Dropped where one of this rule, type and key was emitted within so many microseconds."""

    def after(self, span: TimeSpan) -> Emission:
        """It starts so long after it was emitted; the flow lives meanwhile.

        Args:
            span: `"30s"`, a number of seconds, or a timedelta.

        Raises:
            RuleError: that is no span of time, or nothing.
        """
        self._check_run("after")
        return replace(self, after_us=span_us(span, f"{self.type} after"))

    def at(self, time: Time) -> Emission:
        """It starts then, or at once where that has passed.

        Args:
            time: ISO 8601 (UTC where no zone is given), seconds since 1970, or a datetime with a zone.

        Raises:
            RuleError: that is no time.
        """
        self._check_run("at")
        return replace(self, at_us=time_us(time, f"{self.type} at"))

    def retry(
        self,
        times: int,
        *,
        backoff: TimeSpan | None = None,
        to: TimeSpan | None = None,
        factor: float = 2.0,
        jitter: bool = False,
        from_failed: bool = False,
    ) -> Emission:
        """Up to so many attempts after the first, where one fails; arguments as of `then.retry`."""
        self._check_run("retry")
        given = retry(times, backoff=backoff, to=to, factor=factor, jitter=jitter, from_failed=from_failed)
        return replace(self, policy=replace(self.policy or Policy(), retry=given))

    def timeout(self, span: TimeSpan) -> Emission:
        """An attempt that takes longer ends as `timed_out`.

        Raises:
            RuleError: that is no span of time, or nothing.
        """
        self._check_run("timeout")
        timeout_us = span_us(span, f"{self.type} timeout")
        return replace(self, policy=replace(self.policy or Policy(), timeout_us=timeout_us))

    def fail_fast(self) -> Emission:
        """Of a call: a failure in it that no rule takes up cancels what else lives in it."""
        self._check_run("fail_fast")
        return replace(self, policy=replace(self.policy or Policy(), fail_fast=True))

    def at_most_once(self, per: TimeSpan, *, by: Json = None) -> Emission:
        """Dropped where this rule emitted one of this type and key within the span before.

        Args:
            by: the key, a JSON value; None: one for the rule.

        Raises:
            RuleError: that is no span of time, or nothing.
        """
        self._check_run("at_most_once")
        return replace(self, at_most=(by, span_us(per, f"{self.type} at most once per")))

    def _check_run(self, word: str) -> None:
        if self.act not in ("emit", "call"):
            raise RuleError(f"{word} is said of what is emitted or called; a {self.act} happens at once")


Generator: TypeAlias = Callable[..., Iterable[Emission] | Emission | None]
