"""Under which name a set of rules is known: a hash of all that decides what they do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from attrs import evolve

from then.app.generators import source_hash
from then.core.rules import RuleSet
from then.core.source import Span


def size_of(rules: RuleSet) -> int:
    """How many rules and declarations are in a set."""
    groups = (rules.rules, rules.tasks, rules.events, rules.secrets, rules.procedures, rules.endings, rules.timers)
    inner = sum(len(procedure.rules) for procedure in rules.procedures.values())
    return sum(len(group) for group in groups) + len(rules.continuations) + len(rules.breakpoints) + inner


def version_of(rules: RuleSet) -> str:
    """16 hexadecimal digits: texts of files, and of what is Python its name and source.

    A function that runs a task is known by the task's name alone and may change; how the task is tried may not.
    """
    digest = hashlib.sha256()
    for path, text in sorted(rules.sources.items()):
        digest.update(f"{path}\0{text}\0".encode())
    for line in _lines(rules):
        digest.update(f"{line}\0".encode())
    return digest.hexdigest()[:16]


def _lines(rules: RuleSet) -> Iterator[str]:
    inner = [one for declared in rules.procedures.values() for one in (declared.first, *declared.rules)]
    for rule in (*rules.rules, *inner, *rules.endings.values()):
        if rule.generator is not None or not rules.sources:
            yield f"{rule.name}\0{rule.source or repr(rule)}"
    for name in sorted(rules.tasks):
        yield name
        task = rules.tasks[name]
        if _is_python(task.span, rules):
            yield repr(evolve(task, function=None))
    for name, declared in sorted(rules.procedures.items()):
        if _is_python(declared.span, rules):
            yield f"{name}\0{declared.inputs!r}\0{declared.result!r}\0{declared.deadline_us}\0{declared.may_fail}"
    for _, event in sorted(rules.events.items()):
        if _is_python(event.span, rules):
            yield repr(event)
    for name, timer in sorted(rules.timers.items()):
        if _is_python(timer.span, rules):
            yield f"{name}\0{timer!r}"
    for name, function in sorted(rules.continuations.items()):
        yield f"{name}\0{source_hash(function)}"
    for name, point in rules.breakpoints.items():
        if _is_python(point.span, rules):
            yield f"{name}\0{point.text}"
    for secret in sorted(rules.secrets.values(), key=lambda one: one.name):
        yield f"{secret.name}\0{secret.source}\0{secret.reference}"


def _is_python(span: Span | None, rules: RuleSet) -> bool:
    """Whether a declaration stands in no text that is hashed."""
    return span is None or span.file.endswith(".py") or not rules.sources
