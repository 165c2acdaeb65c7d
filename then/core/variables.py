"""Flow variables in bodies: `{type: load, name: [x, …]}` is replaced once, when a task is given to its executor."""

from __future__ import annotations

from collections.abc import Mapping

from then.core.tasks import Body, Json, is_flat


def with_variables(body: Body, variables: Mapping[str, Json]) -> tuple[Body, str | None]:
    """The body with `{type: load, name: [x, …]}` replaced by flow variables, and the first that is missing.

    The same body where there is nothing to replace: flat ones are not looked into.
    """
    if is_flat(body):
        return body, None
    try:
        filled = _filled(body, variables)
    except KeyError as missing:
        return body, str(missing.args[0])
    return (filled if filled != body else body), None


def is_reference(value: Json) -> bool:
    """Whether it stands for a flow variable, which is put there when the task is given to its executor."""
    return (
        type(value) is dict
        and value.keys() == {"type", "name"}
        and value["type"] == "load"
        and type(value["name"]) is list
        and bool(value["name"])
    )


def _filled(value: Json, variables: Mapping[str, Json]) -> Json:
    if type(value) is list:
        return [_filled(item, variables) for item in value]
    if type(value) is not dict:
        return value
    if is_reference(value):
        name, *path = value["name"]
        if name not in variables:
            raise KeyError(name)
        found = variables[name]
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                raise KeyError(".".join(map(str, value["name"]))) from None
        return found
    return {key: _filled(item, variables) for key, item in value.items()}
