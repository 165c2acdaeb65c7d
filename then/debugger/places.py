"""Places at which a flow may stop, from what people write and editors point at: tasks, rules, lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from then.core.errors import ConfigError
from then.core.rules import RuleSet
from then.core.source import Span

_LINE: Final = re.compile(r"(?:(?P<file>[^\s:]+):)?(?P<line>\d+)")


def place_of(rules: RuleSet, text: str, here: str = "") -> str:
    """`pay`, `shop.then:12`, `12`, `after pay`, each perhaps with `if EXPR`, as a place of the language.

    Args:
        here: the file that a line alone is in.

    Raises:
        ConfigError: no rule stands at that line.
    """
    text = re.sub(r"\bif\b", "where", text, count=1)
    head, _, condition = text.partition(" where ")
    head, condition = head.strip(), f" where {condition}" if condition else ""
    line = _LINE.fullmatch(head)
    if line is not None:
        return place_at_line(rules, line["file"] or here, int(line["line"]))[0] + condition
    if " " in head:
        return text
    if rules.rule(head) is not None and head not in rules.tasks and head not in rules.procedures:
        return f"on rule {head}{condition}"
    is_event = head in rules.events
    return f"{'after' if is_event else 'before'} {head}{condition}"


def place_at_line(rules: RuleSet, file: str, line: int) -> tuple[str, Span]:
    """The place of what covers a line, a rule or the head of a procedure: the last that begins at it or before.

    Raises:
        ConfigError: nothing does, or it has no name.
    """
    beside = [(span, place) for span, place in _standing(rules) if is_file(span.file, file) and span.line <= line]
    if not beside or line > len(lines_of(rules, beside[0][0])):
        raise ConfigError(f"{file}:{line}: no rule stands there")
    span, place = max(beside, key=lambda one: one[0].line)
    if place.rpartition(".")[2].isdigit():
        raise ConfigError(
            f"{file}:{line}: the rule there has no name; stop at a task instead, or write `rule NAME when …`"
        )
    return place, span


def lines_with_places(rules: RuleSet, file: str) -> list[int]:
    """The lines of a file on which rules and procedures begin."""
    return sorted({span.line for span, _ in _standing(rules) if is_file(span.file, file)})


def is_file(one: str, other: str) -> bool:
    """Whether a file of rules is the one that somebody means: the same path, or the end of it."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def lines_of(rules: RuleSet, span: Span) -> list[str]:
    """The text that a place is in; empty where it is not known."""
    for key, text in rules.sources.items():
        if text and (span.file == key or span.file.endswith(f"/{key}")):
            return text.splitlines()
    try:
        return Path(span.file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _standing(rules: RuleSet) -> list[tuple[Span, str]]:
    procedures = rules.procedures.values()
    places = [(rule.span, f"on rule {rule.name}") for rule in rules.rules]
    places += [(rule.span, f"on rule {rule.name}") for one in procedures for rule in one.rules]
    # With what a procedure begins is no rule that fires: its call is.
    places += [(one.span, f"before {one.name}") for one in procedures]
    return [(span, place) for span, place in places if span is not None]
