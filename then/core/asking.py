"""What scripts ask: each step is decided, written down, and answered.

Theory of operation. A script is run outside; whatever it does that others can
see, and whatever it learns, is a step that it asks for (`Ask`). The step is
decided here and recorded in the transaction that does it, so that a script that
is run again after a crash gets the answer of then instead of doing it twice.
What a script starts is emitted by its task: same flow, same call, and `cont` is
the script, so that it hears how that ended (`then.core.lives`).

1. An answer may reach the script before it is durable (`Told`): all that the
   script makes of it comes later in the journal. What it started waits for
   the commit as any task does.
2. Of a wait the answer is decided once, after the rules have seen what it was
   for; a failure in it is taken up by that.
3. What is refused is recorded too: run again, it is refused again, whatever the rules are then.
4. A step before which a breakpoint holds the script is not taken, and nothing of it is recorded but the hit.
"""

from __future__ import annotations

from then.core import facts as f
from then.core.causes import Ask, Told
from then.core.emitting import carry_out
from then.core.errors import nearest
from then.core.firing import Firing, PlanFailed, plan_asked
from then.core.holding import hold_step
from then.core.rules import RuleSet
from then.core.scripts import Script
from then.core.state import FAILURES
from then.core.stepping import Stepping
from then.core.tasks import Json, Task


def ask(at: Stepping, cause: Ask) -> None:
    """A script takes a step."""
    task = at.state.task(cause.id)
    script = at.state.waits.scripts.of.get(cause.id)
    count = script.count if script is not None else 0
    is_waiting = script is not None and script.open is not None
    if task is None or task.outcome is not None or cause.n != count or is_waiting:
        # It was ended, or is one that was given up and has come back.
        at.orders.append(Told(cause.id, cause.n, is_over=True))
        return
    if (at.state.is_watched or task.is_held) and hold_step(at, task, cause):
        at.orders.append(Told(cause.id, cause.n, is_over=True))
        return
    if cause.kind == "wait":
        _wait(at, task, script, cause)
        return
    value: Json = cause.value
    refused: str | None = None
    match cause.kind:
        case "run" | "call" | "emit":
            value, refused = _emit(at, task, cause)
        case "save":
            at.add(task.flow, f.Saved(cause.type, cause.value))
            value = None
        case "load":
            variables = at.state.flows[task.flow].variables
            if cause.type in variables:
                value = variables[cause.type]
            else:
                refused = f'flow variable "{cause.type}" was never saved'
    at.add(task.flow, f.Asked(task.id, cause.n, cause.what, cause.place, value, refused))
    at.orders.append(Told(task.id, cause.n, value, refused=refused))


def _emit(at: Stepping, task: Task, cause: Ask) -> tuple[Json, str | None]:
    """Starts what a script asks for. Its id, and why not."""
    edition = at.terms.editions[at.state.flows[task.flow].version]
    misused = _misused(edition.rules, cause.kind, cause.type)
    if misused is not None:
        return None, misused
    firing = Firing(task, cause.place, task.call, task.by_unmatched)
    if cause.kind != "emit":
        firing.script = task.id
    try:
        plan_asked(firing, edition, cause.type, cause.body)
    except PlanFailed as failed:
        return None, str(failed)
    page = at.page if at.page is not None and at.page.flow == task.flow else None
    before = len(page.facts) if page is not None else 0
    carry_out(at, firing, edition)
    page = at.page
    assert page is not None
    born = next(fact for fact in page.facts[before:] if isinstance(fact, f.Emitted))
    return born.task.id, None


def _misused(rules: RuleSet, word: str, name: str) -> str | None:
    """What is wrong with starting that by this word."""
    if word == "call" and name not in rules.procedures:
        if name in rules.tasks:
            return f'"{name}" is a task, and call is for procedures; run("{name}", …) starts it'
        return f'"{name}" is no procedure{nearest(name, rules.procedures)}'
    if word == "run" and name in rules.events:
        return f'"{name}" is an event, of which nothing comes that could be waited for; emit("{name}", …) emits it'
    return None


def _wait(at: Stepping, task: Task, script: Script | None, cause: Ask) -> None:
    ids = list(cause.ids)
    found = _found(at, script, ids, cause.is_any) if ids and script is not None else None
    if found is not None:
        at.add(task.flow, f.Asked(task.id, cause.n, cause.what, cause.place, [one.id for one in found]))
        _tell(at, task.id, cause.n, found)
        return
    due = None if cause.timeout_us is None else at.terms.time + cause.timeout_us
    at.add(task.flow, f.Awaited(task.id, cause.n, cause.what, cause.place, ids, cause.is_any, due))


def answer(at: Stepping, id: str) -> None:
    """A script's wait is over: what it waits for has come, or the time for it has passed."""
    script = at.state.waits.scripts.of.get(id)
    task = at.state.task(id)
    if script is None or script.open is None or task is None:
        return
    wait, n = script.open, script.count
    found = _found(at, script, wait.ids, wait.is_any) if script.is_answerable else None
    if found is None and (wait.due is None or wait.due > at.terms.time):
        return
    at.add(task.flow, f.Answered(id, n, None if found is None else [one.id for one in found]))
    _tell(at, id, n, found)


def _found(at: Stepping, script: Script, ids: list[str], is_any: bool) -> list[Task] | None:
    """What a wait is for, in its order, where it has settled; of several of which one is enough, one."""
    if is_any:
        first = next(at.state.waits.scripts.settled(script, ids), None)
        return None if first is None else [first]
    if any(id not in script.last for id in ids):
        return None
    return list(at.state.waits.scripts.settled(script, ids))


def _tell(at: Stepping, id: str, n: int, found: list[Task] | None) -> None:
    """Answers a wait; failures in it are taken up by that."""
    for record in found or ():
        flow = at.state.flows[record.flow]
        if record.outcome in FAILURES and record.id in flow.untaken:
            at.add(record.flow, f.TakenUp(record.id, record.call))
    at.orders.append(Told(id, n, None if found is None else [one.id for one in found], tuple(found or ())))
