"""Records and flows as JSON objects: the fields of the model, in its words, times as texts.

Every face that prints or serves JSON takes them from here, so that a field has
one name everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from then.core.declarations import TimerDecl
from then.core.facts import Flow, Origin
from then.core.holds import Hold, Point
from then.core.rules import Join, RuleSet, family_covers
from then.core.scripts import Script
from then.core.standing import OpenSet
from then.core.tasks import Body, Task
from then.core.waits import TimerState, Wait

AWAITED_MAX: Final = 3
"""Of a set that waits, so many of those that it waits for are named."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(time_us: int | None) -> str | None:
    """ISO 8601, UTC, with microseconds: `2026-11-22T03:14:15.926535Z`; None for None."""
    if time_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record_object(
    task: Task, state: str | None = None, *, started: int | None = None, stack: list[str] | None = None
) -> Body:
    """A record, the fields of the model.

    Args:
        stack: the ids of the calls that it runs in, the innermost first; without it that one is shown alone.
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
        "stack": stack if stack is not None else [task.call] if task.call is not None else [],
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
        "skipped": flow.skipped,
        "unfilled": flow.unfilled or [],
        "live": flow.live,
        "version": flow.version,
        "variables": flow.variables,
        "created": time_text(flow.created),
        "ended": time_text(flow.ended),
        "fork": origin_object(flow.origin),
    }


def origin_object(origin: Origin | None) -> Body | None:
    """What a fork was begun from: `flow`, `entry` of the journal, `by`, and `real` where it runs its tasks."""
    if origin is None:
        return None
    return {"flow": origin.flow, "entry": origin.seq, "by": origin.by or None, "real": origin.is_real}


def origin_text(origin: Origin) -> str:
    """`fork of 0k3f… after entry 12 by ann`."""
    how = ", its tasks are run" if origin.is_real else ""
    return f"fork of {origin.flow} after entry {origin.seq}{f' by {origin.by}' if origin.by else ''}{how}"


def wait_object(wait: Wait, rules: RuleSet | None) -> Body:
    """A half-filled join: `rule`, `key` (a list of values), `parts` with what came, `missing` types, `until`.

    Args:
        rules: those of its flow; without them types are not known.
    """
    rule = rules.rule(wait.rule) if rules is not None else None
    join = rule.trigger if rule is not None else None
    declared = join.parts if isinstance(join, Join) else ()
    parts: list[Body] = []
    for number, came in enumerate(wait.parts):
        part = declared[number] if number < len(declared) else None
        parts.append(
            {
                "type": part.pattern.family if part is not None else came[0].type if came else "?",
                "absent": part is not None and part.is_absent,
                "came": len(came),
                "records": [task.id for task in came],
            }
        )
    needs = join.count if isinstance(join, Join) and join.kind == "times" else 1
    missing = [
        str(part["type"])
        for number, part in enumerate(parts)
        if not part["absent"] and int(part["came"]) < (needs if number == 0 else 1)
    ]
    is_waiting = isinstance(join, Join) and join.kind in ("all", "times")
    return {
        "rule": wait.rule,
        "kind": join.kind if isinstance(join, Join) else None,
        "scope": wait.scope or None,
        "key": wait.values,
        "flow": wait.flow,
        "parts": parts,
        "missing": missing if is_waiting else [],
        "until": time_text(wait.due),
        "awaited": None,
    }


def set_object(found: OpenSet, rules: RuleSet | None) -> Body:
    """An `every X done` that waits, in the fields of a join: what came is counted, and `awaited` has the first that have not ended.

    Args:
        rules: as of `wait_object`.
    """
    rule = rules.rule(found.rule) if rules is not None else None
    pattern = rule.trigger.parts[0].pattern if rule is not None and isinstance(rule.trigger, Join) else None
    callee = pattern.callee if pattern is not None else None
    family = "?" if pattern is None else pattern.family if callee is None else str(found.arguments.get(callee))
    live = [task.id for task in found.live if family_covers(family, task.type)]
    return {
        "rule": found.rule,
        "kind": "every",
        "scope": found.scope,
        "key": [],
        "flow": found.flow,
        "parts": [{"type": family, "absent": False, "came": max(0, found.counted - found.awaited), "records": []}],
        "missing": [family],
        "until": None,
        "awaited": {
            "count": found.awaited,
            "records": live[:AWAITED_MAX],
            # A rule that is `final`, or returns, kept the set from seeing their end: it is never full.
            "unseen": max(0, found.awaited - len(live)) if pattern is not None else 0,
        },
    }


def script_wait_object(script: Script | None) -> Body | None:
    """What a script waits for: the step (`what`, `place`), the `records` that have not settled, `until`; None where it does not."""
    if script is None or script.open is None:
        return None
    wait = script.open
    return {"what": wait.what, "place": wait.place, "records": list(script.missing), "until": time_text(wait.due)}


def timer_object(timer: TimerState, declared: TimerDecl | None) -> Body:
    """A timer: `name`, `when` in words, `next`, `flow` (the last), `paused`, `queued`."""
    return {
        "name": timer.name,
        "type": declared.type if declared is not None else None,
        "when": declared.schedule.text() if declared is not None else None,
        "next": time_text(timer.due),
        "flow": timer.flow,
        "paused": timer.is_paused,
        "queued": timer.queued,
    }


def breakpoint_object(point: Point, holds: Iterable[Hold], now_us: int | None = None) -> Body:
    """A breakpoint: `name`, `place` (what follows the name in the language), `state`, `hits`, and what it holds."""
    is_over = point.due is not None and now_us is not None and point.due <= now_us
    word, _, rest = point.text.partition(" ")
    return {
        "name": point.name,
        "kind": word,
        "place": " ".join(rest.strip().removeprefix(point.name).split()),
        "state": "expired" if is_over else "on" if point.is_on else "off",
        "hits": point.hits,
        "last_hit": time_text(point.last_hit),
        "unsaid": point.unsaid,
        "why_unsaid": point.why_unsaid or None,
        "flow": point.flow,
        "in_rules": point.version is not None,
        "by": point.by or None,
        "set": time_text(point.set_at),
        "expires": time_text(point.due),
        "holds": [hold.id for hold in holds],
    }


def hold_object(hold: Hold) -> Body:
    """Where a record is held: `breakpoint`, `place`, `since`, the number of the `hit`, and what is `shown`."""
    return {
        "breakpoint": hold.breakpoint,
        "place": hold.place,
        "since": time_text(hold.since),
        "hit": hold.hit,
        "shown": hold.shown,
    }
