"""Sessions of the debugger: where a flow stops, what is seen of it, and what is changed. No terminal, no socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import then
from then.app.rules import Rules
from then.core import facts as f
from then.core.errors import BodyRefused, ConfigError
from then.core.tasks import Json, Task
from then.debugger.access import to_engine
from then.debugger.past import entry_at, state_at
from then.debugger.places import place_of
from then.debugger.preview import preview
from then.debugger.session import Session, Stop

SHOP = """
event order(id: int, total: int)
task pay(order: int, amount: int) -> (receipt: str)
task reserve(order: int)
task ask(what: str) -> (ok: bool)
task ship(order: int, receipt: str)
task look(n: int)
event shipped(order: int)
procedure approve(what: str) -> (ok: bool)
  first ask(what: what)
  when ask done as a then look(n: 1) then return (ok: a.ok)
end
rule placed when order as o then pay(order: o.id, amount: o.total), reserve(order: o.id)
rule paid
  when pay done as p
  then save paid: p.amount
rule pack
  when all of pay done as p, reserve done as r by p.order == r.order, flow
  then call approve(what: "order {p.order}") as a
  then ship(order: p.order, receipt: p.receipt)
rule out when ship done as s then shipped(order: s.order)
rule again when reserve failed as r then reserve(order: r.order)
"""
"""All tasks are a person's: a test says when each ends."""


class Debugged:
    """A flow of the shop, held at its first record, and a session at it."""

    def __init__(self, engine: then.Engine, **body: Json) -> None:
        self.engine = engine
        engine.breakpoints.add("entry", "after order once")
        self.flow = engine.post("order", **(body or {"id": 1, "total": 900}))
        engine.breakpoints.remove("entry")
        self.session = Session(to_engine(engine), self.flow.id, "ann")

    def stop(self) -> Stop:
        found = self.session.wait(0.0)
        assert found is not None, "nothing stops it"
        return found

    def go(self, how: str = "continue", place: str = "") -> None:
        self.session.go(how, place)  # type: ignore[arg-type]

    def live(self, type: str) -> Task:
        return next(task for task in self.flow.tasks if task.type == type and task.outcome is None)

    def end(self, type: str, outcome: str = "done", **result: Json) -> None:
        self.engine.complete(self.live(type).id, outcome, **result)  # type: ignore[arg-type]

    def types(self) -> list[str]:
        return [task.type for task in self.flow.tasks]


@contextmanager
def opened(folder: Path, text: str = SHOP) -> Iterator[then.Engine]:
    (folder / "shop.then").write_text(text)
    with then.Engine(Rules().load(str(folder / "shop.then"))) as engine:
        yield engine


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Debugged]:
    with opened(tmp_path) as engine:
        yield Debugged(engine)


def paid_up_to_the_call(shop: Debugged) -> None:
    """As far as the call that pack makes, whose question waits for its answer."""
    shop.go()
    shop.end("reserve")
    shop.end("pay", receipt="r1")


# -- stops and steps -------------------------------------------------------------------------


def test_a_flow_is_held_at_its_first_record_before_any_rule_sees_it(shop: Debugged) -> None:
    stop = shop.stop()
    assert (stop.reason, stop.id, stop.breakpoint) == ("breakpoint", shop.flow.id, "entry")
    assert stop.text == f"breakpoint entry, hit 1: after order ({shop.flow.id})"
    assert shop.types() == ["order"]
    assert shop.session.view.rule == "placed"


def test_a_step_goes_to_the_next_record_that_ends(shop: Debugged) -> None:
    shop.stop()
    shop.go("step")
    shop.end("pay", receipt="r1")
    stop = shop.stop()
    assert stop.reason == "step"
    assert (shop.session.view.task.type, shop.session.view.task.result) == ("pay", {"receipt": "r1"})
    assert shop.session.view.preview.fired == ("paid",)


def test_a_step_leaves_no_breakpoint_behind_and_holds_one_record_only(shop: Debugged) -> None:
    shop.stop()
    shop.go("step")
    shop.end("pay", receipt="r1")
    shop.end("reserve")
    stop = shop.stop()
    assert shop.engine.breakpoints.list() == []
    assert list(shop.engine.breakpoints.held) == [stop.id]


def test_the_breakpoint_of_a_step_is_for_the_flow_alone(shop: Debugged) -> None:
    shop.stop()
    shop.go("step")
    other = shop.engine.post("order", id=2, total=1)
    assert other.state == "running"
    (point,) = shop.engine.breakpoints.list()
    assert (point.point.flow, point.point.by) == (shop.flow.id, "ann")
    assert point.text.endswith("after any once expires 1h")


def test_next_goes_past_what_a_call_does(shop: Debugged) -> None:
    shop.session.own.stop_once("after pay")
    shop.stop()
    shop.go("until", "after pay")
    shop.end("reserve")
    shop.end("pay", receipt="r1")
    shop.stop()
    shop.go("next")
    shop.end("ask", ok=True)
    assert shop.session.wait(0.0) is None, "what ends inside the call does not stop it"
    shop.end("look")
    shop.stop()
    assert shop.session.view.task.type == "approve"


def test_a_step_goes_into_a_call_and_finish_out_of_it(shop: Debugged) -> None:
    paid_up_to_the_call(shop)
    shop.go("step")
    shop.end("ask", ok=True)
    shop.stop()
    assert [frame.task.type for frame in shop.session.view.stack()] == ["ask", "approve"]
    assert [frame.rule for frame in shop.session.view.stack()] == ["approve.1", "pack"]
    shop.go("finish")
    shop.end("look")
    shop.stop()
    assert shop.session.view.task.type == "approve"
    with pytest.raises(ConfigError, match="runs in no call"):
        shop.go("finish")


def test_until_a_task_stops_before_it_starts(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "reserve")
    stop = shop.stop()
    assert stop.text.startswith("step: before reserve (")
    assert shop.session.view.task.state == "held"


def test_pause_stops_a_flow_that_goes_on_at_the_next_record_that_ends(shop: Debugged) -> None:
    shop.stop()
    shop.go()
    assert shop.session.wait(0.0) is None
    shop.session.pause()
    shop.end("reserve")
    assert shop.stop().text.startswith("step: after reserve done (")


def test_continue_goes_to_the_end_and_says_how_the_flow_ended(shop: Debugged) -> None:
    paid_up_to_the_call(shop)
    shop.end("ask", ok=True)
    shop.end("look")
    shop.end("ship")
    stop = shop.stop()
    assert (stop.reason, stop.id, stop.text) == ("ended", None, f"flow {shop.flow.id} ended done")


def test_what_another_holds_meanwhile_is_a_stop_as_well(shop: Debugged) -> None:
    shop.stop()
    shop.engine.breakpoints.add("big", "before pay where amount > 500", who="bob")
    shop.go("step")
    stop = shop.stop()
    assert (stop.reason, stop.breakpoint) == ("breakpoint", "big")


def test_a_session_that_leaves_takes_its_breakpoints_along_and_leaves_what_is_held(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("failed")
    shop.session.own.watch("paid", shop.session.view)
    assert len(shop.engine.breakpoints.list()) == 2
    shop.session.own.clear()
    assert shop.engine.breakpoints.list() == []
    assert list(shop.engine.breakpoints.held) == [shop.flow.id]


def test_a_refused_place_leaves_the_flow_where_it_is(shop: Debugged) -> None:
    shop.stop()
    with pytest.raises(then.ThenError, match="nobody"):
        shop.go("until", "after nobody")
    assert list(shop.engine.breakpoints.held) == [shop.flow.id]


# -- what may be stopped on ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pay if amount > 5", "before pay where amount > 5"),
        ('pay where record.type == "if any"', 'before pay where record.type == "if any"'),
        ('pay if record.type == "x if y where z"', 'before pay where record.type == "x if y where z"'),
        ("after pay if amount > 5", "after pay where amount > 5"),
        ("after any where body.what == r'if so'", "after any where body.what == r'if so'"),
        ('on step of ask at "if so.py:3" if n > 1', 'on step of ask at "if so.py:3" where n > 1'),
    ],
)
def test_a_condition_may_begin_with_if_and_texts_in_it_stay_as_they_are(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "shop.then").write_text(SHOP)
    assert place_of(Rules().load(tmp_path / "shop.then").set, text) == place


def test_a_failure_that_something_takes_up_is_a_failure_and_not_unhandled(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("unhandled")
    shop.go()
    shop.end("reserve", "failed")
    assert shop.session.wait(0.0) is None, "again takes it up"
    assert shop.types().count("reserve") == 2
    shop.session.own.catch("failed")
    shop.end("reserve", "failed")
    assert shop.stop().text.startswith("failed: after reserve failed (")


def test_a_failure_that_nothing_takes_up_is_stopped_on(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("unhandled")
    shop.go()
    shop.end("pay", "failed")
    stop = shop.stop()
    assert (stop.reason, stop.text.partition(" (")[0]) == ("catch", "unhandled: after pay failed")


def test_what_no_rule_is_for_is_stopped_on_and_a_part_of_a_join_is_not(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("no-match")
    shop.go()
    shop.end("reserve")
    assert shop.session.wait(0.0) is None
    shop.end("pay", receipt="r")
    assert shop.session.wait(0.0) is None
    shop.end("ask", ok=True)
    assert shop.session.wait(0.0) is None
    shop.end("look")
    assert shop.session.wait(0.0) is None
    shop.end("ship")
    stop = shop.stop()
    assert stop.text.startswith("no-match: after shipped (")


def test_a_variable_that_is_written_stops_the_flow_and_says_who_did_it(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.watch("paid", shop.session.view)
    shop.go()
    shop.end("pay", receipt="r")
    pay = next(task for task in shop.flow.tasks if task.type == "pay")
    shop.end("reserve")
    stop = shop.stop()
    assert stop.reason == "watch"
    assert stop.text.startswith(f"paid was missing, is 900, by paid on pay ({pay.id}): after reserve done (")
    shop.go()
    shop.end("ask", ok=True)
    assert shop.session.wait(0.0) is None, "it has not changed since"


def test_what_cannot_be_caught_or_forgotten_is_refused(shop: Debugged) -> None:
    with pytest.raises(ConfigError, match="one of failed, unhandled, no-match is needed"):
        shop.session.own.catch("fire")
    with pytest.raises(ConfigError, match='nothing stops on "fire"'):
        shop.session.own.forget("fire")


# -- changing ------------------------------------------------------------------------------


def test_a_change_is_seen_by_the_preview_and_then_by_the_rules_and_the_original_is_kept(shop: Debugged) -> None:
    shop.stop()
    shop.session.set("body.total", 5)
    (pay, _) = shop.session.view.preview.emitted
    assert pay.body == {"order": 1, "amount": 5}
    assert shop.flow.tasks[0].body == {"id": 1, "total": 900}, "nothing is written before it goes on"
    shop.go()
    assert shop.live("pay").body == {"order": 1, "amount": 5}
    record = shop.flow.history.records[shop.flow.id]
    (edit,) = [(fact.by, before.body) for _, fact, before in record.edits]
    assert edit == ("ann", {"id": 1, "total": 900})


def test_a_change_that_the_declaration_refuses_changes_nothing(shop: Debugged) -> None:
    shop.stop()
    with pytest.raises(BodyRefused):
        shop.session.set("total", "much")
    with pytest.raises(BodyRefused, match="beyond 64 bits"):
        shop.session.set("total", 10**26)
    with pytest.raises(ConfigError, match="no result yet"):
        shop.session.set("result.receipt", "r")
    with pytest.raises(ConfigError, match="no path"):
        shop.session.set("body..total", 1)
    assert shop.session.view.task.body == {"id": 1, "total": 900}


def test_a_result_is_changed_by_its_bare_name(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "after pay")
    shop.end("pay", receipt="wrong")
    shop.stop()
    shop.session.set("receipt", "right")
    shop.go()
    shop.end("reserve")
    shop.end("ask", ok=True)
    shop.end("look")
    assert shop.live("ship").body == {"order": 1, "receipt": "right"}


def test_what_is_dropped_is_not_started_and_what_ended_is_shown_to_no_rule(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "reserve")
    shop.stop()
    shop.session.drop()
    assert [task.outcome for task in shop.flow.tasks if task.type == "reserve"] == ["cancelled"]


def test_a_failure_is_tried_again_in_its_place(shop: Debugged) -> None:
    shop.stop()
    shop.session.own.catch("failed")
    shop.go()
    shop.end("pay", "failed")
    shop.stop()
    shop.session.retry()
    shop.end("reserve")
    shop.end("pay", receipt="r2")
    shop.end("ask", ok=True)
    shop.end("look")
    shop.end("ship")
    assert shop.stop().text.endswith("ended done")
    assert [(task.attempt, task.outcome) for task in shop.flow.tasks if task.type == "pay"] == [
        (1, "failed"),
        (2, "done"),
    ]


def test_a_record_by_hand_belongs_to_the_flow(shop: Debugged) -> None:
    shop.stop()
    shop.session.emit("reserve", {"order": 1})
    assert shop.types() == ["order", "reserve"]


# -- looking -------------------------------------------------------------------------------


def test_expressions_see_the_record_the_names_of_the_rule_and_the_variables(shop: Debugged) -> None:
    shop.stop()
    view = shop.session.view
    assert [view.value(text) for text in ("total", "o.total * 2", "body", "total > 5 and id == 1")] == [
        900, 1800, {"id": 1, "total": 900}, True,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="totl: "):
        view.value("totl")
    shop.go("until", "after reserve")
    shop.end("pay", receipt="r")
    shop.end("reserve")
    shop.stop()
    assert shop.session.view.value("flow.paid") == 900


def test_the_preview_changes_nothing(shop: Debugged) -> None:
    shop.stop()
    before = shop.engine.loop.journal.last
    assert shop.session.view.preview.fired == ("placed",)
    assert [task.type for task in shop.session.view.preview.emitted] == ["pay", "reserve"]
    assert (shop.engine.loop.journal.last, shop.types()) == (before, ["order"])


def test_at_every_moment_of_the_past_the_preview_is_what_happened_next(shop: Debugged) -> None:
    journal, editions = shop.engine.loop.journal, shop.engine.editions
    shop.engine.breakpoints.add("all", "after any")
    shop.engine.breakpoints.add("starts", "before any")
    held = list(shop.engine.breakpoints.held)
    ends: dict[str, dict[str, Json]] = {"pay": {"receipt": "r"}, "ask": {"ok": True}}
    while shop.flow.outcome is None:
        for id in held:
            shop.engine.release(id)
        for task in shop.flow.tasks:
            if task.state == "running" and not task.is_call:
                shop.engine.complete(task.id, "done", **ends.get(task.type, {}))
        held = list(shop.engine.breakpoints.held)
    moments = 0
    for entry in journal.read(0):
        page = entry_at(journal, entry.seq)
        taken = [fact.id for fact in page.facts if isinstance(fact, f.Taken | f.Released)]
        before = state_at(journal, entry.seq - 1)
        if not taken or taken[0] not in before.holds.stops:
            continue
        moments += 1
        told = preview(before, editions, taken[0])
        fired = [
            rule for fact in page.facts if isinstance(fact, f.Matched) and fact.id == taken[0] for rule in fact.rules
        ]
        born = [(fact.task.type, fact.task.body) for fact in page.facts if isinstance(fact, f.Emitted)]
        saved = {fact.name: fact.value for fact in page.facts if isinstance(fact, f.Saved)}
        assert (list(told.fired), [(task.type, task.body) for task in told.emitted], told.saves) == (fired, born, saved)
    assert moments > 10


def test_the_past_is_read_only_and_now_is_where_one_was(shop: Debugged) -> None:
    shop.stop()
    shop.go("until", "after pay")
    shop.end("pay", receipt="r")
    shop.stop()
    before = shop.engine.loop.journal.last
    shop.session.back(to_hit=True)
    assert (shop.session.view.task.type, shop.session.view.task.is_held) == ("order", True)
    assert shop.session.view.preview.fired == ("placed",)
    for change in (shop.go, shop.session.drop, lambda: shop.session.set("total", 1)):
        with pytest.raises(ConfigError, match="this is the past"):
            change()
    shop.session.forward()
    assert [task.task.type for task in shop.session.view.flow.records.values()] == ["order", "pay", "reserve"]
    shop.session.forward(to_end=True)
    assert (shop.session.at, shop.session.view.task.type) == (None, "pay")
    assert shop.engine.loop.journal.last == before


def test_there_is_nothing_before_the_beginning(shop: Debugged) -> None:
    shop.stop()
    shop.session.back()
    with pytest.raises(ConfigError, match="nothing of this flow was before that"):
        shop.session.back()


def test_a_step_is_not_ended_by_what_was_held_before_but_by_nothing_else_to_do(shop: Debugged) -> None:
    shop.stop()
    shop.engine.breakpoints.add("both", "before any")
    shop.go()
    first = shop.stop()
    shop.go("step")
    assert shop.session.wait(0.0) is None, "the other is held still, and this one runs"
    shop.end(shop.flow.history.records[first.id or ""].task.type, receipt="r")
    stop = shop.stop()
    assert (stop.reason, stop.id) == ("step", first.id)
    shop.go("step")
    other = shop.stop()
    assert (other.reason, other.breakpoint) == ("breakpoint", "both"), "nothing moves but by letting that go on"
    assert other.id != first.id


def test_a_session_that_is_gone_without_leaving_leaves_one_stop_and_another_takes_it_up(shop: Debugged) -> None:
    shop.stop()
    shop.go("step")
    del shop.session
    shop.end("pay", receipt="r")
    shop.end("reserve")
    assert len(shop.engine.breakpoints.held) == 1
    session = Session(to_engine(shop.engine), shop.flow.id, "bob")
    stop = session.wait(0.0)
    assert stop is not None
    assert stop.text.startswith(f"breakpoint step_{shop.flow.id}_1, hit 1: after pay done (")
    session.go()
    assert "ask" in shop.types()
