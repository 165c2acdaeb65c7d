"""Forks: flows begun anew from what others were, and what comes of them while nothing is run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from tests import forking
from tests.readings import told
from then.app.forks import fork_flow
from then.app.rules import Rules
from then.core import facts as f
from then.core.copies import copied_whole
from then.core.errors import ConfigError, UnknownName
from then.debugger.access import to_engine
from then.debugger.console import Console
from then.debugger.past import entry_at, state_at
from then.debugger.preview import first_fired, preview
from then.debugger.session import Session

MOMENTS = 100
EACH = 10
PATIENCE_S = 60


def load(folder: Path) -> Rules:
    (folder / "forked.then").write_text(forking.RULES)
    return Rules().load(str(folder / "forked.then"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[then.Engine]:
    with then.Engine(load(tmp_path), slots=2) as engine:
        yield engine


def whole(engine: then.Engine, n: int) -> then.Flow:
    """A flow to its end, with the answer of the person that it asks."""
    return driven(engine, engine.post("go", n=n).id)


def driven(engine: then.Engine, id: str, chance: random.Random | None = None) -> then.Flow:
    """Lets all that is held go on, until the flow has ended."""
    flow = engine.flow(id)
    while flow.wait(PATIENCE_S).outcome is None:
        held = sorted(one for one, hold in engine.breakpoints.held.items() if hold.flow == id)
        for one in held if chance is None else [chance.choice(held)]:
            engine.release(one)
        for task in flow.tasks:
            if task.type == "ask" and task.state == "running":
                engine.complete(task.id, "done", ok=True)
    return flow


def ends(engine: then.Engine, flow: str) -> Counter[str]:
    """What there was in a flow and how it ended, without the order in which that was."""
    return Counter(f"{task.type} {task.body} {task.outcome} {task.result}" for task in engine.flow(flow).tasks)


# -- the law --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(MOMENTS // EACH))
def test_from_random_moments_a_fork_comes_to_the_same_end_and_runs_nothing(engine: then.Engine, seed: int) -> None:
    chance = random.Random(seed)
    flow = whole(engine, chance.randrange(50))
    before, ran = ends(engine, flow.id), Counter(forking.RAN)
    facts = [entry.data for entry in engine.journal.read()]
    seqs = engine.history().seqs(flow.id)[:-1]
    for moment in chance.choices(seqs, k=EACH):
        fork = engine.flow(fork_flow(engine, flow.id, moment, who="ann"))
        assert fork.state == "held"
        engine.release(fork)
        driven(engine, fork.id)
        assert (fork.outcome, ends(engine, fork.id)) == (flow.outcome, before)
        assert fork.history.flow.origin == f.Origin(flow.id, moment, "ann")
    assert ran == forking.RAN, "nothing was given to an executor"
    assert [entry.data for entry in engine.journal.read()][: len(facts)] == facts, "history stays as it was"
    assert told(state_at(engine.journal, engine.journal.last)) == told(engine.loop.state)


@pytest.mark.parametrize("seed", range(MOMENTS // EACH))
def test_at_random_moments_of_random_flows_the_preview_is_what_happened_next(engine: then.Engine, seed: int) -> None:
    chance = random.Random(seed)
    engine.breakpoints.add("ends", "after any")
    engine.breakpoints.add("starts", "before any")
    driven(engine, engine.post("go", n=chance.randrange(50)).id, chance)
    releases = []
    for entry in engine.journal.read():
        taken = [fact.id for fact in f.decode(entry.data).facts if isinstance(fact, f.Taken | f.Released)]
        if taken and taken[0] in state_at(engine.journal, entry.seq - 1).holds.stops:
            releases.append((entry.seq, taken[0]))
    for seq, id in chance.choices(releases, k=EACH):
        state = state_at(engine.journal, seq - 1)
        before = told(state)
        seen = preview(copied_whole(state), engine.editions, id)
        assert first_fired(copied_whole(state), engine.editions, id) == seen.fired
        assert told(state) == before
        facts = entry_at(engine.journal, seq).facts
        fired = [name for fact in facts if isinstance(fact, f.Matched) and fact.id == id for name in fact.rules]
        born = [(fact.task.type, fact.task.body, fact.task.rule) for fact in facts if isinstance(fact, f.Emitted)]
        saved = {fact.name: fact.value for fact in facts if isinstance(fact, f.Saved)}
        assert list(seen.fired) == fired
        assert [(task.type, task.body, task.rule) for task in seen.emitted] == born
        assert seen.saves == saved


# -- what it is -------------------------------------------------------------------------------


def test_a_fork_goes_on_after_another_engine_took_it_up_and_still_runs_nothing(tmp_path: Path) -> None:
    with then.Engine(load(tmp_path), tmp_path / "state") as engine:
        flow = whole(engine, 6)
        ran = Counter(forking.RAN)
        moment = engine.history().seqs(flow.id)[1]
        held = fork_flow(engine, flow.id, moment)
        asked = fork_flow(engine, flow.id, moment)
        engine.release(asked)
    with then.Engine(load(tmp_path), tmp_path / "state") as engine:
        engine.release(held)
        assert [driven(engine, id).outcome for id in (held, asked)] == ["done", "done"]
        assert ends(engine, held) == ends(engine, flow.id)
        assert ran == forking.RAN


def test_a_fork_that_is_real_runs_what_was_not_done(engine: then.Engine) -> None:
    flow = whole(engine, 7)
    ran = Counter(forking.RAN)
    fork = fork_flow(engine, flow.id, engine.history().seqs(flow.id)[1], is_real=True)
    assert ran == forking.RAN
    engine.release(fork)
    assert driven(engine, fork).outcome == "done"
    assert ran != forking.RAN


def test_of_what_the_journal_does_not_know_a_stub_answers_and_else_a_person(engine: then.Engine) -> None:
    flow = whole(engine, 7)
    ran = Counter(forking.RAN)
    moment = engine.history().seqs(flow.id)[0]
    engine.breakpoints.add("look", "after pick")
    with pytest.raises(ConfigError, match="the stub of weigh: "):
        fork_flow(engine, flow.id, moment, stubs={"weigh": {"m": "much"}})
    fork = fork_flow(engine, flow.id, moment, stubs={"weigh": {"m": 0}})
    engine.release(fork)
    (held,) = engine.breakpoints.held
    engine.release(held, body={"n": 8}, result={"ks": [1, 2]})
    found = [task for task in engine.flow(fork).tasks if task.type == "weigh"]
    assert [(task.body, task.result) for task in found][:2] == [({"n": 9}, {"m": 6}), ({"n": 10}, {"m": 0})]
    assert ran == forking.RAN


def test_a_moment_after_the_end_is_refused_and_one_before_the_beginning(engine: then.Engine) -> None:
    flow = whole(engine, 7)
    with pytest.raises(ConfigError, match="had ended by entry"):
        fork_flow(engine, flow.id)
    with pytest.raises(ConfigError, match="had not begun by entry 1"):
        fork_flow(engine, flow.id, 1)


def test_a_session_forks_from_the_past_and_goes_on_in_the_fork(engine: then.Engine) -> None:
    flow = whole(engine, 6)
    ran = Counter(forking.RAN)
    console = Console(Session(to_engine(engine), flow.id, "ann"))
    with pytest.raises(ConfigError, match="had ended by entry"):
        console.run("fork")
    for _ in range(len(engine.history().seqs(flow.id)) - 1):
        console.run("back")
    with pytest.raises(UnknownName, match='unknown task "wiegh"'):
        console.run('fork stub wiegh {"m": 1}')
    reply = console.run('fork stub weigh {"m": 1}')
    assert reply.data is not None
    assert (reply.data["origin"], reply.data["fork"]) == (flow.id, console.session.flow)
    assert console.run("until after risky").text.startswith("step: after risky ")
    assert console.run("continue").text.startswith("breakpoint person, hit 2: before ask (")
    assert console.run("continue").text == f"flow {console.session.flow} ended done"
    assert ran == forking.RAN


def test_what_a_breakpoint_held_is_held_in_the_fork_too(engine: then.Engine) -> None:
    engine.breakpoints.add("look", "after go once")
    flow = engine.post("go", n=7)
    session = Session(to_engine(engine), flow.id, "ann")
    fork = Session(to_engine(engine), session.fork(), "ann")
    stop = fork.wait(0.0)
    assert stop is not None
    assert (stop.id, fork.view.task.is_held) == (fork.flow, True)
    assert fork.view.preview.fired == ("begin",)
    fork.set("n", 3)
    fork.go()
    assert [task.body for task in engine.flow(fork.flow).tasks][:2] == [{"n": 3}, {"n": 3}]
    assert list(engine.breakpoints.held) == [flow.id], "the origin stands where it stood"
    assert engine.breakpoints["look"].hits == 1
