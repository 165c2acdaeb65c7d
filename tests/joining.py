"""Events and tasks that tests of joins have in common, and what a world of them said."""

from __future__ import annotations

from tests.checked import Checked

HEAD = """
event go(n: int?) event stop() event seen(what: str)
event x(k: any, n: int?) event y(k: any, n: int?) event z(k: any, n: int?) event gone(k: any)
task a(k: int, n: int?) -> (m: int?) run process ["a"]
task b(k: int, n: int?) -> (m: int?) run process ["b"]
task c(n: any?) run process ["c"]
task d(n: any?) run process ["d"]
"""


def joined(text: str) -> Checked:
    return Checked(HEAD + text)


def told(world: Checked) -> list[object]:
    """What `seen` said, in order."""
    return [task.body["what"] for task in world.emitted("seen")]
