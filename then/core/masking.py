"""Masks: texts, JSON trees and bytes in which the values of secrets are replaced by `***`.

A mask knows values, and finds each as it is and as `repr`, JSON and a URL
write it; base64 and the like it does not find. Where occurrences overlap, all
that they cover is one `***`, so that no end of one stays.

Pure. Who reads secrets is `then.app.secrets`; who asks is the loop, before a
report is recorded, and whoever shows what a task wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

from then.core.tasks import Body, Json

MASKED: Final = "***"
VALUE_CHARACTERS_MIN: Final = 4
"""A shorter value is no secret: nearly every text holds it, and would be masked away."""
VALUES_MAX: Final = 1000
"""Values that are remembered; of tokens that change with each start the oldest are forgotten."""
HELD_BYTES_MAX: Final = 1 << 20
"""So much of a stream is held back at most: a value that goes on and on is let go in parts."""

_Text = TypeVar("_Text", str, bytes)
_NUMERIC: Final = re.compile(r"[0-9.eE+-]+")


class Mask:
    """The values of secrets that are known here. One thread at a time may add; any may ask meanwhile."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: dict[str, frozenset[str]] = {}
        """Each with its forms."""
        self._texts: tuple[str, ...] = ()
        """What is looked for, longest first."""
        self._bytes: tuple[bytes, ...] = ()
        self._has_numeric = False
        self._hidden: set[str] = set()
        self.is_empty = True
        """Whether it knows no value: then nothing need be looked at."""
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Masks this value too, from now on; the newest `VALUES_MAX` are known."""
        if not value or value in self._values:
            return
        known = {**self._values, value: frozenset(_forms(value))}
        if len(known) > VALUES_MAX:
            del known[next(iter(known))]
        texts = sorted(frozenset().union(*known.values()), key=lambda form: (-len(form), form))
        # Each in one assignment, so that whoever asks meanwhile sees all of before or all of now.
        self._values = known
        self._has_numeric = any(_NUMERIC.fullmatch(text) for text in texts)
        self._bytes = tuple(text.encode(errors="surrogateescape") for text in texts)
        self._texts = tuple(texts)
        self.is_empty = False

    def hide(self, id: str) -> None:
        """What this task wrote may hold values that are not known here: it is not to be shown."""
        self._hidden.add(id)

    def hides(self, id: str) -> bool:
        return id in self._hidden

    def text(self, text: str) -> str:
        """The text without the values; the same object where it holds none."""
        return _replaced(text, list(_spans(text, self._texts)), MASKED)

    def data(self, data: bytes) -> bytes:
        """Likewise of bytes, in which values are looked for as UTF-8."""
        return _replaced(data, list(_spans(data, self._bytes)), MASKED.encode())

    def tree(self, value: Json) -> Json:
        """A JSON tree without the values, in keys and numbers too; the same object where it holds none.

        Cost: grows with its nodes times the values that are known.
        """
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is dict:
            items = {self.text(key): self.tree(item) for key, item in value.items()}
            return value if all(items.get(key, items) is item for key, item in value.items()) else items
        if kind is list:
            found = [self.tree(item) for item in value]
            return value if all(a is b for a, b in zip(value, found, strict=True)) else found
        if self._has_numeric and (kind is int or kind is float):
            shown = msgspec.json.encode(value).decode()
            return value if self.text(shown) is shown else MASKED
        return value

    def body(self, body: Body | None) -> Body | None:
        """`tree` of a result or an error."""
        return None if body is None else self.tree(body)

    def stream(self) -> MaskedStream:
        """Masks bytes that come in parts."""
        return MaskedStream(self)

    @property
    def reach(self) -> int:
        """Bytes of the longest form that is looked for."""
        return max(map(len, self._bytes), default=0)

    def beginning(self, data: bytes, at: int) -> int:
        """The place, or the beginning of the value that it stands in: to show from there on shows no end of it."""
        return next((start for start, end in _merged(_spans(data, self._bytes)) if start < at < end), at)

    def held(self, data: bytes) -> int:
        """How much of the data can be masked by now: behind it a value may begin whose end is still to come."""
        cut = _open_end(data, self._bytes)
        for start, end in reversed(_merged(_spans(data, self._bytes))):
            if start < cut < end:
                cut = start
        return cut


class MaskedStream:
    """Bytes that come in parts, masked across their borders."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What of all that came can be shown by now."""
        if self._mask.is_empty and not self._rest:
            return data
        data = self._rest + data
        cut = self._mask.held(data)
        if len(data) - cut > HELD_BYTES_MAX:
            cut = len(data)
        self._rest = data[cut:]
        return self._mask.data(data[:cut])

    def finish(self) -> bytes:
        """The rest: no more comes."""
        rest, self._rest = self._rest, b""
        return self._mask.data(rest)


def _forms(value: str) -> Iterator[str]:
    """A value as it may be written: plain, and as it stands in a `repr`, in JSON, in a URL; with and without blank ends."""
    stripped = value.strip()
    yield from _written(value)
    if stripped != value and len(stripped) >= VALUE_CHARACTERS_MIN:
        yield from _written(stripped)


def _written(value: str) -> Iterator[str]:
    yield value
    shown = repr(value)[1:-1]
    yield shown
    try:
        yield msgspec.json.encode(value).decode()[1:-1]
        yield quote(value, safe="")
        yield quote_plus(value)
    except UnicodeEncodeError:
        pass  # Bytes of the environment that are no UTF-8: no JSON or URL holds them.
    yield _ascii(value)


def _ascii(value: str) -> str:
    """As JSON for ASCII only: what most programs write."""
    return "".join(
        char if " " <= char <= "~" and char not in '"\\' else _SHORT.get(char) or _escape(char) for char in value
    )


_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _spans(text: _Text, forms: tuple[_Text, ...]) -> Iterator[tuple[int, int]]:
    """Where the forms occur, each of them with all its occurrences."""
    for form in forms:
        at = text.find(form)
        while at >= 0:
            yield at, at + len(form)
            at = text.find(form, at + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order; those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _replaced(text: _Text, spans: list[tuple[int, int]], by: _Text) -> _Text:
    if not spans:
        return text
    parts, at = [], 0
    for start, end in _merged(spans):
        parts += [text[at:start], by]
        at = end
    parts.append(text[at:])
    return text[:0].join(parts)


def _open_end(data: bytes, forms: tuple[bytes, ...]) -> int:
    """The first place from which on all that is there is the beginning, and not the whole, of a form."""
    first = len(data)
    for form in forms:
        at = data.find(form[:1], max(0, len(data) - len(form) + 1))
        while 0 <= at < first:
            if form.startswith(data[at:]):
                first = at
            else:
                at = data.find(form[:1], at + 1)
    return first
