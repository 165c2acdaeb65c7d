"""One run of a script: counts its steps, answers those that are recorded, and asks for the rest.

Theory of operation. A script is run from its begin each time: at first, after a
crash, and when what it waited for has come while it held no thread. Each step
that is recorded is answered with what was recorded, as long as the script asks
the same; with the first that is not, it goes on for real. Where it asks
something else it is not the script that took those steps, and its run ends
there (`ScriptDiffers`).

1. A step is asked for once; its answer, good or bad, is the same in every run.
2. A run that is over does nothing more: whatever it asks for raises `Unwound` again. So what `finally`
   and `except` of the script do while it is taken off its thread reaches nobody.
3. `Unwound` is no `Exception`: a script does not catch it unawares.

What asks is given: the executor's threads (`then.executors.script_threads`), or a test (`then.scripts.trying`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Literal, NamedTuple, TypeAlias

from then.core.causes import Ask, Told
from then.core.errors import RuleError, ThenError
from then.core.regex import is_unicode
from then.core.scripts import Recorded
from then.core.tasks import Body, Json, Task

AskFor: TypeAlias = Callable[[Ask | None, int], Told]
"""Asks for a step and gives its answer; None: it was asked for in an earlier run, and is waited for."""


class Unwound(BaseException):
    """This run of the script is over: it is taken off its thread, or was ended."""


class TaskFailed(ThenError):
    """What a script waited for ended otherwise than done; `record` is how, `records` is all that was waited for."""

    number = "T700"

    def __init__(self, record: Task, records: Sequence[Task] = ()) -> None:
        super().__init__(record.id)
        self.record = record
        self.records = tuple(records) or (record,)

    def text(self) -> str:
        error = self.record.error or {}
        why = error.get("message") or error.get("kind") or ""
        return f"{self.record.type} ({self.record.id}) {self.record.outcome}{f': {why}' if why else ''}"


class ScriptDiffers(RuleError):
    """A script, run again, asked something else than is recorded of it."""

    number = "T121"

    def __init__(self, n: int, now: str, place: str, what: str, recorded_at: str) -> None:
        super().__init__(
            f"{place}: step {n + 1} is `{now}`, and `{what}` ({recorded_at}) is recorded; the script was changed, or does "
            "not do the same each time: put it back and `andthen retry` it, or start it anew"
        )


class CannotLoad(RuleError):
    """A script asked for a flow variable that nothing has saved."""

    number = "T122"


class StepRefused(RuleError):
    """A step of a script was refused: its body is not as declared."""

    number = "T123"


class Answer(NamedTuple):
    """What a step came to."""

    value: Json
    records: tuple[Task, ...] = ()


class Play:
    """One run of a script.

    Args:
        task: the script's.
        recorded: what earlier runs did; None: nothing.
        ask: how the rest is asked for.
        draw: chance, 0 <= draw() < 1.
        clock_us: the time, in microseconds since 1970.
        file: of the script, as it is shown in places.
    """

    def __init__(
        self,
        task: Task,
        recorded: Recorded | None,
        ask: AskFor,
        draw: Callable[[], float],
        clock_us: Callable[[], int],
        file: str,
    ) -> None:
        self.task = task
        self.draw = draw
        self.clock_us = clock_us
        self.file = file
        self.path = ""
        """Where the file is."""
        self.started: dict[str, list[str]] = {}
        """By name, what was started: ids of first attempts, in order."""
        self.order: list[str] = []
        """The same, all of it."""
        self.labels: dict[str, str] = {}
        """By id, how steps name what was started."""
        self.write: Callable[[str], object] = _to_nobody
        """Where what it prints goes."""
        self.write_error: Callable[[str], object] = _to_nobody
        """And what it prints to standard error."""
        self.is_over = False
        self.is_unwound = False
        """It was taken off its thread: how it ends is no end of its task."""
        self.differs: ScriptDiffers | None = None
        self._n = 0
        self._steps = recorded.steps() if recorded is not None else []
        self._open = recorded.open if recorded is not None else None
        self._recorded = recorded
        self._records: dict[str, Task] | None = None
        self._ask = ask

    @property
    def is_replaying(self) -> bool:
        """Whether what it does now was done before: its output is not written again."""
        return self._n < len(self._steps) or self._open is not None

    def step(
        self,
        kind: Literal["run", "call", "emit", "save", "load", "wait", "say"],
        what: str,
        type: str = "",
        body: Body | None = None,
        value: Json = None,
        ids: Sequence[str] = (),
        is_any: bool = False,
        timeout_us: int | None = None,
    ) -> Answer:
        """Takes a step.

        Raises:
            Unwound: this run is over.
            ScriptDiffers: another step is recorded.
            StepRefused: it was refused. CannotLoad, where it loads.
        """
        if self.is_over:
            raise Unwound
        if not is_unicode(what + type):
            # Asked for, it could not be written down, and would end the engine.
            raise _refusal(kind, f"{what!r} holds half of a surrogate pair, which is no Unicode")
        n, place = self._n, self.place()
        if n < len(self._steps):
            step = self._steps[n]
            if step.what != what:
                raise self._other(n, what, place, step.what, step.place)
            self._n += 1
            return self._answered(kind, step.value, step.refused)
        if self._open is not None:
            if self._open.what != what:
                raise self._other(n, what, place, self._open.what, self._open.place)
            told = self._asked(None, n)
            self._open = None
        else:
            told = self._asked(
                Ask(self.task.id, n, kind, what, place, type, body or {}, value, ids, is_any, timeout_us), n
            )
        self._n += 1
        if told.refused is not None:
            raise _refusal(kind, told.refused)
        return Answer(told.value, told.records)

    def finish(self, how: str) -> None:
        """The script ended so.

        Raises:
            ScriptDiffers: more steps of it are recorded.
        """
        if self.is_replaying and not self.is_over:
            n = self._n
            step = self._steps[n] if n < len(self._steps) else self._open
            assert step is not None
            raise self._other(n, how, self.file, step.what, step.place)

    def place(self) -> str:
        """File and line of the script that run now."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the one way to the caller's line)
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        return f"{self.file}:{frame.f_lineno}" if frame is not None else self.file

    def _asked(self, ask: Ask | None, n: int) -> Told:
        try:
            told = self._ask(ask, n)
        except Unwound:
            self.is_over = self.is_unwound = True
            raise
        if told.is_over:
            self.is_over = self.is_unwound = True
            raise Unwound
        return told

    def _answered(self, kind: str, value: Json, refused: str | None) -> Answer:
        if refused is not None:
            raise _refusal(kind, refused)
        if kind != "wait" or not value:
            return Answer(value)
        if self._records is None:
            assert self._recorded is not None
            self._records = self._recorded.records()
        return Answer(value, tuple(self._records[id] for id in value))

    def _other(self, n: int, now: str, place: str, what: str, recorded_at: str) -> ScriptDiffers:
        self.is_over = True
        self.differs = ScriptDiffers(n, now, place, what, recorded_at)
        return self.differs


def _to_nobody(text: str) -> None:
    """A run whose output nobody reads."""


def _refusal(kind: str, refused: str) -> RuleError:
    return CannotLoad(refused) if kind == "load" else StepRefused(refused)
