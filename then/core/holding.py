"""Stops at breakpoints: who is held, what is noted of a hit, how breakpoints are set and taken away.

`then.core.granting` asks before a start, `then.core.asking` before a step of a
script, `then.core.ending` and the engine at an end, all of them only where `State.is_watched`. Hits are facts of the
transaction in which they happen; the fact that holds the record comes behind
them. Of several breakpoints that a record meets at one place each counts its
hit, and the first that stops holds.

A record that was released from a place is not looked at again there: its
`Hold` stays until it leaves the state.

A script that is held before a step is taken off its thread, and keeps what it
has taken (a limit, a lock) and its times; its release starts it again, and it
comes to the same step by those that are recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from then.core import facts as f
from then.core.breakpoints import Stop, Stops
from then.core.causes import Ask, Release, SetBreakpoint, SwitchBreakpoint
from then.core.edition import Edition
from then.core.errors import ConfigError, UnknownName
from then.core.evaluate import Scope
from then.core.firing import Firing
from then.core.listening import Listening
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.values import CannotSay


def stops_of(at: Stepping, edition: Edition) -> Stops:
    """The breakpoints that flows of an edition meet: those of its rules in their order, then those added by hand."""
    holds = at.state.holds
    known = edition.stops
    if known is not None and known[0] is holds and known[1] == holds.number:
        return known[2]
    points = holds.points
    found = [point for name, point in edition.rules.breakpoints.items() if name in points and points[name].is_on]
    for set_ in points.values():
        if set_.version is None and set_.is_on and set_.name not in edition.rules.breakpoints:
            point = at.terms.breakpoint_of(edition, set_.text)
            if point is not None:
                found.append(point)
    stops = Stops(found)
    edition.stops = (holds, holds.number, stops)
    return stops


# -- who is held ----------------------------------------------------------------------


def hold_before(at: Stepping, task: Task, edition: Edition) -> str | None:
    """Why a task that would start is held; None where it starts.

    Args:
        task: as it would be given to its executor.
    """
    stops = stops_of(at, edition).before(task)
    if not stops or _was_held(at, task, "before"):
        return None
    names: dict[str, Json | Task] = {}
    return _meet(at, task, [(stop, names) for stop in stops], "before")


def hold_asked(at: Stepping) -> None:
    """Holds, of those that came in this step, who would be asked now: nothing runs them."""
    for page in at.pages[:]:
        for fact in page.facts[:]:
            match fact:
                case f.Posted(task=task) | f.Emitted(task=task) if task.started is not None:
                    id = task.id
                case f.Ripened(id=id, is_asked=True):
                    pass
                case _:
                    continue
            asked = at.state.task(id)
            if asked is None or asked.outcome is not None or asked.is_held or asked.started is None:
                continue
            flow = at.state.flows[asked.flow]
            if (
                flow.held is None
                and not flow.is_stubbed
                and (reason := hold_before(at, asked, at.terms.editions[flow.version])) is not None
            ):
                at.add(asked.flow, f.Held(id, reason))


def hold_after(at: Stepping, record: Task, *, was_held: bool = False) -> str | None:
    """Why a record that has ended is held before its match; None where it goes on.

    Args:
        was_held: a breakpoint held it before its start, or it is ended where it was held.
    """
    flow = at.state.flows[record.flow]
    if record.outcome == "cancelled" and (flow.bent is not None or was_held):
        return None
    if _was_held(at, record, "after"):
        return None
    edition = at.terms.editions[flow.version]
    stops = stops_of(at, edition)
    meeting: list[tuple[Stop, Mapping[str, Json | Task]]] = [(stop, {}) for stop in stops.after(record)]
    if stops.by_rule:
        meeting += _on_rules(at, record, edition, stops)
    if not meeting:
        return None
    meeting.sort(key=lambda pair: stops.rank(pair[0]))
    return _meet(at, record, meeting, "after")


def hold_step(at: Stepping, task: Task, cause: Ask) -> bool:
    """Holds a script before a step that it asks for. Whether it is held; it is taken off its thread then."""
    place = f"step {cause.n} at {cause.place}"
    if at.state.holds.at_step(task.id):
        return True  # It came back, while it was held.
    edition = at.terms.editions[at.state.flows[task.flow].version]
    stops = stops_of(at, edition).at_step(task, cause.place)
    if not stops or task.id in at.state.stopping or _was_held(at, task, place):
        return False
    names: dict[str, Json | Task] = {}
    reason = _meet(at, task, [(stop, names) for stop in stops], place)
    if reason is not None:
        at.add(task.flow, f.Held(task.id, reason))
    return reason is not None


def _was_held(at: Stepping, record: Task, place: str) -> bool:
    """Whether it was released from that place; a script that has taken a step was from its start."""
    hold = at.state.holds.stops.get(record.id)
    if hold is None or not hold.is_released:
        return False
    return hold.is_at(place) or (place == "before" and hold.step is not None)


def _meet(
    at: Stepping, record: Task, meeting: Iterable[tuple[Stop, Mapping[str, Json | Task]]], place: str
) -> str | None:
    """Notes the hits of breakpoints that are for a record. The reason, where one of them holds it."""
    state, now = at.state, at.terms.time
    variables = state.flows[record.flow].variables
    reason: str | None = None
    met: set[str] = set()
    for stop, names in meeting:
        point = stop.point
        set_ = state.holds.points.get(point.name)
        flow = set_.flow if set_ is not None else None
        is_over = set_ is None or not set_.is_on or (set_.due is not None and set_.due <= now)
        if is_over or point.name in met or (flow is not None and flow != record.flow):
            continue
        assert set_ is not None
        scope = Scope(record, names, variables)
        says = stop.says(scope)
        where = f"rule {point.rule}" if point.place == "rule" else place
        if isinstance(says, CannotSay):
            at.add(record.flow, f.Hit(record.id, point.name, where, unsaid=says.reason))
        elif says:
            met.add(point.name)
            text = stop.printed(scope)
            stops = reason is None and text is None and set_.hits + 1 >= point.from_hit
            shown = stop.shown(scope) if stops else {}
            at.add(record.flow, f.Hit(record.id, point.name, where, stops, stops and point.once, text, shown))
            if stops:
                reason = f"held at breakpoint {point.name} ({_said(where, record.type)})"
    return reason


def _said(place: str, type: str) -> str:
    """`before pay`, `rule pack`, `step of fan at fan.py:7`."""
    word, _, rest = place.partition(" ")
    return f"step of {type} {rest.partition(' ')[2]}" if word == "step" else place if rest else f"{place} {type}"


# -- on a rule ------------------------------------------------------------------------


def _on_rules(
    at: Stepping, record: Task, edition: Edition, stops: Stops
) -> list[tuple[Stop, Mapping[str, Json | Task]]]:
    """The breakpoints on rules that fire on a record, each with what the rule has bound.

    What might fire is asked first; only where that is one of them the match is tried on a copy.
    """
    if not any(name in stops.by_rule for name in _perhaps(at, record, edition)):
        return []
    fired = [firing for firing in at.trial(record).fired or () if firing.record.id == record.id]
    return [(stop, _bound(firing)) for firing in fired for stop in stops.by_rule.get(firing.rule, ())]


def _bound(firing: Firing) -> dict[str, Json | Task]:
    return {**firing.values, **firing.records}


def _perhaps(at: Stepping, record: Task, edition: Edition) -> Iterable[str]:
    """The names of rules and steps that may fire on a record, and perhaps more."""
    chain = at.state.chains.get(record.cont or "")
    if chain is not None:
        yield chain.rule
        yield f"{chain.rule}/{chain.step}"
        yield f"{chain.rule}/{chain.step}/else"
        yield chain.otherwise or ""
    frame = at.state.waits.frames.get(record.call or "")
    for rule in edition.within.get(frame.type, ()) if frame is not None else ():
        yield from _names_of(rule)
    for match in edition.index.match(record, at.state.flows[record.flow].variables):
        yield from _names_of(match.rule)
    for match in edition.unmatched(record, at.state.flows[record.flow].variables):
        yield match.rule.name
    yield f"{record.type}.finally"


def _names_of(rule: object) -> Iterable[str]:
    if type(rule) is Listening:
        yield rule.of.name
        yield f"{rule.of.name}/else"
        yield f"{rule.of.name}/late"
    else:
        yield str(getattr(rule, "name", ""))


# -- setting them ---------------------------------------------------------------------


def adopt(at: Stepping, edition: Edition) -> None:
    """Sets the breakpoints of rules that come in force; those that are as they were go on counting."""
    points = at.state.holds.points
    declared = edition.rules.breakpoints
    stale = [name for name, point in points.items() if point.version is not None and name not in declared]
    if stale and all(flow.version == edition.version for flow in at.state.flows.values()):
        for name in stale:
            at.add("", f.BreakRemoved(name))
    for name, point in declared.items():
        known = points.get(name)
        if known is None or known.version is None or known.text != point.text:
            due = at.terms.time + point.expires_us if point.expires_us is not None else None
            at.add("", f.BreakSet(name, point.text, edition.version, None, due, ""))


def set_breakpoint(at: Stepping, cause: SetBreakpoint) -> None:
    """Adds one by hand.

    Raises:
        ConfigError: its name is taken, or its flow is not open.
    """
    state = at.state
    known = state.holds.points.get(cause.name)
    if known is not None and not (cause.replaces and known.version is None):
        raise ConfigError(
            f'there is a breakpoint "{cause.name}" already; `andthen break rm {cause.name}` takes it away'
        )
    if cause.flow is not None and cause.flow not in state.flows:
        raise ConfigError(f'no open flow "{cause.flow}"; `andthen flows` lists them')
    due = at.terms.time + cause.expires_us if cause.expires_us is not None else None
    at.add("", f.BreakSet(cause.name, cause.text, None, cause.flow, due, cause.by))


def switch_breakpoint(at: Stepping, cause: SwitchBreakpoint) -> None:
    """Switches one on or off; what it holds stays held.

    Raises:
        UnknownName: there is none of that name.
    """
    point = at.state.holds.points.get(cause.name)
    if point is None:
        raise UnknownName("breakpoint", cause.name, at.state.holds.points)
    if point.is_on != cause.is_on:
        at.add("", f.BreakSwitched(cause.name, cause.is_on))


# -- changing what is held ------------------------------------------------------------


def edit(at: Stepping, task: Task, cause: Release) -> Task:
    """A held record with another body or result, or for one rule only. What it was stays in the facts.

    Raises:
        ConfigError: a result of what has not ended.
        RuleError: it is not as declared.
    """
    body, result = cause.body, cause.result
    if body is None and result is None and cause.rule is None:
        return task
    edition = at.terms.editions[at.state.flows[task.flow].version]
    if body is not None and at.state.holds.at_step(task.id):
        raise ConfigError(f"{task.type} ({task.id}) is under way: the steps that it has taken stand on its body")
    if body is not None:
        body = edition.check_body(task.type, body)
    if result is not None:
        if task.outcome is None or task.event:
            raise ConfigError(f"{task.type} ({task.id}) has no result yet; its body can be changed")
        wrong = edition.types.result(task.type, result) if task.outcome == "done" else None
        if wrong is not None:
            raise ConfigError(f"{task.type} ({task.id}): {wrong}")
    is_needy = body is not None and task.needs is not None
    needs = edition.new_task(task.type, body or {}, task.id, task.flow, task.created).needs if is_needy else None
    at.add(task.flow, f.Edited(task.id, body, result, cause.by, needs, cause.rule))
    return at.state.task(task.id) or task
