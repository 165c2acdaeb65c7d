"""Words of a command line: `KEY=VALUE`, `KEY:=JSON`, `KEY=@FILE`, `--body FILE`, spans of time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from then.core.errors import ConfigError
from then.core.tasks import BODY_BYTES_MAX, Body, check_json
from then.core.values import HALF_PAIR, check_keys

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h|d|w)?", re.ASCII)
SPAN_MAX_S: Final = 100 * 365.25 * 86400
"""Far below what a system's clock can wait for."""
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def read_words(words: Sequence[str]) -> tuple[dict[str, str], Body]:
    """Fields by name: those given as text, to be read by their declared type, and those given as JSON.

    Raises:
        ConfigError: a word is no field, a file cannot be read, JSON is none.
    """
    texts: dict[str, str] = {}
    values: Body = {}
    for word in words:
        name, sign, text = word.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not sign or not name:
            raise ConfigError(f'"{word}" is no field; write KEY=VALUE, KEY:=JSON or KEY=@FILE')
        if name in texts or name in values:
            raise ConfigError(f'the field "{name}" is given twice')
        if text == "@":
            raise ConfigError(f'"{word}" names no file; write KEY=@FILE, or KEY:="@" in quotes for the text')
        if text.startswith("@"):
            text = _read(text[1:], name)
        if is_json:
            values[name] = _json(text, name)
        else:
            texts[name] = text
    return texts, values


def read_body(path: str | None) -> Body:
    """The object in a JSON file; `-` is standard input.

    Raises:
        ConfigError: it cannot be read, or is no JSON object.
        BodyRefused: it is beyond the limits, or an object in it has a key twice.
    """
    if path is None:
        return {}
    value = _json(_read(path, "--body"), "--body")
    if not isinstance(value, dict):
        raise ConfigError(f'--body {path}: a JSON object is needed, such as {{"id": 7}}')
    check_json(value, "body")
    return value


def seconds(text: str, what: str) -> float:
    """A span of time: `30d`, `12h`, `5m`, `90s`, `250ms`; a bare number is seconds.

    Raises:
        ConfigError: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f'{what}: "{text}" is no span of time; write 30d, 12h, 5m, 90s or 250ms')
    span = float(found[1]) * _SECONDS[found[2] or "s"]
    if span > SPAN_MAX_S:
        raise ConfigError(f"{what}: more than a hundred years; leave it out for as long as it takes")
    return span


def retention_of(text: str) -> float | None:
    """How long flows that ended are kept, in seconds; None, for `off`: for ever."""
    return None if text == "off" else seconds(text, "--retention")


def _read(path: str, what: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(BODY_BYTES_MAX + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(BODY_BYTES_MAX + 1)
        if len(data) > BODY_BYTES_MAX:
            raise ConfigError(
                f"{what}: {path} has more than {BODY_BYTES_MAX // 2**20} MiB; name the file in the body instead"
            )
        return data.decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{what}: {path}: {(reason or str(error)).lower()}") from error


def _json(text: str, what: str) -> object:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        reason = "half of a surrogate pair, which is no Unicode" if HALF_PAIR.search(text) else error
        raise ConfigError(f"{what}: no JSON: {reason}") from error
    except RecursionError:
        raise ConfigError(f"{what}: no JSON of a body: nested too deeply") from None
    check_keys(text, what)
    return value


def guards_of(words: Iterable[str]) -> dict[str, int]:
    """Numbers by name, from `idle-events=100`.

    Raises:
        ConfigError: a word is no such thing.
    """
    found: dict[str, int] = {}
    for word in words:
        name, _, text = word.partition("=")
        if not name or not text.isascii() or not text.isdigit():
            raise ConfigError(f"--guard {word}: NAME=N is expected, such as idle-events=100")
        found[name] = int(text)
    return found


_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def resources_of(words: Iterable[str]) -> dict[str, float]:
    """Counts by name, from `license.toolA=2`, `cores=3.5`, `memory=8GiB`.

    Raises:
        ConfigError: a word is none of these.
    """
    found: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        number, factor = text, 1
        for unit, size in _SIZES.items():
            if text.endswith(unit):
                number, factor = text.removesuffix(unit), size
        try:
            found[name] = float(number) * factor
        except ValueError:
            raise ConfigError(
                f"--resource {word}: NAME=N is expected, such as license.toolA=2 or memory=8GiB"
            ) from None
        if not equals or not name:
            raise ConfigError(f"--resource {word}: NAME=N is expected, such as license.toolA=2 or memory=8GiB")
    return found
