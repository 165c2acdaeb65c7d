"""Sessions of the debugger in which a person leads a flow: skips, jumps, conditions, and what is seen from frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_debugger import SHOP, Debugged, opened, paid_up_to_the_call
from tests.test_debugger import shop as shop  # noqa: PLC0414 (a fixture)
from then.core.errors import ConfigError, ThenError, UnknownName
from then.debugger.console import Console

# -- skips and jumps -------------------------------------------------------------------------


def test_a_task_is_skipped_with_a_result_that_rules_see_and_nothing_runs_it(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "pay")
    stop = shop.stop()
    with pytest.raises(ConfigError, match="receipt"):
        shop.session.skip({})
    shop.session.skip({"receipt": "by hand"})
    record = shop.flow.history.records[stop.id or ""]
    assert (record.task.outcome, record.task.result, record.task.started) == ("done", {"receipt": "by hand"}, None)
    assert record.fired == ["paid"]
    assert [(fact.by, fact.is_skipped, before.result) for _, fact, before in record.edits] == [("ann", True, None)]


def test_a_call_is_skipped_whole(shop: Debugged) -> None:
    shop.stop()
    shop.engine.breakpoints.add("call", "before approve")
    shop.go()
    shop.end("reserve")
    shop.end("pay", receipt="r")
    shop.stop()
    shop.session.skip({"ok": True})
    assert "ask" not in shop.types()
    shop.end("ship")
    assert shop.stop().text.endswith("ended done")


def test_a_jump_has_one_rule_answer_in_the_place_of_all_that_would(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "after reserve")
    shop.end("reserve")
    stop = shop.stop()
    assert shop.session.jump_targets() == ["again"]
    shop.session.jump("again")
    record = shop.flow.history.records[stop.id or ""]
    assert record.fired == ["again"]
    assert [(fact.by, fact.rule) for _, fact, _ in record.edits] == [("ann", "again")]
    assert shop.types().count("reserve") == 2
    shop.end("pay", receipt="r")
    assert "approve" not in shop.types(), "the join has not seen the one that was answered otherwise"
    shop.end("reserve")
    assert "approve" in shop.types()


def test_a_failure_that_a_jump_answers_is_taken_up(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("failed")
    shop.go()
    shop.end("pay", "failed")
    shop.stop()
    shop.session.jump("paid")
    shop.end("reserve")
    assert shop.stop().text.endswith("ended done")
    assert shop.session.view.variables == {"paid": 900}


def test_a_jump_in_a_call_goes_to_a_rule_of_the_call_and_returns_from_it(shop: Debugged) -> None:
    paid_up_to_the_call(shop)
    shop.go("step")
    shop.end("ask", ok=True)
    shop.stop()
    assert shop.session.jump_targets() == ["approve.1"]
    shop.session.jump("approve.1")
    assert "look" in shop.types()
    shop.end("look")
    assert "ship" in shop.types()


def test_what_cannot_be_skipped_or_jumped_is_refused_and_stays_held(shop: Debugged) -> None:
    shop.stop()
    with pytest.raises(ConfigError, match="has ended; `set` changes its result"):
        shop.session.skip({})
    with pytest.raises(
        ConfigError, match='no rule "plced" is for one order \\(did you mean "placed"\\?\\); there is: placed'
    ):
        shop.session.jump("plced")
    with pytest.raises(UnknownName, match='rule on one order "paid"'):
        shop.engine.release(shop.flow.id, rule="paid")
    assert list(shop.engine.breakpoints.held) == [shop.flow.id]
    shop.go("until", "pay")
    shop.stop()
    with pytest.raises(ConfigError, match="has not ended"):
        shop.session.jump("paid")


# -- logpoints, conditions, frames -------------------------------------------------------------


def test_what_logpoints_say_in_the_flow_is_heard_before_the_stop(shop: Debugged) -> None:
    shop.stop()
    shop.engine.breakpoints.add("log", "after any", prints="{record.type} ended\x1b[2J")
    shop.engine.post("order", id=2, total=1)
    shop.go("until", "after reserve")
    shop.end("pay", receipt="r")
    shop.end("reserve")
    told = Console(shop.session).stopped(shop.stop()).text.splitlines()
    assert told[:3] == [
        "log: pay ended\\x1b[2J",
        "log: reserve ended\\x1b[2J",
        shop.session.stop and shop.session.stop.text,
    ]
    assert shop.session.logged == []


def test_a_condition_is_changed_taken_away_and_refused_where_it_means_nothing(shop: Debugged) -> None:
    shop.stop()
    console = Console(shop.session)
    console.run("break pay if amount > 5")
    console.run("cond 1 amount > 1000")
    assert [point.text for point in shop.engine.breakpoints] == ["breakpoint b1 before pay where amount > 1000"]
    with pytest.raises(ConfigError, match='unknown field of pay "amnt"'):
        console.run("condition 1 amnt > 5")
    console.run("ignore 1 2")
    assert shop.engine.breakpoints["b1"].text == "breakpoint b1 before pay where amount > 1000 from hit 3"
    console.run("condition b1")
    assert shop.engine.breakpoints["b1"].text == "breakpoint b1 before pay from hit 3"
    with pytest.raises(UnknownName, match='unknown breakpoint "b7"'):
        console.run("condition 7 amount > 5")
    shop.go()
    assert shop.session.wait(0.0) is None, "the first two are passed over"


@pytest.mark.parametrize("name", ["flow", "record"])
def test_flow_or_record_alone_is_told_to_want_a_name(shop: Debugged, name: str) -> None:
    """It asked whether that very word was meant."""
    shop.stop()
    with pytest.raises(ConfigError, match=rf"^{name}: {name} alone is no value: write {name}\.NAME"):
        Console(shop.session).run(f"print {name}")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("history x", r"^history: how many entries\? .* here is x$"),
        ("history 0", r"^history: how many entries\? .* here is 0$"),
        ("drop x", "^drop: nothing belongs behind it; here stands x$"),
        ("next 3", "^next: nothing belongs behind it; here stands 3$"),
    ],
)
def test_what_a_command_does_not_take_is_refused_and_nothing_is_done(shop: Debugged, line: str, told: str) -> None:
    stop = shop.stop()
    console = Console(shop.session)
    console.waits = False
    with pytest.raises(ConfigError, match=told):
        console.run(line)
    assert shop.flow.history.records[stop.id or ""].task.is_held


def test_what_is_set_in_a_file_is_not_changed_by_hand(tmp_path: Path) -> None:
    with opened(tmp_path, SHOP + "breakpoint big before pay where amount > 5\n") as engine:
        console = Console(Debugged(engine).session)
        with pytest.raises(ConfigError, match='there is a breakpoint "big" already'):
            console.run("condition big amount > 1")


def test_commands_are_carried_out_at_each_stop_of_their_breakpoint(shop: Debugged) -> None:
    shop.stop()
    console = Console(shop.session)
    for line in ("break after reserve", "commands 1", "print order", "set order = 7", "end", "print id"):
        last = console.run(line)
    assert last.text == "1"
    shop.go()
    shop.end("reserve")
    console.stopped(shop.stop())
    assert list(console.due) == ["print order", "set order = 7"]


def test_frames_show_the_names_that_are_known_there(shop: Debugged) -> None:
    paid_up_to_the_call(shop)
    shop.go("step")
    shop.end("ask", ok=True)
    shop.stop()
    console = Console(shop.session)
    assert console.run("p a.ok").text == "true"
    assert console.run("up").text.splitlines()[0].startswith("#1  approve (")
    assert [console.run(line).text for line in ("p p.receipt", "p what", "args")] == [
        '"r1"', '"order 1"', 'what = "order 1"',
    ]  # fmt: skip
    assert "p = pay (" in console.run("info captures").text
    with pytest.raises(ConfigError, match="no frame 2: there are 0 to 1"):
        console.run("up")
    assert console.run("down").text.startswith("#0  ask (")
    console.run("frame 1")
    shop.session.go("finish")
    assert shop.session.frame == 0


def test_why_leads_from_the_record_to_the_beginning_and_says_what_a_person_did(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "after reserve")
    shop.end("reserve")
    id = shop.stop().id or ""
    shop.session.jump("again")
    shop.session.look_at(id)
    rows = Console(shop.session).run("why").text.splitlines()
    assert rows[0].startswith(f"reserve ({id}) done by placed (")
    assert rows[1:] == [f"order ({shop.flow.id})", "  it was sent to again by ann", "  again fired on it"]


DEEP = "[" * 3000 + "]" * 3000


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("set body = 5", "body: 5 is no body; an object of fields is needed"),
        (f"set id = {DEEP}", "nested deeper than 64 levels"),
        ('set id = "\udcff"', "is no JSON"),
        ('set id = {"a": 1, "a": 2}', 'set: 1:10: the key "a" is there twice'),
        (f'emit order {{"id": {DEEP}}}', "nested deeper than 64 levels"),
        ("emit order [1]", "emit order: [1] is no JSON object"),
        (f"fork stub pay {DEEP}", "is no JSON"),
    ],
)
def test_what_is_no_value_of_a_record_is_refused_and_the_session_goes_on(shop: Debugged, line: str, says: str) -> None:
    shop.stop()
    console = Console(shop.session)
    with pytest.raises(ThenError) as error:
        console.run(line)
    assert says in str(error.value)
    assert console.run("p id").text == "1"
