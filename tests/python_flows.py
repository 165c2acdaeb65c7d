"""Rules in Python that the tests of joins, procedures and policies stand on, and what came of their flows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import then
from then import it

PATIENCE_S = 60
Emissions = Iterator[then.Emission]


def shop() -> then.Rules:
    """Tasks and events that the rules of a test stand on; functions hand back what they are given."""
    rules = then.Rules()
    rules.event("go", order=int)
    rules.event("gone", order=int)
    rules.event("note", text=str)
    for name in ("pay", "reserve", "label"):
        rules.task(name)(echo)

    @rules.when("go")
    def start(go: then.Task) -> Emissions:
        yield then.emit("pay", order=go.body["order"])
        yield then.emit("reserve", order=go.body["order"])

    return rules


def echo(**body: object) -> dict[str, object]:
    if body.get("order") == 13:
        raise ValueError("no thirteen")
    return {"got": body.get("order")}


def run(rules: then.Rules, type: str = "go", **body: object) -> Ran:
    with then.Engine(rules) as engine:
        return ran(engine.post(type, **body).wait(PATIENCE_S))


class Ran(NamedTuple):
    """What came of a flow, read before its engine closed."""

    tasks: tuple[then.Task, ...]
    outcome: str | None

    @property
    def texts(self) -> list[str]:
        """Of the notes."""
        return [task.body["text"] for task in self.tasks if task.type == "note"]

    def task(self, type: str) -> then.Task:
        """The first of a type."""
        return next(task for task in self.tasks if task.type == type)


def ran(flow: then.Flow) -> Ran:
    return Ran(flow.tasks, flow.outcome)


def until(engine: then.Engine, holds: Callable[[], bool]) -> None:
    seen = threading.Event()
    engine.loop.watchers.append(lambda page: seen.set())
    while not holds():
        assert seen.wait(PATIENCE_S)
        seen.clear()


def approving(answer: str = "yes") -> then.Rules:
    rules = then.Rules()
    rules.event("go", what=str)
    rules.event("note", text=str)

    @rules.task("ask")
    def ask(who: str, text: str) -> dict[str, str]:
        if answer == "raise":
            raise ValueError("nobody there")
        return {"answer": answer, "user": who}

    @rules.procedure("approve", what=str, who=str, returns={"by": str, "ok": bool})
    def approve(who: str, what: str) -> Emissions:
        yield then.emit("ask", who=who, text=f"approve {what}?").timeout("4h")

    @approve.when("ask", "done", it.answer == "yes", final=True)
    def yes(ask: then.Task) -> Emissions:
        yield then.return_(by=ask.result["user"], ok=True)  # type: ignore[index]

    @approve.when("ask", "done")
    def no(what: str) -> Emissions:
        yield then.emit("note", text=f"no {what}")
        yield then.return_(by="nobody", ok=False)

    @approve.finally_
    def over(approve: then.Task, what: str, by: str = "-") -> Emissions:
        yield then.emit("note", text=f"over {what} {approve.outcome} {by}")

    @rules.when("go")
    def start(go: then.Task) -> Emissions:
        yield then.call("approve", what=go.body["what"], who="me", then=after, otherwise=broken, bind={"n": 3})

    @rules.continuation
    def after(approve: then.Task, n: int) -> Emissions:
        yield then.emit("note", text=f"after {approve.result['ok']} {n}")  # type: ignore[index]

    @rules.continuation
    def broken(approve: then.Task, n: int) -> Emissions:
        yield then.emit("note", text=f"broken {approve.outcome} {n}")

    return rules
