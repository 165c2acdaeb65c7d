"""What a process's end means: outcome, result and error of its task."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from then.core.errors import BodyRefused
from then.core.tasks import BODY_BYTES_MAX, NAME_LENGTH_MAX, Body, Outcome, check_json


class Ending(msgspec.Struct, frozen=True, gc=False):
    """The end of a process, judged."""

    outcome: Outcome
    result: Body | None
    error: Body | None


def judge(code: int, path: Path, options: Mapping[str, object]) -> Ending:
    """The end of a process that exited with a code, or minus the number of a signal.

    Args:
        path: what THEN_RESULT named; most often it is not there.
        options: `done_on` and `result_fields` are read.
    """
    given, fault = read_result(path)
    result = {**given, "code": code} if given else {"code": code}
    done_on = options.get("done_on")
    if not (code == 0 if done_on is None else code in done_on):  # type: ignore[operator]
        error = exit_error(code)
        if "error" in result:
            error.update(_own_error(result.pop("error")))
        return Ending("failed", result, error)
    if fault is None and given is None:
        fields = [name for name in options.get("result_fields") or () if name != "code"]  # type: ignore[attr-defined]
        if fields:
            fault = f"the task wrote nothing to THEN_RESULT, and its result is declared to have {', '.join(fields)}"
    if fault is not None:
        return Ending("failed", result, {"kind": "result", "message": fault})
    return Ending("done", result, None)


def exit_error(code: int) -> Body:
    """The error of an exit code that is not among those it is done on."""
    if code >= 0:
        return {"kind": "exit", "code": code, "message": f"exited with code {code}"}
    name = signal_name(-code)
    return {"kind": "signal", "signal": -code, "name": name, "message": f"killed by {name}"}


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _own_error(given: object) -> Body:
    """The task's own account of its failure, as far as it is one."""
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str):
        return {}
    kind = given["kind"]
    return given if 0 < len(kind) <= NAME_LENGTH_MAX else {}


def read_result(path: Path) -> tuple[Body | None, str | None]:
    """The JSON object at the path, if there is one; else why what is there is none."""
    try:
        # A task may have put a pipe or a link there: neither is waited for or followed.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        reason = "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        return None, f"THEN_RESULT: {reason}"
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None, "THEN_RESULT: not a file"
        if found.st_size > BODY_BYTES_MAX:
            return None, f"THEN_RESULT: {found.st_size} bytes, more than {BODY_BYTES_MAX}; put large data into THEN_ARTIFACTS"
        data = file.read(BODY_BYTES_MAX + 1)
    return _parse(data)


def _parse(data: bytes) -> tuple[Body | None, str | None]:
    if not data.strip():
        return None, None if not data else "THEN_RESULT: blank; a JSON object is expected"
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"THEN_RESULT: no JSON: {error}"
    except RecursionError:
        return None, "THEN_RESULT: nested too deeply"
    if not isinstance(value, dict):
        return None, f"THEN_RESULT: {type(value).__name__} found, a JSON object is expected"
    try:
        check_json(value, "THEN_RESULT")
    except BodyRefused as error:
        return None, error.text()
    return value, None


def spawn_error(number: int, what: str, path: str, options: Mapping[str, object]) -> Body:
    """The error of a task that could not be started: what, which path, what to do."""
    program = str(options["argv"][0]) if options.get("argv") else ""  # type: ignore[index]
    return {"kind": "spawn", "message": f"{program}: {what} {path}: {os.strerror(number)}"}
