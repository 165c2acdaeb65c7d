"""How a task is to be run: its `run` line evaluated over its inputs. Pure.

A secret stands in the options as its declaration, where the value will be; the
executor asks for that at the very start (`then.abc.Secrets`).
"""

from __future__ import annotations

from typing import Final

from then.core.declarations import SecretDecl
from then.core.edition import Edition, Runner
from then.core.errors import nearest
from then.core.evaluate import Scope
from then.core.filters import Expr, ListOf, MapOf, SecretRef
from then.core.rules import Run
from then.core.tasks import Json, Task
from then.core.values import CannotSay, kind_of, text_of

Options = dict[str, object]


class CannotLaunch(Exception):
    """Why the `run` line cannot be evaluated: becomes the failure of the task."""

    kind = "spawn"
    """Its `error.kind`."""


class CannotRead(CannotLaunch):
    """Why a secret cannot be read: which, from where, and what to do; never a value."""

    kind = "load"

    def __init__(self, secret: SecretDecl, reason: str) -> None:
        super().__init__(f'secret "{secret.name}" ({secret.source} "{secret.reference}"): {reason}')


def launch_options(task: Task, edition: Edition) -> Options:
    """What the executor gets beside the record.

    For a process `argv` (texts) and its options; for `python` the `function`.
    `once` and `done_on` are added for every kind, `file_results` where a result
    field is declared as `file`; where it is given secrets,
    `secrets` has their declarations. Of a process, `env_without` names the
    variables of the engine that hold secrets: they are not inherited.

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
        what = f"{run.kind}: {name}"
        if runner.secrets and name == _GIVEN_BY.get(run.kind):
            options[name] = _with_secrets(edition, expr, scope, what, is_deep=name == "with")
        else:
            options[name] = _value(edition, expr, scope, what)
    _target(options, run, edition, scope)
    files = [field.name for field in declared.result or () if field.type.name == "file"]
    if files:
        options["file_results"] = files
    given = [field.name for field in declared.inputs or () if field.type.name == "file"]
    if given:
        options["file_inputs"] = given
    if run.kind == "process" and edition.secret_variables:
        options["env_without"] = edition.secret_variables
    if runner.secrets:
        _give(options, run.kind, runner, edition)
    return options


_GIVEN_BY: Final = {"python": "with", "process": "env", "docker": "env"}
"""The option of each executor in which secrets may stand."""


def _give(options: Options, kind: str, runner: Runner, edition: Edition) -> None:
    """Adds the secrets that a task was declared with in Python, and says which it is given in all."""
    options["secrets"] = runner.secrets
    named = {key: edition.rules.secrets[secret] for key, secret in runner.declared.secrets}
    if named:
        name = _GIVEN_BY[kind]
        given = options.get(name) or {}
        if not isinstance(given, dict):
            raise CannotLaunch(f"{kind}: {name} is a {kind_of(given)}; names with their values are expected")
        options[name] = {**given, **named}


def _with_secrets(edition: Edition, expr: Expr, scope: Scope, what: str, *, is_deep: bool) -> Json:
    """The value of a map in which secrets may be values; where it may be deep, in maps and lists inside too."""
    match expr:
        case SecretRef(name):
            if name not in edition.rules.secrets:
                raise CannotLaunch(f'{what}: unknown secret "{name}"{nearest(name, edition.rules.secrets)}')
            return edition.rules.secrets[name]
        case MapOf(items):
            return {
                key: _with_secrets(edition, item, scope, what, is_deep=is_deep)
                if is_deep or isinstance(item, SecretRef)
                else _value(edition, item, scope, what)
                for key, item in items
            }
        case ListOf(items) if is_deep:
            return [_with_secrets(edition, item, scope, what, is_deep=True) for item in items]
        case _:
            return _value(edition, expr, scope, what)


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
