"""Terms and policies, the other acts of a rule, timers and versions, written in Python and run by engines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import then
from tests.python_flows import PATIENCE_S, Emissions, approving, echo, ran, run, shop, until
from then import it
from then.core.errors import ConfigError, RuleError, UnknownName
from then.core.policies import Policy, Retry
from then.core.rules import Limit, Need, TaskDecl, TimerDecl
from then.core.schedule import Cron, Daily, Every
from then.testing import Trial, failed, hangs

# -- terms and policies -------------------------------------------------------------------------------


def test_terms_are_said_of_an_emission_one_behind_the_other() -> None:
    emission = then.emit("pay", order=1, after=3).retry(5, backoff="1s", to=60, jitter=True).timeout("30s").after(0.5)
    assert emission.body == {"order": 1, "after": 3}, "what is a field stays one"
    assert emission.policy == Policy(Retry(5, 1_000_000, 60_000_000, 2.0, True), 30_000_000)
    assert emission.after_us == 500_000
    assert then.emit("x").at("2026-01-05T10:00+01:00").at_us == 1_767_603_600_000_000


def test_an_emission_that_is_to_be_tried_again_is() -> None:
    rules = shop()
    tries: list[int] = []

    @rules.task("flaky")
    def flaky() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")

    rules.when("gone", name="r")(lambda gone: then.emit("flaky").retry(2, backoff="1ms"))
    flow = run(rules, "gone", order=1)
    assert (len(tries), flow.outcome) == (3, "done")


def test_times_are_kept() -> None:
    rules = shop()
    rules.when("gone", name="r")(
        lambda gone: [then.emit("label", order=1).after("24h"), then.emit("pay", order=1).timeout("1m")]
    )
    rules.when("pay", "timed_out", name="slow")(lambda pay: then.emit("note", text="slow"))
    trial = Trial(rules)
    trial.stub("pay", hangs())
    trial.post("gone", order=1)
    trial.advance("59s")
    trial.expect_no("note")
    trial.advance("1s")
    trial.expect("note", text="slow")
    assert [task.type for task in trial.running()] == []
    trial.advance("1d")
    assert [task.type for task in trial.running()] == ["label"]


def test_at_most_once_drops_what_comes_again() -> None:
    rules = shop()
    rules.when("gone", name="r")(lambda gone: then.emit("note", text="x").at_most_once("1h", by=gone.body["order"]))
    trial = Trial(rules)
    for order in (1, 1, 2):
        trial.post("gone", order=order)
    trial.expect("note", times=2)
    trial.advance("1h")
    trial.post("gone", order=1)
    trial.expect("note", times=3)


def test_a_task_has_its_policies() -> None:
    rules = then.Rules()

    def over(build: then.Task, ref: str) -> Emissions:
        yield then.emit("note", text=f"{ref} {build.outcome}")

    rules.task(
        "build",
        retry=then.retry(5, backoff="1s", to="1m", jitter=True),
        retry_while=it.record.error.kind == "exit",
        timeout="30s",
        deadline=timedelta(hours=2),
        expires=86400,
        limit=(4, it.region),
        needs={"cores": 2, "memory": "1GiB", "lock.db": "exclusive", "license": it.n, "slots": 0},
        idempotent_by=it.ref,
        finally_=over,
    )(lambda ref: None)
    task = rules.set.tasks["build"]
    assert task.policy == Policy(Retry(5, 1_000_000, 60_000_000, 2.0, True), 30_000_000)
    assert (task.deadline_us, task.expires_us, task.slots) == (7_200_000_000, 86_400_000_000, 0)
    assert task.limit == Limit(4, then.core.filters.Field(("region",), "body"))
    assert [(need.name, getattr(need.amount, "value", None)) for need in task.needs] == [
        ("cores", 2), ("memory", 2**30), ("lock.db", "exclusive"), ("license", None),
    ]  # fmt: skip
    assert isinstance(task.needs[0], Need)
    assert list(rules.set.endings) == ["build"]


def test_a_task_is_tried_again_while_its_clause_holds_and_has_an_end() -> None:
    rules = then.Rules()
    rules.event("note", text=str)
    kinds = iter(("exception", "exception", "exception"))
    tries: list[str] = []

    def over(flaky: then.Task, n: int) -> Emissions:
        yield then.emit("note", text=f"{flaky.outcome} {flaky.attempt} {n}")

    @rules.task("flaky", retry=5, retry_while=it.record.attempt < 3, finally_=over, may_fail=True)
    def flaky(n: int) -> None:
        tries.append(next(kinds))
        raise ValueError(n)

    flow = run(rules, "flaky", n=4)
    assert (len(tries), flow.texts, flow.outcome) == (3, ["failed 3 4"], "done")


# -- other acts ----------------------------------------------------------------------------------------


def test_what_is_saved_is_seen_by_later_rules() -> None:
    rules = shop()
    rules.when("gone", name="saves")(lambda gone: [then.save(total=gone.body["order"]), then.emit("note", text="n")])
    rules.when("note", it.text == "n", it.flow.total > 3, name="sees")(lambda note: then.emit("note", text="more"))
    assert run(rules, "gone", order=4).texts == ["n", "more"]
    assert run(rules, "gone", order=3).texts == ["n"]


def test_live_records_are_cancelled_by_type_and_fields() -> None:
    rules = shop()
    rules.when("gone", name="r")(lambda gone: [then.emit("label", order=n).after("1h") for n in (1, 2)])
    rules.when("note", name="stop")(lambda note: then.cancel("label", order=1))
    with then.Engine(rules) as engine:
        posted = engine.post("gone", order=0)
        engine.post_record("note", {"text": "now"}, flow=posted.id)
        until(engine, lambda: any(task.outcome == "cancelled" for task in posted.tasks))
        ended = {task.body["order"]: task.outcome for task in posted.tasks if task.type == "label"}
        assert ended == {1: "cancelled", 2: None}
        engine.cancel(posted)
        assert posted.wait(PATIENCE_S).outcome == "cancelled"


@pytest.mark.parametrize(
    ("emission", "outcome", "text"),
    [
        (then.end_flow("failed", "no stock"), "failed", "no stock"),
        (then.end_flow(), "done", None),
        (then.cancel_flow(), "cancelled", None),
    ],
)
def test_a_rule_ends_its_flow(emission: then.Emission, outcome: str, text: str | None) -> None:
    rules = shop()
    rules.when("note", name="ends")(lambda note: emission)
    rules.when("gone", name="r")(lambda gone: [then.emit("label", order=1).after("1h"), then.emit("note", text="now")])
    with then.Engine(rules) as engine:
        flow = engine.post("gone", order=1).wait(PATIENCE_S)
        assert (flow.outcome, flow.history.flow.text) == (outcome, text)


# -- timers ----------------------------------------------------------------------------------------------


def test_timers_are_data() -> None:
    rules = shop()
    rules.every("15m", "note", body={"text": it.today}, overlap="queue")
    rules.every("weekday", "note", at="06:30", zone="Europe/Rome", body={"text": "x"})
    rules.cron("0 3 * * *", "gone", zone="Europe/Rome", body={"order": 1}, catch_up="all")
    rules.every(timedelta(days=1), "gone", body={"order": 2})
    timers = rules.set.timers
    assert [(name, timer.schedule) for name, timer in timers.items()] == [
        ("note", Every(900_000_000)), ("note.2", Daily("weekday", 6, 30, "Europe/Rome")),
        ("gone", Cron("0 3 * * *", "Europe/Rome")), ("gone.2", Every(86_400_000_000)),
    ]  # fmt: skip
    assert timers["note"].args == (("text", then.core.filters.Name("today")),)
    assert isinstance(timers["gone"], TimerDecl)
    assert (timers["note"].overlap, timers["gone"].catch_up) == ("queue", "all")


def test_timers_are_listed_paused_and_fired_now() -> None:
    rules = shop()
    rules.cron("0 3 * * *", "gone", body={"order": 5})
    with then.Engine(rules) as engine:
        (timer,) = engine.timers()
        assert (timer["name"], timer["when"], timer["paused"]) == ("gone", 'cron "0 3 * * *"', False)
        engine.set_timer("gone", "pause")
        assert [one["paused"] for one in engine.timers()] == [True]
        engine.set_timer("gone", "fire")
        flow = engine.flow(str(engine.timers()[0]["flow"])).wait(PATIENCE_S)
        assert [(task.type, task.body) for task in flow.tasks] == [("gone", {"order": 5})]
        with pytest.raises(ConfigError, match="no timer"):
            engine.set_timer("nope", "pause")


def test_a_timer_comes_round() -> None:
    rules = shop()
    rules.every("1ms", "gone", body={"order": 1})
    came = threading.Event()
    rules.task("ring")(came.set)
    rules.when("gone", name="r")(lambda gone: then.emit("ring"))
    with then.Engine(rules):
        assert came.wait(PATIENCE_S)


# -- versions ----------------------------------------------------------------------------------------------


CHANGES: dict[str, Callable[[then.Rules], object]] = {
    "a rule of a procedure": lambda rules: rules.procedure("p")(lambda: None).when("pay", "done", name="a")(lambda: None),
    "a policy": lambda rules: rules.task("x", retry=3)(echo),
    "another policy": lambda rules: rules.task("x", retry=4)(echo),
    "a timer": lambda rules: rules.every("15m", "gone"),
    "another timer": lambda rules: rules.every("16m", "gone"),
    "a continuation": lambda rules: rules.continuation(echo),
    "an end": lambda rules: rules.task("x", finally_=lambda x: None)(echo),
    "a window": lambda rules: rules.any_of(then.part("pay", "done"), by=it.order, within="1h", name="a")(lambda: None),
    "another": lambda rules: rules.any_of(then.part("pay", "done"), by=it.order, within="2h", name="a")(lambda: None),
    "what is late": lambda rules: rules.when(
        then.part("pay", "done"), then.part("label", "done"), by=it.order, within="2h", name="a",
        on_timeout=lambda: None,
    )(lambda: None),
    "a predicate": lambda rules: rules.when("pay", "done", lambda task: True, name="a")(lambda: None),
}  # fmt: skip


def test_each_change_is_another_version_and_the_same_program_the_same_one() -> None:
    versions = {"": shop().version}
    for name, change in CHANGES.items():
        first, second = shop(), shop()
        change(first)
        change(second)
        assert first.version == second.version, name
        versions[name] = first.version
    assert len(set(versions.values())) == len(versions), versions


def test_a_flow_goes_on_in_its_call_where_the_engine_before_left_it(tmp_path: Path) -> None:
    def rules_of() -> then.Rules:
        rules = shop()
        rules.set.declare(TaskDecl("person"))

        @rules.procedure("approve", who=str, returns={"by": str})
        def approve(who: str) -> Emissions:
            yield then.emit("person", who=who)

        @approve.when("person", "done")
        def yes(person: then.Task, who: str) -> Emissions:
            yield then.return_(by=who)

        @rules.continuation
        def after(approve: then.Task, n: int) -> Emissions:
            yield then.emit("note", text=f"{approve.result['by']} {n}")  # type: ignore[index]

        rules.when("gone", name="begin")(lambda gone: then.call(approve, who="me", then=after, bind={"n": 1}))
        return rules

    with then.Engine(rules_of(), tmp_path / "state") as engine:
        flow = engine.post("gone", order=1)
        until(engine, lambda: any(task.type == "person" for task in flow.tasks))
        person = next(task for task in flow.tasks if task.type == "person")
    with then.Engine(rules_of(), tmp_path / "state") as engine:
        assert engine.notices == [], "the version is the same"
        engine.complete(person.id)
        assert ran(engine.flow(flow.id).wait(PATIENCE_S)).texts == ["me 1"]


# -- what is refused ------------------------------------------------------------------------------------------

PAY = then.part("pay", "done", as_="p")
LABEL = then.part("label", "done", as_="l")

REFUSED: list[tuple[Callable[[then.Rules], object], str]] = [
    (lambda rules: rules.when(PAY, LABEL), "this wait needs a key: by=it.FIELD"),
    (lambda rules: rules.when(PAY, LABEL, by=it.order), "a join over all flows needs a window"),
    (lambda rules: rules.when(PAY, LABEL, by=it.order, within="2 hours"), 'within: "2 hours" is no span of time'),
    (lambda rules: rules.when(PAY, LABEL, by=it.order, within=0), "within: 0 is no time at all"),
    (lambda rules: rules.when(PAY, LABEL, by=it.order, within="999999d"), "longer than 100 years"),
    (lambda rules: rules.when(PAY, PAY, by="flow"), '"p" names another part already'),
    (lambda rules: rules.when(then.absent("gone"), by="flow"), "here all are absent"),
    (lambda rules: rules.when(PAY, "label", by="flow"), "'label' is no part of a join"),
    (lambda rules: rules.when("pay", "done", by="flow"), "one record needs neither key nor window"),
    (lambda rules: rules.when(PAY, LABEL, by={"p": it.order}, within="1h"), 'the key leaves "l" out'),
    (lambda rules: rules.when(PAY, LABEL, by={"p": "a", "l": "b", "q": "c"}), 'no part is called "q"'),
    (lambda rules: rules.when(PAY, LABEL, by=it.a + 1, within="1h"), "a key is a field of each part"),
    (lambda rules: rules.any_of(then.absent("gone"), by="flow"), "any_of fires at the first record"),
    (lambda rules: rules.times(0, "pay", "done", by="flow"), "from 1 to 1,000,000; here is 0"),
    (lambda rules: rules.when(then.part("pay", "retried"), LABEL, by="flow"), "an attempt that is tried again is no part"),
    (lambda rules: rules.when(PAY, LABEL, by="flow", on_timeout=lambda: None), "on_timeout answers the end of a window"),
    (lambda rules: rules.when(PAY, LABEL, by="flow")(lambda q: None), 'nothing is bound to "q"; there are l, p, parts'),
    (lambda rules: rules.when(PAY, LABEL, by="flow", within="1h", on_timeout=lambda mising: None), 'nothing is bound to "mising" (did you mean "missing"?)'),
    (lambda rules: then.part("pay", "doen"), '"doen" is no outcome (did you mean "done"?)'),
    (lambda rules: then.part("pay", as_="a b"), 'as_="a b" is no name that a parameter may have'),
    (lambda rules: rules.every("0s", "gone"), "no time at all"),
    (lambda rules: rules.every("15m", "gone", at="06:30"), "every 15m is the same everywhere"),
    (lambda rules: rules.every("15m"), "posts one task or event"),
    (lambda rules: rules.every("15m", "gone")(lambda: None), "is a timer, which posts a record and takes no function"),
    (lambda rules: rules.every("day", "gone", at="25:00"), "the times of a day are 00:00 to 23:59"),
    (lambda rules: rules.cron("30 2 31 2 *", "gone"), "never comes"),
    (lambda rules: rules.cron("0 3 * * *", "gone", zone="Mars/Base"), 'unknown zone "Mars/Base"'),
    (lambda rules: rules.cron("0 3 * * *", "gone", overlap="maybe"), 'unknown word for overlap "maybe"; there are skip, queue, allow'),  # type: ignore[arg-type]
    (lambda rules: rules.cron("0 3 * * *", "gone", body={"a": it.b}), "a timer posts JSON values"),
    (lambda rules: rules.task("x", limit=-1), 'task "x": limit: how many run at once is a whole number from 1'),
    (lambda rules: rules.task("x", limit="4"), "limit: how many run at once is a whole number"),  # type: ignore[arg-type]
    (lambda rules: rules.task("x", limit=(4, "region")), "limit: how many, or how many by what"),  # type: ignore[arg-type]
    (lambda rules: rules.task("x", slots=-1), "slots: how many it takes is a whole number from 0 to 1,000,000; here is -1"),
    (lambda rules: rules.task("x", priority="high"), "priority is a whole number"),  # type: ignore[arg-type]
    (lambda rules: rules.task("x", done_on="0"), "an exit code is a whole number"),  # type: ignore[arg-type]
    (lambda rules: rules.task("x", retry="3"), "attempts after the first are a whole number"),  # type: ignore[arg-type]
    (lambda rules: rules.task("x", retry=0), 'task "x": retry: attempts after the first are a whole number'),
    (lambda rules: rules.task("x", retry_while=it.a == 1), "give retry=… too"),
    (lambda rules: rules.task("x", needs={"memory": "1GB"}), '"1GB" is no amount'),
    (lambda rules: rules.task("x", needs={"cores": 0}), "0 is not more than nothing"),
    (lambda rules: rules.task("x", needs={"lock.a": "mine"}), 'unknown way to hold a lock "mine"; there are shared, exclusive'),
    (lambda rules: rules.procedure("p", n=int)(lambda m: None), 'procedure "p": nothing is bound to "m"'),
    (lambda rules: rules.procedure("p", n=set), "is no type of a field"),
    (lambda rules: then.retry(2, backoff=5, to=1), "a wait from 5 to 1 shrinks"),
    (lambda rules: then.retry(2, to=1), "give its begin too"),
    (lambda rules: then.return_().after("1s"), "a return happens at once"),
    (lambda rules: then.emit("x").at("soon"), 'x at: "soon" is no time'),
    (lambda rules: then.emit("x").timeout(float("nan")), "longer than 100 years"),
    (lambda rules: then.end_flow("cancelled"), "then.cancel_flow() cancels it"),  # type: ignore[arg-type]
    (lambda rules: then.call(3), "then.call takes a procedure, or its name; here is 3"),
    (lambda rules: then.call("p", then=run), "run is no return address"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_is_refused_says_what_would_be_right(write: Callable[[then.Rules], object], text: str) -> None:
    with pytest.raises(RuleError) as refused:
        write(shop())
    assert text in str(refused.value)


def test_a_refusal_in_rules_names_the_line_of_the_program() -> None:
    with pytest.raises(RuleError) as refused:
        then.Rules().when(PAY, LABEL, by=it.order)
    assert refused.value.span is not None
    assert refused.value.span.file == __file__
    with pytest.raises(UnknownName) as unknown:
        then.Rules().cron("0 3 * * *", "x", zone="Mars/Base")
    assert unknown.value.span is not None
    assert unknown.value.span.file == __file__


def test_failures_of_stubs_reach_the_otherwise_of_a_call() -> None:
    trial = Trial(approving())
    trial.stub("ask", failed(kind="exit").times(1))
    trial.post("go", what="prod")
    trial.expect("note", text="broken failed 3", times=1)
