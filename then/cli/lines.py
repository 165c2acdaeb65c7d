"""What happens as lines: one plain line an event, or one JSON object a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TextIO

import msgspec

from then.abc import Mask
from then.app.objects import record_object
from then.cli.changes import ASKED, Change
from then.cli.settings import say
from then.cli.texts import duration
from then.cli.words import COLORS, colored, last_lines, last_word, took, why_failed, word
from then.core.facts import Flow

FLUSH_S: Final = 0.02
"""What was written is seen when nothing followed for so long."""


class View(Protocol):
    """Shows a run: each change, messages between them, and how its flows ended."""

    @property
    def patience_s(self) -> float | None:
        """After so long without news `tick` is to be called; None: not before there is news."""

    def changed(self, change: Change) -> None:
        """A record of a flow that is shown has changed."""

    def message(self, text: str) -> None:
        """Something that the person in front should know."""

    def printed(self, text: str) -> None:
        """A task's function printed this."""

    def tick(self) -> None:
        """Time has passed without news."""

    def passed(self, flow: Flow, now_us: int) -> None:
        """A flow ended, and others come after it: of this one nothing more is told."""

    def ended(self, flow: Flow, now_us: int) -> None:
        """A flow ended, or came to rest; `outcome` is null then."""

    def close(self) -> None:
        """The last call: nothing more happens."""


class JsonLines:
    """Each change as the record that it led to; at last the flows."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encode = msgspec.json.Encoder().encode
        self.patience_s: float | None = None

    def changed(self, change: Change) -> None:
        self._write(record_object(change.task, change.state))

    def message(self, text: str) -> None:
        say(text)

    def printed(self, text: str) -> None:
        say(text)

    def tick(self) -> None:
        self._out.flush()
        self.patience_s = None

    def passed(self, flow: Flow, now_us: int) -> None:
        self.ended(flow, now_us)

    def ended(self, flow: Flow, now_us: int) -> None:
        self._write({"flow": flow.id, "outcome": flow.outcome})

    def close(self) -> None:
        self._out.flush()

    def _write(self, item: object) -> None:
        self._out.write(self._encode(item).decode() + "\n")
        self.patience_s = FLUSH_S


class PlainLines:
    """A line for each start and end; what failed says why, with its last lines of output."""

    def __init__(
        self, out: TextIO, folder: Path | None, again: Callable[[str], str], mask: Mask, *, has_color: bool
    ) -> None:
        self._out = out
        self._again = again
        self._folder = folder
        self._mask = mask
        self._has_color = has_color
        self.patience_s: float | None = None

    def changed(self, change: Change) -> None:
        task, state = change.task, change.state
        if state == "waiting":
            return
        said = "started" if state == "running" else word(task, state)
        rest = [task.type]
        if change.reason == ASKED:
            said = "asked"
            rest.append(f"a person: `{self._again(f'complete {task.id} OUTCOME')}`")
        elif state == "completed":
            said_last = last_word(task, self._folder, self._mask)
            parts = (why_failed(task), took(task), f"| {said_last}" if said_last else "")
            rest += [part for part in parts if part]
        elif change.reason is not None:
            rest.append(change.reason)
        elif state == "running" and task.rule is not None:
            rest.append(f"by {task.rule}")
        shown = colored(f"{said:<9}", COLORS[said], self._has_color)
        self.patience_s = FLUSH_S
        self._out.write(f"{task.id}  {shown}  {'  '.join(rest)}\n")
        if state == "completed":
            for line in last_lines(task, self._folder, self._mask):
                self._out.write(f"    | {line}\n")

    def message(self, text: str) -> None:
        self._out.flush()
        say(text)

    def printed(self, text: str) -> None:
        self._out.write(text + "\n")

    def tick(self) -> None:
        self._out.flush()
        self.patience_s = None

    def passed(self, flow: Flow, now_us: int) -> None:
        self.ended(flow, now_us)
        self.patience_s = FLUSH_S

    def ended(self, flow: Flow, now_us: int) -> None:
        self._out.write(flow_line(flow, now_us, self._has_color) + "\n")

    def close(self) -> None:
        self._out.flush()


def flow_line(flow: Flow, now_us: int, has_color: bool) -> str:
    """`flow ID done, 5 records in 2.1 s`; and what waited in it for more, in vain."""
    said = (flow.outcome or flow.state).replace("_", " ")
    records = f"{flow.records} record{'' if flow.records == 1 else 's'}"
    if flow.skipped:
        records += f" ({flow.skipped} skipped)"
    span = duration(((flow.ended or now_us) - flow.created) / 1e6)
    text = f": {flow.text}" if flow.text else ""
    unfilled = f"; half-filled: {', '.join(flow.unfilled)}" if flow.unfilled else ""
    return f"flow {flow.id} {colored(said, COLORS.get(said, '0'), has_color)}{text}, {records} in {span}{unfilled}"
