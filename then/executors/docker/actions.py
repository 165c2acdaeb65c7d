"""What is done with a container that somebody else made: start, wait, stop, remove, and a command inside it.

All but `exec` may be done twice and come to the same, so that after a crash
they are simply done again. A command is noted before it is begun, and is asked
after; what it wrote while no engine read it is lost, since Docker keeps that of
containers only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Final

from then.abc import Job, Report
from then.core.launch import CannotRead
from then.core.tasks import Body
from then.executors import outputs, results
from then.executors.docker import endings
from then.executors.docker.calls import Missing, exec_create, exec_inspect, stop
from then.executors.docker.folders import TaskFolder
from then.executors.docker.host import BEGIN, FINISH, Host, Member
from then.executors.docker.making import Shop, look_for_image, read, task_variables
from then.executors.docker.pump import Answer, Flow, Frames
from then.executors.docker.refused import Refused, start_refused
from then.executors.docker.wanted import Wanted
from then.executors.keeper_client import now_us
from then.executors.orders import record_of

GRACE_S: Final = 10.0
"""Between TERM and KILL for `stop`, as Docker has it."""
LOOK_S: Final = 0.2
"""A command that closed its outputs and goes on is asked for so often."""


class Act:
    """One task that acts on a container, and has none of its own."""

    id: str | None = None
    keep: str = "never"

    def __init__(
        self, job: Job, host: Host, shop: Shop, tell: Callable[[Member, Report], None], *, is_old: bool
    ) -> None:
        self.job = job
        self.host = host
        self._shop = shop
        self._tell = tell
        self._folder = TaskFolder(shop.folder, job.task.id)
        self._is_old = is_old
        self._lock = threading.Lock()
        self._is_over = False
        self._is_stopped = False
        self._flow: Flow | None = None
        self._exec = ""
        self._started: int | None = None

    def begin(self) -> None:
        if self._is_over or self._flow is not None:
            return
        self._started = self._started or now_us()
        try:
            wanted = read(self.job, self._shop)
            match wanted.action:
                case "start":
                    self._done(self._start(wanted))
                case "stop":
                    self._done(self._stop(wanted))
                case "remove":
                    self.host.calls.remove(str(wanted.name))
                    self._done({})
                case "wait":
                    self._wait(wanted)
                case _:
                    self._begin_command(wanted)
        except CannotRead as error:
            self._over(results.unread(self.job, error, now_us()))
        except Missing as error:
            text = f"docker: {self.host.address.text}: {error}"
            self._over(endings.failed(self.job, {"kind": "engine", "message": text}, self._started))
        except Refused as error:
            self._over(endings.failed(self.job, error.error, self._started))
        except OSError as error:
            what = f"docker: {error.filename or self._folder.path}: {error.strerror}"
            self._over(endings.failed(self.job, {"kind": "spawn", "message": what}, self._started))

    # -- the actions

    def _start(self, wanted: Wanted) -> Body:
        """Starts the container of that name; makes it where it is not there and an image is given."""
        calls, name = self.host.calls, wanted.name or wanted.image
        try:
            id = str(calls.inspect(name)["Id"])
        except Missing:
            if wanted.name is None:
                raise Refused(
                    "engine",
                    f'docker: no container is called "{name}" on {self.host.address.text}; to make one, give its image '
                    "and its name",
                ) from None
            id = self._create(wanted, name)
        try:
            calls.start(id)
        except (Refused, Missing) as error:
            raise start_refused(name, str(error).removeprefix("docker: ")) from error
        return {"name": name, "container": id}

    def _create(self, wanted: Wanted, name: str) -> str:
        config = wanted.labelled(self.job.task, self._shop.state, {}, None)
        has_pulled = False
        while True:
            try:
                return self.host.calls.create(name, config, wanted.platform)
            except Missing as error:
                look_for_image(self.host, wanted, str(error), is_last=has_pulled)
                has_pulled = True

    def _stop(self, wanted: Wanted) -> Body:
        calls = self.host.calls
        stop(calls, str(wanted.name), GRACE_S)
        code = int(calls.inspect(str(wanted.name))["State"]["ExitCode"])
        return {"code": endings.code_of(code, self.job.options)}

    def _wait(self, wanted: Wanted) -> None:
        link = self.host.stream("POST", f"/containers/{wanted.name}/wait", {})
        answer = Answer()
        self._follow(Flow(link, answer, lambda _: self._waited(answer)))

    def _waited(self, answer: Answer) -> None:
        self._flow = None
        try:
            code = int(json.loads(answer.data)["StatusCode"])
        except (ValueError, KeyError, TypeError):
            self.host.submit(BEGIN, self.begin, self)  # Its engine went away: asked again when it is there.
            return
        self._over(endings.judged(self.job, None, code, started=self._started))

    def _begin_command(self, wanted: Wanted) -> None:
        noted = self._folder.noted()
        if noted is not None:
            self._exec = noted[1]
            self._look_at_command()
            return
        self._folder.prepare(record_of(self.job.task))
        more = {key: wanted.config[key] for key in ("User", "WorkingDir") if wanted.config.get(key)}
        variables = {**dict(one.split("=", 1) for one in wanted.config["Env"]), **task_variables(self.job)}
        self._exec = exec_create(self.host.calls, str(wanted.name), wanted.args, variables, more)
        self._folder.note(self.host.address.text, self._exec)
        link = self.host.stream("POST", f"/exec/{self._exec}/start", {}, {"Detach": False, "Tty": False})
        self._follow(Flow(link, Frames(self._folder), lambda _: self._command_drained()))

    def _command_drained(self) -> None:
        self._flow = None
        self.host.submit(FINISH, self._look_at_command, self)

    def _look_at_command(self) -> None:
        if self._is_over:
            return
        try:
            found = exec_inspect(self.host.calls, self._exec)
        except Missing:
            why = "the container went down, or was removed, while the command ran in it"
            self._over(endings.lost(self.job, why, self._started))
            return
        if found["Running"]:
            self._shop.pump.later(LOOK_S, lambda: self.host.submit(FINISH, self._look_at_command, self))
            return
        if found["ExitCode"] is None:
            # Noted, and never begun: whether it may have is not known.
            self._over(endings.lost(self.job, "the command was made ready when the engine went down", self._started))
            return
        self._folder.unbox()
        if self._shop.syncs:
            outputs.sync(self._shop.folder, self.job.task.id)
        self._over(endings.judged(self.job, None, int(found["ExitCode"]), started=self._started))

    # -- as of every member of a host

    def stop(self, grace_s: float) -> None:
        """Waits no more. A command inside a container cannot be killed from outside: it goes on there."""
        flow = self._flow
        if flow is not None:
            self._shop.pump.drop(flow)
        self._over(endings.cancelled(self.job, None, self._started))

    def died(self, code: int) -> None: ...

    def found(self, status: str) -> None: ...

    def vanished(self) -> None: ...

    def waits(self, reason: str, since_s: float) -> None:
        if since_s > self._shop.patience_s and not self._is_old:
            text = f"docker: {self.host.address.text} cannot be reached: {reason}; is a Docker engine running there, and is host right?"
            self._over(endings.failed(self.job, {"kind": "engine", "message": text}, self._started))

    def broke(self, error: Exception) -> None:
        flow = self._flow
        if flow is not None:
            self._shop.pump.drop(flow)
        self._over(endings.broken(self.job, self.host.address.text, error, self._started))

    def remove(self) -> None: ...

    def _follow(self, flow: Flow) -> None:
        self._flow = flow
        self._shop.pump.add(flow)

    def _done(self, result: Body) -> None:
        self._over(Report(self.job.task.id, "done", result, None, self._started, now_us()))

    def _over(self, report: Report) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._tell(self, report)
