"""The order for a start, as the keeper reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from then.abc import Job
from then.core.declarations import SecretDecl
from then.core.tasks import Task
from then.executors.keeper.wire import frame

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What `os.fsencode` does, in a third of the time.
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_encode = msgspec.json.Encoder().encode


class _Refused(Exception):
    """What the operating system cannot take, said before it is asked."""


def order(job: Job, root: str) -> bytes:
    """The frame that orders a start; for what no system could start, one that says why it is refused."""
    try:
        return _order(job, root)
    except _Refused as error:
        return _refusal(job, error)


def order_with_secrets(job: Job, filled: Job, root: str) -> bytes:
    """The order for a job that is given secrets, after a frame with their values, which the keeper has in memory only.

    Args:
        job: as it was, with declarations where secrets stand.
        filled: the same with their values.
    """
    try:
        ordered = _order(filled, root)
    except _Refused as error:
        return _refusal(job, error)
    given, values = job.options["env"], filled.options["env"]
    assert isinstance(given, Mapping)
    assert isinstance(values, Mapping)
    named = [_bytes(values[name], "env") for name, value in given.items() if isinstance(value, SecretDecl)]
    return frame(b"secret", job.task.id.encode(), *named) + ordered


def _order(job: Job, root: str) -> bytes:
    task, given = job.task, job.options.get
    argv, env, cwd, stdin = given("argv"), given("env"), given("cwd"), given("stdin")
    if not isinstance(argv, list | tuple) or not argv or not argv[0]:
        raise _Refused("argv is empty; it names the program and its arguments")
    id = task.id.encode()
    flags = b"c" if given("env_clean") else b""
    fields = [
        b"start",
        id,
        flags if stdin is None else flags + b"i",
        _bytes(os.path.join(root, str(cwd)) if cwd else root, "cwd"),
        task.flow.encode(),
        b"%d" % task.attempt,
        id if task.origin is None else task.origin.encode(),
        record_of(task),
        b"%d" % len(argv),
    ]
    for word in argv:
        fields.append(_bytes(word, "argv"))
    without = given("env_without")
    if without:
        # Before what is given: one of them may be given by name.
        fields += [_bytes(name, "env") for name in without]  # type: ignore[attr-defined]
    if env:
        fields += _env(env)
    return frame(*fields, raw=b"" if stdin is None else str(stdin).encode(errors="surrogateescape"))


def _refusal(job: Job, error: _Refused) -> bytes:
    return frame(b"refuse", job.task.id.encode(), str(error).encode(errors="backslashreplace"))


def record_of(task: Task) -> bytes:
    """What THEN_TASK names: the record as the faces show it, as it is at its start."""
    created = (_EPOCH + timedelta(microseconds=task.created)).isoformat(timespec="microseconds")
    return _encode(
        {
            "id": task.id,
            "type": task.type,
            "body": task.body,
            "flow": task.flow,
            "parent": task.parent,
            "rule": task.rule,
            "stack": [] if task.call is None else [task.call],
            "attempt": task.attempt,
            "origin": task.origin,
            "state": "running",
            "priority": task.priority,
            "needs": task.needs,
            "created": f"{created[:-6]}Z",
        }
    )


def _env(given: object) -> list[bytes]:
    if not isinstance(given, Mapping):
        raise _Refused(f"env is {type(given).__name__}; names with their values are expected")
    entries = []
    for name, value in given.items():
        if not name or "=" in name:
            raise _Refused(f'env {name!r} is no name of a variable: it is empty or holds "="')
        entries.append(_bytes(f"{name}={value}", f"env {name}"))
    return entries


def _bytes(text: object, what: str) -> bytes:
    if type(text) is not str:
        raise _Refused(f"{what} holds {type(text).__name__}; text is expected")
    try:
        data = text.encode(_ENCODING, _ERRORS)
    except UnicodeEncodeError:
        raise _Refused(f"{what} holds half of a surrogate pair, which is no Unicode") from None
    if b"\0" in data:
        raise _Refused(f"{what} holds a NUL character, which no program can be given; use stdin or a file")
    return data
