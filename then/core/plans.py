"""Rules filed by group, and what has to be looked at for one type and outcome.

The theory stands at the head of `then.core.index`, which is who calls.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from then.core.clauses import Clause, Place, compile_clause, is_safe_key
from then.core.fields import MISSING, Reader, reader
from then.core.filing import Equal, Filing, Item, Key, Stretch, filings
from then.core.filters import Compare, Const, Expr, Field, Matches, Quantified, conjuncts, operands, walk
from then.core.rules import ANY, EVENT, FINISHED, RETRIED, Rule, Single, Unmatched
from then.core.tables import (
    Bucket,
    Code,
    EqualTable,
    Lookup,
    OddValueError,
    Table,
    table_for,
)
from then.core.tasks import OWN_FIELDS, Json, Task

TESTED: Final = 1
FINAL: Final = 2
BITS: Final = 2
"""A code is a rule's number, shifted by so many, and these bits."""

CROWDED: Final = 16
"""Rules under one key from which on one that asks several fields is filed under all of them together."""
STRANGERS_MAX: Final = 10_000
"""Types that no rule names, of which the plan is kept: what is posted may have any type."""

BARE: Final = "bare"
ENDINGS: Final = {
    EVENT: frozenset((EVENT, "done")),
    BARE: frozenset((EVENT,)),
    RETRIED: frozenset((RETRIED,)),
    **{word: frozenset((word,)) for word in sorted(FINISHED)},
}
"""By how a record ended: the words by which a pattern may ask for it, as `rules.outcome_words` gives them."""

Tests: TypeAlias = dict[Code, tuple[Clause, ...] | None]
"""What is to be tested of a rule that was found; null: all of it, by the plain evaluator."""


def ending_of(task: Task) -> str:
    """How a record ended: a key of ENDINGS."""
    if task.event:
        return EVENT
    if not task.settled:
        return RETRIED
    return task.outcome or BARE


class Group:
    """The rules of one family and one set of outcome words."""

    __slots__ = ("_crowd", "_equals", "_tables", "_together", "always", "is_tested", "lookups", "repeats", "simple")

    def __init__(self) -> None:
        self._equals: dict[Place, EqualTable] = {}
        self._tables: dict[tuple[Place, type[Key], bool], Table] = {}
        self._together: dict[tuple[Place, ...], EqualTable] = {}
        self._crowd: list[tuple[Code, Rule, tuple[Expr, ...], list[Filing]]] = []
        self.always: list[Code] = []
        """Rules that have no key."""
        self.simple: list[tuple[str, dict[Json, Bucket]]] = []
        """Tables of equality into which a plan looks by itself, with their fields."""
        self.lookups: list[tuple[Place | tuple[Place, ...], Lookup]] = []
        """All other tables, with the field or fields whose value they are for."""
        self.is_tested = False
        """Whether a rule of it is to be tested."""
        self.repeats = False
        """Whether a rule may be found twice."""

    def file(self, number: int, rule: Rule, tests: Tests) -> None:
        """Files a rule; those of one group come in order."""
        pattern = rule.pattern
        where = pattern.where
        code = number << BITS | (FINAL if rule.final else 0)
        if where is None:
            self.always.append(code)
            return
        # The most frequent clause, `field == "text"`: there may be 100,000 of them.
        if (
            type(where) is Compare
            and where.op == "=="
            and type(where.left) is Field
            and type(where.right) is Const
            and type(where.right.value) is str
            and (where.left.record is None or where.left.record == pattern.alias)
        ):
            self._equal(Place(where.left.path, where.left.source)).file_value(where.right.value, code)
            return
        clauses = conjuncts(where)
        ways = filings(clauses, pattern.alias)
        if len(ways) > 1 and ways[1].equal is not None:
            self._crowd.append((code, rule, clauses, ways))
        elif ways:
            self._put(code, rule, clauses, ways[0], tests)
        else:
            self.always.append(self._coded(code, rule, clauses, frozenset(), tests))

    def freeze(self, tests: Tests) -> None:
        """Makes the tables fit for looking up; nothing is filed after it."""
        self._settle_crowd(tests)
        for place, equal in self._equals.items():
            if equal.is_simple and _is_simple(place):
                self.simple.append((sys.intern(str(place.path[0])), equal.buckets()))
            else:
                self.lookups.append((place, equal.lookup()))
        self.lookups += [(place, table.lookup()) for (place, *_), table in self._tables.items()]
        self.lookups += [(places, table.lookup()) for places, table in self._together.items()]
        self._equals, self._tables, self._together = {}, {}, {}

    def _settle_crowd(self, tests: Tests) -> None:
        """Files the rules that ask several equalities: under the one that fewest ask, or under all of them."""
        counts = Counter(way.equal for _, _, _, ways in self._crowd for way in ways if way.equal is not None)
        for code, rule, clauses, ways in self._crowd:
            lone = [(equal, way) for way in ways if (equal := way.equal) is not None]
            rarest, way = min(lone, key=lambda pair: counts[pair[0]])
            by_place = {equal.place: (equal.value, way) for equal, way in lone if is_safe_key(equal.value)}
            if counts[rarest] <= CROWDED or len(by_place) < 2:
                self._put(code, rule, clauses, way, tests)
                continue
            places = tuple(sorted(by_place, key=repr))
            said = frozenset(position for _, way in by_place.values() for position in way.said)
            together = self._together.get(places)
            if together is None:
                together = self._together[places] = EqualTable()
            values = tuple(by_place[place][0] for place in places)
            together.file_value(values, self._coded(code, rule, clauses, said, tests))
        self._crowd = []

    def _put(self, code: Code, rule: Rule, clauses: Sequence[Expr], way: Filing, tests: Tests) -> None:
        coded = self._coded(code, rule, clauses, way.said, tests)
        for key in way.keys:
            if type(key) is Equal:
                self._equal(key.place).file_value(key.value, coded)
                continue
            which = (key.place, type(key), type(key) is Stretch and key.is_of_texts)
            table = self._tables.get(which)
            if table is None:
                table = self._tables[which] = table_for(key)
            table.file(key, coded)
        if any(type(key) is not Equal for key in way.keys[1:]) or len({key.place for key in way.keys}) > 1:
            self.repeats = True
        elif way.keys and type(way.keys[0]) is Item:
            self.repeats = True  # A list may hold the item twice.

    def _equal(self, place: Place) -> EqualTable:
        table = self._equals.get(place)
        if table is None:
            table = self._equals[place] = EqualTable()
        return table

    def _coded(self, code: Code, rule: Rule, clauses: Sequence[Expr], said: frozenset[int], tests: Tests) -> Code:
        """The code, with what is left to be tested under it; as it is, where that is nothing."""
        if any(_is_plain(clause) for clause in clauses):
            tests[code | TESTED] = None
        elif len(said) < len(clauses):
            left = [clause for position, clause in enumerate(clauses) if position not in said]
            alias = rule.pattern.alias
            tests[code | TESTED] = tuple([compile_clause(clause, alias) for clause in left])
        else:
            return code
        self.is_tested = True
        return code | TESTED


class Plan:
    """What has to be looked at for records of one type and one ending."""

    __slots__ = ("_always", "_fields", "_others", "_repeats", "_simple", "field", "table")

    def __init__(self, groups: Sequence[Group]) -> None:
        self.field: str | None = None
        """Set where there is one table and nothing to test (invariant 4)."""
        self.table: dict[Json, Rule | tuple[Rule, ...]] = {}
        """Of `field`: the rules themselves."""
        self._always = tuple([code for group in groups for code in group.always])
        self._simple = tuple([table for group in groups for table in group.simple])
        self._repeats = any(group.repeats for group in groups)
        fields: list[tuple[str, Lookup]] = []
        others: list[tuple[Reader, Lookup]] = []
        for place, look in (lookup for group in groups for lookup in group.lookups):
            if isinstance(place, Place) and _is_simple(place):
                fields.append((sys.intern(str(place.path[0])), look))
            else:
                others.append((reader(*place) if isinstance(place, Place) else _together(place), look))

        # Tuples: those that are empty are one and the same, which is near at hand.
        self._fields, self._others = tuple(fields), tuple(others)

    def candidates(self, task: Task) -> list[Code]:
        """Codes of the rules that were found, in order, each once.

        Raises:
            OddValueError: the record holds what is no JSON, and was made by hand.
        """
        found = [*self._always]
        body, result = task.body, task.result
        if type(body) is not dict or (result is not None and type(result) is not dict):
            raise OddValueError
        # A missing field is read as null: no table that is looked into here has null for a key.
        for name, table in self._simple:
            value = body.get(name) if result is None or name not in result else result[name]
            try:
                bucket = table.get(value)
            except TypeError:
                continue  # A list or a map: it equals no key, for none is one.
            if bucket is None:
                continue
            if type(bucket) is int:
                found.append(bucket)
            else:
                found += bucket  # type: ignore[arg-type]
        for name, look in self._fields:
            value = body.get(name, MISSING) if result is None or name not in result else result[name]
            if value is not MISSING:
                look(value, found)
        for read, look in self._others:
            value = read(task)
            if value is not MISSING:
                look(value, found)
        if len(found) > 1:
            if self._repeats:
                return sorted(set(found))
            found.sort()
        return found

    def settle(self, rules: Sequence[Rule]) -> None:
        """Puts the rules in the place of their codes, where nothing but one table is to be looked at."""
        if len(self._simple) != 1 or self._always or self._fields or self._others:
            return
        field, codes = self._simple[0]
        table: dict[Json, Rule | tuple[Rule, ...]] = codes  # type: ignore[assignment]
        for value, bucket in codes.items():
            if type(bucket) is int:
                table[value] = rules[bucket >> BITS]
            else:
                table[value] = tuple(_upto_final(rules, sorted(bucket)))  # type: ignore[arg-type]
        self.field, self.table, self._simple = field, table, ()


_LEAVES: Final = frozenset((Const, Field))


def _is_plain(clause: Expr) -> bool:
    """Whether its rule is left to the plain evaluator: what regexes bind, and what loops may spend, is of the whole."""
    if type(clause) is Compare and type(clause.left) in _LEAVES and type(clause.right) in _LEAVES:
        return False  # Most are of this kind, and there may be 100,000.
    if type(clause) is Matches and clause.groups:
        return True
    return any(
        type(operand) not in _LEAVES and any(type(node) is Quantified for node in walk(operand))
        for operand in ((clause,) if type(clause) is Quantified else operands(clause))
    )


def _is_simple(place: Place) -> bool:
    """Whether it is a field that the result, else the body has, and that is read at one step."""
    return len(place.path) == 1 and place.source == "any" and place.path[0] not in OWN_FIELDS


def _together(places: tuple[Place, ...]) -> Reader:
    reads = [reader(*place) for place in places]

    def values(task: Task) -> Json:
        found = tuple([read(task) for read in reads])
        return MISSING if MISSING in found else found

    return values


def _upto_final(rules: Sequence[Rule], codes: Sequence[Code]) -> Iterator[Rule]:
    for code in codes:
        yield rules[code >> BITS]
        if code & FINAL:
            return


class Plans:
    """The rules of one kind of trigger, by type and ending."""

    def __init__(self, rules: Sequence[Rule], kind: type[Single | Unmatched]) -> None:
        self.kind = kind
        self.tests: Tests = {}
        self.by_ending: dict[str, dict[str, Plan]] = {ending: {} for ending in ENDINGS}
        self._groups: dict[str, dict[frozenset[str], Group]] = {}
        for number, rule in enumerate(rules):
            if type(rule.trigger) is kind:
                pattern = rule.pattern
                by_words = self._groups.setdefault(pattern.family, {})
                group = by_words.get(pattern.outcomes)
                if group is None:
                    group = by_words[pattern.outcomes] = Group()
                group.file(number, rule, self.tests)
        for by_words in self._groups.values():
            for group in by_words.values():
                group.freeze(self.tests)
        self._has_families = any(_is_family(family) for family in self._groups)
        self._strangers = 0
        self._nothing = Plan(())
        self._plan_all(rules)

    def _plan_all(self, rules: Sequence[Rule]) -> None:
        """Plans for all types that rules name."""
        for type, by_words in self._groups.items():
            if _is_family(type):
                continue
            covering = {ending: self._covering(type, ending) for ending in ENDINGS}
            shared = {id(group) for groups in covering.values() if len(groups) > 1 for group in groups}
            alone = {id(group): Plan((group,)) for group in by_words.values()}
            for group in by_words.values():
                # Once settled, a table holds no codes: no other plan may look into it.
                if self.kind is Single and id(group) not in shared and not group.is_tested and not group.repeats:
                    alone[id(group)].settle(rules)
            for ending, groups in covering.items():
                if groups:
                    plan = alone.get(id(groups[0])) if len(groups) == 1 else None
                    self.by_ending[ending][type] = plan or Plan(groups)

    def plan_of(self, task: Task) -> Plan:
        return self.by_ending[ending_of(task)].get(task.type) or self.of_stranger(task)

    def of_stranger(self, task: Task) -> Plan:
        """The plan for a type that no rule names; it may still be of a family."""
        if not self._has_families:
            return self._nothing
        ending = ending_of(task)
        groups = self._covering(task.type, ending)
        if not groups:
            return self._nothing
        if self._strangers >= STRANGERS_MAX:
            return Plan(groups)
        self._strangers += 1
        plan = self.by_ending[ending][task.type] = Plan(groups)
        return plan

    def wants(self, type: str, word: str) -> bool:
        """Whether a rule may match records of this type and outcome word."""
        return any(
            word in words for family in families_of(type, self._has_families) for words in self._groups.get(family, ())
        )

    def _covering(self, type: str, ending: str) -> list[Group]:
        return [
            group
            for family in families_of(type, self._has_families)
            for words, group in self._groups.get(family, {}).items()
            if not ENDINGS[ending].isdisjoint(words)
        ]


def families_of(type: str, wide: bool = True) -> Iterator[str]:
    """The families that hold a type: itself, and where `wide` those before each dot and that of all types."""
    yield type
    if wide:
        yield ANY
        dot = type.find(".")
        while dot >= 0:
            yield f"{type[: dot + 1]}*"
            dot = type.find(".", dot + 1)


def _is_family(family: str) -> bool:
    return family == ANY or family.endswith(".*")
