"""Files of scripts: run as a module of their own, and read without being run for what they may start."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

from then.core.errors import RuleError
from then.core.source import Span
from then.scripts.words import GIVEN

_PREFIX: Final = "then_script_"
_codes: dict[str, tuple[tuple[int, int, int], CodeType]] = {}
"""By path: what the file was, and its code."""


class Started(NamedTuple):
    """A call of `run`, `call` or `emit` with a constant name."""

    word: str
    name: str
    span: Span


def load_main(path: Path, shown: str, given: dict[str, object]) -> Callable[..., Any]:
    """The `main` of a script, in a module that is new each time: no run sees what another left.

    Args:
        shown: the path as messages name it.
        given: globals beside `then.scripts.words.GIVEN`.

    Raises:
        RuleError: there is no such file, it is no Python, or has no `main`.
    """
    code = _code(path, shown)
    name = _PREFIX + hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    module = ModuleType(name)
    module.__dict__.update(GIVEN)
    module.__dict__.update(given)
    module.__file__ = str(path)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        # What it imports lies beside it.
        sys.path.insert(0, folder)
    exec(code, module.__dict__)  # noqa: S102 (that is what a script is for)
    main = getattr(module, "main", None)
    if not callable(main):
        raise RuleError(f"{shown}: no main; a script has `def main(**kwargs):`, which gets the task's body")
    return main  # type: ignore[no-any-return]


def is_async(main: Callable[..., Any]) -> bool:
    """Whether it is `async def`."""
    return inspect.iscoroutinefunction(main)


def _code(path: Path, shown: str) -> CodeType:
    try:
        stat = os.stat(path)
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = _codes.get(str(path))
        if known is not None and known[0] == mark:
            return known[1]
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise RuleError(f"{shown}: the script cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (SyntaxError, ValueError) as error:
        raise _no_python(error, shown) from error
    _codes[str(path)] = mark, code
    return code


def _no_python(error: SyntaxError | ValueError, shown: str) -> RuleError:
    if not isinstance(error, SyntaxError):
        return RuleError(f"{error} (Python)", Span(shown))
    text = (error.text or "").rstrip("\n") or None
    return RuleError(f"{error.msg} (Python)", Span(shown, error.lineno or 1, error.offset or 1), text)


def read(path: Path, shown: str) -> ast.Module:
    """The syntax tree of a script.

    Raises:
        RuleError: it cannot be read, or is no Python.
    """
    try:
        return ast.parse(path.read_bytes(), shown)
    except OSError as error:
        raise RuleError(f"{shown}: the script cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (SyntaxError, ValueError) as error:
        raise _no_python(error, shown) from error


def defines(tree: ast.Module, name: str) -> bool:
    """Whether a module defines this at its top."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return True
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return True
    return False


def starts(file: str | Path) -> tuple[Started, ...]:
    """What a script may start, read from its file without running it; see `started`.

    Raises:
        RuleError: it cannot be read, or is no Python.
    """
    return started(read(Path(file), str(file)), str(file))


def started(tree: ast.Module, file: str) -> tuple[Started, ...]:
    """What a script may start, by the names that stand in it: calls of `run`, `call` and `emit` with a constant.

    A name that is computed is not among them; nor is a container (`run` with three names).
    """
    found: list[Started] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) != 1:
            continue
        name = node.args[0]
        if node.func.id in ("run", "call", "emit") and isinstance(name, ast.Constant) and isinstance(name.value, str):
            span = Span(file, name.lineno, name.col_offset + 1)
            found.append(Started(node.func.id, name.value, span))
    return tuple(sorted(found, key=lambda one: (one.span.line, one.span.column)))


_STEPS: Final = frozenset(("run", "call", "emit", "wait", "load", "save", "sleep", "now", "random", "log"))


def step_lines(tree: ast.Module) -> list[int]:
    """The lines of a script that ask for a step, as far as that can be read: its words, `handle.wait()`, `await`."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=word)) if word in _STEPS:
                found.add(node.lineno)
            case ast.Call(func=ast.Attribute(attr="wait")):
                found.add(node.lineno)
            case ast.Await():
                found.add(node.lineno)
            case _:
                pass
    return sorted(found)


def may_step(tree: ast.Module, line: int) -> bool:
    """Whether a script may ask for a step at a line: something is called there, if by a word that is read nowhere here."""
    for node in ast.walk(tree):
        match node:
            case ast.Call() | ast.Await():
                last = node.end_lineno
            case ast.For() | ast.AsyncFor() | ast.With() | ast.AsyncWith():
                last = max(node.lineno, node.body[0].lineno - 1)
            case _:
                continue
        if node.lineno <= line <= (last or node.lineno):
            return True
    return False


def starts_containers(tree: ast.Module) -> bool:
    """Whether a script may start containers: by `run` with host, name and image, or with what it unpacks."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "run"
        and (len(node.args) == 3 or any(isinstance(one, ast.Starred) for one in node.args))
        for node in ast.walk(tree)
    )
