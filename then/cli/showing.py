"""One record, and one rule, in full."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import msgspec

from then.analysis.history import FlowHistory, Record
from then.app.objects import (
    AWAITED_MAX,
    hold_object,
    origin_object,
    origin_text,
    record_object,
    script_wait_object,
    time_text,
)
from then.app.reading import Frame, Reading
from then.app.rules import Rules
from then.cli.listing import awaited_text, print_object, seen
from then.cli.settings import Settings, say
from then.cli.texts import clean_output, duration
from then.cli.words import COLORS, colored, word
from then.core.errors import UnknownName
from then.core.facts import Edited, Hit, Late
from then.core.policies import Policy
from then.core.rules import ANY, EVENT, FINISHED, Breakpoint, Join, Pattern, Rule, Unmatched
from then.core.tasks import Body, Json, Task


def show_record(settings: Settings, reading: Reading, record: Record, history: FlowHistory) -> None:
    """A record and what is known of it beside: what fired on it, what came of it, what was reported too late."""
    task = record.task
    running = reading.running().since if task.outcome is None else {}
    hold = history.holds.get(task.id)
    now = seen(task, running, hold)
    frames = reading.backtrace(record, history)
    shown = record_object(task, now.state, started=now.since, stack=[frame.task.id for frame in frames[1:]])
    shown.update(
        {
            "key": record.key,
            "version": record.version or history.flow.version,
            "fired": record.fired,
            "taken_up": record.taken_up,
            "fork": origin_object(history.flow.origin),
            "recalled": record.recalled,
            "children": record.children,
            "backtrace": [_frame_object(frame) for frame in frames],
            "late": [_late(late) for late in record.late],
            "faults": record.faults,
            "hits": [_hit(time, hit) for time, hit in record.hits],
            "edits": [_edit(time, edit, before) for time, edit, before in record.edits],
        }
    )
    if now.hold is not None:
        shown["held"] = hold_object(now.hold)
    waits_for = script_wait_object(history.scripts.get(task.id))
    if waits_for is not None:
        shown["waits_for"] = {**waits_for, "since": time_text(record.waits_since)}
    if settings.is_json:
        print_object(shown)
        return
    has_color = settings.has_color(sys.stdout)
    for name, text in _lines(shown, record, history, frames):
        said = colored(f"{name:<10}", "2", has_color)
        code = COLORS.get(word(task, now.state), "0")
        head, *more = (colored(text, code, has_color) if name == "state" else text).split("\n")
        sys.stdout.write(f"{said} {head}\n")
        sys.stdout.writelines(f"{'':<10} {line}\n" for line in more)


def _lines(shown: Body, record: Record, history: FlowHistory, frames: Sequence[Frame]) -> Iterator[tuple[str, str]]:
    """Name and text of each thing that there is to say."""
    task = record.task
    yield "id", task.id
    yield "type", task.type
    yield "state", _state(record, shown["state"])
    is_root = task.id == history.flow.id
    flow = history.flow
    ended = f", {flow.outcome}" if flow.outcome is not None else f", {flow.state}"
    records = f"{flow.records} record{'' if flow.records == 1 else 's'}"
    yield "flow", f"{flow.id}{ended}, {records}" + (": this is its root" if is_root else "")
    if flow.unfilled:
        yield "half-filled", f"{', '.join(flow.unfilled)}: not all came before the flow ended"
    if flow.origin is not None:
        yield "origin", origin_text(flow.origin)
    if flow.held is not None:
        yield "held", flow.held
    yield from _stands(shown, history)
    if task.parent is not None:
        yield "parent", f"{task.parent}{_type_of(task.parent, history)}"
    if task.rule is not None:
        yield "by rule", task.rule
    if task.call is not None:
        yield "stack", "\n".join(map(_frame, frames))
    if task.attempt > 1 or task.origin is not None:
        yield "attempt", f"{task.attempt} of {task.origin or task.id}"
    if record.key is not None:
        yield "key", record.key
    for name in ("created", "started", "completed"):
        if shown[name] is not None:
            yield name, shown[name]
    if task.policy is not None and task.outcome is None:
        yield from _times(task.policy)
    if task.needs:
        yield "needs", _json(task.needs)
    if task.priority:
        yield "priority", str(task.priority)
    if task.body:
        yield "body", _json(task.body)
    if task.result is not None:
        yield "result", _json(task.result)
    if task.error is not None:
        yield from _error(task.error)
    for edit in shown["edits"]:
        yield from _changed(edit)
    for hit in shown["hits"]:
        if hit["text"] is not None:
            yield "logged", f"{hit['breakpoint']}: {clean_output(hit['text'])}"
    if record.fired:
        yield "fired", ", ".join(record.fired)
    if record.taken_up:
        yield "taken up", "its failure is not the flow's"
    if record.children:
        yield "children", "\n".join(f"{id}{_type_of(id, history)}" for id in record.children)
    if record.recalled is not None:
        yield "recalled", f"not run: it ended as {record.recalled} of the origin did"
    for late in record.late:
        yield "late", f"reported {late.outcome} by {late.by} when it had ended; without effect"
    for fault in record.faults:
        yield "fault", fault
    yield "rules", f"version {shown['version']}"


def _stands(shown: Body, history: FlowHistory) -> Iterator[tuple[str, str]]:
    """What holds it, and, of a script, what it waits for."""
    if "held" in shown:
        yield "held", _held(shown["held"])
    if "waits_for" in shown:
        yield "waits", _waits(shown["waits_for"], history)


def _changed(edit: Body) -> Iterator[tuple[str, str]]:
    """What a person did to a record that was held."""
    by = f" by {edit['by']}" if edit["by"] else ""
    if edit["skipped"]:
        yield "skipped", f"not started{by} at {edit['time']}; the result was given"
        return
    if edit["rule"] is not None:
        yield "jumped", f"to rule {edit['rule']} alone{by} at {edit['time']}"
    for name in ("body", "result"):
        if edit[name] is not None:
            yield "edited", f"{name}{by} at {edit['time']}; it was {_json(edit['before'][name])}"


def _times(policy: Policy) -> Iterator[tuple[str, str]]:
    """What a record that has not ended waits for, and by when it must have."""
    for name, time in (("not before", policy.due), ("expires", policy.expires), ("deadline", policy.deadline)):
        if time is not None:
            yield name, time_text(time) or ""
    if policy.timeout_us is not None:
        yield "timeout", duration(policy.timeout_us / 1e6)
    if policy.retry is not None:
        yield "retry", f"up to {policy.retry.times} more attempts after the first"


def _frame(frame: Frame) -> str:
    """A line of a backtrace: the call, what it was given, the rule that called, where that goes on, and their places."""
    task = frame.task
    place = f" ({frame.place})" if frame.place is not None else ""
    caller = f" by rule {task.rule}{place}" if task.rule is not None else ""
    back_place = f" ({frame.back_place})" if frame.back_place is not None else ""
    returns = f", back to {frame.back}{back_place}" if frame.back is not None else ""
    return f"{task.type}({_inner(task.body)}) {task.id}{caller}{returns}"


def _frame_object(frame: Frame) -> Body:
    task = frame.task
    return {
        "id": task.id, "type": task.type, "rule": task.rule, "place": frame.place,
        "returns_to": frame.back, "return_place": frame.back_place,
    }  # fmt: skip


def _inner(body: Body) -> str:
    return ", ".join(f"{name}: {_json(value)}" for name, value in body.items())


def _state(record: Record, state: str) -> str:
    task = record.task
    if record.is_stopping and task.outcome is None:
        return f"{state}, told to stop"
    if state != "completed":
        return state if task.outcome is None else f"{state}, {task.outcome.replace('_', ' ')}"
    if task.event:
        return "completed, an event"
    took = f" after {duration(task.took)}" if task.took is not None else ""
    return f"completed, {(task.outcome or '').replace('_', ' ')}{took}"


def _error(error: Body) -> Iterator[tuple[str, str]]:
    """Kind and message first, a traceback as it reads; what else there is as JSON."""
    rest = {key: value for key, value in error.items() if key not in ("kind", "message", "traceback", "type")}
    yield "error", clean_output(": ".join(str(error[key]) for key in ("kind", "message") if key in error))
    if "traceback" in error:
        yield "", clean_output(str(error["traceback"]).rstrip("\n"))
    if rest:
        yield "", _json(rest)


def _json(value: Json) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    flat = msgspec.json.encode(value).decode()
    return flat if len(flat) <= 80 else text


def _type_of(id: str, history: FlowHistory) -> str:
    record = history.records.get(id)
    return f" {record.task.type}" if record is not None else ""


def _held(held: Body) -> str:
    lines = [f"at breakpoint {held['breakpoint']}, {held['place']}, hit {held['hit']}, since {held['since']}"]
    return "\n".join([*lines, *(f"{name} = {_json(value)}" for name, value in held["shown"].items())])


def _waits(wait: Body, history: FlowHistory) -> str:
    since = f", since {wait['since']}" if wait["since"] is not None else ""
    records = [f"{id}{_type_of(id, history)}" for id in wait["records"][:AWAITED_MAX]]
    more = ["…"] if len(wait["records"]) > len(records) else []
    return "\n".join([f"{awaited_text(wait).removeprefix('waits ')}{since}", *records, *more])


def _hit(time: int, hit: Hit) -> Body:
    return {
        "time": time_text(time), "breakpoint": hit.name, "place": hit.place, "stopped": hit.stops, "text": hit.text,
        "shown": hit.shown, "unsaid": hit.unsaid,
    }  # fmt: skip


def _edit(time: int, edit: Edited, before: Task) -> Body:
    return {
        "time": time_text(time), "by": edit.by or None, "body": edit.body, "result": edit.result,
        "rule": edit.rule, "skipped": edit.is_skipped,
        "before": {"body": before.body, "result": before.result},
    }  # fmt: skip


def _late(late: Late) -> Body:
    return {"outcome": late.outcome, "result": late.result, "error": late.error, "by": late.by}


def show_rule(settings: Settings, rules: Rules, name: str, form: str | None) -> None:
    """A rule: its name, place and order; as text of the language where that is asked for.

    Raises:
        UnknownName: there is none of that name.
    """
    rule = rules.set.rule(name)
    if rule is None:
        raise UnknownName("rule", name, [each.name for each in rules.set.rules])
    text = rule_text(rule, rules)
    if settings.is_json:
        print_object({**rule_object(rule), "text": text})
    elif text is not None:
        sys.stdout.write(text.rstrip("\n") + "\n")
    else:
        say(f'rule "{name}" is Python{f", at {rule.span}" if rule.span else ""}: it has no text in the language')


def rule_object(rule: Rule) -> Body:
    """A rule in a list of those in force."""
    pattern = rule.pattern
    return {
        "name": rule.name,
        "when": pattern.family,
        "outcomes": sorted(pattern.outcomes),
        "final": rule.final,
        "unmatched": isinstance(rule.trigger, Unmatched),
        "waits_for": when_text(rule),
        "language": "then" if rule.consequence is not None else "python",
        "place": str(rule.span) if rule.span is not None else None,
    }


def point_object(point: Breakpoint) -> Body:
    """A breakpoint in a list of rules in force."""
    kind, _, rest = point.text.partition(" ")
    return {
        "name": point.name,
        "kind": kind,
        "text": " ".join(rest.strip().removeprefix(point.name).split()),
        "place": str(point.span) if point.span is not None else None,
    }


def rule_text(rule: Rule, rules: Rules) -> str | None:
    """A rule as text of the language; None for one in Python."""
    if rule.consequence is None:
        return None
    from then.language.printer import print_rule

    return print_rule(rule, rules.set)


def when_text(rule: Rule) -> str:
    """What a rule waits for, without its conditions: `pay failed or timed out`, `all of pay done, no order.cancelled`."""
    trigger = rule.trigger
    if isinstance(trigger, Unmatched):
        return f"unmatched {_pattern_text(trigger.pattern)}"
    if not isinstance(trigger, Join):
        return _pattern_text(rule.pattern)
    parts = [("no " if part.is_absent else "") + _pattern_text(part.pattern) for part in trigger.parts]
    match trigger.kind:
        case "times":
            return f"{trigger.count} times {' followed by '.join(parts)}"
        case "quiet":
            from then.language.rule_texts import span_text

            return f"{parts[0]} quiet for {span_text(trigger.within_us or 0)}"
        case "every":
            return f"every {parts[0]}"
        case kind:
            return f"{kind} of {', '.join(parts)}"


def _pattern_text(pattern: Pattern) -> str:
    family = "any" if pattern.family == ANY else pattern.family
    words = (
        "finished"
        if pattern.outcomes == FINISHED
        else " or ".join(sorted(pattern.outcomes - {EVENT})).replace("_", " ")
    )
    return f"{family} {words}".rstrip() + (" where …" if pattern.where is not None else "")
