"""What a session looks at: one record of a flow, now or at a moment of its past. Nothing is changed."""

from __future__ import annotations

from then.core import facts as f
from then.core.errors import ConfigError
from then.core.jumps import answers
from then.core.tasks import Body
from then.debugger.access import Access
from then.debugger.past import entry_at
from then.debugger.view import View


class Sight:
    """One record of one flow in view."""

    def __init__(self, access: Access, flow: str) -> None:
        self.access = access
        self.flow = flow
        self.at: int | None = None
        """The entry after which the past is looked at; None: now."""
        self._id: str | None = None
        self._id_then: str | None = None
        """The record that was taken into view in the past; None: the one that the entry is about."""
        self._edits: dict[str, Body] = {}
        """What the record in view is to go on with, by `body` and `result`."""
        self._view: View | None = None
        self._chosen: tuple[View, int] | None = None

    @property
    def view(self) -> View:
        """What there is to see."""
        if self._view is None:
            if self.at is None:
                edits = self._edits
                self._view = View(self.access, self.flow, self._id, None, edits.get("body"), edits.get("result"))
            else:
                id = self._id_then or _subject(self.access, self.at)
                self._view = View(self.access, self.flow, id, self.at)
        return self._view

    @property
    def frame(self) -> int:
        """The floor of the call stack that is looked at; 0: the record itself."""
        return self._chosen[1] if self._chosen is not None and self._chosen[0] is self._view else 0

    @property
    def framed(self) -> View:
        """What there is to see from that floor: the call, and the names of the rule that made it."""
        number = self.frame
        return View(self.access, self.flow, self.view.stack()[number].task.id, self.at) if number else self.view

    def choose(self, frame: int) -> None:
        """Looks from another floor of the call stack.

        Raises:
            ConfigError: there is none.
        """
        last = len(self.view.stack()) - 1
        if not 0 <= frame <= last:
            raise ConfigError(f"no frame {frame}: " + (f"there are 0 to {last}" if last else "this runs in no call"))
        self._chosen = (self.view, frame)

    def look_at(self, id: str) -> None:
        """Takes another record of the flow into view, by the beginning of its id or by its type."""
        records = self.view.flow.records
        found = [one for one in records if one.startswith(id)]
        found = found or [one for one, record in records.items() if record.task.type == id][-1:]
        if len(found) != 1:
            raise ConfigError(
                f'"{id}" is {"no record" if not found else "several records"} of this flow; `info tasks` lists them'
            )
        self._show(found[0])

    def back(self, *, to_hit: bool = False) -> None:
        """One entry of the flow back in the journal; or to where a breakpoint held a record.

        Raises:
            ConfigError: there is nothing before.
        """
        entries = self.access.history().seqs(self.flow)
        before = [seq for seq in entries if seq < (self.at if self.at is not None else entries[-1])]
        if to_hit:
            before = [seq for seq in before if any(_is_stop(fact) for fact in entry_at(self.access.journal, seq).facts)]
        if not before:
            raise ConfigError("nothing of this flow was before that" if not to_hit else "no stop was before that")
        self.at, self._view, self._id_then = before[-1], None, None

    def forward(self, *, to_end: bool = False) -> None:
        """One entry on, or to now."""
        entries = self.access.history().seqs(self.flow)
        later = [seq for seq in entries if self.at is not None and seq > self.at]
        self.at = later[0] if len(later) > 1 and not to_end else None
        self._view = self._id_then = None

    def jump_targets(self) -> list[str]:
        """The rules that the record in view can be answered by, those of its call first."""
        view = self.view
        return list(answers(view.edition, view.state, view.task))

    def refresh(self) -> None:
        """Looks again: something was changed beside."""
        self._view = None

    def _show(self, id: str, *, keeps: bool = False) -> None:
        if not keeps:
            self._edits = {}
        self._view = None
        if self.at is None:
            self._id = id
        else:
            self._id_then = id

    def _check_now(self) -> None:
        if self.at is not None:
            raise ConfigError("this is the past, which nobody changes; `now` leads back")


def _subject(access: Access, seq: int) -> str | None:
    """The record that an entry of the journal is about: what is held, matched or ended in it, else the last one born."""
    born: str | None = None
    facts = entry_at(access.journal, seq).facts
    stopped = next((fact.id for fact in facts if isinstance(fact, f.Hit) and fact.stops), None)
    if stopped is not None:
        return stopped
    for fact in facts:
        match fact:
            case (
                f.Asked(id=id)
                | f.Awaited(id=id)
                | f.Held(id=id)
                | f.Completed(id=id)
                | f.Taken(id=id)
                | f.Released(id=id)
                | f.Entered(id=id)
            ):
                return id
            case f.Posted(task=task) | f.Emitted(task=task):
                born = task.id
            case _:
                pass
    return born


def _is_stop(fact: f.Fact) -> bool:
    return isinstance(fact, f.Hit) and fact.stops
