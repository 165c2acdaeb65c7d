"""Further attempts: whether a failure is tried again, when, and what takes its place in a chain."""

from __future__ import annotations

from msgspec.structs import replace

from then.core import facts as f
from then.core.chains import Chain
from then.core.evaluate import Scope
from then.core.ids import id_number
from then.core.policies import Policy
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Body, Outcome, Task

FINAL_KINDS = frozenset(("unknown", "deadline"))
"""Failures that no retry takes up: it may have run, or its time is over."""
_GOLDEN = 0x9E3779B97F4A7C15
"""Spreads one draw of chance over the attempts of one step. In integers: an id has more bits than a float."""


def may_try_again(at: Stepping, task: Task, outcome: Outcome, error: Body | None) -> bool:
    """Whether its policy gives a failed attempt another one."""
    policy = task.policy
    if policy is None or policy.retry is None or outcome not in FAILURES or task.attempt > policy.retry.times:
        return False
    flow = at.state.flows[task.flow]
    if (error or {}).get("kind") in FINAL_KINDS or flow.bent is not None:
        return False
    due = _due(at, task, policy)
    if policy.deadline is not None and due >= policy.deadline:
        return False
    if policy.retry.condition is None:
        return True
    edition = at.terms.editions[flow.version]
    clause = edition.condition(policy.retry.condition)
    failed = replace(task, outcome=outcome, error=error)
    return clause is None or edition.value(clause, Scope(failed, {}, flow.variables)) is True


def _due(at: Stepping, task: Task, policy: Policy) -> int:
    assert policy.retry is not None
    spread = (id_number(task.id) * _GOLDEN % 2**64) / 2**64
    draw = (at.terms.chance + spread) % 1.0
    return at.terms.time + policy.retry.wait_us(task.attempt, draw)


def try_again(at: Stepping, task: Task) -> None:
    """Brings the next attempt forth, to start when its wait is over."""
    policy = task.policy
    assert policy is not None
    due = _due(at, task, policy)
    timing = at.terms.editions[at.state.flows[task.flow].version].timed.get(task.type)
    if timing is not None and timing.expires_us is not None:
        policy = replace(policy, expires=due + timing.expires_us)
    chain = at.state.chains.get(task.cont) if task.cont is not None else None
    next_attempt(at, task, chain, replace(policy, due=due if due > at.terms.time else None))


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
