"""The prelude: procedures that come with the package, taken by name, and kept like a project's own rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_printer import assert_same
from then.analysis.coverage import Coverage
from then.analysis.trial import Trial
from then.core.edition import Edition
from then.core.errors import RulesRefused
from then.core.rules import RuleSet
from then.core.scenarios import Answer
from then.language.files import PRELUDE, prelude
from then.language.format import format_text
from then.language.loading import check_text, load_path, load_stored, load_text
from then.language.packing import pack, unpack
from then.language.printer import print_rules

SECOND = 10**6
ASK = """
event go(items: list[any])
task ask(item: any) -> (ready: bool?)
task tell(what: any, how: str)
rule said when go as g
  then call {call} as c
  then tell(what: c.{back}, how: "done")
  else tell(what: null, how: "failed")
"""


def trial(name: str, arguments: str, back: str, *answers: Answer) -> Trial:
    """What a call of one procedure does; `ask` is answered in turn, two items are posted."""
    text = f'use {name} from "then"' + ASK.format(call=f"{name}({arguments}, do: ask)", back=back)
    played = Trial(Edition("v1", load_text(text).rules))
    played.stub("tell", [(Answer("done"), None)])
    played.stub("ask", [(answer, answer.times) for answer in answers])
    played.post("go", {"items": ["a", "b"]})
    return played


def told(played: Trial) -> list[object]:
    return [(task.body["what"], task.body["how"]) for task in played.records.values() if task.type == "tell"]


def asked(played: Trial) -> list[tuple[object, str | None]]:
    return [(task.body["item"], task.outcome) for task in played.records.values() if task.type == "ask"]


DONE = Answer("done", {"ready": True})
NOT_YET = Answer("done", {"ready": False}, times=1)
FAILED = Answer("failed")


def failed(times: int) -> Answer:
    return Answer("failed", times=times)


def test_each_returns_when_all_are_done() -> None:
    played = trial("each", "items: g.items", "count", DONE)
    assert asked(played) == [("a", "done"), ("b", "done")]
    assert told(played) == [(2, "done")]


def test_each_fails_with_one_of_them() -> None:
    played = trial("each", "items: g.items", "count", failed(1), DONE)
    assert asked(played) == [("a", "failed"), ("b", "done")]
    assert told(played) == [(None, "failed")]


def test_the_first_that_is_done_ends_the_others() -> None:
    played = trial("first_of", "items: g.items", "result", Answer("done", {"ready": True}, times=1), Answer(None))
    assert asked(played) == [("a", "done"), ("b", "cancelled")]
    assert told(played) == [({"ready": True}, "done")]


def test_a_failure_before_the_first_that_is_done_is_passed_over() -> None:
    played = trial("first_of", "items: g.items", "result", failed(1), DONE)
    assert told(played) == [({"ready": True}, "done")]
    assert [task.body["outcome"] for task in played.ends] == ["done"]


def test_where_none_is_done_there_is_no_first() -> None:
    assert told(trial("first_of", "items: g.items", "result", FAILED)) == [(None, "done")]


def test_two_calls_at_a_time_end_their_own_records_only() -> None:
    text = 'use first_of from "then"' + ASK.format(call="first_of(items: g.items, do: ask)", back="result")
    text += "rule other when go then call first_of(items: [1, 2], do: ask)\n"
    played = Trial(Edition("v1", load_text(text).rules))
    played.stub("ask", [(Answer("done"), 1), (Answer(None), None)])
    played.post("go", {"items": ["a", "b"]})
    assert asked(played) == [("a", "done"), ("b", "cancelled"), (1, None), (2, None)]


def test_again_waits_twice_as_long_each_time() -> None:
    played = trial("again", 'item: "x", times: 3', "result", failed(2), DONE)
    played.advance(1 * SECOND)
    assert [outcome for _, outcome in asked(played)] == ["failed", "failed"]
    played.advance(2 * SECOND - 1)
    assert told(played) == []
    played.advance(1)
    assert told(played) == [({"ready": True}, "done")]


def test_again_gives_up_after_so_many() -> None:
    played = trial("again", 'item: "x", times: 2, wait: 10', "result", FAILED)
    played.advance(30 * SECOND)
    assert [outcome for _, outcome in asked(played)] == ["failed"] * 3
    assert told(played) == [(None, "failed")]


def test_poll_asks_until_it_is_ready() -> None:
    played = trial("poll", 'item: "x"', "result", NOT_YET, NOT_YET, DONE)
    played.advance(120 * SECOND - 1)
    assert told(played) == []
    played.advance(1)
    assert told(played) == [({"ready": True}, "done")]


# -- how it is taken ------------------------------------------------------------------------


def procedures(rules: RuleSet) -> list[str]:
    return list(rules.procedures)


def test_only_what_is_named_is_there() -> None:
    assert procedures(load_text('use poll from "then"\n').rules) == ["poll"]
    assert procedures(load_text('use "then"\n').rules) == ["each", "first_of", "again", "poll"]
    assert procedures(load_text("event e()\n").rules) == []


def test_yaml_takes_it_whole(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("use: then\nrules: []\n")
    assert procedures(load_path(tmp_path / "a.yaml", env={}).rules) == ["each", "first_of", "again", "poll"]


def test_a_name_that_is_not_in_it_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(RulesRefused) as caught:
        load_text('use pol from "then"\n')
    (error,) = caught.value.errors
    assert error.text().split("\n")[0].endswith('unknown declaration of then "pol" (did you mean "poll"?)')


def test_a_name_of_ones_own_beside_it_is_a_twin() -> None:
    with pytest.raises(RulesRefused, match=r'procedure "each" .*then:8:11'):
        load_text('use each from "then"\nprocedure each() first end flow done end\n')


def test_it_is_in_the_one_layout_and_nothing_is_found_in_it() -> None:
    text = prelude()
    assert format_text(text, PRELUDE) == text
    assert check_text(text, "own.then") == ()


def test_what_tests_have_not_seen_of_it_is_not_told(tmp_path: Path) -> None:
    assert Coverage(load_text('use "then"\n').rules).rules() == []


# -- how it is kept ------------------------------------------------------------------------


def test_its_text_is_kept_with_the_rules_only_where_they_use_it(tmp_path: Path) -> None:
    (tmp_path / "a.then").write_text('use poll from "then"\n')
    (tmp_path / "b.then").write_text("event e()\n")
    assert load_path(tmp_path / "a.then", env={}).rules.sources[PRELUDE] == prelude()
    assert PRELUDE not in load_path(tmp_path / "b.then", env={}).rules.sources


def test_a_version_has_the_prelude_that_it_began_with(tmp_path: Path) -> None:
    kept = {
        "a.then": 'use poll from "then"\nevent e()\nrule r when e then call poll(do: 1)\n',
        PRELUDE: "# as it was\nprocedure poll(do: int) first end flow done end\n",
    }
    rules = load_stored(kept, "a.then", root=tmp_path).rules
    assert [field.name for field in rules.procedures["poll"].inputs or ()] == ["do"]
    span = rules.procedures["poll"].span
    assert span is not None
    assert (span.file, span.line) == (PRELUDE, 2)


def test_a_cancellation_of_a_task_that_was_handed_over_is_printed_and_packed() -> None:
    rules = load_text(
        "task t(n: int)\nprocedure p(do: task, n: int)\n  first do(n: n), t(n: n)\n"
        "  when t done as x then cancel do where body.n == x.n, cancel do\nend\n"
    ).rules
    assert_same(rules, load_text(print_rules(rules)).rules)
    assert_same(rules, unpack(pack(rules), rules.sources))
