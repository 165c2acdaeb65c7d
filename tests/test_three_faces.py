"""What a rule in Python brings forth is what the same rule in the language does: records, variables, ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import then
from tests.faces import DECLARED
from tests.world import World
from then.core import facts as f
from then.core.tasks import Json

HOSTS = """\
procedure hosts(hosts: list[str]) -> (count: int)
  first for h in hosts emit do(host: h)
  when every do done then return (count: len(hosts))
end
"""
Yielded = Callable[[then.Task], Iterable[then.Emission] | then.Emission]

PAIRS: dict[str, tuple[str, Yielded]] = {
    "emit": ('pay(order: 1, amount: 2), note(text: "x")', lambda g: [
        then.emit("pay", order=1, amount=2), then.emit("note", text="x"),
    ]),
    "terms": (
        'do(host: "a") retry 5 times backoff 1s to 1m factor 3 jitter timeout 30s after 5m, do(host: "b") retry 2 times',
        lambda g: [
            then.emit("do", host="a").retry(5, backoff="1s", to="1m", factor=3, jitter=True).timeout(30).after("5m"),
            then.emit("do", host="b").retry(2),
        ],
    ),
    "at a time": ("do(host: \"a\") at 2030-01-05T10:00", lambda g: then.emit("do", host="a").at("2030-01-05T10:00")),
    "at most once": (
        "for h in g.hosts emit do(host: h) at most once per 1h by h",
        lambda g: [then.emit("do", host=h).at_most_once("1h", by=h) for h in g.body["hosts"]],
    ),
    "for": (
        "for h in g.hosts emit do(host: h)",
        lambda g: then.each("do", [{"host": h} for h in g.body["hosts"]]),
    ),
    "call": ("call hosts(hosts: g.hosts) fail fast", lambda g: then.call("hosts", hosts=g.body["hosts"]).fail_fast()),
    "save": ("save n: 3, save m: g.hosts", lambda g: then.save(n=3, m=g.body["hosts"])),
    "skip": ('skip do(host: "x")', lambda g: then.skip("do", host="x")),
    "cancel": (
        'ask(who: "a", text: "t"), cancel ask where who == "b"',
        lambda g: [then.emit("ask", who="a", text="t"), then.cancel("ask", who="b")],
    ),
    "an end": (
        'do(host: "a"), end flow failed "no stock"',
        lambda g: [then.emit("do", host="a"), then.end_flow("failed", "no stock")],
    ),
    "done": ("end flow done", lambda g: then.end_flow()),
    "cancelled": ("cancel flow", lambda g: then.cancel_flow()),
}  # fmt: skip


def _told(rules: str | then.Rules) -> list[object]:
    """What a world of these rules brings forth: records without their ids, and what became of the flow."""
    world = World(rules)
    root = world.post("go", hosts=["a", "b", "a"])
    while world.live("do"):
        world.end("do")
    born: list[object] = [
        (task.type, task.body, task.policy, task.outcome, task.error, task.is_call, task.event)
        for task in world.born.values()
    ]
    facts = [fact for page in world.pages for fact in page.facts]
    saved: dict[str, Json] = {fact.name: fact.value for fact in facts if isinstance(fact, f.Saved)}
    ends = [(fact.outcome, fact.text) for fact in facts if isinstance(fact, f.FlowEnded)]
    return [*born, saved, ends, world.outcome(root)]


@pytest.mark.parametrize("name", PAIRS)
def test_a_generator_brings_forth_what_the_language_does(tmp_path: Path, name: str) -> None:
    text, generator = PAIRS[name]
    (tmp_path / "declared.then").write_text(DECLARED + HOSTS)
    python = then.Rules().load(tmp_path / "declared.then")
    python.when("go", name="r")(generator)
    expected = _told(f"{DECLARED}{HOSTS}rule r when go as g then {text}\n")
    assert _told(python) == expected
    assert len(expected) > 3
