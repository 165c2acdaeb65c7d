"""Why a trial's rules did not bring forth what was expected: a clause, a part of a join, a step that waits.

Who calls: `then.analysis.verdicts`, for what it says below a failed line.
"""

from __future__ import annotations

from collections.abc import Iterator

from then.analysis.coverage import all_rules, clause_text, names_of
from then.analysis.trial import Trial
from then.analysis.wordings import call_text, cut, pattern_text
from then.core.evaluate import Explanation, explain
from then.core.fields import Scope
from then.core.filters import Field, FlowVariable, Name
from then.core.rules import Act, Emit, Join, Loop, Pattern, Rule, Single
from then.core.scenarios import Expect, covers
from then.core.tasks import Json, Task
from then.core.values import CannotSay
from then.core.waits import Wait
from then.language.phrases import value_text
from then.language.scope import Declared
from then.language.scope import Scope as Names


def unfired(trial: Trial, expect: Expect) -> list[tuple[str, str]]:
    """Rules that would have emitted it, and what kept each from it: label and text."""
    rows: list[tuple[str, str]] = []
    for rule in all_rules(trial.edition.rules):
        is_asked = expect.rule is None or covers(rule.name, expect.rule)
        if is_asked and _emits(rule, expect.type):
            rows += [("rule", reason) for reason in _reasons(trial, rule)]
    return rows


def _reasons(trial: Trial, rule: Rule) -> Iterator[str]:
    """What a rule, or a step of it, waits for; else why it did not fire."""
    waiting = trial.awaited(rule.name)
    if waiting:
        for step, types in waiting.items():
            yield f"{step} waits for {', '.join(types)}"
    elif isinstance(rule.trigger, Single):
        reason = _why_not(trial, rule, rule.trigger.pattern)
        if reason is not None:
            yield f"{rule.name} did not fire: {reason}"
    elif isinstance(rule.trigger, Join) and not trial.has_fired(rule.name):
        open_ = [_lacks(rule.trigger, wait) for wait in trial.open_joins() if wait.rule == rule.name]
        yield from (f"{rule.name} waits for {lacks}" for lacks in open_)
        if not open_:
            parts = (f"`{pattern_text(part.pattern)}`" for part in rule.trigger.parts if not part.is_absent)
            yield f"{rule.name} did not fire: nothing is open of {', '.join(parts)}"


def _lacks(join: Join, wait: Wait) -> str:
    """What a half-filled join waits for, and for which key."""
    key = ", ".join(f"{name} {value_text(value)}" for name, value in zip(join.names, wait.values, strict=False) if name)
    of = f" ({key})" if key else ""
    if join.kind == "times" and len(wait.parts[0]) < join.count:
        part = pattern_text(join.parts[0].pattern)
        return f"{join.count} `{part}`, has {len(wait.parts[0])}{of}"
    parts = [
        f"`{pattern_text(part.pattern)}`"
        for part, came in zip(join.parts, wait.parts, strict=False)
        if not came and not part.is_absent
    ]
    return f"{', '.join(parts) or 'the end of its window'}{of}"


def _emits(rule: Rule, type: str) -> bool:
    """Whether one of its acts emits that."""
    todo: list[Act] = [act for step in rule.consequence.steps for act in step] if rule.consequence is not None else []
    while todo:
        act = todo.pop()
        emit = act.emit if isinstance(act, Loop) else act
        if isinstance(emit, Emit) and emit.type == type:
            return True
        if act.otherwise is not None:
            todo.append(act.otherwise)
    return False


def _why_not(trial: Trial, rule: Rule, pattern: Pattern) -> str | None:
    """The last record that it might have fired on, and its first clause that did not hold; None where it fired."""
    seen = [task for task in trial.records.values() if task.outcome is not None and pattern.fits(task)]
    if not seen:
        return f"no `{pattern_text(pattern)}` came"
    if pattern.where is None or trial.has_fired(rule.name):
        return None
    task = seen[-1]
    flow = trial.flow(task.flow)
    bindings: dict[str, Json | Task] = {} if pattern.alias is None else {pattern.alias: task}
    scope = Scope(task, bindings, flow.variables if flow is not None else None)
    first = explain(pattern.where, scope).first_unmet
    if first is None:
        return None
    names = names_of(pattern, Declared(trial.edition.rules))
    said = "is false" if first.value is False else "cannot be said"
    held = first.reason if said != "is false" else ", ".join(dict.fromkeys(_held(first, names)))
    return f"on {call_text(task.type, task.body)}, `{clause_text(first.expr, names)}` {said}" + (
        f" ({cut(held)})" if held else ""
    )


def _held(explanation: Explanation, names: Names) -> Iterator[str]:
    """What the places of a clause held."""
    if isinstance(explanation.expr, Field | Name | FlowVariable):
        is_there = not isinstance(explanation.value, CannotSay)
        yield f"{clause_text(explanation.expr, names)} {f'is {value_text(explanation.value)}' if is_there else 'is missing'}"
    for child in explanation.children:
        yield from _held(child, names)
