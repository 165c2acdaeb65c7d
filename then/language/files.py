"""The files of a project: found inside its root only, read once, as text.

A file is known by its *key*, its path from the root with `/` between; keys are
what `RuleSet.sources` has, so that a rules version does not depend on where
the project lies. `Files` reads the disk; `Stored` gives the same files as they
were when a version was journalled.

One key is no path: `then` is the prelude, a file of this package. It is read
like the others, and kept like them, so that a flow keeps the prelude that it
began with.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from then.core.errors import RuleSyntaxError
from then.core.source import Span
from then.language.findings import FileRefused

PRELUDE: Final = "then"
"""What `use NAME from "then"` names: rules that come with this package."""

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""100,000 rules are 20 MiB; what is larger is no file that somebody wrote."""

# What turns the direction of a text that follows it: a reader would see another rule than the engine.
_BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

_CONTROL: Final = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""All but tab and the ends of lines; NUL has a message of its own."""


class Reader(Protocol):
    """Where the files of a project come from."""

    def text(self, key: str) -> str:
        """The text of a file.

        Raises:
            FileRefused, RuleSyntaxError: it cannot be read, or is no text.
        """

    def names(self) -> list[str]:
        """Files in the root folder itself, hidden ones left out, in the order of their names."""

    def shown(self, key: str) -> str:
        """The file as messages name it."""

    def value(self, key: str, name: str) -> str | None:
        """What a `let` of the file came to, as JSON, where that is settled already."""


class Files:
    """The disk, from a root folder down.

    Args:
        root: symbolic links may not lead out of it.
        prefix: what messages put before a key: the folder as the user gave it.
    """

    def __init__(self, root: Path, prefix: str = "") -> None:
        self.root = Path(os.path.realpath(root))
        self._prefix = prefix

    def text(self, key: str) -> str:
        if key == PRELUDE:
            return prelude()
        real = os.path.realpath(self.root / key)
        if not Path(real).is_relative_to(self.root):
            raise FileRefused(f'"{self.shown(key)}" leads out of the project\'s root')
        try:
            if not os.path.isfile(real):
                raise FileRefused(f'no file "{self.shown(key)}"')
            with open(real, "rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise FileRefused(f'"{self.shown(key)}" cannot be read: {(reason or str(error)).lower()}') from error
        return decode(data, self.shown(key))

    def names(self) -> list[str]:
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())

    def shown(self, key: str) -> str:
        return key if key == PRELUDE else os.path.join(self._prefix, key)

    def value(self, key: str, name: str) -> str | None:
        return None


class Stored:
    """Files as they were when a version was journalled: `RuleSet.sources`."""

    def __init__(self, sources: Mapping[str, str], prefix: str = "") -> None:
        self._sources = sources
        self._prefix = prefix

    def text(self, key: str) -> str:
        text = self._sources.get(key)
        if text is None:
            raise FileRefused(f'"{key}" is not in the version of the rules that the journal holds')
        return text

    def names(self) -> list[str]:
        return sorted(key for key in self._sources if "/" not in key and "#" not in key)

    def shown(self, key: str) -> str:
        return key if key == PRELUDE else os.path.join(self._prefix, key)

    def value(self, key: str, name: str) -> str | None:
        return self._sources.get(value_key(key, name))


def prelude() -> str:
    """The text of the prelude, as this package has it."""
    return Path(__file__).with_name("prelude.then").read_text("utf-8")


def value_key(key: str, name: str) -> str:
    """Under which name the value of a `let` stands in `RuleSet.sources`."""
    return f"{key}#{name}"


def beside(key: str, path: str) -> str:
    """The key of a file that another names, relative to it; that of the prelude is its name.

    Raises:
        FileRefused: it is absolute, or leads out of the root.
    """
    if path == PRELUDE:
        return PRELUDE
    if posixpath.isabs(path) or "\0" in path or not path:
        raise FileRefused(f"{path!r} is no path relative to this file")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(key), path))
    if found == ".." or found.startswith("../"):
        raise FileRefused(
            f'"{path}" leads out of the project\'s root; files are found in the folder of the file that is run, and below'
        )
    return found


def decode(data: bytes, file: str) -> str:
    """The text of a file: UTF-8, lines ended by a line feed, a byte order mark left out.

    Raises:
        FileRefused: it is too large.
        RuleSyntaxError: it is not UTF-8, or has characters that no rule needs: controls, NUL among them, and those that
            turn the direction of what follows.
    """
    if len(data) > FILE_BYTES_MAX:
        raise FileRefused(f'"{file}" is larger than {FILE_BYTES_MAX // 2**20} MiB')
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        before = data[:start].decode("utf-8-sig", "replace")
        message = (
            f"the byte 0x{data[start]:02x} is no UTF-8; save the file as UTF-8 (it is byte {start + 1} of the file)"
        )
        raise RuleSyntaxError(message, _span(before, len(before), file)) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        at = text.index("\0")
        raise RuleSyntaxError("a NUL character; this is no text", _span(text, at, file))
    if (found := _CONTROL.search(text)) is not None:
        code = ord(found[0])
        message = (
            f"the control character U+{code:04X}, which a terminal obeys and nobody sees; in a text write \\u{code:04x}"
        )
        raise RuleSyntaxError(message, _span(text, found.start(), file))
    if not text.isascii():
        for character in _BIDI:
            at = text.find(character)
            if at >= 0:
                message = f"the character U+{ord(character):04X} turns the direction of the text after it: what one reads is not what runs"
                raise RuleSyntaxError(message, _span(text, at, file))
    return text


def _span(text: str, at: int, file: str) -> Span:
    return Span(file, text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1)
