"""Rules from files: what `Rules.load`, `andthen run PATH` and a resume read.

The texts are parsed by `then.language`, which knows nothing of Python files;
here they are run, each as a module of a name of its own with its folder on the
path, for the `rules` that it defines.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from then.app.places import shown_paths
from then.app.rules import Rules
from then.app.script_files import beside_script, declare_containers, declare_script, has_rules, is_script
from then.core.errors import RuleError
from then.core.rules import RuleSet
from then.core.source import Span
from then.language.cache import cache_folder, load_cached, load_stored_cached
from then.language.findings import Finding
from then.language.loading import Loaded, load_path

_PREFIX: Final = "then_rules_"


def load_into(rules: Rules, path: Path) -> None:
    """Appends what a file or folder says to some rules.

    The first load sets `rules.root` and `rules.path`; warnings go to `rules.findings`.

    Raises:
        RulesRefused: with all errors.
    """
    if not is_script(path):
        loaded = load_cached(path, env=environment(), load_python=run_python_rules, known=rules.set)
        _take(rules, loaded, loaded.root.resolve())
        declare_containers(rules.set, loaded.root)
        return
    if has_rules(path.parent):
        loaded = load_cached(path.parent, env=environment(), load_python=run_python_rules, known=rules.set)
        _take(rules, loaded, loaded.root.resolve(), beside_script(loaded.findings))
    declare_script(rules.set, path.name)
    declare_containers(rules.set, path.parent)
    rules.root, rules.path = path.parent.resolve(), Path(path.name)


def environment() -> Mapping[str, str]:
    """What `env("NAME")` reads at a load: the environment, and as THEN_PYTHON, unless it is set, this interpreter."""
    own = {"THEN_PYTHON": sys.executable} if sys.executable else {}
    return own | os.environ


def load_rules(path: str) -> Rules:
    """The rules of a file or folder.

    Raises:
        RulesRefused: with all errors.
    """
    return Rules().load(path)


def load_afresh(path: str) -> RuleSet:
    """The rules of a file or folder (of a script, those beside it), never from the cache: what comes from there has lost the places of its clauses.

    Raises:
        RulesRefused: with all errors.
    """
    given, rules = Path(path), RuleSet()
    is_lone = is_script(given)
    if not is_lone or has_rules(given.parent):
        rules = load_path(given.parent if is_lone else given, env=environment(), load_python=run_python_rules).rules
    if is_lone:
        declare_script(rules, given.name)
    declare_containers(rules, given if given.is_dir() else given.parent)
    return rules


def load_kept(path: str, root: Path, sources: Mapping[str, str]) -> Rules:
    """The rules of a version that the journal keeps: texts from there, Python from the recorded path.

    Args:
        path: what was loaded, from the root: a file, or `.` for the folder.

    Raises:
        RulesRefused: this version of the language refuses them, or a Python file is gone.
    """
    folder = cache_folder(os.environ)
    rules = Rules()
    is_lone_script = path.endswith(".py") and path not in sources
    if sources or not is_lone_script:
        entry = "." if is_lone_script else path
        loaded = load_stored_cached(sources, entry, root=root, folder=folder, load_python=run_python_rules)
        _take(rules, loaded, root)
    if is_lone_script:
        declare_script(rules.set, path)
        rules.root, rules.path = root, Path(path)
    declare_containers(rules.set, root)
    rules.loaded_size = rules.size
    return rules


def _take(rules: Rules, loaded: Loaded, root: Path, findings: Iterable[Finding] | None = None) -> None:
    rules.set.extend(loaded.rules)
    rules.findings = (*rules.findings, *(loaded.findings if findings is None else findings))
    if rules.path is None:
        rules.root, rules.path = root, Path(loaded.entry)


def run_python_rules(path: Path) -> RuleSet:
    """The rules that a Python file defines as `rules`.

    Raises:
        RuleError: it defines none, or raises; or it is a script, which defines `main`.
    """
    module = _run(path)
    given = getattr(module, "rules", None)
    if isinstance(given, Rules):
        # A folder is read back by the names of its files: this one is among them, its text is not in the version.
        given.set.sources.setdefault(path.name, "")
        return given.set
    if callable(getattr(module, "main", None)):
        raise RuleError(
            f'"{path.name}" is a script, for it defines `main`; a task runs it by `run script "{path.name}"`, '
            "`andthen run` takes it by itself",
            Span(str(path)),
        )
    found = f"`rules` is {type(given).__name__}" if given is not None else "neither `rules` nor `main` is defined"
    raise RuleError(f"{found}; a file of rules has `rules = then.Rules()`", Span(str(path)))


class _FromSource(importlib.machinery.SourceFileLoader):
    """Loads what the file says now: byte code is held to it by size and second, which an edit may leave as they were."""

    def path_stats(self, path: str) -> Mapping[str, object]:
        raise OSError(f"{path}: byte code is not looked for")


def _run(path: Path) -> ModuleType:
    """Runs a file as a module of its own name, so that two `rules.py` are two modules."""
    real = path.resolve()
    name = _PREFIX + hashlib.sha256(str(real).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, real, loader=_FromSource(name, str(real)))
    if spec is None or spec.loader is None:
        raise RuleError(f'"{path.name}" is no Python file', Span(str(path)))
    folder = str(real.parent)
    if folder not in sys.path:
        # What it imports lies beside it.
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    shown_paths[str(real)] = str(path)
    try:
        spec.loader.exec_module(module)
    except RuleError as error:
        del sys.modules[name]
        if error.span is None:
            error.span, error.line = _place(path, real, error)
        raise
    except (Exception, SystemExit) as error:
        # A script that calls sys.exit would else end whoever loads it, with 0.
        del sys.modules[name]
        raise _raised(path, real, error) from error
    return module


def _raised(path: Path, real: Path, error: BaseException) -> RuleError:
    """What a file raised, at the line of it that was being run."""
    if isinstance(error, SyntaxError) and error.filename == str(real):
        text = (error.text or "").rstrip("\n") or None
        return RuleError(f"{error.msg} (Python)", Span(str(path), error.lineno or 1, error.offset or 1), text)
    if isinstance(error, OSError) and error.filename == str(real):
        return RuleError(f'"{path}" cannot be read: {(error.strerror or str(error)).lower()}')
    return RuleError(f"{type(error).__name__}: {error}", *_place(path, real, error))


def _place(path: Path, real: Path, error: BaseException) -> tuple[Span, str | None]:
    """The line of a file that was being run, and its text where there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(real)]
    if not frames:
        return Span(str(path)), None
    return Span(str(path), frames[-1].lineno or 1), frames[-1].line or None
