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


def wrong() -> None:
    then.Rulez()  # type: ignore[attr-defined]
    then.Rules(1)  # type: ignore[call-arg]
    rules.match("build")  # type: ignore[arg-type]
    then.Engine(rules, durability="perhaps")  # type: ignore[arg-type]
