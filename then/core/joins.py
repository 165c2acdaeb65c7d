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

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from attrs import evolve

from then.core import facts as f
from then.core.edition import Edition
from then.core.emitting import carry_out, fire, sets_with
from then.core.ending import keeper
from then.core.evaluate import Scope
from then.core.firing import ELSE, Firing, PlanFailed, plan_generator, plan_step
from then.core.ids import id_text
from then.core.listening import Listening
from then.core.rules import FINISHED, Join, Match, Met, Part, Rule, family_covers
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.values import CannotSay
from then.core.waits import Wait, wait_key, without

TRIES_MAX = 10_000
"""Ways to pair records whose clauses look at each other, tried for one that comes."""


class Coming:
    """A record that has come for a part of a join."""

    __slots__ = ("at", "call", "edition", "fired", "is_last", "join", "names", "record", "rule")

    def __init__(
        self,
        at: Stepping,
        rule: Rule,
        record: Task,
        edition: Edition,
        names: Mapping[str, Json],
        fired: list[str],
        call: str | None = None,
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
        self.call = call or record.call
        self.is_last = False
        """It fired, and is final or returned: the search for the record ends."""

    def fire(self, parts: Sequence[Task], names: Mapping[str, Json | Task]) -> None:
        """The join has its parts."""
        match = Match(self.rule, self.record, None, Met(tuple(parts), {**self.names, **names}))
        flow = self.at.state.flows[self.record.flow]
        firing = fire(self.at, match, self.edition, flow, names=self.names, call=self.call)
        self._note(firing, self.rule.name)

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
        self._note(firing, name)

    def _note(self, firing: Firing, name: str) -> None:
        self.fired.append(name)
        self.is_last |= self.rule.final or firing.returns is not None

    def keeps(self, part: int) -> bool:
        """Whether this record, as that part, keeps its flow until the window ends."""
        join = self.join
        if join.kind == "quiet":
            return True
        has_late = join.kind in ("all", "times") and (join.late is not None or join.late_generator is not None)
        return has_late and not join.parts[part].is_absent and self.at.state.flows[self.record.flow].bent is None


class Taking(NamedTuple):
    """What became of a record that came for a part."""

    is_part: bool = False
    """The join took it."""
    takes_up: bool = False
    """Where it is a failure: the join takes that up."""
    is_last: bool = False
    """It fired, and no later rule sees the record."""


_NOT_TAKEN: Final = Taking()


def take(
    at: Stepping,
    found: Listening,
    record: Task,
    edition: Edition,
    is_of_procedure: bool,
    names: Mapping[str, Json],
    fired: list[str],
) -> Taking:
    """A settled record came for a part."""
    coming = Coming(at, found.of, record, edition, names, fired)
    join = coming.join
    part = join.parts[found.part]
    if join.kind == "every":
        is_part, takes_up = _take_of_set(coming, part, is_of_procedure)
        return Taking(is_part, takes_up, coming.is_last)
    if found.of.name in fired:
        return Taking(True)  # It was another part of what fired.
    values: list[Json] = []
    own = _scope_of(part, record, names)
    for key in part.keys:
        value = edition.value(key, own)
        if isinstance(value, CannotSay):
            return _NOT_TAKEN
        values.append(value)
    scope = (record.call or "") if is_of_procedure else record.flow if join.is_by_flow else ""
    place = Place(wait_key(found.of.name, scope, values), scope, values)
    if join.kind != "quiet":
        _let_go_old(at, place.key, record.completed or 0)
    if join.kind == "all" and not part.is_absent and _is_answered(coming, place, found):
        return Taking(True, record.outcome in FAILURES)
    if found.ends_otherwise:
        is_over = _cannot_be_filled(coming, place, found.part)
        return Taking(is_over, is_over, coming.is_last)
    if join.kind == "quiet":
        is_part = _quieten(coming, place)
    elif join.kind == "any":
        is_part = _any(coming, found.part, place)
    elif join.kind == "times":
        is_part = _times(coming, found.part, place)
    else:
        is_part = _all(coming, found.part, place)
    outcomes = part.pattern.outcomes
    takes_up = is_part and outcomes != FINISHED and record.outcome in outcomes and not part.is_absent
    return Taking(is_part, takes_up, coming.is_last)


class Place(NamedTuple):
    """Where a record waits."""

    key: str
    scope: str
    values: list[Json]


def _scope_of(part: Part, record: Task, names: Mapping[str, Json | Task]) -> Scope:
    alias = part.pattern.alias
    return Scope(record, {**names, alias: record} if alias is not None else names)


def _let_go_old(at: Stepping, key: str, time: int) -> None:
    """Ends the windows that had ended by a time; where that has a consequence, it happens now."""
    waits = at.state.waits
    while (wait := waits.wait(key)) is not None and wait.due is not None and time >= wait.due:
        end_window(at, wait)


def _joined(coming: Coming, part: int, place: Place, *, is_last: bool = False) -> Wait | None:
    """Notes the record as the newest of a part. The wait, without what is out of its window; None where that is all."""
    record, join, at = coming.record, coming.join, coming.at
    wait = at.state.waits.wait(place.key)
    due = wait.due if wait is not None else None
    newest = completed = record.completed or 0
    if join.within_us is not None:
        own = completed + join.within_us
        due = own if due is None or join.kind == "quiet" else min(due, own)
        if wait is not None and join.kind != "quiet":
            newest = max([newest, *[task.completed or 0 for tasks in wait.parts for task in tasks]])
    at.add(
        record.flow,
        f.Joined(
            place.key, coming.rule.name, place.scope, place.values, len(join.parts), part, record, is_last, due,
            coming.keeps(part),
        ),
    )  # fmt: skip
    if join.kind != "quiet" and newest > completed:
        # It was heard of late: what came before it in the journal may be beyond its window.
        _let_go_old(at, place.key, newest)
    return at.state.waits.wait(place.key)


def _met(coming: Coming, wait: Wait, used: Sequence[Task], *, is_spent: bool = False) -> None:
    """Uses records up. The window of what is left runs from the oldest of that."""
    at, join = coming.at, coming.join
    ids = [task.id for task in used]
    parts = without(wait.parts, ids)
    left = [task.completed or 0 for tasks in parts for task in tasks]
    due = min(left) + join.within_us if left and join.within_us is not None else wait.due if is_spent else None
    # Beside the firing, where no other flow has to hear that it is kept no more.
    flow = home(at, wait) if wait.keeps else coming.record.flow
    at.add(flow, f.Met(wait.key, ids, is_spent, due, _keeper(at, join, parts)))


def _keeper(at: Stepping, join: Join, parts: Sequence[Sequence[Task]]) -> str:
    if join.kind != "quiet" and join.late is None and join.late_generator is None:
        return ""
    return keeper(
        at, [task for number, tasks in enumerate(parts) if not join.parts[number].is_absent for task in tasks]
    )


def home(at: Stepping, wait: Wait) -> str:
    """The flow that hears of it: the one that the wait keeps alive; none where that is over."""
    return wait.flow if wait.flow in at.state.flows else ""


# -- the kinds ----------------------------------------------------------------------


def _all(coming: Coming, part: int, place: Place) -> bool:
    join = coming.join
    is_absent = join.parts[part].is_absent
    keeps_newest = is_absent and join.parts[part].where_joined is None
    if not is_absent and _completes(coming, part, place):
        return True
    if part > 0 and not is_absent and _has_come(coming, part, place):
        return True
    wait = _joined(coming, part, place, is_last=keeps_newest)
    if is_absent or wait is None:
        return True
    for number in _other_parts(coming, part, place):
        wait = _joined(coming, number, place)
        if wait is None:
            return True
    bound = _pick(coming, wait)
    if bound is None:
        return True
    parts = list(bound.values())
    _met(coming, wait, parts)
    if not _finds_absent(coming, wait, bound):
        coming.fire(parts, {**_named(join, place.values), **_aliases(join, bound)})
    return True


def _has_come(coming: Coming, part: int, place: Place) -> bool:
    """Whether the record stands for this part since it came for another."""
    wait = coming.at.state.waits.wait(place.key)
    return wait is not None and any(
        task.id == coming.record.id for tasks in wait.parts[part : part + 1] for task in tasks
    )


def _other_parts(coming: Coming, part: int, place: Place) -> Iterator[int]:
    """Further parts that the record is one of: it stands in the order of its coming for all of them before any are paired."""
    record, names = coming.record, coming.names
    for number, one in enumerate(coming.join.parts):
        if number <= part or one.is_absent:
            continue
        pattern = one.pattern
        if pattern.callee is not None:
            pattern = evolve(pattern, family=str(names.get(pattern.callee)))
        if not pattern.fits(record):
            continue
        scope = _scope_of(one, record, names)
        variables = coming.at.state.flows[record.flow].variables
        where = pattern.where
        if where is not None and coming.edition.value(where, Scope(record, scope.bindings, variables)) is not True:
            continue
        values = [coming.edition.value(key, scope) for key in one.keys]
        is_said = not any(isinstance(value, CannotSay) for value in values)
        if is_said and wait_key(coming.rule.name, place.scope, values) == place.key:
            yield number


def _completes(coming: Coming, part: int, place: Place) -> bool:
    """Whether the record is the last that was missing, of parts that nothing else decides: it fires, and is never kept."""
    join, record = coming.join, coming.record
    wait = coming.at.state.waits.wait(place.key)
    if wait is None or not wait.parts or wait.parts[part]:
        return False
    id, completed = record.id, record.completed or 0
    bound: dict[int, Task] = {}
    is_whole = not wait.keeps
    for number, one in enumerate(join.parts):
        if one.is_absent or one.where_joined is not None:
            return False
        if number == part:
            bound[number] = record
            continue
        came = wait.parts[number]
        if not came or came[0].id == id:
            return False
        for task in came:
            if (task.completed or 0) > completed:
                return False  # It was heard of late: the windows are looked at.
        bound[number] = came[0]
        is_whole &= len(came) == 1
    parts = list(bound.values())
    if len(parts) > 2 and len({task.id for task in parts}) < len(parts):
        return False
    if is_whole:
        # As `_met` would say; nearly always nothing is left.
        coming.at.add(record.flow, f.Met(wait.key, [task.id for task in parts]))
    else:
        _met(coming, wait, parts)
    coming.fire(parts, {**_named(join, place.values), **_aliases(join, bound)})
    return True


def _pick(coming: Coming, wait: Wait) -> dict[int, Task] | None:
    """A record for each part, the oldest that go together, by part; None where one is missing. None stands for two."""
    join = coming.join
    present = [number for number, part in enumerate(join.parts) if not part.is_absent]
    if not all(wait.parts[number] for number in present):
        return None
    oldest = {number: wait.parts[number][0] for number in present}
    is_plain = all(join.parts[number].where_joined is None for number in present)
    if is_plain and len({task.id for task in oldest.values()}) == len(present):
        return oldest
    tries = 0
    todo: list[dict[int, Task]] = [{}]
    while todo:
        bound = todo.pop()
        if len(bound) == len(present):
            return bound
        number = present[len(bound)]
        fitting = []
        for task in wait.parts[number]:
            tries += 1
            if tries > TRIES_MAX:
                return None
            if all(task.id != other.id for other in bound.values()) and _holds(coming, number, task, bound):
                fitting.append({**bound, number: task})
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


def _any(coming: Coming, part: int, place: Place) -> bool:
    join = coming.join
    wait = coming.at.state.waits.wait(place.key)
    if wait is not None and wait.is_spent:
        return True
    wait = _joined(coming, part, place)
    if wait is None:
        return True
    _met(coming, wait, [task for tasks in wait.parts for task in tasks], is_spent=True)
    coming.fire([coming.record], {**_named(join, place.values), **_aliases(join, {part: coming.record})})
    return True


def _times(coming: Coming, part: int, place: Place) -> bool:
    """Whether it was taken: what follows counts only where enough came before it."""
    join, record = coming.join, coming.record
    is_followed = len(join.parts) > 1
    wait = _joined(coming, 0, place) if part == 0 else coming.at.state.waits.wait(place.key)
    if is_followed != (part == 1):
        return True
    before = [task for task in wait.parts[0] if part == 0 or task.id != record.id] if wait is not None else []
    if wait is None or len(before) < join.count:
        return part == 0
    came = before[: join.count]
    bound = {0: came[-1]}
    if is_followed:
        if not _holds(coming, 1, record, bound):
            return False
        bound[1] = record
    parts = [*came, record] if is_followed else came
    _met(coming, wait, parts)
    coming.fire(parts, {**_named(join, place.values), **_aliases(join, bound)})
    return True


def _quieten(coming: Coming, place: Place) -> bool:
    """The last record of its key counts, and its flow: the silence begins anew."""
    wait = coming.at.state.waits.wait(place.key)
    if wait is not None and wait.flow != coming.record.flow:
        coming.at.add(home(coming.at, wait), f.Parted(place.key))
    _joined(coming, 0, place, is_last=True)
    return True


def _take_of_set(coming: Coming, part: Part, is_of_procedure: bool) -> tuple[bool, bool]:
    """One of a set ended. Whether it was of one that is open, and whether that takes a failure up."""
    at, record, edition = coming.at, coming.record, coming.edition
    key = wait_key(coming.rule.name, (record.call or "") if is_of_procedure else record.flow, ())
    tally = at.state.waits.tallies.get(key)
    if tally is None or tally.is_closed or record.parent is None:
        return False, False  # What was posted was emitted by nobody.
    at.add(record.flow, f.Settled(key))
    where = part.pattern.where
    scope = _scope_of(part, record, coming.names)
    variables = at.state.flows[record.flow].variables
    value = edition.value(where, Scope(record, scope.bindings, variables)) if where is not None else True
    is_failure = record.outcome in FAILURES
    if record.outcome not in part.pattern.outcomes and value is not False:
        # Where the clause cannot be said, of a result that is not there, it is one of the set.
        at.add(record.flow, f.Gathered(key))
        if _has_else(coming.rule):
            coming.fire_else({}, {})
        return True, is_failure and _has_else(coming.rule)
    if tally.open == 0:
        at.add(record.flow, f.Gathered(key))
        coming.fire([record], {})
    return True, is_failure and part.pattern.outcomes != FINISHED


def _has_else(rule: Rule) -> bool:
    """Whether an `else` answers the join, and not a later step."""
    if isinstance(rule.trigger, Join) and rule.trigger.otherwise_generator is not None:
        return True
    consequence = rule.consequence
    return consequence is not None and consequence.otherwise is not None and len(consequence.steps) == 1


def gather_empty(at: Stepping, firing: Firing, edition: Edition, fired: list[str]) -> None:
    """A `for` emitted none: sets of that type of which nothing was ever emitted are full at once."""
    record = firing.record
    for type in firing.empty:
        for rule, key, names in list(sets_with(at, edition, type, record.flow, firing.call)):
            if key not in at.state.waits.tallies:
                at.add(record.flow, f.Gathered(key))
                Coming(at, rule, record, edition, names, fired, firing.call).fire([record], {})


# -- what can no longer be, and what is too late ---------------------------------------


def _cannot_be_filled(coming: Coming, place: Place, part: int) -> bool:
    """A record of a part ended otherwise. Where no other lives that could fill it, the `else` runs. Whether it did."""
    at, record, join = coming.at, coming.record, coming.join
    of = join.parts[part]
    wait = at.state.waits.wait(place.key)
    if (
        (wait is not None and any(wait.parts[part : part + 1]))
        or _says_no(coming, of, record)
        or _another_lives(coming, place, of)
    ):
        return False
    bound = {number: tasks[0] for number, tasks in enumerate(wait.parts) if tasks} if wait is not None else {}
    if wait is not None:
        at.add(home(at, wait), f.Parted(place.key))
    others = [one for number, one in enumerate(join.parts) if number not in bound and not one.is_absent]
    if any(_another_lives(coming, place, one) for one in others if one is not of):
        due = (record.completed or 0) + join.within_us if join.within_us is not None else None
        at.add(record.flow, f.Parted(place.key, due=due, answered=id_text(at.state.last_id)))
    bound[part] = record
    coming.fire_else(_named(join, place.values), _aliases(join, bound))
    return record.outcome in FAILURES


def _is_answered(coming: Coming, place: Place, found: Listening) -> bool:
    """Whether the `else` has run for what this record was born with: it ran once, whatever else of that ends otherwise."""
    if not _has_else(coming.rule):
        return False
    wait = coming.at.state.waits.wait(place.key)
    if wait is None or not wait.answered or coming.record.key > wait.answered:
        return False
    return not (found.ends_otherwise and _says_no(coming, coming.join.parts[found.part], coming.record))


def _says_no(coming: Coming, part: Part, record: Task) -> bool:
    """Whether its clause leaves a record out for good; one over a result that is not there leaves it in."""
    where = part.pattern.where
    scope = _scope_of(part, record, coming.names)
    variables = coming.at.state.flows[record.flow].variables
    return where is not None and coming.edition.value(where, Scope(record, scope.bindings, variables)) is False


def _another_lives(coming: Coming, place: Place, part: Part) -> bool:
    """Whether a record lives that may yet fill a part.

    Cost: grows with what lives in the scope; asked only where one ended otherwise.
    """
    family = coming.names.get(part.pattern.callee) if part.pattern.callee is not None else part.pattern.family
    assert isinstance(family, str)
    flow = coming.record.flow if place.scope else None
    for live in coming.at.state.live(flow):
        if live.outcome is not None or not family_covers(family, live.type):
            continue
        if (place.scope and place.scope not in (live.flow, live.call)) or _says_no(coming, part, live):
            continue
        own = [coming.edition.value(expr, _scope_of(part, live, coming.names)) for expr in part.keys]
        said = [value for value in own if not isinstance(value, CannotSay)]
        if len(said) < len(own) or wait_key(coming.rule.name, place.scope, own) == place.key:
            return True
    return False


def end_window(at: Stepping, wait: Wait) -> None:
    """The window of a wait has ended: what came by then is let go, and `on timeout` follows."""
    assert wait.due is not None
    flow = at.state.flows.get(wait.flow)
    # Where its flow is over, the rules in force say how long what came later may still wait.
    edition = at.terms.editions[flow.version if flow is not None else at.state.version]
    rule = edition.rule(wait.rule)
    join = rule.trigger if rule is not None else None
    if rule is None or not isinstance(join, Join) or join.within_us is None or len(join.parts) != len(wait.parts):
        at.add(home(at, wait), f.Parted(wait.key))
        return
    upto = wait.due - join.within_us
    over = [[task for task in tasks if (task.completed or 0) <= upto] for tasks in wait.parts]
    left = [[task for task in tasks if (task.completed or 0) > upto] for tasks in wait.parts]
    # Before what is let go may end the flow.
    if flow is not None:
        for row in range(max(map(len, over))):
            _too_late(at, wait, rule, join, [tasks[row:] for tasks in over], edition)
    now = [task.completed or 0 for tasks in left for task in tasks]
    due = min(now) + join.within_us if now else None
    at.add(home(at, wait), f.Parted(wait.key, upto, due, _keeper(at, join, left)))


def _too_late(
    at: Stepping, wait: Wait, rule: Rule, join: Join, over: Sequence[Sequence[Task]], edition: Edition
) -> None:
    """What follows where no others came in time: in the flow that the wait kept, for its first part."""
    present = {number: tasks[0] for number, tasks in enumerate(over) if tasks and not join.parts[number].is_absent}
    mine = [task for task in present.values() if task.flow == wait.flow]
    if not mine or not wait.keeps:
        return
    first = min(mine, key=lambda task: task.completed or 0)
    frame = at.state.waits.frames.get(first.call) if first.call is not None else None
    is_of_procedure = frame is not None and wait.scope == frame.id
    coming = Coming(at, rule, first, edition, frame.body if frame is not None and is_of_procedure else {}, [])
    names: dict[str, Json | Task] = {**_named(join, wait.values), **_aliases(join, present)}
    if join.kind == "quiet":
        coming.fire([first], names)
        return
    late = edition.rule(f"{wait.rule}/late")
    if late is not None:
        names["missing"] = ", ".join(_missing(join, over))
        match = Match(late, first, None, Met(tuple(present.values()), {**coming.names, **names}))
        fire(at, match, edition, at.state.flows[first.flow], names=coming.names)


def _missing(join: Join, came: Sequence[Sequence[Task]]) -> list[str]:
    """What did not come: the types, in the order of the rule."""
    need = [join.count if join.kind == "times" and number == 0 else 1 for number in range(len(join.parts))]
    return [
        part.pattern.family
        for number, part in enumerate(join.parts)
        if not part.is_absent and len(came[number]) < need[number]
    ]


def _named(join: Join, values: Sequence[Json]) -> dict[str, Json]:
    return {name: value for name, value in zip(join.names, values, strict=False) if name}


def _aliases(join: Join, bound: Mapping[int, Task]) -> dict[str, Task]:
    return {alias: task for number, task in bound.items() if (alias := join.parts[number].pattern.alias) is not None}
