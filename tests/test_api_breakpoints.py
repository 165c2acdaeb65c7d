"""Breakpoints in Python and YAML: written beside rules, added to an engine, released from it, there after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest

import then
from tests.scripted import project
from then import it
from then.app.rules import Rules
from then.core.errors import ConfigError, RuleError, RulesRefused, UnknownName
from then.language.loading import load_text
from then.language.printer import print_rules


def shop() -> Rules:
    rules = then.Rules()

    @rules.task("pay")
    def pay(amount: int) -> dict[str, object]:
        return {"receipt": f"r{amount}"}

    @rules.task("ship")
    def ship(receipt: str) -> dict[str, object]:
        return {"sent": receipt}

    @rules.when("pay", "done")
    def send(pay: then.Task) -> object:
        assert pay.result is not None
        yield then.emit("ship", receipt=pay.result["receipt"])

    return rules


def test_a_run_returns_when_all_that_lives_is_held() -> None:
    rules = shop()
    rules.breakpoint("big", before="pay", where=it.amount > 500)
    with then.Engine(rules) as engine:
        flow = engine.run("pay", amount=900)
        assert (flow.state, flow.outcome) == ("held", None)
        [(id, hold)] = engine.breakpoints.held.items()
        assert (hold.breakpoint, hold.place) == ("big", "before")
        engine.release(id, body={"amount": 1}, who="ann")
        assert flow.wait().outcome == "done"
        assert [task.result for task in flow.tasks] == [{"receipt": "r1"}, {"sent": "r1"}]
        assert engine.run("pay", amount=500).outcome == "done"


def test_one_is_added_listed_switched_and_taken_away_while_flows_run() -> None:
    with then.Engine(shop()) as engine:
        set_ = engine.breakpoints.add("end", "after pay done from hit 2", who="ann")
        assert (set_.text, set_.point.by) == ("breakpoint end after pay done from hit 2", "ann")
        assert engine.run("pay", amount=1).outcome == "done"
        flow = engine.run("pay", amount=2)
        assert flow.state == "held"
        assert engine.breakpoints["end"].hits == 2
        assert [hold.id for hold in engine.breakpoints["end"].holds] == [flow.id]
        engine.breakpoints.disable("end")
        assert engine.run("pay", amount=3).outcome == "done"
        engine.breakpoints.enable("end")
        assert [point.is_on for point in engine.breakpoints] == [True]
        engine.breakpoints.remove("end", release=True)
        assert flow.wait().outcome == "done"
        assert engine.breakpoints.list() == []
        with pytest.raises(UnknownName):
            engine.breakpoints.remove("end")


def test_what_is_added_and_not_right_is_refused_with_the_column(tmp_path: Path) -> None:
    (tmp_path / "shop.then").write_text("task pay(amount: int)\n")
    with then.Engine(Rules().load(tmp_path / "shop.then")) as engine:
        with pytest.raises(RulesRefused, match=r'break:1:31: unknown field of pay "amont"'):
            engine.breakpoints.add("x", "before pay where amont > 5")
        with pytest.raises(RulesRefused):
            engine.breakpoints.add("x", "before pay breakpoint y before pay")
        assert "x" not in [point.name for point in engine.breakpoints]


def test_a_hold_and_what_was_added_are_there_after_a_restart(tmp_path: Path) -> None:
    rules = shop()
    with then.Engine(rules, state=tmp_path / "state") as engine:
        engine.breakpoints.add("end", "after pay")
        flow = engine.run("pay", amount=1)
    with then.Engine(rules, state=tmp_path / "state") as engine:
        assert engine.breakpoints["end"].hits == 1
        assert list(engine.breakpoints.held) == [flow.id]
        again = engine.flow(flow.id)
        assert again.wait().state == "held"
        engine.release(flow.id, result={"receipt": "other"})
        assert again.wait().outcome == "done"
        assert [task.result for task in again.tasks][1] == {"sent": "other"}
        assert engine.run("pay", amount=1).state == "held"


def test_a_breakpoint_in_python_says_what_one_in_the_language_says() -> None:
    rules = shop()
    rules.breakpoint("a", before="pay", where=it.amount > 500, from_hit=3, once=True, expires="1h", show=["amount"])
    rules.breakpoint("b", after=("pay", "failed", "timed out"))
    rules.breakpoint("c", on_rule="send", show=["result.receipt"])
    rules.breakpoint("d", after="pay", prints="paid {receipt}")
    rules.breakpoint("e", before="pay", where=lambda task: task.body["amount"] > 1)
    rules.task("fan", run=("script", "fan.py"))
    rules.breakpoint("f", on_step="fan", where=it.count > 1)
    rules.breakpoint("g", on_step=("fan", "fan.py:7"), once=True)
    texts = [point.text for point in rules.set.breakpoints.values()]
    assert texts[:4] == [
        "breakpoint a before pay where amount > 500 from hit 3 once show amount expires 1h",
        "breakpoint b after pay failed or timed out",
        "breakpoint c on rule send show result.receipt",
        'logpoint d after pay print "paid {receipt}"',
    ]
    assert texts[4].startswith("breakpoint e before pay where <lambda> ")
    assert texts[5:] == [
        "breakpoint f on step of fan where count > 1",
        'breakpoint g on step of fan at "fan.py:7" once',
    ]


def test_a_breakpoint_in_python_holds_a_script_before_its_step(tmp_path: Path) -> None:
    rules = project(
        tmp_path,
        """\
        def main(**body):
            save("at", 1)
            save("at", 2)
        """,
    )
    rules.breakpoint("two", on_step=("job", "job.py:3"))
    with then.Engine(rules) as engine:
        flow = engine.run("job")
        [hold] = engine.breakpoints.held.values()
        assert (hold.breakpoint, hold.place) == ("two", "step 1 at job.py:3")
        assert engine.history().flow(flow.id).variables == {"at": 1}
        engine.release(flow)
        assert flow.wait().outcome == "done"


def test_a_breakpoint_in_python_changes_the_version_of_the_rules() -> None:
    plain, held = shop(), shop()
    held.breakpoint("a", before="pay")
    assert plain.version != held.version


def test_a_clause_in_python_that_is_a_function_holds_what_it_is_true_of() -> None:
    rules = shop()
    rules.breakpoint("e", before="pay", where=lambda task: task.body["amount"] % 2 == 0)
    with then.Engine(rules) as engine:
        assert engine.run("pay", amount=1).outcome == "done"
        assert engine.run("pay", amount=2).state == "held"


def test_a_breakpoint_in_python_needs_one_place_and_a_name_that_is_free() -> None:
    rules = shop()
    rules.breakpoint("a", before="pay")
    with pytest.raises(RuleError, match="is there twice"):
        rules.breakpoint("a", after="pay")
    with pytest.raises(RuleError, match="needs one place"):
        rules.breakpoint("b")
    with pytest.raises(RuleError, match="needs one place"):
        rules.breakpoint("b", before="pay", after="pay")
    with pytest.raises(RuleError, match='unknown rule "sent"'):
        rules.breakpoint("b", on_rule="sent")
    with pytest.raises(RuleError, match="never stops"):
        rules.breakpoint("b", before="pay", prints="x", once=True)
    with pytest.raises(RuleError, match='"pay" is no script'):
        rules.breakpoint("b", on_step="pay")
    with pytest.raises(RuleError, match='names no line of a script: write "fan'):
        rules.breakpoint("b", on_step=("fan", "seven"))
    with pytest.raises(RuleError, match="one line of its script"):
        rules.breakpoint("b", on_step=("fan", "fan.py:7", "fan.py:8"))


def test_an_engine_refuses_a_result_that_is_no_json_and_a_record_that_is_not_held() -> None:
    rules = shop()
    rules.breakpoint("e", after="pay")
    with then.Engine(rules) as engine:
        flow = engine.run("pay", amount=1)
        with pytest.raises(RuleError):
            engine.release(flow, result={"receipt": {1, 2}})
        engine.release(flow)
        flow.wait()
        with pytest.raises(ConfigError, match="is not held"):
            engine.release(flow)


YAML = """
rules:
  - name: paid
    when: {type: pay, outcome: done, as: p}
    then: [{type: note, body: {text: "{p.receipt}"}}]
tasks:
  pay: {inputs: "amount: int", result: "receipt: str"}
events:
  note: {text: str}
breakpoints:
  big: before pay where amount > 500 from hit 2
  look: on rule paid show p.receipt
logpoints:
  slow: 'after pay where took > 20s print "slow {took}"'
"""


def test_breakpoints_of_yaml_are_those_of_the_language() -> None:
    loaded = load_text(YAML, "shop.yaml").rules
    printed = load_text(print_rules(loaded)).rules
    assert list(loaded.breakpoints) == ["big", "look", "slow"]
    for one, other in zip(loaded.breakpoints.values(), printed.breakpoints.values(), strict=True):
        assert attrs.evolve(one, text="") == attrs.evolve(other, text="")


def test_what_is_wrong_in_a_breakpoint_of_yaml_has_its_place() -> None:
    with pytest.raises(RulesRefused, match=r'shop.yaml:11:43: found "hat" \(did you mean "hit"\?\)'):
        load_text(YAML.replace("from hit", "from hat"), "shop.yaml")
    with pytest.raises(RulesRefused, match="breakpoints takes a mapping of names to texts"):
        load_text("rules: []\nbreakpoints: [before pay]\n", "shop.yaml")


TEXT = """
event order(id: int)
task pay(order: int, amount: int) -> (receipt: str) run process ["pay"]
task ship(order: int) run process ["ship"]
rule placed when order as o then pay(order: o.id, amount: 5)
rule paid when pay done as p then ship(order: p.order) as s then ship(order: s.order)
breakpoint a before pay where amount > 500 and (flow.tag ?? "") != "load" from hit 3 expires 90m once show amount
breakpoint b on rule paid/1 where s.order > 5 and p.amount > 1 show p.receipt, s.order
breakpoint c after any failed or timed out where took > 20s
breakpoint d after order where id in [1, 2]
breakpoint e before any from hit 2
logpoint f after pay done where amount > 1 print "{order}: {receipt}"
"""


def test_printed_breakpoints_read_as_the_same() -> None:
    loaded = load_text(TEXT).rules
    printed = load_text(print_rules(loaded)).rules
    assert list(loaded.breakpoints) == list("abcdef")
    for one, other in zip(loaded.breakpoints.values(), printed.breakpoints.values(), strict=True):
        assert attrs.evolve(one, text="") == attrs.evolve(other, text="")


def test_an_engine_of_coroutines_holds_and_continues_likewise() -> None:
    async def play() -> tuple[str, object]:
        rules = shop()
        rules.breakpoint("end", after="pay")
        async with then.AsyncEngine(rules) as engine:
            flow = await engine.run("pay", amount=1)
            held = flow.state
            assert [hold.breakpoint for hold in engine.breakpoints.held.values()] == ["end"]
            await engine.release(flow, result={"receipt": "x"}, who="ann")
            await flow.wait()
            return held, flow.tasks[1].result

    assert asyncio.run(play()) == ("held", {"sent": "x"})
