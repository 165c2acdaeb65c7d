"""Starts: what waits is given its slot, and what else it takes, as soon as that is free.

Tasks that take nothing but a slot go by a queue. While some that take more
wait (a limit, a lock, memory), all go by admission (`then.core.admission`), so
that a slot is given in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from msgspec.structs import replace

from then.core import facts as f
from then.core.causes import Start
from then.core.claims import SLOTS, Capacity, Claim, Take, claim, claim_of
from then.core.edition import Edition
from then.core.ending import complete
from then.core.errors import RuleError
from then.core.facts import Flow
from then.core.holding import hold_before
from then.core.rows import behind
from then.core.state import State
from then.core.stepping import Stepping, Terms
from then.core.tasks import Body, Task, is_flat
from then.core.variables import with_variables

_UNKNOWN = Capacity(slots=1, cores=2.0**20, memory_bytes=2**60)
"""Where nobody said what the machine has."""


def grant(at: Stepping, match_ended: Callable[[], None]) -> Iterable[Flow]:
    """Starts what may start. Gives the flows of which a task has no executor here.

    Args:
        match_ended: matches what failed before its start.
    """
    state, terms = at.state, at.terms
    stuck: dict[str, Flow] = {}
    if not terms.may_start:
        return ()
    tasks, running, slots = state.tasks, state.running, terms.slots
    while True:
        is_plain = not (state.claiming or state.admission.waiting)
        id = state.next_waiting(slots) if is_plain or state.free else _admitted(at)
        if at.ended:  # What can never have what it needs has failed.
            match_ended()
            if id is None:
                continue
        if id is None:
            break
        task = tasks.get(id)
        if type(task) is not Task:
            task = state.task(id)
        if task is None or task.outcome is not None or task.is_held or id in running or id in state.stopping:
            _pass_over(state, id)
            continue
        flow = state.flows[task.flow]
        # Forks alone are asked whether they are stubbed: a property takes its time.
        if flow.held or (flow.origin and flow.is_stubbed) or (terms.only is not None and flow.id not in terms.only):
            _pass_over(state, id)
            continue  # queued again at the release, or at the next start; of a fork it is answered
        edition = terms.editions[flow.version]
        runner = edition.runners.get(task.type)
        if runner is None or runner.kind not in terms.kinds:
            _pass_over(state, id)
            state.stuck[id] = runner.kind if runner is not None else task.type
            state.stuck_in.setdefault(flow.id, {})[id] = True
            stuck[flow.id] = flow
            continue
        body = task.body if is_flat(task.body) else _filled(at, task, edition, flow)
        if body is None:
            match_ended()
            continue
        is_filled = body is not task.body
        if state.is_watched and _is_held(at, task, body, edition):
            continue
        if is_filled:
            at.add(task.flow, f.Loaded(id, body))
        declared = runner.declared
        running[id] = declared.slots
        state.slots_used += declared.slots
        if not is_plain and id in state.admission:
            state.slots_admitted += declared.slots
        waits = is_filled or declared.once or id in state.holds.stops  # A crash must not hold again what has run.
        if declared.once or (task.policy is not None and task.policy.timeout_us is not None):
            at.add(task.flow, f.Started(id))
        if waits or task.policy is not None:
            task = state.task(id) or task
        following: tuple[Task, ...] = ()
        if terms.quick and is_plain and not waits and (state.queue or state.waiting):
            following = behind(at, task, runner, edition)
        at.orders.append(Start(task, runner.kind, edition, waits, following))
        if is_plain and not state.free and (state.slots_used >= slots or not (state.queue or state.waiting)):
            break
    return stuck.values()


def _is_held(at: Stepping, task: Task, body: Body, edition: Edition) -> bool:
    """Whether a breakpoint holds it, as it would be given to its executor."""
    reason = hold_before(at, task if body is task.body else replace(task, body=body), edition)
    if reason is None:
        return False
    _pass_over(at.state, task.id)
    at.add(task.flow, f.Held(task.id, reason))
    return True


def _filled(at: Stepping, task: Task, edition: Edition, flow: Flow) -> Body | None:
    """The body as its executor gets it; None where that cannot be had, and the task has failed."""
    body, wrong = loaded(task, edition, flow)
    if wrong is None:
        return body
    complete(at, task, "failed", None, {"kind": "load", "message": wrong}, None, at.terms.time)
    return None


def loaded(task: Task, edition: Edition, flow: Flow) -> tuple[Body, str | None]:
    """The body with the flow variables that it names, held to what is declared; and why it cannot be had."""
    body, missing = with_variables(task.body, flow.variables)
    if missing is not None:
        return body, f'flow variable "{missing}" was never saved'
    if body is not task.body:
        try:
            body = edition.check_body(task.type, body)
        except RuleError as error:
            return body, str(error)
    return body, None


def _admitted(at: Stepping) -> str | None:
    """The id of a task that may start now, where some take more than a slot; it has what it takes."""
    state = at.state
    admission = state.admission
    while (waiting := state.take_waiting()) is not None:
        task = state.task(waiting)
        if task is not None and task.outcome is None and waiting not in admission and waiting not in state.running:
            admission.add(waiting, _one_slot(at.terms.slots), task.flow, task.priority)
    while state.claiming:
        _claim(at, state.claiming.popleft())
    admission.occupy(SLOTS, state.slots_used - state.slots_admitted)
    return admission.next()


def _claim(at: Stepping, id: str) -> None:
    """A task that takes more than a slot waits from now on; one that can never have it fails."""
    state = at.state
    task = state.task(id)
    if task is None or task.outcome is not None or task.is_held or id in state.admission or id in state.running:
        return
    try:
        found = claim_for(state, at.terms, task)
    except RuleError as error:
        complete(at, task, "failed", None, {"kind": "limit", "message": str(error)}, None, at.terms.time)
        return
    state.admission.add(id, found or _one_slot(at.terms.slots), task.flow, task.priority)


def claim_for(state: State, terms: Terms, task: Task) -> Claim | None:
    """What a record takes while it runs; None where its type is not declared any more.

    Raises:
        RuleError: there will never be that much, or it cannot be said.
    """
    edition = terms.editions[state.flows[task.flow].version]
    runner = edition.runners.get(task.type)
    if runner is None:
        return None
    return claim_of(task, runner.declared, terms.capacity or _with_slots(terms.slots), edition.value)


def run_again(state: State, terms: Terms, task: Task, slots: int) -> None:
    """A task was found running after a restart: it has again what it takes, also where there is less now."""
    state.running[task.id] = slots
    state.slots_used += slots
    if task.needs is not None and task.needs != {"slots": 0}:
        try:
            found = claim_for(state, terms, task)
        except RuleError:
            return  # There is less than it needs; it runs all the same.
        if found is not None:
            state.admission.take(task.id, found)
            state.slots_admitted += slots


def _pass_over(state: State, id: str) -> None:
    if id in state.admission:
        state.admission.release(id)


def _with_slots(slots: int) -> Capacity:
    return Capacity(slots, _UNKNOWN.cores, _UNKNOWN.memory_bytes)


@lru_cache(maxsize=4)
def _one_slot(slots: int) -> Claim:
    return claim([Take(SLOTS, 1, slots)])
