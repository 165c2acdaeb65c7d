"""Records and flows as JSON objects: the fields of the model, in its words, times as texts.

Every face that prints or serves JSON takes them from here, so that a field has
one name everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from then.core.facts import Flow
from then.core.tasks import Body, Task

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(time_us: int | None) -> str | None:
    """ISO 8601, UTC, with microseconds: `2026-11-22T03:14:15.926535Z`; None for None."""
    if time_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record_object(task: Task, state: str | None = None, *, started: int | None = None) -> Body:
    """A record, the fields of the model.

    Args:
        state: what is known of it beside: an engine's `running` is not in the journal.
        started: likewise, in microseconds; for a record whose own start is not known yet.
    """
    return {
        "id": task.id,
        "type": task.type,
        "body": task.body,
        "flow": task.flow,
        "parent": task.parent,
        "rule": task.rule,
        "stack": [task.call] if task.call is not None else [],
        "attempt": task.attempt,
        "origin": task.origin,
        "state": state or task.state,
        "outcome": task.outcome,
        "result": task.result,
        "error": task.error,
        "priority": task.priority,
        "needs": task.needs,
        "created": time_text(task.created),
        "started": time_text(task.started if task.started is not None else started),
        "completed": time_text(task.completed),
    }


def flow_object(flow: Flow) -> Body:
    """A flow: `id` of its root record, `state`, `outcome`, how many records it has."""
    return {
        "id": flow.id,
        "type": flow.type,
        "state": flow.state,
        "outcome": flow.outcome,
        "text": flow.text,
        "held": flow.held,
        "records": flow.records,
        "live": flow.live,
        "version": flow.version,
        "variables": flow.variables,
        "created": time_text(flow.created),
        "ended": time_text(flow.ended),
    }
