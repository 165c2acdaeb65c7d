"""Rules tried out in Python: a world of records at its own time, in which nothing is run.

    from then.testing import Trial, done, failed

    trial = Trial("shop.then", now="2026-01-05T10:00")
    trial.stub("pay", failed(kind="timeout").times(2), done(receipt="r1"))
    trial.post("order.placed", id=7, total=250.0)
    trial.advance("2h")
    trial.expect("notify", who="ops", times=1, by="pack")

The words are those of a `test` in a `.then` file. `then.analysis.trial` plays,
`then.analysis.verdicts` judges; pytest finds the tests of `.then` files by
`then.pytest_plugin`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from then.analysis import trial as trials
from then.analysis.verdicts import fitting, judge, unmet
from then.app.rules import Rules
from then.core import scenarios
from then.core.edition import FLOW_ENDED, Edition
from then.core.errors import BodyRefused, ConfigError, UnknownName
from then.core.rules import Join, Single, Unmatched
from then.core.scenarios import BEGIN_MIN_US, BEGIN_US, END_US, Expect
from then.core.state import RULE_FAILED
from then.core.tasks import Json, Outcome, Task, check_json, own_copy
from then.language.literals import duration_s

__all__ = ["Answer", "Trial", "cancelled", "check_tests", "done", "failed", "hangs", "timed_out"]

_DURATION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|w)", re.ASCII)


@attrs.frozen
class Answer:
    """How a stub answers an attempt; made by `done`, `failed`, `timed_out`, `cancelled`, `hangs`."""

    outcome: Outcome | None
    fields: Mapping[str, Json] = attrs.field(factory=dict)
    attempts: int | None = None
    """None: one, where another answer follows, else all."""

    def times(self, attempts: int) -> Answer:
        """The same for so many attempts."""
        if attempts < 1:
            raise ConfigError(f"an answer is given at least once, not {attempts} times")
        return attrs.evolve(self, attempts=attempts)


Reply: TypeAlias = Answer | Callable[[Task], Answer | Mapping[str, Json] | None]
"""An answer; or a function that gets the record of an attempt and gives one, or the fields of a result."""


def done(**result: Json) -> Answer:
    """It ends done, with this result."""
    return Answer("done", result)


def failed(**fields: Json) -> Answer:
    """It fails: `kind`, `message` and what is no field of its result are the error's."""
    return Answer("failed", fields)


def timed_out(**fields: Json) -> Answer:
    """It ends as `timed_out`."""
    return Answer("timed_out", fields)


def cancelled(**fields: Json) -> Answer:
    """It ends as `cancelled`."""
    return Answer("cancelled", fields)


def hangs() -> Answer:
    """It runs on."""
    return Answer(None)


class Trial:
    """One world, alone: what is posted here is seen by no other trial.

    Args:
        rules: loaded once for many trials; or a path, which is loaded for this one.
        now: when it begins, ISO 8601 (UTC where no zone is given) or a datetime with a zone; else 2026-01-01T00:00Z.

    Raises:
        RulesRefused: the file does not load.
    """

    def __init__(self, rules: Rules | str | os.PathLike[str], *, now: str | datetime | None = None) -> None:
        self._edition, root = _loaded(rules)
        self._trial = trials.Trial(self._edition, BEGIN_US if now is None else _moment_us(now), root=root)

    @property
    def now(self) -> datetime:
        """The time in it."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._trial.now_us)

    def post(self, type: str, body: Mapping[str, Json] | None = None, /, **more: Json) -> Task:
        """Posts a record; the rules come to rest before this returns. Gives the record as it was posted.

        Raises:
            BodyRefused: it is not as declared.
            Restless: rules bring forth more and more while no time passes.
        """
        given = own_copy({**(body or {}), **more})
        check_json(given, type)
        if type not in self._types():
            raise UnknownName("task or event", type, self._types())
        return self._trial.post(type, given)

    def stub(self, task: str, /, *replies: Reply) -> None:
        """What answers the attempts of a task from here on, those that run already included.

        Of a procedure: its calls that begin from here on. Their rules are not run then.

        Raises:
            UnknownName: there is no such task or procedure.
            BodyRefused: a result is not as declared.
        """
        rules = self._edition.rules
        if task not in rules.tasks and task not in rules.procedures:
            if task in self._types():
                raise ConfigError(f'"{task}" is no task: nothing runs it, so there is nothing to stub')
            kind = "task or procedure" if rules.procedures else "task"
            raise UnknownName(kind, task, (*rules.tasks, *rules.procedures))
        if not replies:
            raise ConfigError(
                f'stub("{task}") says how it ends: done(…), failed(…), timed_out(), cancelled() or hangs()'
            )
        self._trial.stub(task, [self._reply(task, reply) for reply in replies])

    def _reply(self, task: str, reply: Reply) -> tuple[trials.Reply, int | None]:
        if isinstance(reply, Answer):
            return self._answer(task, reply), reply.attempts
        # Asked for each attempt; the last of them for ever.
        return lambda record: self._answer(task, reply(record)), None

    def _answer(self, task: str, given: Answer | Mapping[str, Json] | None) -> scenarios.Answer:
        answer = given if isinstance(given, Answer) else done(**(given or {}))
        fields = own_copy(dict(answer.fields))
        check_json(fields, f"stub {task}")
        if answer.outcome == "done":
            wrong = self._edition.types.result(task, fields)
            if wrong is not None:
                path, _, reason = wrong.partition(": ")
                raise BodyRefused(f"stub {task} done", path, reason)
        return scenarios.Answer(answer.outcome, fields, answer.attempts)

    def advance(self, by: str | float | timedelta) -> None:
        """Lets time pass: `"2h"`, seconds, or a timedelta; whatever is due meanwhile happens at its time.

        Raises:
            Restless: too much is due.
        """
        by_us = _span_us(by)
        if by_us < 0 or self._trial.now_us + by_us >= END_US:
            raise ConfigError(f"advance({by!r}): time goes on, and a trial ends before the year 2200")
        self._trial.advance(by_us)

    # -- looking ---------------------------------------------------------------------

    def expect(
        self,
        type: str,
        fields: Mapping[str, Json] | None = None,
        /,
        *,
        times: int | None = None,
        by: str | None = None,
        **more: Json,
    ) -> list[Task]:
        """The records of that type that were emitted with these fields; posted ones are not counted.

        Args:
            fields: those whose names are words of this call, such as `by`.
            times: exactly so many; else at least one.
            by: the rule, or step of one, that emitted them.

        Raises:
            AssertionError: there are more or less; it says what came nearest.
            UnknownName: there is no such type, or no such rule.
        """
        __tracebackhide__ = True  # pytest shows the caller's line instead.
        if type not in self._types():
            raise UnknownName("task or event", type, self._types())
        self._check_rule(by)
        wanted = Expect(type, {**(fields or {}), **more}, times, by)
        failure = unmet(self._trial, wanted)
        if failure is not None:
            raise AssertionError(failure.text())
        return fitting(self._trial, wanted)

    def expect_no(
        self, type: str, fields: Mapping[str, Json] | None = None, /, *, by: str | None = None, **more: Json
    ) -> None:
        """None such was emitted.

        Raises:
            AssertionError: one was.
        """
        __tracebackhide__ = True
        self.expect(type, {**(fields or {}), **more}, times=0, by=by)

    def records(self, type: str | None = None) -> list[Task]:
        """All records, posted ones too, as they are now, in the order in which they came."""
        return [task for task in self._trial.records.values() if type is None or task.type == type]

    def running(self) -> list[Task]:
        """Tasks that have begun and that no stub has ended."""
        return self._trial.running()

    def outcome(self, record: Task) -> Outcome | None:
        """How the flow of a record ended; None while it is open."""
        found: list[Outcome] = [end.body["outcome"] for end in self._trial.ends if end.body["flow"] == record.flow]
        return found[-1] if found else None

    @property
    def notes(self) -> list[str]:
        """Rules that failed, and flows that a guard holds."""
        return list(self._trial.notes)

    def _types(self) -> dict[str, None]:
        rules = self._edition.rules
        named = (*rules.tasks, *rules.events, *rules.procedures, FLOW_ENDED, RULE_FAILED)
        waited = [rule.pattern.family for rule in rules.rules if isinstance(rule.trigger, Single | Unmatched | Join)]
        came = [task.type for task in self._trial.records.values()]
        return dict.fromkeys(name for name in (*named, *waited, *came) if not name.endswith("*"))

    def _check_rule(self, name: str | None) -> None:
        rules = self._edition.rules
        base = (name or "").partition("/")[0]
        named = (*rules.continuations, *rules.timers)
        if name is not None and rules.rule(base) is None and base not in named:
            raise UnknownName("rule", base, [*(rule.name for rule in rules.rules), *named])


def check_tests(rules: Rules | str | os.PathLike[str]) -> int:
    """Plays the `test` blocks of a file, folder or `Rules`; gives how many there are.

    Raises:
        AssertionError: with all that failed, each with its place.
        RulesRefused: the file does not load.
    """
    __tracebackhide__ = True
    edition, root = _loaded(rules)
    told = [
        f'test "{scenario.name}"\n' + "\n".join(failure.text() for failure in verdict.failures)
        for scenario in edition.rules.scenarios
        if not (verdict := judge(scenario, edition, root=root)).is_passed
    ]
    if told:
        raise AssertionError("\n\n".join(told))
    return len(edition.rules.scenarios)


def _loaded(rules: Rules | str | os.PathLike[str]) -> tuple[Edition, Path]:
    """Rules made ready, and the project's root, where their scripts are."""
    given = rules if isinstance(rules, Rules) else Rules().load(rules)
    return given.edition, given.root


def _moment_us(now: str | datetime) -> int:
    """Microseconds since 1970."""
    if isinstance(now, str):
        try:
            moment = datetime.fromisoformat(now)
        except ValueError:
            raise ConfigError(f'now="{now}" is no time; write it as 2026-01-05T10:00') from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    elif now.tzinfo is None:
        raise ConfigError(f"now={now!r} has no zone; give one, such as tzinfo=datetime.UTC")
    else:
        moment = now
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if not BEGIN_MIN_US <= us < END_US:
        raise ConfigError("a trial takes place between the years 1970 and 2200")
    return us


def _span_us(by: str | float | timedelta) -> int:
    if isinstance(by, timedelta):
        return by // timedelta(microseconds=1)
    if isinstance(by, str):
        if _DURATION.fullmatch(by) is None:
            raise ConfigError(f'advance("{by}") is no span of time; write it as 90s, 2h or 1.5d')
        return round(duration_s(by) * 1_000_000)
    return round(by * 1_000_000)
