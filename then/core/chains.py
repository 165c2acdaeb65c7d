"""What a chain waits for, and what was posted under a key: cells of the state."""

from __future__ import annotations

import msgspec

from then.core.tasks import Json, Task


class Chain(msgspec.Struct, array_like=True, gc=False):
    """A step of a chain that waits for its members."""

    id: str
    flow: str
    rule: str
    step: int
    waiting: dict[str, bool]
    aliases: dict[str, str]
    records: dict[str, Task]
    values: dict[str, Json]
    call: str | None = None
    by_unmatched: bool = False
    otherwise: str | None = None


class PostKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was posted under a key."""

    id: str
    flow: str
    type: str
    body: dict[str, Json]
