"""Claims: what a task takes while it runs, and what there is to take.

A claim is a list of takes, an amount of one resource each: a place under its
limit, a lock, tokens, memory, cores, slots, always in this order. All amounts
are whole numbers, so that what is given back is what was taken: cores are
counted in millionths, a lock is shared by taking one of very many and held
alone by taking all.

Here amounts are evaluated and held against what there is; who may start is
`then.core.admission`. A need that can never be met is refused here, since
nobody would be told of a wait for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

import attrs

from then.core.declarations import Limit, Need, TaskDecl
from then.core.errors import RuleError, nearest
from then.core.evaluate import Scope
from then.core.filters import Const, Expr
from then.core.tasks import Json, Task
from then.core.values import CannotSay, canonical_text, described, is_within_limits, json_text, kind_of

CORE: Final = 1_000_000
"""A core, as it is counted: a millionth of one is the least that can be asked for."""
ALONE: Final = 2**62
"""How often a lock can be shared; who takes that many has it alone."""

Resource: TypeAlias = str
"""As people read it: `slots`, `cores`, `memory`, `lock.db`, `limit of reserve by "eu"`, or the name of a token."""

SLOTS: Final = "slots"
CORES: Final = "cores"
MEMORY: Final = "memory"
_LIMIT: Final = "limit of "  # No name has a space in it.
_LOCK: Final = "lock."
_MACHINE: Final = {MEMORY: 3, CORES: 4, SLOTS: 5}


def place_of(resource: Resource) -> tuple[int, str]:
    """Where it stands in a claim: limits 0, locks 1, tokens 2, then memory, cores, and slots last; each by name.

    What few wait for comes first, what all wait for last: who waits for its limit keeps no slot from
    others; who waits for a slot keeps its place under the limit.
    """
    if resource.startswith(_LIMIT):
        return 0, resource
    return 1 if resource.startswith(_LOCK) else _MACHINE.get(resource, 2), resource


class Take(NamedTuple):
    """An amount of one resource, and how much of it there is."""

    resource: Resource
    amount: int
    of: int
    """Of a limit its count; it stands with the take because flows of two rules versions may disagree."""


class Claim(NamedTuple):
    """All that one task takes, at once or not at all."""

    takes: tuple[Take, ...]
    """In the order of their resources, each at most once, no amount zero or above what there is."""
    resources: tuple[Resource, ...]
    """Theirs. Tasks with equal ones wait for each other."""


def claim(takes: list[Take]) -> Claim:
    """The claim of these takes; those of nothing are left out."""
    kept = sorted((take for take in takes if take.amount), key=lambda take: place_of(take.resource))
    return Claim(tuple(kept), tuple([take.resource for take in kept]))


@attrs.frozen
class Capacity:
    """What an engine has for its tasks."""

    slots: int
    """Tasks that run at once."""
    cores: float
    memory_bytes: int
    tokens: Mapping[str, int] = attrs.field(factory=dict)
    """By name, from the configuration."""


Valued: TypeAlias = Callable[[Expr, Scope], Json | CannotSay]
"""`Edition.value`: the value of an expression."""


def claim_of(task: Task, declared: TaskDecl, capacity: Capacity, value: Valued) -> Claim:
    """What one record takes while it runs.

    Raises:
        RuleError: a value cannot be said or is of the wrong kind, or there will never be that much. Its text is
            the failure of the task, `error.kind` `limit`.

    Cost: grows with the needs of the declaration.
    """
    scope = Scope(task, {}, {})
    takes = []
    if declared.limit is not None:
        takes.append(_limit(declared.name, declared.limit, scope, value))
    slots, slots_need = declared.slots, None
    for need in declared.needs:
        amount = value(need.amount, scope)
        if isinstance(amount, CannotSay):
            raise RuleError(f"{declared.name}: needs {{{need.name}}} cannot be said: {amount.reason}", need.span)
        if need.name == "slots":
            slots, slots_need = _whole(declared.name, need, amount), need
        else:
            takes.append(_take(declared.name, need, amount, capacity))
    takes.append(_bounded(declared.name, SLOTS, slots, capacity.slots, slots_need))
    return claim(takes)


def constant_claim(declared: TaskDecl, capacity: Capacity) -> Claim | None:
    """The claim that all records of a task share; None where it depends on their inputs.

    A part that is constant is looked at all the same, so that what can never be met is known at load. Where somebody
    said that there is none of a token, what needs it is left to fail when it comes: the other rules run without.

    Raises:
        RuleError: there will never be that much, with the place of the declaration.
    """
    constant = tuple(
        need for need in declared.needs if isinstance(need.amount, Const) and capacity.tokens.get(need.name) != 0
    )
    limit = declared.limit
    varies = len(constant) < len(declared.needs) or (limit is not None and limit.by is not None)
    if limit is not None and varies:
        limit = attrs.evolve(limit, by=None)
    try:
        known = claim_of(
            Task(declared.name),
            attrs.evolve(declared, limit=limit, needs=constant),
            capacity,
            lambda expr, _: _const(expr),
        )
    except RuleError as error:
        # In Python only the task as a whole has a place.
        error.span = error.span or declared.span
        raise
    return None if varies else known


def key_text(value: Json) -> str:
    """One text for all values that are equal as JSON: of `1` and `1.0`, not of `1` and `"1"`."""
    return canonical_text(value)


def _const(expr: Expr) -> Json:
    assert isinstance(expr, Const)
    return expr.value


def _limit(task: str, limit: Limit, scope: Scope, value: Valued) -> Take:
    if limit.count < 1:
        raise RuleError(
            f"{task}: limit {limit.count} at once lets none run; give 1 or more, or leave the limit out", limit.span
        )
    name = _LIMIT + task
    if limit.by is not None:
        key = value(limit.by, scope)
        if isinstance(key, CannotSay):
            raise RuleError(f"{task}: the key of limit {limit.count} at once cannot be said: {key.reason}", limit.span)
        name = f"{name} by {key_text(key)}"
    return Take(name, 1, limit.count)


def _take(task: str, need: Need, amount: Json, capacity: Capacity) -> Take:
    """What a need takes of a lock, the machine, or a count of tokens."""
    name = need.name
    if name.startswith(_LOCK):
        if amount not in ("shared", "exclusive"):
            raise RuleError(
                f"{task}: needs {{{name}: {_shown(amount)}}}; a lock is taken shared or exclusive", need.span
            )
        return Take(name, 1 if amount == "shared" else ALONE, ALONE)
    if name == "cores":
        micro = math.ceil(round(_number(task, need, amount) * CORE, 3))
        return _bounded(task, CORES, micro, int(capacity.cores * CORE), need)
    if name == "memory":
        return _bounded(task, MEMORY, math.ceil(_number(task, need, amount)), capacity.memory_bytes, need)
    if name not in capacity.tokens:
        known = ", ".join([*_MACHINE, "lock.NAME", *sorted(capacity.tokens)])
        near = nearest(name, [*_MACHINE, *sorted(capacity.tokens)])
        raise RuleError(
            f'{task}: needs unknown "{name}"{near}; there are {known}; say how many there are: '
            f"`--resource {name}=N`, `Engine(resources=…)`; with 0 the rest runs, and what needs it fails",
            need.span,
        )
    return _bounded(task, name, _whole(task, need, amount), capacity.tokens[name], need)


def _number(task: str, need: Need, amount: Json) -> float:
    if kind_of(amount) != "number" or not is_within_limits(amount):
        raise RuleError(f"{task}: needs {{{need.name}}}: a number is expected, found {_shown(amount)}", need.span)
    if amount < 0:
        raise RuleError(
            f"{task}: needs {{{need.name}: {_shown(amount)}}}, less than nothing; give 0 or more", need.span
        )
    return amount  # type: ignore[no-any-return]


def _whole(task: str, need: Need, amount: Json) -> int:
    number = _number(task, need, amount)
    if number != int(number):
        raise RuleError(
            f"{task}: needs {{{need.name}: {_shown(amount)}}}; it is counted in whole numbers, such as {math.ceil(number)}",
            need.span,
        )
    return int(number)


def _bounded(task: str, of: Resource, amount: int, there: int, need: Need | None) -> Take:
    """A take that can be met one day.

    Raises:
        RuleError: it never can.
    """
    if amount <= there:
        return Take(of, amount, there)
    have = {MEMORY: "its memory is", CORES: "its cores are", SLOTS: "its slots (`-j`) are"}.get(of, "it has")
    raise RuleError(
        f"{task}: needs {{{of}: {amount_text(of, amount)}}}, and of this engine {have} {amount_text(of, there)}; "
        "ask for less, or run it where there is more",
        need.span if need is not None else None,
    )


SIZES: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
"""Units of memory, the largest first."""


def amount_text(of: Resource, amount: int) -> str:
    """An amount as people write it: `1.5` cores, `512MiB`."""
    if of == CORES:
        return f"{amount / CORE:.7g}"
    if of == MEMORY:
        for unit, size in SIZES:
            if amount >= size:
                return f"{amount // size}{unit}" if amount % size == 0 else f"{amount / size:.2f}{unit}"
    return str(amount)


def _shown(value: Json) -> str:
    if kind_of(value) in ("list", "map", "other"):
        return described(value)
    text = json_text(value) if value is None or kind_of(value) in ("text", "boolean") else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
