"""What waits in an engine: half-filled joins and timers, to be looked at and, of timers, to be set."""

from __future__ import annotations

from typing import Literal

from then.app.editions import Editions
from then.app.objects import set_object, timer_object, wait_object
from then.core.causes import SetTimer
from then.core.rules import RuleSet
from then.core.standing import OpenSet, open_sets
from then.core.state import State
from then.core.tasks import Body
from then.core.waits import TimerState, Wait
from then.loop import Loop


class Waits:
    """The part of an engine that is asked for what waits; an engine is one."""

    editions: Editions

    @property
    def loop(self) -> Loop:
        """What drives the core."""
        raise NotImplementedError

    def joins(self) -> list[Body]:
        """The half-filled joins, and the sets that wait, as `andthen joins --json` has them.

        Of each: `rule`, `key` (a list of values), `parts` with what came, `missing` types, `until` (ISO 8601); of a
        set, `awaited`: the `count`, the ids of the first, `records`, and how many ended `unseen` by it.

        Cost: grows with the joins that wait; where a set waits, with all that is live.
        """
        return [
            wait_object(one, self.editions[version].rules)
            if isinstance(one, Wait)
            else set_object(one, self.editions[version].rules)
            for one, version in self.loop.look(_waiting)
        ]

    def timers(self) -> list[Body]:
        """The timers of the rules in force, as `andthen timers --json` has them.

        Of each: `name`, `type`, `when` in words, `next` (ISO 8601), `flow` (the last), `paused`, `queued`.
        """
        found, version = self.loop.look(lambda state: (list(state.waits.timers.values()), state.version))
        rules = self.editions[version].rules
        return [_timer(timer, rules) for timer in found]

    def set_timer(self, name: str, what: Literal["pause", "resume", "fire"]) -> str | None:
        """Pauses a timer, takes it up again, or fires it now; durable when this returns.

        Returns:
            The flow that it started; None where the last one lives, and `overlap` has it wait or skip the time.

        Raises:
            ConfigError: no timer of that name is in force.
        """
        posted = self.loop.ask(SetTimer(name, what))
        return posted.flow if posted is not None else None


def _waiting(state: State) -> list[tuple[Wait | OpenSet, str]]:
    """What waits for records, each with the version of the rules that it stands under."""
    waits = (wait for wait in state.waits.open_waits() if not wait.answered or any(wait.parts))
    found: list[Wait | OpenSet] = [*waits, *open_sets(state)]
    return [(one, state.flows[one.flow].version if one.flow in state.flows else state.version) for one in found]


def _timer(timer: TimerState, rules: RuleSet) -> Body:
    return timer_object(timer, rules.timers.get(timer.name))
