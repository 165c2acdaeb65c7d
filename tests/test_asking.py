"""What scripts ask, decided by the core: every state is held against its replay, and against its cells with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from tests.checked import Checked
from then.core import facts as f
from then.core.causes import Ask, Release, Told
from then.core.errors import ConfigError
from then.core.tasks import Json, Outcome, Task

RULES = """
event go()
event note(text: str)
task work(n: int) -> (m: int?) run process ["work"]
task tried(n: int) run process ["tried"] retry 2 times backoff 10s
task person(n: int)
task job() run script "job.py"
task other() run script "other.py"
procedure twice(n: int) -> (m: int)
  first work(n: n) then work(n: n + 1) then return (m: n)
end
procedure around() first job() end
rule begin when go then job()
"""
STRAY = 'rule stray when unmatched any as r then note(text: "stray {r.type}")'


class Scripted(Checked):
    """A world in which a test is the script of `job`."""

    def __init__(self, rules: str = RULES) -> None:
        super().__init__(rules, kinds=("process", "python", "script"))
        self.n: dict[str, int] = {}

    def ask(self, task: Task, kind: Any, what: str, **more: Any) -> Told | None:
        """A step; its answer, where that is there."""
        n = self.n.get(task.id, 0)
        self.n[task.id] = n + 1
        self.give(Ask(task.id, n, kind, what, "job.py:1", **more))
        return self.told(task)

    def told(self, task: Task) -> Told | None:
        """The answer to its last step."""
        found = [order for order in self.orders if isinstance(order, Told) and order.id == task.id]
        return found[-1] if found and found[-1].n == self.n[task.id] - 1 else None

    def run(self, task: Task, type: str, **body: Json) -> str:
        told = self.ask(task, "run", f"run {type}", type=type, body=body)
        assert told is not None
        assert told.refused is None, told.refused
        return str(told.value)

    def wait(self, task: Task, *ids: str, is_any: bool = False, s: float | None = None) -> Told | None:
        us = None if s is None else int(s * 1e6)
        return self.ask(task, "wait", f"wait {len(ids)}", ids=ids, is_any=is_any, timeout_us=us)

    def job(self) -> Task:
        self.post("go")
        return self.live("job")[0]


def outcomes(told: Told | None) -> list[Outcome | None]:
    assert told is not None
    return [record.outcome for record in told.records]


def test_what_a_script_runs_is_emitted_by_it_with_its_line_as_the_rule() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "work", n=1)
    work = world.born[id]
    assert (work.type, work.body, work.parent, work.rule, work.flow) == ("work", {"n": 1}, job.id, "job.py:1", job.flow)
    assert world.started() == ["job", "work"]


def test_a_wait_is_answered_when_all_have_settled_in_its_order() -> None:
    world = Scripted()
    job = world.job()
    ids = [world.run(job, "work", n=n) for n in range(3)]
    assert world.wait(job, *ids) is None
    for id in reversed(ids):
        assert world.told(job) is None
        world.end(world.born[id], m=1)
    told = world.told(job)
    assert told is not None
    assert told.value == ids
    assert [record.id for record in told.records] == ids


def test_a_wait_for_what_has_settled_before_is_answered_at_once() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "work", n=1)
    world.end(world.born[id], m=5)
    told = world.wait(job, id)
    assert told is not None
    assert told.records[0].result == {"m": 5}


def test_one_of_several_is_enough_for_any() -> None:
    world = Scripted()
    job = world.job()
    a, b = world.run(job, "work", n=1), world.run(job, "work", n=2)
    assert world.wait(job, a, b, is_any=True) is None
    world.end(world.born[b], m=0)
    told = world.told(job)
    assert told is not None
    assert told.value == [b]


def test_a_wait_is_over_with_its_time_and_a_later_end_is_kept() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "work", n=1)
    assert world.wait(job, id, s=60) is None
    world.advance(59)
    assert world.told(job) is None
    world.advance(2)
    told = world.told(job)
    assert told is not None
    assert told.value is None
    world.end(world.born[id], m=1)
    assert outcomes(world.wait(job, id)) == ["done"]


def test_a_sleep_is_a_wait_for_nothing_but_time() -> None:
    world = Scripted()
    job = world.job()
    assert world.wait(job, s=3600) is None
    world.advance(3599)
    assert world.told(job) is None
    world.advance(2)
    assert world.told(job) is not None


def test_a_failure_that_a_script_waited_for_is_taken_up_by_that() -> None:
    world = Scripted(RULES + STRAY)
    job = world.job()
    id = world.run(job, "work", n=1)
    world.wait(job, id)
    world.end(world.born[id], "failed")
    assert outcomes(world.told(job)) == ["failed"]
    world.end(job)
    assert world.outcome(job) == "done"
    assert not [task for task in world.born.values() if task.type == "note"]


def test_a_failure_that_nobody_waited_for_fails_the_flow() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "work", n=1)
    world.end(world.born[id], "failed")
    world.end(job)
    assert world.outcome(job) == "failed"


def test_a_wait_takes_up_a_failure_that_came_before_it() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "work", n=1)
    world.end(world.born[id], "failed")
    assert outcomes(world.wait(job, id)) == ["failed"]
    world.end(job)
    assert world.outcome(job) == "done"


def test_a_wait_is_for_the_last_attempt() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "tried", n=1)
    world.wait(job, id)
    world.end("tried", "failed")
    assert world.told(job) is None
    world.advance(11)
    world.end("tried")
    told = world.told(job)
    assert told is not None
    assert [(one.attempt, one.key, one.outcome) for one in told.records] == [(2, id, "done")]


def test_a_script_waits_for_a_procedure_that_it_calls() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "twice", n=4)
    world.wait(job, id)
    world.end("work")
    assert world.told(job) is None
    world.end("work")
    told = world.told(job)
    assert told is not None
    assert told.records[0].result == {"m": 4}


def test_what_is_cancelled_ends_a_wait_too() -> None:
    world = Scripted()
    job = world.job()
    id = world.run(job, "person", n=1)
    world.wait(job, id)
    world.cancel("person")
    assert outcomes(world.told(job)) == ["cancelled"]


def test_a_body_that_is_refused_starts_nothing_and_is_recorded() -> None:
    world = Scripted()
    job = world.job()
    told = world.ask(job, "run", "run work", type="work", body={"n": "text"})
    assert told is not None
    assert told.refused is not None
    assert "work" in told.refused
    assert world.live("work") == []
    recorded = world.state.waits.scripts.recorded(job.id)
    assert recorded is not None
    assert recorded.steps()[0].refused == told.refused


def test_variables_are_saved_and_loaded_and_an_unknown_one_is_refused() -> None:
    world = Scripted()
    job = world.job()
    world.ask(job, "save", "save x", type="x", value={"a": 1})
    told = world.ask(job, "load", "load x", type="x")
    assert told is not None
    assert told.value == {"a": 1}
    told = world.ask(job, "load", "load ../../etc/passwd", type="../../etc/passwd")
    assert told is not None
    assert told.refused == 'flow variable "../../etc/passwd" was never saved'


def test_an_event_of_a_script_is_matched_and_is_no_child_of_it_to_wait_for() -> None:
    world = Scripted()
    job = world.job()
    world.ask(job, "emit", "emit note", type="note", body={"text": "x"})
    script = world.state.waits.scripts.of[job.id]
    assert script.last == {}
    assert any(task.type == "note" for task in world.born.values())


def test_a_script_that_has_ended_takes_no_further_step() -> None:
    world = Scripted()
    job = world.job()
    world.run(job, "work", n=1)
    world.end(job)
    told = world.ask(job, "run", "run work", type="work", body={"n": 2})
    assert told is not None
    assert told.is_over
    assert len(world.live("work")) == 1
    assert world.state.waits.scripts.of == {}


def test_a_step_of_an_earlier_run_is_not_taken_twice() -> None:
    world = Scripted()
    job = world.job()
    world.run(job, "work", n=1)
    world.n[job.id] = 0
    told = world.ask(job, "run", "run work", type="work", body={"n": 1})
    assert told is not None
    assert told.is_over
    assert len(world.live("work")) == 1


def test_a_script_in_a_call_keeps_it_open_and_its_failure_unwinds() -> None:
    world = Scripted()
    world.post("around")
    job = world.live("job")[0]
    id = world.run(job, "work", n=1)
    assert world.born[id].call == job.call
    world.end(world.born[id], "failed")
    world.end(job)
    assert world.outcome(job) == "failed"


def test_a_script_takes_no_slot() -> None:
    world = Scripted()
    world.terms.slots = 1
    jobs = [world.job() for _ in range(3)]
    for job in jobs:
        world.post("go")
        world.run(job, "work", n=1)
    assert world.started().count("job") >= 3
    assert world.started().count("work") == 1


def test_steps_over_many_chunks_are_all_there() -> None:
    world = Scripted()
    job = world.job()
    for n in range(200):
        world.ask(job, "say", f"now {n}", value=n)
    recorded = world.state.waits.scripts.recorded(job.id)
    assert recorded is not None
    assert [step.value for step in recorded.steps()] == list(range(200))


@pytest.mark.parametrize("seed", range(12))
def test_whatever_scripts_ask_a_replay_tells_the_same(seed: int) -> None:
    chance = Random(seed)
    world = Scripted(RULES + STRAY)
    jobs = [world.job() for _ in range(3)]
    children: dict[str, list[str]] = {job.id: [] for job in jobs}
    for _ in range(150):
        job = chance.choice(jobs)
        script = world.state.waits.scripts.of.get(job.id)
        if world.state.task(job.id) is not None and (script is None or script.open is None):
            _random_step(world, job, children[job.id], chance)
        elif world.live() and chance.random() < 0.5:
            one = chance.choice(world.live())
            if not one.is_call and (one.type != "job" or chance.random() < 0.1):
                world.end(one, chance.choice(("done", "failed", "cancelled")))
        else:
            world.advance(chance.choice((1, 30)))
    for job in jobs:
        if world.state.task(job.id) is not None:
            world.cancel(flow=job.flow)


def _random_step(world: Scripted, job: Task, children: list[str], chance: Random) -> None:
    which = chance.randrange(6)
    if which < 2:
        type = chance.choice(("work", "tried", "person", "twice", "nothing"))
        children.append(world.run(job, type, n=chance.randrange(9)))
    elif which == 2 and children:
        some: Sequence[str] = chance.sample(children, chance.randint(1, min(3, len(children))))
        world.wait(job, *some, is_any=chance.random() < 0.4, s=chance.choice((None, 5, 50)))
    elif which == 3:
        world.ask(job, "emit", "emit note", type="note", body={"text": "x"})
    elif which == 4:
        world.wait(job, s=chance.choice((1, 20)))
    else:
        world.ask(job, "save", "save x", type="x", value=chance.random())


# -- scripts that wait for what a breakpoint holds


def test_a_flow_whose_script_waits_for_what_is_held_is_held_and_goes_on_after_the_release() -> None:
    world, job = held("breakpoint b before work where n == 2")
    ids = [world.run(job, "work", n=n) for n in (1, 2)]
    assert world.held() == []
    assert world.wait(job, *ids, s=3600) is None
    assert world.held() == []  # The first runs.
    world.end("work", m=0)
    assert world.held() == ["held at a breakpoint"]
    flow = world.state.flows[job.flow]
    assert flow.state == "held"
    world.give(Release(ids[1]))
    assert flow.state == "running"
    world.end("work", m=0)
    assert outcomes(world.told(job)) == ["done", "done"]
    assert (flow.state, flow.calls) == ("running", 0)
    world.end("job")
    assert world.outcome(job) == "done"


def test_a_script_that_sleeps_beside_what_is_held_goes_on_by_itself() -> None:
    world, job = held("breakpoint b before work")
    world.run(job, "work", n=1)
    world.wait(job, s=60)
    assert (world.held(), world.state.flows[job.flow].state) == ([], "running")
    world.advance(60)
    assert world.told(job) is not None


def test_a_script_that_ends_in_its_wait_and_is_held_itself_counts_once() -> None:
    world, job = held("breakpoint b before work\nbreakpoint over after job")
    id = world.run(job, "work", n=1)
    world.wait(job, id, s=3600)
    world.end("job", outcome="failed")
    flow = world.state.flows[job.flow]
    assert (flow.live, flow.stopped, flow.calls, flow.state) == (2, 2, 0, "held")
    world.give(Release(id))
    world.end("work", m=0)
    world.advance(7200)
    assert (flow.live, flow.stopped, flow.calls, flow.state) == (1, 1, 0, "held")
    world.give(Release(job.id))
    assert world.outcome(job) == "failed"


def held(breakpoints: str) -> tuple[Scripted, Task]:
    world = Scripted(RULES + breakpoints)
    world.adopt()
    return world, world.job()


# -- scripts that a breakpoint holds before a step


def at_step(world: Scripted, job: Task, n: int = 1) -> Told | None:
    """The script asks for its next task; a hold leaves the step to be asked for again."""
    told = world.ask(job, "run", f"run work {n}", type="work", body={"n": n})
    if told is not None and told.is_over:
        world.n[job.id] -= 1
    return told


def test_a_script_is_held_before_its_step_and_what_it_would_start_is_not_there() -> None:
    world, job = held('breakpoint b on step of job at "job.py:1"')
    told = at_step(world, job)
    assert told is not None
    assert told.is_over, "this run of it is taken off its thread"
    assert (world.emitted("work"), world.facts(f.Asked)) == ([], [])
    assert [fact.reason for fact in world.facts() if isinstance(fact, f.Held)] == [
        "held at breakpoint b (step of job at job.py:1)"
    ]
    flow = world.state.flows[job.flow]
    assert (flow.state, world.held()) == ("held", ["held at a breakpoint"])
    assert at_step(world, job) == told, "a run that was on its way is told the same"
    assert len(world.facts(f.Hit)) == 1


def test_a_script_that_is_released_is_run_again_and_takes_the_step_without_a_second_hit() -> None:
    world, job = held("breakpoint b on step of job")
    at_step(world, job)
    world.give(Release(job.id))
    assert world.started() == ["job", "job"]
    told = at_step(world, job)
    assert told is not None
    assert (told.is_over, world.started()) == (False, ["job", "job", "work"])
    told = world.wait(job, str(told.value))
    assert told is not None
    assert told.is_over, "the next step is another place"
    assert [fact.place for fact in world.facts() if isinstance(fact, f.Hit)] == [
        "step 0 at job.py:1",
        "step 1 at job.py:1",
    ]


def test_only_steps_of_that_line_and_for_which_its_condition_is_true_are_held() -> None:
    world, job = held(
        'breakpoint b on step of job at "job.py:2"\nbreakpoint c on step of job where record.attempt == 2'
    )
    told = at_step(world, job)
    assert told is not None
    assert not told.is_over


def test_what_a_script_has_taken_stays_its_own_while_it_is_held_and_its_times_run_on() -> None:
    world = Scripted(
        RULES.replace('task job() run script "job.py"', 'task job() run script "job.py" limit 1 at once timeout 1h')
        + BREAK
    )
    world.adopt()
    job = world.job()
    at_step(world, job)
    world.post("go")
    assert world.started() == ["job"]
    world.advance(3600)
    assert world.stopped() == [], "nothing runs that could be stopped"
    ended = [fact for fact in world.facts() if isinstance(fact, f.Completed) and fact.id == job.id]
    assert [fact.outcome for fact in ended] == ["timed_out"]
    assert world.started() == ["job", "job"]


def test_a_script_that_is_held_before_a_step_is_cancelled_at_once() -> None:
    world, job = held(BREAK)
    at_step(world, job)
    world.cancel(job)
    assert (world.stopped(), world.outcome(job)) == ([], "done")
    assert [fact.outcome for fact in world.facts() if isinstance(fact, f.Completed)] == ["cancelled"]
    told = at_step(world, job)
    assert told is not None
    assert told.is_over


def test_a_script_may_be_held_before_its_start_before_a_step_and_after_its_end() -> None:
    world, job = held(f"breakpoint first before job\n{BREAK}\nbreakpoint last after job")
    world.give(Release(job.id))
    at_step(world, job)
    world.give(Release(job.id))
    told = at_step(world, job)
    assert told is not None
    assert not told.is_over
    world.end("job")
    assert [fact.name for fact in world.facts() if isinstance(fact, f.Hit)] == ["first", "b", "last"]
    world.end("work", m=0)
    world.give(Release(job.id))
    assert world.outcome(job) == "done"


def test_the_body_of_a_script_that_has_begun_is_not_changed() -> None:
    world, job = held(BREAK)
    at_step(world, job)
    with pytest.raises(ConfigError) as refused:
        world.give(Release(job.id, {"n": 1}))
    assert str(refused.value) == f"job ({job.id}) is under way: the steps that it has taken stand on its body"


def test_a_logpoint_on_steps_notes_each_and_holds_none() -> None:
    world, job = held('logpoint b on step of job print "a step"')
    for n in (1, 2):
        told = at_step(world, job, n)
        assert told is not None
        assert not told.is_over
    assert [fact.text for fact in world.facts() if isinstance(fact, f.Hit)] == ["a step", "a step"]


BREAK = "breakpoint b on step of job once"
