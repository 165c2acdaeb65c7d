"""What waits in an engine: half-filled joins and timers, to be looked at and, of timers, to be set."""

from __future__ import annotations

from typing import Literal

from then.app.editions import Editions
from then.app.objects import timer_object, wait_object
from then.core.causes import SetTimer
from then.core.rules import RuleSet
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
        """The half-filled joins, as `andthen joins --json` has them.

        Of each: `rule`, `key` (a list of values), `parts` with what came, `missing` types, `until` (ISO 8601).

        Cost: grows with the joins that wait.
        """
        found = self.loop.look(
            lambda state: [
                (wait, state.flows[wait.flow].version if wait.flow in state.flows else state.version)
                for wait in state.waits.open_waits()
                if not wait.answered or any(wait.parts)
            ]
        )
        return [self._wait(wait, version) for wait, version in found]

    def _wait(self, wait: Wait, version: str) -> Body:
        return wait_object(wait, self.editions[version].rules)

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


def _timer(timer: TimerState, rules: RuleSet) -> Body:
    return timer_object(timer, rules.timers.get(timer.name))
