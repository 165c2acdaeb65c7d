"""One task in its container: made or found again, started, heard of its end, collected.

Invariants:

1. A container has the name of its task (or the one its rules give it) and the
   task's id as label: an engine makes it once, however often it is asked. One
   that is there is taken over, not made.
2. It is started only while the engine says `created`, and by one worker at a
   time: after any doubt it is asked before. An engine that went down while it
   started one says `created` too, whatever ran: then nobody knows.
3. It is removed when its report is durable, not before: until then its exit
   code and output can be had again.
4. A task whose folder names a container is never given another.
5. Its output has one writer at a time: one stream, or who collects.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from typing import Final, Literal

from then.abc import Job, Report
from then.core.declarations import SecretDecl
from then.core.launch import CannotRead
from then.core.tasks import Body
from then.executors import results
from then.executors.docker import endings
from then.executors.docker.calls import Missing, has_seen, place
from then.executors.docker.collecting import BOTH, Ended, collect
from then.executors.docker.folders import INSIDE, TaskFolder
from then.executors.docker.host import BEGIN, FINISH, Host, Member
from then.executors.docker.making import Maker, Shop, name_of
from then.executors.docker.pump import Flow, Frames
from then.executors.docker.refused import Gone, Refused, Unreachable, is_half_started, start_refused
from then.executors.docker.transport import send
from then.executors.keeper_client import now_us
from then.executors.orders import record_of

ROOM_S: Final = 1.0
"""Where the disk is full, it is tried again after so long."""
EARLY_S: Final = 1.0
"""Its output ends a moment before its end is told. Where nothing is told for so long, the connection broke alone."""
STOPPED_S: Final = 30.0
"""A task that is to stop on an engine that cannot be reached is given up after so long."""

Phase = Literal["waiting", "running", "ending", "over"]


class Container:
    """One task in a container.

    Args:
        tell: takes its report, once.
        is_old: an engine before had it, so that it may be there.
    """

    def __init__(
        self, job: Job, host: Host, shop: Shop, tell: Callable[[Member, Report], None], *, is_old: bool
    ) -> None:
        self.job = job
        self.host = host
        self.id: str | None = None
        self.keep = "never"
        self.folder = TaskFolder(shop.folder, job.task.id)
        self._shop = shop
        self._tell = tell
        self._is_old = is_old
        self._lock = threading.RLock()
        """Guards what follows; never held while an engine is asked, or somebody told."""
        self._phase: Phase = "waiting"
        self._is_stopped = False
        self._has_grace = False
        """It was told to stop, and may yet do so by itself."""
        self._started: int | None = None
        self._code: int | None = None
        """None while nobody knows: after an outage the engine is asked."""
        self._has_ended = False
        self._flow: Flow | None = None
        self._is_whole = True
        """All its output came by a stream that was open from before its start, and is written."""
        self._was_out = False
        """The engine could not be reached while it ran."""
        self._is_copied = False
        self._is_first = True
        """Nothing was tried yet."""
        self._is_beginning = False
        """A worker makes or starts it."""
        self._is_opening = False
        """Somebody asks for its output, to follow it again."""

    # -- its beginning

    def begin(self) -> None:
        """Makes it, or finds it, and sees that it runs. Done again where its engine did not answer."""
        with self._lock:
            if self._phase != "waiting" or self._is_beginning:
                return
            self._is_beginning = True
        try:
            self._begin()
        finally:
            with self._lock:
                self._is_beginning = False

    def _begin(self) -> None:
        if self._is_stopped and self.id is None and not self._is_old:
            self._over(endings.cancelled(self.job, None, None))
            return
        try:
            found = self._find()
            if found is None:
                self._make()
            else:
                self._take_over(found)
        except CannotRead as error:
            self._over(results.unread(self.job, error, now_us()))
        except Refused as error:
            self._over(endings.failed(self.job, error.error))
        except Gone as error:
            self._over(endings.lost(self.job, str(error)))
        except OSError as error:
            what = f"docker: {error.filename or self.folder.path}: {error.strerror}"
            self._over(endings.failed(self.job, {"kind": "spawn", "message": what}))

    def _find(self) -> Body | None:
        """The container that is there for this task, if one is."""
        is_first, self._is_first = self._is_first, False
        if is_first and not self._is_old:
            return None
        noted = self.folder.noted()
        id = self.id or (noted[1] if noted is not None else None)
        if id is None and not self._is_old:
            return None
        try:
            found = self.host.calls.inspect(id or name_of(self.job))
        except Missing:
            if id is not None:
                raise Gone(f"its container {id[:12]} is not there any more") from None
            return None
        # By its name only it may be another's: that is found out when the name is asked for.
        labels = found["Config"]["Labels"] or {}
        return found if id is not None or labels.get("then") == self.job.task.id else None

    def _make(self) -> None:
        made = Maker(self.job, self.host, self._shop, self.folder).make()
        self.keep = made.keep
        if made.found is not None:
            self._take_over(made.found)
            return
        self.id = made.id
        self._is_copied = self.host.copies_box
        self._start(made.stdin)

    def _take_over(self, found: Body) -> None:
        """One that is there: it goes on from what it is."""
        self.id = found["Id"]
        labels = found["Config"]["Labels"] or {}
        self.keep = labels.get("then.keep", "never")
        self._is_copied = any(one["Type"] == "volume" and one["Destination"] == INSIDE for one in found["Mounts"])
        self._know_secrets(found["Config"]["Env"] or [])
        status = found["State"]["Status"]
        if status == "created":
            # An engine that is asked for a container answers when it is through with a start of it.
            if self.folder.may_have_begun() and not has_seen(self.host.calls, found["Id"]):
                raise Gone(f"{self.host.address.text} went away while it was being started")
            self.folder.prepare(record_of(self.job.task))
            if self._is_copied:
                self.host.calls.put(found["Id"], INSIDE, self.folder.pack())
            given = self.job.options.get("stdin")
            self._start(given if isinstance(given, str) else None)
            return
        with self._lock:
            self._phase = "running"
            self._started = self._started or endings.seen_us(self.job, found["State"]["StartedAt"])
            self._is_whole = False
        self.found(status)
        self._stop_as_told()

    def _know_secrets(self, env: list[str]) -> None:
        """Their values, as the container was given them: what it hands back is masked by them."""
        given = self.job.options.get("env")
        if self._shop.secrets is None or not isinstance(given, dict):
            return
        names = {name for name, value in given.items() if isinstance(value, SecretDecl)}
        pairs = [one.partition("=") for one in env]
        self._shop.secrets.know(value for name, _, value in pairs if name in names)

    def _start(self, stdin: str | None) -> None:
        assert self.id is not None
        if self._must_stop():
            self._over(endings.cancelled(self.job, None, None))
            return
        path = f"{place(self.id)}/attach"
        given = None if stdin is None else self.host.stream("POST", path, {"stream": "1", "stdin": "1"})
        try:
            link = self.host.stream("POST", path, {**BOTH, "stream": "1"})
        except BaseException:
            if given is not None:
                given.close()
            raise
        with self._lock:
            self._phase = "running"
            # A process is read from its own start; after a crash some of it may be there already.
            self._is_whole = self.folder.size("out") == 0 == self.folder.size("err")
        if given is not None:
            threading.Thread(target=send, args=(given, stdin), name="then-docker-input", daemon=True).start()
        self._follow(link, Frames(self.folder))
        self._started = now_us()
        self.folder.note_start()
        try:
            self.host.calls.start(self.id)
        except (Refused, Missing) as error:
            # What it is told by is its failure to start: nothing of it ran.
            with self._lock:
                self._phase = "ending"
            self._drop()
            text = str(error).removeprefix("docker: ")
            if is_half_started(text):
                why = f"{self.host.address.text} went away while it was being started"
                self._over(endings.lost(self.job, why, self._started))
                return
            self._over(endings.failed(self.job, start_refused(str(self.job.options.get("target")), text).error))
            return
        except Unreachable:
            self._back_to_waiting()
            raise
        self._stop_as_told()

    def _back_to_waiting(self) -> None:
        """Whether it was started is not known: it is asked, once its engine answers."""
        with self._lock:
            if self._phase == "running" and not self._has_ended:
                self._phase = "waiting"
        self._drop()

    # -- its output

    def _follow(self, link: socket.socket, frames: Frames) -> None:
        flow = Flow(link, frames, lambda is_whole: self._drained(flow, is_whole=is_whole))
        with self._lock:
            if self._phase == "running":
                self._flow = flow
                self._shop.pump.add(flow)
                return
        link.close()

    def _drop(self) -> None:
        with self._lock:
            flow, self._flow, self._is_whole = self._flow, None, False
        if flow is not None:
            self._shop.pump.drop(flow)

    def _drained(self, flow: Flow, *, is_whole: bool) -> None:
        with self._lock:
            if self._flow is not flow:
                return
            self._flow = None
            self._is_whole &= is_whole
            is_early = is_whole and not self._has_ended
        self._look()
        if is_early:
            self._shop.pump.later(EARLY_S, self._look_for_end)

    def _look_for_end(self) -> None:
        """Where its end was not told after that of its output: it goes on, unheard."""
        with self._lock:
            if self._phase != "running" or self._has_ended or self._flow is not None:
                return
            self._is_whole = False
        self.host.submit(BEGIN, self._follow_again, self)

    def _follow_again(self) -> None:
        """After an outage, or another engine's end: from where our files end."""
        with self._lock:
            if self._phase != "running" or self._flow is not None or self._has_ended or self._is_opening:
                return
            # Who writes on from where the files end now is one at a time: not two workers, that found it by its task
            # and among all that its engine has, and not one beside what is collected at its end.
            self._is_opening = True
        try:
            self._open_again()
        finally:
            with self._lock:
                self._is_opening = False
            self._look()

    def _open_again(self) -> None:
        skipped = {stream: self.folder.size(stream) for stream in ("out", "err")}
        try:
            link = self.host.stream("GET", f"{place(str(self.id))}/logs", {**BOTH, "follow": "1"})
        except Refused:
            return  # It has gone: the events tell.
        with self._lock:
            self._is_whole = False
        self._follow(link, Frames(self.folder, skipped))

    # -- its end

    def died(self, code: int) -> None:
        with self._lock:
            self._code = code
            self._has_ended = True
        self._look()

    def found(self, status: str) -> None:
        with self._lock:
            if self._phase != "running" or (status == "created" and self._is_beginning):
                return  # Who begins it hears whether it was started.
            # A stream that ends may have ended with the connection.
            self._is_whole = False
            if status in ("exited", "dead", "removing"):
                self._has_ended = True
            elif status == "created":
                self._phase = "waiting"
        if status == "created":
            self._drop()
            self.host.submit(BEGIN, self.begin, self)
        elif self._has_ended:
            self._drop()
            self._look()
        else:
            self.host.submit(BEGIN, self._follow_again, self)

    def vanished(self) -> None:
        with self._lock:
            if self._phase != "running":
                return
            if self._code is not None:
                return  # Its end was heard: what is known is collected.
            self._phase = "ending"
        self._drop()
        if self._is_stopped:
            self._over(endings.cancelled(self.job, None, self._started))
        else:
            why = f"its container {(self.id or '')[:12]} was removed while it ran"
            self._over(endings.lost(self.job, why, self._started))

    def waits(self, reason: str, since_s: float) -> None:
        """Its engine has not been reached for so long."""
        with self._lock:
            self._was_out = True
            is_new = self._phase == "waiting" and self.id is None and not self._is_old
            is_given_up = (self._is_stopped and since_s > STOPPED_S) or (is_new and self._is_stopped)
            is_tired = is_new and since_s > self._shop.patience_s
            if self._phase == "over" or not (is_given_up or is_tired):
                return
            self._phase = "ending"
        where = self.host.address.text
        if is_given_up:
            note = "" if is_new else f"{where} cannot be reached: its container may run on; `andthen prune` removes it"
            self._over(endings.cancelled(self.job, None, self._started, note))
        else:
            text = f"docker: {where} cannot be reached: {reason}; is a Docker engine running there, and is host right?"
            self._over(endings.failed(self.job, {"kind": "engine", "message": text}))

    def tired(self, reason: str) -> None:
        self._drop()
        where = self.host.address.text
        if self._is_stopped:
            note = f"{where} does not end it: {reason}; its container may run on; `andthen prune` removes it"
            self._over(endings.cancelled(self.job, None, self._started, note))
        else:
            self._over(endings.tired(self.job, where, reason, self._started))

    def broke(self, error: Exception) -> None:
        self._drop()
        self._over(endings.broken(self.job, self.host.address.text, error, self._started))

    def _look(self) -> None:
        """Whether it has ended and its output is all there: then it is collected."""
        with self._lock:
            if self._phase != "running" or not self._has_ended or self._flow is not None or self._is_opening:
                return
            self._phase = "ending"
        self.host.submit(FINISH, self._finish, self)

    def _finish(self) -> None:
        with self._lock:
            ended = Ended(
                str(self.id), self._code, self._started, is_whole=self._is_whole, is_copied=self._is_copied,
                is_stopped=self._is_stopped, was_out=self._was_out,
            )  # fmt: skip
        try:
            report = collect(self.job, ended, self.host, self._shop, self.folder)
        except Gone as error:
            report = endings.lost(self.job, str(error), self._started)
        except Refused as error:
            report = endings.failed(self.job, error.error, self._started)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                # Its container keeps what it wrote until there is room.
                self._shop.pump.later(ROOM_S, lambda: self.host.submit(FINISH, self._finish, self))
                return
            what = f"docker: what it left cannot be taken: {error.filename or self.folder.path}: {error.strerror}"
            report = endings.failed(self.job, {"kind": "engine", "message": what}, self._started)
        self._over(report)

    def _over(self, report: Report) -> None:
        with self._lock:
            if self._phase == "over":
                return
            self._phase = "over"
        self._tell(self, report)

    # -- stopping it

    def stop(self, grace_s: float) -> None:
        """Asks it to end, and makes it after this time."""
        with self._lock:
            if self._phase == "over":
                return
            self._is_stopped = True
            self._has_grace = grace_s > 0
        if grace_s <= 0:
            self.host.submit(FINISH, lambda: self._signal("SIGKILL"), self)
            return
        self.host.submit(FINISH, lambda: self._signal("SIGTERM"), self)
        self._shop.pump.later(grace_s, self._force)

    def _force(self) -> None:
        self._has_grace = False
        self.host.submit(FINISH, lambda: self._signal("SIGKILL"), self)

    def _stop_as_told(self) -> None:
        """It may have been told while nobody knew whether it runs: then it was not sent a signal."""
        if self._must_stop():
            self.host.submit(FINISH, lambda: self._signal("SIGTERM" if self._has_grace else "SIGKILL"), self)

    def _must_stop(self) -> bool:
        """Whether it was told to; that may happen at any time."""
        return self._is_stopped

    def _signal(self, name: str) -> None:
        with self._lock:
            if self._phase != "running" or self._has_ended:
                return  # One that is not yet started looks for itself.
        self.host.calls.kill(self.id or "", name)

    def remove(self) -> None:
        """Takes its container away; called when its report is durable."""
        if self.id is not None:
            self.host.calls.remove(self.id)
