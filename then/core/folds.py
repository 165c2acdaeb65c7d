"""The fold: how each kind of fact changes the state. Replay and the engine use this one.

What brings records and flows forth and ends them is folded by `then.core.lives`;
the rest, and what concerns calls, joins, sets and times, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import force_setattr, replace

from then.core import facts as f
from then.core.chains import Chain, PostKey
from then.core.clocks import clock_set
from then.core.holds import KINDS as HOLD_KINDS
from then.core.holds import Answers
from then.core.ids import id_number
from then.core.lives import RECORD_FOLDS, begin_times, count_idle, drop_frame
from then.core.scripts import Open, Step, step_of
from then.core.state import State, decode_task
from then.core.waits import KINDS, MARKS_MAX, Frame, Tally, TimerState, Wait


def turn(state: State, page: f.Page) -> None:
    """Folds a page of the journal: the way of a start and of a reader."""
    state.begin(page.flow)
    for fact in page.facts:
        evolve(state, fact, page.flow, page.time)
        made = fact.task.id if isinstance(fact, f.Posted | f.Emitted) else fact.id if isinstance(fact, f.Waited) else ""
        if made:
            state.last_id = max(state.last_id, id_number(made))


def evolve(state: State, fact: f.Fact, flow: str, time: int) -> None:
    """Folds one fact of a flow into the state."""
    FOLDS[type(fact)](state, fact, flow, time)


def _saved(state: State, fact: f.Saved, flow: str, time: int) -> None:
    state.flows[flow].variables[fact.name] = fact.value
    state.touch("flow", flow)


def _in_force(state: State, fact: f.InForce, flow: str, time: int) -> None:
    state.version = fact.version


def _held(state: State, fact: f.Held, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is None:
        return
    state.pending.pop(fact.id, None)
    if task.started is not None and task.outcome is None and not state.holds.at_step(fact.id):
        # Nothing runs it, and nobody is asked yet.
        state.begun.discard(fact.id)
        state.waits.forget_due("timeout", fact.id)
        if task.policy is not None and task.policy.expires is not None:
            state.waits.set_due(task.policy.expires, "expires", fact.id)
        state.change(fact.id, started=None)
    state.change(fact.id, is_held=True)
    state.flows[flow].stopped += 1
    state.touch("flow", flow)


def _released(state: State, fact: f.Released, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is None or not task.is_held:
        return
    if fact.id in state.holds.stops:
        state.holds.release(fact.id)
        state.touch("hold", fact.id)
    state.change(fact.id, is_held=False, started=time if fact.is_asked else task.started)
    state.flows[flow].stopped -= 1
    state.touch("flow", flow)
    fresh = state.task(fact.id)
    assert fresh is not None
    if fact.is_asked:
        state.waits.forget_due("expires", fact.id)
    if fact.id not in state.running:  # A script keeps what it has taken while it is held before a step.
        state.enqueue(fresh)


def _edited(state: State, fact: f.Edited, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is None:
        return
    state.tasks[fact.id] = f.edited(task, fact)
    state.touch("task", fact.id)
    if fact.body is not None:
        frame = state.waits.frames.get(fact.id)
        if frame is not None:
            frame.body = fact.body
            state.touch("frame", fact.id)


def _break_set(state: State, fact: f.BreakSet, flow: str, time: int) -> None:
    state.touch("break", fact.name, is_new=fact.name not in state.holds.points)
    state.holds.set(fact, time)
    state.is_watched = True


def _break_removed(state: State, fact: f.BreakRemoved, flow: str, time: int) -> None:
    if fact.name in state.holds.points:
        state.holds.remove(fact.name)
        state.drop("break", fact.name)
    state.is_watched = state.holds.is_any_on


def _break_switched(state: State, fact: f.BreakSwitched, flow: str, time: int) -> None:
    state.holds.switch(fact.name, fact.is_on)
    state.touch("break", fact.name)
    state.is_watched = state.holds.is_any_on


def _hit(state: State, fact: f.Hit, flow: str, time: int) -> None:
    holds = state.holds
    if fact.stops:
        state.touch("hold", fact.id, is_new=fact.id not in holds.stops)
    if fact.name in holds.points:
        state.touch("break", fact.name)
    holds.hit(fact, flow, time)
    if fact.is_last:
        state.is_watched = holds.is_any_on


def _forked(state: State, fact: f.Forked, flow: str, time: int) -> None:
    state.flows[flow].origin = f.Origin(fact.origin, fact.seq, fact.by, fact.is_real)
    state.touch("flow", flow)
    if not fact.is_real:
        answers = {one.id: one for one in fact.answers}
        newest = max((task.id for task in state.live(flow)), default="")
        state.holds.forks[flow] = Answers(flow, answers, dict(fact.stubs), newest=newest)
        state.touch("fork", flow, is_new=True)


def _stubbed(state: State, fact: f.Stubbed, flow: str, time: int) -> None:
    found = state.holds.forks.get(flow)
    task = state.task(fact.id)
    if found is None or task is None:
        return
    of = fact.of or ""
    found.asked[fact.id] = of if fact.id > found.newest else ""
    found.answers.pop(of, None)
    state.touch("fork", flow)
    if task.started is None:
        state.change(fact.id, started=time)
        state.begun.add(fact.id)


def _flow_held(state: State, fact: f.FlowHeld, flow: str, time: int) -> None:
    state.flows[flow].held = fact.reason
    state.touch("flow", flow)


def _flow_released(state: State, fact: f.FlowReleased, flow: str, time: int) -> None:
    state.flows[flow].held = None
    state.flows[flow].idle_run = 0
    state.touch("flow", flow)


def _flow_bent(state: State, fact: f.FlowBent, flow: str, time: int) -> None:
    state.flows[flow].bent = fact.outcome
    state.flows[flow].text = fact.text
    state.touch("flow", flow)


def _flow_moved(state: State, fact: f.FlowMoved, flow: str, time: int) -> None:
    state.flows[flow].version = fact.version
    state.touch("flow", flow)


def _entered(state: State, fact: f.Entered, flow: str, time: int) -> None:
    state.pending.pop(fact.id, None)
    state.change(fact.id, started=time)
    task = state.task(fact.id)
    if task is not None:
        state.flows[flow].calls += 1
        state.touch("flow", flow)
        count_idle(state, task)
        if task.policy is not None:
            begin_times(state, task)


def _ripened(state: State, fact: f.Ripened, flow: str, time: int) -> None:
    task = state.task(fact.id)
    if task is None or task.policy is None:
        return
    # A replay did not see it come.
    for kind in ("start", "at"):
        state.waits.forget_due(kind, fact.id)
    policy = replace(task.policy, due=None)
    if task.event:
        state.change(fact.id, policy=policy, outcome="done", completed=time)
    else:
        state.change(fact.id, policy=policy, started=time if fact.is_asked else None)
        if fact.is_asked:
            state.waits.forget_due("expires", fact.id)
    fresh = state.task(fact.id)
    assert fresh is not None
    state.enqueue(fresh)


def _tried_again(state: State, fact: f.TriedAgain, flow: str, time: int) -> None:
    frame = state.waits.frames.get(fact.id)
    if frame is not None:
        frame.tries += 1
        state.touch("frame", frame.id)


def _left(state: State, fact: f.Left, flow: str, time: int) -> None:
    frame = state.waits.frames.get(fact.id)
    if frame is not None:
        drop_frame(state, frame)


def _joined(state: State, fact: f.Joined, flow: str, time: int) -> None:
    wait = state.waits.wait(fact.key)
    before = _ties(wait)
    _changed(state, fact.key, before, state.waits.joined(fact, flow, wait))


def _met(state: State, fact: f.Met, flow: str, time: int) -> None:
    waits, key = state.waits, fact.key
    if fact.is_whole and "\0\0" in key:
        # Without a scope it is tied to nothing: what it was need not be looked at.
        waits.drop(key)
        state.drop("wait", key)
        return
    wait = waits.wait(key)
    if wait is not None:
        _changed(state, key, _ties(wait), waits.met(fact, wait))


def _parted(state: State, fact: f.Parted, flow: str, time: int) -> None:
    wait = state.waits.wait(fact.key)
    if wait is not None or fact.answered:
        before = _ties(wait)
        _changed(state, fact.key, before, state.waits.parted(fact, flow, wait))


_Ties: TypeAlias = tuple[str, str, bool]


def _ties(wait: Wait | None) -> _Ties | None:
    """What ties a wait to its flow and call: its scope, its flow, and whether it keeps them."""
    return (wait.scope, wait.flow, wait.keeps) if wait is not None else None


def _changed(state: State, key: str, before: _Ties | None, wait: Wait | None) -> None:
    """Notes what flow and call know of a wait: that they live on for it, and that it ends with them."""
    if wait is not None:
        state.touch("wait", key, is_new=before is None)
    else:
        state.drop("wait", key)
    after = _ties(wait)
    if before == after or ((before is None or _is_free(before)) and (after is None or _is_free(after))):
        return
    for ties, is_there in ((before, False), (after, True)):
        if ties is None:
            continue
        scope, id, keeps = ties
        more = (1 if is_there else -1) if keeps else 0
        frame = _frame_of(state, key)
        _tie(state, ties, key, frame, is_there)
        if more and id in state.flows:
            state.flows[id].live += more
            state.touch("flow", id)
        if more and frame is not None:
            frame.live += more
            state.touch("frame", scope)
    frame = _frame_of(state, key)
    if before is not None and frame is not None and not frame.live:
        state.waits.quiet.append(frame.id)


def _is_free(ties: _Ties) -> bool:
    """Of records of all flows, none of which lives on for it: it ends with nothing."""
    return not ties[0] and not ties[2]


def _frame_of(state: State, key: str) -> Frame | None:
    """The call whose own rule waits by this key; a rule at top level may wait by the flow that a call is the root of."""
    rule, scope, _ = key.split("\0", 2)
    frame = state.waits.frames.get(scope)
    return frame if frame is not None and rule.startswith(f"{frame.type}.") else None


def _tie(state: State, ties: _Ties, key: str, frame: Frame | None, is_there: bool) -> None:
    """Notes that a wait ends with its flow and with its call, or ends with them no more."""
    scope, flow, keeps = ties
    waits = state.waits
    if not is_there:
        waits.ties.drop(flow, key)
    elif (scope or keeps) and flow in state.flows:
        waits.ties.add(flow, key)
    if frame is not None:
        (waits.call_ties.add if is_there else waits.call_ties.drop)(frame.id, key)


def _counted(state: State, fact: f.Counted, flow: str, time: int) -> None:
    tally = _tally(state, fact.key, flow)
    tally.open += fact.more
    tally.count += fact.more


def _settled(state: State, fact: f.Settled, flow: str, time: int) -> None:
    tally = _tally(state, fact.key, flow)
    tally.open -= 1


def _gathered(state: State, fact: f.Gathered, flow: str, time: int) -> None:
    _tally(state, fact.key, flow).is_closed = True


def _tally(state: State, key: str, flow: str) -> Tally:
    tally = state.waits.tallies.get(key)
    state.touch("tally", key, is_new=tally is None)
    if tally is None:
        tally = state.waits.tallies[key] = Tally(key)
        _tie_set(state, key, flow)
    return tally


def _tie_set(state: State, key: str, flow: str) -> None:
    _tie(state, ("set", flow, False), key, _frame_of(state, key), True)


def _scheduled(state: State, fact: f.Scheduled, flow: str, time: int) -> None:
    state.touch("timer", fact.name, is_new=fact.name not in state.waits.timers)
    state.waits.schedule(
        TimerState(fact.name, fact.due, fact.flow, fact.is_paused, fact.queued, fact.is_span, fact.times, fact.when)
    )


def _unscheduled(state: State, fact: f.Unscheduled, flow: str, time: int) -> None:
    timer = state.waits.timers.get(fact.name)
    if timer is not None:
        state.waits.schedule(replace(timer, due=None))
        del state.waits.timers[fact.name]
    state.drop("timer", fact.name)


def _marked(state: State, fact: f.Marked, flow: str, time: int) -> None:
    state.touch("mark", fact.key, is_new=fact.key not in state.waits.marks)
    marks = state.waits.marks
    marks[fact.key] = fact.until
    if len(marks) > state.waits.marks_max:
        # What is over says nothing: it is let go when there is much of it.
        for key in [key for key, until in marks.items() if until <= time]:
            del marks[key]
            state.drop("mark", key)
        state.waits.marks_max = max(MARKS_MAX, 2 * len(marks))


def _asked(state: State, fact: f.Asked, flow: str, time: int) -> None:
    scripts = state.waits.scripts
    is_new = fact.id not in scripts.of
    script = scripts.began(fact.id, time)
    _stepped(state, *scripts.add(script, step_of(fact)))
    state.touch("script", fact.id, is_new=is_new)


def _awaited(state: State, fact: f.Awaited, flow: str, time: int) -> None:
    scripts = state.waits.scripts
    is_new = fact.id not in scripts.of
    scripts.wait(scripts.began(fact.id, time), Open(fact.what, fact.place, fact.ids, fact.is_any, fact.due))
    state.touch("script", fact.id, is_new=is_new)
    if fact.ids:
        state.flows[flow].calls += 1
        state.touch("flow", flow)
    if fact.due is not None:
        state.waits.set_due(fact.due, "script", fact.id)


def _answered(state: State, fact: f.Answered, flow: str, time: int) -> None:
    scripts = state.waits.scripts
    script = scripts.of[fact.id]
    was = script.open
    assert was is not None, "an answer to a script that waits for nothing"
    script.open, script.missing = None, {}
    if was.ids:
        state.flows[flow].calls -= 1
        state.touch("flow", flow)
    if was.due is not None:
        state.waits.forget_due("script", fact.id)
    _stepped(state, *scripts.add(script, Step(was.what, fact.ids, None, was.place)))
    state.touch("script", fact.id)


def _stepped(state: State, key: str, is_new: bool) -> None:
    state.touch("stride", key, is_new=is_new)


# `evolve` without the call of it: for the hottest place.
FOLDS: dict[type, Callable[[State, Any, str, int], None]] = {
    **RECORD_FOLDS,
    f.Saved: _saved,
    f.InForce: _in_force,
    f.Held: _held,
    f.Released: _released,
    f.Edited: _edited,
    f.BreakSet: _break_set,
    f.BreakRemoved: _break_removed,
    f.BreakSwitched: _break_switched,
    f.Hit: _hit,
    f.Forked: _forked,
    f.Stubbed: _stubbed,
    f.FlowHeld: _flow_held,
    f.FlowReleased: _flow_released,
    f.FlowBent: _flow_bent,
    f.FlowMoved: _flow_moved,
    f.Entered: _entered,
    f.Ripened: _ripened,
    f.Left: _left,
    f.TriedAgain: _tried_again,
    f.Joined: _joined,
    f.Met: _met,
    f.Parted: _parted,
    f.Counted: _counted,
    f.Settled: _settled,
    f.Gathered: _gathered,
    f.Marked: _marked,
    f.Scheduled: _scheduled,
    f.Unscheduled: _unscheduled,
    f.ClockSet: clock_set,
    f.Asked: _asked,
    f.Awaited: _awaited,
    f.Answered: _answered,
}


_decode_chain = msgspec.msgpack.Decoder(Chain).decode
_decode_key = msgspec.msgpack.Decoder(PostKey).decode


def load(state: State, kind: str, rows: Iterable[tuple[str, bytes]]) -> None:
    """Takes up the cells of one kind: `meta`, `flow`, `chain`, `key`, those of the waits, `task`, in this order."""
    match kind:
        case "meta":
            for key, data in rows:
                if key == "state":
                    state.seq, state.last_id, state.version, stopping, *rest = msgspec.msgpack.decode(data)
                    state.stopping = set(stopping)
                    state.stop_kinds = rest[0] if rest else {}
                    state.holds.number = rest[1] if len(rest) > 1 else 0
        case "flow":
            state.flows.take_up(rows)
        case "chain":
            for key, data in rows:
                chain = state.chains[key] = _decode_chain(data)
                state.waits.ties.add(chain.flow, key)
        case "key":
            state.keys.update((key, _decode_key(data)) for key, data in rows)
        case "task":
            for key, data in rows:
                task = decode_task(data)
                force_setattr(task, "id", key)  # One text of it, in all that knows it.
                state.enqueue(task)
                state.tasks[key] = data
        case "wait":
            for key, scope, flow, keeps in state.waits.load_waits(rows):
                _tie(state, (scope, flow, keeps), key, _frame_of(state, key), True)
        case "tally":
            state.waits.load(kind, rows)
            for key in state.waits.tallies:
                scope = key.split("\0", 2)[1]
                frame = state.waits.frames.get(scope)
                _tie_set(state, key, frame.flow if frame is not None else scope)
        case "break" | "hold" | "fork":
            state.holds.load(kind, rows)
            state.is_watched = state.holds.is_any_on
        case _:
            state.waits.load(kind, rows)


def restore(cells: Callable[[str], Iterable[tuple[str, bytes]]], read: Callable[[int], Iterable[bytes]]) -> State:
    """The state that a journal tells: its cells, and the entries after them folded in.

    Args:
        cells: gives the cells of a kind.
        read: gives the data of the entries after a seq.

    Beside an engine that runs, a checkpoint may come while this reads: cells of two checkpoints tell no
    state at all, and are read again.

    Cost: grows with what is live and with the entries since the last checkpoint, not with history.
    """
    while True:
        state = State()
        meta = list(cells("meta"))
        load(state, "meta", meta)
        for kind in ("flow", "chain", "key", *KINDS, *HOLD_KINDS, "task"):
            load(state, kind, cells(kind))
        if list(cells("meta")) == meta:
            break
    for data in read(state.seq):
        turn(state, f.decode(data))
    return state
