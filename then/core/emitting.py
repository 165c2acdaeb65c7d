"""A rule that fires: all it emits planned, then written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from then.core import facts as f
from then.core.attempts import on_policy
from then.core.edition import Edition
from then.core.ending import bend, end_live, give_back
from then.core.evaluate import Scope
from then.core.facts import Flow
from then.core.firing import EmissionTerms, Firing, PlanFailed, Planned, plan_rule
from then.core.ids import id_text
from then.core.policies import Policy
from then.core.rules import CancelTasks, Match, Rule
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.values import equal
from then.core.waits import wait_key

MANY: Final = 1000
"""Of so many emissions of one match the plan is let go as they are made."""


def fire(
    at: Stepping,
    match: Match,
    edition: Edition,
    flow: Flow,
    by_unmatched: bool = False,
    names: Mapping[str, Json] | None = None,
    call: str | None = None,
) -> Firing:
    """One rule on one record: plans all it emits, then writes it. A rule that fails emits `rule.failed`.

    Args:
        names: the arguments of the call that the record belongs to.
        call: where that is not the record's own: of a set that is full as its call begins.
    """
    record = match.record
    firing = Firing(
        record, match.rule.name, call or record.call, by_unmatched or record.by_unmatched, at.terms.guards.emissions
    )
    if names:
        firing.values = dict(names)
    try:
        plan_rule(firing, edition, match, flow.variables)
    except PlanFailed as failed:
        firing.fail(str(failed))
    carry_out(at, firing, edition)
    return firing


def carry_out(at: Stepping, firing: Firing, edition: Edition) -> None:
    """Writes what a firing planned: saves, ends, emissions, the wait for its next step, and the return."""
    record = firing.record
    flow = record.flow
    if at.fired is not None:
        at.fired.append(firing)
    for name, value in firing.saves:
        at.add(flow, f.Saved(name, value))
    if firing.bend is not None:
        outcome, text = firing.bend
        # What the same match emitted before is not touched.
        bend(at, at.state.flows[flow], outcome, text, at.match_began)
    for act, scope in firing.cancels:
        _cancel_tasks(at, flow, act, scope, edition, firing.call)
    if firing.emissions:
        _emit(at, firing, edition)
    if firing.empty:
        at.empty.append(firing)
    if firing.returns is not None:
        give_back(at, record, firing.call, firing.returns)


def _emit(at: Stepping, firing: Firing, edition: Edition) -> None:
    record, time = firing.record, at.terms.time
    flow = record.flow
    emissions, next_step = firing.emissions, firing.next_step
    records = at.state.flows[flow].records
    most = at.terms.guards.flow_records
    count = len(emissions)
    if records % most + count >= most:
        at.add(flow, f.FlowHeld(_too_many_records(most, firing)))
    members: list[str] = []
    aliases: dict[str, str] = {}
    shared = at.new_id() if next_step is not None else firing.script
    timed, call = edition.timed, firing.call
    counted: Counter[str] | None = Counter() if edition.has_sets else None
    policy: Policy | None = None
    for planned in emissions if count < MANY or at.fired is not None else _let_go(emissions):
        terms = planned.terms
        if terms is not None and terms.mark is not None and not _is_first(at, flow, *terms.mark):
            continue
        id = at.new_id()
        cont = shared
        if planned.then is not None or planned.otherwise is not None:
            cont = at.new_id()
            at.add(
                flow,
                f.Waited(
                    cont, planned.then or "", 0, [id], {}, {}, planned.bind or {}, call, firing.by_unmatched,
                    planned.otherwise,
                ),
            )  # fmt: skip
        task = edition.new_task(
            planned.type, planned.body, id, flow, time, record.id, firing.rule, call, cont, firing.by_unmatched
        )
        if terms is not None or call is not None or planned.type in timed:
            task = _on_terms(at, task, terms, edition, policy)
            policy = task.policy
        if task.is_call:
            _guard_depth(at, task)
        at.add(flow, f.Emitted(task))
        if counted is not None:
            counted[task.type] += 1
        if next_step is not None and cont is shared and task.outcome != "cancelled":
            members.append(id)
            if planned.alias is not None:
                aliases[planned.alias] = id
    if shared is not None and next_step is not None and members:
        rule, step_ = next_step
        at.add(
            flow,
            f.Waited(
                shared, rule, step_, members, aliases, firing.records, firing.values, call, firing.by_unmatched
            ),
        )  # fmt: skip
    if counted:
        _count_sets(at, flow, call, counted, edition)


def _too_many_records(most: int, firing: Firing) -> str:
    """The reason of the guard, with what brought the record and what it brings: the cycle, where it is short."""
    record = firing.record
    types = list(dict.fromkeys([planned.type for planned in firing.emissions]))
    came = f"{record.type} by rule {record.rule}" if record.rule is not None else record.type
    goes = ", ".join(types[:3]) + (", …" if len(types) > 3 else "")
    return (
        f"{most} records in one flow; rule {firing.rule} emits more: {came} -> {goes} by rule {firing.rule} -> …; "
        "mend the rule, then `andthen continue` or `andthen cancel` the flow"
    )


def _is_first(at: Stepping, flow: str, key: str, per_us: int) -> bool:
    """Whether an act that happens at most once in a span may happen; then it is marked."""
    if flow in at.state.holds.forks:
        return True  # Nobody is to feel it.
    if at.state.waits.marks.get(key, 0) > at.terms.time:
        return False
    at.add(flow, f.Marked(key, at.terms.time + per_us))
    return True


def _let_go(emissions: list[Planned]) -> Iterator[Planned]:
    """What was planned, in its order; the plan is not kept beside what is made of it."""
    emissions.reverse()
    while emissions:
        yield emissions.pop()


def _on_terms(
    at: Stepping, task: Task, terms: EmissionTerms | None, edition: Edition, before: Policy | None = None
) -> Task:
    """The record with what its declaration, its act and its call say of how it is tried.

    Args:
        before: the policy of the record before, which is shared where it is the same.
    """
    if task.event:
        put_off = _overlaid(Policy(), terms, at.terms.time) if terms is not None else None
        if put_off is None or put_off.due is None:
            return task
        return replace(task, outcome=None, completed=None, policy=put_off)
    if task.outcome is not None:
        return task  # Nothing runs it.
    if terms is not None and terms.is_skipped:
        error = {"kind": "skipped", "message": "left out by a rule"}
        return replace(task, outcome="cancelled", error=error, started=None, completed=at.terms.time)
    policy = edition.policy_of(task, at.terms.time)
    if terms is not None:
        policy = _overlaid(policy or Policy(), terms, at.terms.time)
    call = at.state.task(task.call) if task.call is not None else None
    if call is not None and call.policy is not None and call.policy.deadline is not None:
        inherited = call.policy.deadline
        own = policy.deadline if policy is not None else None
        policy = replace(policy or Policy(), deadline=inherited if own is None else min(own, inherited))
    if policy is not None and policy.twin is not None and task.flow in at.state.holds.forks:
        policy = replace(policy, twin=None)
    return task if policy is None else on_policy(task, before if before is not None and before == policy else policy)


def _overlaid(policy: Policy, terms: EmissionTerms, time: int) -> Policy:
    """What an act says goes before what the declaration says."""
    due = terms.at_us
    if terms.after_us is not None:
        due = max(due or 0, time + terms.after_us)
    if due is not None and due > time:
        # It expires so long after it might have started.
        expires = policy.expires + due - time if policy.expires is not None else None
        policy = replace(policy, due=due, expires=expires, is_due_by_clock=terms.after_us is None)
    own = terms.policy
    if own is None:
        return policy
    return replace(
        policy,
        retry=own.retry or policy.retry,
        timeout_us=policy.timeout_us if own.timeout_us is None else own.timeout_us,
        fail_fast=own.fail_fast or policy.fail_fast,
    )


def _guard_depth(at: Stepping, task: Task) -> None:
    outer = at.state.waits.frames.get(task.call) if task.call is not None else None
    most = at.terms.guards.call_depth
    if outer is not None and outer.depth >= most:
        at.add(
            task.flow,
            f.FlowHeld(
                f"{most} calls in one another: {outer.type} -> {task.type} -> …; "
                "mend the rule, then `andthen continue` or `andthen cancel` the flow"
            ),
        )


def _cancel_tasks(at: Stepping, flow: str, act: CancelTasks, scope: Scope, edition: Edition, call: str | None) -> None:
    """Ends the live records of a type in a flow, of a task that was handed over those of the call, for which the clause is true."""
    variables, newest = at.state.flows[flow].variables, id_text(at.match_began)
    fields: Json = scope.bindings.get("fields", {}) if act.where is None else {}
    for task in list(at.state.live(flow)):
        if task.type != act.type or task.id > newest or (act.callee is not None and task.call != call):
            continue
        if act.where is not None and edition.value(act.where, Scope(task, scope.bindings, variables)) is not True:
            continue
        if all(equal(task.body.get(name), value) for name, value in fields.items()):
            end_live(at, task)


def _count_sets(at: Stepping, flow: str, call: str | None, emitted: Mapping[str, int], edition: Edition) -> None:
    """Notes how many records more a set waits for."""
    counts: dict[str, int] = {}
    for type, count in emitted.items():
        for _, key, _ in sets_with(at, edition, type, flow, call):
            counts[key] = counts.get(key, 0) + count
    for key, more in counts.items():
        at.add(flow, f.Counted(key, more))


def count_again(at: Stepping, flow: str, edition: Edition) -> None:
    """Counts what lives for the sets of rules that a flow was moved to, where they count nothing yet."""
    counts: dict[str, int] = {}
    for task in at.state.live(flow):
        if task.parent is not None:
            for _, key, _ in sets_with(at, edition, task.type, flow, task.call):
                if key not in at.state.waits.tallies:
                    counts[key] = counts.get(key, 0) + 1
    for key, more in counts.items():
        at.add(flow, f.Counted(key, more))


def sets_with(
    at: Stepping, edition: Edition, type: str, flow: str, call: str | None
) -> Iterator[tuple[Rule, str, Mapping[str, Json]]]:
    """The sets that a record of this type belongs to, those of its flow and those of its call: rule, key, names."""
    for rule in edition.sets_of(None, type, {}):
        yield rule, wait_key(rule.name, flow, ()), {}
    frame = at.state.waits.frames.get(call) if call is not None else None
    if frame is not None and frame.type in edition.within:
        for rule in edition.sets_of(frame.type, type, frame.body):
            yield rule, wait_key(rule.name, frame.id, ()), frame.body
