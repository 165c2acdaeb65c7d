"""What is done with a container that somebody else made: start, wait, stop, remove, and a command inside it.

All but `exec` may be done twice and come to the same, so that after a crash
they are simply done again. A command is noted before it is begun, and is asked
after; what it wrote while no engine read it is lost, since Docker keeps that of
containers only. Docker sends signals to containers only, too: a command is ended
by another one beside it, which finds it by the id of its task.
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
from then.executors.docker.calls import Missing, Taken, exec_create, exec_inspect, place, stop
from then.executors.docker.folders import TaskFolder
from then.executors.docker.host import BEGIN, FINISH, Host, Member
from then.executors.docker.making import Shop, look_for_image, read, task_variables
from then.executors.docker.pump import Answer, Flow, Frames
from then.executors.docker.refused import Refused, start_refused
from then.executors.docker.wanted import Wanted
from then.executors.keeper_client import now_us

GRACE_S: Final = 10.0
"""Between TERM and KILL for `stop`, as Docker has it."""
LOOK_S: Final = 0.2
"""A command that closed its outputs and goes on is asked for so often."""
UNREAD: Final = 126
"""What Docker says of a command that wrote where nobody read any more, whatever it ended with. Seen with Docker 20.10."""
KILLS_MAX: Final = 25
"""So often a command that is to end is killed, until it is given up."""
STOPPED_S: Final = 30.0
"""A command that is to end on an engine that cannot be reached is given up after so long."""
SIGNAL: Final = """
send() {
  for process in /proc/[0-9]*; do
    if grep -qs "THEN_TASK_ID=$2" "$process/environ"; then kill -s "$1" "${process#/proc/}"; fi
  done
}
if [ "$1" = KILL ]; then send STOP "$2"; fi
send "$1" "$2"
"""
"""Sends a signal to all processes of a task, from inside their container. None begins another while they are killed."""


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
        self._is_begun = is_old and job.options.get("action") == "exec"
        """Its command may run."""
        self._is_unread = False
        """What it writes may reach nobody: an engine before had it, or its stream ended before it did."""
        self._is_forced = False
        """Its time to end by itself is over."""
        self._kills = 0
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
        except Taken as error:
            text = f"docker: {self.host.address.text}: what the container does now does not allow for it: {error}"
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
        link = self.host.stream("POST", f"{place(str(wanted.name))}/wait", {})
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
            self._exec, self._is_unread = noted[1], True
            self._look_at_command()
            return
        self._folder.make()
        more = {key: wanted.config[key] for key in ("User", "WorkingDir") if wanted.config.get(key)}
        variables = {**dict(one.split("=", 1) for one in wanted.config["Env"]), **task_variables(self.job)}
        self._exec = exec_create(self.host.calls, str(wanted.name), wanted.args, variables, more)
        self._folder.note(self.host.address.text, self._exec)
        if not self._may_begin():
            return
        link = self.host.stream("POST", f"{place(self._exec, 'exec')}/start", {}, {"Detach": False, "Tty": False})
        self._follow(Flow(link, Frames(self._folder), lambda _: self._command_drained()))

    def _command_drained(self) -> None:
        self._flow = None
        self.host.submit(FINISH, self._look_at_command, self)

    def _may_begin(self) -> bool:
        """False where it was told to stop before: it never begins."""
        with self._lock:
            self._is_begun = not self._is_stopped
            return self._is_begun

    def _look_at_command(self) -> None:
        if self._is_over:
            return
        if not self._exec:
            self._over(endings.cancelled(self.job, None, self._started))
            return
        try:
            found = exec_inspect(self.host.calls, self._exec)
        except Missing:
            if self._is_stopped:
                self._over(endings.cancelled(self.job, None, self._started))
                return
            why = "the container went down, or was removed, while the command ran in it"
            self._over(endings.lost(self.job, why, self._started))
            return
        if found["Running"]:
            self._is_unread = True
            self._look_later()
            return
        if found["ExitCode"] is None and not self._is_stopped:
            # Noted, and never begun: whether it may have is not known.
            self._over(endings.lost(self.job, "the command was made ready when the engine went down", self._started))
            return
        self._drop()
        if self._shop.syncs:
            outputs.sync(self._shop.folder, self.job.task.id)
        if self._is_stopped:
            self._over(endings.cancelled(self.job, found["ExitCode"], self._started))
        elif self._is_unread and found["ExitCode"] == UNREAD:
            why = "the command wrote while nobody was there to read, and Docker does not keep what it ended with"
            self._over(endings.lost(self.job, why, self._started))
        else:
            self._over(endings.judged(self.job, None, int(found["ExitCode"]), started=self._started))

    def _look_later(self) -> None:
        """It runs: asked again in a while; killed again, where it should not."""
        look = self._kill if self._is_forced else self._look_at_command
        self._shop.pump.later(LOOK_S, lambda: self.host.submit(FINISH, look, self))

    # -- the end of a command, by us

    def _ask_to_end(self) -> None:
        self._signal("TERM")

    def _kill(self) -> None:
        if self._is_over:
            return
        self._is_forced = True
        self._kills += 1
        if self._kills > KILLS_MAX:
            self._give_up("it goes on in its container, where nothing ends it: neither sh nor grep may be there")
            return
        self._signal("KILL")
        self._look_at_command()

    def _signal(self, name: str) -> None:
        """Has a command beside it send a signal. Whether that could, the next look tells."""
        if self._is_over:
            return
        wanted = read(self.job, self._shop)
        more = {"User": wanted.config["User"]} if wanted.config.get("User") else {}
        args = ["sh", "-c", SIGNAL, "sh", name, self.job.task.id]
        try:
            beside = exec_create(self.host.calls, str(wanted.name), args, {}, more)
            self.host.calls.ask("POST", f"{place(beside, 'exec')}/start", {"Detach": True, "Tty": False})
        except (Missing, Taken, Refused):
            pass  # Its container has gone, or has no shell.

    def _give_up(self, note: str) -> None:
        self._drop()
        self._over(endings.cancelled(self.job, None, self._started, note))

    # -- as of every member of a host

    def stop(self, grace_s: float) -> None:
        """Waits no more. A command is asked to end, and made to after this time."""
        with self._lock:
            self._is_stopped = True
            is_begun = self._is_begun
        if not is_begun:
            self._drop()
            self._over(endings.cancelled(self.job, None, self._started))
        elif grace_s <= 0:
            self.host.submit(FINISH, self._kill, self)
        else:
            self.host.submit(FINISH, self._ask_to_end, self)
            self._shop.pump.later(grace_s, lambda: self.host.submit(FINISH, self._kill, self))

    def died(self, code: int) -> None: ...

    def found(self, status: str) -> None: ...

    def vanished(self) -> None: ...

    def waits(self, reason: str, since_s: float) -> None:
        if self._is_stopped and since_s > STOPPED_S:
            self._give_up(f"{self.host.address.text} cannot be reached: the command may run on")
        elif since_s > self._shop.patience_s and not self._is_old:
            text = f"docker: {self.host.address.text} cannot be reached: {reason}; is a Docker engine running there, and is host right?"
            self._over(endings.failed(self.job, {"kind": "engine", "message": text}, self._started))

    def tired(self, reason: str) -> None:
        if self._is_stopped:
            self._give_up(f"{self.host.address.text} does not end it: {reason}; the command may run on")
            return
        self._drop()
        self._over(endings.tired(self.job, self.host.address.text, reason, self._started))

    def broke(self, error: Exception) -> None:
        self._drop()
        self._over(endings.broken(self.job, self.host.address.text, error, self._started))

    def remove(self) -> None: ...

    def _follow(self, flow: Flow) -> None:
        self._flow = flow
        self._shop.pump.add(flow)

    def _drop(self) -> None:
        flow = self._flow
        if flow is not None:
            self._shop.pump.drop(flow)

    def _done(self, result: Body) -> None:
        self._over(Report(self.job.task.id, "done", result, None, self._started, now_us()))

    def _over(self, report: Report) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._tell(self, report)
