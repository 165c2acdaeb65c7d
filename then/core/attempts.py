"""Further attempts: whether a failure is tried again, when, and what takes its place in a chain."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from then.core import facts as f
from then.core.chains import Chain
from then.core.evaluate import Scope
from then.core.ids import id_number
from then.core.policies import Policy, Retry
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Body, Outcome, Task

FINAL_KINDS = frozenset(("unknown", "deadline"))
"""Failures that no retry takes up: it may have run, or its time is over."""
_GOLDEN = 0x9E3779B97F4A7C15
"""Spreads one draw of chance over the attempts of one step. In integers: an id has more bits than a float."""


class Again(NamedTuple):
    """A further attempt that a failure is given."""

    due: int
    """When it starts."""
    call: str | None
    """The call out of whose tries it is; None: its own."""


def further(at: Stepping, task: Task, outcome: Outcome, error: Body | None) -> Again | None:
    """The attempt that follows one that ended so: by its own policy, else by that of the call it is in; None: no more."""
    flow = at.state.flows[task.flow]
    if outcome not in FAILURES or (error or {}).get("kind") in FINAL_KINDS or flow.bent is not None:
        return None
    failed = replace(task, outcome=outcome, error=error)
    retry = task.policy.retry if task.policy is not None else None
    if retry is not None and not (task.is_call and retry.is_from_failed) and task.attempt <= retry.times:
        due = _due(at, task, retry, task.attempt)
        if _may_follow(at, failed, retry, due, failed):
            return Again(due, None)
    return _of_call(at, failed) if task.call is not None else None


def _of_call(at: Stepping, failed: Task) -> Again | None:
    """What is left of the tries of the innermost call that has some `from failed`.

    Cost: grows with how deep the failure is in calls.
    """
    frame = at.state.waits.frames.get(failed.call or "")
    call = retry = None
    while frame is not None:
        call = at.state.task(frame.id)
        retry = call.policy.retry if call is not None and call.policy is not None else None
        if call is not None and retry is not None and retry.is_from_failed:
            break
        frame = at.state.waits.frames.get(frame.call or "")
    if frame is None or call is None or retry is None or call.outcome is not None or frame.tries >= retry.times:
        return None
    if at.terms.editions[at.state.flows[failed.flow].version].may_fail(failed.type):
        return None
    due = _due(at, failed, retry, frame.tries + 1)
    seen = replace(call, outcome=failed.outcome, error=failed.error, attempt=frame.tries + 1)
    return Again(due, frame.id) if _may_follow(at, failed, retry, due, seen) else None


def _may_follow(at: Stepping, failed: Task, retry: Retry, due: int, seen: Task) -> bool:
    """Whether neither a deadline nor the clause of `while`, over `seen`, is against it."""
    if failed.policy is not None and failed.policy.deadline is not None and due >= failed.policy.deadline:
        return False
    if retry.condition is None:
        return True
    flow = at.state.flows[failed.flow]
    edition = at.terms.editions[flow.version]
    clause = edition.condition(retry.condition)
    return clause is None or edition.value(clause, Scope(seen, {}, flow.variables)) is True


def _due(at: Stepping, task: Task, retry: Retry, tried: int) -> int:
    spread = (id_number(task.id) * _GOLDEN % 2**64) / 2**64
    draw = (at.terms.chance + spread) % 1.0
    return at.terms.time + retry.wait_us(tried, draw)


def try_again(at: Stepping, task: Task, again: Again) -> None:
    """Brings the next attempt forth, to start when its wait is over."""
    policy = task.policy or Policy()
    due = again.due
    timing = at.terms.editions[at.state.flows[task.flow].version].timed.get(task.type)
    if timing is not None and timing.expires_us is not None:
        policy = replace(policy, expires=due + timing.expires_us)
    if again.call is not None:
        at.add(task.flow, f.TriedAgain(again.call))
    chain = at.state.chains.get(task.cont) if task.cont is not None else None
    policy = replace(policy, due=due if due > at.terms.time else None)
    next_attempt(at, task, chain, policy if policy != Policy() else None)


def on_policy(task: Task, policy: Policy | None) -> Task:
    """The record tried like that. What nobody runs is asked for when it is due, and not before."""
    is_put_off = policy is not None and policy.due is not None
    return replace(task, policy=policy, started=None if is_put_off else task.started)


def next_attempt(at: Stepping, task: Task, chain: Chain | None, policy: Policy | None) -> Task:
    """A new record in the place of one that failed."""
    id = at.new_id()
    cont = rejoin(at, task, chain, id) if chain is not None else _script_of(at, task)
    edition = at.terms.editions[at.state.flows[task.flow].version]
    fresh = edition.new_task(task.type, task.body, id, task.flow, at.terms.time)
    fresh = replace(
        fresh, parent=task.parent, rule=task.rule, call=task.call, cont=cont, attempt=task.attempt + 1,
        origin=task.key, by_unmatched=task.by_unmatched, priority=task.priority,
    )  # fmt: skip
    fresh = on_policy(fresh, policy)
    at.add(task.flow, f.Emitted(fresh))
    return fresh


def _script_of(at: Stepping, task: Task) -> str | None:
    """The script that started it, which hears of the next attempt too."""
    return task.cont if task.cont in at.state.waits.scripts.of else None


def rejoin(at: Stepping, task: Task, chain: Chain, id: str) -> str | None:
    """The new attempt takes the place of the failed one in its chain, which keeps its id: siblings know it by that."""
    chain = at.state.chains.get(chain.id) or chain
    if task.id not in chain.waiting:
        return None  # Another attempt has its place.
    members = [id if of == task.id else of for of in chain.waiting]
    aliases = {alias: id if of == task.id else of for alias, of in chain.aliases.items()}
    at.add(
        task.flow,
        f.Waited(
            chain.id, chain.rule, chain.step, members, aliases, chain.records, chain.values, chain.call,
            chain.by_unmatched, chain.otherwise,
        ),
    )  # fmt: skip
    return chain.id
