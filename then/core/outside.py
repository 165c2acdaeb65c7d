"""What people and programs ask of an engine: posts, cancellations, retries, releases."""

from __future__ import annotations

from msgspec.structs import replace

from then.core import facts as f
from then.core.attempts import Again, further, next_attempt, try_again
from then.core.causes import Cancel, DropBreakpoint, Post, Release, Retry, Start
from then.core.chains import PostKey
from then.core.emitting import sets_with
from then.core.ending import bend, complete, end_live, lost_continuation, runs_here
from then.core.errors import ConfigError, UnknownName
from then.core.holding import edit
from then.core.jumps import check_jump, jump
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


def release(at: Stepping, cause: Release) -> None:
    """Lets a record go on, changed perhaps; of a flow: what a guard holds, or else all that breakpoints hold.

    Raises:
        ConfigError: it is not held.
    """
    state, id = at.state, cause.id
    flow = state.flows.get(id)
    held = state.task(id)
    if flow is not None and flow.held is not None:
        at.add(id, f.FlowReleased())
        for task in list(state.live(id)):
            if state.flows[id].held is not None:
                return  # Held anew; the rest stays as it is.
            if task.is_held:
                if state.holds.holding(task) is None:
                    let_go(at, task)
            elif task.id not in state.running:
                state.enqueue(task)
        return
    if held is not None and held.is_held:
        if cause.is_skipped:
            skip(at, held, cause)
        elif cause.rule is not None:
            check_jump(at, held, cause.rule)
            jump(at, edit(at, held, cause), cause.rule)
        else:
            let_go(at, edit(at, held, cause))
        return
    if flow is None or not flow.stopped:
        raise ConfigError(f'"{id}" is not held; `andthen ps` shows what is')
    if cause.body is not None or cause.result is not None or cause.rule is not None or cause.is_skipped:
        raise ConfigError(
            f'"{id}" is a flow: a body, a result or a rule is that of a record; `andthen ps` shows which are held'
        )
    for task in [task for task in state.live(id) if task.is_held]:
        let_go(at, task)


def skip(at: Stepping, task: Task, cause: Release) -> None:
    """Ends a held task with a result, in the place of a run.

    Raises:
        ConfigError: it has ended already; or the result is not as declared.
    """
    if task.outcome is not None or task.event:
        raise ConfigError(f"{task.type} ({task.id}) has ended: only what would start is skipped")
    result = cause.result or {}
    wrong = at.terms.editions[at.state.flows[task.flow].version].types.result(task.type, result)
    if wrong is not None:
        raise ConfigError(f"{task.type} ({task.id}): {wrong}")
    at.add(task.flow, f.Edited(task.id, None, result, cause.by, None, None, True))
    complete(at, task, "done", result, None, task.started, at.terms.time)


def let_go(at: Stepping, task: Task) -> None:
    """Ends a hold: what has ended is matched in this step, the rest waits for its turn."""
    is_stop = at.state.holds.holding(task) is not None
    if task.outcome is None or (task.event and not is_stop):
        is_asked = task.outcome is None and not task.is_call and not runs_here(at, task)
        at.add(task.flow, f.Released(task.id, is_asked))
        if task.id in at.state.running:
            # A script before a step: it is run again from its begin, in what it has.
            edition = at.terms.editions[at.state.flows[task.flow].version]
            at.orders.append(Start(replace(task, is_held=False), edition.kind_of(task.type) or "", edition, True))
    elif (lost := lost_continuation(at, task, task.outcome)) is not None:
        at.add(task.flow, f.FlowHeld(gone(lost)))
    else:
        at.add(task.flow, f.Taken(task.id))
        at.late |= {task.id}
        if is_stop and not task.settled:
            # Whatever came meanwhile: it was told that another attempt follows.
            again = further(at, task, task.outcome, task.error) or Again(at.terms.time, None)
            try_again(at, task, again)
        at.ended.append(replace(task, is_held=False))


def drop_breakpoint(at: Stepping, cause: DropBreakpoint) -> None:
    """Takes a breakpoint away; what it holds stays held, or goes on.

    Raises:
        UnknownName: there is none of that name.
        ConfigError: it stands in a file, which would bring it back.
    """
    holds = at.state.holds
    point = holds.points.get(cause.name)
    if point is None:
        raise UnknownName("breakpoint", cause.name, holds.points)
    if point.version is not None and at.state.version in at.terms.editions:
        declared = at.terms.editions[at.state.version].rules.breakpoints
        if cause.name in declared:
            raise ConfigError(
                f'breakpoint "{cause.name}" stands in the rules; `andthen break disable {cause.name}` switches it off'
            )
    held = holds.held_by(cause.name) if cause.releases else []
    at.add("", f.BreakRemoved(cause.name))
    for hold in held:
        task = at.state.task(hold.id)
        if task is not None and task.is_held:
            let_go(at, task)
