"""Joins, sets and procedures, written in Python and run by engines."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import then
from tests.python_flows import PATIENCE_S, Emissions, approving, echo, run, shop
from then import it
from then.core.rules import ProcedureDecl, TaskDecl
from then.testing import Trial, done

# -- joins ---------------------------------------------------------------------------------


def test_parameters_are_the_aliases_and_the_names_of_the_key() -> None:
    rules = shop()

    @rules.when(
        then.part("pay", "done", as_="p"), then.part("reserve", "done", as_="r"), by=it.order, within="2h", name="pack"
    )
    def _(order: int, r: then.Task, p: then.Task, parts: tuple[then.Task, ...]) -> Emissions:
        assert parts == (p, r)
        yield then.emit("note", text=f"{order} {p.type} {r.type}")

    flow = run(rules, order=7)
    assert flow.texts == ["7 pay reserve"]
    note = flow.task("note")
    assert note.rule == "pack"


def test_a_match_tells_its_parts_and_bindings() -> None:
    rules = then.Rules()
    rules.when(then.part("pay", "done", it.id.matches("^v(?P<major>[0-9]+)"), as_="p"), name="r")(lambda p, major: None)
    task = then.Task("pay", {"id": "v7"}, outcome="done")
    (match,) = rules.match(task)
    assert (match.rule.name, match.parts, match.bindings) == ("r", (task,), {"p": task, "major": "7"})


def test_a_record_that_is_a_part_of_a_join_is_no_match_by_itself() -> None:
    rules = then.Rules()
    rules.when(then.part("pay", "done"), then.part("label", "done"), by="flow", name="both")(lambda: None)
    rules.when("pay", name="pays")(lambda pay: None)
    rules.unmatched(name="strays")(lambda task: None)
    assert rules.match(then.Task("pay", {}, outcome="done")) == ()
    assert [match.rule.name for match in rules.match(then.Task("pay", {}, outcome="done", event=True))] == ["pays"]
    assert [match.rule.name for match in rules.match(then.Task("pay", {}, outcome="failed"))] == ["strays"]


def test_an_absent_part_that_came_keeps_the_rule_from_firing() -> None:
    rules = shop()

    @rules.when(then.part("pay", "done", as_="p"), then.absent("gone"), by="order", within=3600)
    def unless(p: then.Task) -> Emissions:
        yield then.emit("note", text=str(p.body["order"]))

    trial = Trial(rules)
    trial.stub("pay", done())
    trial.post("gone", order=1)
    trial.post("pay", order=1)
    trial.post("pay", order=2)
    trial.expect("note", text="2", times=1)
    trial.expect_no("note", text="1")


def test_any_of_fires_at_the_first_and_what_did_not_come_is_none() -> None:
    rules = shop()

    @rules.any_of(then.part("pay", "done", as_="p"), then.part("label", "done", as_="l"), by="flow")
    def first(record: then.Task, p: then.Task | None, l: then.Task | None) -> Emissions:  # noqa: E741
        yield then.emit("note", text=f"{record.type} {p is record} {l}")

    assert run(rules, order=7).texts == ["pay True None"]


def test_so_many_records_and_one_that_follows() -> None:
    rules = then.Rules()
    rules.event("note", text=str)

    @rules.times(
        3,
        then.part("login", it.ok == False),  # noqa: E712 (a clause, as data)
        followed_by=then.part("login", it.ok == True, as_="ok"),  # noqa: E712
        by=it.user,
        within=timedelta(minutes=10),
    )
    def lock(user: str, ok: then.Task, parts: tuple[then.Task, ...]) -> Emissions:
        yield then.emit("note", text=f"{user} {len(parts)} {ok.body['ok']}")

    trial = Trial(rules)
    for user in ("a", "a", "b", "a"):
        trial.post("login", user=user, ok=False)
    trial.post("login", user="b", ok=True)
    trial.expect_no("note")
    trial.post("login", user="a", ok=True)
    trial.expect("note", text="a 4 True", times=1)


def test_a_lone_pattern_so_many_times_gives_the_last_by_position() -> None:
    rules = then.Rules()
    rules.event("note", text=str)

    @rules.times(2, "tick", it.n > 0, by="flow")
    def twice(tick: then.Task) -> Emissions:
        yield then.emit("note", text=str(tick.body["n"]))

    rules.event("go", ns=list[int])
    rules.when("go", name="ticks")(lambda go: [then.emit("tick", n=n) for n in go.body["ns"]])
    rules.event("tick", n=int)
    assert run(rules, ns=[1, 0, 2, 3]).texts == ["2"]


def test_quiet_fires_for_the_last_of_its_key() -> None:
    rules = then.Rules()
    rules.event("note", text=str)
    # One step brings both: between two posts the time might pass.
    rules.when("go", name="pushes")(lambda go: [then.emit("push", repo="r", ref=ref) for ref in go.body["refs"]])
    rules.event("go", refs=list[str])
    rules.event("push", repo=str, ref=str)

    @rules.when("push", by=it.repo, quiet_for="10ms")
    def build(push: then.Task, repo: str) -> Emissions:
        yield then.emit("note", text=f"{repo} {push.body['ref']}")

    assert run(rules, refs=["1", "2"]).texts[-1] == "r 2"


def test_a_window_that_ends_says_what_is_missing() -> None:
    rules = shop()
    rules.set.declare(TaskDecl("person"))

    def late(order: int, missing: str, p: then.Task, q: then.Task | None) -> Emissions:
        assert p.type == "pay"
        yield then.emit("note", text=f"{order} waits for {missing}, {q}")

    rules.when(
        then.part("pay", "done", as_="p"), then.part("person", "done", as_="q"), by=it.order, within="20ms",
        on_timeout=late, name="both",
    )(lambda p: then.emit("note", text="never"))  # fmt: skip
    assert run(rules, order=7).texts == ["7 waits for person, None"]


def test_parts_that_can_no_longer_come_have_an_otherwise() -> None:
    rules = shop()
    rules.task("archive")(echo)

    def no(record: then.Task, order: int, r: then.Task | None) -> Emissions:
        yield then.emit("note", text=f"{record.type} {record.outcome} {order}")
        yield then.skip("archive", order=order)

    rules.when(
        then.part("label", "done", as_="l"), then.part("pay", "done", as_="r"), by=["flow", it.order], otherwise=no,
        name="pack",
    )(lambda r: then.emit("note", text="packed"))  # fmt: skip

    flow = run(rules, order=13)
    assert flow.texts == ["pay failed 13"]
    skipped = flow.task("archive")
    assert (skipped.outcome, (skipped.error or {})["kind"]) == ("cancelled", "skipped")


def test_a_clause_may_name_a_part_to_its_left() -> None:
    rules = then.Rules()
    rules.event("note", text=str)
    rules.event("offer", lot=str, price=int)
    rules.event("bid", lot=str, price=int)

    @rules.when(
        then.part("offer", as_="o"), then.part("bid", it.price >= then.of("o").price, as_="b"), by=it.lot, within="1h"
    )
    def sold(o: then.Task, b: then.Task, lot: str) -> Emissions:
        yield then.emit("note", text=f"{lot} {o.body['price']} {b.body['price']}")

    trial = Trial(rules)
    trial.post("offer", lot="x", price=10)
    trial.post("bid", lot="x", price=9)
    trial.expect_no("note")
    trial.post("bid", lot="x", price=12)
    trial.expect("note", text="x 10 12", times=1)


def test_half_filled_joins_are_listed() -> None:
    rules = shop()
    rules.set.declare(TaskDecl("person"))
    rules.when(then.part("pay", "done"), then.part("person", "done"), by=it.order, within="2h", name="both")(
        lambda: None
    )
    with then.Engine(rules) as engine:
        engine.post("pay", order=7).wait(PATIENCE_S)
        (waiting,) = engine.joins()
        assert (waiting["rule"], waiting["key"], waiting["missing"]) == ("both", [7], ["person"])
        assert waiting["until"] is not None


def test_sets_that_wait_are_listed_with_the_first_that_are_awaited() -> None:
    rules = then.Rules()
    rules.event("go")
    rules.set.declare(TaskDecl("person"))
    rules.when("go", name="start")(lambda: then.each("person", [{}] * 5))
    rules.every("person", "done", name="whole")(lambda: None)
    with then.Engine(rules) as engine:
        flow = engine.post("go")
        asked = [task.id for task in flow.tasks if task.type == "person"]
        engine.complete(asked[1], "done")
        (waiting,) = engine.joins()
        assert (waiting["rule"], waiting["flow"], waiting["parts"][0]["came"]) == ("whole", flow.id, 1)
        assert waiting["awaited"] == {"count": 4, "records": [asked[0], asked[2], asked[3]], "unseen": 0}


# -- sets ------------------------------------------------------------------------------------


def fan() -> then.Rules:
    rules = then.Rules()
    rules.event("go", hosts=list[str])
    rules.event("note", text=str)

    @rules.task("do")
    def do(host: str) -> dict[str, str]:
        if host == "bad":
            raise ValueError(host)
        return {"host": host}

    @rules.when("go")
    def start(go: then.Task) -> Emissions:
        yield from then.each("do", [{"host": host} for host in go.body["hosts"]])

    return rules


@pytest.mark.parametrize(
    ("hosts", "expected"), [(["a", "b", "c"], ["all"]), ([], ["all"]), (["a", "bad", "b"], ["not all: do"])]
)
def test_every_one_that_was_emitted(hosts: list[str], expected: list[str]) -> None:
    rules = fan()

    def some(record: then.Task) -> Emissions:
        yield then.emit("note", text=f"not all: {record.type}")

    rules.every("do", "done", otherwise=some, name="all")(lambda: then.emit("note", text="all"))
    assert run(rules, hosts=hosts).texts == expected


def test_a_call_joins_the_set_of_its_own(tmp_path: Path) -> None:
    rules = fan()

    @rules.procedure("roll", hosts=list[str], do="task", returns={"count": int})
    def roll(hosts: list[str], do: str) -> Emissions:
        yield from then.each(do, [{"host": host} for host in hosts])

    @roll.every("do", "done")
    def over(hosts: list[str]) -> Emissions:
        yield then.return_(count=len(hosts))

    rules.event("both", a=list[str], b=list[str])

    @rules.when("both")
    def two(both: then.Task) -> Emissions:
        for hosts in (both.body["a"], both.body["b"]):
            yield then.call(roll, hosts=hosts, do="do", then=said)

    @rules.continuation
    def said(roll: then.Task) -> Emissions:
        assert roll.result is not None
        yield then.emit("note", text=f"{roll.result['count']}")

    assert sorted(run(rules, "both", a=["x", "y"], b=[]).texts) == ["0", "2"]


def test_a_parameter_that_is_a_task_is_waited_for_by_its_name() -> None:
    rules = fan()

    @rules.procedure("twice", host=str, work="task", returns={"by": str})
    def twice(host: str, work: str) -> Emissions:
        yield then.emit(work, host=host)

    @twice.when("work", "done")
    def first(record: then.Task, work: str) -> Emissions:
        assert record.type == work
        yield then.return_(by=record.type)

    rules.task("other")(echo)
    rules.event("both")
    rules.when("both", name="calls")(lambda both: [then.call(twice, host="a", work=name) for name in ("do", "other")])
    flow = run(rules, "both")
    assert sorted(str(task.result and task.result["by"]) for task in flow.tasks if task.type == "twice") == [
        "do",
        "other",
    ]


# -- procedures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("yes", ["after True 3", "over prod done me"]),
        ("no", ["after False 3", "no prod", "over prod done nobody"]),
        ("raise", ["broken failed 3", "over prod failed -"]),
    ],
)
def test_a_call_returns_to_its_continuation(answer: str, expected: list[str]) -> None:
    flow = run(approving(answer), what="prod")
    assert sorted(flow.texts) == expected
    assert flow.outcome == "done"


def test_a_procedure_is_data_and_its_rules_are_named_by_it() -> None:
    rules = approving()
    declared = rules.set.procedures["approve"]
    assert isinstance(declared, ProcedureDecl)
    assert [rule.name for rule in (declared.first, *declared.rules)] == ["approve", "approve.yes", "approve.no"]
    assert [(field.name, str(field.type)) for field in declared.result or ()] == [("by", "str"), ("ok", "bool")]
    assert list(rules.set.endings) == ["approve"]


def test_what_a_call_lacks_and_what_it_hands_back_are_checked() -> None:
    rules = then.Rules()
    rules.event("go")

    @rules.procedure("p", n=int, returns={"m": int})
    def p(n: int) -> Emissions:
        yield then.return_(m="one")

    rules.when("go", name="right")(lambda go: then.call(p, n=1))
    flow = run(rules)
    call = flow.task("p")
    assert (call.outcome, (call.error or {})["kind"]) == ("failed", "result")
    wrong = then.Rules()
    wrong.event("go")
    wrong.procedure("p", n=int)(lambda n: None)
    wrong.when("go", name="w")(lambda go: then.call("p"))
    assert run(wrong).task("rule.failed").body["error"] == "p: n: missing, int is declared"


def test_a_call_of_what_is_no_procedure_says_so() -> None:
    rules = shop()
    rules.when("gone", name="r")(lambda gone: then.call("pya", order=1))
    flow = run(rules, "gone", order=1)
    failure = flow.task("rule.failed")
    assert failure.body["error"] == 'r: "pya" is no procedure; then.emit(…) emits a task'


def test_calls_go_deep_and_arguments_may_stay_undeclared() -> None:
    rules = then.Rules()
    rules.event("go", n=int)

    @rules.procedure("down")
    def down(n: int) -> Emissions:
        yield then.call("down", n=n - 1, then=up) if n else then.return_(depth=0)

    @rules.continuation
    def up(down: then.Task) -> Emissions:
        yield then.return_(depth=down.result["depth"] + 1)  # type: ignore[index]

    rules.when("go", name="start")(lambda go: then.call(down, n=go.body["n"]))
    flow = run(rules, n=50)
    assert flow.tasks[1].result == {"depth": 50}


def test_a_join_in_a_procedure_needs_no_key_and_knows_the_arguments() -> None:
    rules = shop()

    @rules.procedure("both", order=int, tag=str)
    def both(order: int) -> Emissions:
        yield then.emit("pay", order=order)
        yield then.emit("label", order=order)

    @both.when(then.part("pay", "done", as_="p"), then.part("label", "done", as_="l"))
    def met(p: then.Task, l: then.Task, tag: str) -> Emissions:  # noqa: E741
        yield then.emit("note", text=f"{tag} {p.body['order']} {l.body['order']}")

    rules.when("gone", name="begin")(lambda gone: [then.call(both, order=n, tag="t") for n in (1, 2)])
    assert sorted(run(rules, "gone", order=0).texts) == ["t 1 1", "t 2 2"]


def test_a_procedure_that_fails_fast_cancels_what_lives_in_it() -> None:
    rules = shop()

    @rules.procedure("both")
    def both() -> Emissions:
        yield then.emit("pay", order=13)
        yield then.emit("label", order=1).after("1h")

    rules.when("gone", name="begin")(lambda gone: then.call(both).fail_fast())
    flow = run(rules, "gone", order=0)
    assert flow.outcome == "failed"
    assert flow.task("label").outcome == "cancelled"
