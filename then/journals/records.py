"""What stands in `journal.tail`: a header, and one record for each append.

The file is as long from the beginning as it will ever be. Records lie one
behind the other after the header, and where the next does not follow, the tail
ends: an append that was cut short, or what is left of the tail before.

A record is taken only if it names the generation that is looked for and the seq
that comes next, and if its checksum is right. The checksum begins with the
file's salt, so that no entry can hold what would be taken for a record.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from then.abc import Entry
from then.journals.lock import boot_id

FORMAT: Final = 2
"""Of header and records; told to the journal's reader by name where it is newer. In 1 no record carries files."""
HEADER_BYTES: Final = 4096
"""A block of its own: what is written behind it never touches it."""
RECORDS_BYTES: Final = 512 * 1024
"""Room for records, some 2,000 of an ordinary size: so many are moved in one transaction, in a few milliseconds."""
FILE_BYTES: Final = HEADER_BYTES + RECORDS_BYTES

_MAGIC: Final = b"then\rtail"
_HEADER: Final = struct.Struct("<9sxHI?36s")
"""Magic, format, salt, is it synced, the run of the kernel (`boot_id`) that it was made in."""
_MARK: Final = b"\xabent"
_RECORD: Final = struct.Struct("<4sIIIQQ")
"""Mark; checksum of all that follows it; bytes after this head; entries; generation; seq of the first entry."""
_UNCHECKED: Final = struct.Struct("<4sI")
_CHECKED: Final = struct.Struct("<IIQQ")
_CHECKED_AT: Final = 8
_CARRIES: Final = 1 << 31
"""Set in the number of entries: before them stand the length of what the record carries, and that."""
_LENGTH: Final = struct.Struct("<I")
RECORD_BYTES: Final = _RECORD.size


class Header(msgspec.Struct, frozen=True):
    """What a tail says of itself. It stays as it is for as long as the file is there."""

    salt: int
    is_synced: bool
    """Each append was synced before it returned (`power`)."""
    boot: str
    """The run of the kernel that it was made in."""


def new_header(*, is_synced: bool) -> Header:
    return Header(int.from_bytes(os.urandom(4), "little"), is_synced, boot_id())


def header_bytes(header: Header) -> bytes:
    packed = _HEADER.pack(_MAGIC, FORMAT, header.salt, header.is_synced, header.boot.encode()[:36])
    return packed.ljust(HEADER_BYTES, b"\0")


def format_of(data: bytes) -> int | None:
    """The format that a file's first bytes name: 0 where they were never written, None where they are not ours."""
    if not data[: _HEADER.size].strip(b"\0"):
        return 0
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return None
    return int(_HEADER.unpack_from(data)[1])


def header_of(data: bytes) -> Header:
    """The header in the first bytes of a file whose format is `FORMAT`."""
    _, _, salt, is_synced, boot = _HEADER.unpack_from(data)
    return Header(salt, is_synced, boot.rstrip(b"\0").decode("ascii", "replace"))


def record_of(entries: Sequence[Entry], generation: int, salt: int, carried: bytes = b"") -> bytes:
    """The entries of one append and what goes along with them: together or not at all."""
    if len(entries) == 1:
        content = entries[0].data
    else:
        sizes = struct.pack(f"<{len(entries)}I", *[len(entry.data) for entry in entries])
        content = sizes + b"".join([entry.data for entry in entries])
    count, seq = len(entries), entries[0].seq
    if carried:
        content = _LENGTH.pack(len(carried)) + carried + content
        count |= _CARRIES
    size_bytes = len(content)
    checked = _CHECKED.pack(size_bytes, count, generation, seq) + content
    return _UNCHECKED.pack(_MARK, crc32(checked, salt)) + checked


class Found(NamedTuple):
    """A record that was read."""

    generation: int
    entries: list[Entry]
    end: int
    """Where the next one begins."""
    carried: bytes = b""


def record_at(data: bytes, begin: int, salt: int) -> Found | None:
    """The record that begins there; None where none does, or not all of one."""
    if begin + RECORD_BYTES > len(data):
        return None
    mark, checksum, size_bytes, count, generation, seq = _RECORD.unpack_from(data, begin)
    content = begin + RECORD_BYTES
    end = content + size_bytes
    if mark != _MARK or end > len(data):
        return None
    if crc32(memoryview(data)[begin + _CHECKED_AT : end], salt) != checksum:
        return None
    carried = b""
    if count & _CARRIES:
        begin = content + _LENGTH.size
        content = begin + int(_LENGTH.unpack_from(data, content)[0])
        carried = data[begin:content]
        count ^= _CARRIES
    if count == 1:
        return Found(generation, [Entry(seq, data[content:end])], end, carried)
    sizes = struct.unpack_from(f"<{count}I", data, content)
    begins = itertools.accumulate(sizes, initial=content + 4 * count)
    entries = [
        Entry(seq + place, data[at : at + size]) for place, (at, size) in enumerate(zip(begins, sizes, strict=False))
    ]
    return Found(generation, entries, end, carried)


def is_head(data: bytes) -> bool:
    """True where a record may begin with these bytes."""
    return data.startswith(_MARK)


def is_beyond(data: bytes, end: int, salt: int, generation: int) -> bool:
    """True where a record of this generation lies behind the place at which the records end."""
    place = data.find(_MARK, end + 1)
    while place != -1:
        found = record_at(data, place, salt)
        if found is not None and found.generation == generation:
            return True
        place = data.find(_MARK, place + 1)
    return False
