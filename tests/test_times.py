"""Times: what is put off, what expires, what happens at most once, and that a time is neither lost nor doubled."""

from __future__ import annotations

from random import Random

import pytest

from tests.checked import Checked
from tests.readings import Cells, due_of, restored, store
from tests.world import World
from then.core import facts as f
from then.core import guards
from then.core.causes import Adopt, Post, Proceed, Release, SetClock, SetTimer, Tick
from then.core.edition import Edition
from then.core.guards import Guards
from then.core.timers import CATCH_UP_MAX
from then.language.loading import load_text

HEAD = """
event go(n: int?) event stop() event rung(n: int?) event seen(what: str)
task a(n: int?) run process ["a"]
task ask(n: int?)
"""


def timed(text: str) -> Checked:
    return Checked(HEAD + text)


def test_a_task_that_is_put_off_starts_when_it_is_due_and_keeps_its_flow() -> None:
    world = timed("rule s when go then a(n: 1) after 24h")
    root = world.post("go")
    [a] = world.live("a")
    assert a.state == "waiting"
    assert world.outcome(root) is None
    assert not world.held()
    world.advance(86_399)
    assert world.started() == []
    world.advance(2)
    assert world.started() == ["a"]
    world.end("a")
    assert world.outcome(root) == "done"


def test_an_event_that_is_put_off_is_when_it_is_due() -> None:
    # It was there at once: nothing runs an event.
    world = timed('rule s when go then rung(n: 1) after 1h rule r when rung then seen(what: "now")')
    root = world.post("go")
    assert not world.emitted("seen")
    assert [task.state for task in world.live("rung")] == ["waiting"]
    world.advance(3601)
    [seen] = world.emitted("seen")
    assert seen.created - root.created == pytest.approx(3_600_000_000, abs=10_000)
    assert world.outcome(root) == "done"


def test_what_is_put_off_can_be_cancelled_and_no_rule_hears_of_the_event() -> None:
    world = timed(
        "rule s when go then rung(n: 1) after 1h, rung(n: 2) after 1h, a(n: 3) after 1h"
        ' rule h when stop then cancel rung where n == 1, cancel a rule r when rung as x then seen(what: "{x.n}")'
        ' rule t when a cancelled then seen(what: "a")'
    )
    root = world.post("go")
    world.post("stop", flow=root.flow)
    world.advance(7200)
    assert [task.body["what"] for task in world.emitted("seen")] == ["a", "2"]
    assert world.outcome(root) == "done"


def test_a_person_is_asked_when_it_is_due() -> None:
    # The question was open from the first, and its timeout ran.
    world = timed("rule s when go then ask(n: 1) timeout 10m after 1h")
    world.post("go")
    assert [task.state for task in world.live("ask")] == ["waiting"]
    world.advance(3601)
    assert [task.state for task in world.live("ask")] == ["running"]
    world.advance(590)
    assert world.live("ask")
    world.advance(11)
    assert not world.live("ask")


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_timeout_is_over_when_it_was_to_be_though_the_clock_was_set_and_the_engine_started_anew(step_s: int) -> None:
    world = World(HEAD + "rule s when go then ask(n: 1) timeout 2h")
    world.post("go")
    cells: Cells = {}
    store(cells, world.state.cells())
    world.advance(600)
    [due] = due_of(world.state).values()
    world.terms.time += step_s * 1_000_000
    world.give(SetClock(step_s * 1_000_000))
    assert list(due_of(world.state).values()) == [due + step_s * 1_000_000]
    for _ in range(2):  # From older cells with the facts after them; then from those of now.
        assert due_of(restored(cells, world.pages)) == due_of(world.state)
        store(cells, world.state.cells())
    world.state = restored(cells, world.pages)
    world.state.version = "v1"
    world.advance(6590)
    assert world.live("ask")
    world.advance(11)
    assert not world.live("ask")


def test_a_time_is_said_in_text_or_in_seconds() -> None:
    world = timed('rule s when go then a(n: 1) at "2026-06-01T00:00:00+02:00", a(n: 2) at 1780300000, a(n: 3) at 5')
    world.post("go")
    assert [task.body["n"] for task in world.live("a") if task.id in world.state.running] == [3], "one is past"
    dues = [task.policy.due for task in world.live("a") if task.policy is not None and task.policy.due is not None]
    assert dues == [1_780_264_800_000_000, 1_780_300_000_000_000]


def test_what_has_not_started_in_time_expires_and_what_has_does_not() -> None:
    world = Checked(
        'event go() task a(n: int) run process ["a"] expires 1m rule s when go then a(n: 1), a(n: 2)', slots=1
    )
    root = world.post("go")
    first, second = world.live("a")
    world.advance(61)
    done = world.completed(second)
    assert (done.outcome, done.error and done.error["kind"]) == ("timed_out", "expired")
    world.end(first)
    assert world.outcome(root) == "failed"


def test_what_is_put_off_expires_from_when_it_is_due() -> None:
    world = Checked(
        'event go() task a() run process ["a"] expires 1m task b() run process ["b"]'
        " rule s when go then b(), a() after 1h",
        slots=1,
    )
    world.post("go")
    world.advance(3630)
    assert world.live("a")
    world.advance(31)
    assert not world.live("a")


def test_an_act_happens_at_most_once_in_a_span_for_its_key() -> None:
    world = timed("rule s when go as g then a(n: g.n) at most once per 1h by g.n")
    for n in (1, 1, 2, 1):
        world.post("go", n=n)
    assert [task.body["n"] for task in world.emitted("a")] == [1, 2]
    world.advance(3601)
    world.post("go", n=1)
    assert [task.body["n"] for task in world.emitted("a")] == [1, 2, 1]


def test_a_chain_ends_where_its_act_was_dropped() -> None:
    world = timed("rule s when go then a() at most once per 1h then ask()")
    world.post("go")
    second = world.post("go")
    assert world.outcome(second) == "done"
    world.end("a")
    assert len(world.emitted("ask")) == 1


def test_times_run_on_in_a_held_flow_and_nothing_starts_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "USUAL", Guards(idle_events=5))
    world = timed("rule s when go as g then a(n: 1) after 1m, ask() timeout 2m rule t when rung then rung(n: 0)")
    root = world.post("go")
    world.post("rung", flow=root.flow)
    assert world.state.flows[root.flow].held
    world.advance(61)
    assert world.started() == []
    world.advance(60)
    [ask] = world.emitted("ask")
    assert world.completed(ask).outcome == "timed_out"
    world.give(Release(root.flow))
    assert world.started() == ["a"]


def test_a_tick_too_early_or_too_many_does_nothing() -> None:
    world = timed("rule s when go then a() after 1m")
    world.post("go")
    pages = len(world.pages)
    world.bring(Tick())
    assert len(world.pages) == pages
    world.advance(61)
    pages = len(world.pages)
    world.bring(Tick())
    assert len(world.pages) == pages


def test_what_is_due_together_happens_in_order_of_its_time() -> None:
    world = timed('rule s when go as g then rung(n: g.n) after 1m rule r when rung as x then seen(what: "{x.n}")')
    for n in (1, 2, 3):
        world.post("go", n=n)
    world.terms.time += 3_600_000_000
    world.give(Tick())
    assert [task.body["what"] for task in world.emitted("seen")] == ["1", "2", "3"]


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_at_any_moment_neither_loses_nor_doubles_a_time(seed: int) -> None:
    chance = Random(f"times {seed}")
    rules = HEAD + (
        "procedure p(n: int) first a(n: n) after 7s end"
        " rule s when go as g then rung(n: g.n) after 10s, a(n: g.n) after 20s, call p(n: g.n) after 5s retry 1 times"
        ' rule r when all of rung as x, stop by flow within 1m then ask() on timeout then seen(what: "{x.n}")'
    )
    world = World(rules)
    cells: Cells = {}
    for n in range(8):
        world.bring(Post("go", {"n": n}))
    while world.state.flows:
        if chance.random() < 0.3:
            store(cells, world.state.cells())
        if ("meta", "state") in cells and chance.random() < 0.4:
            running = dict(world.state.running)
            world.state = restored(cells, world.pages)
            world.state.running, world.state.slots_used = running, sum(running.values())
        if world.state.pending:
            world.bring(Proceed())
        elif world.state.running and chance.random() < 0.5:
            task = world.state.task(chance.choice(sorted(world.state.running)))
            assert task is not None
            world.end(task)
        else:
            due = world.state.waits.next_due
            world.terms.time += (
                chance.choice((1_000_000, 100_000_000)) if due is None else max(0, due - world.terms.time)
            )
            world.bring(Tick())
    assert sorted(task.body["what"] for task in world.emitted("seen")) == [str(n) for n in range(8)]
    assert len(world.emitted("a")) == 16
    assert len(world.emitted("rung")) == len(world.emitted("p")) == 8


TIMERS = """
event beat() event night() event calm()
every 1d start beat()
cron "0 4 * * *" start night()
every 7d start calm()
"""


def came(world: World, type: str) -> int:
    return sum(fact.task.type == type for fact in world.facts(f.Posted) if isinstance(fact, f.Posted))


def in_force(world: World, text: str) -> None:
    """These timers come into force."""
    version = f"v{len(world.editions) + 1}"
    world.editions[version] = Edition(version, load_text(text).rules)
    world.give(Adopt(version))


def test_a_timer_of_which_the_schedule_was_changed_is_set_anew_and_the_others_go_on() -> None:
    world = Checked(TIMERS)
    world.adopt()
    world.advance(3600)
    calm = world.state.waits.timers["calm"].due
    in_force(world, TIMERS.replace("every 1d", "every 1m").replace("0 4 * ", "*/10 * * "))
    world.advance(600)
    assert (came(world, "beat"), came(world, "night")) == (10, 1)
    assert world.state.waits.timers["calm"].due == calm
    in_force(world, TIMERS.replace("every 1d", 'cron "0 0 1 1 *"'))
    assert not world.state.waits.timers["beat"].is_span
    world.advance(600)
    assert came(world, "beat") == 10


def test_a_change_of_its_schedule_lets_a_timer_be_paused() -> None:
    world = Checked(TIMERS)
    world.adopt()
    world.give(SetTimer("beat", "pause"))
    in_force(world, TIMERS.replace("every 1d", "every 1m"))
    world.advance(600)
    assert came(world, "beat") == 0
    world.give(SetTimer("beat", "resume"))
    world.advance(60)
    assert came(world, "beat") == 1


def test_what_was_missed_before_a_schedule_was_changed_is_made_good() -> None:
    world = Checked(TIMERS)
    world.adopt()
    world.terms.time += 30 * 3_600_000_000
    in_force(world, TIMERS.replace("every 1d", "every 2d"))
    world.advance(1)
    assert came(world, "beat") == 1


@pytest.mark.parametrize(("overlap", "times"), [("skip", 1), ("queue", 4), ("allow", 4)])
def test_all_that_was_missed_is_made_good_unless_it_is_skipped_while_the_first_lives(overlap: str, times: int) -> None:
    rules = f"task beat() every 1h start beat() overlap {overlap} catch up all"
    world = Checked(rules)
    world.adopt()
    world.terms.time += 4 * 3_600_000_000
    world.give(Tick())
    while world.live("beat"):
        world.end("beat")
    assert came(world, "beat") == times


@pytest.mark.parametrize(
    ("minutes", "came"), [(0, 1), (3, 4), (CATCH_UP_MAX, CATCH_UP_MAX + 1), (CATCH_UP_MAX + 5, CATCH_UP_MAX + 1)]
)
def test_times_of_a_cron_that_were_missed_are_made_good_as_far_as_the_bound_and_the_next_is_after_now(
    minutes: int, came: int
) -> None:
    world = World('task beat() cron "* * * * *" start beat() overlap queue catch up all')
    world.adopt()
    [first] = [fact.due for fact in world.facts() if isinstance(fact, f.Scheduled)]
    assert first is not None
    world.terms.time = first + minutes * 60_000_000 + 1
    world.give(Tick())
    timer = world.state.waits.timers["beat"]
    assert (timer.queued, timer.due) == (came - 1, first + (minutes + 1) * 60_000_000)


def test_marks_that_are_over_do_not_heap_up() -> None:
    world = World(
        "event go(n: int)\nevent said(n: int)\nrule s when go as g then said(n: g.n) at most once per 1s by n where_bound\n".replace(
            "by n where_bound", "by g.n"
        )
    )
    for n in range(1100):
        world.terms.time += 2_000_000
        world.post("go", n=n)
    assert len(world.emitted("said")) == 1100
    assert len(world.state.waits.marks) < 1000


def test_the_deadline_of_a_procedure_is_that_of_all_in_it() -> None:
    world = timed(
        "procedure p() deadline 30s first a(n: 1) then a(n: 2) end"
        ' rule s when go then call p() as x then seen(what: "well") else seen(what: "late")'
    )
    world.post("go")
    world.advance(20)
    world.end("a")
    assert world.live("a")[0].body == {"n": 2}
    world.advance(9)
    assert world.stopped() == []
    world.advance(2)
    assert world.stopped() == ["a"]
    world.end("a", "cancelled")
    assert [seen.body for seen in world.emitted("seen")] == [{"what": "late"}]


def test_a_timer_that_comes_is_written_once_however_many_of_its_times_have_come() -> None:
    # It was written before, and again after, each flow that it started: a page more for each.
    world = timed("every 15m start rung(n: 1) overlap queue catch up all rule r when rung then a(n: 1)")
    world.adopt()
    [first] = [fact.due for fact in world.facts() if isinstance(fact, f.Scheduled)]
    assert first is not None
    quarter = 15 * 60 * 1_000_000
    before = len(world.pages)
    world.terms.time = first + 2 * quarter
    world.give(Tick())
    written = [fact for page in world.pages[before:] for fact in page.facts if isinstance(fact, f.Scheduled)]
    [flow] = world.state.flows
    assert written == [
        f.Scheduled(
            "rung", first + 3 * quarter, flow, False, 2, True, [first + quarter, first + 2 * quarter], "every 15m"
        )
    ]
