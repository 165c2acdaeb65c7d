"""How a container comes to be: its image is there or fetched, its name free, its box within reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from then.abc import Job, Secrets
from then.core.claims import MEMORY, amount_text
from then.core.tasks import Body
from then.executors.docker.calls import Calls, Missing, Taken, images_like, pull
from then.executors.docker.folders import INSIDE, TaskFolder
from then.executors.docker.host import Host
from then.executors.docker.pump import Pump
from then.executors.docker.refused import Refused
from then.executors.docker.wanted import LABEL, STATE_LABEL, Wanted, wanted
from then.executors.orders import record_of


@attrs.frozen
class Shop:
    """What all containers of an executor share."""

    folder: Path
    root: str
    state: str
    allowed: frozenset[str]
    patience_s: float
    """How long an engine may be out of reach before a task that was never begun there fails."""
    syncs: bool
    secrets: Secrets | None
    pump: Pump
    is_over: Callable[[str], bool]
    """Whether a task of ours was reported, so that its container is about to go."""


@attrs.frozen
class Made:
    """A container that is there for a task."""

    id: str
    found: Body | None
    """What the engine says of one that was there before; None: it was made now."""
    keep: str
    stdin: str | None = None


def name_of(job: Job) -> str:
    given = job.options.get("name")
    return given if isinstance(given, str) and given else f"then-{job.task.id}"


def read(job: Job, shop: Shop) -> Wanted:
    """What a job asks for, values of secrets in their places.

    Raises:
        Refused, CannotRead
    """
    if "secrets" in job.options:
        assert shop.secrets is not None
        job = shop.secrets.filled(job)
    return wanted(job.task, job.options, shop.root, str(shop.folder / "tasks"), shop.allowed)


class Maker:
    """Makes the container of one task."""

    def __init__(self, job: Job, host: Host, shop: Shop, folder: TaskFolder) -> None:
        self._job, self._host, self._shop, self._folder = job, host, shop, folder

    def make(self) -> Made:
        """The container; one that is there for this very task is taken for it.

        Raises:
            Refused: it cannot be made.
            CannotRead: a secret cannot be read.
            Unreachable: the engine does not answer; what was done is found the next time.
        """
        wanted = read(self._job, self._shop)
        calls = self._host.calls
        self._folder.prepare(record_of(self._job.task))
        self._check_memory(wanted, calls)
        has_pulled = wanted.pull == "always"
        if has_pulled:
            pull(calls, wanted.image, wanted.platform)
        while True:
            try:
                id = calls.create(name_of(self._job), self._config(wanted), wanted.platform)
            except Missing as error:
                look_for_image(self._host, wanted, str(error), is_last=has_pulled)
                has_pulled = True
            except Taken:
                found = self._whose()
                if found is not None:
                    return Made(found["Id"], found, wanted.keep, wanted.stdin)
            except Refused as error:
                if self._folder.box not in str(error) or self._host.copies_box:
                    raise _limited(error) from error
                # It does not see our files: from now on they are copied.
                self._host.copies_box = True
            else:
                break
        self._folder.note(self._host.address.text, id)
        if self._host.copies_box:
            calls.put(id, INSIDE, self._folder.pack())
        return Made(id, None, wanted.keep, wanted.stdin)

    def _check_memory(self, wanted: Wanted, calls: Calls) -> None:
        # The engine itself takes any bound, however far out of reach.
        there = calls.memory_bytes() if wanted.memory_bytes else 0
        if wanted.memory_bytes > there:
            asked, has = amount_text(MEMORY, wanted.memory_bytes), amount_text(MEMORY, there)
            raise Refused(
                "limit",
                f"docker: memory {asked} is more than {self._host.address.text} has, {has}; ask for less, or run it "
                "where there is more",
            )

    def _config(self, wanted: Wanted) -> Body:
        task = self._job.task
        variables = {
            **task_variables(self._job),
            "THEN_TASK": f"{INSIDE}/task.json",
            "THEN_RESULT": f"{INSIDE}/result.json",
            "THEN_MESSAGES": f"{INSIDE}/messages.jsonl",
            "THEN_ARTIFACTS": f"{INSIDE}/artifacts",
        }
        source = {"Type": "volume"} if self._host.copies_box else {"Type": "bind", "Source": self._folder.box}
        return wanted.labelled(task, self._shop.state, variables, {**source, "Target": INSIDE})

    def _whose(self) -> Body | None:
        """The name is taken: by this task itself, whose container this gives; or by one of ours that is over, which goes.

        Raises:
            Refused: it is taken by somebody else.
        """
        calls, name = self._host.calls, name_of(self._job)
        try:
            found = calls.inspect(name)
        except Missing:
            return None  # It has gone meanwhile.
        labels = found["Config"]["Labels"] or {}
        owner = labels.get(LABEL)
        is_ours = labels.get(STATE_LABEL) == self._shop.state
        if is_ours and owner == self._job.task.id:
            self._folder.note(self._host.address.text, found["Id"])
            return found
        if is_ours and self._shop.is_over(str(owner)):
            calls.remove(found["Id"])
            return None
        try:
            calls.inspect(found["Id"])
        except Missing:
            return None  # It has gone since, and with it is forgotten that it was over.
        whose = f"the container of task {owner}" if is_ours else f"container {found['Id'][:12]}"
        raise Refused(
            "engine",
            f'docker: the name "{name}" is in use on {self._host.address.text} by {whose}, which is '
            f"{found['State']['Status']}; remove that, or give another name",
        )


def look_for_image(host: Host, wanted: Wanted, text: str, *, is_last: bool) -> None:
    """What to do where the engine says that something is not there: fetches the image, if it is that.

    Args:
        is_last: it was fetched already.

    Raises:
        Refused: it cannot be had.
    """
    calls = host.calls
    if "No such image" not in text:
        raise Refused("engine", f"docker: {wanted.image}: {text}")
    if not is_last and wanted.pull != "never":
        pull(calls, wanted.image, wanted.platform)
        return
    near = images_like(calls, wanted.image)
    where = host.address.text
    raise Refused(
        "image", f'docker: image "{wanted.image}" is not on {where}{near}; pull it there, or correct the name'
    )


def task_variables(job: Job) -> dict[str, str]:
    """What tells a program whose work it does."""
    task = job.task
    return {
        "THEN_TASK_ID": task.id,
        "THEN_FLOW_ID": task.flow,
        "THEN_ATTEMPT": str(task.attempt),
        "THEN_KEY": task.origin or task.id,
    }


_BOUNDS: Final = ("Range of CPUs", "Minimum memory limit", "memory limit should be")


def _limited(error: Refused) -> Refused:
    """A bound that the engine cannot keep is told as one."""
    return Refused("limit", str(error)) if any(text in str(error) for text in _BOUNDS) else error
