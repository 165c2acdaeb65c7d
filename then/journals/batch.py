"""What one `append` or `prune` was given, checked and put in order.

Both journals write batches in the same way; how is here, where to is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from operator import itemgetter
from typing import Final, NamedTuple

from then.abc import Cell, Entry
from then.core.errors import InternalError

_KIND: Final = itemgetter(0)
_KEY: Final = itemgetter(1)


class Cells(NamedTuple):
    """The cells of one batch: the last word on each, in key order, as rows."""

    puts: list[tuple[str, str, bytes]]
    drops: list[tuple[str, str]]


def rows_of(entries: Sequence[Entry], last: int) -> list[tuple[int, bytes]]:
    """The entries as rows, once it is certain that they follow `last` without a gap.

    Raises:
        InternalError: they do not: two engines, or a step journalled twice.
    """
    rows = [(entry.seq, entry.data) for entry in entries]
    for expected, row in enumerate(rows, last + 1):
        if row[0] != expected:
            raise out_of_order(row[0], expected)
    return rows


def out_of_order(found: int, expected: int) -> InternalError:
    return InternalError(
        f"journal: entry {found} where {expected} must follow; this is a fault of andthen, report it with the journal"
    )


def cells_of(cells: Iterable[Cell]) -> Cells:
    """Of several cells of one key the last holds; sorted, so that neighbours meet on one page."""
    # Sorted as they are, twice, which keeps their order where they are equal: there may be a hundred thousand, and
    # nothing is made for each.
    ordered = sorted(cells, key=_KEY)
    ordered.sort(key=_KIND)
    puts: list[tuple[str, str, bytes]] = []
    drops: list[tuple[str, str]] = []
    for cell, following in zip_longest(ordered, islice(ordered, 1, None)):
        kind, key, data = cell
        if following is not None and following[1] == key and following[0] == kind:
            continue
        if data is None:
            drops.append((kind, key))
        else:
            puts.append(cell)  # type: ignore[arg-type] # As was looked at.
    return Cells(puts, drops)


def runs_of(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The seqs as first and last of each unbroken run: far fewer statements than seqs."""
    runs: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if runs and runs[-1][1] == seq - 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return runs
