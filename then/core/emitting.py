"""A rule that fires: all it emits planned, then written."""

from __future__ import annotations

from typing import Final

from then.core import facts as f
from then.core.edition import Edition
from then.core.ending import bend
from then.core.facts import Flow
from then.core.firing import Firing, PlanFailed, plan_rule
from then.core.rules import Match
from then.core.stepping import Stepping

FLOW_RECORDS_MAX: Final = 1_000_000


def fire(at: Stepping, match: Match, edition: Edition, flow: Flow, by_unmatched: bool = False) -> None:
    """One rule on one record: plans all it emits, then writes it. A rule that fails emits `rule.failed`."""
    record = match.record
    firing = Firing(record, match.rule.name, record.call, by_unmatched or record.by_unmatched)
    try:
        plan_rule(firing, edition, match, flow.variables)
    except PlanFailed as failed:
        firing.fail(str(failed))
    carry_out(at, firing, edition)


def carry_out(at: Stepping, firing: Firing, edition: Edition) -> None:
    """Writes what a firing planned: saves, ends, emissions, and the wait for its next step."""
    record, time = firing.record, at.terms.time
    flow = record.flow
    emissions, next_step = firing.emissions, firing.next_step
    for name, value in firing.saves:
        at.add(flow, f.Saved(name, value))
    if firing.bend is not None:
        outcome, text = firing.bend
        # What the same match emitted before is not touched.
        bend(at, at.state.flows[flow], outcome, text, at.match_began)
    records = at.state.flows[flow].records
    if (records + len(emissions)) // FLOW_RECORDS_MAX > records // FLOW_RECORDS_MAX:
        at.add(flow, f.FlowHeld(f"{FLOW_RECORDS_MAX} records in one flow; rule {firing.rule} emits more"))
    if not emissions:
        return
    members: list[str] = []
    aliases: dict[str, str] = {}
    shared = at.new_id() if next_step is not None else None
    for planned in emissions:
        id = at.new_id()
        cont = shared
        if planned.then is not None or planned.otherwise is not None:
            cont = at.new_id()
            at.add(
                flow,
                f.Waited(
                    cont, planned.then or "", 0, [id], {}, {}, planned.bind, firing.call,
                    firing.by_unmatched, planned.otherwise,
                ),
            )  # fmt: skip
        task = edition.new_task(
            planned.type, planned.body, id, flow, time, record.id, firing.rule, firing.call, cont,
            firing.by_unmatched,
        )  # fmt: skip
        at.add(flow, f.Emitted(task))
        if shared is not None:
            members.append(id)
            if planned.alias is not None:
                aliases[planned.alias] = id
    if shared is not None and next_step is not None:
        rule, step_ = next_step
        at.add(
            flow,
            f.Waited(
                shared, rule, step_, members, aliases, firing.records, firing.values, firing.call,
                firing.by_unmatched,
            ),
        )  # fmt: skip
