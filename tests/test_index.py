"""The index against the plain filter, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import expressions as ex
from then.core.index import FilterIndex, match_plainly
from then.core.rules import Match, Rule, Unmatched, outcome_words
from then.core.tasks import Json, Task


def said(matches: Sequence[Match]) -> list[tuple[str, dict[str, object]]]:
    return [(match.rule.name, match.bindings) for match in matches]


def agree(rules: list[Rule], records: list[Task], variables: Mapping[str, Json] | None) -> None:
    index = FilterIndex(rules)
    for record in [*records, *records]:
        agree_on(index, rules, record, variables)


def agree_on(index: FilterIndex, rules: list[Rule], record: Task, variables: Mapping[str, Json] | None) -> None:
    singles, unmatched = match_plainly(rules, record, variables), match_plainly(rules, record, variables, Unmatched)
    assert said(index.match(record, variables)) == said(singles)
    assert said(index.match_unmatched(record, variables)) == said(unmatched)
    found = [rule.name for rule in index.find(record)]
    assert [rule.rule.name for rule in singles if rule.rule.name not in found] == []
    if singles or unmatched:
        assert any(index.wants(record.type, word) for word in outcome_words(record))


@given(ex.rule_lists(), st.lists(ex.records, min_size=1, max_size=4), ex.variables)
@settings(max_examples=300)
def test_the_index_gives_what_the_plain_filter_gives(
    rules: list[Rule], records: list[Task], variables: Mapping[str, Json] | None
) -> None:
    agree(rules, records, variables)


@given(ex.close_rules, st.lists(ex.close_records, min_size=4, max_size=8))
@settings(max_examples=500)
def test_rules_that_crowd_around_the_same_values_are_told_apart(rules: list[Rule], records: list[Task]) -> None:
    agree(rules, records, None)
