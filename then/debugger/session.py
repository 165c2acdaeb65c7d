"""A session: one flow, stopped, changed and let go on. Without terminal and without socket.

Theory of operation. A flow stops where a breakpoint holds a record of it, and
goes on when that is released: the core does both (`then.core.holding`), and a
session adds no way of stopping. A step is a breakpoint for this flow that stops
once (`then.debugger.own`), set before the release, so that nothing passes
between the two. What a record is changed to is handed to its release.

1. A session holds nothing in memory that a flow needs to go on.
2. It looks at one record: the one that it stopped for last, or was told to.
3. Looking at the past changes nothing, and nothing is changed from there.

Steps, all to a record that has ended and is about to be matched: `step` to the
next of the flow, `next` to the next outside calls that are entered meanwhile,
`finish` to the next after the innermost call is over. From a script both `step`
and `next` go to its next step (`run`, `wait`, …), before that is taken, or to its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

import attrs

from then.core import facts as f
from then.core.errors import ConfigError, ThenError, UnknownName, nearest
from then.core.holds import Hold
from then.core.state import FAILURES
from then.core.tasks import Body, Json, Outcome, Task, check_json, own_copy
from then.core.values import CannotSay, json_text
from then.debugger.access import Access
from then.debugger.own import OwnBreakpoints, Watch
from then.debugger.script import file_of
from then.debugger.sight import Sight
from then.debugger.view import View, check_place

How = Literal["continue", "step", "next", "finish", "until"]
_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*", re.ASCII)
_STEP: Final = re.compile(r"^\w+|\.\w+|\[\d+\]", re.ASCII)
WAIT_S: Final = 10.0
"""How long one question to the engine waits; then it is asked again."""


@attrs.frozen
class Stop:
    """Why a flow stands still."""

    reason: Literal["breakpoint", "step", "watch", "catch", "still", "ended"]
    text: str
    """One line."""
    flow: str
    id: str | None = None
    """The record; None where the flow ended, or waits for something else."""
    breakpoint: str | None = None


def looking_back(view: View) -> Stop:
    """Where one looks back at a flow: what became of it so far."""
    over = view.flow.flow
    records = f"{over.records} record{'' if over.records == 1 else 's'}"
    return Stop("ended", f"flow {over.id} {over.outcome or over.state}, {records}", over.id, view.id)


@attrs.frozen
class Logged:
    """What a logpoint said in the flow."""

    id: str
    """The record's."""
    breakpoint: str
    text: str


class Session(Sight):
    """One flow under the eyes of a person.

    Args:
        who: stands in the journal beside what is changed.
    """

    def __init__(self, access: Access, flow: str, who: str = "") -> None:
        super().__init__(access, flow)
        self.who = who
        self.own = OwnBreakpoints(access, flow, who)
        self.stop: Stop | None = None
        """The last one; None while it goes on."""
        self._judged: View | None = None
        self._known: list[str] = []
        """What was held when a step began: it is not what the step is for."""
        self.logged: list[Logged] = []
        """What logpoints said and `hear` did not take."""
        self.hear: Callable[[Logged], None] = self.logged.append
        """Takes what logpoints say, as soon as it is heard of."""
        self._heard = access.journal.last

    # -- going on ------------------------------------------------------------------------

    def go(self, how: How = "continue", place: str = "", rule: str | None = None) -> None:
        """Lets the record in view go on, as it was changed; `wait` tells of the next stop.

        Args:
            place: of `until`: a task, an event, or a whole place such as `after pay where amount > 5`.
            rule: it alone answers the record, one of `jump_targets`.

        Raises:
            ConfigError: the record is not held, a place is none, or this is the past.
        """
        self._check_now()
        view = self.view
        self._known = []
        if how != "continue":
            held = self.access.history().state.holds.stops.values()
            others = [
                hold.id for hold in held if hold.flow == self.flow and not hold.is_released and hold.id != view.id
            ]
            self._known = others
            places = self._places(how, place, view)
            for one in places:
                check_place(one, view.edition)
            self.own.stop_once(*places)
        is_released = self._free_fork()
        if view.task.is_held and view.hold is not None:
            try:
                jump = {"rule": rule} if rule is not None else {}
                self.access.call("continue", id=view.id, **self._given(), **jump)
            except ThenError:
                self.own.take_step_back()
                raise
            except KeyboardInterrupt:
                self._going()  # Whether it was heard is not known: what holds the record still is told by `wait`.
                raise
        elif view.flow.flow.held is not None and not is_released:
            self.access.call("continue", id=self.flow)
        self._going()

    def _free_fork(self) -> bool:
        """A fork that is held since it began goes on, but for what is held in it. Whether it did."""
        flow = self.view.flow.flow
        if flow.held is None or flow.origin is None:
            return False
        self.access.call("continue", id=self.flow)
        return True

    def _going(self) -> None:
        self._edits, self._view, self._id, self.stop = {}, None, None, None

    def _places(self, how: How, place: str, view: View) -> tuple[str, ...]:
        task = view.task
        is_script = task.outcome is None and file_of(task.type, view.edition.rules) is not None
        if is_script and how in ("step", "next"):
            mine = f'where record.id == "{task.id}"'
            return f"on step of {task.type} {mine}", f"after {task.type} {mine}"
        return (self._place(how, place, view),)

    def _place(self, how: How, place: str, view: View) -> str:
        calls = [call.id for call in view.flow.stack(view.task)]
        if how == "step":
            return "after any"
        if how == "until":
            if " " in place.strip():
                return place
            rules = view.edition.rules
            is_started = place in rules.tasks or place in rules.procedures or place.endswith(".*")
            return f"{'before' if is_started else 'after'} {place}"
        if how == "finish":
            if not calls:
                raise ConfigError("this runs in no call: `continue` goes to the next breakpoint, or to the end")
            calls = calls[1:]
        within = "".join(f' or record.call == "{id}"' for id in calls)
        return f"after any where record.call is null{within}"

    def pause(self) -> None:
        """Stops the flow at its next record that ends; what runs is not stopped."""
        self._check_now()
        self.own.stop_once("after any")

    def wait(self, timeout_s: float | None = None) -> Stop | None:
        """Waits for the next stop; None where none came in time.

        What somebody else held, or a breakpoint of any kind, is a stop. A record that is held for a reason of
        this session alone which then proves not to be there is let go on.
        """
        left = timeout_s
        while self.stop is None:
            patience = WAIT_S if left is None else min(left, WAIT_S)
            self._listen()
            told = self.access.call("wait", flow=self.flow, known=self._known, timeout_s=patience)
            self._listen()
            self.stop, is_moved = self._judge(told)
            is_moved |= told["is_said"]
            if self.stop is None and left is not None and not is_moved:
                left -= patience
                if left <= 0:
                    return None
        # What was seen to judge it is what there is to see, but for the breakpoint of a step.
        seen = self._judged if not self.own.steps else None
        self.own.take_step_back()
        self._id, self._view, self._judged = self.stop.id, seen, None
        return self.stop

    def _listen(self) -> None:
        """Hands on what logpoints of the flow have said since."""
        for entry in self.access.journal.read(self._heard):
            self._heard = entry.seq
            page = f.decode(entry.data)
            for fact in page.facts if page.flow == self.flow else ():
                if isinstance(fact, f.Hit) and fact.text is not None:
                    self.hear(Logged(fact.id, fact.name, fact.text))

    # -- why it stands -------------------------------------------------------------------

    def _judge(self, told: Body) -> tuple[Stop | None, bool]:
        """Why it stands; and whether something was let go on that was held for nothing."""
        if told["is_over"]:
            flow = self.access.history().flow(self.flow).flow
            return Stop("ended", f"flow {flow.id} ended {flow.outcome}", flow.id), False
        held: list[str] = told["held"]
        fresh = [id for id in held if id not in self._known]
        is_moved = False
        for id in fresh or (held if told["still"] is not None else ()):
            view = View(self.access, self.flow, id)
            stop = self._why(view)
            if stop is not None:
                self._judged = view if stop.reason == "breakpoint" else None
                return stop, is_moved
            self.access.call("continue", id=id)
            is_moved = True
        if told["still"] is not None and not held:
            return Stop("still", told["still"], self.flow), is_moved
        return None, is_moved

    def _why(self, view: View) -> Stop | None:
        """Why a record is held; None where that was for a reason of ours that is not there."""
        hold, own = view.hold, self.own
        if hold is None:
            return None
        name, where = hold.breakpoint, described(hold, view.task)
        hits = [hit for _, hit in view.flow.records[view.id].hits if hold.is_at(_kind(hit.place))]
        met = {hit.name for hit in hits if hit.unsaid is None and hit.text is None}
        ours = {*own.steps, *own.catches.values(), *own.watches}
        if name not in ours:
            return Stop("breakpoint", f"breakpoint {name}, hit {hold.hit}: {where}", self.flow, view.id, name)
        if any(point in met for point in own.watches) and (changes := own.changes(view)):
            told = "; ".join(changed_text(*change) for change in changes)
            return Stop("watch", f"{told}: {where}", self.flow, view.id, name)
        for what, point in own.catches.items():
            if point in met and is_caught(what, view):
                return Stop("catch", f"{what}: {where}", self.flow, view.id, name)
        if not met.isdisjoint(own.steps):
            return Stop("step", f"step: {where}", self.flow, view.id, name)
        others = sorted(met - ours)
        return Stop("breakpoint", f"breakpoint {others[0]}: {where}", self.flow, view.id, others[0]) if others else None

    # -- changing ------------------------------------------------------------------------

    def set(self, path: str, value: Json) -> None:
        """Changes the record in view; it takes effect, and is written down, when that goes on.

        Args:
            path: `body.total`, `result.items[0].sku`; a bare name is the result's where it has one, else the body's.

        Raises:
            ConfigError: it is not held, or would not be as declared.
            BodyRefused: it is beyond what a record holds, such as an integer of more than 64 bits.
            RuleError: likewise.
        """
        self._check_now()
        view = self.view
        task = view.task
        if not task.is_held:
            raise ConfigError(f"{task.type} ({task.id}) is not held: what goes on is not changed")
        if view.hold is not None and view.hold.step is not None:
            raise ConfigError(f"{task.type} ({task.id}) is under way: the steps that it has taken stand on its body")
        steps = _steps(path)
        if steps[0] not in ("body", "result"):
            steps.insert(0, "result" if task.result is not None and steps[0] in task.result else "body")
        whole = {"body": own_copy(task.body), "result": own_copy(task.result or {})}
        _put(whole, steps, value, path)
        part = str(steps[0])
        changed: Body = whole[part]
        if not isinstance(changed, dict):
            raise ConfigError(f"{path}: {json_text(changed)[:60]} is no {part}; an object of fields is needed")
        check_json(changed, part)
        if part == "body":
            changed = view.edition.check_body(task.type, changed)
        elif task.outcome is None or task.event:
            raise ConfigError(f"{task.type} ({task.id}) has no result yet; its body can be changed")
        elif task.outcome == "done" and (wrong := view.edition.types.result(task.type, changed)) is not None:
            raise ConfigError(f"{task.type} ({task.id}): {wrong}")
        self._edits[part] = changed
        self._show(view.id, keeps=True)

    def skip(self, result: Body | None = None) -> None:
        """Ends the task in view done, with a result, in the place of its run; `wait` tells of the next stop.

        Raises:
            ConfigError: it is not held before its start, or the result is not as declared.
        """
        task = self._held()
        if task.outcome is not None or task.event:
            raise ConfigError(
                f"{task.type} ({task.id}) has ended; `set` changes its result, `drop` shows it to no rule"
            )
        self._free_fork()
        self.access.call("continue", id=task.id, result_values=result or {}, who=self.who, skips=True)
        self._going()

    def jump(self, rule: str) -> None:
        """Has one rule answer the record in view, in the place of all that would; `wait` tells of the next stop.

        Raises:
            ConfigError: it is not held with its outcome, or the rule is not for its type.
        """
        task = self._held()
        targets = self.jump_targets()
        if task.outcome is not None and rule not in targets:
            what = ", ".join(targets) or "none"
            raise ConfigError(f'no rule "{rule}" is for one {task.type}{nearest(rule, targets)}; there is: {what}')
        self._free_fork()
        self.access.call("continue", id=task.id, **self._given(), rule=rule)
        self._going()

    def _held(self) -> Task:
        """The record in view, which is held."""
        self._check_now()
        task = self.view.task
        if not task.is_held:
            raise ConfigError(f"{task.type} ({task.id}) is not held")
        return task

    def _given(self) -> dict[str, Json]:
        """What the record in view is changed to, for its release."""
        given: dict[str, Json] = {"who": self.who}
        if self._edits:
            record = self.view.flow.records[self.view.id].task
            given["values"] = _changes(record.body, self._edits.get("body"))
            given["result_values"] = _changes(record.result or {}, self._edits.get("result"))
        return given

    def drop(self) -> None:
        """Ends the record in view here: a task that would start is cancelled, what has ended is shown to no rule."""
        self._check_now()
        self.access.call("cancel", id=self.view.id, only=True)
        self._going()

    def retry(self) -> None:
        """Tries the failure in view again, in its place.

        Raises:
            ConfigError: it is none.
        """
        self._check_now()
        view = self.view
        if view.task.outcome not in FAILURES:
            raise ConfigError(
                f"{view.task.type} ({view.id}) is {view.task.outcome or view.task.state}; what failed can be tried again"
            )
        self.access.call("retry", id=view.id)
        if view.task.is_held:
            self.access.call("cancel", id=view.id, only=True)
        self._going()

    def emit(self, type: str, body: Body) -> None:
        """A record by hand, into this flow."""
        self._check_now()
        self.access.call("post", type=type, texts={}, body=body, flow=self.flow)
        self._view = None

    def complete(self, id: str, outcome: Outcome = "done", result: Body | None = None) -> None:
        """Answers a task that a person is asked, of this flow."""
        self._check_now()
        self.access.call("complete", id=id, outcome=outcome, texts={}, result=result or {})
        self._view = None

    def fork(self, *, real: bool = False, stubs: dict[str, Body] | None = None) -> str:
        """Begins a flow as this one is at the moment in view, held until it is continued; gives its id.

        Args:
            real: its tasks are run. Else they are answered as the journal has it, by `stubs`, or by a person.
            stubs: results by type, of what the journal has no end of.

        Raises:
            ConfigError: the flow had ended by then.
        """
        if stubs:
            unknown = [type for type in stubs if type not in self.view.edition.rules.tasks]
            if unknown:
                raise UnknownName("task", unknown[0], self.view.edition.rules.tasks)
        given: dict[str, Json] = {"flow": self.flow, "seq": self.at, "real": real, "stubs": stubs or {}}
        return str(self.access.call("fork", **given, who=self.who))

    def lose(self) -> None:
        """What it stopped for was let go on by somebody else."""
        self.at = None
        self._going()


def _kind(place: str) -> str:
    return "after" if place.startswith("rule ") else place


def described(hold: Hold, task: Task) -> str:
    """Where a record is held: `before pay`, `after pay done`, `pack on pay done`."""
    ended = "" if task.outcome is None or task.event else f" {task.outcome.replace('_', ' ')}"
    if hold.step is not None:
        return f"{hold.place.partition(' at ')[2]}, {task.type} ({task.id})"
    what = "before" if hold.is_before else f"on {hold.place}, after" if hold.place.startswith("rule ") else "after"
    return f"{what} {task.type}{ended} ({task.id})"


def changed_text(watch: Watch, value: Json | CannotSay, writer: str) -> str:
    """`total was 3, is 5, by add on pay (0k3f…)`."""
    return f"{watch.path} was {_said(watch.value)}, is {_said(value)}" + (f", by {writer}" if writer else "")


def _said(value: Json | CannotSay) -> str:
    return "missing" if isinstance(value, CannotSay) else json_text(value)


def is_caught(what: str, view: View) -> bool:
    """Whether a record that is held is what is caught: a failure, one that nothing takes up, one that no rule is for."""
    match what:
        case "failed":
            return view.task.outcome in FAILURES
        case "unhandled":
            return not view.preview.is_taken_up
    return not view.preview.fired and not _is_awaited(view)


def _is_awaited(view: View) -> bool:
    """A chain, a script or a join waits for it: that no rule fires on it is as it should be."""
    task, preview = view.task, view.preview
    return task.cont is not None or preview.is_part


def _steps(path: str) -> list[str | int]:
    """`body.items[0].sku` as steps.

    Raises:
        ConfigError: it is no path.
    """
    if _PATH.fullmatch(path) is None:
        raise ConfigError(f'"{path}" is no path into a record; write body.total, result.items[0].sku')
    return [int(step[1:-1]) if step[0] == "[" else step.removeprefix(".") for step in _STEP.findall(path)]


def _put(whole: Json, steps: list[str | int], value: Json, path: str) -> None:
    at = whole
    for number, step in enumerate(steps, 1):
        fits = isinstance(at, dict) if isinstance(step, str) else isinstance(at, list) and step < len(at)
        if not fits:
            raise ConfigError(f"{path}: there is no place for {step} in {json_text(at)[:60]}")
        if number == len(steps):
            at[step] = value
        else:
            at = at.get(step) if isinstance(at, dict) else at[step]


def _changes(before: Body, after: Body | None) -> Body:
    """The fields that differ."""
    return {name: value for name, value in (after or {}).items() if name not in before or before[name] != value}
