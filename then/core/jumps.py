"""Jumps: a person has one rule answer a record, in the place of all that would.

The record is held at a breakpoint, with its outcome. The rule fires on it as if
its outcomes and its clause were true; continuations, joins and other rules do
not see it, a `finally` does. A failure counts as taken up: a person saw to it.
Who did it stands in the `Edited` of the same step.
"""

from __future__ import annotations

from msgspec.structs import replace

from then.core import facts as f
from then.core.edition import Edition
from then.core.emitting import fire
from then.core.errors import ConfigError, UnknownName
from then.core.evaluate import Scope, decide
from then.core.rules import Match, Met, Rule, Single, Unmatched, family_covers
from then.core.state import FAILURES, State
from then.core.stepping import Stepping
from then.core.tasks import Task


def answers(edition: Edition, state: State, record: Task) -> dict[str, Rule]:
    """The rules that may answer a record, by name: those on one record of its type; of its call first."""
    frame = state.waits.frames.get(record.call or "")
    declared = edition.rules.procedures.get(frame.type) if frame is not None else None
    names = frame.body if frame is not None else {}
    found: dict[str, Rule] = {}
    for rule in (*(declared.rules if declared is not None else ()), *edition.rules.rules):
        if isinstance(rule.trigger, Single | Unmatched):
            pattern = rule.pattern
            family = names.get(pattern.callee) if pattern.callee is not None else pattern.family
            if isinstance(family, str) and family_covers(family, record.type):
                found[rule.name] = rule
    return found


def check_jump(at: Stepping, record: Task, name: str) -> None:
    """Nothing, where this rule may answer it.

    Raises:
        UnknownName: there is no such rule for its type.
        ConfigError: it has not ended, or is not held at a breakpoint.
    """
    what = f"{record.type} ({record.id})"
    if record.outcome is None:
        raise ConfigError(f"{what} has not ended: a rule answers what has; a result for it ends it without a run")
    if at.state.holds.holding(record) is None:
        raise ConfigError(f"{what} is not held at a breakpoint; only from there a rule can be jumped to")
    if not record.settled:
        raise ConfigError(f"{what} is tried again when it goes on: the last attempt is what a rule can answer")
    found = answers(at.terms.editions[at.state.flows[record.flow].version], at.state, record)
    if name not in found:
        raise UnknownName(f"rule on one {record.type}", name, found)


def jump(at: Stepping, record: Task, name: str) -> None:
    """Lets a held record go to one rule alone; `check_jump` was asked."""
    state = at.state
    flow = state.flows[record.flow]
    edition = at.terms.editions[flow.version]
    rule = answers(edition, state, record)[name]
    frame = state.waits.frames.get(record.call or "")
    names = dict(frame.body) if frame is not None and name.startswith(f"{frame.type}.") else {}
    at.add(flow.id, f.Taken(record.id))
    at.match_began = state.last_id
    record = replace(record, is_held=False)
    variables = dict(flow.variables)
    if record.cont in state.chains:
        at.add(flow.id, f.Dropped(record.cont))
    bound = names if rule.pattern.alias is None else {**names, rule.pattern.alias: record}
    groups = decide(rule.pattern.where, Scope(record, bound, variables)).groups
    fire(at, Match(rule, record, groups or None, Met((), names)), edition, flow, names=names)
    fired = [rule.name]
    ending = edition.rules.endings.get(record.type)
    if ending is not None:
        fire(at, Match(ending, record, None, Met((), {**record.body, **(record.result or {})})), edition, flow)
        fired.append(ending.name)
    is_failure = record.outcome in FAILURES
    number = state.holds.number
    at.add(flow.id, f.Matched(record.id, fired, flow.version, is_failure, variables, False, record.call, number))
