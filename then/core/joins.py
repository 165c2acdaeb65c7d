"""Joins: records that come for a rule part by part, and what follows when they meet, or cannot.

Who calls: `then.core.engine`, with a part that the index found, and `then.core.times`
when a window ends. What came lies in `then.core.waits`; a firing uses it up.

A wait is of one rule, one scope (a flow, a call, or all flows) and one key. Its
window runs from the completion of its oldest part: what is out of it is let go
before anything new is looked at, so that a stale half never meets a fresh one.

`every X done` keeps no records but counts: how many were emitted in the scope
and have not ended. The cost of a completion does not grow with the set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from then.core import facts as f
from then.core.edition import Edition
from then.core.emitting import carry_out, fire, set_keys
from then.core.evaluate import Scope
from then.core.firing import ELSE, Firing, PlanFailed, plan_step
from then.core.listening import Listening
from then.core.rules import FINISHED, Join, Match, Met, Part, Rule
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.values import CannotSay
from then.core.waits import Wait, wait_key

TRIES_MAX = 10_000
"""Ways to pair records whose clauses look at each other, tried for one that comes."""


class Coming:
    """A record that has come for a part of a join."""

    __slots__ = ("at", "edition", "fired", "join", "names", "record", "rule")

    def __init__(
        self, at: Stepping, rule: Rule, record: Task, edition: Edition, names: Mapping[str, Json], fired: list[str]
    ) -> None:
        assert isinstance(rule.trigger, Join)
        self.at = at
        self.rule = rule
        self.join = rule.trigger
        self.record = record
        self.edition = edition
        self.names = names
        """The arguments of the call, where the rule is a procedure's."""
        self.fired = fired

    def fire(self, parts: Sequence[Task], names: Mapping[str, Json | Task]) -> None:
        """The join has its parts."""
        match = Match(self.rule, self.record, None, Met(tuple(parts), dict(names)))
        flow = self.at.state.flows[self.record.flow]
        fire(self.at, match, self.edition, flow, names=self.names)
        self.fired.append(self.rule.name)

    def fire_else(self, names: Mapping[str, Json]) -> None:
        """The join can no longer be filled."""
        record, name = self.record, f"{self.rule.name}/else"
        firing = Firing(record, name, record.call, record.by_unmatched, values={**self.names, **names})
        try:
            plan_step(firing, self.edition, self.rule.name, ELSE, self.at.state.flows[record.flow].variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        carry_out(self.at, firing, self.edition)
        self.fired.append(name)


def take(
    at: Stepping,
    found: Listening,
    record: Task,
    edition: Edition,
    is_of_procedure: bool,
    names: Mapping[str, Json],
    fired: list[str],
) -> bool:
    """A record came for a part. Whether that takes a failure up."""
    coming = Coming(at, found.of, record, edition, names, fired)
    join = coming.join
    part = join.parts[found.part]
    if join.kind == "every":
        return _take_of_set(coming, part, is_of_procedure)
    values = [edition.value(key, _scope_of(part, record, names)) for key in part.keys]
    if any(isinstance(value, CannotSay) for value in values):
        return False
    scope = (record.call or "") if is_of_procedure else record.flow if join.is_by_flow else ""
    key = wait_key(found.of.name, scope, values)
    if found.ends_otherwise:
        return _cannot_be_filled(coming, key, found.part, values, scope)
    wait = _let_go_old(at, coming, at.state.waits.wait(key))
    if join.kind == "quiet":
        _quieten(coming, wait, key, values, scope)
    elif join.kind == "any":
        _any(coming, part, wait, key, values, scope)
    elif join.kind == "times":
        _times(coming, found.part, wait, key, values, scope)
    else:
        _all(coming, found.part, key, values, scope)
    outcomes = part.pattern.outcomes
    return outcomes != FINISHED and record.outcome in outcomes and not part.is_absent


def _scope_of(part: Part, record: Task, names: Mapping[str, Json | Task]) -> Scope:
    alias = part.pattern.alias
    return Scope(record, {**names, alias: record} if alias is not None else names)


def _let_go_old(at: Stepping, coming: Coming, wait: Wait | None) -> Wait | None:
    """The wait without what is out of its window; where that has a consequence, it happens first."""
    if coming.join.kind == "quiet":
        return wait
    while wait is not None and wait.due is not None and (coming.record.completed or 0) >= wait.due:
        end_window(at, wait)
        wait = at.state.waits.wait(wait.key)
    return wait


def _joined(
    coming: Coming, part: int, wait: Wait | None, key: str, values: list[Json], scope: str, *, is_last: bool = False
) -> Wait:
    """Notes the record as the newest of a part."""
    record, join = coming.record, coming.join
    due = wait.due if wait is not None else None
    if join.within_us is not None and (due is None or join.kind == "quiet"):
        due = (record.completed or 0) + join.within_us
    has_late = join.late is not None or join.late_generator is not None
    keeps = join.kind == "quiet" or (has_late and not join.parts[part].is_absent)
    coming.at.add(
        record.flow,
        f.Joined(key, coming.rule.name, scope, values, len(join.parts), part, record, is_last, due, keeps),
    )
    after = coming.at.state.waits.wait(key)
    assert after is not None
    return after


def _met(at: Stepping, wait: Wait, taken: Sequence[int], join: Join, *, is_spent: bool = False) -> None:
    """Uses parts up. The window of what is left runs from the oldest of that."""
    left = [task.completed or 0 for part, count in zip(wait.parts, taken, strict=True) for task in part[count:]]
    due = min(left) + join.within_us if left and join.within_us is not None else wait.due if is_spent else None
    at.add(_home(at, wait), f.Met(wait.key, list(taken), is_spent, due))


def _home(at: Stepping, wait: Wait) -> str:
    """The flow that hears of it: the one that the wait keeps alive; none where that is over."""
    return wait.flow if wait.flow in at.state.flows else ""


# -- the kinds ----------------------------------------------------------------------


def _all(coming: Coming, part: int, key: str, values: list[Json], scope: str) -> None:
    join, at = coming.join, coming.at
    is_absent = join.parts[part].is_absent
    keeps_newest = is_absent and join.parts[part].where_joined is None
    wait = _joined(coming, part, at.state.waits.wait(key), key, values, scope, is_last=keeps_newest)
    if is_absent:
        return
    picked = _pick(coming, wait, part)
    if picked is None:
        return
    taken, bound = picked
    if _finds_absent(coming, wait, bound):
        at.add(_home(at, wait), f.Parted(key))
        return
    counts = [0] * len(wait.parts)
    for number, index in taken.items():
        if index:
            # Not the oldest, since its clause chose: it is brought to the front by letting go what is used only.
            wait.parts[number].insert(0, wait.parts[number].pop(index))
        counts[number] = 1
    if any(taken.values()):
        _reorder(coming, wait)
    _met(at, wait, counts, join)
    coming.fire(list(bound.values()), {**_named(coming.rule, join, values), **_aliases(join, bound)})


def _reorder(coming: Coming, wait: Wait) -> None:
    """Writes the parts of a wait in another order: what was chosen first."""
    at, record = coming.at, coming.record
    at.add(_home(at, wait), f.Parted(wait.key))
    for number, part in enumerate(wait.parts):
        for task in part:
            at.add(
                record.flow,
                f.Joined(
                    wait.key, wait.rule, wait.scope, wait.values, len(wait.parts), number, task, False, wait.due,
                    wait.keeps,
                ),
            )  # fmt: skip


def _pick(coming: Coming, wait: Wait, newest: int) -> tuple[dict[int, int], dict[int, Task]] | None:
    """One record of each part, the oldest that go together: index in its part, and record; None where one is missing."""
    join = coming.join
    present = [number for number, part in enumerate(join.parts) if not part.is_absent]
    if not all(wait.parts[number] for number in present):
        return None
    if all(join.parts[number].where_joined is None for number in present):
        return dict.fromkeys(present, 0), {number: wait.parts[number][0] for number in present}
    tries = 0
    todo: list[tuple[dict[int, int], dict[int, Task]]] = [({}, {})]
    while todo:
        taken, bound = todo.pop()
        if len(taken) == len(present):
            return taken, bound
        number = present[len(taken)]
        fitting = []
        for index, task in enumerate(wait.parts[number]):
            tries += 1
            if tries > TRIES_MAX:
                return None
            if _holds(coming, number, task, bound):
                fitting.append(({**taken, number: index}, {**bound, number: task}))
        todo.extend(reversed(fitting))
    return None


def _holds(coming: Coming, number: int, task: Task, bound: Mapping[int, Task]) -> bool:
    """Whether the part of a clause that looks at the parts to its left is true."""
    part = coming.join.parts[number]
    if part.where_joined is None:
        return True
    names = {**coming.names, **_aliases(coming.join, bound)}
    variables = coming.at.state.flows[coming.record.flow].variables
    scope = _scope_of(part, task, names)
    return coming.edition.value(part.where_joined, Scope(task, scope.bindings, variables)) is True


def _finds_absent(coming: Coming, wait: Wait, bound: Mapping[int, Task]) -> bool:
    """Whether a record of `no X` came within the window before this moment."""
    join = coming.join
    since = None if join.within_us is None else (coming.record.completed or 0) - join.within_us
    return any(
        _holds(coming, number, task, bound)
        for number, part in enumerate(join.parts)
        if part.is_absent
        for task in wait.parts[number]
        if since is None or (task.completed or 0) > since
    )


def _any(coming: Coming, part: Part, wait: Wait | None, key: str, values: list[Json], scope: str) -> None:
    if wait is not None and wait.is_spent:
        return
    wait = _joined(coming, coming.join.parts.index(part), wait, key, values, scope)
    taken = [len(tasks) for tasks in wait.parts]
    _met(coming.at, wait, taken, coming.join, is_spent=True)
    names = _named(coming.rule, coming.join, values)
    if part.pattern.alias is not None:
        coming.fire([coming.record], {**names, part.pattern.alias: coming.record})
    else:
        coming.fire([coming.record], names)


def _times(coming: Coming, part: int, wait: Wait | None, key: str, values: list[Json], scope: str) -> None:
    join, at, record = coming.join, coming.at, coming.record
    is_followed = len(join.parts) > 1
    if part == 0:
        wait = _joined(coming, 0, wait, key, values, scope)
    if wait is None or is_followed != (part == 1) or len(wait.parts[0]) < join.count:
        return
    came = wait.parts[0][: join.count]
    bound = {0: came[-1]}
    if is_followed:
        if not _holds(coming, 1, record, bound):
            return
        bound[1] = record
    counts = [join.count, *[0] * (len(wait.parts) - 1)]
    _met(at, wait, counts, join)
    parts = [*came, record] if is_followed else came
    coming.fire(parts, {**_named(coming.rule, join, values), **_aliases(join, bound)})


def _quieten(coming: Coming, wait: Wait | None, key: str, values: list[Json], scope: str) -> None:
    """The last record of its key counts, and its flow: the silence begins anew."""
    if wait is not None and wait.flow != coming.record.flow:
        coming.at.add(_home(coming.at, wait), f.Parted(key))
        wait = None
    _joined(coming, 0, wait, key, values, scope, is_last=True)


def _take_of_set(coming: Coming, part: Part, is_of_procedure: bool) -> bool:
    """One of a set ended. Whether its `else` takes a failure up."""
    at, record, edition = coming.at, coming.record, coming.edition
    if not record.settled:
        return False
    key = wait_key(coming.rule.name, (record.call or "") if is_of_procedure else record.flow, ())
    tally = at.state.waits.tallies.get(key)
    if tally is None or tally.is_closed:
        return False
    at.add(record.flow, f.Settled(key))
    where = part.pattern.where
    scope = _scope_of(part, record, coming.names)
    variables = at.state.flows[record.flow].variables
    counts = where is None or edition.value(where, Scope(record, scope.bindings, variables)) is True
    if counts and record.outcome not in part.pattern.outcomes:
        at.add(record.flow, f.Gathered(key))
        has_else = coming.rule.consequence is not None and coming.rule.consequence.otherwise is not None
        if has_else:
            coming.fire_else({})
        return has_else and record.outcome in FAILURES
    if tally.open == 0:
        at.add(record.flow, f.Gathered(key))
        alias = part.pattern.alias
        coming.fire([record], {alias: record} if alias is not None else {})
    return record.outcome in FAILURES and part.pattern.outcomes != FINISHED


def gather_empty(
    at: Stepping, firing: Firing, edition: Edition, procedure: str | None, names: Mapping[str, Json], fired: list[str]
) -> None:
    """A `for` emitted none: sets of that type of which nothing was ever emitted are full at once."""
    record = firing.record
    for type in firing.empty:
        keys = set_keys(edition, type, record.flow, procedure, firing.call)
        for rule in (
            *edition.sets_of(None, type),
            *(edition.sets_of(procedure, type) if procedure is not None else ()),
        ):
            key = next(key for key in keys if key.startswith(f"{rule.name}\0"))
            if key in at.state.waits.tallies:
                continue
            at.add(record.flow, f.Gathered(key))
            Coming(at, rule, record, edition, names, fired).fire([record], {})


# -- what can no longer be, and what is too late ---------------------------------------


def _cannot_be_filled(coming: Coming, key: str, part: int, values: list[Json], scope: str) -> bool:
    """A record of a part ended otherwise. Where no other lives that could fill it, the `else` runs. Whether it did."""
    at, record = coming.at, coming.record
    wait = at.state.waits.wait(key)
    if not record.settled or (wait is not None and wait.parts[part]):
        return False
    of = coming.join.parts[part]
    flow = record.flow if scope else None
    for live in at.state.live(flow):
        if live.outcome is None and live.type == record.type and (not scope or scope in (live.flow, live.call)):
            own = [coming.edition.value(expr, _scope_of(of, live, coming.names)) for expr in of.keys]
            said = [value for value in own if not isinstance(value, CannotSay)]
            if len(said) < len(own) or wait_key(coming.rule.name, scope, own) == key:
                return False
    if wait is not None:
        at.add(_home(at, wait), f.Parted(key))
    coming.fire_else(_named(coming.rule, coming.join, values))
    return record.outcome in FAILURES


def end_window(at: Stepping, wait: Wait) -> None:
    """The window of a wait has ended: what came by then is let go, and `on timeout` follows."""
    due = wait.due
    if due is None:
        return
    flow = at.state.flows.get(wait.flow)
    first = next((tasks[0] for tasks in wait.parts if tasks), None)
    edition = at.terms.editions[flow.version] if flow is not None else None
    rule = edition.rule(wait.rule) if edition is not None else None
    join = rule.trigger if rule is not None else None
    within = join.within_us if isinstance(join, Join) else None
    at_flow = wait.flow if flow is not None else ""
    upto = due - within if within is not None else None
    left = [
        task.completed or 0
        for tasks in wait.parts
        for task in tasks
        if upto is not None and (task.completed or 0) > upto
    ]
    new_due = min(left) + within if left and within is not None else None
    if flow is None or edition is None or rule is None or not isinstance(join, Join) or first is None:
        at.add(at_flow, f.Parted(wait.key, upto, new_due))
        return
    frame = at.state.waits.frames.get(first.call) if first.call is not None else None
    coming = Coming(at, rule, first, edition, frame.body if frame is not None else {}, [])
    names: dict[str, Json | Task] = dict(_named(rule, join, wait.values))
    present = {
        number: tasks[0] for number, tasks in enumerate(wait.parts) if tasks and not join.parts[number].is_absent
    }
    names.update(_aliases(join, present))
    # Before what is let go may end the flow.
    if join.kind == "quiet":
        coming.fire([first], names)
    else:
        late = edition.rule(f"{wait.rule}/late")
        if late is not None and present:
            names["missing"] = ", ".join(_missing(join, wait))
            match = Match(late, next(iter(present.values())), None, Met(tuple(present.values()), names))
            fire(at, match, edition, flow, names=coming.names)
    at.add(wait.flow, f.Parted(wait.key, upto, new_due))


def _missing(join: Join, wait: Wait) -> list[str]:
    """What did not come: the types, in the order of the rule."""
    need = [join.count if join.kind == "times" and number == 0 else 1 for number in range(len(join.parts))]
    return [
        part.pattern.family
        for number, part in enumerate(join.parts)
        if not part.is_absent and len(wait.parts[number]) < need[number]
    ]


def _named(rule: Rule, join: Join, values: Sequence[Json]) -> dict[str, Json]:
    return {name: value for name, value in zip(join.names, values, strict=False) if name}


def _aliases(join: Join, bound: Mapping[int, Task]) -> dict[str, Task]:
    return {alias: task for number, task in bound.items() if (alias := join.parts[number].pattern.alias) is not None}
