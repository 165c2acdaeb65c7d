"""What may follow `run KIND`: the form of the target, and the options of each executor.

Only forms and names; what they do is the executor's. A plugin adds its row to
`Kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from then.core.errors import UnknownName
from then.core.filters import Const, Expr, Field, Function, ListOf, Template
from then.core.rules import Run, TypeRef
from then.language.findings import Misplaced
from then.language.resolve import POISON
from then.language.tree import Token, Tree
from then.language.units import Unit

Form = Literal["text", "list", "map", "number", "word"]

_TOKENS: Final[dict[str, Form]] = {
    "STRING": "text", "RAW": "text", "INT": "number", "FLOAT": "number", "SIZE": "number", "DURATION": "number",
    "NAME": "word",
}  # fmt: skip


WORDS_AFTER: Final = (
    "deadline", "done", "expires", "finally", "idempotent", "limit", "may", "needs", "once", "priority", "retry", "timeout",
)  # fmt: skip
"""Words of the language that may stand after the options; misspelt, one of them is read as an option."""


WORDS_MAX: Final = 10_000
"""Of a `run process`, as it is written; a list among them may bring more, up to what the system takes."""


@attrs.frozen
class Option:
    forms: frozenset[Form]
    words: frozenset[str] = frozenset()
    """Where a bare word is a form: which."""
    example: str = ""


@attrs.frozen
class Kind:
    """An executor as the language sees it."""

    target: Form
    options: Mapping[str, Option]


Kinds = Mapping[str, Kind]


def _words(name: str, *words: str) -> Option:
    return Option(frozenset(("word",)), frozenset(words), f"{name} {', '.join(words[:-1])} or {words[-1]}")


def _text(name: str, example: str) -> Option:
    return Option(frozenset(("text",)), example=f'{name} "{example}"')


def _list(name: str, example: str) -> Option:
    return Option(frozenset(("list",)), example=f'{name} ["{example}"]')


def _number(name: str, example: str) -> Option:
    return Option(frozenset(("number", "text")), example=f"{name} {example}")


KINDS: Final[Kinds] = {
    "process": Kind(
        "list",
        {
            "env": Option(frozenset(("map", "word")), frozenset(("clean",)), 'env {NAME: "value"}, or env clean'),
            "cwd": Option(frozenset(("text",)), example='cwd "folder"'),
            "stdin": Option(frozenset(("text",)), example='stdin "text"'),
        },
    ),
    "script": Kind("text", {}),
    "python": Kind("text", {"with": Option(frozenset(("map",)), example="with {name: value}")}),
    "docker": Kind(
        "text",
        {
            "action": _words("action", "run", "start", "wait", "stop", "remove", "exec"),
            "args": Option(frozenset(("list",)), example='args ["program", "argument"]'),
            "capabilities": _list("capabilities", "NET_ADMIN"),
            "cpus": _number("cpus", "1.5"),
            "devices": _list("devices", "/dev/fuse"),
            "entrypoint": Option(frozenset(("list", "text")), example='entrypoint ["program"]'),
            "env": Option(frozenset(("map",)), example='env {NAME: "value"}'),
            "host": _text("host", "tcp://build-1:2375"),
            "hostname": _text("hostname", "name"),
            "init": _words("init", "yes", "no"),
            "ipc": Option(frozenset(("text", "word")), frozenset(("private", "none", "host")), "ipc private"),
            "keep": _words("keep", "never", "failed", "always"),
            "labels": Option(frozenset(("map",)), example='labels {name: "value"}'),
            "memory": _number("memory", "512MiB"),
            "mounts": _list("mounts", "/data:/data:ro"),
            "name": _text("name", "nightly"),
            "network": Option(frozenset(("text", "word")), frozenset(("none", "bridge", "host")), "network none"),
            "new_privileges": _words("new_privileges", "yes", "no"),
            "pid": Option(frozenset(("text", "word")), frozenset(("private", "host")), "pid private"),
            "pids": _number("pids", "100"),
            "platform": _text("platform", "linux/arm64"),
            "ports": _list("ports", "8080:80"),
            "privileged": _words("privileged", "yes", "no"),
            "pull": _words("pull", "missing", "always", "never"),
            "read_only": _words("read_only", "yes", "no"),
            "shm": _number("shm", "64MiB"),
            "stdin": _text("stdin", "text"),
            "tmpfs": _list("tmpfs", "/scratch"),
            "user": Option(frozenset(("text", "number")), example='user 1000, or user "name"'),
            "workdir": _text("workdir", "/work"),
        },
    ),
}

_SHELLS: Final = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash"))
_SHELL_SIGNS: Final = frozenset("|&;<>()$`*?~\n")
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)


def form_of(node: Tree | Token) -> Form:
    """What is written after `run KIND` or the name of an option."""
    if isinstance(node, Tree):
        return "list" if node.data == "list" else "map"
    return _TOKENS[node.type]


def check_target(run: Run, kind: Kind, inputs: Mapping[str, TypeRef], unit: Unit) -> None:
    """Refuses a target that the executor cannot take, and shows what it takes."""
    target = run.target
    if kind.target == "list" and not isinstance(target, ListOf):
        words = (
            list_form(target.value)
            if isinstance(target, Const) and isinstance(target.value, str)
            else '["program", "argument"]'
        )
        _refuse(unit, f"run {run.kind} takes a list of words, no shell stands in between: run {run.kind} {words}", run)
    elif isinstance(target, ListOf) and kind.target != "list":
        shown = {"docker": "image:tag", "script": "file.py"}.get(run.kind, "package.module:function")
        _refuse(unit, f'run {run.kind} takes a text: run {run.kind} "{shown}"', run)
    elif isinstance(target, ListOf) and not target.items:
        _refuse(unit, f'run {run.kind} needs a program: run {run.kind} ["program", "argument"]', run)
    elif run.kind == "python" and not (isinstance(target, Const) and _FUNCTION.fullmatch(str(target.value))):
        shown = f'; here is "{target.value}"' if isinstance(target, Const) else ""
        _refuse(unit, f'run python names a function as "package.module:function"{shown}', run)
    elif run.kind == "script" and not (isinstance(target, Const) and str(target.value).endswith(".py")):
        shown = f'; here is "{target.value}"' if isinstance(target, Const) else ""
        _refuse(unit, f'run script names a file of Python, from the root of the project: "file.py"{shown}', run)
    elif isinstance(target, ListOf):
        _check_shell(target.items, inputs, unit)
    elif run.kind == "docker":
        options = dict(run.options)
        lists = [options[name] for name in ("entrypoint", "args") if name in options]
        _check_shell([item for one in lists if isinstance(one, ListOf) for item in one.items], inputs, unit)


def check_option(name: str, node: Tree | Token, kind: Kind, run: str, unit: Unit, at: Tree) -> bool:
    """Whether the executor has this option in this form; if not, that is reported."""
    option = kind.options.get(name)
    if option is None:
        unit.refuse(UnknownName(f"option of run {run}", name, (*kind.options, *WORDS_AFTER)), at)
        return False
    form = form_of(node)
    if form not in option.forms or (form == "word" and str(node) not in option.words):
        unit.refuse(Misplaced(f"{name} is written as {option.example}"), at)
        return False
    return True


def list_form(command: str) -> str:
    """A command line as the list that runs it: of words, or with a shell where the text needs one."""
    import shlex

    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words or _SHELL_SIGNS & set(command):
        words = ["sh", "-c", command]
    return "[" + ", ".join(_quoted(word) for word in words) + "]"


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _check_shell(command: Sequence[Expr], inputs: Mapping[str, TypeRef], unit: Unit) -> None:
    """Warns of a value in the text of a shell that is not quoted: it may hold a command."""
    words = [item.value if isinstance(item, Const) else None for item in command]
    if not words or not isinstance(words[0], str) or words[0].rpartition("/")[2] not in _SHELLS:
        return
    for i, word in enumerate(words[1:-1], 1):
        if isinstance(word, str) and word.startswith("-") and word.endswith("c"):
            for bare in _bare_values(command[i + 1], inputs):
                message = "a value in a shell line is taken as it is, and may hold commands"
                unit.warn(
                    "T607", message, bare.span, "quote it, as in `{sh(name)}`, or give it as an argument of its own"
                )
            return


def _bare_values(line: Expr, inputs: Mapping[str, TypeRef]) -> list[Expr]:
    parts = line.parts if isinstance(line, Template) else (line,)
    return [
        part
        for part in parts
        if not isinstance(part, str | Const) and part is not POISON and not _is_harmless(part, inputs)
    ]


def _is_harmless(part: Expr, inputs: Mapping[str, TypeRef]) -> bool:
    match part:
        case Function(name):
            return name in ("sh", "int", "float", "len", "abs", "round")
        case Field((str(name),), "body"):
            return name in inputs and inputs[name].name in ("int", "float", "bool")
        case _:
            return False


def _refuse(unit: Unit, message: str, run: Run) -> None:
    error = Misplaced(message, run.target.span, unit.line(run.target.span))
    unit.refuse(error)
