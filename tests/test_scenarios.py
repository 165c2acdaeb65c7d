"""Whole-engine tables: rules, then what the world brings, and under each line the facts and orders that follow.

`python -m tests.test_scenarios FILE …` writes what follows now under the lines
of the world, for somebody to read and find right.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World
from then.core import facts as f
from then.core.causes import (
    AllHeld,
    Began,
    Cancel,
    Order,
    Over,
    Post,
    Proceed,
    Release,
    Report,
    Start,
    Step,
    Stop,
    Told,
)
from then.core.tasks import OUTCOMES, Task

FOLDER = Path(__file__).parent / "scenarios"
RULER = "---"


class Teller:
    """Facts and orders in words; records by type and number."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.chains: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def named(self, task: Task) -> str:
        if task.id not in self.names:
            self._count[task.type] += 1
            self.names[task.id] = f"{task.type}#{self._count[task.type]}"
        return self.names[task.id]

    def step(self, done: Step) -> Iterator[str]:
        for page in done.pages:
            for fact in page.facts:
                line = self.fact(fact, self.names.get(page.flow, page.flow))
                if line:
                    yield line
        for order in done.orders:
            yield f"=> {self.order(order)}"

    def fact(self, fact: f.Fact, flow: str) -> str:
        name = self.names.get(getattr(fact, "id", ""), "")
        match fact:
            case f.Posted(task=task):
                return f"{self.named(task)} is posted{_body(task)}"
            case f.Emitted(task=task):
                parent = self.names.get(task.parent or "", "")
                failed = f", {task.outcome}" if task.outcome and not task.event else ""
                return f"{self.named(task)} is emitted by {task.rule} on {parent}{_body(task)}{failed}"
            case f.Completed(outcome=outcome, error=error, held=held):
                return f"{name} ends {outcome}{_of(error)}{', held' if held else ''}"
            case f.Matched(rules=rules, taken_up=taken_up, unmatched=unmatched):
                fired = f"fired {', '.join(rules)}" if rules else "nothing fired"
                return f"{name}: {fired}{' as unmatched' if unmatched else ''}{', taken up' if taken_up else ''}"
            case f.Waited(id=id, rule=rule, step=step, members=members):
                self.chains[id] = f"{rule}/{step}" if step else rule
                return f"{self.chains[id]} waits for {', '.join(self.names[member] for member in members)}"
            case f.Dropped(id=id):
                return f"{self.chains[id]} waits no more"
        return self.rest(fact, name, flow)

    def rest(self, fact: f.Fact, name: str, flow: str) -> str:
        match fact:
            case f.Saved(name=variable, value=value):
                return f"{variable} is {json.dumps(value)} in the flow of {flow}"
            case f.Late(outcome=outcome, by=by):
                return f"{name}: a late {outcome} by {by}, without effect"
            case f.Started() | f.Stopping():
                return f"{name} is {'given out' if isinstance(fact, f.Started) else 'told to stop'}"
            case f.Loaded(body=body):
                return f"{name} starts with {json.dumps(body)}"
            case f.Held():
                return f"{name} is held"
            case f.Released():
                return f"{name} is released"
            case f.FlowHeld(reason=reason):
                return f"the flow of {flow} is held: {reason}"
            case f.FlowReleased():
                return f"the flow of {flow} goes on"
            case f.FlowBent(outcome=outcome, text=text):
                return f"the flow of {flow} will end {outcome}{f': {text}' if text else ''}"
            case f.FlowEnded(outcome=outcome, text=text):
                return f"the flow of {flow} ends {outcome}{f': {text}' if text else ''}"
        return ""

    def order(self, order: Order) -> str:
        match order:
            case Start(task=task, after_commit=after_commit):
                return f"start {self.names[task.id]}{' after the commit' if after_commit else ''}"
            case Began(task=task):
                return f"{self.names[task.id]} begins"
            case Stop(task=task):
                return f"stop {self.names[task.id]}"
            case Over(flow=flow):
                return f"tell that the flow of {self.names[flow.id]} has ended"
            case AllHeld(flow=flow):
                return f"tell that the flow of {self.names[flow.id]} stands still"
            case Told(id=id, n=n):
                return f"tell {self.names[id]} the answer to its step {n}"


def _body(task: Task) -> str:
    return f" {json.dumps(task.body)}" if task.body else ""


def _of(error: dict[str, object] | None) -> str:
    return f" ({error['kind']})" if error else ""


class Scenario:
    """One file."""

    def __init__(self, text: str) -> None:
        head, _, table = text.partition(f"\n{RULER}\n")
        self.head = head
        slots = re.search(r"^# slots: (\d+)$", head, re.MULTILINE)
        self.world = World(head, slots=int(slots.group(1)) if slots else 100)
        self.causes = [line for line in table.splitlines() if line and not line.startswith(" ")]
        self.teller = Teller()

    def played(self) -> str:
        lines = [self.head, RULER]
        for cause in self.causes:
            lines.append(cause)
            if not cause.startswith("#"):
                lines += [f"    {line}" for line in self.bring(cause)]
        return "\n".join(lines) + "\n"

    def bring(self, line: str) -> Iterator[str]:
        words, _, body = line.partition(" {")
        first, *rest = words.split()
        given = json.loads("{" + body) if body else {}
        world = self.world
        match first, rest:
            case "post", [type, *more]:
                key = more[more.index("key") + 1] if "key" in more else None
                flow = self.record(more[more.index("to") + 1]).flow if "to" in more else None
                yield from self.step(Post(type, given, key, flow))
            case "cancel", ["flow", name]:
                yield from self.step(Cancel((), self.record(name).flow))
            case "cancel", names:
                yield from self.step(Cancel(tuple(self.record(name).id for name in names)))
            case "continue", [name]:
                yield from self.step(Release(self.record(name).flow))
            case name, [outcome, *by] if outcome in OUTCOMES:
                task, now = self.record(name), world.terms.time
                error = None if outcome == "done" else {"kind": given.pop("kind", "exit")}
                result = given if outcome == "done" else None
                person = "person" if by else "executor"
                started = task.started if by else now
                yield from self.step(Report(task.id, outcome, result, error, started, now, task.flow, person))  # type: ignore[arg-type]
            case _:
                raise AssertionError(f"{line!r} is nothing that a world brings")

    def record(self, name: str) -> Task:
        ids = {named: id for id, named in self.teller.names.items()}
        return self.world.born[ids[name]]

    def step(self, cause: Post | Cancel | Release | Report) -> Iterator[str]:
        yield from self.teller.step(self.world.bring(cause))
        while self.world.state.pending:
            yield from self.teller.step(self.world.bring(Proceed()))


FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert Scenario(text).played() == text


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 8


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(Scenario(Path(argument).read_text()).played())
