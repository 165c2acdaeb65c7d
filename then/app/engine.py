"""`Engine`: rules, a journal and executors put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self

from then.abc import Journal
from then.alarm import SystemClock
from then.analysis.history import History, chain_of, descendants
from then.app.attaching import Workplace, executor_of
from then.app.breakpoints import Breakpoints, breakpoint_of
from then.app.debuggers import Debuggers
from then.app.editions import Editions
from then.app.flows import Flow
from then.app.machine import capacity_of
from then.app.placed import TemporaryFolder
from then.app.rules import Rules, make_ready
from then.app.secrets import Secrets, readable_by_others
from then.app.waits import Waits
from then.committer import Committer
from then.core.causes import Adopt, Cancel, Move, Post, Proceed, Release, Report, Retry
from then.core.claims import constant_claim
from then.core.errors import BodyRefused, ConfigError, ExecutorError, ThenError
from then.core.folds import restore
from then.core.guards import Guards, guards_of
from then.core.state import FAILURES
from then.core.tasks import OUTCOMES, Body, Json, Outcome, Task, check_json, check_name, own_copy
from then.executors.coroutines import Coroutines
from then.loop import Loop

Durability = Literal["power", "process"]

RETENTION_S: Final = 30 * 86400.0
"""Flows that ended longer ago are taken out of the state: a month is what people look back for."""


class Opening(NamedTuple):
    """How an engine is opened for a command."""

    moves: bool = False
    """Open flows go on under these rules, not under those that they were started with."""
    is_desk: bool = False
    """It takes facts in and starts nothing: what it brings about is for a later engine to go on with."""
    may_be_bare: bool = False
    """A state in which no rules ever were in force is opened without any."""
    watch: Callable[[Loop], None] | None = None
    """Called before anything moves: whoever attaches itself there sees all that happens."""


USUAL: Final = Opening()


class _Closable(Protocol):
    def close(self) -> None: ...


_KINDS: Final = {"failed": "exit", "timed_out": "timeout", "cancelled": "cancelled"}
"""The `error.kind` of a person's report that gives none."""


class Engine(Waits):
    """Rules at work on a journal.

    Args:
        rules: what follows what; None: those last in force in the state.
        state: the state folder, made where it is missing; None keeps all in memory.
        durability: `power` survives loss of power, `process` a kill.
        slots: how many tasks run at once; None: the cores.
        resources: named tokens for `needs {NAME: n}`, with their counts, beside the cores and the memory of the
            machine; `cores` and `memory` (bytes) may be named to give less, or more.
        coroutines: where `async def` tasks run; None: an event loop in a thread of the engine.
        retention_s: flows that ended longer ago, in seconds, are taken out of a state folder; None: never.
        docker_allows: what containers may ask for beside the usual: `mount=/data`, `network=host`, `privileged`, …
        guards: what holds a flow whose rules go on and on, where it is to be other than usual: `flow_records`,
            `idle_events`, `call_depth`, `emissions` (`then.core.guards.Guards`).
        opening: what the commands of `andthen` ask for besides.

    Raises:
        ConfigError: no rules are given, and the state has none; or something else is given for them.
        JournalLocked: another engine has the state.
        JournalError: it cannot be opened.
    """

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        rules: Rules | None,
        state: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "power",
        slots: int | None = None,
        resources: Mapping[str, float] | None = None,
        coroutines: Coroutines | None = None,
        retention_s: float | None = RETENTION_S,
        docker_allows: Iterable[str] = (),
        guards: Mapping[str, int] | None = None,
        opening: Opening = USUAL,
    ) -> None:
        if rules is not None:
            make_ready(rules)
        self._coroutines = coroutines
        self._durability = durability
        self._docker_allows = tuple(docker_allows)
        self._is_desk = opening.is_desk
        self.notices: list[str] = []
        """What its opener should be told: flows that go on under other rules than they began with."""
        self.tell_person: Callable[[str], None] = self.notices.append
        """Takes what comes up while it works: a Docker engine that is away, and that is there again."""
        self.folder = Path(state) if state is not None else None
        self.clock = SystemClock()
        self.capacity = capacity_of(slots or os.cpu_count() or 1, resources or {})
        guarded = guards_of(guards or {})
        self.secrets = Secrets(Path(), self.clock)
        if rules is not None:
            self._check_needs(rules)  # Before a state folder is made.
        self.journal = open_journal(self.folder, durability)
        self._temporary: TemporaryFolder | None = None
        self.debuggers = Debuggers()
        self._control: _Closable | None = None
        self._is_closed, self._pid = False, os.getpid()
        try:
            self.editions = Editions(self.journal)
            self._loop = self._restored(guarded)
            is_bare = rules is None and opening.may_be_bare and not self.loop.state.version
            loaded = Rules() if is_bare else rules
            self.rules = loaded if loaded is not None else self.editions.load(self.loop.state.version)
            self.secrets.root = self.rules.root.resolve()
            self.loop.committer = Committer(self.loop)
            if opening.watch is not None:
                opening.watch(self.loop)
            if opening.is_desk:
                self.loop.drain()
            if is_bare:
                self.editions[""] = self.rules.edition
            else:
                self._adopt(self.rules)
            self._settle_flows(opening.moves)
            self._take_up()
            self._control = self._listen(retention_s)
        except BaseException:
            self._give_up()
            raise

    def _restored(self, guarded: Guards) -> Loop:
        """What drives the core, on the state that the journal tells."""
        restored = restore(self.journal.cells, lambda after: (entry.data for entry in self.journal.read(after)))
        return Loop(
            self.journal,
            restored,
            self.editions,
            clock=self.clock,
            slots=self.capacity.slots,
            engine=self.editions.engine_number(),
            capacity=self.capacity,
            breakpoint_of=breakpoint_of,
            guards=guarded,
        )

    @property
    def loop(self) -> Loop:
        """What drives the core.

        Raises:
            ExecutorError: this process is a fork of the one that opened the engine.
        """
        if os.getpid() != self._pid:
            raise ExecutorError("this engine was opened by another process; a fork cannot use it: open one of its own")
        return self._loop

    # -- what people do ---------------------------------------------------------

    def run(self, type: str, /, **body: Json) -> Flow:
        """Posts a record and waits for its flow: until it ended, or all that lives is held.

        Raises nothing for a flow that failed; `flow.check()` does.
        """
        return self.post(type, **body).wait()

    def post(self, type: str, /, **body: Json) -> Flow:
        """Posts a record; it is durable when this returns.

        One of a type that nothing declares is an event; where it is nearly called like a declared one, with a warning.
        """
        known = self.rules.set
        if not (type in known.tasks or type in known.events or type in known.procedures):
            from then.app.posting import warn_of_stranger

            warn_of_stranger(known, type)
        return self.post_record(type, body)

    def post_record(self, type: str, body: Body, *, key: str | None = None, flow: str | None = None) -> Flow:
        """Posts a record.

        Args:
            key: the same key twice is the same record: the second gives the first's flow.
            flow: an open flow that it joins.

        Raises:
            BodyRefused: the body is no JSON, or not as declared.
            ConfigError: the key stands for another body; the flow is not open.
        """
        check_name(type)
        check_json(body, type)
        task = self.loop.ask(Post(type, self._recorded(body), key, flow))
        assert task is not None
        return Flow(self, task.flow)

    def complete(self, id: str, outcome: Outcome = "done", /, **result: Json) -> Task:
        """Reports on a task that nothing here runs: a person's answer.

        Raises:
            UnknownId: no record begins so.
            ConfigError: an executor runs it.
            BodyRefused: the result of what is done is not as declared.
        """
        if outcome not in OUTCOMES:
            raise ConfigError(f'"{outcome}" is no outcome; one of {", ".join(OUTCOMES)}')
        check_json(result, "result")
        full, flow = self.history().find(id)
        history = self.history().flow(flow)
        task = history.records[full].task
        if task.outcome is None and self.kind_of(task) is not None:
            raise ConfigError(
                f'{task.type} ({full}) is run by "{self.kind_of(task)}"; only `andthen cancel` ends it from outside'
            )
        if outcome == "done" and task.outcome is None:
            fault = self.editions[history.flow.version].types.result(task.type, result)
            if fault is not None:  # A slip of the pen: the record waits on for a report that is as declared.
                path, _, reason = fault.partition(": ")
                raise BodyRefused(task.type, path, reason)
        result = self._recorded(result)
        error: Body | None = None if outcome == "done" else {"kind": _KINDS[outcome], **result}
        now = self.clock.now_us()
        self.loop.ask(Report(full, outcome, result, error, task.started, now, flow, "person"))
        return task

    def _recorded(self, body: Body) -> Body:
        """A body as it may be written down: a copy of its own, without the values of secrets."""
        mask = self.secrets.mask
        recorded: Body = own_copy(body) if mask.is_empty else mask.tree(own_copy(body))
        return recorded

    def cancel(self, id: str | Flow, *, only: bool = False) -> list[str]:
        """Ends a record and what descends from it; of an event, a root or a flow: all that lives of the flow. Gives the ids.

        Args:
            id: of a record, or a beginning of one; or a flow, as `post` gave it.
            only: the record alone.
        """
        history = self.history()
        full, flow_id = history.find(id.id if isinstance(id, Flow) else id)
        flow = history.flow(flow_id)
        task = flow.records[full].task
        if flow.flow.outcome is not None:
            return []
        is_whole = not only and (full == flow_id or task.event)
        if is_whole:
            ids = [
                record.task.id for record in flow.records.values() if record.task.outcome is None or record.task.is_held
            ]
            self.loop.ask(Cancel(tuple(ids), flow_id))
        else:
            ids = [full] if only else descendants(flow, full)
            self.loop.ask(Cancel(tuple(ids)))
        return ids

    def retry(self, id: str) -> list[Task]:
        """A new attempt of a settled failure; of a flow: of every failure that nothing took up.

        Raises:
            UnknownId: no record begins so.
            ConfigError: it did not fail, or has been tried again already.
        """
        history = self.history()
        full, flow_id = history.find(id)
        flow = history.flow(flow_id)
        record = flow.records[full]
        failed = [full] if record.task.outcome in FAILURES else []
        if not failed and full == flow_id:
            failed = [
                id for id in flow.flow.untaken if id in flow.records and flow.records[id].task.outcome in FAILURES
            ]
        if not failed:
            raise ConfigError(
                f"{record.task.type} ({full}) is {record.task.outcome or record.task.state}; what failed can be tried again"
            )
        return [self._retry(one) for one in failed]

    def _retry(self, id: str) -> Task:
        """Asks until what was read of the flow is what the engine found when it stepped."""
        while True:
            record, flow = self.history().record(id)
            later = next((one.task for one in flow.records.values() if _is_later_attempt(one.task, record.task)), None)
            if later is not None:
                raise ConfigError(
                    f"{record.task.type} ({id}) was tried again as {later.id}, which is {later.outcome or later.state}; "
                    "the last attempt is what can be tried again"
                )
            past = flow.flow if flow.flow.outcome is not None else None
            task = self.loop.ask(Retry(record.task, past, chain_of(record, flow)))
            if task is not None:
                return task

    @property
    def breakpoints(self) -> Breakpoints:
        """The breakpoints that are set, to be added to and taken away."""
        return Breakpoints(self.loop, self.editions, self.rules.root)

    def release(
        self,
        id: str | Task | Flow,
        *,
        body: Body | None = None,
        result: Body | None = None,
        who: str = "",
        rule: str | None = None,
        skips: bool = False,
    ) -> None:
        """Continues a held record; of a flow: what a guard holds, or else all that breakpoints hold.

        Args:
            id: a record, a flow, or the id of one.
            body: what the record goes on with in the place of its body; what it was stays in the journal.
            result: the same of the result of a record that has ended.
            who: changes it.
            rule: this rule alone answers a record that has ended, as if it were for it.
            skips: a task that would start is not started: it ends done, with `result`.

        Raises:
            ConfigError: it is not held, or there is no such rule for it.
            BodyRefused: the body is no JSON, or not as declared.
        """
        for changed, what in ((body, "body"), (result, "result")):
            if changed is not None:
                check_json(changed, what)
        body, result = (None if one is None else self._recorded(one) for one in (body, result))
        self.loop.ask(Release(id if isinstance(id, str) else id.id, body, result, who, rule, skips))

    def reload(self, rules: Rules) -> None:
        """These rules for new flows from here on; open flows keep theirs."""
        make_ready(rules)
        self._adopt(rules)
        self.rules = rules

    def flow(self, id: str) -> Flow:
        """A handle on a flow."""
        return Flow(self, id)

    def history(self) -> History:
        """A reader over what is durable now."""
        return History(self.loop.journal)

    def kind_of(self, task: Task) -> str | None:
        """The executor that a record's type runs on."""
        version = self.loop.look(
            lambda state: state.flows[task.flow].version if task.flow in state.flows else state.version
        )
        flow = self.loop.look(lambda state: state.flows.get(task.flow))
        return None if flow is not None and flow.is_stubbed else self.editions[str(version)].kind_of(task.type)

    # -- opening and closing -------------------------------------------------------

    def _check_needs(self, rules: Rules) -> None:
        """What can never be met is refused at once, and not waited for."""
        for declared in rules.set.tasks.values():
            if (declared.needs or declared.limit is not None) and not self._is_desk:
                constant_claim(declared, self.capacity)

    def _adopt(self, rules: Rules) -> None:
        """Makes the rules those of new flows, and attaches the executors that they ask for."""
        edition = rules.edition
        self._check_needs(rules)
        self.editions.add(edition, rules, self.loop.note)
        self._attach_all(rules)
        self.notices += readable_by_others(rules.set.secrets.values(), self.secrets.root)
        if self.loop.look(lambda state: state.version) != edition.version:
            self.loop.ask(Adopt(edition.version))

    def _settle_flows(self, moves: bool) -> None:
        """Open flows go on under the rules they began with, as far as those are still what they were."""
        versions: dict[str, list[str]] = {}
        current = self.rules.edition.version
        for id, version in self.loop.state.flows.versions():
            if version != current:
                versions.setdefault(version, []).append(id)
        for version, flows in versions.items():
            rules = self.rules if moves else self._load_for(version, flows)
            now = rules.edition.version
            if not moves:
                self.editions.add(rules.edition, rules, self.loop.note)
                self._attach_all(rules)
            if now == version:
                continue
            *others, last = flows
            self.loop.give(*[Move(id, now) for id in others])
            self.loop.ask(Move(last, now))  # With it, those before it are durable.
            shown = ", ".join(flows[:5]) + (f" and {len(flows) - 5} more" if len(flows) > 5 else "")
            why = "" if moves else "Python rules have changed: "
            self.notices.append(f"{why}{'flow' if len(flows) == 1 else 'flows'} {shown} moved to rules version {now}")

    def _load_for(self, version: str, flows: list[str]) -> Rules:
        kept = self.editions.kept(version)
        if kept is not None and kept.path is None and self.rules.path is None:
            return self.rules  # Both were written in a program, which has changed meanwhile.
        try:
            return self.editions.load(version)
        except ThenError as error:
            raise ConfigError(
                f"flow {flows[0]} stands under rules that do not load: {error}; `andthen resume PATH` moves it to the rules at PATH"
            ) from error

    def _attach_for(self, version: str) -> None:
        """Attaches the executors that rules of before ask for."""
        if version != self.rules.edition.version:
            rules = self._load_for(version, [version])
            self.editions.add(rules.edition, rules, self.loop.note)
            self._attach_all(rules)

    def _attach_all(self, rules: Rules) -> None:
        for kind in {rules.edition.kind_of(name) for name in rules.set.tasks}:
            # At a desk nothing is started; but a process that an engine left may be stopped, or have ended.
            if kind is not None and (kind in ("process", "docker") or not self._is_desk):
                self._attach(kind, rules.root)

    def _attach(self, kind: str, root: Path) -> None:
        if kind in self.loop.executors:
            return
        at = Workplace(
            self.loop, self.clock, self.secrets, self._task_folder, self.folder is not None, self._durability == "power",
            self._coroutines, self._docker_allows, lambda text: self.tell_person(text),  # noqa: PLW0108 (who is told is known later)
        )  # fmt: skip
        executor = executor_of(kind, root, at)
        if executor is not None:
            self.loop.attach(kind, executor)

    def _task_folder(self) -> Path:
        if self.folder is not None:
            return self.folder
        if self._temporary is None:
            self._temporary = TemporaryFolder()
        return self._temporary.path

    def _take_up(self) -> None:
        """Goes on with what an engine before left: open flows, and what still runs outside."""
        self.loop.recover(starts=not self._is_desk)
        self.loop.give(Proceed())

    def _listen(self, retention_s: float | None) -> _Closable | None:
        """Where there is a state folder, commands reach a running engine by a socket in it."""
        if self.folder is None or self._is_desk:
            return None
        from then.app.control import Control

        return Control(self, self.folder, retention_s=retention_s)

    def _give_up(self) -> None:
        """It could not be opened: nothing of it stays."""
        loop: Loop | None = getattr(self, "_loop", None)
        if loop is not None and loop.committer is not None:
            loop.committer.close()
        for executor in loop.executors.values() if loop is not None else ():
            executor.close(wait=False)
        self.journal.close()

    def close(self, *, wait: bool = True) -> None:
        """Takes up nothing more, waits for functions that run, leaves processes to their keeper, closes the journal.

        Twice is well.
        """
        if self._is_closed or os.getpid() != self._pid:
            return
        self._is_closed = True
        if self._control is not None:
            self._control.close()
        try:
            self.loop.drain()
            for executor in self.loop.executors.values():
                executor.close(wait=wait)
            self.loop.close()
        finally:
            self.journal.close()
            if self._temporary is not None:
                self._temporary.clean_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_journal(folder: Path | None, durability: Durability) -> Journal:
    """The journal of a state folder; in memory where there is none."""
    if folder is None:
        from then.journals.memory import open_memory

        return open_memory()
    from then.app.placed import Placed
    from then.journals.sqlite import open_sqlite

    return Placed(open_sqlite(folder, durability=durability), folder)


def _is_later_attempt(task: Task, of: Task) -> bool:
    return task.attempt > of.attempt and task.key == of.key
