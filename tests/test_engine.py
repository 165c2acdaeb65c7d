"""`step`: posts, reports, matching, unmatched rules, events, failing rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import then
from tests.world import World
from then.core import facts as f
from then.core.causes import Post, Report, Retry
from then.core.errors import BodyRefused, ConfigError
from then.core.tasks import Task

# -- posting -----------------------------------------------------------------------


def test_a_posted_task_is_the_root_of_a_flow_and_is_given_to_its_executor() -> None:
    world = World('task a(n: int) run process ["a"]')
    root = world.post("a", n=1)
    assert (root.type, root.body, root.flow, root.parent, root.state) == ("a", {"n": 1}, root.id, None, "waiting")
    assert world.started() == ["a"]
    assert world.outcome(root) is None
    world.end(root)
    assert world.outcome(root) == "done"
    assert not world.state.tasks
    assert not world.state.flows


def test_a_posted_event_is_done_at_once_and_its_flow_with_it() -> None:
    world = World("event go(n: int)")
    root = world.post("go", n=1)
    assert (root.outcome, root.event, root.completed) == ("done", True, root.created)
    assert world.outcome(root) == "done"


def test_a_record_of_an_unknown_type_that_is_posted_is_an_event() -> None:
    world = World("event go()")
    assert world.post("stranger", x=1).event


def test_a_body_that_is_not_as_declared_is_refused_and_nothing_has_changed() -> None:
    world = World('task a(n: int) run process ["a"]')
    for body in ({"n": "one"}, {}, {"n": None}):
        with pytest.raises(BodyRefused):
            world.bring(Post("a", body))
    assert not world.pages
    assert not world.state.tasks
    assert world.state.last_id == 0


def test_a_default_of_the_declaration_is_in_the_record() -> None:
    world = World('task a(n: int = 3, who: str?) run process ["a"]')
    assert world.post("a").body == {"n": 3}


def test_a_record_may_be_posted_to_an_open_flow_and_keeps_its_rules() -> None:
    world = World('task a() run process ["a"]\nevent go()\nrule r when go then a()')
    root = world.post("a")
    joined = world.post("go", flow=root.flow)
    assert joined.flow == root.flow
    assert world.fired(joined) == ["r"]
    world.end("a")
    assert world.outcome(root) is None, "the one that the event brought forth still runs"
    world.end("a")
    assert world.outcome(root) == "done"


def test_a_post_to_a_flow_that_is_not_open_is_refused() -> None:
    world = World("event go()")
    with pytest.raises(ConfigError, match='no open flow "0000000000000"'):
        world.post("go", flow="0000000000000")


def test_the_same_key_twice_is_the_same_record_whether_it_lives_or_has_ended() -> None:
    world = World('task a(n: int) run process ["a"]')
    first = world.post("a", key="k", n=1)
    assert world.post("a", key="k", n=1) == first
    world.end(first)
    again = world.post("a", key="k", n=1)
    assert (again.id, again.flow) == (first.id, first.flow)
    assert world.started() == ["a"]
    assert len(world.facts(f.Posted)) == 1


@pytest.mark.parametrize(("type", "body"), [("a", {"n": 2}), ("b", {"n": 1})])
def test_a_key_that_stands_for_another_record_is_refused(type: str, body: dict[str, int]) -> None:
    world = World('task a(n: int) run process ["a"]\ntask b(n: int) run process ["b"]')
    world.post("a", key="k", n=1)
    with pytest.raises(ConfigError, match='key "k" stands for another a'):
        world.bring(Post(type, body, "k"))


def test_a_key_stands_for_the_body_with_its_defaults_and_equal_by_type_and_value() -> None:
    world = World('task a(x: any = 1) run process ["a"]')
    first = world.post("a", key="k")
    assert world.post("a", key="k", x=1).id == world.post("a", key="k").id == first.id
    assert world.post("a", key="k", x=1.0).id == first.id
    with pytest.raises(ConfigError, match="stands for another a"):
        world.bring(Post("a", {"x": True}, "k"))


# -- reports -----------------------------------------------------------------------


def test_a_task_completes_once_and_a_late_report_is_recorded_without_effect() -> None:
    world = World('task a() run process ["a"]\nevent seen()\nrule r when a done then seen()')
    root = world.post("a")
    world.end(root)
    world.give(Report(root.id, "failed", None, {"kind": "exit"}, None, world.terms.time, root.flow))
    assert world.completed(root).outcome == "done"
    [late] = world.facts(f.Late)
    assert isinstance(late, f.Late)
    assert (late.id, late.outcome, late.by) == (root.id, "failed", "executor")
    assert world.pages[-1].flow == root.flow, "it stands with the flow that it belongs to"
    assert len(world.emitted("seen")) == 1
    assert world.outcome(root) == "done"


def test_a_late_report_while_the_flow_lives_changes_nothing_either() -> None:
    world = World('task a() run process ["a"]\ntask b() run process ["b"]\nrule r when a done then b()')
    root = world.post("a")
    world.end(root)
    world.end(root, "failed")
    assert world.emissions() == ["b by r"]
    world.end("b")
    assert world.outcome(root) == "done"


@pytest.mark.parametrize("result", [{}, {"m": "text"}])
def test_a_result_that_is_not_as_declared_fails_the_task(result: dict[str, str]) -> None:
    world = World('task a() -> (m: int) run process ["a"]\nevent bad()\nrule r when a failed then bad()')
    root = world.post("a")
    world.give(Report(root.id, "done", dict(result), None, 1, world.terms.time))
    done = world.completed(root)
    assert done.outcome == "failed"
    assert done.error is not None
    assert done.error["kind"] == "result"
    assert world.emissions() == ["bad by r"]
    assert done.result == result, "what it gave can be seen"


def test_fields_of_a_result_that_nobody_declared_are_kept() -> None:
    world = World('task a() -> (m: int) run process ["a"]')
    root = world.post("a")
    world.end(root, m=1, more="x")
    assert world.completed(root).result == {"m": 1, "more": "x"}


# -- which rules fire ----------------------------------------------------------------


ORDER = """
event go(n: int)
event one() event two() event three() event stray()
rule first when go where n >= 1 then one()
final rule second when go where n >= 2 then two()
rule third when go where n >= 0 then three()
rule strays when unmatched go then stray()
"""


@pytest.mark.parametrize(
    ("n", "fired"),
    [(2, ["first", "second"]), (1, ["first", "third"]), (0, ["third"]), (-1, ["strays"])],
)
def test_rules_fire_in_order_up_to_a_final_one_and_unmatched_ones_where_none_did(n: int, fired: list[str]) -> None:
    world = World(ORDER)
    assert world.fired(world.post("go", n=n)) == fired


def test_what_a_rule_emits_names_rule_and_parent_and_flow() -> None:
    world = World(ORDER)
    root = world.post("go", n=1)
    one, three = world.emitted()
    assert (one.type, one.rule, one.parent, one.flow) == ("one", "first", root.id, root.id)
    assert three.rule == "third"
    assert root.id < one.id < three.id, "ids sort by time"


def test_a_rule_whose_acts_are_all_left_out_fired_all_the_same() -> None:
    world = World(
        "event go(n: int) event out() event other()"
        " final rule r when go as g then out() if g.n > 5"
        " rule s when go then other()"
    )
    assert world.fired(world.post("go", n=1)) == ["r"]
    assert not world.emitted()


def test_otherwise_is_taken_when_its_if_is_false_and_when_it_cannot_be_said() -> None:
    world = World(
        "event go(n: int?) event yes(n: int) event no()"
        " rule r when go as g then yes(n: g.n ?? 0) if g.n > 5 otherwise no()"
    )
    world.post("go", n=9)
    world.post("go", n=1)
    world.post("go")
    assert [task.type for task in world.emitted()] == ["yes", "no", "no"]


def test_the_match_fact_holds_rules_version_and_the_variables_as_the_clauses_saw_them() -> None:
    world = World(
        "event go(n: int) event out(total: int)"
        " rule save_it when go as g then save total: g.n, out(total: g.n)"
        " rule again when out as o where flow.total == 1 then save total: 2"
    )
    root = world.post("go", n=1)
    first, second = [fact for fact in world.facts(f.Matched) if isinstance(fact, f.Matched)]
    assert (first.id, first.rules, first.version, first.variables) == (root.id, ["save_it"], "v1", {})
    assert (second.rules, second.variables) == (["again"], {"total": 1})


def test_events_are_matched_in_the_order_of_their_emission_each_in_a_step_of_its_own() -> None:
    world = World(
        "event go() event a() event b() event a2() event b2()"
        " rule r when go then a(), b() rule ra when a then a2() rule rb when b then b2()"
    )
    world.post("go")
    assert [task.type for task in world.emitted()] == ["a", "b", "a2", "b2"]
    matched = [
        (place, fact.id) for place, page in enumerate(world.pages) for fact in page.facts if isinstance(fact, f.Taken)
    ]
    assert len({place for place, _ in matched}) == len(matched) == 5


# -- unmatched -----------------------------------------------------------------------


STRAYS = """
event go() event noise() event parked(what: str)
task a() run process ["a"]
task b() run process ["b"]
rule r when go then a()
rule strays when unmatched any as r then parked(what: r.record.type)
"""


@pytest.mark.parametrize(("outcome", "parked"), [("done", 0), ("failed", 1), ("timed_out", 1), ("cancelled", 1)])
def test_unmatched_any_sees_a_task_that_ended_otherwise_than_done(outcome: str, parked: int) -> None:
    world = World(STRAYS)
    world.post("go")
    world.end("a", outcome)  # type: ignore[arg-type]
    assert [task.body for task in world.emitted("parked")] == [{"what": "a"}] * parked


def test_unmatched_any_sees_an_event_that_no_rule_is_for() -> None:
    world = World(STRAYS)
    world.post("noise")
    assert [task.body for task in world.emitted("parked")] == [{"what": "noise"}]


def test_an_unmatched_rule_that_fires_on_a_failure_takes_it_up() -> None:
    world = World(STRAYS)
    root = world.post("a")
    world.end(root, "failed")
    assert world.outcome(root) == "done"


def test_what_an_unmatched_rule_emits_is_never_shown_to_one_nor_what_descends_from_it() -> None:
    world = World(
        "event go() event on(n: int) event far() rule strays when unmatched any then on(n: 1) rule r when on then far()"
    )
    world.post("go")
    assert world.emissions() == ["on by strays", "far by r"]


def test_a_done_task_is_seen_only_by_unmatched_done() -> None:
    world = World(
        'task a() run process ["a"] event seen() rule r when unmatched a done then seen()'
        " rule strays when unmatched any then seen()"
    )
    world.post("a")
    world.end("a")
    assert world.emissions() == ["seen by r"]


def test_unmatched_sees_the_failure_of_a_chains_member_that_nothing_took_up() -> None:
    world = World(STRAYS.replace("rule r when go then a()", "rule r when go then a() then b()"))
    root = world.post("go")
    world.end("a", "failed")
    assert [task.body for task in world.emitted("parked")] == [{"what": "a"}]
    assert world.outcome(root) == "done"


def test_unmatched_done_does_not_see_a_task_that_a_chain_waits_for() -> None:
    world = World(
        'event go() event seen() task a() run process ["a"] task b() run process ["b"] task c() run process ["c"]'
        " rule r when go then a(), b() then c()"
        " rule strays when unmatched a done then seen()"
    )
    world.post("go")
    world.end("a")
    assert not world.emitted("seen")


# -- rules that fail -----------------------------------------------------------------


def test_a_rule_that_cannot_be_evaluated_emits_rule_failed_and_nothing_else_and_the_others_fire() -> None:
    world = World(
        "event go(n: int?) event out(n: int) event other() event told(rule: str, record: str)"
        " rule r when go as g then out(n: 1), out(n: g.n)"
        " rule s when go then other()"
        " rule t when rule.failed as x then told(rule: x.body.rule, record: x.body.record)"
    )
    root = world.post("go")
    assert world.emissions() == ["rule.failed by r", "other by s", "told by t"]
    assert world.emitted("told")[0].body == {"rule": "r", "record": root.id}
    assert world.outcome(root) == "done"


def test_a_flow_fails_when_no_rule_fires_on_rule_failed() -> None:
    world = World("event go(n: int?) event out(n: int) rule r when go as g then out(n: g.n)")
    root = world.post("go")
    [failed] = world.emitted()
    assert (failed.type, failed.body["rule"], failed.body["record"]) == ("rule.failed", "r", root.id)
    assert failed.body["error"] == "out(n: …) cannot be said: g.body.n is missing"
    assert world.outcome(root) == "failed"


def _python_rules() -> then.Rules:
    rules = then.Rules()
    rules.event("go", n=int)
    rules.event("out", n=int)

    @rules.when("go")
    def broken(go: Task) -> Iterator[then.Emission]:
        yield then.emit("out", n=1)
        if go.body["n"] == 1:
            raise ValueError("one")
        if go.body["n"] == 2:
            yield "text"  # type: ignore[misc]
        if go.body["n"] == 3:
            yield then.emit("out", n="x")
        if go.body["n"] == 4:
            yield then.emit("out", n=float("nan"))
        if go.body["n"] == 5:
            for n in range(200_000):
                yield then.emit("out", n=n)

    return rules


@pytest.mark.parametrize(
    ("n", "error"),
    [
        (1, "ValueError: one"),
        (2, "broken yielded str"),
        (3, 'out: n: the text "x", int is declared'),
        (4, "no JSON number"),
        (5, "more than 200000 emissions"),
    ],
)
def test_a_generator_that_raises_or_yields_what_is_no_emission_gives_rule_failed(n: int, error: str) -> None:
    world = World(_python_rules())
    root = world.post("go", n=n)
    [failed] = world.emitted()
    assert failed.type == "rule.failed"
    assert error in failed.body["error"]
    assert world.outcome(root) == "failed"


def test_a_generator_that_yields_nothing_fired() -> None:
    rules = then.Rules()

    @rules.when("go")
    def quiet(go: Task) -> None:
        return None

    world = World(rules)
    assert world.fired(world.post("go")) == ["quiet"]


def test_what_a_generator_changes_after_its_yield_is_not_in_the_record() -> None:
    # One list was shared by all emissions, and each of them showed its last state.
    rules = then.Rules()

    @rules.when("go")
    def growing(go: Task) -> Iterator[then.Emission]:
        names: list[str] = []
        for name in "ab":
            names.append(name)
            yield then.emit("out", names=names)

    rules.event("out", names="list")
    world = World(rules)
    world.post("go")
    assert [task.body for task in world.emitted("out")] == [{"names": ["a"]}, {"names": ["a", "b"]}]


# -- ids -----------------------------------------------------------------------------


def test_ids_grow_though_the_clock_steps_back() -> None:
    world = World("event go()")
    first = world.post("go")
    world.terms.time -= 3600 * 10**6
    assert world.post("go").id > first.id


def test_a_retry_that_others_were_quicker_than_changes_nothing_and_has_no_answer() -> None:
    world = World('task a() run process ["a"]')
    root = world.post("a")
    world.end(root, "failed")
    written = len(world.pages)
    assert world.bring(Retry(root, None)).answer is None
    assert len(world.pages) == written
