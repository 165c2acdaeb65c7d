"""Files that a task hands on: a result field of type `file` names one, and its checksum is recorded.

A path is relative to the task's `THEN_ARTIFACTS`, that of a function to the
folder in which the engine runs; what stands in the record is absolute, so that
the next task can be given it. What the file holds is not in the record: size
and SHA-256 are, under `files`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from then.core.tasks import Body
from then.handing import digest, leave_note


def with_files(result: Body, fields: Sequence[str], folder: str, inside: str | None = None) -> tuple[Body, str | None]:
    """The result with absolute paths, and with `files`: of each field `path`, `size` and `sha256`.

    Args:
        fields: those declared as `file`; one that is not there, or null, is left alone.
        folder: what relative paths start from.
        inside: of a container, where it saw the folder above that one. What it names has to be in `folder`, links followed.

    Returns:
        The result, and what is wrong with a file: then the task has failed.

    Cost: reads each file once.
    """
    found: Body = {}
    for name, given in _named(result, fields):
        path = os.path.normpath(os.path.join(folder, given if inside is None else _outside(given, inside)))
        if inside is not None and not os.path.realpath(path).startswith(os.path.realpath(folder) + "/"):
            return result, f'{name}: file "{given}" is not in THEN_ARTIFACTS, and no other of a container is seen here'
        try:
            size, sha256 = digest(path)
        except (OSError, ValueError) as error:
            return result, f'{name}: file "{given}": {_reason(error)}; paths start from THEN_ARTIFACTS'
        result = {**result, name: path}
        found[name] = {"path": path, "size": size, "sha256": sha256}
    if found:
        leave_note(os.path.dirname(folder), found)
    return ({**result, "files": found} if found else result), None


def with_own_files(result: Body, fields: Sequence[str]) -> tuple[Body, str | None]:
    """The same for a function or a script, which have no folder of their own: no note is left of what lies anywhere.

    Args:
        fields: as above; relative paths are those that the function itself could open.

    Cost: reads each file once.
    """
    found: Body = {}
    for name, given in _named(result, fields):
        try:
            path = os.path.abspath(given)
            size, sha256 = digest(path)
        except (OSError, ValueError) as error:
            where = "the folder in which the engine runs"
            return (
                result,
                f'{name}: file "{given}": {_reason(error)}; paths of functions and scripts start from {where}',
            )
        found[name] = {"path": path, "size": size, "sha256": sha256}
    if not found:
        return result, None
    return {**result, **{name: one["path"] for name, one in found.items()}, "files": found}, None


def _named(result: Body, fields: Sequence[str]) -> list[tuple[str, str]]:
    """The fields that name a file, with what they name."""
    return [(name, given) for name in fields if isinstance(given := result.get(name), str)]


def _reason(error: OSError | ValueError) -> str:
    """Why there is no such file: the system's word; Python's on a NUL is another in each version."""
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "no path has such characters"


def _outside(path: str, inside: str) -> str:
    """A path as a container saw it, relative to its artifacts where it is there."""
    return os.path.relpath(path, f"{inside}/artifacts") if path.startswith(f"{inside}/") else path
