"""The order for a start, as the keeper reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from then.abc import Job
from then.core.tasks import Task
from then.executors.keeper.wire import frame

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


class _Refused(Exception):
    """What the operating system cannot take, said before it is asked."""


def order(job: Job, root: str) -> bytes:
    """The frame that orders a start; for what no system could start, one that says why it is refused."""
    try:
        return _order(job, root)
    except _Refused as error:
        return frame(b"refuse", job.task.id.encode(), str(error).encode(errors="backslashreplace"))


def _order(job: Job, root: str) -> bytes:
    task, options = job.task, job.options
    stdin = options.get("stdin")
    argv = _argv(options.get("argv"))
    fields = [
        b"start",
        task.id.encode(),
        (b"c" if options.get("env_clean") else b"") + (b"" if stdin is None else b"i"),
        _bytes(os.path.join(root, str(options.get("cwd") or "")), "cwd"),
        task.flow.encode(),
        b"%d" % task.attempt,
        task.key.encode(),
        _record(task),
        b"%d" % len(argv),
        *argv,
    ]
    env = options.get("env")
    if env:
        fields += _env(env)
    return frame(*fields, raw=b"" if stdin is None else str(stdin).encode(errors="surrogateescape"))


def _record(task: Task) -> bytes:
    """What THEN_TASK names: the record as the faces show it, as it is at its start."""
    created = _EPOCH + timedelta(microseconds=task.created)
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
            "created": created.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
    )


def _argv(given: object) -> list[bytes]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given or not given[0]:
        raise _Refused("argv is empty; it names the program and its arguments")
    return [_bytes(word, f"argv[{at}]") for at, word in enumerate(given)]


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
    if not isinstance(text, str):
        raise _Refused(f"{what} is {type(text).__name__}; text is expected")
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        raise _Refused(f"{what} holds half of a surrogate pair, which is no Unicode") from None
    if b"\0" in data:
        raise _Refused(f"{what} holds a NUL character, which no program can be given; use stdin or a file")
    return data
