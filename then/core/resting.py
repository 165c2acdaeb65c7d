"""What rests: records that were put off, and open flows to which nothing happens, are kept encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from then.core.facts import Flow
from then.core.tasks import Task

_encode = msgspec.msgpack.Encoder().encode
decode_flow = msgspec.msgpack.Decoder(Flow).decode
"""A flow as a journal has it."""


class _Head(msgspec.Struct, array_like=True, gc=False):
    """A flow, by position, up to its version."""

    id: msgspec.Raw
    type: msgspec.Raw
    version: str


_TAIL_FIELDS: Final = 8
"""From `outcome` on: each is a byte where it is as in most."""
_HEAD: Final = b"\xdc" + (len(Flow.__struct_fields__) - _TAIL_FIELDS).to_bytes(2)
"""How an array begins of as many fields as are left."""
_NO_ID: Final = _encode("")
_decode_head = msgspec.msgpack.Decoder(_Head).decode


def is_at_rest(task: object) -> bool:
    """Whether nothing happens to a record that does not run: it was put off, or a person has it."""
    if not isinstance(task, Task) or task.outcome is not None or task.is_call:
        return False
    return task.started is not None or (task.policy is not None and task.policy.due is not None)


def trimmed(data: bytes) -> bytes:
    """The same without the room that its encoder left behind it, a third of what it takes: it may be kept for days."""
    return bytes(memoryview(data))


def _slim(flow: Flow, data: bytes) -> bytes:
    """What a flow is encoded, less its id, which its key tells, and its last fields where they are as in most."""
    begin = len(_HEAD) + len(_encode(flow.id))
    if (
        flow.outcome is not None or flow.ended is not None or flow.stopped or flow.waits is not None
        or flow.calls or flow.origin is not None or flow.skipped or flow.unfilled
    ):  # fmt: skip
        return data[: len(_HEAD)] + _NO_ID + data[begin:]
    return _HEAD + _NO_ID + data[begin:-_TAIL_FIELDS]


def _awoken(id: str, data: bytes) -> Flow:
    flow = decode_flow(data)
    flow.id = id
    return flow


class Flows(dict[str, Flow]):
    """A dict of open flows, of which those at rest take a tenth of the memory.

    One that is asked for by its id is awake until it is `rested` again, so that who has it may change it; those
    that `values` and `items` come by stay at rest. Those that are awake stand in the dict itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._resting: dict[str, bytes] = {}

    def rest(self, id: str, data: bytes) -> None:
        """This is what a flow is encoded; nothing holds the flow itself."""
        flow = super().pop(id, None)
        self._resting[id] = data if flow is None else _slim(flow, data)

    def take_up(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Flows as a journal has them."""
        self._resting.update(rows)

    def copied(self) -> Flows:
        """The same flows, each a copy of its own; those that nobody asks for stay encoded."""
        copy = Flows()
        copy.take_up(self._resting.items())
        copy.take_up((id, _encode(flow)) for id, flow in super().items())
        return copy

    def __missing__(self, id: str) -> Flow:
        flow = self[id] = _awoken(id, self._resting.pop(id))
        return flow

    def get(self, id: str | None, default: None = None) -> Flow | None:  # type: ignore[override]
        # By `super()`, which is made anew for each call, it would take three times as long.
        flow: Flow | None = dict.get(self, id)  # type: ignore[misc]
        return self[id] if flow is None and id in self._resting else flow

    def pop(self, id: str) -> Flow:  # type: ignore[override]
        flow = self[id]
        del self[id]
        return flow

    def __contains__(self, id: object) -> bool:
        return super().__contains__(id) or id in self._resting

    def __len__(self) -> int:
        return super().__len__() + len(self._resting)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield from self._resting

    def versions(self) -> Iterator[tuple[str, str]]:
        """The id of each, and the rules version that it stands under."""
        for id, flow in super().items():
            yield id, flow.version
        for id, data in self._resting.items():
            yield id, _decode_head(data).version

    def keys(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self)

    def values(self) -> Iterator[Flow]:  # type: ignore[override]
        """All; to look at, and not to change."""
        yield from super().values()
        for id, data in self._resting.items():
            yield _awoken(id, data)

    def items(self) -> Iterator[tuple[str, Flow]]:  # type: ignore[override]
        """All; to look at, and not to change."""
        yield from super().items()
        for id, data in self._resting.items():
            yield id, _awoken(id, data)
