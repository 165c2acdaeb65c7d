"""What a process's end means: outcome, result and error of its task."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from then.abc import Job, Report
from then.core.errors import BodyRefused
from then.core.launch import CannotRead
from then.core.masking import Mask
from then.core.tasks import BODY_BYTES_MAX, NAME_LENGTH_MAX, Body, Outcome, check_json
from then.core.values import HALF_PAIR, check_keys
from then.executors.files import with_files

CANCELLED: Final[Body] = {"kind": "cancelled", "message": "stopped"}
_OWN_KINDS: Final = frozenset(("spawn", "cancelled", "lost", "unknown"))
"""Kinds of errors that hold no word of a task."""
LOST: Final = {b"machine": "the machine went down", b"keeper": "its keeper was killed"}
"""By the word of the keeper: why nobody saw the end."""
TOLD: Final = 8
"""Fields of an end with which goes what was printed; the last of them is the length of `out`, in bytes."""


class Ending(msgspec.Struct, frozen=True, gc=False):
    """The end of a process, judged."""

    outcome: Outcome
    result: Body | None
    error: Body | None


def judge(code: int, path: str | None, options: Mapping[str, object], inside: str | None = None) -> Ending:
    """The end of a process that exited with a code, or minus the number of a signal.

    Args:
        path: what THEN_RESULT named; none where it is known not to be there.
        options: `done_on`, `result_fields` and `file_results` are read.
        inside: where a container saw the folder of `path`; None: it was none.
    """
    given, fault = read_result(path) if path is not None else (None, None)
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
    named = options.get("file_results")
    if fault is None and named and path is not None:
        result, fault = with_files(result, named, f"{os.path.dirname(path)}/artifacts", inside)  # type: ignore[arg-type]
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


def read_result(path: str) -> tuple[Body | None, str | None]:
    """The JSON object at the path, if there is one; else why what is there is none."""
    try:
        # A task may have put a pipe or a link there: neither is waited for or followed.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        reason = "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        return None, f"THEN_RESULT: {reason}"
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        return None, "THEN_RESULT: not a file"
    with open(fd, "rb") as file:
        if found.st_size > BODY_BYTES_MAX:
            return (
                None,
                f"THEN_RESULT: {found.st_size} bytes, more than {BODY_BYTES_MAX}; put large data into THEN_ARTIFACTS",
            )
        data = file.read(BODY_BYTES_MAX + 1)
    value, wrong = _parse(data)
    try:
        if value is not None:
            check_keys(data, "THEN_RESULT")
    except BodyRefused as error:
        return None, error.text()
    return value, wrong


def _parse(data: bytes) -> tuple[Body | None, str | None]:
    if not data.strip():
        return None, None if not data else "THEN_RESULT: blank; a JSON object is expected"
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        is_half = HALF_PAIR.search(data.decode(errors="replace"))
        return None, f"THEN_RESULT: no JSON: {'half of a surrogate pair, which is no Unicode' if is_half else error}"
    except RecursionError:
        return None, "THEN_RESULT: nested too deeply"
    if not isinstance(value, dict):
        return None, f"THEN_RESULT: {type(value).__name__} found, a JSON object is expected"
    try:
        check_json(value, "THEN_RESULT")
    except BodyRefused as error:
        return None, error.text()
    return value, None


def is_told(fields: Sequence[bytes]) -> bool:
    """Whether the keeper tells all that the task left, which is what it printed."""
    return len(fields) == TOLD


def report(job: Job, fields: Sequence[bytes], folder: Path, is_stopped: bool) -> Report:
    """What a line of the keeper's log (`then.executors.keeper.log`) says of a task's end.

    Args:
        is_stopped: a stop was ordered; then an end that nobody saw is taken for its doing.
    """
    id = job.task.id
    if fields[0] == b"E":
        error = spawn_error(int(fields[2]), fields[3].decode(), unescape(fields[5]), job.options)
        return Report(id, "failed", None, error, None, int(fields[4]))
    if fields[0] == b"L":
        if is_stopped:
            return Report(id, "cancelled", None, CANCELLED, None, int(fields[2]))
        return lost(job, LOST[fields[3]], int(fields[2]))
    started, completed = int(fields[4]) or None, int(fields[5])
    if fields[6] == b"stopped":
        return Report(
            id, "cancelled", None if fields[3] == b"-" else {"code": int(fields[3])}, CANCELLED, started, completed
        )
    path = None if fields[6] == b"empty" or is_told(fields) else f"{folder}/tasks/{id}/result.json"
    end = judge(int(fields[3]), path, job.options)
    return Report(id, end.outcome, end.result, end.error, started, completed)


def mask_files(folder: Path, id: str, mask: Mask) -> None:
    """Takes the values of secrets out of what a task handed back in files; its outputs stay as they are.

    Each is replaced by a masked one in a rename: whoever reads it again, after a crash, gets one or the other whole.
    """
    for name in ("result.json", "messages.jsonl"):
        path = f"{folder}/tasks/{id}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        with open(fd, "rb") as file:
            data = file.read(BODY_BYTES_MAX + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        masked = _masked(data, mask)
        if masked == data:
            continue
        with open(os.open(f"{path}.masked", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(masked)
        os.rename(f"{path}.masked", path)


def _masked(data: bytes, mask: Mask) -> bytes:
    value, _ = _parse(data)
    if value is None:
        return mask.data(data)
    masked = mask.tree(value)
    return data if masked is value else msgspec.json.encode(masked)


def unread(job: Job, error: CannotRead, at: int) -> Report:
    """The end of a task that is given a secret which cannot be read: it was never started."""
    return Report(job.task.id, "failed", None, {"kind": error.kind, "message": str(error)}, None, at)


def withheld(report: Report, error: CannotRead) -> Report:
    """A report without what the task itself said: it cannot be masked, since a value that it was given is not known."""
    code = None if report.result is None else report.result.get("code")
    result = None if code is None else {"code": code}
    ended: Body | None = None if report.error is None or code is None else exit_error(code)
    if report.result == result and (report.error in (None, ended) or report.error["kind"] in _OWN_KINDS):
        return report
    why = f"what it handed back is withheld, since it was given a secret that cannot be read any more: {error}"
    if ended is not None and report.error is not None and report.error["kind"] != "result":
        failure = {**ended, "message": f"{ended['message']}; {why}"}
    else:
        failure = {"kind": error.kind, "message": why}
    return Report(report.id, "failed", result, failure, report.started, report.completed)


def lost(job: Job, reason: str, at: int) -> Report:
    """The end of a task that nobody saw."""
    if job.options.get("once"):
        error = {
            "kind": "unknown",
            "message": f"{reason}; it may have run, and is marked once: look before you run it again",
        }
    else:
        error = {"kind": "lost", "message": f"{reason}; how it ended is not known"}
    return Report(job.task.id, "failed", None, error, None, at)


def unescape(word: bytes) -> str:
    """A path or message as `then.executors.keeper.log` writes it."""
    parts = [part.replace(b"\\s", b" ").replace(b"\\n", b"\n") for part in word.split(b"\\\\")]
    return b"\\".join(parts).decode(errors="backslashreplace").strip()


def spawn_error(number: int, what: str, path: str, options: Mapping[str, object]) -> Body:
    """The error of a task that could not be started: what is in the way, and what to do."""
    error: Body = {"kind": "spawn", "message": _spawn_message(number, what, path, options)}
    if what != "order":
        error["path"] = path
        error["errno"] = errno.errorcode.get(number, str(number))
    return error


def _spawn_message(number: int, what: str, path: str, options: Mapping[str, object]) -> str:
    reason = os.strerror(number)
    path = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in path)
    match what, number:
        case "order", _:
            return path
        case "cwd", errno.ENOENT:
            return f'cwd "{path}" is not there; make the folder, or give cwd another'
        case "cwd", _:
            return f'cwd "{path}": {reason}'
        case "program", errno.ENOENT:
            return f'program "{path}" is not found on PATH; install it, or give its path'
        case "program", errno.EACCES:
            return f'program "{path}" is found on PATH, but may not be executed; chmod +x it'
        case "spawn", errno.ENOENT:
            if os.path.lexists(path):
                return f'program "{path}": the interpreter that its first line names is not there'
            where = "" if os.path.isabs(path) else "; relative paths start from cwd"
            return f'program "{path}" is not there{where}'
        case "spawn", errno.EACCES if os.path.isdir(path):
            return f'program "{path}" is a folder; name the program in it'
        case "spawn", errno.EACCES:
            return f'program "{path}" may not be executed; chmod +x it, and look at the folders above'
        case "spawn", errno.ENOEXEC:
            return f'program "{path}" is none that this system runs; a script begins with #! and its interpreter'
        case "spawn", errno.E2BIG:
            argv: list[str] = options["argv"]  # type: ignore[assignment]
            size = sum(len(word) + 1 for word in argv)
            given = f"arguments ({len(argv):,} words of {size:,} bytes in all) and environment"
            return f'program "{path}": {given} are more than the system takes; give large data by stdin or a file'
        case "spawn", errno.EAGAIN | errno.ENOMEM:
            return f'program "{path}": the system has no room for another process ({reason}); see ulimit -u and free memory'
        case _, errno.ENOSPC | errno.EDQUOT:
            return f'{what} "{path}": no room left on the disk'
        case _:
            return f'{what} "{path}": {reason}'
