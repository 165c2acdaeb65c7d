"""Records: what is posted, emitted, run, completed and matched.

One class, `Task`, for tasks and events alike (an event is a task that nothing
runs). It is immutable; a change gives a new one. Bodies, results and errors
are trees of JSON values. The limits and the check of such trees are here too.

Times are integers: microseconds since 1970, UTC. Faces print them as ISO 8601.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from then.core.errors import BodyRefused, RuleError
from then.core.policies import Policy

# JSON is recursive; mypy's recursive aliases make every access a cast, so that
# one named alias marks where a JSON tree is meant.
Json: TypeAlias = Any
Body: TypeAlias = dict[str, Any]

State = Literal["waiting", "running", "held", "completed"]
Outcome = Literal["done", "failed", "cancelled", "timed_out"]

STATES: Final = ("waiting", "running", "held", "completed")
OUTCOMES: Final = ("done", "failed", "cancelled", "timed_out")

ERROR_KINDS: Final = frozenset(
    "exit signal spawn exception result timeout deadline expired cancelled skipped lost unknown"
    " no_executor load oom image engine limit output_limit".split()
)
"""Kinds that the engine gives; a task's own kinds come beside them."""

DEPTH_MAX: Final = 64
"""Nesting of a body: more than any hand-written record, far below what makes a C parser fall over."""
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A body's size as JSON. Larger data belongs into a file that the record names."""
_MEASURED_MIN: Final = BODY_BYTES_MAX // 12
"""Characters and values that, written as JSON, cannot be more than the limit: `\\u0000` takes six, a number two dozen."""
_SEEN_MAX: Final = 100_000
"""After so many values all is looked at as a whole: a list that holds another twice, and so on, doubles at each level."""
_BEGUN: Final = -1
NAME_LENGTH_MAX: Final = 128

OWN_FIELDS: Final = ("type", "outcome", "error", "attempt", "took", "created", "completed")
"""What a clause may name without `record.`, where no declared field hides it."""

_NAME_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


class Task(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A record: what a task is, was given, and came to.

    A `msgspec.Struct` and not an attrs class, because one is made for every
    emission and one for every completion: 0.1 µs against 1 µs frozen
    (docs/decisions/0004-records.md). It is encoded by position: new fields go
    to the end and have a default.
    """

    type: str
    """Its name, such as `build` or `order.placed`."""
    body: Body = {}
    """Its inputs: a JSON object."""
    id: str = ""
    """Sorts by time, unique across engines; 13 characters. Empty for one made by hand."""
    flow: str = ""
    """The id of the root record that it descends from."""
    parent: str | None = None
    """The record whose completion emitted it; null for a root."""
    rule: str | None = None
    """The rule, or step of a rule (`deploy/2`), that emitted it."""
    call: str | None = None
    """The innermost call that it runs in; the stack is the chain of calls from here."""
    cont: str | None = None
    """The waiting step of a chain that it is a member of."""
    attempt: int = 1
    origin: str | None = None
    """The id of the first attempt; null there."""
    outcome: Outcome | None = None
    result: Body | None = None
    error: Body | None = None
    """`kind`, `message` and what the kind has besides; null unless it failed."""
    priority: int = 0
    """Higher is taken first."""
    needs: Body | None = None
    created: int = 0
    started: int | None = None
    completed: int | None = None
    event: bool = False
    """Nothing runs it: it is completed, done, as soon as it is posted."""
    settled: bool = True
    """False for a failed attempt that a retry takes up."""
    by_unmatched: bool = False
    """Emitted by an unmatched rule, or a descendant of one: never shown to another."""
    is_held: bool = False
    """Stopped by a breakpoint or guard, before its start or, where `outcome` is there, before its match."""
    is_call: bool = False
    """A procedure's: `running` until it is returned from."""
    policy: Policy | None = None
    """How it is tried; null for the many of which nothing is said."""

    @property
    def state(self) -> State:
        """Derived, so that it cannot disagree with outcome and times."""
        if self.is_held:
            return "held"
        if self.outcome is not None:
            return "completed"
        return "waiting" if self.started is None else "running"

    @property
    def took(self) -> float | None:
        """Seconds from start to completion; null where one of them is unknown."""
        if self.started is None or self.completed is None:
            return None
        return (self.completed - self.started) / 1e6

    @property
    def key(self) -> str:
        """Equal over attempts and re-runs, for a task to be idempotent by."""
        return self.origin or self.id


def check_name(name: str, what: str = "type") -> str:
    """The name, if it may name a record type, task or rule.

    Raises:
        RuleError: it is empty, longer than 128 characters, or has others than letters, digits, `_`, `.` and `-`.
    """
    if not name or len(name) > NAME_LENGTH_MAX or not _NAME_CHARACTERS.issuperset(name) or name[0] in ".-":
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise RuleError(
            f'{what} {shown!r} is no name: 1 to {NAME_LENGTH_MAX} letters, digits, "_", "." and "-", beginning with a letter, digit or "_"'
        )
    return name


def check_json(value: Json, what: str) -> int:
    """Its size, where the value is a tree of JSON values within the limits.

    Tuples are no JSON; integers have 64 bits; NaN and infinities, lone
    surrogates and keys that are no text are refused.

    Returns:
        Bytes: what it takes as JSON where it is large, else somewhat less.

    Raises:
        BodyRefused: with the path to the first thing that is not right.

    Cost: grows with the number of nodes, but is small where what is shared in it makes it too large; no recursion,
    so depth cannot end it.
    """
    size = flat_size(value)
    if size >= 0:
        return size
    size = seen = 0
    todo: list[tuple[str, Json, int]] = [("$", value, 0)]
    while todo:
        path, node, depth = todo.pop()
        size += 2
        seen += 1
        if seen == _SEEN_MAX:
            # Before the rest is looked at: what is shared in it may make it larger than any memory.
            _check_whole(value, what)
        if size > BODY_BYTES_MAX:
            raise _too_large(what, None)
        if node is None or node is True or node is False:
            continue
        kind = type(node)
        if kind is str:
            size += _check_text(node, path, what)
        elif kind is int:
            if not -(2**63) <= node < 2**63:
                raise BodyRefused(what, path, "an integer beyond 64 bits; give it as text")
        elif kind is float:
            if node != node or node in (float("inf"), float("-inf")):
                raise BodyRefused(what, path, f"{node} is no JSON number; give null or text")
        elif kind is list or kind is dict:
            if depth >= DEPTH_MAX:
                raise BodyRefused(what, path, f"nested deeper than {DEPTH_MAX} levels")
            if kind is list:
                todo.extend((f"{path}[{i}]", item, depth + 1) for i, item in enumerate(node))
            else:
                for key, item in node.items():
                    if type(key) is not str:
                        raise BodyRefused(what, path, f"the key {key!r} is no text")
                    size += _check_text(key, path, what)
                    todo.append((f"{path}.{key}", item, depth + 1))
        else:
            raise BodyRefused(what, path, f"{type(node).__name__} is no JSON value")
    if size > _MEASURED_MIN:
        size = len(msgspec.json.encode(value))
        if size > BODY_BYTES_MAX:
            raise _too_large(what, size)
    return size


def _check_whole(value: Json, what: str) -> None:
    """Refuses what holds itself, or is too large because of lists and objects in it that stand in many places.

    Raises:
        BodyRefused: it is so.

    Cost: grows with the lists and objects that there are, and not with the places where they stand.
    """
    sizes: dict[int, int] = {}
    todo: list[tuple[Json, bool]] = [(value, False)]
    while todo:
        node, is_counted = todo.pop()
        items = node.values() if type(node) is dict else node
        if is_counted:
            keys = sum(len(key) for key in node if type(key) is str) if type(node) is dict else 0
            inner = (2 + len(item) if type(item) is str else sizes.get(id(item), 2) for item in items)
            sizes[id(node)] = min(2 + keys + sum(inner), BODY_BYTES_MAX + 1)
        elif id(node) not in sizes:
            sizes[id(node)] = _BEGUN
            todo.append((node, True))
            for item in items:
                if type(item) is list or type(item) is dict:
                    size = sizes.get(id(item))
                    if size == _BEGUN:
                        raise BodyRefused(what, "", f"nested deeper than {DEPTH_MAX} levels: a part of it holds itself")
                    if size is None:
                        todo.append((item, False))
    if sizes[id(value)] > BODY_BYTES_MAX:
        raise _too_large(what, None)


def _too_large(what: str, size: int | None) -> BodyRefused:
    found = f"{size} bytes as JSON, " if size is not None else ""
    return BodyRefused(
        what, "", f"{found}more than {BODY_BYTES_MAX // 2**20} MiB; put large data into a file, and name the file here"
    )


def own_copy(value: Json) -> Json:
    """The same tree in lists and objects of its own: what somebody else may change later, a record must not share.

    Cost: grows with the nodes of lists and objects inside; of a flat body, with its fields.
    """
    if type(value) is dict:
        if is_flat(value):
            return value.copy()
        return {
            key: own_copy(item) if type(item) is dict or type(item) is list else item for key, item in value.items()
        }
    if type(value) is list:
        return [own_copy(item) if type(item) is dict or type(item) is list else item for item in value]
    return value


def is_flat(body: Body) -> bool:
    """Whether no list or object is in it, as in most."""
    for item in body.values():  # noqa: SIM110 (a generator for `all` takes three times as long)
        if type(item) is dict or type(item) is list:
            return False
    return True


def taken_over(value: Body, what: str) -> tuple[Body, int]:
    """`own_copy` and `check_json` of an object in one. Who has very many asks for their `flat_size` before.

    Raises:
        BodyRefused: as `check_json` does.
    """
    size = check_json(value, what)
    return own_copy(value), size


def flat_size(value: Json) -> int:
    """Characters in an object of plain values, nearly all bodies, at a fifth of the cost; -1: it needs a closer look."""
    if type(value) is not dict:
        return -1
    size = 0
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            return -1
        kind = type(item)
        if kind is str:
            if not item.isascii():
                return -1
            size += len(item)
        elif kind is int:
            if item.bit_length() > 63:
                return -1
        elif kind is float:
            if item - item != 0:
                return -1
        elif item is not None and kind is not bool:
            return -1
        size += len(key) + 2
    return size if size <= _MEASURED_MIN else -1


def _check_text(text: str, path: str, what: str) -> int:
    """Its length, where it is Unicode."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BodyRefused(what, path, "text with half of a surrogate pair, which is no Unicode") from None
    return len(text)
