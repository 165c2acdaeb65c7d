"""Files to rules: the ways in, for a path, a text, and what a journal keeps.

How a load goes is in `then.language.loader`.

Python files are code, and run elsewhere: a caller that wants them hands over
`load_python`. YAML is `then.language.yaml_rules`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from then.core.errors import RulesRefused
from then.core.rules import RuleSet
from then.language.executors import KINDS, Kinds
from then.language.files import PRELUDE, Files, Reader, Stored, prelude
from then.language.findings import FileRefused, Finding
from then.language.loader import Loader, LoadPython


@attrs.frozen
class Loaded:
    """Rules that may run, and what there is to say about them."""

    rules: RuleSet
    findings: tuple[Finding, ...]
    """Warnings, in the order of the files and of their texts."""
    root: Path
    """The project's root: where processes run and paths begin."""
    entry: str
    """What was loaded, as a path from the root; `.` for the whole folder. `load_stored` takes it."""
    files: tuple[str, ...]
    """Paths from the root of all files that were read, those of data too, in the order of reading."""


def load_path(
    path: Path,
    *,
    env: Mapping[str, str],
    load_python: LoadPython | None = None,
    known: RuleSet | None = None,
    kinds: Kinds = KINDS,
) -> Loaded:
    """The rules of a file (`.then`, `.yaml` with the key `rules`, `.py`) or of a folder.

    A folder gives its `*.then`, its `*.yaml` with the key `rules`, and `rules.py`, by name; hidden files and
    folders in it are left out.

    Args:
        path: as the user gave it; messages name files likewise.
        env: what `env("NAME")` reads in a `let`.
        load_python: called for Python files at their place in the order; without it they are refused.
        known: rules and declarations from elsewhere that these stand beside; they are not in the result.
        kinds: the executors that a `run` line may name.

    Raises:
        RulesRefused: with all errors of all files.

    Cost: about 0.4 ms a rule.
    """
    return _load(_open(path, env, load_python, known, kinds))


def check_path(
    path: Path,
    *,
    env: Mapping[str, str],
    load_python: LoadPython | None = None,
    kinds: Kinds = KINDS,
) -> tuple[Finding, ...]:
    """What `andthen check` says: errors and warnings, in the order of the files and of their texts.

    Raises:
        RulesRefused: no file or folder is there.
    """
    loader = _open(path, env, load_python, None, kinds)
    with _collector_paused():
        loader.run()
    return loader.findings.all()


def load_text(
    text: str,
    file: str = "rules.then",
    *,
    root: Path | None = None,
    env: Mapping[str, str] | None = None,
    known: RuleSet | None = None,
    kinds: Kinds = KINDS,
) -> Loaded:
    """The rules of a text, as if it were a file of that name in the root.

    Args:
        text: in the language; YAML where the name ends so.
        file: its path from the root.
        root: where files that it uses are found; without it there are none.

    Raises:
        RulesRefused: with all errors.
    """
    return _load(_of_text(text, file, root, env, known, kinds))


def check_text(
    text: str,
    file: str = "rules.then",
    *,
    root: Path | None = None,
    env: Mapping[str, str] | None = None,
    kinds: Kinds = KINDS,
) -> tuple[Finding, ...]:
    """What `check_path` would say of a text, as if it were a file of that name in the root."""
    loader = _of_text(text, file, root, env, None, kinds)
    with _collector_paused():
        loader.run()
    return loader.findings.all()


def _of_text(
    text: str, file: str, root: Path | None, env: Mapping[str, str] | None, known: RuleSet | None, kinds: Kinds
) -> Loader:
    reader: Reader = Stored({file: text, PRELUDE: prelude()}) if root is None else _Overlay(Files(root), file, text)
    return Loader(reader, root or Path(), file, env or {}, None, known, kinds)


def load_stored(
    sources: Mapping[str, str],
    entry: str,
    *,
    root: Path,
    load_python: LoadPython | None = None,
    kinds: Kinds = KINDS,
) -> Loaded:
    """The rules of a version, from what the journal keeps: `RuleSet.sources` and `Loaded.entry`.

    Values of `let` are those of the first load; Python files are run from their place under the root.

    Raises:
        RulesRefused: a file is not among the sources, or this version of the language refuses it.
    """
    return _load(Loader(Stored(sources), root, entry, {}, load_python, None, kinds))


def _load(loader: Loader) -> Loaded:
    with _collector_paused():
        loader.run()
    loader.findings.check()
    files = tuple(
        key for key in loader.rules.sources if key.partition("#")[0] not in loader.rules.sources or "#" not in key
    )
    return Loaded(loader.rules, loader.findings.all(), loader.root, loader.entry, files)


def _open(
    path: Path, env: Mapping[str, str], load_python: LoadPython | None, known: RuleSet | None, kinds: Kinds
) -> Loader:
    if path.is_dir():
        prefix = str(path)
        return Loader(Files(path, "" if prefix == "." else prefix), path, ".", env, load_python, known, kinds)
    if not path.exists():
        raise RulesRefused([FileRefused(f'no file or folder "{path}"')])
    prefix = os.path.dirname(path)
    return Loader(Files(path.parent, prefix), path.parent, path.name, env, load_python, known, kinds)


class _Overlay:
    """The disk, and one text that stands for a file."""

    def __init__(self, files: Files, key: str, text: str) -> None:
        self._files = files
        self._key = key
        self._text = text

    def text(self, key: str) -> str:
        return self._text if key == self._key else self._files.text(key)

    def names(self) -> list[str]:
        return [self._key]

    def shown(self, key: str) -> str:
        return key

    def value(self, key: str, name: str) -> str | None:
        return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A load only makes objects that stay: walks over them to look for garbage are for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
