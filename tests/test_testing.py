"""`then.testing`: trials in Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import then
from then import Task, it
from then.core.errors import BodyRefused, ConfigError, UnknownName
from then.testing import Trial, cancelled, check_tests, done, failed, hangs, timed_out

SHOP = """
event order(id: int, by: str?)
task pay(order: int) -> (receipt: str)
  run process ["pay"]
  retry 3 times backoff 1m
task ship(order: int, receipt: str)
  run process ["ship"]
rule start when order as o then pay(order: o.id) as p then ship(order: o.id, receipt: p.receipt)
rule remind when order as o where by is not missing then order(id: 0)
test "it"
  stub pay done (receipt: "r")
  post order(id: 1)
  expect ship
end
test "not"
  post order(id: 1)
  expect ship
end
"""


@pytest.fixture
def rules(tmp_path: Path) -> then.Rules:
    (tmp_path / "shop.then").write_text(SHOP)
    return then.Rules().load(tmp_path / "shop.then")


def test_a_trial_posts_stubs_and_expects(rules: then.Rules) -> None:
    trial = Trial(rules)
    trial.stub("pay", failed(kind="busy").times(2), done(receipt="r1"))
    order = trial.post("order", id=7)
    trial.expect_no("ship")
    trial.advance("3m")
    (ship,) = trial.expect("ship", order=7, receipt="r1", times=1, by="start/1")
    assert (ship.rule, ship.state) == ("start/1", "running") or ship.state == "waiting"
    assert [task.outcome for task in trial.records("pay")] == ["failed", "failed", "done"]
    assert [task.type for task in trial.running()] == ["ship"]
    assert trial.outcome(order) is None
    trial.stub("ship", done())
    assert trial.outcome(order) == "done"


def test_a_trial_loads_a_path_for_itself(tmp_path: Path) -> None:
    (tmp_path / "shop.then").write_text(SHOP)
    trial = Trial(tmp_path / "shop.then")
    trial.post("order", id=1)
    trial.expect("pay", order=1)


def test_trials_of_the_same_rules_see_nothing_of_each_other(rules: then.Rules) -> None:
    one, other = Trial(rules), Trial(rules)
    one.post("order", id=1)
    other.expect_no("pay")


def test_an_expectation_that_fails_says_what_came_nearest(rules: then.Rules) -> None:
    trial = Trial(rules)
    trial.post("order", id=1)
    with pytest.raises(
        AssertionError, match=r"(?s)^expected pay\(order: 2\), got none\n.*nearest +pay\(order: 1\).*order is 1, not 2"
    ):
        trial.expect("pay", order=2)
    with pytest.raises(AssertionError, match=r"^expected no pay, got 1\n"):
        trial.expect_no("pay")
    with pytest.raises(AssertionError, match=r"^expected pay 2 times by rule start, got 1"):
        trial.expect("pay", times=2, by="start")


def test_fields_that_are_words_of_a_call_are_given_in_a_mapping(rules: then.Rules) -> None:
    trial = Trial(rules)
    trial.post("order", {"by": "x"}, id=3)
    trial.expect("order", {"id": 0}, by="remind")
    with pytest.raises(AssertionError, match="posted by the test"):
        trial.expect("order", {"by": "x"})
    with pytest.raises(AssertionError, match="by is missing"):
        trial.expect("order", {"id": 0, "by": "x"})


def test_a_function_answers_each_attempt_by_its_record(rules: then.Rules) -> None:
    def pay(task: Task) -> dict[str, object] | object:
        return failed(kind="odd") if task.attempt == 1 else {"receipt": f"r{task.body['order']}"}

    trial = Trial(rules)
    trial.stub("pay", pay)  # type: ignore[arg-type]
    trial.post("order", id=7)
    trial.advance(60)
    trial.expect("ship", receipt="r7")


def test_answers_of_all_kinds(rules: then.Rules) -> None:
    trial = Trial(rules)
    trial.stub("pay", timed_out(), cancelled(), hangs())
    first = trial.post("order", id=1)
    trial.advance(timedelta(minutes=1))
    assert [(task.outcome, task.settled) for task in trial.records("pay")] == [
        ("timed_out", False),
        ("cancelled", True),
    ]
    assert trial.outcome(first) == "done"
    trial.post("order", id=2)
    assert [task.body["order"] for task in trial.running()] == [2]


def test_functions_of_python_rules_are_never_called() -> None:
    rules = then.Rules()

    @rules.task("build")
    def build(ref: str) -> None:
        raise AssertionError("a trial runs nothing")

    @rules.task("publish")
    def publish(image: str) -> None:
        raise AssertionError("a trial runs nothing")

    @rules.when("build", "done", it.ref == "main")
    def publish_main(build: Task) -> object:
        assert build.result is not None
        yield then.emit("publish", image=build.result["image"])

    trial = Trial(rules)
    trial.stub("build", done(image="app:1"))
    trial.post("build", ref="main")
    trial.expect("publish", image="app:1", by="publish_main")
    trial.stub("publish", failed())
    (publish_,) = trial.records("publish")
    assert publish_.error == {"kind": "exception", "message": "as the stub says"}


def test_time_is_what_it_is_set_to(rules: then.Rules) -> None:
    assert Trial(rules).now == datetime(2026, 1, 1, tzinfo=UTC)
    trial = Trial(rules, now="2026-03-01T10:00")
    assert trial.now == datetime(2026, 3, 1, 10, tzinfo=UTC)
    trial.advance("1.5h")
    trial.advance(0.5)
    assert trial.now == datetime(2026, 3, 1, 11, 30, 0, 500_000, tzinfo=UTC)
    zoned = datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=2)))
    assert Trial(rules, now=zoned).now == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("now", ["noon", "1969-01-01", "2200-01-01", datetime(2026, 1, 1)])  # noqa: DTZ001
def test_times_that_are_none_are_refused(rules: then.Rules, now: str | datetime) -> None:
    with pytest.raises(ConfigError):
        Trial(rules, now=now)


@pytest.mark.parametrize("by", ["2 hours", "", -1, "9999w"])
def test_spans_that_are_none_are_refused(rules: then.Rules, by: str | float) -> None:
    with pytest.raises(ConfigError, match="advance"):
        Trial(rules).advance(by)


def test_names_that_are_not_there_are_refused(rules: then.Rules) -> None:
    trial = Trial(rules)
    for call, text in (
        (lambda: trial.post("ordr", id=1), 'unknown task or event "ordr" (did you mean "order"?)'),
        (lambda: trial.stub("payy", done()), 'unknown task "payy" (did you mean "pay"?)'),
        (lambda: trial.expect_no("shipp"), 'unknown task or event "shipp" (did you mean "ship"?)'),
        (lambda: trial.expect("ship", by="strt"), 'unknown rule "strt" (did you mean "start"?)'),
    ):
        with pytest.raises(UnknownName) as refused:
            call()
        assert str(refused.value) == text


def test_stubs_that_make_no_sense_are_refused(rules: then.Rules) -> None:
    trial = Trial(rules)
    with pytest.raises(ConfigError, match='"order" is no task'):
        trial.stub("order", done())
    with pytest.raises(ConfigError, match="says how it ends"):
        trial.stub("pay")
    with pytest.raises(BodyRefused, match="stub pay done: receipt: missing, str is declared"):
        trial.stub("pay", done())
    with pytest.raises(ConfigError, match="at least once"):
        done().times(0)
    with pytest.raises(BodyRefused, match="order: id: missing"):
        trial.post("order")


def test_a_procedure_is_stubbed_like_a_task() -> None:
    rules = then.Rules()

    @rules.task("ask")
    def ask(who: str) -> None:
        raise AssertionError("a trial runs nothing")

    @rules.procedure("approve", who=str, returns={"by": str})
    def approve(who: str) -> Iterator[then.Emission]:
        yield then.emit("ask", who=who)

    rules.event("go")

    @rules.when("go")
    def start(go: Task) -> Iterator[then.Emission]:
        yield then.call("approve", who="ada")

    trial = Trial(rules)
    trial.stub("approve", lambda call: {"by": call.body["who"]})
    flow = trial.post("go")
    assert trial.outcome(flow) == "done"
    trial.expect_no("ask")
    (call,) = trial.expect("approve", who="ada", times=1)
    assert call.result == {"by": "ada"}
    with pytest.raises(BodyRefused, match="stub approve done: by: missing, str is declared"):
        trial.stub("approve", done())
    with pytest.raises(UnknownName, match='unknown task or procedure "aprove"'):
        trial.stub("aprove", done())


def test_what_is_handed_over_may_be_changed_afterwards(rules: then.Rules) -> None:
    trial, body = Trial(rules), {"id": 1}
    trial.post("order", body)
    body["id"] = 2
    assert trial.records("order")[0].body == {"id": 1}


def test_the_tests_of_a_file_are_checked_from_python(tmp_path: Path) -> None:
    path = tmp_path / "shop.then"
    path.write_text(SHOP)
    with pytest.raises(AssertionError, match=r'^test "not"\n.*shop\.then:17:3: expected ship, got none\n'):
        check_tests(path)
    path.write_text(SHOP.partition('test "not"')[0])
    assert check_tests(path) == 1


def test_no_database_and_no_event_loop_is_imported() -> None:
    code = "import sys, then.testing; print(*sorted({'asyncio', 'sqlite3', 'click', 'subprocess'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []
