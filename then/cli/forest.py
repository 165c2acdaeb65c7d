"""The records of a run as trees, and the lines that show them in a room of a given size.

A record stands below the one that emitted it; one that is the only child of
another stands under it without being moved in, so that a chain is a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from then.abc import Mask
from then.cli.changes import ASKED, Change
from then.cli.texts import clean, cut, duration, width
from then.cli.words import COLORS, colored, last_lines, last_word, took, why_failed, word
from then.core.tasks import Task

NODES_MAX: Final = 2000
"""So many records are kept to be drawn; of more, those that ended well are only counted."""
NAME_COLUMNS_MAX: Final = 48

SIGNS: Final = {
    "done": "✓", "event": "◆", "failed": "✗", "timed out": "✗", "cancelled": "⊘", "skipped": "⊘", "held": "‖", "running": "●", "waiting": "○",
}  # fmt: skip
PLAIN_SIGNS: Final = {
    "done": "+", "event": "*", "failed": "x", "timed out": "x", "cancelled": "-", "skipped": "-", "held": "=", "running": ">", "waiting": ".",
}  # fmt: skip


class Node:
    """A record, as far as it is drawn."""

    __slots__ = (
        "children",
        "ended",
        "folded",
        "id",
        "is_live",
        "note",
        "parent",
        "said",
        "since",
        "tail",
        "took",
        "type",
    )

    def __init__(self, id: str, type: str, parent: str | None) -> None:
        self.id = id
        self.type = type
        self.parent = parent
        self.children: list[str] = []
        self.folded: Counter[str] = Counter()
        """Descendants that are only counted, by how they ended."""
        self.said = "waiting"
        self.since = 0
        """Since when it runs, or exists, in microseconds."""
        self.took = ""
        self.note = ""
        self.ended: Task | None = None
        """The record as it ended, until it was drawn: then what it said last is looked up."""
        self.tail: list[str] = []
        self.is_live = True


class Row(NamedTuple):
    """A line of a tree before it is laid out."""

    prefix: str
    """The branches that lead to it."""
    rest: str
    """What goes on below it, before lines of its own."""
    node: Node


class Forest:
    """The trees of some flows.

    Args:
        folder: the state folder, for the last lines of what failed.
    """

    def __init__(
        self, folder: Path | None, again: Callable[[str], str], mask: Mask, *, has_color: bool, is_plain: bool
    ) -> None:
        self._folder = folder
        self._mask = mask
        self._again = again
        self._has_color = has_color
        self._signs = PLAIN_SIGNS if is_plain else SIGNS
        self._branches = ("|- ", "`- ", "|  ", "   ") if is_plain else ("├─ ", "└─ ", "│  ", "   ")
        self._dots = "..." if is_plain else "…"
        self._nodes: dict[str, Node] = {}
        self._unseen: set[str] = set()
        """Ids of those that wait and are only counted."""
        self._fold_at = NODES_MAX
        self.running = 0
        """How many run: while some do, times pass."""

    def change(self, change: Change) -> None:
        """Takes a change of a record in."""
        task = change.task
        node = self._nodes.get(task.id)
        if node is None:
            if change.state == "waiting" and len(self._nodes) >= NODES_MAX:
                self._unseen.add(task.id)
                return
            self._unseen.discard(task.id)
            node = self._grow(task)
        was_running = node.said == "running"
        node.said = word(task, change.state)
        self.running += (node.said == "running") - was_running
        node.since = task.started or task.created
        node.is_live = change.state != "completed"
        if change.state == "completed":
            node.took, node.tail = took(task), last_lines(task, self._folder, self._mask)
            node.note, node.ended = why_failed(task), task
        else:
            is_asked = change.reason == ASKED
            node.note = (
                f"a person: {self._again(f'complete {task.id} OUTCOME')}" if is_asked else clean(change.reason or "")
            )
        if len(self._nodes) > self._fold_at:
            self._fold()

    def _grow(self, task: Task) -> Node:
        """A new record in its place; where its parent was taken out, below the root."""
        above = self._nodes.get(task.parent or "") or (self._nodes.get(task.flow) if task.parent is not None else None)
        node = self._nodes[task.id] = Node(task.id, task.type, above.id if above is not None else None)
        if above is not None:
            above.children.append(task.id)
        return node

    def lines(self, columns: int, rows: int, now_us: int) -> list[str]:
        """Coloured lines, at most so many, none wider than the terminal."""
        count = sum(1 + len(node.tail) + bool(node.folded) for node in self._nodes.values())
        if count <= rows and not self._unseen:
            chosen = set(self._nodes)
            return self._laid_out(self._rows(chosen), columns, now_us)
        chosen, has_tails = self._choose(rows - 1)
        lines = self._laid_out(self._rows(chosen), columns, now_us, has_tails=has_tails, has_folds=False)
        return [*lines[: rows - 1], self._rest(chosen, columns)]

    def taken(self, flow: str, columns: int, rows: int, now_us: int) -> list[str]:
        """The lines of a flow that has ended; from now on it is drawn, and kept, no more."""
        ids = [flow] if flow in self._nodes else []
        for id in ids:
            ids += self._nodes[id].children
        gone, kept, unseen = set(ids), self._nodes, self._unseen
        self._nodes, self._unseen = {id: node for id, node in kept.items() if id in gone}, set()
        lines = self.lines(columns, rows, now_us)
        self._nodes, self._unseen = {id: node for id, node in kept.items() if id not in gone}, unseen
        return lines

    # -- what is drawn ----------------------------------------------------------

    def _rows(self, chosen: set[str]) -> Iterator[Row]:
        """The chosen records from the roots down, each below its nearest chosen ancestor."""
        children: dict[str | None, list[str]] = {}
        for id in self._nodes:
            if id in chosen:
                children.setdefault(self._ancestor(id, chosen), []).append(id)
        fork, last, pass_by, blank = self._branches
        todo: list[tuple[str, str, str]] = [(id, "", "") for id in reversed(children.get(None, []))]
        while todo:
            id, prefix, rest = todo.pop()
            yield Row(prefix, rest, self._nodes[id])
            below = children.get(id, [])
            if len(below) == 1:
                todo.append((below[0], rest, rest))
                continue
            for place, child in reversed(list(enumerate(below))):
                is_last = place == len(below) - 1
                todo.append((child, rest + (last if is_last else fork), rest + (blank if is_last else pass_by)))

    def _ancestor(self, id: str, chosen: set[str]) -> str | None:
        parent = self._nodes[id].parent
        while parent is not None and parent not in chosen:
            parent = self._nodes[parent].parent
        return parent

    def _choose(self, rows: int) -> tuple[set[str], bool]:
        """What is most worth the room: what runs or is held, what failed, then what is newest. And whether tails fit."""
        ranked = sorted(self._nodes.values(), key=_rank)
        chosen = {node.id for node in ranked[:rows]}
        lines = sum(1 + len(self._nodes[id].tail) for id in chosen)
        if lines <= rows:
            return chosen, True
        for node in reversed(ranked[:rows]):
            # Room for why it failed is worth more than what went well.
            if lines <= rows or node.is_live or node.tail:
                break
            chosen.discard(node.id)
            lines -= 1
        return chosen, lines <= rows

    def _rest(self, chosen: set[str], columns: int) -> str:
        counts: Counter[str] = Counter()
        for node in self._nodes.values():
            if node.folded:
                counts.update(node.folded)
        if self._unseen:
            counts["waiting"] = len(self._unseen)
        counts.update(node.said for node in self._nodes.values() if node.id not in chosen)
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        return colored(cut(f"{self._dots} {counts.total()} more: {said}", columns), "2", self._has_color)

    # -- how it is laid out -------------------------------------------------------

    def _laid_out(
        self, rows: Iterable[Row], columns: int, now_us: int, *, has_tails: bool = True, has_folds: bool = True
    ) -> list[str]:
        rows = list(rows)
        room = max(10, min(NAME_COLUMNS_MAX, columns - 26))
        names = max((width(row.prefix) + 2 + len(row.node.type) for row in rows), default=0)
        names = min(names, room)
        lines: list[str] = []
        for row in rows:
            lines.append(self._line(row, names, columns, now_us))
            inner = row.rest + "  "
            if has_folds and row.node.folded:
                lines.append(
                    colored(cut(f"{inner}{self._dots} {row.node.folded.total()} more", columns), "2", self._has_color)
                )
            if has_tails:
                bar = "|" if self._signs is PLAIN_SIGNS else "│"
                lines += [colored(cut(f"{inner}{bar} {line}", columns), "2", self._has_color) for line in row.node.tail]
        return lines

    def _line(self, row: Row, names: int, columns: int, now_us: int) -> str:
        node = row.node
        if node.ended is not None:
            node.note, node.ended = node.note or last_word(node.ended, self._folder, self._mask), None
        prefix = row.prefix
        if width(prefix) > names // 2:
            prefix = cut(prefix, max(1, names // 2))
        name = cut(f"{prefix}{self._signs[node.said]} {node.type}", names)
        spent = duration(max(0, now_us - node.since) / 1e6) if node.said == "running" else node.took
        left = columns - names - 12
        id = cut(node.id, max(0, left)) if left > 1 else ""
        note = cut(node.note, left - len(id) - 2) if node.note and left - len(id) > 6 else ""
        padded = name + " " * (names - width(name))
        sign = self._signs[node.said]
        shown = padded.replace(sign, colored(sign, COLORS[node.said], self._has_color), 1) if sign in padded else padded
        tail = f"  {colored(note, COLORS[node.said], self._has_color)}" if note else ""
        return f"{shown} {spent:>9}  {colored(id, '2', self._has_color)}{tail}".rstrip()

    # -- what is kept ----------------------------------------------------------------

    def _fold(self) -> None:
        """Takes out half of what is kept: leaves and links of chains that ended well, the oldest first."""
        for pick in (_ended_well, _ended):
            for node in list(self._nodes.values()):
                if len(self._nodes) <= NODES_MAX // 2:
                    break
                if node.parent is not None and pick(node) and len(node.children) <= 1:
                    self._take_out(node)
        # Where most of it lives, it is not looked through again for each one more.
        self._fold_at = max(NODES_MAX, 2 * len(self._nodes))

    def _take_out(self, node: Node) -> None:
        parent = self._nodes[node.parent or ""]
        parent.folded[node.said] += 1
        parent.folded.update(node.folded)
        place = parent.children.index(node.id)
        parent.children[place : place + 1] = node.children
        for child in node.children:
            self._nodes[child].parent = parent.id
        del self._nodes[node.id]


def _rank(node: Node) -> tuple[int, int]:
    """Less is worth more."""
    if node.said in ("running", "held"):
        return (0, node.since)
    if node.said in ("failed", "timed out"):
        return (1, -node.since)
    return (2 if node.parent is None else 3, -node.since)


def _ended_well(node: Node) -> bool:
    return not node.is_live and node.said not in ("failed", "timed out")


def _ended(node: Node) -> bool:
    return not node.is_live
