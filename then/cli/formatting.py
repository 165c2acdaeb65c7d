"""Files brought into the one layout."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from then.cli.listing import print_object
from then.cli.settings import Settings, say
from then.core.errors import ConfigError, RuleError
from then.language.files import decode
from then.language.format import format_text


def format_paths(settings: Settings, paths: Iterable[str], *, is_check: bool) -> int:
    """Formats files. Gives 2 where one is no text of the language, 1 where a check finds one that is not in the layout."""
    code = 0
    for path in _files(paths):
        try:
            is_changed = _format(path, is_check=is_check)
        except RuleError as error:
            # The others are formatted all the same.
            say(str(error))
            code = 2
            continue
        if is_changed and path != "-":
            if settings.is_json:
                print_object({"file": path})
            else:
                sys.stdout.write(f"{path}\n")
        if is_changed and is_check:
            code = max(code, 1)
    return code


def _files(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path == "-" or os.path.isfile(path):
            yield path
        elif os.path.isdir(path):
            yield from _below(path)
        else:
            raise ConfigError(f'no file or folder "{path}"')


def _below(folder: str) -> Iterator[str]:
    """The .then files in a folder and below; hidden folders, such as the state, are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".then") and not name.startswith("."):
                yield os.path.join(place, name)


def _format(path: str, *, is_check: bool) -> bool:
    """Whether the text was not in the layout. Written anew, whole, unless it is only checked."""
    if path == "-":
        text = decode(sys.stdin.buffer.read(), "standard input")
        laid_out = format_text(text, "standard input")
        if not is_check:
            sys.stdout.write(laid_out)
        return laid_out != text
    with open(path, "rb") as file:
        data = file.read()
    formatted = format_text(decode(data, path), path).encode()
    if formatted == data:
        return False
    if not is_check:
        _replace(Path(os.path.realpath(path)), formatted)
    return True


def _replace(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, with the mode that it had."""
    fd, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.chmod(fresh, path.stat().st_mode & 0o7777)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
