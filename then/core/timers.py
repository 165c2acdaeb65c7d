"""Timers: `every` and `cron` of the rules in force, each with the time at which it fires next.

A timer starts a flow of its own each time. Times that come while its last flow
is open are dropped, kept for later, or start another, as its `overlap` says;
times that came while no engine ran, as its `catch up` says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import astuple, replace

from then.core import facts as f
from then.core.declarations import TimerDecl
from then.core.edition import Edition
from then.core.errors import ConfigError, nearest
from then.core.evaluate import Scope
from then.core.schedule import Every, next_after
from then.core.state import State
from then.core.stepping import Stepping, Terms
from then.core.tasks import Body
from then.core.values import CannotSay
from then.core.waits import TimerState
from then.core.zones import zone

CATCH_UP_MAX: Final = 10_000
"""Times that `catch up all` makes good at once."""
TIMES_MAX: Final = 400
"""Of so many that wait for a flow it is known when they came, a year of days: they are written anew with each."""
_UNSET: Final = TimerState("", None, None, False, 0)


def arm(at: Stepping, edition: Edition) -> None:
    """Sets the timers of the rules that come into force; those that run already go on, unless their schedule is another."""
    declared, running = edition.rules.timers, at.state.waits.timers
    for name in [name for name in running if name not in declared]:
        at.add("", f.Unscheduled(name))
    for name, timer in declared.items():
        state = running.get(name, _UNSET)
        when = timer.schedule.text()
        if state is not _UNSET and state.when in (when, "") and not _is_far(timer, state, at.terms.time):
            continue
        due = state.due
        if due is None or due > at.terms.time:
            # What was missed under the schedule of before is made good.
            due = None if state.is_paused else _next(timer, at.terms.time)
        is_span = isinstance(timer.schedule, Every)
        _set(at, replace(state, name=name, due=due, is_span=is_span, when=when))


def are_far(state: State, terms: Terms, now: int) -> bool:
    """Whether the rules in force have a period of which the next time is further off than it is long.

    So it is where the machine's clock was set back while no engine ran: to come into force once more sets it anew.
    """
    running = state.waits.timers
    declared = terms.editions[state.version].rules.timers if running else {}
    return any(name in running and _is_far(timer, running[name], now) for name, timer in declared.items())


def _is_far(timer: TimerDecl, state: TimerState, now: int) -> bool:
    schedule = timer.schedule
    return isinstance(schedule, Every) and state.due is not None and state.due > now + schedule.period_us


def _next(timer: TimerDecl, after: int) -> int | None:
    schedule = timer.schedule
    if isinstance(schedule, Every):
        # From when it was set, or fired: its own time is the anchor.
        return after + schedule.period_us
    return next_after(schedule, after)


def come(at: Stepping, name: str) -> None:
    """The time of a timer has come, once or more often."""
    now = at.terms.time
    state, edition, timer = _in_force(at, name)
    if state is None or state.due is None or timer is None:
        return
    came, due = _came(timer, state.due, now)
    state = replace(state, due=due, is_paused=False, when=state.when or timer.schedule.text())
    for time in _made_good(timer, came, at.terms.began):
        state = _fired(at, edition, timer, state, time)
    _set(at, state)


def _in_force(at: Stepping, name: str) -> tuple[TimerState | None, Edition, TimerDecl | None]:
    """A timer as it stands, and as the rules in force declare it; None where it is not there."""
    edition = at.terms.editions[at.state.version]
    return at.state.waits.timers.get(name), edition, edition.rules.timers.get(name)


def _came(timer: TimerDecl, due: int, now: int) -> tuple[list[int], int | None]:
    """The times from the one that was due up to now, and the next."""
    if isinstance(timer.schedule, Every):
        period = timer.schedule.period_us
        whole = (now - due) // period
        first = max(0, whole - CATCH_UP_MAX)
        return [due + number * period for number in range(first, whole + 1)], due + (whole + 1) * period
    came, coming = [due], _next(timer, due)
    while coming is not None and coming <= now:
        if len(came) > CATCH_UP_MAX:
            return came, _next(timer, now)
        came.append(coming)
        coming = _next(timer, coming)
    return came, coming


def _made_good(timer: TimerDecl, came: list[int], began: int) -> list[int]:
    """The times that count: of several at once, as after a stop or a clock that was set, all, the last, or none."""
    if timer.catch_up == "all":
        return came
    return came[-1:] if timer.catch_up == "once" or came[-1] >= began else []


def _fired(at: Stepping, edition: Edition, timer: TimerDecl, state: TimerState, due: int) -> TimerState:
    """Starts a flow, unless its last one is open and it is to wait for that. How the timer stands then."""
    is_open = state.flow is not None and state.flow in at.state.flows
    if is_open and timer.overlap == "skip":
        return state
    if is_open and timer.overlap == "queue":
        return replace(state, queued=state.queued + 1, times=[*state.times, due][:TIMES_MAX])
    id = at.new_id()
    body = edition.check_body(timer.type, _body(edition, timer, due) if timer.args else {})
    task = edition.posted(timer.type, body, id, id, at.terms.time)
    at.add(id, f.Posted(replace(task, rule=timer.name), None, edition.version))
    return replace(state, flow=id)


def _body(edition: Edition, timer: TimerDecl, due: int) -> Body:
    body: Body = {}
    today = datetime.fromtimestamp(due / 1e6, zone(getattr(timer.schedule, "zone", "UTC"))).date()
    scope = Scope(None, {"today": today.isoformat(), "now": due / 1e6})
    for name, expr in timer.args:
        value = edition.value(expr, scope)
        if not isinstance(value, CannotSay):
            body[name] = value
    return body


def _set(at: Stepping, state: TimerState) -> None:
    at.add("", f.Scheduled(*astuple(state)))


def flow_ended(at: Stepping, flow: str, name: str) -> None:
    """A flow that a timer started has ended: what waited for that starts."""
    state, edition, timer = _in_force(at, name)
    if state is not None and timer is not None and state.flow == flow and state.queued:
        due = state.times[0] if state.times else at.terms.time
        _set(at, _fired(at, edition, timer, replace(state, queued=state.queued - 1, times=state.times[1:]), due))


def set_timer(at: Stepping, name: str, what: str) -> None:
    """Pauses a timer, takes it up again, or fires it now; answers with the record that it posted.

    Raises:
        ConfigError: no timer of that name is in force.
    """
    state, edition, timer = _in_force(at, name)
    if state is None or timer is None:
        raise ConfigError(f'no timer "{name}"{nearest(name, at.state.waits.timers)}; `andthen timers` lists them')
    if what == "pause":
        _set(at, replace(state, due=None, is_paused=True))
    elif what == "resume":
        if state.is_paused:
            _set(at, replace(state, due=_next(timer, at.terms.time), is_paused=False))
    else:
        fired = _fired(at, edition, timer, state, at.terms.time)
        if fired is not state:
            _set(at, fired)
        if fired.flow is not None and fired.flow != state.flow:
            at.answer = at.state.task(fired.flow)
