"""A record that has come for a part of a join: where it waits, and how the join fires with it.

What the kinds of joins make of it is in `then.core.joins`; windows that end
in `then.core.windows`; joins that can no longer be filled in `then.core.unfilled`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from then.core.edition import Edition
from then.core.emitting import carry_out, fire
from then.core.ending import keeper
from then.core.evaluate import Scope
from then.core.firing import ELSE, Firing, PlanFailed, plan_generator, plan_step
from then.core.rules import Join, Match, Met, Part, Rule
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.waits import Wait


class Coming(msgspec.Struct):
    """A record that has come for a part of a join."""

    at: Stepping
    rule: Rule
    join: Join
    """What the rule waits for."""
    record: Task
    edition: Edition
    names: Mapping[str, Json]
    """The arguments of the call, where the rule is a procedure's."""
    fired: list[str]
    call: str | None
    is_last: bool = False
    """It fired, and is final or returned: the search for the record ends."""

    def fire(self, parts: Sequence[Task], names: dict[str, Json | Task]) -> None:
        """The join has its parts."""
        if self.names:
            names = {**self.names, **names}
        match = Match(self.rule, self.record, None, Met(tuple(parts), names))
        flow = self.at.state.flows[self.record.flow]
        firing = fire(self.at, match, self.edition, flow, names=self.names, call=self.call)
        self.fired.append(self.rule.name)
        self.is_last |= self.rule.final or firing.returns is not None

    def fire_else(self, names: Mapping[str, Json], records: Mapping[str, Task]) -> None:
        """The join can no longer be filled."""
        record, name = self.record, f"{self.rule.name}/else"
        values = {**self.names, **names}
        firing = Firing(
            record, name, self.call, record.by_unmatched, records=dict(records), values=values,
            emissions_max=self.at.terms.guards.emissions,
        )  # fmt: skip
        generator = self.join.otherwise_generator
        try:
            if generator is not None:
                match = Match(self.rule, record, None, Met((record,), {**values, **records}))
                plan_generator(firing, self.edition, generator, match)
            else:
                plan_step(firing, self.edition, self.rule.name, ELSE, self.at.state.flows[record.flow].variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        carry_out(self.at, firing, self.edition)
        self.fired.append(name)
        self.is_last |= self.rule.final or firing.returns is not None

    def keeps(self, part: int) -> bool:
        """Whether this record, as that part, keeps its flow until the window ends."""
        join = self.join
        if join.kind == "quiet":
            return True
        has_late = join.kind in ("all", "times") and (join.late is not None or join.late_generator is not None)
        return has_late and not join.parts[part].is_absent and self.at.state.flows[self.record.flow].bent is None


class Place(msgspec.Struct, frozen=True):
    """Where a record waits."""

    key: str
    scope: str
    values: list[Json]


def own_scope(part: Part, record: Task, names: Mapping[str, Json | Task]) -> Scope:
    alias = part.pattern.alias
    return Scope(record, {**names, alias: record} if alias is not None else names)


def home(at: Stepping, wait: Wait) -> str:
    """The flow that hears of it: the one that the wait keeps alive; none where that is over."""
    return wait.flow if wait.flow in at.state.flows else ""


def keeper_of(at: Stepping, join: Join, parts: Sequence[Sequence[Task]]) -> str:
    if join.kind != "quiet" and join.late is None and join.late_generator is None:
        return ""
    # The rule may have had more parts when the first came: what is of those keeps nothing.
    pairs = zip(join.parts, parts, strict=False)
    return keeper(at, [task for part, tasks in pairs if not part.is_absent for task in tasks])


def says_no(coming: Coming, part: Part, record: Task) -> bool:
    """Whether its clause leaves a record out for good; one over a result that is not there leaves it in."""
    where = part.pattern.where
    scope = own_scope(part, record, coming.names)
    variables = coming.at.state.flows[record.flow].variables
    return where is not None and coming.edition.value(where, Scope(record, scope.bindings, variables)) is False


def named(join: Join, values: Sequence[Json]) -> dict[str, Json]:
    return {name: value for name, value in zip(join.names, values, strict=False) if name}


def aliased(join: Join, bound: Mapping[int, Task]) -> dict[str, Task]:
    return {alias: task for number, task in bound.items() if (alias := join.parts[number].pattern.alias) is not None}
