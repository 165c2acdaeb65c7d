"""`Rules`: the ordered rules and declarations of a program, from Python and from files.

The model is `then.core.rules`; this is the hand that writes it. What rules wait
for is `then.app.listeners`, shared with procedures; what a generator yields is
`then.app.emissions`. Parsing is imported with the first `load`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from attrs import evolve

from then.app.breakpoints import PointOptions, place_of, point_of
from then.app.fields import fields_of
from then.app.generators import Consequence
from then.app.listeners import F, Listener
from then.app.parts import STRAYS, is_outcome, pattern_of
from then.app.places import caller
from then.app.policies import Said, with_policies
from then.app.procedures import Procedure, declare_procedure, finish
from then.app.timers import CatchUp, Overlap, Posting, cron, declare_timer, is_period, period
from then.app.versions import size_of, version_of
from then.core.edition import Edition
from then.core.errors import ConfigError, RuleError, UnknownName
from then.core.it import Expression, expression_of
from then.core.listening import Listening
from then.core.policies import Retry
from then.core.rules import (
    Called,
    EventDecl,
    Join,
    Match,
    ProcedureDecl,
    Rule,
    RuleSet,
    Run,
    SecretDecl,
    TaskDecl,
    Unmatched,
)
from then.core.schedule import DAYS
from then.core.source import Span
from then.core.spans import TimeSpan, span_us
from then.core.tasks import Json, Task, check_name
from then.language.findings import Finding
from then.language.walks import has_code


class Rules(Listener):
    """Ordered rules, and the tasks and events that they stand on.

    Rules from Python and from files are the same once they are here; their
    order is the order in which they were added.
    """

    def __init__(self) -> None:
        self.set = RuleSet()
        self.root: Path = Path()
        """The project's root: where processes run and imports are found."""
        self.path: Path | None = None
        """What was loaded, from the root, for a resume to load it again; `.` for the folder."""
        self.findings: tuple[Finding, ...] = ()
        """What was found in the files that were loaded, and keeps nothing from running."""
        self._edition: Edition | None = None
        self._edition_size = -1
        self._has_joins = False
        self.loaded_size = -1
        """How many rules and declarations one load gave, where nothing was here before it."""

    # -- declarations ---------------------------------------------------------

    def task(  # noqa: PLR0913 (each word of a task in `.then` is one here)
        self,
        name: str,
        *,
        run: Sequence[object] | None = None,
        once: bool = False,
        priority: int = 0,
        done_on: Sequence[int] = (0,),
        may_fail: bool = False,
        slots: int = 1,
        secrets: Mapping[str, str] | None = None,
        retry: int | Retry | None = None,
        retry_while: Expression | None = None,
        timeout: TimeSpan | None = None,
        deadline: TimeSpan | None = None,
        expires: TimeSpan | None = None,
        limit: int | tuple[int, Expression] | None = None,
        needs: Mapping[str, Json | Expression] | None = None,
        idempotent_by: Expression | None = None,
        finally_: Consequence | None = None,
        **options: object,
    ) -> Callable[[F], F]:
        """Declares a task; as a decorator, the function that runs it.

        Keyword arguments in (the body), a dict of JSON values or None out (the
        result). `async def` runs on an event loop, `def` in a thread. Spans of time are `"30s"`, seconds or a timedelta.

        Args:
            name: its type.
            run: `("process", ["make", it.target])`, the executor and its target, where no function runs it; `options` are the executor's (`env`, `cwd`, …).
            once: a crash in doubt ends it as failed, kind `unknown`; it is never run twice.
            priority: higher is taken first.
            done_on: exit codes that are done.
            may_fail: its failure does not fail the flow.
            slots: how many of the engine's slots it takes.
            secrets: keyword argument of the function, or variable of the process, and the name of the secret that it gets.
            retry: attempts after the first, or `then.retry(5, backoff="1s", to="1m", jitter=True)`.
            retry_while: a clause over the attempt that failed: `it.record.error.kind == "timeout"`.
            timeout: an attempt that takes longer ends as `timed_out`.
            deadline: from the creation of the first attempt; it ends then, and is not tried again.
            expires: from its creation; one that has not started by then ends as `timed_out`.
            limit: so many run at once; `(4, it.region)`: of each region.
            needs: amounts by resource: `{"cores": 2, "memory": "1GiB", "lock.db": "exclusive", "license": it.n}`.
            idempotent_by: the second record of the same key ends with the first's result.
            finally_: a generator function for its end, however it ended; gets the record, its inputs and its result.

        Raises:
            DuplicateRule: the name is taken.
            UnknownName: a secret is not declared; the executor, or an option of it, is misspelt.
            RuleError: a number or a span makes no sense where it stands.
        """
        check_name(name, "task")
        span = caller()
        if options:
            _check_options(name, run, options, span)
        line = None
        if run is not None:
            if not isinstance(run, tuple) or len(run) != 2:
                raise RuleError(f'task "{name}": run= is a pair: run=("process", ["make", it.target])', span)
            kind, target = run
            _check_kind(str(kind), span)
            line = Run(
                str(kind), expression_of(target), tuple((key, expression_of(value)) for key, value in options.items())
            )
        given = self._given_secrets(name, secrets or {}, line, span)
        said = Said(retry, retry_while, timeout, deadline, expires, limit, needs, idempotent_by)
        plain = TaskDecl(
            name, run=line, once=once, priority=priority, done_on=tuple(done_on), may_fail=may_fail, slots=slots,
            secrets=given, span=span,
        )  # fmt: skip
        task = with_policies(plain, said, span)

        def declare(function: Callable[..., Any] | None) -> None:
            self.set.declare(evolve(task, function=function))
            if finally_ is not None:
                finish(self.set, name, finally_, span)

        if line is not None:
            declare(None)

        def decorate(function: F) -> F:
            declare(function)
            return function

        return decorate

    def _given_secrets(
        self, name: str, secrets: Mapping[str, str], line: Run | None, span: Span | None
    ) -> tuple[tuple[str, str], ...]:
        for secret in secrets.values():
            if secret not in self.set.secrets:
                raise UnknownName("secret", secret, self.set.secrets, span)
        if secrets and line is not None and line.kind not in ("python", "process", "docker"):
            raise RuleError(f'task "{name}": run {line.kind} takes no secrets; python, process and docker do', span)
        return tuple(secrets.items())

    def event(self, name: str, /, **fields: object) -> None:
        """Declares an event; fields by Python type (`id=int`, `items=list[int]`) or the language's (`tag="str?"`)."""
        self.set.declare(EventDecl(check_name(name, "event"), fields_of(fields), span=caller()))

    def secret(self, name: str, /, **source: str) -> None:
        """Declares a secret: its name, and where its value is, as one keyword argument.

        `env="VARIABLE"`, `file="path"`, `command="program arguments"`, or a source that a plugin brings. The value is
        read at the start of a task that is given it, and not here.

        Raises:
            DuplicateRule: the name is taken.
            RuleError: not one source.
        """
        span = caller()
        if len(source) != 1:
            raise RuleError(
                f'secret "{name}" has {len(source)} sources; give one: env="VARIABLE", file="path" or command="…"', span
            )
        ((kind, reference),) = source.items()
        self.set.declare(SecretDecl(check_name(name, "secret"), kind, reference, span=span))

    def procedure(
        self,
        name: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        returns: Mapping[str, object] | None = None,
        deadline: TimeSpan | None = None,
        may_fail: bool = False,
        **more: object,
    ) -> Callable[[Consequence], Procedure]:
        """A procedure: the decorated generator function is its first step, and becomes what takes its other rules.

            @rules.procedure("approve", what=str, who=str, returns={"by": str, "ok": bool})
            def approve(what, who):
                yield then.emit("ask", who=who, text=f"approve {what}?").timeout("4h")

            @approve.when("ask", "done")
            def answered(ask):
                yield then.return_(by=ask.result["user"], ok=True)

        Args:
            name: its type; its rules are named `NAME.RULE`.
            inputs: its arguments, with their types as of `event`; those whose names are words of this call.
            more: likewise, by keyword. Where there are none at all, any arguments are taken.
            returns: what it hands back; a `return_` that lacks some of it fails the call.
            deadline: from the call on; what the call emits inherits it.
            may_fail: its failure does not fail the flow.

        Raises:
            DuplicateRule: the name is taken.
        """
        span = caller()
        given = {**(inputs or {}), **more}
        fields = fields_of(given) if given or inputs is not None else None
        result = None if returns is None else fields_of(returns)
        deadline_us = None if deadline is None else span_us(deadline, "deadline")

        def decorate(function: Consequence) -> Procedure:
            first = Rule(name, Called(name), generator=function)
            declared = ProcedureDecl(name, fields, result, first, (), deadline_us, may_fail, span=span)
            return declare_procedure(self.set, declared, function, span)

        return decorate

    # -- rules ------------------------------------------------------------------

    def every(  # noqa: PLR0913 (as in the language, the word begins a timer or a set)
        self,
        what: TimeSpan,
        /,
        *more: object,
        name: str | None = None,
        final: bool = False,
        otherwise: Consequence | None = None,
        at: str | None = None,
        zone: str = "UTC",
        body: Mapping[str, Json] | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp = "once",
    ) -> Callable[[F], F]:
        """Either a timer, `rules.every("15m", "scan")`, or a rule for a whole set, `@rules.every("do", "done")`.

        A rule for a set fires when all records of a pattern that the flow emitted have ended so, at once where
        `then.each` had none. A timer posts a record again and again, the root of a flow of its own.

        Args:
            what: of a timer, its period (`"15m"`, seconds, a timedelta) or its days (`day`, `weekday`, `monday`, …); of
                a set, a type.
            more: of a timer, the task or event that it posts; of a set, outcome words, then clauses: those that they
                leave out do not count.
            name, final: of a rule.
            otherwise: of a rule: a generator function for the first of the set that ends otherwise.
            at: the time of those days, `"06:30"`; else midnight.
            zone: of the IANA database, for days.
            body: what the timer posts, JSON values; `it.today` and `it.now` are the time that it is due.
            overlap: what becomes of a time that is due while the flow of the last one lives.
            catch_up: what becomes of the times that were due while no engine ran.

        Raises:
            RuleError: there is no such schedule; or the pattern is none.
        """
        span = caller()
        has_days = isinstance(what, str) and what in DAYS and (at is not None or not is_outcome(more[:1]))
        if is_period(what) or has_days:
            if len(more) != 1 or not isinstance(more[0], str):
                raise RuleError(f'every({what!r}, …) posts one task or event: rules.every("15m", "scan")', span)
            posting = Posting(more[0], body, overlap, catch_up)
            declare_timer(self.set, period(what, at, zone, span), posting, span)
            return _no_function(f'every({what!r}, "{more[0]}")')
        if body is not None or at is not None:
            raise RuleError(f"every({what!r}, …) waits for a set; `at` and `body` belong to a timer", span)
        return self._every(str(what), more, name, final, otherwise)

    def cron(
        self,
        expression: str,
        type: str,
        /,
        *,
        zone: str = "UTC",
        body: Mapping[str, Json] | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp = "once",
    ) -> None:
        """A timer by a cron expression of five fields: `rules.cron("0 3 * * *", "vacuum", zone="Europe/Rome")`.

        Other arguments as of `every`.

        Raises:
            ScheduleRefused: the expression is none, or never comes.
            UnknownName: there is no such zone.
        """
        span = caller()
        declare_timer(self.set, cron(expression, zone, span), Posting(type, body, overlap, catch_up), span)

    def breakpoint(  # noqa: PLR0913 (each word of a breakpoint in `.then` is one here)
        self,
        name: str,
        /,
        *,
        before: str | None = None,
        after: str | Sequence[str] | None = None,
        on_rule: str | None = None,
        on_step: str | Sequence[str] | None = None,
        where: Expression | Callable[[Task], bool] | None = None,
        from_hit: int = 1,
        once: bool = False,
        expires: TimeSpan | None = None,
        show: Sequence[str] = (),
        prints: str | None = None,
    ) -> None:
        """A breakpoint: what it meets is held until somebody continues it; nothing else stops.

        Args:
            before: a task, procedure, family (`deploy.*`) or `any`: held before its start.
            after: the same: held when it has ended, before anything sees it; outcome words may follow it:
                `("pay", "failed", "timed out")`.
            on_rule: a rule, or a step of its chain (`pack/2`): what would make it fire is held.
            on_step: a task that runs a script, perhaps with a line of that, `("fan", "fan.py:7")`: held before the step.
            where: a clause over the record; where it cannot be said it does not stop, and is counted.
            from_hit: the first hit that stops.
            once: it switches itself off when it stops.
            expires: so long after its setting it stops nothing more.
            show: what a person is shown at the stop, in the language: `"p.receipt"`.
            prints: never stops, and prints this text of the language, in which `{field}` is replaced: a logpoint.

        Raises:
            RuleError: none of the places is given or several are, or one is not right.
        """
        span = caller()
        options = PointOptions(from_hit, once, expires, tuple(show), prints)
        self.set.stop_at(
            point_of(self.set, name, place_of(before, after, on_rule, on_step, span), where, options, span)
        )

    def unmatched(self, family: str = "*", /, *parts: object, name: str | None = None) -> Callable[[F], F]:
        """A rule for records on which no other fired: events, and tasks that ended otherwise than done."""
        span = caller()
        return self._decorator(Unmatched(pattern_of(family, parts, span, STRAYS)), name, False, span)

    def continuation(self, function: F) -> F:
        """Registers a function as a return address of `emit(…, then=function)`; its name is the address."""
        name = function.__name__
        if name in self.set.continuations:
            raise RuleError(f'continuation "{name}" is there twice; a return address names one function')
        self.set.continuations[name] = function
        function.__then_continuation__ = name  # type: ignore[attr-defined]
        return function

    def add(self, rule: Rule) -> None:
        """Appends a rule that was made as data."""
        self.set.add(rule)

    def load(self, path: str | os.PathLike[str]) -> Rules:
        """Appends what a file or folder says: `.then`, YAML with the key `rules`, `.py` that defines `rules`.

        Raises:
            RulesRefused: with all errors, each with its place.
        """
        from then.app.loading import load_into

        was_whole = self.path is None and self.size == 0
        load_into(self, Path(path))
        self.loaded_size = self.size if was_whole else -1
        return self

    @property
    def is_one_load(self) -> bool:
        """Whether loading `path` again gives all that is here: nothing came from a program beside it."""
        return self.size == self.loaded_size

    @property
    def size(self) -> int:
        """How many rules and declarations are here."""
        return size_of(self.set)

    # -- asking -------------------------------------------------------------------

    def match(self, task: Task) -> tuple[Match, ...]:
        """The rules that fire on a record, in order; pure.

        Shape (k,): up to the first `final` rule; where none fires, the `unmatched` ones. A rule that waits for several
        records does not fire on one, so it is not among them, nor are those of procedures.

        Cost: does not grow with the number of rules, but with the fields they ask for and with k.
        """
        edition = self._edition
        if edition is None or self._edition_size != len(self.set.rules):
            edition = self.edition
        found = edition.index.match(task) or edition.index.match_unmatched(task)
        if self._has_joins:
            return tuple(match for match in found if type(match.rule) is not Listening)
        return found

    @property
    def edition(self) -> Edition:
        """These rules made ready, under the name of their version; made anew after a change."""
        size = len(self.set.rules)
        if self._edition is None or self._edition_size != size or self._edition.version != self.version:
            self._edition = Edition(self.version, self.set)
            self._edition_size = size
            self._has_joins = any(isinstance(rule.trigger, Join) for rule in self.set.rules)
        return self._edition

    @property
    def version(self) -> str:
        """A hash of all that decides: texts of files, names and sources of what is Python. 16 hexadecimal digits."""
        return version_of(self.set)

    def _take(self, rule: Rule) -> None:
        self.set.add(rule)


_SLIP: Final = 0.83
"""Two letters changed places in `docker`; `rocket` is not as like it."""


def _check_kind(kind: str, span: Span | None) -> None:
    """Refuses a misspelt executor. One that is not very like one of the language's may be somebody's own."""
    import difflib

    from then.language.executors import KINDS

    if kind not in KINDS and difflib.get_close_matches(kind.lower(), KINDS, cutoff=_SLIP):
        raise UnknownName("executor", kind, KINDS, span)


def _check_options(task: str, run: object, options: Mapping[str, object], span: Span | None) -> None:
    """Refuses a misspelt option: of a `run` that the language knows it would be left aside, as of one it does not it may be meant."""
    from then.language.executors import KINDS

    own = Rules.task.__kwdefaults__ or {}
    kind = KINDS.get(str(run[0])) if isinstance(run, tuple) and run else None
    for option in options:
        if kind is not None and option not in kind.options:
            raise UnknownName("option of a task", option, [*kind.options, *own], span)
        if run is None and not any(option in each.options for each in KINDS.values()):
            raise UnknownName("option of a task", option, own, span)
    if run is None:
        raise RuleError(f'task "{task}": {", ".join(options)} without run=(…)', span)


def _no_function(what: str) -> Callable[[F], F]:
    def refuse(function: F) -> F:
        raise RuleError(
            f"{what} is a timer, which posts a record and takes no function; @rules.task gives what it posts one"
        )

    return refuse


def make_ready(found: object) -> None:
    """Of `Rules`, for an engine: the type `Docker` is declared where their functions or scripts start containers.

    Raises:
        ConfigError: it is something else; a path says how it is loaded.
    """
    if isinstance(found, Rules):
        if has_code(found.set):
            from then.app.script_files import declare_containers

            declare_containers(found.set, found.root)
        return
    if isinstance(found, str | os.PathLike):
        path = os.fspath(found)
        raise ConfigError(f"rules: {path!r} is a path, and an engine takes rules: give then.Rules().load({path!r})")
    shown = found.__name__ if isinstance(found, type | ModuleType) else type(found).__name__
    kind = "the class" if isinstance(found, type) else "the module" if isinstance(found, ModuleType) else "of type"
    raise ConfigError(
        f"rules: what is given is {kind} {shown}, and an engine takes rules: give then.Rules(), "
        "or those of a file or folder by then.Rules().load(PATH)"
    )
