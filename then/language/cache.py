"""Rules as they were compiled last time: a load of many that has not changed reads them back.

Reading 100,000 rules takes a minute, reading back what came of them a second.
A cached load is taken where everything that decided it is the same: the text
of each file that was read, the names in the folder, what `env` gave to a
`let`, the executors that are known, and this version of `then` itself. A cache
that cannot be read or written is none; nothing depends on it.

Only rules that are data are kept, never Python, and nothing that is read back
can run (`then.language.packing`). Files are the user's alone (mode 0600): a
`let` may hold what the environment held.

Who calls: `then.app.loading`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from then.core.errors import RuleError
from then.core.rules import RuleSet
from then.core.source import Span
from then.language.executors import KINDS, Kinds
from then.language.files import Files, Reader
from then.language.findings import Finding, Severity
from then.language.loader import LoadPython
from then.language.loading import Loaded, load_path, load_stored
from then.language.packing import Unpackable, pack, unpack
from then.language.parser import collector_paused

TEXT_CHARACTERS_MIN: Final = 200_000
"""Of all files together: what is shorter is read in less than half a second, and need not lie about in a cache."""
FILES_MAX: Final = 32
"""Cached loads in a folder; the one that was used longest ago goes first."""
_MAGIC: Final = b"andthen rules 1\n"


class _Manifest(msgspec.Struct, array_like=True):
    """What decided a load, and what it said."""

    names: list[str] | None
    """Of a folder: the files in it that may be rules."""
    hashes: dict[str, str]
    """Of the texts that were read, in the order of reading."""
    env: dict[str, str | None]
    """What was asked of the environment; None where it was not set."""
    values: dict[str, str]
    """What each `let` came to, as in `RuleSet.sources`."""
    files: list[str]
    findings: list[tuple[Severity, str, str, tuple[str, int, int, int] | None, str, str | None]]
    rules: bytes


def load_cached(
    path: Path,
    *,
    env: Mapping[str, str],
    folder: Path | None = None,
    load_python: LoadPython | None = None,
    known: RuleSet | None = None,
    kinds: Kinds = KINDS,
) -> Loaded:
    """What `load_path` gives; from the cache where nothing has changed since.

    Args:
        path, env, load_python, known, kinds: as for `load_path`.
        folder: where cached loads are kept; by default `cache_folder(env)`.

    Raises:
        RulesRefused: as for `load_path`.
    """
    if kinds is not KINDS or (known is not None and not _is_empty(known)):
        return load_path(path, env=env, load_python=load_python, known=known, kinds=kinds)
    place = _place(folder or cache_folder(env), os.path.realpath(path), str(path))
    manifest = _read(place)
    if manifest is not None:
        loaded = _reused(manifest, path, env)
        if loaded is not None:
            with contextlib.suppress(OSError):
                os.utime(place)
            return loaded
    asked = _Asked(env)
    loaded = load_path(path, env=asked, load_python=load_python, known=known, kinds=kinds)
    kept = _manifest(loaded, _names(path, _reader(path)), asked.answers)
    if kept is not None:
        _write(place, kept)
    return loaded


def load_stored_cached(
    sources: Mapping[str, str],
    entry: str,
    *,
    root: Path,
    folder: Path,
    load_python: LoadPython | None = None,
) -> Loaded:
    """What `load_stored` gives; from the cache where these texts were loaded before.

    Raises:
        RulesRefused: as for `load_stored`.
    """
    if _is_short(sources):
        return load_stored(sources, entry, root=root, load_python=load_python)
    whole = _hash("\0".join(part for key in sorted(sources) for part in (key, sources[key])))
    place = _place(folder, "stored", entry, whole)
    manifest = _read(place)
    if manifest is not None:
        return _taken(manifest, sources, root, entry)
    loaded = load_stored(sources, entry, root=root, load_python=load_python)
    kept = _manifest(loaded, None, {})
    if kept is not None:
        _write(place, kept)
    return loaded


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where a user's cached loads are: `$XDG_CACHE_HOME/andthen`, else `~/.cache/andthen`."""
    base = env.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "andthen"


def _is_empty(rules: RuleSet) -> bool:
    return not (rules.rules or rules.tasks or rules.events or rules.records or rules.starts or rules.continuations)


class _Asked(Mapping[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.answers: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        self.answers[name] = self._env.get(name)
        return self._env[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


# -- what decides a load ---------------------------------------------------------------


def _reader(path: Path) -> Reader:
    """The files of a load, named in messages as `load_path` names them."""
    root = path if path.is_dir() else path.parent
    prefix = str(path) if path.is_dir() else os.path.dirname(path)
    return Files(root, "" if prefix == "." else prefix)


def _names(path: Path, reader: Reader) -> list[str] | None:
    """The files of a folder that may be rules; what else lies there decides nothing."""
    if not path.is_dir():
        return None
    return [name for name in reader.names() if name.endswith((".then", ".yaml", ".yml", ".py"))]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _reused(manifest: _Manifest, path: Path, env: Mapping[str, str]) -> Loaded | None:
    """The load that was kept; None where something that decided it is another."""
    reader = _reader(path)
    if any(env.get(name) != value for name, value in manifest.env.items()):
        return None
    sources: dict[str, str] = {}
    try:
        if _names(path, reader) != manifest.names:
            return None
        for key, known in manifest.hashes.items():
            text = reader.text(key)
            if _hash(text) != known:
                return None
            sources[key] = text
    except (RuleError, OSError):
        return None
    root = path if path.is_dir() else path.parent
    return _taken(manifest, {**sources, **manifest.values}, root, "." if path.is_dir() else path.name)


def _taken(manifest: _Manifest, sources: Mapping[str, str], root: Path, entry: str) -> Loaded:
    findings = tuple(
        Finding(severity, number, message, Span(*span) if span is not None else None, hint, line)
        for severity, number, message, span, hint, line in manifest.findings
    )
    with collector_paused():
        rules = unpack(manifest.rules, sources)
    return Loaded(rules, findings, root, entry, tuple(manifest.files))


def _is_short(texts: Mapping[str, str]) -> bool:
    return sum(map(len, texts.values())) < TEXT_CHARACTERS_MIN


def _manifest(loaded: Loaded, names: list[str] | None, env: dict[str, str | None]) -> _Manifest | None:
    """What is kept of a load; None where it is small, or Python had a part in it."""
    sources = loaded.rules.sources
    values = {key: text for key, text in sources.items() if "#" in key and key.rpartition("#")[0] in sources}
    texts = {key: text for key, text in sources.items() if key not in values}
    if _is_short(texts) or any(key.endswith(".py") for key in texts):
        return None
    try:
        packed = pack(loaded.rules)
    except Unpackable:
        return None
    findings = [
        (
            f.severity,
            f.number,
            f.message,
            (s.file, s.line, s.column, s.length) if (s := f.span) else None,
            f.hint,
            f.line,
        )
        for f in loaded.findings
    ]
    hashes = {key: _hash(text) for key, text in texts.items()}
    return _Manifest(names, hashes, env, values, list(loaded.files), findings, packed)


# -- the files of the cache ----------------------------------------------------------------


def _place(folder: Path, *decided: str) -> Path:
    """The file for what decides a load before a text is read, and for this version of the package."""
    whole = "\0".join((_stamp(), *decided))
    return folder / f"{hashlib.sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.rules"


@cache
def _stamp() -> str:
    """What tells this version of the package from every other, one that somebody works on too."""
    import then

    marks = [then.__version__]
    with contextlib.suppress(OSError):
        for part in ("language", "core"):
            entries = sorted(
                os.scandir(os.path.join(os.path.dirname(then.__file__), part)), key=lambda entry: entry.name
            )
            for entry in entries:
                if entry.name.endswith((".py", ".json")):
                    marks.append(f"{entry.name} {entry.stat().st_size} {entry.stat().st_mtime_ns}")
    return "\n".join(marks)


def _read(place: Path) -> _Manifest | None:
    """What a file of the cache holds; None where it is not there, not whole, or not the user's own."""
    try:
        with open(place, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                # Rules say what is run: nobody else may write them.
                return None
            data = file.read()
    except OSError:
        return None
    head = len(_MAGIC) + 32
    if not data.startswith(_MAGIC) or hashlib.sha256(data[head:]).digest() != data[len(_MAGIC) : head]:
        return None
    try:
        return msgspec.msgpack.decode(memoryview(data)[head:], type=_Manifest)
    except msgspec.DecodeError:
        return None


def _write(place: Path, manifest: _Manifest) -> None:
    """Keeps a load, whole or not at all; a folder that cannot be written keeps nothing."""
    import tempfile

    data = msgspec.msgpack.encode(manifest)
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent, suffix=".part")
        try:
            with open(descriptor, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(data).digest() + data)
            os.replace(name, place)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _drop_oldest(place.parent)


def _drop_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.rules"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in kept[FILES_MAX:]:
        file.unlink(missing_ok=True)
