"""What people and programs ask of an engine: posts, cancellations, retries, releases."""

from __future__ import annotations

from msgspec.structs import replace

from then.core import facts as f
from then.core.attempts import next_attempt
from then.core.causes import Cancel, Post, Retry
from then.core.chains import PostKey
from then.core.emitting import sets_with
from then.core.ending import bend, end_live, lost_continuation
from then.core.errors import ConfigError
from then.core.standing import gone
from then.core.stepping import Stepping
from then.core.tasks import Body, Task
from then.core.values import equal


def post(at: Stepping, cause: Post) -> None:
    state, time = at.state, at.terms.time
    known = state.keys.get(cause.key) if cause.key is not None else None
    if cause.flow is None:
        version = state.version
    elif cause.flow in state.flows:
        version = state.flows[cause.flow].version
    elif known is None:
        raise ConfigError(f'no open flow "{cause.flow}"; `andthen flows` lists them')
    else:
        version = state.version
    edition = at.terms.editions[version]
    body = edition.check_body(cause.type, cause.body)
    if known is not None:
        at.answer = posted_before(at, cause, body, known)
        return
    id = at.new_id()
    flow = cause.flow or id
    task = edition.posted(cause.type, body, id, flow, time)
    if cause.priority:
        task = replace(task, priority=cause.priority)
    at.answer = task
    at.add(flow, f.Posted(task, cause.key, version if cause.flow is None else None))


def posted_before(at: Stepping, cause: Post, body: Body, known: PostKey) -> Task:
    """The record that a key stands for: with its defaults it has to be the same."""
    if known.type != cause.type or not equal(known.body, body):
        raise ConfigError(
            f'key "{cause.key}" stands for another {known.type} (flow {known.flow}) with another body; '
            "the same key posts the same record once"
        )
    return at.state.task(known.id) or Task(known.type, known.body, id=known.id, flow=known.flow)


def cancel(at: Stepping, cause: Cancel) -> None:
    ids = cause.ids
    if cause.flow is not None:
        flow = at.state.flows.get(cause.flow)
        if flow is None:
            return
        if flow.held is not None:
            at.add(flow.id, f.FlowReleased())
        bend(at, flow, "cancelled", None, at.state.last_id)
        return
    for id in ids:
        task = at.state.task(id)
        if task is not None:
            end_live(at, task)


def retry(at: Stepping, cause: Retry) -> None:
    """A new attempt. Answers nothing, and changes nothing, where others were quicker than the reading it stands on."""
    task, state, chain = cause.task, at.state, cause.chain
    flow = state.flows.get(task.flow)
    if flow is None and cause.past is None:
        return
    if chain is not None and any(lives and state.task(id) is None for id, lives in chain.waiting.items()):
        return
    if flow is None:
        assert cause.past is not None
        at.add(task.flow, f.FlowReopened(cause.past))
    at.add(task.flow, f.TakenUp(task.id, task.call))
    # A person tries again: what was to be over by a certain time is late already.
    policy = replace(task.policy, due=None, deadline=None, expires=None) if task.policy is not None else None
    at.answer = next_attempt(at, task, chain, policy)
    edition = at.terms.editions[at.state.flows[task.flow].version]
    if edition.has_sets and task.parent is not None:
        for _, key, _ in sets_with(at, edition, task.type, task.flow, task.call):
            at.add(task.flow, f.Counted(key, 1))


def release(at: Stepping, id: str) -> None:
    state = at.state
    flow = state.flows.get(id)
    if flow is not None and flow.held is not None:
        at.add(id, f.FlowReleased())
        for task in list(state.live(id)):
            if state.flows[id].held is not None:
                return  # Held anew; the rest stays as it is.
            if task.is_held:
                let_go(at, task)
            elif task.id not in state.running:
                state.enqueue(task)
        return
    held = state.task(id)
    if held is None or not held.is_held:
        raise ConfigError(f'"{id}" is not held; `andthen ps` shows what is')
    let_go(at, held)


def let_go(at: Stepping, task: Task) -> None:
    if task.outcome is None or task.event:
        at.add(task.flow, f.Released(task.id))
    elif (lost := lost_continuation(at, task, task.outcome)) is not None:
        at.add(task.flow, f.FlowHeld(gone(lost)))
    else:
        at.add(task.flow, f.Taken(task.id))
        at.ended.append(replace(task, is_held=False))
