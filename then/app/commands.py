"""What people change from outside: the commands that a socket or a shell brings to an engine.

Arguments and answers are JSON, so that the same command goes over the socket
of a running engine (`then.app.control`) and to one that was opened for it
(`then.app.desk`). When one returns, its fact is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from then.app.engine import Engine
from then.app.forks import fork_flow
from then.app.objects import breakpoint_object, record_object
from then.app.posting import body_of, check_type, result_of
from then.app.retention import Pruned, prune
from then.app.stops import wait_for_stop
from then.app.strays import sweep
from then.app.watching import watch_flows
from then.core.errors import ConfigError
from then.core.tasks import OUTCOMES, Body, Json

WAIT_MAX_S: Final = 60.0
"""One question waits so long: then it is asked again by those who are still there."""


class Commands:
    """The commands of one engine.

    Args:
        since: gives when the tasks that run were started, in microseconds, by id; null where that is not known.
    """

    def __init__(self, engine: Engine, since: Callable[[], dict[str, int | None]] = dict) -> None:
        self._engine = engine
        self._since = since

    def post(
        self, type: str, texts: dict[str, str], body: Body, key: str | None = None, flow: str | None = None
    ) -> Json:
        """Posts a record; gives its flow.

        Args:
            texts: fields to be read by their declared type; they go over those of `body`.
        """
        edition = self._engine.editions[self._version(flow)]
        check_type(edition.rules, type)
        posted = self._engine.post_record(type, body_of(edition, type, texts, body), key=key, flow=flow)
        return {"flow": posted.id}

    def complete(self, id: str, outcome: str, texts: dict[str, str], result: Body) -> Json:
        """Reports on a task that a person does; gives the record as it was before."""
        word = outcome.replace(" ", "_")
        if word not in OUTCOMES:
            raise ConfigError(f'"{outcome}" is no outcome; one of {", ".join(OUTCOMES)}')
        record, history = self._engine.history().record(id)
        edition = self._engine.editions[history.flow.version]
        given = result_of(edition, record.task.type, texts, result)
        return record_object(self._engine.complete(record.task.id, word, **given))  # type: ignore[arg-type]

    def cancel(self, id: str, only: bool = False) -> Json:
        """Ends a record and what descends from it; gives the ids."""
        return self._engine.cancel(id, only=only)

    def retry(self, id: str) -> Json:
        """New attempts of what failed; gives their records."""
        return [record_object(task) for task in self._engine.retry(id)]

    def go_on(
        self,
        id: str,
        texts: dict[str, str] | None = None,
        values: Body | None = None,
        result_texts: dict[str, str] | None = None,
        result_values: Body | None = None,
        who: str = "",
        rule: str | None = None,
        skips: bool = False,
    ) -> Json:
        """Continues a held record or flow, gives its id.

        Args:
            texts: fields of the body that change, to be read by their declared type; `values` are JSON already.
            result_texts: the same of the result.
            who: changes them.
            rule: it alone answers the record.
            skips: a task ends done with this result, in the place of a run.
        """
        record, history = self._engine.history().record(id)
        task, flow = record.task, history.flow
        body = result = None
        edition = self._engine.editions[flow.version]
        if texts or values:
            body = {**task.body, **body_of(edition, task.type, texts or {}, values or {})}
        if result_texts or result_values:
            changed = result_of(edition, task.type, result_texts or {}, result_values or {})
            result = {**(task.result or {}), **changed}
        # The root of a held flow stands for the flow.
        is_flow = flow.held is not None and task.id == flow.id and body is None and result is None and rule is None
        self._engine.release(flow.id if is_flow else task.id, body=body, result=result, who=who, rule=rule, skips=skips)
        return task.id

    def break_add(
        self,
        name: str,
        place: str,
        prints: str | None = None,
        flow: str | None = None,
        who: str = "",
        replaces: bool = False,
        debugger: str | None = None,
    ) -> Json:
        """Sets a breakpoint, perhaps in the place of one of its name; gives it.

        Args:
            debugger: as `attach` named it: the breakpoint goes when that leaves, or is killed.
        """
        if flow is not None:
            flow = self._engine.history().find(flow)[1]
        self._engine.breakpoints.add(name, place, prints=prints, flow=flow, who=who, replaces=replaces)
        if debugger is not None and not self._engine.debuggers.own(debugger, name):
            self._engine.breakpoints.remove(name)
            raise ConfigError(f"the debugger that set {name} has left")
        return self._breakpoint(name)

    def break_rm(self, name: str, release: bool = False) -> Json:
        """Takes a breakpoint away; gives its name, and what went on."""
        held = [id for id, hold in self._engine.breakpoints.held.items() if hold.breakpoint == name]
        self._engine.breakpoints.remove(name, release=release)
        return {"name": name, "released": held if release else []}

    def break_on(self, name: str) -> Json:
        """Switches a breakpoint on; gives it."""
        self._engine.breakpoints.enable(name)
        return self._breakpoint(name)

    def break_off(self, name: str) -> Json:
        """Switches a breakpoint off; gives it."""
        self._engine.breakpoints.disable(name)
        return self._breakpoint(name)

    def _breakpoint(self, name: str) -> Json:
        found = self._engine.breakpoints[name]
        return breakpoint_object(found.point, found.holds)

    def timer(self, name: str, what: str) -> Json:
        """Pauses a timer, takes it up again, or fires it now; gives it, and in `fired` the flow that it started."""
        if what not in ("pause", "resume", "fire"):
            raise ConfigError(f'"{what}" is nothing that is done to a timer; one of pause, resume, fire')
        fired = self._engine.set_timer(name, what)  # type: ignore[arg-type]
        return next(timer | {"fired": fired} for timer in self._engine.timers() if timer["name"] == name)

    def running(self) -> Json:
        """Since when the tasks that run do so, in microseconds, by id; null where an engine before started them."""
        return self._since()

    def prune(
        self, older_s: float | None = None, keep: int | None = None, flow: str | None = None, dry_run: bool = False
    ) -> Json:
        """Takes away flows that ended, and containers that are left; gives them."""
        gone: Pruned = prune(self._engine, older_s=older_s, keep=keep, flow=flow, dry_run=dry_run)
        strays, unreached = sweep(self._engine, dry_run=dry_run) if flow is None else ([], [])
        return {
            "flows": [one.id for one in gone.flows], "records": gone.records, "entries": gone.entries,
            "containers": strays, "unreached": unreached,
        }  # fmt: skip

    def _version(self, flow: str | None) -> str:
        return self._engine.loop.look(
            lambda state: state.flows[flow].version if flow is not None and flow in state.flows else state.version
        )


def wait(commands: Commands, flow: str, known: list[str], timeout_s: float) -> Json:
    """Waits until a flow stops, no longer than a minute; tells what is held in it, and whether it is over."""
    return wait_for_stop(commands._engine, flow, known, min(timeout_s, WAIT_MAX_S))  # noqa: SLF001 (one of them)


def watch(commands: Commands, flows: list[str], since: int | None, timeout_s: float) -> Json:
    """Waits until something happens to flows, no longer than a minute; tells how they stand, and what is held in any."""
    return watch_flows(commands._engine, flows, since, min(timeout_s, WAIT_MAX_S))  # noqa: SLF001 (one of them)


def fork(
    commands: Commands,
    flow: str,
    seq: int | None = None,
    real: bool = False,
    stubs: dict[str, Body] | None = None,
    who: str = "",
) -> Json:
    """Begins a flow as another was after an entry of the journal; gives its id. It is held."""
    return fork_flow(commands._engine, flow, seq, is_real=real, stubs=stubs, who=who)  # noqa: SLF001 (one of them)


def attach(commands: Commands) -> Json:
    """A debugger is here from now on, until the connection that it asks on ends (`then.app.control`)."""
    return None


OPS: Final[dict[str, Callable[..., Json]]] = {
    "post": Commands.post,
    "complete": Commands.complete,
    "cancel": Commands.cancel,
    "retry": Commands.retry,
    "continue": Commands.go_on,
    "fork": fork,
    "break_add": Commands.break_add,
    "break_rm": Commands.break_rm,
    "break_enable": Commands.break_on,
    "break_disable": Commands.break_off,
    "wait": wait,
    "watch": watch,
    "attach": attach,
    "timer": Commands.timer,
    "running": Commands.running,
    "prune": Commands.prune,
}
"""By the name that stands in a request."""
