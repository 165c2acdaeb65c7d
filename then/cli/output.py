"""Outputs of tasks, as they are written: whole or their ends, once or as they grow.

A file that grows is looked at again every `LOOK_S`: the keeper, and not an
engine, holds the process, so that there may be nobody to tell; and the standard
library has no way to be told by the kernel.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TextIO

import msgspec

from then.abc import Mask
from then.analysis.history import FlowHistory, Record
from then.app.reading import Reading
from then.cli.settings import Settings, is_terminal, say
from then.cli.texts import clean_output
from then.core.errors import ConfigError
from then.core.state import FAILURES
from then.core.tasks import Task
from then.executors.docker.folders import TaskFolder
from then.executors.outputs import Stream, open_output, output_path

LOOK_S: Final = 0.1
LOOKS_A_QUESTION: Final = 5
"""So many looks at the files go by before it is asked again whether anybody keeps the task."""
LEFT_ALONE: Final = 2
"""Nobody keeps it when so many questions in a row said so: between an order and its process there is a moment."""
ABANDONED: Final = 3
CHUNK_BYTES: Final = 1 << 16


class Asked(NamedTuple):
    """How outputs are asked for."""

    streams: tuple[Stream, ...]
    follows: bool = False
    lines: int | None = None
    """The last so many of each; None: all."""
    is_raw: bool = False
    """As it lies in the file, whatever it holds."""


def print_outputs(settings: Settings, reading: Reading, id: str, asked: Asked) -> int:
    """Prints the outputs of a record, or of the flow that it is the root of. Gives the exit code.

    Raises:
        ConfigError: they may hold secrets that cannot be masked here.
    """
    record, history = reading.history().record(id)
    task = record.task
    is_root_of_all = task.event and task.id == history.flow.id
    if is_root_of_all and not asked.follows:
        _print_flow(settings, reading, history, asked)
        return 0
    mask, unknown = _veil(reading, record, history, asked)
    if unknown and _has_output(reading, task.id, asked.streams, follows=asked.follows):
        raise ConfigError(_cannot_mask(task, unknown))
    keepers = _Keepers(reading, task.id)
    files = _Files(settings, reading.folder, task.id, asked, mask)
    try:
        while True:
            is_over = not asked.follows or _has_ended(reading, task.id)
            is_abandoned = not is_over and keepers.have_gone()
            files.print_new()
            if is_over or is_abandoned:
                break
            _pause()
        files.finish()
    finally:
        files.close()
    if is_abandoned:
        say(f"{task.type} ({task.id}): {_why_alone(reading, task.id)}; `{settings.again('resume')}` goes on")
        return ABANDONED
    if not files.has_any:
        _print_without_file(settings, reading.history().record(task.id)[0], asked.streams)
    return 0


def _why_alone(reading: Reading, id: str) -> str:
    """Why nothing more comes of a task, though its end is not in the journal."""
    container = TaskFolder(reading.folder, id).noted()
    if container is not None:  # Whether it runs, its Docker engine knows; what it writes is kept there.
        return f"its container {container[1][:12]} may run on, and no engine runs here to follow it"
    if id in reading.kept().ended:
        return "it has ended, and no engine runs here to take that up"
    return "neither it nor an engine runs here"


def _print_flow(settings: Settings, reading: Reading, history: FlowHistory, asked: Asked) -> None:
    """The outputs of a flow one after the other, each under its type and id."""
    has_any = False
    veils: dict[str, tuple[Mask, list[str]]] = {}
    for record in history.records.values():
        if record.task.type not in veils:
            veils[record.task.type] = _veil(reading, record, history, asked)
        mask, unknown = veils[record.task.type]
        if unknown:
            if _has_output(reading, record.task.id, asked.streams):
                has_any = True
                say(_cannot_mask(record.task, unknown))
            continue
        for stream in asked.streams:
            files = _Files(settings, reading.folder, record.task.id, asked._replace(streams=(stream,)), mask)
            files.heading = f"==> {record.task.type} {record.task.id} {stream} <=="
            files.print_new()
            files.finish()
            files.close()
            has_any |= files.has_any
    if not has_any:
        say(f"no task of flow {history.flow.id} wrote anything")


def _veil(reading: Reading, record: Record, history: FlowHistory, asked: Asked) -> tuple[Mask, list[str]]:
    """What is masked in the output of a record, and the secrets in it that cannot be."""
    return (Mask(), []) if asked.is_raw else reading.veil(record, history)


def _has_output(reading: Reading, id: str, streams: Sequence[Stream], *, follows: bool = False) -> bool:
    """Whether it wrote something; one that is followed may still."""
    paths = [output_path(reading.folder, id, stream) for stream in streams]
    return follows or any(path is not None and path.stat().st_size for path in paths)


def _cannot_mask(task: Task, unknown: list[str]) -> str:
    return (
        f"{task.type} ({task.id}) was given secrets that cannot be read here, so that its output cannot be masked: "
        f"{', '.join(unknown)}; make them readable, or `--raw` shows it as it is"
    )


def _print_without_file(settings: Settings, record: Record, streams: Sequence[Stream]) -> None:
    task = record.task
    traceback = (task.error or {}).get("traceback")
    if isinstance(traceback, str) and "err" in streams:
        out = sys.stderr if len(streams) > 1 else sys.stdout
        out.write(clean_output(traceback) if is_terminal(out) else traceback)
    elif task.outcome in FAILURES and task.error is not None:
        say(f"{task.type} ({task.id}) wrote nothing; its error: {msgspec.json.encode(task.error).decode()}")
    else:
        say(f"{task.type} ({task.id}) wrote nothing" + ("" if task.outcome is not None else " yet"))


def _has_ended(reading: Reading, id: str) -> bool:
    return reading.history().record(id)[0].task.outcome is not None


def _pause() -> None:
    """Until it is time to look again; at once where our reader has gone."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        pass
    for _, event in poll.poll(LOOK_S * 1000):
        if event & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError


class _Keepers:
    """Whoever may yet bring a task to its end: an engine, or the keeper that has its process."""

    def __init__(self, reading: Reading, id: str) -> None:
        self._reading = reading
        self._id = id
        self._looks = 0
        self._alone = 0

    def have_gone(self) -> bool:
        """Whether nobody is there any more; to be called at each look."""
        self._looks += 1
        if self._looks % LOOKS_A_QUESTION == 1:
            is_kept = self._id in self._reading.kept().running or self._reading.has_engine()
            self._alone = 0 if is_kept else self._alone + 1
        return self._alone >= LEFT_ALONE


class _Files:
    """The outputs of one task, and how far they were printed."""

    def __init__(self, settings: Settings, folder: Path, id: str, asked: Asked, mask: Mask) -> None:
        streams = asked.streams
        self._settings = settings
        self._folder = folder
        self._id = id
        self._lines = asked.lines
        self._mask = mask
        self._masked = {stream: mask.stream() for stream in streams}
        self._open: dict[Stream, BinaryIO] = {}
        self._targets: dict[Stream, TextIO] = {
            stream: sys.stderr if stream == "err" and len(streams) > 1 else sys.stdout for stream in streams
        }
        self._rests: dict[Stream, bytes] = {}
        """The begun line of each that goes to a terminal, or out as JSON."""
        self.heading: str | None = None
        self.has_any = False

    def print_new(self) -> None:
        """Prints what has come since the last call."""
        for stream, target in self._targets.items():
            file = self._open.get(stream)
            if file is None:
                file = open_output(self._folder, self._id, stream)
                if file is None:
                    continue
                self._open[stream] = file
                if self._lines is not None:
                    _seek_lines(file, self._lines)
                    _seek_whole(file, self._mask)
            while data := file.read(CHUNK_BYTES):
                self._head(target)
                self.has_any = True
                self._print(stream, target, self._masked[stream].feed(data))

    def finish(self) -> None:
        """What is left of lines without an end."""
        for stream, target in self._targets.items():
            self._print(stream, target, self._masked[stream].finish())
        for stream, rest in self._rests.items():
            if rest:
                self._print_lines(stream, self._targets[stream], rest, "")

    def close(self) -> None:
        for file in self._open.values():
            file.close()

    def _head(self, target: TextIO) -> None:
        if self.heading is not None and not self._settings.is_json:
            sys.stdout.write(f"{self.heading}\n")
            sys.stdout.flush()
        self.heading = None

    def _print(self, stream: Stream, target: TextIO, data: bytes) -> None:
        if not self._settings.is_json and not is_terminal(target):
            target.flush()
            target.buffer.write(data)
            target.buffer.flush()
            return
        whole, end, rest = (self._rests.get(stream, b"") + data).rpartition(b"\n")
        self._rests[stream] = rest
        if end:
            self._print_lines(stream, target, whole, "\n")

    def _print_lines(self, stream: Stream, target: TextIO, data: bytes, end: str) -> None:
        text = data.decode(errors="backslashreplace")
        if self._settings.is_json:
            for line in text.split("\n"):
                object_ = {"id": self._id, "stream": stream, "line": line}
                sys.stdout.write(msgspec.json.encode(object_).decode() + "\n")
            sys.stdout.flush()
        else:
            target.write(clean_output(text) + end)
            target.flush()


def _seek_whole(file: BinaryIO, mask: Mask) -> None:
    """Goes back to where a value begins, in which we stand."""
    at, reach = file.tell(), mask.reach
    begin = max(0, at - reach)
    file.seek(begin)
    file.seek(begin + mask.beginning(file.read(at - begin + reach), at - begin))


def _seek_lines(file: BinaryIO, lines: int) -> None:
    """Goes to where the last so many lines begin."""
    at = file.seek(0, os.SEEK_END)
    if lines == 0:
        return
    wanted = lines
    is_last = True
    while at > 0:
        size = min(CHUNK_BYTES, at)
        at -= size
        file.seek(at)
        data = file.read(size)
        place = len(data)
        if is_last and data.endswith(b"\n"):
            place -= 1  # It ends the last line, and begins none.
        is_last = False
        while (place := data.rfind(b"\n", 0, place)) >= 0:
            wanted -= 1
            if wanted == 0:
                file.seek(at + place + 1)
                return
    file.seek(0)
