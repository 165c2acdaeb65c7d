"""What a container has left, once it has ended: its code, the rest of its output, what is in its box.

Each step may be done again: where the engine stops answering in the middle, all
of it is.
"""

from __future__ import annotations

from typing import Final

import attrs
from msgspec.structs import replace

from then.abc import Job, Report
from then.core.claims import MEMORY, amount_text
from then.executors import outputs, results
from then.executors.docker import endings
from then.executors.docker.calls import Calls, Missing, place, unpacked
from then.executors.docker.folders import INSIDE, TaskFolder
from then.executors.docker.host import Host
from then.executors.docker.making import Shop
from then.executors.docker.pump import Frames
from then.executors.docker.refused import Gone, Refused, Unreachable

BOTH: Final = {"stdout": "1", "stderr": "1"}
CHUNK_BYTES: Final = 1 << 18


@attrs.frozen
class Ended:
    """What is known of a container that has ended."""

    id: str
    code: int | None
    """None: nobody heard; the engine is asked."""
    started: int | None
    """Microseconds since 1970."""
    is_whole: bool = attrs.field(kw_only=True)
    """All its output is in our files."""
    is_copied: bool = attrs.field(kw_only=True)
    """Its box is a copy that the engine has."""
    is_stopped: bool = attrs.field(kw_only=True)
    was_out: bool = attrs.field(kw_only=True)
    """Its engine could not be reached while it ran."""


def collect(job: Job, ended: Ended, host: Host, shop: Shop, folder: TaskFolder) -> Report:
    """Takes what it has left into the folder of its task, and tells how it ended.

    Raises:
        Gone: it is not there any more, and nobody heard its code.
        Refused, Unreachable: its engine does not do as asked; done again, it goes on.
        OSError: what it left cannot be written.
    """
    code, is_oom, memory, finished = _code(ended, host.calls)
    if not ended.is_whole:
        _catch_up(ended.id, host, folder)
    if ended.is_copied and folder.is_boxed():
        try:
            folder.unpack(unpacked(host.calls.get(ended.id, INSIDE)))
        except Missing:
            pass  # Somebody removed it: what it left is lost, its end is known.
    folder.unbox(is_copy=ended.is_copied)
    if ended.is_stopped:
        report = endings.cancelled(job, code, ended.started)
    elif ended.was_out and code in endings.BY_OTHERS and not is_oom:
        why = f"{host.address.text} went away while it ran, and it ended with code {code}"
        report = endings.lost(job, why, ended.started)
    else:
        report = endings.judged(job, folder, code, started=ended.started, is_oom=is_oom, memory=memory)
    if finished:
        report = replace(report, completed=endings.seen_us(job, finished, ended.started))
    if "secrets" in job.options and shop.secrets is not None:
        results.mask_files(shop.folder, job.task.id, shop.secrets.mask)
    if shop.syncs:
        outputs.sync(shop.folder, job.task.id)
    return report


def _code(ended: Ended, calls: Calls) -> tuple[int, bool, str, str]:
    """Its code, whether it ran out of memory, and the bound that it had; and when it ended, where nobody heard."""
    if ended.code not in (None, endings.KILLED):
        return ended.code, False, "", ""
    try:
        found = calls.inspect(ended.id)
    except Missing:
        if ended.code is None:
            raise Gone(f"its container {ended.id[:12]} is not there any more") from None
        return ended.code, False, "", ""
    bound = found["HostConfig"]["Memory"]
    return (
        int(found["State"]["ExitCode"]),
        bool(found["State"]["OOMKilled"]),
        amount_text(MEMORY, bound) if bound else "",
        str(found["State"]["FinishedAt"]) if ended.code is None else "",
    )


def _catch_up(id: str, host: Host, folder: TaskFolder) -> None:
    """What the engine kept of its output and we have not."""
    frames = Frames(folder, {stream: folder.size(stream) for stream in ("out", "err")})
    try:
        link = host.stream("GET", f"{place(id)}/logs", BOTH)
    except Refused:
        return  # It has gone, with its output.
    with link:
        while True:
            try:
                data = link.recv(CHUNK_BYTES)
            except OSError as error:
                raise Unreachable(str(error)) from error
            if not data:
                return
            frames.feed(data)
