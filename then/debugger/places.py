"""Places at which a flow may stop, from what people write and editors point at: tasks, rules, lines of rules and scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from then.core.errors import ConfigError
from then.core.rules import RuleSet
from then.core.source import Span
from then.debugger.script import scripts_of
from then.scripts.sources import read, step_lines

HERE: Final = Path()
_CONDITION: Final = re.compile(r"""r'[^']*'|r"[^"]*"|"(?:[^"\\]|\\.)*"|(?<=\s)(?P<word>if|where)\b""")
"""Where a condition begins; texts, in which the same words may stand, are passed over."""
_LINE: Final = re.compile(r"(?:(?P<file>[^\s:]+):)?(?P<line>\d+)")


def place_of(rules: RuleSet, text: str, here: str = "", root: Path = HERE) -> str:
    """`pay`, `shop.then:12`, `12`, `after pay`, each perhaps with `if EXPR`, as a place of the language.

    Args:
        here: the file that a line alone is in.
        root: the project's, where its scripts are found.

    Raises:
        ConfigError: no rule, and no step of a script, stands at that line.
    """
    word = next((found for found in _CONDITION.finditer(text) if found["word"]), None)
    head, condition = (text[: word.start()].strip(), f" where{text[word.end() :]}") if word else (text.strip(), "")
    line = _LINE.fullmatch(head)
    if line is not None:
        return place_at_line(rules, line["file"] or here, int(line["line"]), root)[0] + condition
    if " " in head:
        return head + condition
    if rules.rule(head) is not None and head not in rules.tasks and head not in rules.procedures:
        return f"on rule {head}{condition}"
    is_event = head in rules.events
    return f"{'after' if is_event else 'before'} {head}{condition}"


def place_at_line(rules: RuleSet, file: str, line: int, root: Path = HERE) -> tuple[str, Span]:
    """The place of what covers a line, a rule or the head of a procedure: the last that begins at it or before.

    Of a script it is the step at the line, or the next one after it.

    Raises:
        ConfigError: nothing does, or it has no name.
    """
    own = script_at(rules, file)
    if own is not None:
        found = next((at for at in _steps(own, file, root) if at >= line), None)
        if found is None:
            raise ConfigError(f"{own}:{line}: no step (`run`, `wait`, …) stands there or after it")
        types = [type for type, of in scripts_of(rules).items() if of == own]
        return f'on step of {types[0] if len(types) == 1 else "any"} at "{own}:{found}"', Span(own, found)
    beside = [(span, place) for span, place in _standing(rules) if is_file(span.file, file) and span.line <= line]
    if not beside or line > len(lines_of(rules, beside[0][0], root)):
        raise ConfigError(f"{file}:{line}: no rule stands there")
    span, place = max(beside, key=lambda one: one[0].line)
    if _is_nameless(place):
        raise ConfigError(
            f"{file}:{line}: the rule there has no name; stop at a task instead, or write `rule NAME when …`"
        )
    return place, span


def script_at(rules: RuleSet, file: str) -> str | None:
    """The script that a file is, from the project's root; None where no task runs it."""
    return next((own for own in scripts_of(rules).values() if is_file(own, file)), None)


def _steps(own: str, file: str, root: Path) -> list[int]:
    return step_lines(read(Path(file) if Path(file).is_absolute() else root / own, own))


def lines_with_places(rules: RuleSet, file: str, root: Path = HERE) -> list[int]:
    """The lines of a file on which rules with a name and procedures begin, or steps of a script stand."""
    own = script_at(rules, file)
    if own is not None:
        return _steps(own, file, root)
    beside = [(span.line, place) for span, place in _standing(rules) if is_file(span.file, file)]
    return sorted({line for line, place in beside if not _is_nameless(place)})


def is_file(one: str, other: str) -> bool:
    """Whether a file of rules is the one that somebody means: the same path, or the end of it."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def lines_of(rules: RuleSet, span: Span, root: Path = HERE) -> list[str]:
    """The text that a place is in; empty where it is not known."""
    for key, text in rules.sources.items():
        if text and (span.file == key or span.file.endswith(f"/{key}")):
            return text.splitlines()
    try:
        return (root / span.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _is_nameless(place: str) -> bool:
    return place.rpartition(".")[2].isdigit()


def _standing(rules: RuleSet) -> list[tuple[Span, str]]:
    procedures = rules.procedures.values()
    places = [(rule.span, f"on rule {rule.name}") for rule in rules.rules]
    places += [(rule.span, f"on rule {rule.name}") for one in procedures for rule in one.rules]
    # With what a procedure begins is no rule that fires: its call is.
    places += [(one.span, f"before {one.name}") for one in procedures]
    return [(span, place) for span, place in places if span is not None]
