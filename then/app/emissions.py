"""What a generator yields: records to be, calls, and the other acts of a rule, each by its word.

All give an `Emission`, which is data; the terms of one that runs (`after`, `at`,
`retry`, `timeout`, `fail_fast`, `at_most_once`) are methods of it, since its
keywords are the fields of the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from then.core.errors import RuleError
from then.core.rules import Emission
from then.core.tasks import Json, check_name


def emit(
    type: str, /, *, then: object = None, otherwise: object = None, bind: Mapping[str, Json] | None = None, **body: Json
) -> Emission:
    """A record to be.

    Args:
        type: of a declared task or event.
        then: a function registered by `@rules.continuation`, or its name, called when it is done; it gets the record
            by position and what is bound by keyword.
        otherwise: likewise, when it failed or timed out.
        bind: JSON values that the continuation gets by keyword.
        body: its inputs, JSON values.
    """
    if then is None and otherwise is None:
        return Emission(type, body)
    return Emission(type, body, _address(then), _address(otherwise), dict(bind or {}))


def call(
    procedure: str | object,
    /,
    *,
    then: object = None,
    otherwise: object = None,
    bind: Mapping[str, Json] | None = None,
    **arguments: Json,
) -> Emission:
    """A call of a procedure: a task that is done when the procedure returns; what it returned is its result.

    Args:
        procedure: its name, or what `@rules.procedure` gave.
        then, otherwise, bind: as of `emit`.
        arguments: JSON values; a task is handed over by its name.
    """
    name = procedure if isinstance(procedure, str) else getattr(procedure, "name", None)
    if not isinstance(name, str):
        raise RuleError(f"then.call takes a procedure, or its name; here is {procedure!r}")
    return Emission(name, arguments, _address(then), _address(otherwise), dict(bind or {}), act="call")


def each(type: str, bodies: Iterable[Mapping[str, Json]], /) -> Iterator[Emission]:
    """One record for each body, in order: `yield from then.each("do", [{"host": h} for h in hosts])`.

    Where there is none, a rule for `every` of them fires at once, as after a `for` in `.then`.
    """
    is_empty = True
    for body in bodies:
        is_empty = False
        yield Emission(type, dict(body))
    if is_empty:
        yield Emission(type, {}, act="none")


def return_(**result: Json) -> Emission:
    """Completes the call that the record belongs to, with this result. A rule that returns ends the search."""
    return Emission("return", result, act="return")


def save(**variables: Json) -> Emission:
    """Writes flow variables, in the transaction of the firing."""
    return Emission("save", variables, act="save")


def skip(type: str, /, **body: Json) -> Emission:
    """A record that is never run: completed as `cancelled`, kind `skipped`, seen by joins."""
    return Emission(check_name(type), body, act="skip")


def cancel(type: str, /, **fields: Json) -> Emission:
    """Ends the live records of that type in this flow whose inputs have these values; without fields all of them."""
    return Emission(check_name(type), fields, act="cancel")


def cancel_flow() -> Emission:
    """Ends this flow as `cancelled`; what the same rule emits still runs, as clean-up."""
    return Emission("cancel", {}, act="cancel_flow")


def end_flow(outcome: Literal["done", "failed"] = "done", text: str | None = None) -> Emission:
    """Sets the outcome of this flow, and cancels what lives of it.

    Args:
        text: why it failed; shown with the flow.
    """
    if outcome not in ("done", "failed"):
        raise RuleError(f'end_flow("{outcome}"): a flow is ended as "done" or "failed"; then.cancel_flow() cancels it')
    return Emission(outcome, {} if text is None else {"text": text}, act="end")


def _address(continuation: object) -> str | None:
    if continuation is None or isinstance(continuation, str):
        return continuation
    name = getattr(continuation, "__then_continuation__", None)
    if name is None:
        shown = getattr(continuation, "__qualname__", repr(continuation))
        raise RuleError(
            f"{shown} is no return address: register it by @rules.continuation, so that a restart finds it by name"
        )
    return str(name)
