"""Runs tasks as rule scripts: what a run of one is, and how it ends.

A script is a `main` in Python that is run from its begin each time, with the
answers that are recorded (`then.scripts.play`). In which thread, and when it has
none, is `then.executors.script_threads`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from msgspec.structs import replace

from then.abc import Clock, Job, Report, ReportTo
from then.core.causes import Ask, Told
from then.core.masking import Mask
from then.core.scripts import Recorded
from then.core.tasks import Body, Outcome
from then.executors.files import with_own_files
from then.executors.raised import failure_of
from then.executors.script_threads import Live, ScriptThreads
from then.scripts.play import CannotLoad, Play, Unwound
from then.scripts.running import result_of, run_script

_PACKAGE: Final = str(Path(__file__).parent.parent) + os.sep


class ScriptExecutor:
    """The executor of the kind `script`.

    Args:
        report: takes its reports.
        give: brings the core what a script asks.
        recorded: what a script has done so far, from the state; waits for the loop.
        root: the project's root, where scripts are found.
        folder: the state folder, for what they print.
    """

    def __init__(
        self,
        report: ReportTo,
        give: Callable[[Ask], None],
        recorded: Callable[[str], Recorded | None],
        clock: Clock,
        root: Path,
        folder: Path,
        mask: Mask | None = None,
    ) -> None:
        self._give = give
        self._recorded = recorded
        self._clock = clock
        self._root = root
        self._folder = folder
        self._mask = mask
        self._threads = ScriptThreads(self._run, report, clock)

    def start(self, jobs: Sequence[Job]) -> None:
        """Runs scripts, each as soon as there is a thread for it."""
        self._threads.start(jobs)

    def recover(self, jobs: Sequence[Job]) -> None:
        """Scripts go on from their last step."""
        self._threads.take_up(jobs, self._recorded)

    def inventory(self) -> Sequence[str]:
        """Nothing outlives the engine here but what the state has."""
        return ()

    def stop(self, id: str, grace_s: float) -> None:
        """Ends a script at its next step, or wherever its Python is; one that does not end in time is given up."""
        self._threads.stop(id, grace_s)

    def forget(self, ids: Sequence[str]) -> None:
        """Nothing is kept."""

    def close(self, *, wait: bool) -> None:
        """Takes all scripts off their threads: they go on from their last step with the next engine."""
        self._threads.close(wait=wait)

    def tell(self, told: Told) -> None:
        """Brings a script its answer."""
        self._threads.tell(told)

    # -- a run ------------------------------------------------------------------------

    def _run(self, live: Live) -> Report:
        task, options = live.job.task, live.job.options
        recorded = self._threads.still_to_run(live, self._recorded)
        play = Play(
            task,
            recorded,
            lambda ask, n: self._threads.answer(live, None if ask is None else partial(self._ask, ask), n),
            random.random,  # noqa: TID251 (here it comes in; what is drawn is recorded)
            self._clock.now_us,
            str(options["target"]),
        )
        live.play = play
        live.started = recorded.began if recorded is not None else live.started or self._clock.now_us()
        output = _Output(self._folder / "tasks" / task.id)
        play.write, play.write_error = output.write, output.error
        try:
            result, wrong = result_of(run_script(play, self._root))
        except Unwound:
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a script raises: it ends the script, not the engine)
            return self._raised(live, error, output)
        finally:
            output.close()
        files = options.get("file_results")
        if result is not None and files:
            result, wrong = with_own_files(result, files)  # type: ignore[arg-type]
        if wrong is not None:
            return self._ended(live, "failed", result, {"kind": "result", "message": wrong})
        return self._ended(live, "done", result, None)

    def _ask(self, ask: Ask) -> None:
        """Asks the core for a step; without the values of secrets, for it is recorded."""
        mask = self._mask
        if mask is not None and not mask.is_empty:
            ask = replace(ask, what=mask.text(ask.what), body=mask.body(ask.body) or {}, value=mask.tree(ask.value))
        self._give(ask)

    def _raised(self, live: Live, error: BaseException, output: _Output) -> Report:
        _drop_own_frames(error)
        failure = failure_of(error, error.__traceback__, self._mask)
        if isinstance(error, CannotLoad):
            failure["kind"] = "load"
        output.error(failure["traceback"])
        return self._ended(live, "failed", None, failure)

    def _ended(self, live: Live, outcome: Outcome, result: Body | None, error: Body | None) -> Report:
        return live.report(outcome, result, error, self._clock.now_us())


class _Output:
    """What a script prints: `out` and `err` in the folder of its task, made when there is something."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._out: int | None = None

    def write(self, text: str) -> None:
        if self._out is None:
            self._out = self._open("out")
        os.write(self._out, text.encode("utf-8", "backslashreplace"))

    def error(self, text: str) -> None:
        fd = self._open("err")
        try:
            os.write(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._out is not None:
            os.close(self._out)
            self._out = None


def _drop_own_frames(error: BaseException) -> None:
    """Takes frames of ours, above the script's and below, out of its traceback and those of what it came of."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and not any(one is other for other in seen):
            seen.append(one)
            one.__traceback__ = _without_own_frames(one.__traceback__)
            left += [one.__cause__, one.__context__]


def _without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without frames of ours: they say nothing to the author of a script."""
    own: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            own.append(trace)
        trace = trace.tb_next
    made: TracebackType | None = None
    for one in reversed(own):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made
