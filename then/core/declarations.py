"""Declarations: tasks, events, records and what else stands beside the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs

from then.core.filters import Expr
from then.core.policies import Policy
from then.core.schedule import Schedule
from then.core.source import Span


def _span() -> Span | None:
    return attrs.field(default=None, eq=False, repr=False, kw_only=True)  # type: ignore[no-any-return]


@attrs.frozen
class TypeRef:
    """`int`, `str?`, `list[item]`, a record's name, `any`, `file`, `task`."""

    name: str
    args: tuple[TypeRef, ...] = ()
    optional: bool = False
    span: Span | None = _span()

    def __str__(self) -> str:
        inner = f"[{', '.join(map(str, self.args))}]" if self.args else ""
        return f"{self.name}{inner}{'?' if self.optional else ''}"


SCALARS: Final = frozenset(("int", "float", "str", "bool", "any", "file", "task", "map"))
"""Type names of the language beside `list[…]` and declared records."""


@attrs.frozen
class FieldDecl:
    name: str
    type: TypeRef
    default: Expr | None = None
    span: Span | None = _span()


@attrs.frozen
class RecordDecl:
    name: str
    fields: tuple[FieldDecl, ...]
    span: Span | None = _span()


@attrs.frozen
class EventDecl:
    name: str
    fields: tuple[FieldDecl, ...]
    span: Span | None = _span()


@attrs.frozen
class Run:
    """`run python "shop.pay:charge"`, `run process ["make", target] env {…} cwd "x"`."""

    kind: str
    """The executor: `python`, `process`; others by plugins."""
    target: Expr
    """Evaluated over the task's inputs when it is started; a list of texts for a process."""
    options: tuple[tuple[str, Expr], ...] = ()
    span: Span | None = _span()


@attrs.frozen
class Limit:
    """`limit 4 at once by region`: so many of this task run at the same time, in the whole state."""

    count: int
    by: Expr | None = None
    """Over the task's inputs; each value has its own count. None: one count for the task."""
    span: Span | None = _span()


@attrs.frozen
class Need:
    """`needs {NAME: amount}`: what a task takes of the engine's resources while it runs.

    `cores` and `memory` (bytes) are the machine's, `slots` the engine's, `lock.NAME` a named lock,
    any other name a count of tokens from the configuration.
    """

    name: str
    amount: Expr
    """Over the task's inputs: a number; of a lock `shared` or `exclusive`."""
    span: Span | None = _span()


@attrs.frozen
class TaskDecl:
    """`task T(inputs) -> (result) run …`, or a function registered by `@rules.task`."""

    name: str
    inputs: tuple[FieldDecl, ...] | None = None
    """None where nothing is declared (Python, YAML): any body is taken."""
    result: tuple[FieldDecl, ...] | None = None
    run: Run | None = None
    """None: a person, or another program, completes it (`andthen complete`)."""
    function: Callable[..., Any] | None = attrs.field(default=None, eq=False)
    """Registered by `@rules.task`; run by the function executor."""
    once: bool = False
    """A crash in doubt ends it as `failed`, kind `unknown`; it is never run twice."""
    priority: int = 0
    done_on: tuple[int, ...] = (0,)
    """Exit codes that are `done`."""
    may_fail: bool = False
    """Takes its own failure up."""
    slots: int = 1
    """How many of the engine's slots it takes; 0: none."""
    policy: Policy | None = None
    """`retry` and `timeout`; an act that says one for itself goes before it."""
    retry_while: Expr | None = None
    """Over the attempt that failed: no further attempt where it is not true."""
    deadline_us: int | None = None
    """From the creation of the first attempt; what its call emits inherits it."""
    expires_us: int | None = None
    """From its creation: one that has not started by then ends as `timed_out`, kind `expired`."""
    limit: Limit | None = None
    needs: tuple[Need, ...] = ()
    idempotent_by: Expr | None = None
    """Over its inputs: the second record of the same key ends with the first's result."""
    secrets: tuple[tuple[str, str], ...] = ()
    """From Python: keyword argument, or variable of a process, and the name of the secret that it gets."""
    span: Span | None = _span()


SECRETS_GROUP: Final = "then.secrets"
"""Group of the entry points by which plugins bring sources of secrets."""


@attrs.frozen
class SecretDecl:
    """`secret NAME from SOURCE "reference"`: resolved at the start of a task and nowhere else."""

    name: str
    source: str
    """`env`, `file`, `command`, or what a plugin brings."""
    reference: str
    span: Span | None = _span()


@attrs.frozen
class Start:
    """`start T(…)`: posted by `andthen run PATH` without TYPE."""

    type: str
    args: tuple[tuple[str, Expr], ...]
    span: Span | None = _span()


@attrs.frozen
class TimerDecl:
    """`every 15m start T(…)`, `cron "0 3 1 * *" in "Europe/Rome" start T(…) catch up all`: posts a record when it is due."""

    name: str
    """The type that it posts, with `.2`, `.3` where several timers do."""
    schedule: Schedule
    type: str
    args: tuple[tuple[str, Expr], ...] = ()
    """May name the time that it is due: `today`, the date in its zone as text, and `now`, seconds since 1970."""
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """What becomes of a time that is due while the flow of the last one lives."""
    catch_up: Literal["none", "once", "all"] = "once"
    """What becomes of the times that were due while no engine ran."""
    span: Span | None = _span()


@attrs.frozen
class Breakpoint:
    """`breakpoint NAME PLACE …`: holds a record; `logpoint NAME PLACE print "…"`: says so and goes on."""

    name: str
    place: Literal["before", "after", "rule", "step"]
    family: str = "*"
    """Of the types that it is for; of `on rule` every type."""
    outcomes: frozenset[str] = frozenset()
    """Of `after`; none named: any."""
    rule: str = ""
    """Of `on rule`: a rule, or a step of one (`deploy/2`)."""
    line: str = ""
    """Of `on step`: file and line of a script (`fan.py:7`); empty: any of its steps."""
    where: Expr | None = None
    from_hit: int = 1
    """The first hit that stops."""
    once: bool = False
    """It is switched off by the first hit that stops."""
    expires_us: int | None = None
    """From its setting."""
    show: tuple[tuple[str, Expr], ...] = ()
    """What a person is shown at the stop: as it was written, and what is evaluated."""
    prints: Expr | None = None
    """Of a logpoint."""
    text: str = ""
    """The item of the language that it is."""
    flow: str | None = None
    """The one flow that it is for; None: all."""
    span: Span | None = _span()


Declaration: TypeAlias = TaskDecl | EventDecl | RecordDecl
