"""What there is to see of a flow at one moment: a record, what is round it, and what the rules would do with it."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from msgspec.structs import replace

from then.analysis.history import FlowHistory
from then.core.copies import copied_whole
from then.core.edition import Edition
from then.core.errors import ConfigError, RuleError, UnknownId
from then.core.evaluate import Scope, compile_value
from then.core.filters import Expr, In
from then.core.holds import Hold
from then.core.listening import match_within
from then.core.rules import Rule
from then.core.source import Span
from then.core.tasks import Body, Json, Task
from then.core.values import CannotSay
from then.debugger.access import Access
from then.debugger.places import lines_of
from then.debugger.preview import Preview, first_fired, preview
from then.debugger.script import Name, Whereabouts, file_of, whereabouts


class Frame(NamedTuple):
    """One floor of the call stack."""

    task: Task
    """The record; beneath it the calls that it runs in, the innermost first."""
    rule: str | None
    """What brought it forth."""
    span: Span | None
    """Where that stands; of a function of a script the line that it is at."""
    function: str | None = None
    """Of a script, which is the frames of its functions."""
    names: tuple[Name, ...] = ()
    """What that function's names hold."""


class View:
    """A flow at one moment, with one of its records in the middle.

    Args:
        id: of the record; None: the one that matters most, a failure that nothing took up or the last.
        at: the entry of the journal after which it is looked at; None: now.
        body: what the record is to go on with in the place of its body.
        result: the same of its result.
    """

    def __init__(
        self,
        access: Access,
        flow: str,
        id: str | None = None,
        at: int | None = None,
        body: Body | None = None,
        result: Body | None = None,
    ) -> None:
        self.access = access
        self.at = at
        self._body, self._result = body, result
        reader = access.history(at)
        self.state = reader.state
        self.flow: FlowHistory = reader.flow(flow)
        self.entries = reader.seqs(flow)
        """Of the flow, up to this moment."""
        self.id = id if id is not None else self._foremost()
        if self.id not in self.flow.records:
            raise UnknownId(self.id)

    def _foremost(self) -> str:
        loose = [id for id in self.flow.flow.untaken if id in self.flow.records]
        return loose[0] if loose else next(reversed(self.flow.records))

    @property
    def edition(self) -> Edition:
        """The rules that the flow stands under."""
        return self.access.editions[self.flow.flow.version]

    @cached_property
    def task(self) -> Task:
        """The record, as it would go on."""
        task = self.flow.records[self.id].task
        body = self._body if self._body is not None else task.body
        return replace(task, body=body, result=self._result if self._result is not None else task.result)

    @property
    def hold(self) -> Hold | None:
        """The stop that holds it."""
        return self.flow.holds.get(self.id)

    @property
    def variables(self) -> dict[str, Json]:
        """The flow's."""
        live = self.state.flows.get(self.flow.flow.id)
        return dict(live.variables if live is not None else self.flow.variables)

    @cached_property
    def preview(self) -> Preview:
        """What its release would bring about."""
        if not self.task.is_held:
            return Preview()
        return preview(copied_whole(self.state), self.access.editions, self.id, self._body, self._result)

    @cached_property
    def fired(self) -> tuple[str, ...]:
        """The rules and steps that fired on it, or would fire on its release."""
        if not self.task.is_held:
            return tuple(self.flow.records[self.id].fired)
        state = copied_whole(self.state)
        would = first_fired(state, self.access.editions, self.id, self._body, self._result)
        return would or tuple(self.flow.records[self.id].fired)

    # -- places ------------------------------------------------------------------------

    @cached_property
    def rule(self) -> str | None:
        """The rule, or step, that matters: the one that it is held on, that fires or fired first, or that brought it forth."""
        hold = self.hold
        if hold is not None and hold.place.startswith("rule "):
            return hold.place.removeprefix("rule ")
        return self.fired[0] if self.fired else self.task.rule

    @cached_property
    def script(self) -> Whereabouts | None:
        """Where the script is that the record runs; None where it runs none, or has not begun, or has ended."""
        recorded = self.state.waits.scripts.recorded(self.id)
        has_begun = recorded is not None or (self.hold is not None and self.hold.step is not None)
        file = file_of(self.task.type, self.edition.rules) if self.task.outcome is None and has_begun else None
        if file is None:
            return None
        return whereabouts(self.task, recorded, self.access.root(self.flow.flow.version), file)

    @property
    def here(self) -> Span | None:
        """The line that matters: of a script where it is, else where the rule in view stands."""
        script = self.script
        if script is not None and script.frames:
            return Span(script.file, script.frames[0].line)
        return self.span(self.rule)

    def declared(self, name: str | None) -> Rule | None:
        """The rule of a name such as `pack`, `pack/1/else`; None where these rules have none."""
        return self.edition.rules.rule(name.partition("/")[0]) if name is not None else None

    def span(self, name: str | None) -> Span | None:
        """Where a rule stands; of a later step of one, where that begins."""
        return self.edition.rules.span(name) if name is not None else None

    def lines(self, span: Span) -> list[str]:
        """The text that a place is in; empty where it is not known."""
        return lines_of(self.edition.rules, span, self.access.root(self.flow.flow.version))

    def stack(self) -> list[Frame]:
        """The record, and the calls that it runs in, the innermost first."""
        frames = [Frame(self.task, self.rule, self.span(self.rule))]
        script = self.script
        if script is not None and script.frames:
            frames = [
                Frame(self.task, self.task.rule, Span(script.file, one.line), one.function, one.names)
                for one in script.frames
            ]
        for call in self.flow.stack(self.task):
            frames.append(Frame(call, call.rule, self.span(call.rule)))
        return frames

    # -- values --------------------------------------------------------------------------

    def bindings(self) -> dict[str, Json | Task]:
        """What the names of the rule that matters stand for, as far as one record tells."""
        found: dict[str, Json | Task] = {}
        task = self.task
        chain = self.state.chains.get(task.cont or "")
        if chain is not None:
            found |= chain.records | chain.values
            found |= {alias: task for alias, id in chain.aliases.items() if id == task.id}
        if task.outcome is None:
            return found
        frame = self.state.waits.frames.get(task.call or "")
        if frame is not None:
            found |= frame.body
            within = self.edition.within.get(frame.type, ())
            for match in match_within(within, task, self.variables, frame.body):
                found = match.bindings | found
        for match in self.edition.index.match(task, self.variables):
            found = match.bindings | found
        return found

    def value(self, text: str) -> Json | CannotSay:
        """What an expression of the language comes to here: over the record, names of the rule, and variables.

        Raises:
            ConfigError: it is none.
        """
        refusals = []
        for place, seen_from in [(self._place(), one) for one in (*self._rules(), None)] + [("after any", None)]:
            try:
                expr = _expression(place, text, self.edition, seen_from)
            except RuleError as error:
                refusals.append(error)
                continue
            return compile_value(expr)(Scope(self.task, self.bindings(), self.variables))
        raise ConfigError(f"{text}: {refusals[-2].message}")

    def _place(self) -> str:
        return f"{'before' if self.task.outcome is None else 'after'} {self.task.type}"

    def _rules(self) -> list[str]:
        """The rules whose names are known here: what fires on it, and of a call where that returns to."""
        task = self.task
        chain = self.state.chains.get(task.cont or "")
        if task.is_call and task.outcome is None and chain is not None and chain.step > 0:
            return [f"{chain.rule}/{chain.step}"]
        is_fired = task.outcome is not None and self.rule != task.rule and "/late" not in (self.rule or "")
        return [self.rule] if self.rule is not None and self.declared(self.rule) is not None and is_fired else []


def check_place(place: str, edition: Edition) -> None:
    """Nothing, where a breakpoint may stand there.

    Raises:
        ConfigError: what is wrong with it.
    """
    from then.language.breakpoints import read_breakpoint

    head = "breakpoint look "
    try:
        read_breakpoint(f"{head}{place}", edition.rules)
    except RuleError as error:
        column = f"column {error.span.column - len(head)}: " if error.span is not None else ""
        raise ConfigError(f"{place}: {column}{error.message}") from error


def _expression(place: str, text: str, edition: Edition, seen_from: str | None) -> Expr:
    from then.language.breakpoints import read_breakpoint

    item = f"breakpoint look {place} where ({text}) in []"
    where = read_breakpoint(item, edition.rules, seen_from=seen_from).where
    if not isinstance(where, In):
        raise RuleError("one expression is needed")
    return where.item
