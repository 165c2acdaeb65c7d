"""Scripts in a trial: in virtual time, one after the other, in the thread of the test.

A script is run until it waits, and run again from its begin when its answer is
there: a trial holds no threads, and each run checks that the script does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from then.core.causes import Ask, Told
from then.core.scripts import Recorded
from then.core.tasks import Body, Outcome, Task
from then.scripts.play import CannotLoad, Play, Unwound
from then.scripts.running import result_of, run_script


class Ended(NamedTuple):
    """How a script ended."""

    outcome: Outcome
    result: Body | None
    error: Body | None


class Trying:
    """The scripts of a trial.

    Args:
        root: the project's, where they are found.
        bring: brings the core what a script asks; where that has its answer at once, `tell` has it when this returns.
        now_us: the time of the trial.
    """

    def __init__(self, root: Path, bring: Callable[[Ask], object], now_us: Callable[[], int]) -> None:
        self._root = root
        self._bring = bring
        self._now_us = now_us
        self._told: dict[str, Told] = {}
        self._asking = ""
        self._draws: dict[str, Random] = {}
        self.printed: dict[str, str] = {}
        """By id, what scripts printed."""

    def tell(self, told: Told) -> bool:
        """An answer is there. Whether the script that it is for asks for it at this moment."""
        self._told[told.id] = told
        return told.id == self._asking

    def play(self, task: Task, target: str, recorded: Recorded | None) -> Ended | None:
        """Runs a script as far as it goes. How it ended; None where it waits."""
        if recorded is not None and recorded.open is not None:
            return None
        draw = self._draws.setdefault(task.id, Random(task.id))  # noqa: S311 (of a test, from a seed)
        play = Play(task, recorded, self._ask, draw.random, self._now_us, target)
        play.write = lambda text: self.printed.update({task.id: self.printed.get(task.id, "") + text})
        try:
            result, wrong = result_of(run_script(play, self._root))
        except Unwound:
            return None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a script raises)
            kind = "load" if isinstance(error, CannotLoad) else "exception"
            failure: Body = {
                "kind": kind,
                "message": f"{type(error).__name__}: {error}".removesuffix(": "),
                "type": type(error).__name__,
            }
            return Ended("failed", None, failure)
        if wrong is not None:
            return Ended("failed", None, {"kind": "result", "message": wrong})
        return Ended("done", result, None)

    def _ask(self, ask: Ask | None, n: int) -> Told:
        if ask is None:
            raise Unwound
        self._told.pop(ask.id, None)
        self._asking = ask.id
        self._bring(ask)
        self._asking = ""
        told = self._told.pop(ask.id, None)
        if told is None or told.n != n:
            raise Unwound
        return told
