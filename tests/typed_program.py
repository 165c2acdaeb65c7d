"""A program as a user with a type checker writes it: what `mypy then tests` says of `then/__init__.pyi`.

Each `type: ignore` stands where something is wrong and has to be found; one
that is not needed is an error itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import then
from then import it

rules = then.Rules()


@rules.task("build")
def build(ref: str) -> dict[str, object]:
    return {"image": f"app:{ref}"}


@rules.task("publish")
async def publish(image: str) -> dict[str, object]:
    return {"published": image}


@rules.when("build", "done", it.ref == "main")
def publish_main(build: then.Task) -> Iterator[then.Emission]:
    assert build.result is not None
    yield then.emit("publish", image=build.result["image"])


@rules.when(
    then.part("build", "done", it.ref != "main", as_="b"), then.absent("build", "failed"), by=it.ref, within="2h"
)
def pack(b: then.Task, ref: str) -> Iterator[then.Emission]:
    yield then.emit("publish", image=ref).after("30s").retry(5, backoff=1.0, to="1m", jitter=True).timeout("30s")
    yield then.call(approve, what=ref, then=approved, bind={"n": 1})
    yield from then.each("publish", [{"image": b.type}])


@rules.procedure("approve", what=str, returns={"ok": bool})
def approve(what: str) -> Iterator[then.Emission]:
    yield then.emit("publish", image=what)


@approve.when("publish", "done")
def published(publish: then.Task) -> then.Emission:
    return then.return_(ok=True)


@approve.every("publish", "done", name="all")
def every_one() -> None:
    return None


@approve.finally_
def over(approve: then.Task) -> then.Emission:
    return then.save(ended=approve.outcome)


@rules.continuation
def approved(approve: then.Task, n: int) -> then.Emission:
    return then.end_flow("failed", f"no {n}")


@rules.any_of(then.part("build", "failed"), by="flow")
def undo(build: then.Task) -> then.Emission:
    return then.cancel("publish", image="x")


rules.times(3, "tick", by=["flow"], followed_by=then.part("tock"), name="end")(then.cancel_flow)
rules.every("15m", "tick", body={"day": it.today})
rules.cron("0 3 * * *", "tick", zone="Europe/Rome", overlap="queue")
procedure: then.Procedure = approve


def outcome(ref: str) -> str | None:
    with then.Engine(rules) as engine:
        flow: then.Flow = engine.run("build", ref=ref)
        return flow.outcome


async def outcome_of(ref: str) -> str | None:
    async with then.AsyncEngine(rules) as engine:
        flow: then.AsyncFlow = await engine.post("build", ref=ref)
        await flow.wait()
        return flow.outcome


def names(ref: str) -> list[str]:
    found: tuple[then.Match, ...] = rules.match(then.Task("build", {"ref": ref}, outcome="done"))
    return [match.rule.name for match in found]


def waiting() -> list[str]:
    with then.Engine(rules) as engine:
        flow = engine.post("tick")
        engine.cancel(flow)
        engine.set_timer("tick", "pause")
        return [str(one["rule"]) for one in engine.joins()] + [str(one["name"]) for one in engine.timers()]


def wrong() -> None:
    rules.when(3, "done")  # type: ignore[arg-type]
    rules.task("t", retry="often")  # type: ignore[arg-type]
    rules.cron("0 3 * * *", "tick", overlap="perhaps")  # type: ignore[arg-type]
    then.emit("t").after([])  # type: ignore[arg-type]
    then.end_flow("perhaps")  # type: ignore[arg-type]
    then.Rulez()  # type: ignore[attr-defined]
    then.Rules(1)  # type: ignore[call-arg]
    rules.match("build")  # type: ignore[arg-type]
    then.Engine(rules, durability="perhaps")  # type: ignore[arg-type]
