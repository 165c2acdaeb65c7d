"""Joins: records that come for a rule part by part, and what follows when they meet, or cannot.

Who calls: `then.core.engine`, with a part that the index found. What came lies
in `then.core.waits`; a firing uses it up. How a record stands for its join is in
`then.core.coming`, the end of a window in `then.core.windows`.

A wait is of one rule, one scope (a flow, a call, or all flows) and one key. Its
window runs from the completion of its oldest part: what is out of it is let go
before anything new is looked at, so that a stale half never meets a fresh one.

`every X done` keeps no records but counts: how many were emitted in the scope
and have not ended. The cost of a completion does not grow with the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from attrs import evolve

from then.core import facts as f
from then.core.coming import Coming, Place, aliased, home, keeper_of, named, own_scope
from then.core.edition import Edition
from then.core.emitting import fire, sets_with
from then.core.evaluate import Scope
from then.core.firing import Firing
from then.core.listening import Listening, has_else
from then.core.rules import FINISHED, Join, Match, Met, Part
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Json, Task
from then.core.unfilled import cannot_be_filled, is_answered
from then.core.waits import Wait, as_kept, wait_key, without
from then.core.windows import let_go_old

TRIES_MAX = 10_000
"""Ways to pair records whose clauses look at each other, tried for one that comes."""


class Taking(msgspec.Struct, frozen=True):
    """What became of a record that came for a part."""

    is_part: bool = False
    """The join took it."""
    takes_up: bool = False
    """Where it is a failure: the join takes that up."""
    is_last: bool = False
    """It fired, and no later rule sees the record."""


_NOT_TAKEN: Final = Taking()
_TAKEN: Final = Taking(True)


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
    rule = found.of
    join: Join = rule.trigger  # type: ignore[assignment]
    if join.kind == "every":
        coming = Coming(at, rule, join, record, edition, names, fired, record.call)
        is_part, takes_up = _take_of_set(coming, join.parts[found.part], is_of_procedure)
        return Taking(is_part, takes_up, coming.is_last)
    if rule.name in fired:
        return _TAKEN  # It was another part of what fired.
    keys = found.keys
    if keys is None:
        part = join.parts[found.part]
        own = own_scope(part, record, names)
        values = [edition.value(key, own) for key in part.keys]
    elif len(keys) == 1:
        values = [keys[0](record)]
    else:
        values = [read(record) for read in keys]
    state, completed = at.state, record.completed or 0
    scope = (record.call or "") if is_of_procedure else record.flow if join.is_by_flow else ""
    if not scope and record.flow in state.holds.forks:
        return _NOT_TAKEN
    key = wait_key(rule.name, scope, values)
    if not key:
        return _NOT_TAKEN
    kept = as_kept(state.waits, key)
    if kept is not None and kept.due is not None and completed >= kept.due and join.kind != "quiet":
        let_go_old(at, key, completed)
        kept = as_kept(state.waits, key)
    if kept is not None and found.is_plain and not kept.answered:
        # By far the most frequent way to fire, and the quickest.
        firing = _completes(at, found, record, edition, names, values, key, kept)
        if firing is not None:
            fired.append(rule.name)
            if record.outcome == "done" and not rule.final and firing.returns is None:
                return _TAKEN
            takes_up = record.outcome in FAILURES and join.parts[found.part].pattern.outcomes != FINISHED
            return Taking(True, takes_up, rule.final or firing.returns is not None)
    coming = Coming(at, rule, join, record, edition, names, fired, record.call)
    return _taken(coming, found, Place(key, scope, values))


def _taken(coming: Coming, found: Listening, place: Place) -> Taking:
    """What the kind of the join makes of it."""
    record, kind, part = coming.record, coming.join.kind, coming.join.parts[found.part]
    if found.has_else and kind == "all" and not part.is_absent and is_answered(coming, place, found):
        return Taking(True, record.outcome in FAILURES)
    if found.ends_otherwise:
        is_over = cannot_be_filled(coming, place, found.part)
        return Taking(is_over, is_over, coming.is_last)
    if kind == "quiet":
        is_part = _quieten(coming, place)
    elif kind == "any":
        is_part = _any(coming, found.part, place)
    elif kind == "times":
        is_part = _times(coming, found.part, place)
    else:
        is_part = _all(coming, found.part, place)
    outcomes = part.pattern.outcomes
    takes_up = is_part and record.outcome in outcomes and outcomes != FINISHED and not part.is_absent
    return Taking(is_part, takes_up, coming.is_last)


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
        let_go_old(at, place.key, newest)
    return at.state.waits.wait(place.key)


def _met(at: Stepping, join: Join, record: Task, wait: Wait, used: Sequence[Task], *, is_spent: bool = False) -> None:
    """Uses records up, as one has come. The window of what is left runs from the oldest of that."""
    ids = [task.id for task in used]
    parts = without(wait.parts, ids)
    left = [task.completed or 0 for tasks in parts for task in tasks]
    due = min(left) + join.within_us if left and join.within_us is not None else wait.due if is_spent else None
    # Beside the firing, where no other flow has to hear that it is kept no more.
    flow = home(at, wait) if wait.keeps else record.flow
    at.add(flow, f.Met(wait.key, ids, is_spent, due, keeper_of(at, join, parts)))


# -- the kinds ----------------------------------------------------------------------


def _all(coming: Coming, part: int, place: Place) -> bool:
    join = coming.join
    is_absent = join.parts[part].is_absent
    keeps_newest = is_absent and join.parts[part].where_joined is None
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
    _met(coming.at, join, coming.record, wait, parts)
    if not _finds_absent(coming, wait, bound):
        coming.fire(parts, {**named(join, place.values), **aliased(join, bound)})
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
        scope = own_scope(one, record, names)
        variables = coming.at.state.flows[record.flow].variables
        where = pattern.where
        if where is not None and coming.edition.value(where, Scope(record, scope.bindings, variables)) is not True:
            continue
        values = [coming.edition.value(key, scope) for key in one.keys]
        if wait_key(coming.rule.name, place.scope, values) == place.key:
            yield number


def _completes(
    at: Stepping,
    found: Listening,
    record: Task,
    edition: Edition,
    arguments: Mapping[str, Json],
    values: Sequence[Json],
    key: str,
    kept: Wait,
) -> Firing | None:
    """Fires, where the record is the last that was missing, of parts that nothing else decides: it is never kept."""
    completed = record.completed or 0
    parts: list[Task] = []
    ids: list[str] = []
    is_whole = not kept.keeps
    for tasks in kept.parts:
        first = record  # For each that is missing: twice, where more are, or it came before.
        if tasks:
            first = tasks[0]
            for task in tasks:
                if (task.completed or 0) > completed:
                    return None  # It was heard of late: the windows are looked at.
            if len(tasks) > 1:
                is_whole = False
        parts.append(first)
        ids.append(first.id)
    if len(ids) != found.count or kept.parts[found.part] or ids.count(record.id) > 1:
        return None  # The rule has other parts than when the first came, or more are missing.
    if found.count > 2 and len(set(ids)) < found.count:
        return None
    names: dict[str, Json | Task] = {**arguments}
    for number, name in found.names:
        names[name] = values[number]
    for number, name in found.aliases:
        names[name] = parts[number]
    if is_whole:
        # Nearly always nothing is left.
        at.add(record.flow, f.Met(key, ids, False, None, "", True))
    elif (wait := at.state.waits.wait(key)) is not None:
        _met(at, found.of.trigger, record, wait, parts)  # type: ignore[arg-type]
    match = Match(found.of, record, None, Met(tuple(parts), names))
    return fire(at, match, edition, at.state.flows[record.flow], False, arguments, record.call)


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
    names = {**coming.names, **aliased(coming.join, bound)}
    variables = coming.at.state.flows[coming.record.flow].variables
    scope = own_scope(part, task, names)
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
    _met(coming.at, join, coming.record, wait, [task for tasks in wait.parts for task in tasks], is_spent=True)
    coming.fire([coming.record], {**named(join, place.values), **aliased(join, {part: coming.record})})
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
    _met(coming.at, join, coming.record, wait, parts)
    coming.fire(parts, {**named(join, place.values), **aliased(join, bound)})
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
    scope = own_scope(part, record, coming.names)
    variables = at.state.flows[record.flow].variables
    value = edition.value(where, Scope(record, scope.bindings, variables)) if where is not None else True
    is_failure = record.outcome in FAILURES
    if record.outcome not in part.pattern.outcomes and value is not False:
        # Where the clause cannot be said, of a result that is not there, it is one of the set.
        at.add(record.flow, f.Gathered(key))
        if has_else(coming.rule):
            coming.fire_else({}, {})
        return True, is_failure and has_else(coming.rule)
    if tally.open == 0:
        at.add(record.flow, f.Gathered(key))
        coming.fire([record], {})
    return True, is_failure and part.pattern.outcomes != FINISHED


def gather_empty(at: Stepping, firing: Firing, edition: Edition, fired: list[str]) -> None:
    """A `for` emitted none: sets of that type of which nothing was ever emitted are full at once."""
    record = firing.record
    for type in firing.empty:
        for rule, key, names in list(sets_with(at, edition, type, record.flow, firing.call)):
            if key not in at.state.waits.tallies:
                at.add(record.flow, f.Gathered(key))
                assert isinstance(rule.trigger, Join)
                call = firing.call or record.call
                Coming(at, rule, rule.trigger, record, edition, names, fired, call).fire([record], {})
