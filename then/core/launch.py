"""How a task is to be run: its `run` line evaluated over its inputs. Pure."""

from __future__ import annotations

from then.core.edition import Edition
from then.core.evaluate import Scope
from then.core.filters import Expr
from then.core.rules import Run
from then.core.tasks import Json, Task
from then.core.values import CannotSay, text_of

Options = dict[str, object]


class CannotLaunch(Exception):
    """Why the `run` line cannot be evaluated: becomes the failure of the task."""


def launch_options(task: Task, edition: Edition) -> Options:
    """What the executor gets beside the record.

    For a process `argv` (texts) and its options; for `python` the `function`.
    `once` and `done_on` are added for every kind.

    Raises:
        CannotLaunch: a value in the run line cannot be said, or is of the wrong kind.
    """
    runner = edition.runners[task.type]
    if runner.options is not None:
        return runner.options
    declared = runner.declared
    options: Options = {"once": declared.once, "done_on": list(declared.done_on)}
    run = declared.run
    if run is None:
        return options
    scope = Scope(task, {}, {})
    for name, expr in run.options:
        options[name] = _value(edition, expr, scope, f"{run.kind}: {name}")
    _target(options, run, edition, scope)
    return options


def _target(options: Options, run: Run, edition: Edition, scope: Scope) -> None:
    target = _value(edition, run.target, scope, f"run {run.kind}")
    if run.kind == "process":
        if not isinstance(target, list):
            raise CannotLaunch('run process: needs a list of texts, `run process ["make", target]`')
        options["argv"] = _argv(target)
    else:
        options["target"] = target


def _argv(items: list[Json]) -> list[str]:
    """Texts as they are, numbers as text, a list inside as several; null is left out."""
    argv: list[str] = []
    for item in items:
        if isinstance(item, list):
            argv.extend(_argv(item))
        elif item is not None:
            argv.append(text_of(item))
    return argv


def _value(edition: Edition, expr: Expr, scope: Scope, what: str) -> Json:
    value = edition.value(expr, scope)
    if isinstance(value, CannotSay):
        raise CannotLaunch(f"{what} cannot be said: {value.reason}")
    return value
