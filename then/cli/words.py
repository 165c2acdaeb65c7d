"""How a record's state and end are put into words, signs and colours."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from then.abc import Mask
from then.cli.texts import clean, cut, duration
from then.core.state import FAILURES, RULE_FAILED
from then.core.tasks import Body, Task

TAIL_LINES: Final = 5
"""Of what a failed task wrote, shown with its failure."""

SAID_COLUMNS: Final = 300
"""Of a line that a task wrote, and of a failure's message; `andthen log` and `show` have them whole."""

RED, GREEN, YELLOW, CYAN, DIM, BOLD = "31", "32", "33", "36", "2", "1"

COLORS: Final = {
    "done": GREEN, "failed": RED, "timed out": RED, "cancelled": YELLOW, "skipped": YELLOW, "held": YELLOW, "running": CYAN,
    "waiting": DIM, "event": DIM, "started": CYAN, "asked": CYAN,
}  # fmt: skip


def colored(text: str, code: str, has_color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if has_color and text else text


def word(task: Task, state: str) -> str:
    """`event`, `done`, `failed`, `timed out`, `cancelled`, `skipped`, or the state of one that has not ended."""
    if state == "completed":
        if task.outcome == "cancelled" and (task.error or {}).get("kind") == "skipped":
            return "skipped"
        # One that was put off may be cancelled before it comes.
        return "event" if task.event and task.outcome in (None, "done") else (task.outcome or "done").replace("_", " ")
    return state


def took(task: Task) -> str:
    """How long it ran; empty where nothing of it ran."""
    return duration(task.took) if task.took is not None and not task.event else ""


def why_failed(task: Task) -> str:
    """The failure in one line: its kind and message."""
    error: Body = task.error or {}
    if task.event and task.type == RULE_FAILED:
        return cut(clean(f"{task.body.get('rule')}: {task.body.get('error')}"), SAID_COLUMNS)
    if task.outcome not in FAILURES:
        return ""
    kind, message = str(error.get("kind", "")), str(error.get("message", ""))
    first = message.partition("\n")[0]
    retry = task.policy.retry if task.policy is not None else None
    if retry is not None and retry.is_from_failed and task.is_call:
        retry = None  # What failed in it is tried again, and says so; the call itself is made once.
    of = f" of {retry.times + 1}" if retry is not None else ""
    if retry is not None and task.settled and task.attempt <= retry.times:
        of += ", not tried again"  # Its `while`, its deadline or its kind is against it.
    tried = f" (attempt {task.attempt}{of})" if of or task.attempt > 1 or not task.settled else ""
    return cut(clean(f"{kind}: {first}" if kind and first else kind or first), SAID_COLUMNS) + tried


def last_lines(task: Task, folder: Path | None, mask: Mask) -> list[str]:
    """The last lines that say why a task failed: of its standard error, else its standard output, else its traceback."""
    if task.outcome not in FAILURES:
        return []
    error: Body = task.error or {}
    if "traceback" in error:
        found = str(error["traceback"]).split("\n")
    elif folder is not None and task.started is not None:
        from then.executors.outputs import tail

        looked_at = 4 * TAIL_LINES  # Some of them may be blank.
        found = tail(folder, task.id, looked_at, "err", mask) or tail(folder, task.id, looked_at, "out", mask)
    else:
        found = []
    return [cut(line, SAID_COLUMNS) for line in (clean(line).rstrip() for line in found) if line][-TAIL_LINES:]


def last_word(task: Task, folder: Path | None, mask: Mask) -> str:
    """The last line that a task wrote to its standard output, where it ended well; empty where it wrote none."""
    if folder is None or task.outcome != "done" or task.event or task.started is None:
        return ""
    from then.executors.outputs import tail

    lines = tail(folder, task.id, 1, "out", mask)
    return cut(clean(lines[-1]).strip(), SAID_COLUMNS) if lines else ""
