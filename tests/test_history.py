"""Readers of a journal: records by id, flows whole, and what they see beside an engine that runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.loop_bench import Bench, Paper
from tests.readings import told
from then import loop as loop_module
from then.abc import Entry
from then.analysis import history as history_module
from then.analysis.history import FlowHistory, History, chain_of, descendants
from then.core.causes import Cancel, Report, Retry
from then.core.errors import UnknownId
from then.core.facts import Emitted, Page
from then.core.state import State
from then.core.tasks import Task

RULES = """
event go(n: int)
event tick(n: int)
task a(n: int) -> (m: int) run process ["a"]
task b(n: int) run process ["b"]
task ask(n: int)
rule r when go as g then a(n: g.n) as x, b(n: 0) as y then ask(n: x.m)
rule s when tick as t then save total: t.n
"""


@pytest.fixture(autouse=True)
def _checkpoints_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", 4)


def opened() -> Bench:
    return Bench(rules=RULES).open()


def finish(bench: Bench, type: str, **result: int) -> Task:
    task = next(task for task in bench.hands.started if task.type == type and bench.loop.state.task(task.id))
    now = bench.clock.now_us()
    bench.report([Report(task.id, "done", dict(result), None, now - 1, now)])
    return task


def test_a_flow_is_told_whole_while_it_lives_and_after_it_has_ended() -> None:
    bench = opened()
    root = bench.post("go", key="k", n=3)
    finish(bench, "b")
    told = History(bench.paper).flow(root.flow)
    assert told.flow.outcome is None
    assert [record.task.type for record in told.records.values()] == ["go", "a", "b"]
    assert told.records[root.id].key == "k"
    assert told.records[root.id].fired == ["r"]
    finish(bench, "a", m=7)
    [ask] = [task for task in bench.loop.state.live() if task.type == "ask"]
    bench.loop.ask(Report(ask.id, "done", {}, None, ask.started, 9, ask.flow, "person"))
    for _ in range(9):
        bench.post("b", n=1)
    told = History(bench.paper).flow(root.flow)
    assert told.flow.outcome == "done"
    assert [(record.task.type, record.task.outcome) for record in told.records.values()] == [
        ("go", "done"), ("a", "done"), ("b", "done"), ("ask", "done"),
    ]  # fmt: skip
    a = next(record for record in told.records.values() if record.task.type == "a")
    assert a.task.result == {"m": 7}
    assert a.fired == ["r/1"]
    assert a.children == [ask.id]
    assert told.records[root.id].children == [
        a.task.id,
        next(r.task.id for r in told.records.values() if r.task.type == "b"),
    ]


def test_variables_faults_and_late_reports_are_told_with_their_flow() -> None:
    bench = opened()
    root = bench.post("a", n=1)
    bench.post("tick", flow=root.flow, n=5)
    bench.end(root, outcome="failed")
    bench.loop.ask(Report(root.id, "done", {"m": 1}, None, 1, 2, root.flow))
    told = History(bench.paper).flow(root.flow)
    assert told.variables == {"total": 5}
    assert [late.outcome for late in told.records[root.id].late] == ["done"]


def test_every_record_is_found_by_its_id_whatever_checkpoint_it_fell_into() -> None:
    bench = opened()
    roots = [bench.post("b", n=n) for n in range(20)]
    for root in roots[::2]:
        bench.end(root)
    history = History(bench.paper)
    for root in roots:
        assert history.find(root.id) == (root.id, root.flow)
        assert history.find(root.id.upper()) == (root.id, root.flow)
        assert history.record(root.id)[0].task.body == root.body


def test_a_beginning_finds_the_one_record_that_has_it_and_names_several() -> None:
    bench = opened()
    first = bench.post("b", n=1)
    bench.clock.pass_by(86_400)
    second = bench.post("b", n=2)
    common = next(at for at in range(13) if first.id[at] != second.id[at])
    history = History(bench.paper)
    assert history.find(first.id[: common + 1]) == (first.id, first.flow)
    with pytest.raises(UnknownId) as several:
        history.find(first.id[:common])
    assert set(several.value.matching) == {first.id, second.id}
    for unknown in ("zzzz", "0000000000000", "not-an-id"):
        with pytest.raises(UnknownId, match="no record has an id"):
            history.find(unknown)
        with pytest.raises(UnknownId):
            history.flow(unknown)


def test_flows_are_told_in_order_those_that_ended_and_those_that_live() -> None:
    bench = opened()
    roots = [bench.post("b", n=n) for n in range(12)]
    for root in roots[1::3]:
        bench.end(root)
    told = list(History(bench.paper).flows())
    assert [flow.id for flow in told] == [root.flow for root in roots]
    assert [flow.outcome for flow in told] == ["done" if at % 3 == 1 else None for at in range(12)]
    assert [flow.id for flow in History(bench.paper).past()] == [root.flow for root in roots[1::3]]


def test_what_descends_from_a_record_and_lives() -> None:
    bench = opened()
    root = bench.post("go", n=1)
    a, b = bench.hands.started
    assert descendants(History(bench.paper).flow(root.flow), root.id) == [a.id, b.id]
    bench.end(b)
    assert descendants(History(bench.paper).flow(root.flow), root.id) == [a.id]
    assert descendants(History(bench.paper).flow(root.flow), b.id) == []


@pytest.mark.parametrize("entries", [2, 4, 1000])
def test_who_reads_on_is_told_what_a_new_reader_is_told(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", entries)
    bench = opened()
    root = bench.post("go", key="k", n=3)
    reading = History(bench.paper)

    def check() -> None:
        reading.read_on()
        new = History(bench.paper)
        for flow in new.flows():
            assert reading.flow(flow.id) == new.flow(flow.id)
            assert reading.seqs(flow.id) == new.seqs(flow.id)
        assert told(reading.state) == told(new.state)
        assert list(reading.flows()) == list(new.flows())

    check()
    first = reading.flow(root.flow)
    finish(bench, "b")
    check()
    bench.post("tick", flow=root.flow, n=5)
    check()
    finish(bench, "a", m=7)
    check()
    [ask] = [task for task in bench.loop.state.live() if task.type == "ask"]
    bench.loop.ask(Report(ask.id, "done", {}, None, ask.started, 9, ask.flow, "person"))
    check()
    assert list(first.records) == [root.id, *(task.id for task in bench.hands.started)], "it was given out, and stays"
    for _ in range(9):
        bench.post("b", n=1)
        check()


def opened_and_read() -> tuple[Bench, Task, History]:
    """An engine with a flow, its root, and a reader that has read it."""
    bench = opened()
    root = bench.post("go", n=3)
    reading = History(bench.paper)
    reading.flow(root.flow)
    return bench, root, reading


def test_who_reads_on_reads_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", 1000)
    bench, root, reading = opened_and_read()
    seen = bench.paper.last
    asked: list[int] = []
    read = Paper.read

    def noted(paper: Paper, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
        asked.append(after)
        return read(paper, after, upto)

    monkeypatch.setattr(Paper, "read", noted)
    finish(bench, "a", m=7)
    reading.read_on()
    assert reading.flow(root.flow).records[bench.hands.started[0].id].task.result == {"m": 7}
    assert asked == [seen, seen]


def test_who_reads_on_while_flows_are_pruned_is_told_what_a_new_reader_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", 1000)
    bench, root, reading = opened_and_read()
    seen = reading.state.seq
    bench.post("tick", n=1)
    finish(bench, "a", m=7)
    cells = Paper.cells

    def pruned_then(paper: Paper, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        found = list(cells(paper, kind, prefix))
        bench.loop.prune(lambda state: ([seen + 1], ()))  # It was just looked whether a checkpoint has come.
        return iter(found)

    monkeypatch.setattr(Paper, "cells", pruned_then)
    reading.read_on()
    monkeypatch.setattr(Paper, "cells", cells)
    assert told(reading.state) == told(History(bench.paper).state)
    assert reading.state.seq == bench.paper.last
    assert reading.flow(root.flow) == History(bench.paper).flow(root.flow)


def test_after_an_interrupt_amid_its_reading_a_reader_tells_each_thing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_ENTRIES", 1000)
    bench, root, reading = opened_and_read()
    finish(bench, "a", m=7)
    finish(bench, "b")

    def folded(history: FlowHistory, page: Page) -> None:
        fold(history, page)
        if any(isinstance(fact, Emitted) for fact in page.facts):
            raise KeyboardInterrupt  # As Ctrl-C does, wherever it comes.

    def turned(state: State, page: Page) -> None:
        state.begin(page.flow)
        raise KeyboardInterrupt

    fold = history_module._fold
    with monkeypatch.context() as patch:
        patch.setattr(history_module, "turn", turned)
        with pytest.raises(KeyboardInterrupt):
            reading.read_on()
    reading.read_on()
    assert told(reading.state) == told(History(bench.paper).state)
    with monkeypatch.context() as patch:
        patch.setattr(history_module, "_fold", folded)
        with pytest.raises(KeyboardInterrupt):
            reading.flow(root.flow)
    assert reading.flow(root.flow) == History(bench.paper).flow(root.flow)


# -- for a retry ------------------------------------------------------------------------------


def test_the_chain_of_a_failure_says_who_is_waited_for_and_who_of_them_lives() -> None:
    bench = opened()
    root = bench.post("go", n=1)
    a, b = bench.hands.started
    bench.end(a, outcome="failed")
    record, flow = History(bench.paper).record(a.id)
    chain = chain_of(record, flow)
    assert chain is not None
    assert (chain.id, chain.rule, chain.step, chain.waiting) == (a.cont, "r", 1, {a.id: False, b.id: True})
    bench.end(b)
    record, flow = History(bench.paper).record(a.id)
    chain = chain_of(record, flow)
    assert chain is not None
    assert chain.waiting == {a.id: False}
    assert chain.records["y"].outcome == "done"
    assert chain_of(flow.records[root.id], flow) is None


def test_a_retry_of_a_retry_finds_the_chain_again() -> None:
    bench = opened()
    bench.post("go", n=1)
    a, b = bench.hands.started
    bench.end(b)
    for attempt in (1, 2, 3):
        failed = bench.hands.started[-1] if attempt > 1 else a
        bench.end(failed, outcome="failed")
        record, flow = History(bench.paper).record(failed.id)
        bench.loop.ask(Retry(record.task, flow.flow, chain_of(record, flow)))
    assert [task.attempt for task in bench.hands.started] == [1, 1, 2, 3, 4]
    finish(bench, "a", m=40)
    [ask] = bench.loop.state.live()
    assert ask.body == {"n": 40}


# -- beside an engine that runs -----------------------------------------------------------------


class Meddled(Paper):
    """A journal in which something happens just before the cells of a kind are read."""

    def __init__(self, paper: Paper, kind: str, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.memory = paper.memory
        self.kind = kind
        self.meanwhile: Callable[[], None] | None = meanwhile

    def cells(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        if kind == self.kind and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().cells(kind, prefix)


@pytest.mark.parametrize("kind", ["flow", "chain", "key", "task", "past", "trace", "window"])
def test_a_checkpoint_while_a_reader_reads_does_not_mislead_it(kind: str) -> None:
    # Cells of two checkpoints made a state that never was: records counted twice, flows that were gone.
    bench = opened()
    ended = bench.post("b", n=0)
    bench.end(ended)
    root = bench.post("go", n=3)
    kept = bench.post("a", n=1)

    def much() -> None:
        finish(bench, "b")
        bench.loop.ask(Cancel((), root.flow))
        finish(bench, "a", m=1)
        for n in range(12):
            bench.end(bench.post("b", n=n))

    history = History(Meddled(bench.paper, kind, much))
    told = {flow.id: flow for flow in history.flows()}
    assert {ended.flow, root.flow, kept.flow} <= set(told)
    flow = history.flow(root.flow)
    assert {record.task.type for record in flow.records.values()} == {"go", "a", "b"}
    assert len(flow.records[root.id].children) == 2
    assert history.flow(kept.flow).records[kept.id].task.type == "a"
    assert history.flow(ended.flow).flow.outcome == "done"


def test_readers_beside_a_busy_engine_see_whole_flows() -> None:
    bench = opened()
    is_over = threading.Event()
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            while not is_over.is_set():
                history = History(bench.paper)
                for flow in list(history.flows())[-3:]:
                    records = history.flow(flow.id).records
                    assert flow.id in records
                    assert len(records) >= flow.records or flow.outcome is None
        except BaseException as error:
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(60):
        root = bench.post("go", n=n)
        finish(bench, "a", m=n)
        finish(bench, "b")
        [ask] = bench.loop.state.live(root.flow)
        bench.loop.ask(Report(ask.id, "done", {}, None, 1, 2, ask.flow, "person"))
    is_over.set()
    for reader in readers:
        reader.join()
    assert not wrong
