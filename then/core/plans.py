"""Rules filed by group, and what has to be looked at for one type and outcome.

The theory stands at the head of `then.core.index`, which is who calls.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from then.core.clauses import Clause, Place, compile_clause, is_safe_key
from then.core.filing import Equal, Filing, Item, Prefix, Stretch, filings
from then.core.filters import Compare, Const, Expr, Field, Matches, Quantified, conjuncts, walk
from then.core.rules import ANY, EVENT, FINISHED, RETRIED, Rule, Single, Unmatched
from then.core.tables import (
    Bucket,
    Code,
    Collector,
    EqualTable,
    OddValueError,
    Table,
    TogetherTable,
    table_for,
)
from then.core.tasks import Json, Task

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

    __slots__ = ("_crowd", "_equals", "_tables", "_together", "always", "collectors", "is_tested", "repeats", "simple")

    def __init__(self) -> None:
        self._equals: dict[Place, EqualTable] = {}
        self._tables: dict[tuple[object, ...], Table] = {}
        self._together: dict[tuple[Place, ...], TogetherTable] = {}
        self._crowd: list[tuple[Code, Rule, tuple[Expr, ...], list[Filing]]] = []
        self.always: list[Code] = []
        """Rules that have no key."""
        self.simple: list[tuple[str, dict[Json, Bucket]]] = []
        """Tables into which the index looks by itself, with their fields."""
        self.collectors: list[Collector] = []
        """All other tables."""
        self.is_tested = False
        """Whether a rule of it is to be tested."""
        self.repeats = False
        """Whether a rule may be found twice."""

    def file(self, number: int, rule: Rule, tests: Tests) -> None:
        """Files a rule; those of one group come in order."""
        pattern = rule.trigger.pattern
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
        for equal in self._equals.values():
            if equal.is_simple:
                self.simple.append((sys.intern(str(equal.place.path[0])), equal.buckets()))
            else:
                self.collectors.append(equal.collector())
        self.collectors += [table.collector() for table in self._tables.values()]
        self.collectors += [table.collector() for table in self._together.values()]
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
                together = self._together[places] = TogetherTable(places)
            values = tuple(by_place[place][0] for place in places)
            together.file(values, self._coded(code, rule, clauses, said, tests))
        self._crowd = []

    def _put(self, code: Code, rule: Rule, clauses: Sequence[Expr], way: Filing, tests: Tests) -> None:
        coded = self._coded(code, rule, clauses, way.said, tests)
        for key in way.keys:
            if type(key) is Equal:
                self._equal(key.place).file_value(key.value, coded)
                continue
            which = (type(key), key.place, type(key) is Stretch and key.is_of_texts)
            table = self._tables.get(which)
            if table is None:
                table = self._tables[which] = table_for(key)
            # A long prefix may be looked up in part; then its clause is tested after all.
            tested = self._coded(code, rule, clauses, frozenset(), tests) if type(key) is Prefix else coded
            table.file(key, coded, tested)
        if any(type(key) is not Equal for key in way.keys[1:]) or len({key.place for key in way.keys}) > 1:
            self.repeats = True
        elif way.keys and type(way.keys[0]) is Item:
            self.repeats = True  # A list may hold the item twice.

    def _equal(self, place: Place) -> EqualTable:
        table = self._equals.get(place)
        if table is None:
            table = self._equals[place] = EqualTable(place)
        return table

    def _coded(self, code: Code, rule: Rule, clauses: Sequence[Expr], said: frozenset[int], tests: Tests) -> Code:
        """The code, with what is left to be tested under it; as it is, where that is nothing."""
        where, alias = rule.trigger.pattern.where, rule.trigger.pattern.alias
        # What regexes bind, and how many steps loops take, is a matter of the whole clause.
        if any(type(clause) is Matches and clause.groups for clause in clauses) or (
            where is not None and any(type(node) is Quantified for node in walk(where))
        ):
            tests[code | TESTED] = None
        elif len(said) < len(clauses):
            left = [clause for position, clause in enumerate(clauses) if position not in said]
            tests[code | TESTED] = tuple(compile_clause(clause, alias) for clause in left)
        else:
            return code
        self.is_tested = True
        return code | TESTED


class Plan:
    """What has to be looked at for records of one type and one ending."""

    __slots__ = ("always", "collectors", "field", "repeats", "simple", "table")

    def __init__(self, groups: Sequence[Group]) -> None:
        self.field: str | None = None
        """Set where there is one table and nothing to test (invariant 4)."""
        self.table: dict[Json, Rule | tuple[Rule, ...]] = {}
        """Of `field`: the rules themselves."""
        self.always = [code for group in groups for code in group.always]
        self.simple = [table for group in groups for table in group.simple]
        self.collectors = [collect for group in groups for collect in group.collectors]
        self.repeats = any(group.repeats for group in groups)

    def candidates(self, task: Task) -> list[Code]:
        """Codes of the rules that were found, in order, each once.

        Raises:
            OddValueError: the record holds what is no JSON, and was made by hand.
        """
        found = self.always.copy()
        if self.simple:
            body, result = task.body, task.result
            if type(body) is not dict or (result is not None and type(result) is not dict):
                raise OddValueError
            for name, table in self.simple:
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
        for collect in self.collectors:
            collect(task, found)
        if len(found) > 1:
            if self.repeats:
                return sorted(set(found))
            found.sort()
        return found

    def settle(self, rules: Sequence[Rule]) -> None:
        """Puts the rules in the place of their codes, where nothing but one table is to be looked at."""
        if self.field is not None or len(self.simple) != 1 or self.always or self.collectors:
            return
        field, codes = self.simple[0]
        table: dict[Json, Rule | tuple[Rule, ...]] = codes  # type: ignore[assignment]
        for value, bucket in codes.items():
            if type(bucket) is int:
                table[value] = rules[bucket >> BITS]
            else:
                table[value] = tuple(_upto_final(rules, sorted(bucket)))  # type: ignore[arg-type]
        self.field, self.table, self.simple = field, table, []


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
                pattern = rule.trigger.pattern
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
            if not self._has_families and len(by_words) == 1:
                # The same plan for all its endings: it is the only one to look into its tables.
                ((words, group),) = by_words.items()
                plan = Plan((group,))
                if self.kind is Single and not group.is_tested and not group.repeats:
                    plan.settle(rules)
                for ending, known in ENDINGS.items():
                    if not known.isdisjoint(words):
                        self.by_ending[ending][type] = plan
                continue
            for ending in ENDINGS:
                groups = self._covering(type, ending)
                if groups:
                    self.by_ending[ending][type] = Plan(groups)

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
