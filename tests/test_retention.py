"""Retention: what is taken away with a flow, what stays, and that both are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import then
from then.analysis.history import History
from then.app import control
from then.app.retention import prune
from then.core import facts as f
from then.core.errors import ConfigError, UnknownId
from then.core.folds import restore
from then.core.state import State
from then.journals.sqlite import open_sqlite

DAY_US = 86_400_000_000


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def now_us(self) -> int:
        self.now += 1000
        return self.now

    def monotonic(self) -> float:
        return self.now / 1e6


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr("then.app.engine.SystemClock", lambda: hands)
    return hands


RULES = """
event go(n: int)
task ask(n: int) -> (answer: str)
task say(n: int) run process ["echo", "{n}"]
rule r when go as g where n > 0 then ask(n: g.n)
rule s when ask done as a then say(n: a.n)
"""


@pytest.fixture
def engine(tmp_path: Path, hands: Hands) -> Iterator[then.Engine]:
    (tmp_path / "rules.then").write_text(RULES)
    with then.Engine(then.Rules().load(tmp_path / "rules.then"), tmp_path / "state", retention_s=None) as engine:
        yield engine


def _flows(engine: then.Engine) -> list[str]:
    return [flow.id for flow in engine.history().flows()]


def _cells(engine: then.Engine) -> dict[str, list[str]]:
    """Keys of the cells that belong to flows, by kind."""
    return {
        kind: [key for key, _ in engine.journal.cells(kind)]
        for kind in ("task", "flow", "chain", "key", "past", "trace", "window")
    }


def _rebuilt(folder: Path) -> State:
    """The state as an engine that opens the folder now would have it."""
    journal = open_sqlite(folder, read_only=True)
    try:
        return restore(journal.cells, lambda after: (entry.data for entry in journal.read(after)))
    finally:
        journal.close()


def test_flows_that_ended_long_enough_ago_are_taken_away(engine: then.Engine, hands: Hands) -> None:
    old = [engine.post("go", n=0).id for _ in range(3)]
    hands.now += 30 * DAY_US
    young = [engine.post("go", n=0).id for _ in range(2)]
    gone = prune(engine, older_s=86400.0)
    assert [flow.id for flow in gone.flows] == old
    assert gone.records == 3
    assert gone.entries >= 3
    assert _flows(engine) == young


def test_what_lives_is_never_taken_however_old(engine: then.Engine, hands: Hands) -> None:
    live = engine.post("go", n=1)
    hands.now += 1000 * DAY_US
    assert prune(engine, older_s=1.0).flows == []
    assert prune(engine, keep=0).flows == []
    assert _flows(engine) == [live.id]


def test_age_is_counted_from_the_end_not_from_the_beginning(engine: then.Engine, hands: Hands) -> None:
    flow = engine.post("go", n=1)
    hands.now += 30 * DAY_US
    ask = next(task for task in flow.tasks if task.type == "ask")
    engine.complete(ask.id, "failed")
    assert flow.outcome == "failed"
    assert prune(engine, older_s=86400.0).flows == []
    hands.now += 2 * DAY_US
    assert [gone.id for gone in prune(engine, older_s=86400.0).flows] == [flow.id]


def test_the_newest_may_be_kept_by_number(engine: then.Engine) -> None:
    flows = [engine.post("go", n=0).id for _ in range(5)]
    assert [gone.id for gone in prune(engine, keep=2).flows] == flows[:3]
    assert _flows(engine) == flows[3:]
    assert [gone.id for gone in prune(engine, keep=0).flows] == flows[3:]
    assert _flows(engine) == []


def test_one_flow_may_be_named_by_the_beginning_of_its_id(engine: then.Engine) -> None:
    first, second = engine.post("go", n=0).id, engine.post("go", n=0).id
    assert [gone.id for gone in prune(engine, flow=second).flows] == [second]
    assert _flows(engine) == [first]
    with pytest.raises(UnknownId):
        prune(engine, flow=second)
    live = engine.post("go", n=1).id
    with pytest.raises(ConfigError, match="only flows that ended can be taken away"):
        prune(engine, flow=live)


def test_a_dry_run_counts_the_same_and_takes_nothing(engine: then.Engine) -> None:
    flows = [engine.post("go", n=0).id for _ in range(4)]
    would, seqs = prune(engine, keep=1, dry_run=True), engine.journal.last
    assert _flows(engine) == flows
    assert len(list(engine.journal.read())) == seqs
    assert prune(engine, keep=1) == would


def test_entries_cells_keys_and_output_go_with_a_flow(engine: then.Engine, tmp_path: Path) -> None:
    flow = engine.post_record("go", {"n": 1}, key="order 1")
    ask = next(task for task in flow.tasks if task.type == "ask")
    engine.complete(ask.id, "done", answer="yes")
    flow.wait()
    say = flow.tasks[-1]
    assert (tmp_path / "state/tasks" / say.id / "out").read_text() == "1\n"
    prune(engine, keep=0)
    assert not (tmp_path / "state/tasks" / say.id).exists()
    assert _cells(engine) == {"task": [], "flow": [], "chain": [], "key": [], "past": [], "trace": [], "window": []}
    left = [f.decode(entry.data) for entry in engine.journal.read()]
    assert all(page.flow == "" for page in left)
    again = engine.post_record("go", {"n": 2}, key="order 1")
    assert again.id != flow.id


def test_what_stays_is_whole_also_for_an_engine_that_opens_it_later(engine: then.Engine, tmp_path: Path) -> None:
    kept = engine.post("go", n=1)
    gone = [engine.post("go", n=0).id for _ in range(30)]
    live = engine.post_record("go", {"n": 2}, key="k")
    ask = next(task for task in kept.tasks if task.type == "ask")
    engine.complete(ask.id, "failed")
    for flow in gone:
        prune(engine, flow=flow)
    before = [kept.tasks, live.tasks]
    engine.close()
    with then.Engine(None, tmp_path / "state") as later:
        assert [later.flow(kept.id).tasks, later.flow(live.id).tasks] == before
        assert later.history().find(ask.id) == (ask.id, kept.id)
        assert later.post_record("go", {"n": 2}, key="k").id == live.id
        assert [attempt.attempt for attempt in later.retry(kept.id)] == [2]


def test_the_state_is_the_same_when_it_is_rebuilt_after_each_pruning(engine: then.Engine, tmp_path: Path) -> None:
    for round_ in range(5):
        for n in range(3):
            engine.post_record("go", {"n": n % 2}, key=f"{round_} {n}")
        prune(engine, keep=2)
        rebuilt = _rebuilt(tmp_path / "state")
        seen = engine.loop.look(lambda state: ([*state.live()], sorted(state.flows), dict(state.keys), state.seq))
        assert ([*rebuilt.live()], sorted(rebuilt.flows), dict(rebuilt.keys), rebuilt.seq) == seen


def test_windows_of_which_nothing_is_left_go_and_the_others_find_what_they_found(engine: then.Engine) -> None:
    flows = [[engine.post("go", n=0).id for _ in range(400)] for _ in range(4)]
    prune(engine, keep=400)
    windows = list(engine.journal.cells("window"))
    spans = [msgspec.msgpack.decode(data) for _, data in windows]
    seqs = {entry.seq for entry in engine.journal.read()}
    assert all(seqs & set(range(first, last + 1)) for first, last in spans)
    history = History(engine.journal)
    assert [history.find(id)[0] for id in flows[3]] == flows[3]
    with pytest.raises(UnknownId):
        history.find(flows[2][7])


def test_a_running_engine_takes_away_what_is_older_than_its_retention(
    tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr(control, "prune", lambda *args, **more: done.append(prune(*args, **more)))
    (tmp_path / "rules.then").write_text(RULES)
    rules = then.Rules().load(tmp_path / "rules.then")
    with then.Engine(rules, tmp_path / "state") as engine:
        old = engine.post("go", n=0).id
    hands.now += 31 * DAY_US
    with then.Engine(rules, tmp_path / "state") as engine:
        engine.close()  # Waits for the thread that listens, which looked at its beginning.
    assert [[flow.id for flow in pruned.flows] for pruned in done] == [[old]]
