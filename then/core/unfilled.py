"""Joins that can no longer be filled: whether that is so, the `else` that answers, and what a flow's end leaves of them."""

from __future__ import annotations

from typing import Final

from then.core import facts as f
from then.core.coming import Coming, Place, aliased, home, named, own_scope, says_no
from then.core.edition import Edition
from then.core.ids import id_text
from then.core.listening import Listening
from then.core.rules import EVENT, Join, Part, family_covers
from then.core.state import FAILURES, State
from then.core.waits import wait_key

_WELL: Final = frozenset(("done", EVENT))


def cannot_be_filled(coming: Coming, place: Place, part: int) -> bool:
    """A record of a part ended otherwise. Where no other lives that could fill it, the `else` runs. Whether it did."""
    at, record, join = coming.at, coming.record, coming.join
    of = join.parts[part]
    wait = at.state.waits.wait(place.key)
    if (
        (wait is not None and any(wait.parts[part : part + 1]))
        or says_no(coming, of, record)
        or _another_lives(coming, place, of)
    ):
        return False
    came = wait.parts[: len(join.parts)] if wait is not None else []
    bound = {number: tasks[0] for number, tasks in enumerate(came) if tasks}
    if wait is not None:
        at.add(home(at, wait), f.Parted(place.key))
    others = [one for number, one in enumerate(join.parts) if number not in bound and not one.is_absent]
    if any(_another_lives(coming, place, one) for one in others if one is not of):
        due = (record.completed or 0) + join.within_us if join.within_us is not None else None
        at.add(record.flow, f.Parted(place.key, due=due, answered=id_text(at.state.last_id)))
    bound[part] = record
    coming.fire_else(named(join, place.values), aliased(join, bound))
    return record.outcome in FAILURES


def is_answered(coming: Coming, place: Place, found: Listening) -> bool:
    """Whether the `else` has run for what this record was born with: it ran once, whatever else of that ends otherwise."""
    wait = coming.at.state.waits.wait(place.key)
    if wait is None or not wait.answered or coming.record.key > wait.answered:
        return False
    return not (found.ends_otherwise and says_no(coming, coming.join.parts[found.part], coming.record))


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
        if (place.scope and place.scope not in (live.flow, live.call)) or says_no(coming, part, live):
            continue
        own = [coming.edition.value(expr, own_scope(part, live, coming.names)) for expr in part.keys]
        if wait_key(coming.rule.name, place.scope, own) in ("", place.key):
            return True
    return False


def left_unfilled(state: State, flow: str, edition: Edition) -> list[str] | None:
    """The rules whose joins and sets end with a flow though a part of them came; None where there are none.

    Told of `all of` and of sets. That fewer came than `N times` says, or no failure, or none that fits a clause, is as often meant.
    """
    return [key.partition("\0")[0] for key in state.waits.ties.of(flow) if _is_begun(state, key, edition)] or None


def _is_begun(state: State, key: str, edition: Edition) -> bool:
    tally = state.waits.tallies.get(key)
    if tally is not None:
        return tally.open > 0 and not tally.is_closed
    wait = state.waits.wait(key)
    if wait is None:
        return False  # A chain: what did not come of that has ended otherwise.
    rule = edition.rule(wait.rule)
    join = rule.trigger if rule is not None else None
    if not isinstance(join, Join) or join.kind != "all":
        return False
    pairs = [(part, tasks) for part, tasks in zip(join.parts, wait.parts, strict=False) if not part.is_absent]
    missing = [part for part, tasks in pairs if not tasks]
    return len(missing) < len(pairs) and all(map(_is_expected, missing))


def _is_expected(part: Part) -> bool:
    """Whether it is to come in a flow in which all goes well, whatever is in it."""
    return not part.pattern.outcomes.isdisjoint(_WELL) and part.pattern.where is None and part.where_joined is None
