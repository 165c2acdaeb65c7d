"""Scripts as files: one that is run by itself, and what `andthen check` says of those that tasks name.

A script that is given to `run` is a task: its name is the file's, its inputs are
what is given. Beside it stand the rules of its folder, as a run of the folder
loads them, for it starts the tasks that they declare.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType

from then.core.edition import SCRIPT
from then.core.errors import RuleError, nearest
from then.core.filters import Const
from then.core.rules import Breakpoint, RuleSet, Run, TaskDecl, family_covers
from then.core.source import Span
from then.core.tasks import check_name
from then.language.docker_task import DOCKER
from then.language.findings import Finding
from then.language.walks import all_rules
from then.scripts.sources import defines, may_step, read, started, starts_containers, step_lines


def is_script(path: Path) -> bool:
    """Whether a file is a rule script: Python that defines `main`, and no `rules`."""
    if path.suffix != ".py" or not path.is_file():
        return False
    try:
        tree = read(path, str(path))
    except RuleError:
        return False  # Whoever runs it says what is wrong.
    return defines(tree, "main") and not defines(tree, "rules")


def has_rules(folder: Path) -> bool:
    """Whether a folder has files of rules."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    return any(path.suffix == ".then" or path.name == "rules.py" or _is_yaml_of_rules(path) for path in found)


def _is_yaml_of_rules(path: Path) -> bool:
    if path.suffix not in (".yaml", ".yml"):
        return False
    return any(line.startswith(b"rules:") for line in path.read_bytes().splitlines())


def beside_script(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is found in the rules beside a script that is run by itself: it may emit what they do not, and wait for it."""
    return tuple(finding for finding in findings if finding.number not in ("T604", "T612"))


def declare_script(rules: RuleSet, name: str) -> None:
    """Declares the task of a script that is run by itself, where the rules beside it do not.

    Args:
        name: of the file, in the root.

    Raises:
        RuleError: the file's name is no name of a task, or another task has it.
    """
    type = type_of(name)
    span = Span(name)
    known = rules.tasks.get(type)
    if known is None:
        rules.declare(TaskDecl(type, run=Run(SCRIPT, Const(name)), span=span))
    elif _file_of(known) != name:
        place = f" ({known.span})" if known.span is not None else ""
        raise RuleError(f'a task "{type}" is declared beside it{place} and is another one; rename the script', span)


def declare_containers(rules: RuleSet, root: Path) -> None:
    """Declares the type `Docker` where a script starts containers, or Python emits them, and nobody declared it."""
    if DOCKER.name in rules.tasks or DOCKER.name in rules.events or DOCKER.name in rules.procedures:
        return
    if any(_start_containers(rule.generator) for rule in all_rules(rules) if rule.generator is not None):
        rules.declare(DOCKER)
        return
    for file in {file for declared in rules.tasks.values() if (file := _file_of(declared)) is not None}:
        try:
            has_containers = starts_containers(read(root / file, file))
        except RuleError:
            continue  # Its task fails, and says why.
        if has_containers:
            rules.declare(DOCKER)
            return


def _start_containers(generator: Callable[..., object]) -> bool:
    """Whether the name stands in the code of a rule, or in a function within."""
    # A rule is the function that was given, as the engine calls it: that one has it in its closure.
    held = [cell.cell_contents for cell in getattr(generator, "__closure__", None) or ()]
    codes = [getattr(inspect.unwrap(one), "__code__", None) for one in (generator, *held) if callable(one)]
    while codes:
        code = codes.pop()
        if code is None:
            continue
        if DOCKER.name in code.co_consts:
            return True
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
    return False


def type_of(name: str) -> str:
    """The type of the task that runs a script: the name of its file.

    Raises:
        RuleError: it is no name of a task.
    """
    return check_name(Path(name).stem, "script")


def _file_of(declared: TaskDecl) -> str | None:
    run = declared.run
    if run is None or run.kind != SCRIPT or not isinstance(run.target, Const):
        return None
    return str(run.target.value)


def script_findings(rules: RuleSet, root: Path) -> Iterator[Finding]:
    """What looks wrong in the scripts that tasks name: files that are not there, starts of what is not declared, and stops at no step.

    Args:
        root: of the project, as messages are to name it.
    """
    for declared in rules.tasks.values():
        file = _file_of(declared)
        if file is None:
            continue
        try:
            shown = str(root / file)
            tree = read(root / file, shown)
        except RuleError as error:
            place = error.span or declared.span
            yield Finding("warning", "T631", error.message, place, hint="the task fails when it is run")
            continue
        if not defines(tree, "main"):
            message = f'"{file}" has no main'
            yield Finding("warning", "T631", message, declared.span, hint="write `def main(**kwargs):` in it")
        yield from _strangers(tree, shown, rules)
    for point in rules.breakpoints.values():
        if (why := never_stops(point, rules, root)) is not None:
            yield Finding("warning", "T633", why, point.span, hint="it never stops")


def never_stops(point: Breakpoint, rules: RuleSet, root: Path) -> str | None:
    """Why a breakpoint at a line of a script holds nothing; None where it may, or where that cannot be read."""
    if point.place != "step" or not point.line:
        return None
    file, _, line = point.line.rpartition(":")
    tasks = [task for task in rules.tasks.values() if family_covers(point.family, task.name)]
    files = [_file_of(task) for task in tasks if task.run is not None and task.run.kind == SCRIPT]
    if None in files:
        return None
    own = sorted({one for one in files if one is not None and f"/{one}".endswith(f"/{file}")})
    if not own:
        return f'no task that it is for runs "{file}"{nearest(file, [one for one in files if one is not None])}'
    steps: list[int] = []
    for one in own:
        try:
            tree = read(root / one, one)
        except RuleError:
            return None
        if may_step(tree, int(line)):
            return None
        steps += step_lines(tree)
    after = min((at for at in steps if at > int(line)), default=None)
    return f"no step stands at {point.line}" + (f"; the next one is at {file}:{after}" if after is not None else "")


def _strangers(tree: ast.Module, file: str, rules: RuleSet) -> Iterator[Finding]:
    for one in started(tree, file):
        if one.word == "call" and one.name in rules.tasks:
            message = f'"{one.name}" is a task, and call is for procedures'
            yield Finding("warning", "T632", message, one.span, hint=f'start it by run("{one.name}", …)')
            continue
        if one.word != "emit" and one.name in rules.events:
            message = f'"{one.name}" is an event, of which nothing comes that could be waited for'
            yield Finding("warning", "T632", message, one.span, hint=f'emit("{one.name}", …)')
            continue
        known = [*rules.tasks, *rules.procedures, *(rules.events if one.word == "emit" else ())]
        if one.name not in known:
            what = "task, event" if one.word == "emit" else "task"
            message = f'nothing declares "{one.name}"{nearest(one.name, known)}'
            yield Finding(
                "warning", "T632", message, one.span, hint=f"declare the {what} or procedure, or correct the name"
            )
