"""The breakpoints that a session sets for itself: for a step, a watched variable, failures.

They are breakpoints like any other, each for the one flow, kept in the journal
under a name that tells what it is for. So what a session asks for is exactly as
durable as a breakpoint is: the hold that a step leads to survives the session,
its client and the engine. A client that is killed takes them along, since the
engine sees its connection end; where the engine is killed as well they stay,
stop once, and expire after an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from then.core import facts as f
from then.core.errors import ConfigError, ThenError
from then.core.tasks import Json
from then.core.values import CannotSay
from then.debugger.access import Access
from then.debugger.past import entry_at
from then.debugger.view import View
from then.language.phrases import value_text

STEP: Final = "step"
CATCHES: Final[Mapping[str, str]] = {
    "failed": "after any failed or timed out",
    "unhandled": "after any failed or timed out",
    "no-match": "after any",
}
"""What may be stopped on, and where that is looked at."""
_EXPIRES: Final = "expires 1h"


@attrs.define
class Watch:
    """A flow variable, or a place in one, that is watched."""

    path: str
    value: Json | CannotSay
    """As it was when it was last looked at."""


class OwnBreakpoints:
    """Those of one session on one flow.

    Args:
        who: stands in the journal as who set them.
    """

    def __init__(self, access: Access, flow: str, who: str) -> None:
        self._access = access
        self._flow = flow
        self._who = who
        self._count = 0
        self.steps: list[str] = []
        """The names of those that the step under way stops at."""
        self.catches: dict[str, str] = {}
        """By what is stopped on, the name."""
        self.watches: dict[str, Watch] = {}
        """By name."""

    def stop_once(self, *places: str) -> None:
        """Stops once, at the next record for which one of the places is right."""
        self.take_step_back()
        self.steps += [self._add(STEP, f"{place} once {_EXPIRES}") for place in places]

    def take_step_back(self) -> None:
        """The step is over."""
        while self.steps:
            self._remove(self.steps.pop())

    def catch(self, what: str) -> None:
        """Stops on records that failed, that failed and nothing takes up, or on which nothing fires.

        Raises:
            ConfigError: it is none of these.
        """
        if what not in CATCHES:
            raise ConfigError(f'catch "{what}": one of {", ".join(CATCHES)} is needed')
        if what not in self.catches:
            self.catches[what] = self._add(what.replace("-", "_"), CATCHES[what])

    def watch(self, path: str, view: View) -> None:
        """Stops at the first record that ends after this flow variable was written with another value."""
        path = path.removeprefix("flow.")
        value = view.value(f"flow.{path}")
        self.watches[self._add("watch", _changed(path, value))] = Watch(path, value)

    def forget(self, what: str) -> None:
        """Takes back a catch or a watch, by its name or by what it is for.

        Raises:
            ConfigError: there is none.
        """
        for kind, name in self.catches.items():
            if what in (kind, name):
                del self.catches[kind]
                self._remove(name)
                return
        for name, watch in self.watches.items():
            if what.removeprefix("flow.") == watch.path or what == name:
                del self.watches[name]
                self._remove(name)
                return
        raise ConfigError(f'nothing stops on "{what}"; `info b` shows what does')

    def changes(self, view: View) -> list[tuple[Watch, Json | CannotSay, str]]:
        """Watched places that hold another value now, with that and what wrote it; they are watched anew."""
        found = []
        for name, watch in list(self.watches.items()):
            value = view.value(f"flow.{watch.path}")
            if _same(value, watch.value):
                continue
            found.append((attrs.evolve(watch), value, _writer(view, watch.path)))
            watch.value = value
            if view.flow.flow.outcome is None:
                del self.watches[name]
                self._remove(name)
                self.watches[self._add("watch", _changed(watch.path, value))] = watch
        return found

    def clear(self) -> None:
        """All of them are taken away; what they hold stays held."""
        self.take_step_back()
        for name in (*self.catches.values(), *self.watches):
            self._remove(name)
        self.catches.clear()
        self.watches.clear()

    def _add(self, what: str, place: str) -> str:
        taken = self._access.history().state.holds.points
        self._count += 1
        while (name := f"{what}_{self._flow}_{self._count}") in taken:
            self._count += 1
        self._access.call("break_add", name=name, place=place, flow=self._flow, who=self._who, mine=True)
        return name

    def _remove(self, name: str) -> None:
        try:
            self._access.call("break_rm", name=name)
        except ThenError:
            # Somebody took it away, or the engine has gone: it stops nothing more, or expires.
            return


def _changed(path: str, value: Json | CannotSay) -> str:
    """The place of a breakpoint that stops when the variable is not what it was."""
    if isinstance(value, CannotSay):
        return f"after any where not (flow.{path} is missing)"
    return f"after any where flow.{path} is missing or flow.{path} != {value_text(value)}"


def _same(one: Json | CannotSay, other: Json | CannotSay) -> bool:
    if isinstance(one, CannotSay) or isinstance(other, CannotSay):
        return isinstance(one, CannotSay) and isinstance(other, CannotSay)
    return bool(one == other)


def _writer(view: View, path: str) -> str:
    """The rules and the record of the entry that wrote a variable last."""
    name = path.replace("[", ".").partition(".")[0]
    for seq in reversed(view.entries):
        facts = entry_at(view.access.journal, seq).facts
        if any(isinstance(fact, f.Saved) and fact.name == name for fact in facts):
            matched = next((fact for fact in facts if isinstance(fact, f.Matched)), None)
            if matched is None:
                return f"entry {seq}"
            task = view.flow.records[matched.id].task
            return f"{', '.join(matched.rules)} on {task.type} ({task.id})"
    return ""
