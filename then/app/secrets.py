"""Secrets: where their values are, and how one is read at the start of a task that is given it.

A source is a function from the reference (what stands behind its name in the
declaration) to the value. There are `env`, `file` and `command`; a plugin
brings others as entry points of the group `then.secrets`, or puts them into
`SOURCES`. docs/secrets.md says what is promised.

`env` and `file` are read anew for each start. What a program or a plugin gave
is used for the starts of the next `KEPT_S`, a failure too: a thousand tasks
that start at once ask a vault once, not a thousand times.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from then.abc import Clock, Job, Mask, Report, ReportTo
from then.app.secret_programs import Unreadable as Unreadable  # noqa: PLC0414 (plugins find it here)
from then.app.secret_programs import output_of
from then.core.declarations import SECRETS_GROUP, SecretDecl
from then.core.errors import nearest
from then.core.launch import CannotRead
from then.core.masking import VALUE_CHARACTERS_MIN

Source: TypeAlias = Callable[[str], str]
"""Gives the value for a reference; raises what it likes, of which only the class is told."""

KEPT_S: Final = 5.0
"""So long the answer of a program is used again: many starts at once ask once; a new value is soon there."""
VALUE_BYTES_MAX: Final = 64 * 1024
"""Half of what the system takes for one variable of a process; a key or certificate is some kilobytes."""


SOURCES: Final[dict[str, Source]] = {}
"""Sources by name beside `env`, `file` and `command`: a plugin, or a file of rules in Python, puts its own here."""

_QUICK: Final = ("env", "file")
"""Read by this process alone, in no time."""


class _Kept(NamedTuple):
    """What a slow source gave, and when."""

    at: float
    value: str
    failure: str | None


class Secrets:
    """Reads the values of secrets, and masks those that it read: what `then.abc.Secrets` asks for.

    Args:
        root: the project's root: relative files are looked for, and programs run there.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.mask = Mask()
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def filled(self, job: Job) -> Job:
        values: dict[str, str] = {}
        for secret in job.options["secrets"]:  # type: ignore[attr-defined]
            values[secret.name] = self.value(secret)
        options = dict(job.options)
        for name in ("with", "env"):
            if name in options:
                options[name] = _in_place(options[name], values)
        return Job(job.task, options)

    def value(self, secret: SecretDecl) -> str:
        """The value of now, or of a moment ago; it is masked from here on.

        Raises:
            CannotRead: which, from where, why, and what to do.
        """
        try:
            value = read_quick(secret, self.root) if secret.source in _QUICK else self._asked(secret)
            _check(value)
        except Unreadable as reason:
            raise CannotRead(secret, str(reason)) from None
        self.know((value,))
        return value

    def know(self, values: Iterable[str]) -> None:
        with self._lock:
            for value in values:
                self.mask.add(value)

    def _asked(self, secret: SecretDecl) -> str:
        """From a program or a plugin; one question at a time, whose answer is for all who wait."""
        key = (secret.source, secret.reference)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            kept = self._kept.get(key)
            if kept is None or self._clock.monotonic() - kept.at > KEPT_S:
                kept = self._kept[key] = self._ask(secret)
        if kept.failure is not None:
            raise Unreadable(kept.failure)
        return kept.value

    def _ask(self, secret: SecretDecl) -> _Kept:
        value, failure = "", None
        try:
            if secret.source == "command":
                value = _decoded(output_of(secret.reference, self.root, VALUE_BYTES_MAX))
            else:
                value = source_of(secret.source)(secret.reference)
        except Unreadable as reason:
            failure = str(reason)
        except Exception as error:  # noqa: BLE001 (a plugin's own; its text may hold anything)
            failure = f"the source raised {type(error).__name__}; its text is not repeated, since it may hold the value"
        return _Kept(self._clock.monotonic(), value, failure)


def masked(report: ReportTo, mask: Mask) -> ReportTo:
    """Where an executor brings its reports, so that nothing of them that the mask knows is recorded."""

    def report_masked(reports: Sequence[Report]) -> None:
        if not mask.is_empty:
            reports = [
                msgspec.structs.replace(one, result=mask.body(one.result), error=mask.body(one.error))
                for one in reports
            ]
        report(reports)

    return report_masked


def source_of(name: str) -> Source:
    """A source that came by `SOURCES` or by a plugin.

    Raises:
        Unreadable: none is called so.
    """
    source = SOURCES.get(name)
    if source is None:
        from importlib.metadata import entry_points

        found = next(iter(entry_points(group=SECRETS_GROUP, name=name)), None)
        if found is None:
            known = ["env", "file", "command", *SOURCES, *entry_points(group=SECRETS_GROUP).names]
            raise Unreadable(
                f'no source is called "{name}"{nearest(name, known)}; {", ".join(known)} are known, '
                f"and a plugin brings others by the entry point {SECRETS_GROUP}"
            )
        source = SOURCES[name] = found.load()
    return source


def file_value(path: Path) -> str:
    """What stands in a file, without its last line end.

    Raises:
        Unreadable: why, and what to do.
    """
    try:
        # It is not waited for what somebody may write into a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(f"{path}: {reason}; put the value there, readable for who runs the engine") from None
    try:
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Unreadable(f"{path}: not a file; name a file that holds nothing but the value")
            data = file.read(VALUE_BYTES_MAX + 1)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}; name a file that holds nothing but the value") from None
    return _decoded(data)


def secret_path(secret: SecretDecl, root: Path) -> Path:
    """Where the value of a secret in a file is: from the root, `~` is the home folder."""
    path = Path(secret.reference)
    return root / (path.expanduser() if secret.reference.startswith("~") else path)


def look_up(secrets: Mapping[str, tuple[str, str]], root: Path, mask: Mask) -> set[str]:
    """Adds to a mask what can be read here without asking anybody. Gives the names of the others.

    Args:
        secrets: source and reference by name.
    """
    unread = set()
    for name, (source, reference) in secrets.items():
        secret = SecretDecl(name, source, reference)
        try:
            if source not in _QUICK:
                raise Unreadable(f"{source} is not asked")
            value = read_quick(secret, root)
            _check(value)
        except Unreadable:
            unread.add(name)
        else:
            mask.add(value)
    return unread


def read_quick(secret: SecretDecl, root: Path) -> str:
    """The value of one whose source is `env` or `file`.

    Raises:
        Unreadable: why, and what to do.
    """
    if secret.source == "env":
        return _variable(secret.reference)
    return file_value(secret_path(secret, root))


def readable_by_others(secrets: Iterable[SecretDecl], root: Path) -> list[str]:
    """A warning for each secret in a file that others may read. The files are not read."""
    warnings = []
    for secret in secrets:
        if secret.source != "file":
            continue
        path = secret_path(secret, root)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except (OSError, ValueError):
            continue  # A start that needs it will tell.
        if mode & 0o044:
            warnings.append(f'secret "{secret.name}": {path} can be read by others (mode {mode:04o}); `chmod 600` it')
    return warnings


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise Unreadable(f"the variable {name} is not set where the engine runs; set it, and start the engine again")
    return value


def _decoded(data: bytes) -> str:
    """Text, without its last line end."""
    if len(data) > VALUE_BYTES_MAX:
        raise Unreadable(f"more than {VALUE_BYTES_MAX // 1024} KiB; a secret is short, give large data as a file")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unreadable("no text in UTF-8; give it in an encoding such as base64") from None
    return text.removesuffix("\n").removesuffix("\r")


def _check(value: object) -> None:
    """Raises Unreadable for what is no secret."""
    if not isinstance(value, str):
        raise Unreadable(f"the source gave {type(value).__name__}; a text is expected")
    if not value.strip():
        raise Unreadable("the value is empty; put one there")
    if len(value) < VALUE_CHARACTERS_MIN:
        raise Unreadable(
            f"the value is shorter than {VALUE_CHARACTERS_MIN} characters, which cannot be masked in what tasks write; "
            "use a longer one"
        )
    if len(value.encode(errors="surrogateescape")) > VALUE_BYTES_MAX:
        raise Unreadable(f"more than {VALUE_BYTES_MAX // 1024} KiB; a secret is short, give large data as a file")


def _in_place(given: object, values: Mapping[str, str]) -> object:
    """A copy with values where declarations of secrets stand."""
    if isinstance(given, SecretDecl):
        return values[given.name]
    if isinstance(given, dict):
        return {key: _in_place(item, values) for key, item in given.items()}
    if isinstance(given, list):
        return [_in_place(item, values) for item in given]
    return given
