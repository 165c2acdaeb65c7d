"""A machine's clock that was set: spans that run go by elapsed time, and move with it.

Not only what is due is moved but what a later start reads it from, so that a
restart does not undo it: with a timeout that is the `started` of a record,
which then says when that was by the clock as it is set now. What goes by the
clock on the wall (`at`, `cron`, `every day at`) stays; a time of it that has
come does not come again.
"""

from __future__ import annotations

from msgspec.structs import replace

from then.core import facts as f
from then.core.policies import Policy
from then.core.state import State, decode_task


def clock_set(state: State, fact: f.ClockSet, flow: str, time: int) -> None:
    """Moves all spans that run.

    Cost: grows with what is live.
    """
    by_us, waits = fact.by_us, state.waits
    waits.dues.shift(by_us)
    for key in waits.shift_windows(by_us):
        state.touch("wait", key)
    for key, until in waits.marks.items():
        waits.marks[key] = until + by_us
        state.touch("mark", key)
    for timer in [timer for timer in waits.timers.values() if timer.is_span and timer.due is not None]:
        waits.schedule(replace(timer, due=(timer.due or 0) + by_us))
        state.touch("timer", timer.name)
    for script in waits.scripts.of.values():
        if script.open is not None and script.open.due is not None:
            script.open = replace(script.open, due=script.open.due + by_us)
            state.touch("script", script.id)
    for point in state.holds.points.values():
        if point.due is not None:
            point.due += by_us
            state.touch("break", point.name)
    for id, kept in list(state.tasks.items()):
        task = decode_task(kept) if isinstance(kept, bytes) else kept
        if task.policy is None or task.outcome is not None:
            continue
        policy, started = _moved(task.policy, by_us), task.started
        if policy.timeout_us is not None and started is not None:
            started += by_us
        if policy != task.policy or started != task.started:
            moved = replace(task, policy=policy, started=started)
            state.tasks[id] = f.encode(moved) if isinstance(kept, bytes) else moved
            state.touch("task", id)


def _moved(policy: Policy, by_us: int) -> Policy:
    due, expires, deadline = policy.due, policy.expires, policy.deadline
    return replace(
        policy,
        due=due + by_us if due is not None and not policy.is_due_by_clock else due,
        expires=expires + by_us if expires is not None else None,
        deadline=deadline + by_us if deadline is not None else None,
    )
