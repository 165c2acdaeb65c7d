"""Records, expectations and stubs in the words of the language, for those who read why a test failed."""

from __future__ import annotations

from typing import Final

from then.core.rules import ANY, EVENT, FINISHED, Pattern, RuleSet, TypeRef
from then.core.scenarios import Expect
from then.core.tasks import OUTCOMES, Body, Task
from then.language.phrases import key_text, value_text

VALUE_CHARACTERS_MAX: Final = 80
DEPTH_MAX: Final = 3
"""Of records in records, in a stub that is proposed."""

_UNITS_US: Final = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000))

_SAMPLES: Final[dict[str, str]] = {
    "int": "0", "float": "0.0", "bool": "true", "list": "[]", "map": "{}", "any": "null", "task": '"…"', "file": '"…"',
}  # fmt: skip


def cut(text: str, characters: int = VALUE_CHARACTERS_MAX) -> str:
    """The text, its end marked where some is left out."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def call_text(type: str, body: Body) -> str:
    """`notify(who: "ops", text: "late")`; only the type where there is no field."""
    if not body:
        return type
    return f"{type}({', '.join(f'{key_text(name)}: {cut(value_text(value))}' for name, value in body.items())})"


def pattern_text(pattern: Pattern) -> str:
    """`pay done`, `order.placed`, `any failed or timed out`: what a rule waits for, without its clauses."""
    family = "any" if pattern.family == ANY else pattern.family
    if pattern.outcomes == FINISHED:
        return f"{family} finished"
    words = [word.replace("_", " ") for word in OUTCOMES if word in pattern.outcomes]
    return f"{family} {' or '.join(words)}" if words and EVENT not in pattern.outcomes else family


def expect_text(expect: Expect) -> str:
    """`notify(who: "ops") once by rule pack`: what stands after `expect`."""
    words = [call_text(expect.type, expect.fields)]
    if expect.count == 0:
        words.insert(0, "no")
    elif expect.count is not None:
        words.append("once" if expect.count == 1 else f"{expect.count} times")
    if expect.rule is not None:
        words.append(f"by rule {expect.rule}")
    return " ".join(words)


def record_text(task: Task, begin_us: int) -> str:
    """`notify(who: "ops") by rule pack after 2h`, and how it ended where that was not well."""
    words = [call_text(task.type, task.body)]
    if task.rule is not None:
        words.append(f"by rule {task.rule}")
    if task.created > begin_us:
        words.append(f"after {span_text(task.created - begin_us)}")
    if task.outcome is not None and task.outcome != "done":
        kind = (task.error or {}).get("kind")
        words.append(f"[{task.outcome.replace('_', ' ')}{f': {kind}' if kind else ''}]")
    return " ".join(words)


def span_text(us: int) -> str:
    """`2h`, `1d 30m`, `250ms`: the two largest units."""
    parts: list[str] = []
    for unit, size in _UNITS_US:
        count, us = divmod(us, size)
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:
            break
    return " ".join(parts) or "0s"


def stub_text(type: str, rules: RuleSet) -> str:
    """A stub that answers a task well, with a value of the right type for each field of its result."""
    task = rules.tasks.get(type)
    shown = ", ".join(
        f"{field.name}: {_sample(field.type, rules, 0)}"
        for field in (task.result if task is not None else None) or ()
        if not field.type.optional and field.default is None
    )
    return f"stub {type} done" + (f" ({shown})" if shown else "")


def _sample(ref: TypeRef, rules: RuleSet, depth: int) -> str:
    record = rules.records.get(ref.name)
    if record is None or depth >= DEPTH_MAX:
        return _SAMPLES.get(ref.name, '"…"')
    inner = ", ".join(
        f"{field.name}: {_sample(field.type, rules, depth + 1)}"
        for field in record.fields
        if not field.type.optional and field.default is None
    )
    return f"{{{inner}}}"
