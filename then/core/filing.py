"""Under what a rule is filed, so that a record finds it.

Of the clauses that must all hold, one is chosen whose truth implies that the
record has one of a few keys: `project == "web"` is a key, `region in [a, b]`
are two, `x == 1 or y == 2` one of each, `size > 5 and size <= 9` a stretch, and
a regex that begins with `^src/` a prefix. A record whose fields have none of a
rule's keys cannot match it; one that has still has to pass the clauses that are not `Filing.said`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from then.core import regex
from then.core.clauses import Op, Place, comparison, place_of, positive
from then.core.filters import And, Const, Contains, Expr, Field, In, IsNull, Matches, Name, Not, Or
from then.core.tasks import Json
from then.core.values import kind_of

KEYS_MAX: Final = 1_000
"""Keys of one rule: a list of allowed names, but not a blocklist of a million."""


class Equal(NamedTuple):
    """A field equals a value that is no list and no map."""

    place: Place
    value: Json


class Item(NamedTuple):
    """A list holds an equal item, or a text holds the text."""

    place: Place
    value: Json


class Prefix(NamedTuple):
    """A text begins so."""

    place: Place
    text: str


class Found(NamedTuple):
    """A regex is found in a text."""

    place: Place
    pattern: str


class Stretch(NamedTuple):
    """A number, or a text, between two bounds; null is no bound."""

    place: Place
    low: Json
    includes_low: bool
    high: Json
    includes_high: bool

    @property
    def is_of_texts(self) -> bool:
        """Order is between two numbers, or between two texts."""
        return kind_of(self.low if self.high is None else self.high) == "text"


Key: TypeAlias = Equal | Item | Prefix | Found | Stretch


class Filing(NamedTuple):
    """The keys of a rule, one of which every record that matches it has."""

    keys: tuple[Key, ...]
    """None where nothing can match: `x in []`."""
    said: frozenset[int]
    """The clauses, by position, that having a key says in full; all others are to be tested."""
    cost: float

    @property
    def equal(self) -> Equal | None:
        """The key, where it is a lone equality."""
        key = self.keys[0] if len(self.keys) == 1 else None
        return key if type(key) is Equal else None


_COSTS: Final = {Equal: 1.0, Prefix: 10.0, Stretch: 10.0, Item: 20.0, Found: 100.0}
_ONE_SIDED: Final = 1_000.0


def filings(clauses: Sequence[Expr], alias: str | None) -> list[Filing]:
    """The ways to file a rule whose clauses must all hold, the most telling first.

    Several that begin alike in cost, such as two equalities: which one tells
    more is known to him who sees all rules.
    """
    found = []
    bounds: dict[tuple[Place, bool], list[tuple[int, Op, Json]]] = {}
    for position, written in enumerate(clauses):
        clause = positive(written)
        compared = comparison(clause, alias)
        if compared is not None and compared[1] in _ORDERS:
            place, op, value = compared
            if _is_bound(value):
                bounds.setdefault((place, type(value) is str), []).append((position, op, value))
            continue
        filed = _filed(clause, alias) if compared is None else _of_equality(*compared)
        if filed is not None:
            keys, is_exact = filed
            found.append(Filing(keys, frozenset((position,)) if is_exact else frozenset(), _cost(keys)))
    for (place, _), sides in bounds.items():
        key = _stretch(place, sides)
        found.append(Filing((key,), frozenset([position for position, _, _ in sides]), _cost((key,))))
    if len(found) > 1:
        found.sort(key=lambda filing: filing.cost)
    return found


def _cost(keys: Iterable[Key]) -> float:
    cost = 0.0
    for key in keys:
        is_one_sided = type(key) is Stretch and (key.low is None or key.high is None)
        cost += _ONE_SIDED if is_one_sided else _COSTS[type(key)]
    return cost


def _filed(clause: Expr, alias: str | None) -> tuple[tuple[Key, ...], bool] | None:
    """Keys of which one is there where the clause is true, and whether one is enough; null for a clause without."""
    compared = comparison(clause, alias)
    if compared is not None:
        field, op, value = compared
        if op not in _ORDERS:
            return _of_equality(field, op, value)
        return ((_stretch(field, [(0, op, value)]),), True) if _is_bound(value) else None
    match clause:
        case Field() | Name():
            place = place_of(clause, alias)
            return None if place is None else ((Equal(place, True),), True)
        case Not(Field() | Name() as of):
            place = place_of(of, alias)
            return None if place is None else ((Equal(place, False),), True)
        case IsNull(of):
            place = place_of(of, alias)
            return None if place is None else ((Equal(place, None),), True)
        case In(item, Const(container)):
            return _of_membership(place_of(item, alias), container)
        case Contains(container, Const(value)):
            place = place_of(container, alias)
            # The key finds texts too; whether the text is in them is tested.
            return ((Item(place, value),), False) if place is not None and _is_flat(value) else None
        case Matches(text, pattern):
            return _of_regex(place_of(text, alias), pattern)
        case Or(parts):
            return _of_choice([_filed(positive(part), alias) for part in parts])
        case And(parts):
            return _of_conjunction(parts, alias)
    return None


def _of_equality(place: Place, op: Op, value: Json) -> tuple[tuple[Key, ...], bool] | None:
    return ((Equal(place, value),), True) if op == "==" and _is_flat(value) else None


_ORDERS: Final = frozenset(("<", "<=", ">", ">="))


def _is_bound(value: Json) -> bool:
    """Whether anything is less or more than it: numbers and texts have an order, and a NaN has none."""
    return type(value) in (int, float, str) and value == value  # noqa: PLR0124


def _stretch(place: Place, sides: Sequence[tuple[int, Op, Json]]) -> Stretch:
    """The narrowest: of equal bounds that which leaves the bound itself out."""
    lows = [(value, op == ">") for _, op, value in sides if op in (">", ">=")]
    highs = [(value, op == "<=") for _, op, value in sides if op in ("<", "<=")]
    low, opens = max(lows) if lows else (None, True)
    high, includes_high = min(highs) if highs else (None, False)
    return Stretch(place, low, not opens, high, includes_high)


def _of_membership(place: Place | None, container: Json) -> tuple[tuple[Key, ...], bool] | None:
    kind = kind_of(container)
    if place is None or kind not in ("list", "map") or len(container) > KEYS_MAX:
        return None
    if not all(_is_flat(item) for item in container):
        return None
    return tuple(Equal(place, item) for item in container), True


def _of_regex(place: Place | None, pattern: str) -> tuple[tuple[Key, ...], bool] | None:
    if place is None:
        return None
    prefix = regex.prefix_of(pattern)
    if prefix is None:
        return (Found(place, pattern),), True
    if prefix.is_whole:
        return (Equal(place, prefix.text),), True
    return (Prefix(place, prefix.text),), prefix.is_all


def _of_choice(parts: Sequence[tuple[tuple[Key, ...], bool] | None]) -> tuple[tuple[Key, ...], bool] | None:
    keys: list[Key] = []
    for part in parts:
        if part is None:
            return None
        keys.extend(part[0])
    if len(keys) > KEYS_MAX:
        return None
    return tuple(keys), all(part[1] for part in parts if part is not None)


def _of_conjunction(parts: Sequence[Expr], alias: str | None) -> tuple[tuple[Key, ...], bool] | None:
    """An `and` inside an `or`: its most telling part."""
    found = filings(parts, alias)
    return (found[0].keys, len(found[0].said) == len(parts)) if found else None


def _is_flat(value: Json) -> bool:
    return kind_of(value) in ("null", "boolean", "number", "text") and value == value  # noqa: PLR0124 (a NaN)
