"""Twins: records of one type and key, of which one runs and the others end with its result.

`idempotent by`: the first that lives runs, later ones are parked. When it is
done, so are they, and whoever comes within the retention; when it ends
otherwise the oldest that is parked takes its place. Cells of the state, one a key.

Invariants:
1. Of one key at most one record runs: the first. A key with parked ones has a first that lives.
2. A key whose first is done has nothing parked.
"""

from __future__ import annotations

import msgspec

from then.core.tasks import Body, Json, Outcome, Task
from then.core.values import canonical_text


def twin_key(type: str, value: Json) -> str:
    """The key of a record: the same for one type and values that are equal as JSON."""
    return f"{type} {canonical_text(value)}"  # No type has a space in it.


class Twin(msgspec.Struct, array_like=True, gc=False):
    """The records of one key."""

    key: str
    first: str
    flow: str
    """Of the first: its result is kept as long as that."""
    parked: list[str] = []
    is_done: bool = False
    result: Body | None = None

    def joined_by(self, task: Task) -> None:
        """Another record of the key was born: a further attempt of the first, or one that waits for it."""
        if task.attempt > 1 and not self.is_done:
            self.first = task.id
        elif not self.is_done:
            self.parked.append(task.id)

    def ended(self, id: str, outcome: Outcome, result: Body | None) -> list[str]:
        """A record of the key is settled. Gives those that end with its result, the oldest first.

        After a first that ended otherwise than done the oldest that was parked is the first.
        """
        if id != self.first:
            if id in self.parked:
                self.parked.remove(id)
            return []
        if outcome == "done":
            self.is_done, self.result = True, result
            joining, self.parked = self.parked, []
            return joining
        self.first = self.parked.pop(0) if self.parked else ""
        return []
