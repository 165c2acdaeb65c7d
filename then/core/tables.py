"""Tables that rules are filed in: from a field's value to the codes of rules.

A table is filled rule by rule (`file`) and then made into a function that adds
to a list what it finds for a value (`lookup`). A code is an integer that sorts
as the rules do; a bucket is one code, or a tuple of them, since most buckets
hold one and a tuple of one costs as much again.

What a table finds is exact for JSON values. A value that is none, such as a
tuple in a record made by hand, makes a lookup raise `OddValueError`, unless it
finds what equality finds; who asked then takes the plain way.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

from then.core import regex
from then.core.clauses import is_safe_key
from then.core.filing import Equal, Found, Item, Key, Prefix, Stretch
from then.core.tasks import Json

Code: TypeAlias = int
Bucket: TypeAlias = Code | tuple[Code, ...]
Lookup: TypeAlias = Callable[[Json, list[Code]], None]

_JSON_TYPES: Final = frozenset((str, int, float, bool, type(None), list, dict))


class OddValueError(TypeError):
    """A field holds what is no JSON value."""


class Buckets:
    """Codes by key, while they are being filed."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Json, Code | list[Code]] = {}

    def file(self, key: Json, code: Code) -> None:
        held = self._held
        bucket = held.setdefault(key, code)
        if bucket is code:
            return
        if type(bucket) is list:
            if bucket[-1] != code:
                bucket.append(code)
        elif bucket != code:
            held[key] = [bucket, code]  # type: ignore[list-item]

    def __bool__(self) -> bool:
        return bool(self._held)

    def frozen(self) -> dict[Json, Bucket]:
        held = self._held
        for key, bucket in held.items():
            if type(bucket) is list:
                held[key] = tuple(bucket)  # type: ignore[assignment]
        return held  # type: ignore[return-value]


class Table(Protocol):
    """Rules by the keys of one field."""

    def file(self, key: Key, code: Code) -> None:
        """Files a rule under a key of the kind that the table is for."""

    def lookup(self) -> Lookup:
        """What finds the rules for a value of the field; nothing is filed any more."""


def table_for(key: Key) -> Table:
    """An empty table for keys like this one."""
    match key:
        case Equal():
            return EqualTable()
        case Item():
            return ItemTable()
        case Prefix():
            return PrefixTable()
        case Found():
            return RegexTable()
        case Stretch():
            return StretchTable(of_texts=key.is_of_texts)


def _add(found: list[Code], bucket: Bucket) -> None:
    if type(bucket) is int:
        found.append(bucket)
    else:
        found += bucket  # type: ignore[arg-type]


class EqualTable:
    """For clauses that a field equals something, or is one of a few."""

    def __init__(self) -> None:
        self._buckets = Buckets()
        self._odd = Buckets()
        # Python holds True for 1, and null stands for a missing field in the index: these keys are kept apart.

    @property
    def is_simple(self) -> bool:
        """Its keys need no care: the index may look into `buckets` by itself."""
        return not self._odd

    def file(self, key: Key, code: Code) -> None:
        assert type(key) is Equal
        self.file_value(key.value, code)

    def file_value(self, value: Json, code: Code) -> None:
        if type(value) is str:
            # One object for all rules that name it: it is near at hand when a lookup compares with it.
            self._buckets.file(sys.intern(value), code)
        elif is_safe_key(value):
            self._buckets.file(value, code)
        else:
            self._odd.file((type(value) is bool, value), code)

    def buckets(self) -> dict[Json, Bucket]:
        return self._buckets.frozen()

    def lookup(self) -> Lookup:
        buckets, odd = self._buckets.frozen(), self._odd.frozen()

        def look(value: Json, found: list[Code]) -> None:
            try:
                bucket = buckets.get(value)
                if bucket is None:
                    bucket = odd.get((type(value) is bool, value))
            except TypeError:
                return  # A list or a map: it equals no key, for none is one.
            if bucket is not None:
                _add(found, bucket)

        return look


class ItemTable:
    """For clauses that a list holds an item. A text may hold it too: then each rule is a candidate."""

    def __init__(self) -> None:
        self._buckets = Buckets()
        self._codes: list[Code] = []

    def file(self, key: Key, code: Code) -> None:
        assert type(key) is Item
        # Its clause is tested again, so that a key may find too much: 1 for true.
        self._buckets.file(key.value, code)
        self._codes.append(code)

    def lookup(self) -> Lookup:
        buckets, codes = self._buckets.frozen(), self._codes

        def look(value: Json, found: list[Code]) -> None:
            if type(value) is list:
                for item in value:
                    try:
                        bucket = buckets.get(item)
                    except TypeError:
                        continue
                    if bucket is not None:
                        _add(found, bucket)
            elif type(value) is str:
                found += codes
            elif type(value) not in _JSON_TYPES:
                raise OddValueError

        return look


class PrefixTable:
    """For regexes that begin with a literal. A lookup for each length, of which there are at most LENGTHS_MAX."""

    LENGTHS_MAX: Final = 8

    def __init__(self) -> None:
        self._filed: list[tuple[str, Code]] = []

    def file(self, key: Key, code: Code) -> None:
        assert type(key) is Prefix
        self._filed.append((key.text, code))

    def lookup(self) -> Lookup:
        lengths = sorted({len(prefix) for prefix, _ in self._filed})
        if len(lengths) > self.LENGTHS_MAX:
            # Every so many-th, the shortest among them: a prefix is cut to the next length that is not longer.
            lengths = lengths[:: -(-len(lengths) // self.LENGTHS_MAX)]
        whole = Buckets()
        cut: dict[str, list[tuple[str, Code]]] = {}
        for prefix, code in self._filed:
            length = lengths[bisect_right(lengths, len(prefix)) - 1]
            if length == len(prefix):
                whole.file(prefix, code)
            else:
                cut.setdefault(prefix[:length], []).append((prefix, code))
        return self._look_of(tuple(lengths), whole.frozen(), cut or None)

    @staticmethod
    def _look_of(
        lengths: tuple[int, ...], buckets: dict[Json, Bucket], cut: dict[str, list[tuple[str, Code]]] | None
    ) -> Lookup:
        # Defaults lie side by side in memory, the cells of a closure do not: with 100,000 rules each cell
        # is a wait for memory.
        def look(
            value: Json,
            found: list[Code],
            lengths: tuple[int, ...] = lengths,
            buckets: dict[Json, Bucket] = buckets,
            cut: dict[str, list[tuple[str, Code]]] | None = cut,
        ) -> None:
            if type(value) is not str:
                if type(value) not in _JSON_TYPES:
                    raise OddValueError
                return
            if not value.isascii() and not regex.is_unicode(value):
                return  # No regex is found in it.
            size = len(value)
            for length in lengths:
                if length > size:
                    return  # A slice would be the whole text once more.
                bucket = buckets.get(value[:length])
                if bucket is not None:
                    if type(bucket) is int:
                        found.append(bucket)
                    else:
                        found += bucket  # type: ignore[arg-type]
                if cut is not None:
                    found += [code for prefix, code in cut.get(value[:length], ()) if value.startswith(prefix)]

        return look


class RegexTable:
    """For regexes that begin with no literal: all of them are looked for at once."""

    def __init__(self) -> None:
        self._codes: dict[str, list[Code]] = {}

    def file(self, key: Key, code: Code) -> None:
        assert type(key) is Found
        self._codes.setdefault(key.pattern, []).append(code)

    def lookup(self) -> Lookup:
        patterns, codes = tuple(self._codes), tuple(self._codes.values())
        finder = regex.Finder(patterns)

        def look(value: Json, found: list[Code]) -> None:
            if type(value) is not str:
                if type(value) not in _JSON_TYPES:
                    raise OddValueError
                return
            for number in finder.find(value):
                found += codes[number]

        return look


class StretchTable:
    """For bounds: those of one side in order of their bound, those of two in stretches between all bounds.

    The bounds of two-sided rules cut the line into points and gaps: gap 0,
    bound 0, gap 1, bound 1, …: numbers 0, 1, 2, 3, …. A rule covers a run of
    these. A run is filed under few nodes: runs of WIDTH numbers that begin at a
    multiple of WIDTH are nodes of the level above, and so on, so that a wide
    rule is in some dozens of nodes, and a value is in one node of each level.

    Source: a segment tree (Bentley 1977), with more than two children to a node
    because each level is a lookup.
    """

    WIDTH_BITS: Final = 4
    WIDTH: Final = 16

    def __init__(self, *, of_texts: bool) -> None:
        self._of_texts = of_texts
        self._one_sided: dict[tuple[bool, bool], list[tuple[Json, Code]]] = {}
        self._two_sided: list[tuple[Stretch, Code]] = []

    def file(self, key: Key, code: Code) -> None:
        assert type(key) is Stretch
        if key.high is None:
            self._one_sided.setdefault((True, key.includes_low), []).append((key.low, code))
        elif key.low is None:
            self._one_sided.setdefault((False, key.includes_high), []).append((key.high, code))
        else:
            self._two_sided.append((key, code))

    def lookup(self) -> Lookup:
        asks = tuple([_side(is_low, includes, filed) for (is_low, includes), filed in self._one_sided.items()])
        if self._two_sided:
            asks = (*asks, self._two_sided_look())
        kind, other = (str, str) if self._of_texts else (int, float)
        ask = asks[0] if len(asks) == 1 else None

        def look(
            value: Json, found: list[Code], kind: type = kind, other: type = other, ask: Lookup | None = ask
        ) -> None:
            # By class, before any bisect: True > 0.5 does not raise, and a NaN is found anywhere.
            if type(value) is kind or (type(value) is other and value == value):  # noqa: PLR0124
                if ask is not None:
                    ask(value, found)
                    return
                for each in asks:
                    each(value, found)
            elif type(value) not in _JSON_TYPES:
                raise OddValueError

        return look

    def _two_sided_look(self) -> Lookup:
        bounds, ground, above = self._stretches()
        if not self._of_texts:
            bounds = [bound + 0 for bound in bounds]  # New numbers, side by side, for the rules' own lie far apart.
        marks = (*bounds, None)  # So that there is one at the end as well, which equals nothing.

        # Defaults: see PrefixTable.
        def look(
            value: Json,
            found: list[Code],
            marks: tuple[Json, ...] = marks,
            count: int = len(bounds),
            ground: tuple[tuple[Code, ...], ...] = tuple(ground),
            above: tuple[tuple[int, dict[int, tuple[Code, ...]]], ...] = tuple(above),
        ) -> None:
            position = bisect_left(marks, value, 0, count)
            found += ground[2 * position + 1 if marks[position] == value else 2 * position]
            for shift, nodes in above:
                found += nodes.get((2 * position + (marks[position] == value)) >> shift, ())

        return look

    def _stretches(self) -> tuple[list[Json], list[tuple[Code, ...]], list[tuple[int, dict[int, tuple[Code, ...]]]]]:
        """The bounds, the codes of each point and gap, and above them those of the wider nodes, by their shift."""
        bounds = sorted({bound for stretch, _ in self._two_sided for bound in (stretch.low, stretch.high)})
        number = {bound: 2 * position + 1 for position, bound in enumerate(bounds)}
        levels: list[dict[int, list[Code]]] = [{}]
        for stretch, code in self._two_sided:
            first = number[stretch.low] + (not stretch.includes_low)
            last = number[stretch.high] - (not stretch.includes_high)
            for level, node in self._nodes(first, last):
                while len(levels) <= level:
                    levels.append({})
                levels[level].setdefault(node, []).append(code)
        ground = [tuple(levels[0].get(node, ())) for node in range(2 * len(bounds) + 1)]
        above = [
            (level * self.WIDTH_BITS, {node: tuple(codes) for node, codes in levels[level].items()})
            for level in range(1, len(levels))
        ]
        return bounds, ground, above

    def _nodes(self, first: int, last: int) -> Iterable[tuple[int, int]]:
        """Levels and nodes that cover the run, each number once."""
        level, width = 0, self.WIDTH
        while first <= last:
            if last - first < 2 * width:
                yield from ((level, node) for node in range(first, last + 1))
                return
            while first % width:
                yield level, first
                first += 1
            while (last + 1) % width:
                yield level, last
                last -= 1
            first, last, level = first // width, last // width, level + 1


def _side(is_low: bool, includes: bool, filed: list[tuple[Json, Code]]) -> Lookup:
    """Rules of one side: those whose bound is passed are a beginning, or an end, of all in order."""
    filed.sort()
    bounds, codes = [bound for bound, _ in filed], [code for _, code in filed]
    # `v >= bound` holds up to the last equal bound, `v > bound` up to the first; from there on the others.
    cut = bisect_right if is_low == includes else bisect_left

    def ask_low(value: Json, found: list[Code]) -> None:
        found += codes[: cut(bounds, value)]

    def ask_high(value: Json, found: list[Code]) -> None:
        found += codes[cut(bounds, value) :]

    return ask_low if is_low else ask_high
