"""Tables that rules are filed in: from a field's value to the codes of rules.

A table is filled rule by rule (`file`), in their order, and then frozen into a
function that adds to a list what it finds for a record (`collector`). A code is
an integer that sorts as the rules do; a bucket is one code, or a tuple of them,
since most buckets hold one and a tuple of one costs as much again.

What a table finds is exact for JSON values. Values that are none, such as a
tuple in a record made by hand, make a collector raise `OddValueError`; who asked
then takes the plain way.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

from then.core.clauses import Place, is_safe_key
from then.core.fields import MISSING, reader
from then.core.filing import Equal, Item, Key, Prefix, Stretch
from then.core.tasks import OWN_FIELDS, Json, Task

Code: TypeAlias = int
Bucket: TypeAlias = Code | tuple[Code, ...]
Collector: TypeAlias = Callable[[Task, list[Code]], None]

_JSON_TYPES: Final = frozenset((str, int, float, bool, type(None), list, dict, type(MISSING)))


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

    def frozen(self) -> dict[Json, Bucket]:
        held = self._held
        for key, bucket in held.items():
            if type(bucket) is list:
                held[key] = tuple(bucket)  # type: ignore[assignment]
        return held  # type: ignore[return-value]


class Table(Protocol):
    """Rules by the keys of one field."""

    def file(self, key: Key, code: Code, tested: Code) -> None:
        """Files a rule.

        Args:
            key: one of the kind that the table is for.
            code: found where the key says all that `code` does not say is tested.
            tested: found where the table looked at a part of the key only.
        """

    def collector(self) -> Collector:
        """What looks into it; nothing is filed any more."""


def table_for(key: Key) -> Table:
    """An empty table for keys like this one."""
    match key:
        case Equal(place):
            return EqualTable(place)
        case Item(place):
            return ItemTable(place)
        case Prefix(place):
            return PrefixTable(place)
        case Stretch(place):
            return StretchTable(place, of_texts=key.is_of_texts)


def _add(found: list[Code], bucket: Bucket) -> None:
    if type(bucket) is int:
        found.append(bucket)
    else:
        found += bucket  # type: ignore[arg-type]


class EqualTable:
    """For clauses that a field equals something, or is one of a few."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_simple = len(place.path) == 1 and place.source == "any" and place.path[0] not in OWN_FIELDS
        """Its keys need no care, and its field none in reading: the index looks into it by itself."""
        self._buckets = Buckets()
        self._odd = Buckets()
        # Python holds True for 1 and a missing field's stand-in for null, so that these keys are kept apart.

    def file(self, key: Key, code: Code, tested: Code) -> None:
        assert type(key) is Equal
        self.file_value(key.value, code)

    def file_value(self, value: Json, code: Code) -> None:
        if type(value) is str or is_safe_key(value):
            self._buckets.file(value, code)
        else:
            self.is_simple = False
            self._odd.file((type(value) is bool, value), code)

    def buckets(self) -> dict[Json, Bucket]:
        return self._buckets.frozen()

    def collector(self) -> Collector:
        read = reader(*self.place)
        buckets, odd = self._buckets.frozen(), self._odd.frozen()

        def collect(task: Task, found: list[Code]) -> None:
            value = read(task)
            if value is MISSING:
                return
            try:
                bucket = buckets.get(value)
                if bucket is not None:
                    _add(found, bucket)
                elif odd:
                    bucket = odd.get((type(value) is bool, value))
                    if bucket is not None:
                        _add(found, bucket)
            except TypeError:
                return  # A list or a map: it equals no key, for none is one.

        return collect


class TogetherTable:
    """For rules that ask several fields at once, where each alone would leave too many."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        self._places = places
        self._buckets = Buckets()

    def file(self, values: tuple[Json, ...], code: Code) -> None:
        assert all(is_safe_key(value) for value in values)
        self._buckets.file(values, code)

    def collector(self) -> Collector:
        reads = [reader(*place) for place in self._places]
        buckets = self._buckets.frozen()

        def collect(task: Task, found: list[Code]) -> None:
            try:
                bucket = buckets.get(tuple([read(task) for read in reads]))
            except TypeError:
                return
            if bucket is not None:
                _add(found, bucket)

        return collect


class ItemTable:
    """For clauses that a list holds an item. A text may hold it too: then each rule is a candidate."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._buckets = Buckets()
        self._codes: list[Code] = []

    def file(self, key: Key, code: Code, tested: Code) -> None:
        assert type(key) is Item
        # Its clause is tested again, so that a key may find too much: 1 for true.
        self._buckets.file(key.value, code)
        self._codes.append(code)

    def collector(self) -> Collector:
        read = reader(*self._place)
        buckets, codes = self._buckets.frozen(), self._codes

        def collect(task: Task, found: list[Code]) -> None:
            value = read(task)
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

        return collect


class PrefixTable:
    """For regexes that begin with a literal. There are at most LENGTHS_MAX lookups, one for each length."""

    LENGTHS_MAX = 8

    def __init__(self, place: Place) -> None:
        self._place = place
        self._filed: list[tuple[str, Code, Code]] = []

    def file(self, key: Key, code: Code, tested: Code) -> None:
        assert type(key) is Prefix
        self._filed.append((key.text, code, tested))

    def collector(self) -> Collector:
        lengths = sorted({len(prefix) for prefix, _, _ in self._filed})
        if len(lengths) > self.LENGTHS_MAX:
            # Every so many-th, the shortest among them: each prefix is cut to the next that is not longer.
            step = -(-len(lengths) // self.LENGTHS_MAX)
            lengths = lengths[::step]
        buckets = Buckets()
        for prefix, code, tested in self._filed:
            length = lengths[bisect_right(lengths, len(prefix)) - 1]
            buckets.file(prefix[:length], code if length == len(prefix) else tested)
        read, table = reader(*self._place), buckets.frozen()

        def collect(task: Task, found: list[Code]) -> None:
            value = read(task)
            if type(value) is not str:
                if type(value) not in _JSON_TYPES:
                    raise OddValueError
                return
            if not value.isascii() and not _is_unicode(value):
                return  # No regex is found in it; see then.core.operations.is_match.
            for length in lengths:
                bucket = table.get(value[:length])
                if bucket is not None:
                    _add(found, bucket)

        return collect


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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

    WIDTH_BITS = 4
    WIDTH = 1 << WIDTH_BITS

    def __init__(self, place: Place, *, of_texts: bool) -> None:
        self._place = place
        self._of_texts = of_texts
        self._one_sided: dict[tuple[bool, bool], list[tuple[Json, Code]]] = {}
        self._two_sided: list[tuple[Stretch, Code]] = []

    def file(self, key: Key, code: Code, tested: Code) -> None:
        assert type(key) is Stretch
        if key.high is None:
            self._one_sided.setdefault((True, key.includes_low), []).append((key.low, code))
        elif key.low is None:
            self._one_sided.setdefault((False, key.includes_high), []).append((key.high, code))
        else:
            self._two_sided.append((key, code))

    def collector(self) -> Collector:
        read = reader(*self._place)
        asks = [_side(is_low, includes, filed) for (is_low, includes), filed in self._one_sided.items()]
        if self._two_sided:
            asks.append(self._stretches())
        kinds = (str,) if self._of_texts else (int, float)

        def collect(task: Task, found: list[Code]) -> None:
            value = read(task)
            # By class, before any bisect: True > 0.5 does not raise, and a NaN is found anywhere.
            if type(value) not in kinds:
                if type(value) not in _JSON_TYPES:
                    raise OddValueError
                return
            if value == value:  # noqa: PLR0124 (not a NaN)
                for ask in asks:
                    ask(value, found)

        return collect

    def _stretches(self) -> Callable[[Json, list[Code]], None]:
        bounds = sorted({bound for stretch, _ in self._two_sided for bound in (stretch.low, stretch.high)})
        number = {bound: 2 * position + 1 for position, bound in enumerate(bounds)}
        levels: list[dict[int, list[Code]]] = []
        for stretch, code in self._two_sided:
            first = number[stretch.low] + (not stretch.includes_low)
            last = number[stretch.high] - (not stretch.includes_high)
            for level, node in self._nodes(first, last):
                while len(levels) <= level:
                    levels.append({})
                levels[level].setdefault(node, []).append(code)
        frozen = [
            (level * self.WIDTH_BITS, {node: tuple(codes) for node, codes in nodes.items()})
            for level, nodes in enumerate(levels)
            if nodes
        ]

        def ask(value: Json, found: list[Code]) -> None:
            position = bisect_left(bounds, value)
            at = 2 * position + (position < len(bounds) and bounds[position] == value)
            for shift, nodes in frozen:
                codes = nodes.get(at >> shift)
                if codes is not None:
                    found += codes

        return ask

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


def _side(is_low: bool, includes: bool, filed: list[tuple[Json, Code]]) -> Callable[[Json, list[Code]], None]:
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
