"""Runs tasks in containers that outlive the engine.

docs/containers.md is the user's page, docs/decisions the reasons. Here jobs are
given to their hosts, and reports to the engine; what happens to one container
is `then.executors.docker.container`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from then.abc import Job, Report, ReportTo, Secrets
from then.executors.docker import endings, folders
from then.executors.docker.actions import Act
from then.executors.docker.container import Container
from then.executors.docker.folders import TaskFolder
from then.executors.docker.host import BEGIN, PATIENCE_S, REMOVE, Host, Member
from then.executors.docker.making import Shop
from then.executors.docker.pump import Pump
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import Address, address_of
from then.executors.docker.wanted import KEEP_LABEL, LABEL, check_allowances


class DockerExecutor:
    """Runs tasks as containers of Docker engines."""

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        folder: Path,
        report: ReportTo,
        *,
        root: Path | None = None,
        syncs: bool = True,
        secrets: Secrets | None = None,
        allowed: Iterable[str] = (),
        patience_s: float = PATIENCE_S,
        outlives: bool = True,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        """Connects to nobody yet.

        Args:
            folder: the state folder; `tasks/<id>/` lies in it.
            report: called in threads of the executor.
            root: what the relative paths of mounts start from; else the current folder.
            syncs: whether what a task left is on the disk before its end is reported.
            secrets: reads the values that jobs name; none is needed where no job does.
            allowed: what containers may ask for beside the usual, as `THEN_DOCKER_ALLOW` says it.
            outlives: containers go on when this is closed; else they are removed, for nobody will come for them.
            notice: takes what the person in front should know.
            patience_s: how long an engine may be out of reach before a task that never began there fails; or be there and
                leave a request unanswered.

        Raises:
            ConfigError: a word of `allowed` is none.
        """
        self._folder = Path(os.path.abspath(folder))
        self._report = report
        self._root = os.path.abspath(root or ".")
        self._syncs, self._secrets, self._patience_s = syncs, secrets, patience_s
        self._allowed = check_allowances(allowed)
        self._outlives, self._notice = outlives, notice
        self._pump = Pump()
        self._lock = threading.Lock()
        """Guards what follows; never held while somebody is asked or told."""
        self._hosts: dict[str, Host] = {}
        self._running: dict[str, Member] = {}
        self._leaving: dict[str, Member] = {}
        """Reported, and not yet known to be durable."""
        self._left: dict[str, tuple[Host, str]] = {}
        """Containers from an engine that is gone, by the ids of their tasks, which nobody has claimed."""
        self._gone: set[str] = set()
        """Tasks of before whose containers are about to go."""
        self._state = ""
        self._is_closed = False

    # -- the seam

    def start(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._take_up(job, is_old=False)

    def recover(self, jobs: Sequence[Job]) -> None:
        ids = {job.task.id for job in jobs}
        for job in jobs:
            self._take_up(job, is_old=True)
        with self._lock:
            unclaimed = {id: place for id, place in self._left.items() if id not in ids}
            self._left = {}
            self._gone |= set(unclaimed)
        for host, container in unclaimed.values():
            host.submit(REMOVE, partial(_remove, host, container))

    def inventory(self) -> Sequence[str]:
        threads = [
            threading.Thread(target=self._list, args=(host,), name="then-docker-inventory", daemon=True)
            for host in folders.hosts(self._folder)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            return sorted(self._left)

    def stop(self, id: str, grace_s: float) -> None:
        with self._lock:
            container = self._running.get(id)
        if container is not None:
            container.stop(grace_s)

    def forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            with self._lock:
                container = self._leaving.get(id)
            if container is not None and container.id is not None:
                container.host.submit(REMOVE, partial(self._remove, id))
            else:
                with self._lock:
                    self._leaving.pop(id, None)

    def close(self, *, wait: bool) -> None:
        with self._lock:
            self._is_closed = True
            hosts = list(self._hosts.values())
            left = [] if self._outlives else [one for one in self._running.values() if one.id is not None]
        for one in left:
            one.host.submit(REMOVE, one.remove)
        for host in hosts:
            host.close(wait=wait)
        self._pump.close(wait=wait)

    # -- what comes and goes

    def _take_up(self, job: Job, *, is_old: bool) -> None:
        id = job.task.id
        with self._lock:
            if self._is_closed:
                return  # It stays in the journal as ordered, and the next engine asks for it.
        try:
            host, is_noted = self._host_of(job)
            is_own = job.options.get("action") in (None, "run")
            make = Container if is_own else Act
            container: Member = make(job, host, self._shop(), self._over, is_old=is_old or is_noted)
        except Refused as error:
            self._report((endings.failed(job, error.error),))
            return
        except OSError as error:
            wrong = {"kind": "spawn", "message": f"docker: {error.filename}: {error.strerror}"}
            self._report((endings.failed(job, wrong),))
            return
        with self._lock:
            self._running[id] = host.containers[id] = container
        host.submit(BEGIN, container.begin, container)

    def _host_of(self, job: Job) -> tuple[Host, bool]:
        """The engine that it is for; of one from before, the engine that had it. And whether it is from before."""
        id = job.task.id
        with self._lock:
            left = self._left.get(id)
        if left is not None:
            return left[0], True
        noted = TaskFolder(self._folder, id).noted()
        given = noted[0] if noted is not None else job.options.get("host")
        if given is not None and not isinstance(given, str):
            raise Refused("engine", "docker: host is no text; it is the address of a Docker engine")
        return self._host(address_of(given, os.environ)), noted is not None

    def _host(self, address: Address) -> Host:
        with self._lock:
            host = self._hosts.get(address.text)
            if host is None:
                folders.remember_host(self._folder, address.text)
                host = self._hosts[address.text] = Host(address, lambda: self.state, self._notice, self._patience_s)
        return host

    @property
    def state(self) -> str:
        """The label `then.state` of all containers of this state folder."""
        if not self._state:
            self._state = folders.identity(self._folder)
        return self._state

    def _shop(self) -> Shop:
        return Shop(
            self._folder, self._root, self.state, self._allowed, self._patience_s, self._syncs, self._secrets,
            self._pump, self._is_over,
        )  # fmt: skip

    def _is_over(self, id: str) -> bool:
        with self._lock:
            return id in self._leaving or id in self._gone

    def _over(self, container: Member, report: Report) -> None:
        id = container.job.task.id
        with self._lock:
            self._running.pop(id, None)
            container.host.containers.pop(id, None)
            keeps = container.keep == "always" or (container.keep == "failed" and report.outcome == "failed")
            if not keeps:
                self._leaving[id] = container
        self._report((report,))

    def _remove(self, id: str) -> None:
        with self._lock:
            container = self._leaving.get(id)
        if container is not None:
            container.remove()
            with self._lock:
                self._leaving.pop(id, None)

    def _list(self, text: str) -> None:
        """Notes the containers of ours that an engine has; nothing where it cannot be reached."""
        try:
            host = self._host(address_of(text, os.environ))
            host.try_now()
            found = host.ours()
        except (Refused, Unreachable):
            return  # What runs there is found when it is started: its name is taken.
        with self._lock:
            for one in found:
                if not is_kept(one):
                    self._left[one["Labels"][LABEL]] = (host, one["Id"])


def _remove(host: Host, container: str) -> None:
    host.calls.remove(container)


def is_kept(found: dict[str, object]) -> bool:
    """Whether a container stays, by its rules: asked to, and ended as that says."""
    labels = found["Labels"]
    assert isinstance(labels, dict)
    keep = labels.get(KEEP_LABEL, "never")
    return keep == "always" or (keep == "failed" and "(0)" not in str(found["Status"]) and found["State"] == "exited")
