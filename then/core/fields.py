"""Where an expression gets its values: fields of records, bindings, flow variables.

What a place means is said by `read` and `record_field`; `reader` gives the same
as a function of the record, for what reads one field of many records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from then.core.filters import Field, FlowVariable, Name, Source, Steps, place_text
from then.core.tasks import OWN_FIELDS, Body, Json, Task
from then.core.values import CannotSay, kind_of

MISSING: Final = CannotSay("missing", missing=True)
"""What a reader gives where nothing is; compared by identity, and put into words by `read`."""


Reader: TypeAlias = Callable[[Task], Json]


class Scope(msgspec.Struct, frozen=True):
    """What the names of an expression stand for."""

    record: Task | None = None
    """The record that bare names are fields of; null in a consequence, where none is "that record"."""
    bindings: Mapping[str, Json | Task] = {}
    """Aliases to records; groups, parameters and loop variables to values."""
    flow_variables: Mapping[str, Json] | None = None
    """Of the record's flow; null, as in a dry run, is none."""


# Names are those of the model; times are seconds, as everywhere in expressions.
RECORD_FIELDS: Final = frozenset(
    "id type body flow parent rule call attempt origin state outcome result error priority needs"
    " created started completed took".split()
)
_TIMES: Final = frozenset(("created", "started", "completed"))


def read(place: Field | Name | FlowVariable, scope: Scope) -> Json:
    """The value at a place, or `CannotSay` where nothing is."""
    if isinstance(place, Name):
        holder = scope.bindings.get(place.name, MISSING)
        is_whole = isinstance(holder, Task) and not place.path
        value = record_json(holder) if is_whole else _within(holder, place.path)
    elif isinstance(place, FlowVariable):
        value = MISSING if scope.flow_variables is None else step_into(scope.flow_variables, place.path)
    elif place.record is None:
        value = MISSING if scope.record is None else record_field(scope.record, place.path, place.source)
    else:
        value = _within(scope.bindings.get(place.record, MISSING), place.path, place.source)
    return CannotSay(f"{place_text(place)} is missing", missing=True) if value is MISSING else value


def record_field(record: Task, path: Steps, source: Source) -> Json:
    """A field of a record, or MISSING.

    `any` is the result's where it has that name, else the body's, else the record's own.
    """
    match source:
        case "body":
            return step_into(record.body, path)
        case "result":
            return step_into(record.result, path)
        case "own":
            return step_into(own_field(record, path[0]), path[1:])
        case "any":
            for holder in (record.result, record.body):
                if isinstance(holder, dict) and path[0] in holder:
                    return step_into(holder, path)
            return step_into(own_field(record, path[0]), path[1:]) if path[0] in OWN_FIELDS else MISSING


def _within(holder: Json | Task, path: Steps, source: Source = "any") -> Json:
    """A path into what a name stands for: a record's field, or a step into a value."""
    return record_field(holder, path, source) if isinstance(holder, Task) else step_into(holder, path)


def own_field(record: Task, name: str | int) -> Json:
    """A field of the record itself, by its name in the model, or MISSING."""
    if name in _TIMES:
        moment = getattr(record, str(name))
        return None if moment is None else moment / 1e6
    return getattr(record, str(name)) if name in RECORD_FIELDS else MISSING


def record_json(record: Task) -> Body:
    """A record as a JSON value: what `park(record: r)` hands on."""
    return {name: own_field(record, name) for name in sorted(RECORD_FIELDS)}


def step_into(value: Json, steps: Steps) -> Json:
    """What stands at the end of a path, or MISSING: keys of maps, indexes of lists from 0 on."""
    for step in steps:
        kind = kind_of(value)
        is_there = (
            isinstance(step, str) and step in value
            if kind == "map"
            else isinstance(step, int) and kind == "list" and 0 <= step < len(value)
        )
        if not is_there:
            return MISSING
        value = value[step]
    return value


@functools.lru_cache(maxsize=10_000)
def reader(path: Steps, source: Source) -> Reader:
    """`record_field` for one field, as a function of the record; quick for the usual field of one step."""
    name = path[0]
    if len(path) > 1 or source in ("own", "result"):
        return lambda record: record_field(record, path, source)
    if source == "body":
        return lambda record: record.body.get(str(name), MISSING) if type(record.body) is dict else MISSING

    def field(record: Task) -> Json:
        # A null result is by far the most frequent, then one that has not this name.
        result = record.result
        if result is not None and type(result) is dict and name in result:
            return result[name]
        if result is None or type(result) is dict:
            body = record.body
            if type(body) is dict and name in body:
                return body[name]
        return record_field(record, path, source)

    return field
