"""Values as an editor shows them: in lines, and unfolded a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from then.core.errors import ConfigError
from then.core.tasks import Body, Json, Task
from then.core.values import CannotSay, json_text
from then.debugger.console import json_of

TEXT_MAX: Final = 1000
"""Characters of a value that are shown; `evaluate` in the context `clipboard` gives the whole."""
PAGE_MAX: Final = 1000
"""Fields or items that are given at once, where a client does not say how many."""


@attrs.frozen
class Shown:
    """What can be unfolded.

    Args:
        path: from the record, `result.items[0]`; None where nothing in it can be changed.
    """

    owner: int
    """The frame that it is seen in: gone as soon as that is."""
    value: Mapping[str, Json] | list[Json]
    path: str | None = None
    is_prose: bool = False
    """Its values are sentences, and shown without quotes."""


class Values:
    """What a client may unfold, by the number that it was told."""

    def __init__(self) -> None:
        self._shown: dict[int, Shown] = {}
        self._last = 0

    def add(self, shown: Shown) -> int:
        self._last += 1
        self._shown[self._last] = shown
        return self._last

    def __getitem__(self, number: int) -> Shown:
        if number not in self._shown:
            raise ConfigError(f"variables {number} are none any more: the flow went on")
        return self._shown[number]

    def change(self, number: int, name: str, value: Json) -> None:
        """A value of what is unfolded is another now."""
        shown = self[number]
        if isinstance(shown.value, list):
            items = list(shown.value)
            items[int(name.strip("[]"))] = value
            self._shown[number] = attrs.evolve(shown, value=items)
        else:
            self._shown[number] = attrs.evolve(shown, value={**shown.value, name: value})

    def forget(self, owners: set[int]) -> None:
        """Of frames that are gone."""
        self._shown = {number: one for number, one in self._shown.items() if one.owner not in owners}

    def body(self, value: Json | CannotSay, owner: int, path: str | None = None) -> Body:
        """`value`, `type` and `variablesReference` of a value, and how much is in it."""
        if isinstance(value, CannotSay):
            return {"value": f"({value.reason})", "type": "missing", "variablesReference": 0}
        value = json_of(value)
        told: Body = {"value": text_of(value), "type": _type(value), "variablesReference": 0}
        if isinstance(value, dict | list) and value:
            told["variablesReference"] = self.add(Shown(owner, value, path))
            told["indexedVariables" if isinstance(value, list) else "namedVariables"] = len(value)
        return told

    def page(self, number: int, start: int = 0, count: int = 0, filter: str | None = None) -> list[Body]:
        """Fields or items of what is unfolded."""
        shown = self[number]
        is_list = isinstance(shown.value, list)
        if filter is not None and (filter == "indexed") != is_list:
            return []
        end = start + min(count, PAGE_MAX) if count else start + PAGE_MAX
        rows: list[Body] = []
        if isinstance(shown.value, list):
            for at, item in enumerate(shown.value[start:end], start):
                rows.append(self._row(shown, f"[{at}]", item, f"[{at}]"))
        else:
            for name in list(shown.value)[start:end]:
                rows.append(self._row(shown, name, shown.value[name], f".{name}"))
        left = len(shown.value) - end
        if left > 0 and not count:
            rows.append({"name": "…", "value": f"{left:,} more", "variablesReference": 0})
        return rows

    def _row(self, shown: Shown, name: str, value: Json, step: str) -> Body:
        path = f"{shown.path}{step}" if shown.path is not None else None
        row: Body = {"name": name, **self.body(value, shown.owner, path)}
        if shown.is_prose:
            row["value"] = value
        if path is not None:
            row["evaluateName"] = path
        return row


def text_of(value: Json) -> str:
    """A value on one line, cut where it is long. Cost: of what is shown, not of what is there."""
    if isinstance(value, str):
        return json_text(value) if len(value) <= TEXT_MAX else f"{json_text(value[:TEXT_MAX])[:-1]}…"
    if isinstance(value, dict | list):
        if _size(value) > TEXT_MAX:
            return f"{{{len(value):,} fields}}" if isinstance(value, dict) else f"[{len(value):,} items]"
        return json_text(value)
    return json_text(value)


def _size(value: Json, room: int = TEXT_MAX) -> int:
    """About how long a value's text is; more than the room as soon as it is longer."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Task):
        return room + 1
    size = 2
    if isinstance(value, dict):
        for name, inner in value.items():
            size += len(name) + 4 + _size(inner, room - size)
            if size > room:
                break
    elif isinstance(value, list):
        for inner in value:
            size += 2 + _size(inner, room - size)
            if size > room:
                break
    return size


def whole(value: Json | CannotSay) -> str:
    """A value as JSON, over several lines."""
    if isinstance(value, CannotSay):
        return f"({value.reason})"
    return msgspec.json.format(msgspec.json.encode(json_of(value)), indent=2).decode()


def _type(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case str():
            return "str"
        case int():
            return "int"
        case float():
            return "float"
        case list():
            return "list"
    return "object"
