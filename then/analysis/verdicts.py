"""Tests beside the rules, judged: what was expected, what came, and what came nearest to it.

A test goes on after an `expect` that fails; all of them are told. Who plays
the rules is `then.analysis.trial`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from then.analysis.coverage import Coverage
from then.analysis.reasons import unfired
from then.analysis.trial import Restless, Trial, is_skipped
from then.analysis.wordings import cut, expect_text, record_text, span_text, stub_text
from then.core.edition import Edition
from then.core.errors import RuleError
from then.core.scenarios import Advance, Expect, Given, Line, Posted, Scenario, Stub, covers
from then.core.source import Span
from then.core.tasks import Body, Json, Task
from then.core.values import equal
from then.language.phrases import value_text

SHOWN_MAX: Final = 5
"""Records that are listed of one kind."""
LABEL_WIDTH: Final = 10


class Difference(msgspec.Struct, frozen=True):
    """One thing in which a record is not what was expected."""

    what: str
    """A field, or `rule`."""
    expected: Json
    got: Json
    is_missing: bool = False

    def text(self) -> str:
        if self.what == "rule":
            return f"by rule {self.got}, not {self.expected}" if self.got else f"by no rule, not by {self.expected}"
        got = "missing" if self.is_missing else cut(value_text(self.got))
        return f"{self.what} is {got}, not {cut(value_text(self.expected))}"


class Failure(msgspec.Struct, frozen=True):
    """A line of a test that did not hold, and what there is to say about it."""

    message: str
    """One line: what was expected, what came."""
    span: Span | None = None
    expected: str | None = None
    """The `expect` as it would be written."""
    got: tuple[Task, ...] = ()
    """The records that were counted."""
    nearest: Task | None = None
    differences: tuple[Difference, ...] = ()
    """Between the nearest record and what was expected."""
    hints: tuple[tuple[str, str], ...] = ()
    """Label and text: what else may be the reason."""
    begin_us: int = 0
    """When the test began."""

    def text(self) -> str:
        """`FILE:LINE:COL: expected …, got …`, and the rest below."""
        rows: list[tuple[str, str]] = []
        for task in self.got[:SHOWN_MAX]:
            rows.append(("got" if not rows else "", record_text(task, self.begin_us)))
        if len(self.got) > SHOWN_MAX:
            rows.append(("", f"and {len(self.got) - SHOWN_MAX} more"))
        if self.nearest is not None:
            rows.append(("nearest", record_text(self.nearest, self.begin_us)))
            rows += [("", f"  {difference.text()}") for difference in self.differences]
        rows += self.hints
        place = f"{self.span}: " if self.span is not None else ""
        return "\n".join([place + self.message, *(f"    {label:{LABEL_WIDTH}}{text}" for label, text in rows)])


class Verdict(msgspec.Struct, frozen=True):
    """What came of one test."""

    scenario: Scenario
    failures: tuple[Failure, ...]

    @property
    def is_passed(self) -> bool:
        return not self.failures


def judge(scenario: Scenario, edition: Edition, coverage: Coverage | None = None, root: Path | None = None) -> Verdict:
    """Plays a test in a world of its own.

    Args:
        root: where the scripts of tasks without a stub are found.

    Cost: about 50 µs a record, and what its clauses cost.
    """
    trial = Trial(edition, coverage=coverage, root=root)
    failures: list[Failure] = []
    for line in scenario.lines:
        try:
            failure = _play(line, trial)
        except (Restless, RuleError) as error:
            # Nothing that comes after would say more.
            message = error.message if isinstance(error, RuleError) else str(error)
            failures.append(Failure(message, line.span, hints=_notes(trial)))
            break
        if failure is not None:
            failures.append(failure)
    return Verdict(scenario, tuple(failures))


def _play(line: Line, trial: Trial) -> Failure | None:
    match line:
        case Given(now_us=now_us):
            trial.begin(now_us)
        case Posted(type=type, body=body):
            trial.post(type, body)
        case Stub(type=type, answers=answers):
            trial.stub(type, [(answer, answer.times) for answer in answers])
        case Advance(by_us=by_us):
            trial.advance(by_us)
        case Expect():
            return unmet(trial, line)
    return None


# -- what is expected -------------------------------------------------------------


def fitting(trial: Trial, expect: Expect) -> list[Task]:
    """The records that an `expect` counts."""
    return [task for task in trial.emitted(expect.type) if not _differences(task, expect)]


def unmet(trial: Trial, expect: Expect) -> Failure | None:
    """Why it does not hold; None where it does."""
    got = fitting(trial, expect)
    count = len(got)
    if count >= 1 if expect.count is None else count == expect.count:
        return None
    text = expect_text(expect)
    message = f"expected {text}, got {count or 'none'}"
    is_too_few = not expect.is_absent and (expect.count is None or count < expect.count)
    nearest = _nearest(trial, expect, got) if is_too_few else None
    hints: list[tuple[str, str]] = []
    if is_too_few:
        if nearest is not None:
            hints += _why_not_counted(trial, nearest)
        hints += unfired(trial, expect)[:SHOWN_MAX]
        hints += _emitted(trial) if nearest is None else []
        hints += _unanswered(trial)
        hints += _put_off(trial)
    hints += _notes(trial)
    differences = tuple(_differences(nearest, expect)) if nearest is not None else ()
    return Failure(message, expect.span, text, tuple(got), nearest, differences, tuple(hints), trial.begin_us)


def _differences(task: Task, expect: Expect) -> list[Difference]:
    found = []
    for name, wanted in expect.fields.items():
        if name not in task.body:
            found.append(Difference(name, wanted, None, is_missing=True))
        elif not equal(task.body[name], wanted):
            found.append(Difference(name, wanted, task.body[name]))
    if expect.rule is not None and not covers(expect.rule, task.rule):
        found.append(Difference("rule", expect.rule, task.rule))
    return found


def _nearest(trial: Trial, expect: Expect, got: Iterable[Task]) -> Task | None:
    """The record of that type that lacks least, of those that were not counted; one that rules emitted before others."""
    counted = {task.id for task in got}
    candidates = [task for task in trial.emitted(expect.type) if task.id not in counted]
    ids = {task.id for task in candidates} | counted
    candidates += [task for id, task in trial.records.items() if task.type == expect.type and id not in ids]
    return min(candidates, key=lambda task: len(_differences(task, expect)), default=None)


def _why_not_counted(trial: Trial, task: Task) -> list[tuple[str, str]]:
    """Records that are there and do not count."""
    if task.id in trial.own:
        return [("", "  posted by the test, not emitted")]
    due = trial.dues.get(task.id)
    if due is not None and task.outcome is None:
        return [("", f"  due in {span_text(due - trial.now_us)}: it does not count before")]
    if due is not None:
        return [("", "  ended before it was due: it does not count")]
    if is_skipped(task):
        return [("", "  skipped: it never ran")]
    if not task.settled:
        return [("", "  an attempt that is tried again: it does not count")]
    return []


def _emitted(trial: Trial) -> list[tuple[str, str]]:
    types = dict.fromkeys(task.type for task in trial.records.values() if task.id not in trial.own)
    counts = Counter({type: count for type in types if (count := sum(1 for _ in trial.emitted(type)))})
    if not counts:
        return [("emitted", "nothing")]
    shown = [f"{type} {count}" for type, count in counts.most_common(SHOWN_MAX)]
    more = f", and {len(counts) - SHOWN_MAX} other types" if len(counts) > SHOWN_MAX else ""
    return [("emitted", ", ".join(shown) + more)]


def _unanswered(trial: Trial) -> list[tuple[str, str]]:
    """What runs for want of a stub, each with a stub that would answer it."""
    rows: list[tuple[str, str]] = []
    for type, tasks in trial.unanswered().items():
        times = f" {len(tasks)} times" if len(tasks) > 1 else ""
        rows.append(("running", f"{type}{times}, unanswered: `{stub_text(type, trial.edition.rules)}` would answer"))
    return rows[:SHOWN_MAX]


def _put_off(trial: Trial) -> list[tuple[str, str]]:
    """Attempts that wait for their time: what follows of them is not there yet."""
    rows: list[tuple[str, str]] = []
    for id, due in trial.dues.items():
        task = trial.records[id]
        if task.origin is not None and task.outcome is None:
            rows.append(("due", f"{task.type}, attempt {task.attempt}, in {span_text(due - trial.now_us)}"))
    return rows[:SHOWN_MAX]


def _notes(trial: Trial) -> tuple[tuple[str, str], ...]:
    return tuple(("note", cut(note, 200)) for note in dict.fromkeys(trial.notes))[:SHOWN_MAX]


def as_json(failure: Failure) -> Body:
    """A failure as an object."""
    span = failure.span
    return {
        "file": span.file if span is not None else None,
        "line": span.line if span is not None else None,
        "column": span.column if span is not None else None,
        "message": failure.message,
        "expected": failure.expected,
        "got": [_record_json(task) for task in failure.got],
        "nearest": _record_json(failure.nearest) if failure.nearest is not None else None,
        "differences": [
            {"what": difference.what, "expected": difference.expected, "got": difference.got}
            for difference in failure.differences
        ],
        "hints": [f"{label}: {text.strip()}" if label else text.strip() for label, text in failure.hints],
    }  # fmt: skip


def _record_json(task: Task) -> Body:
    return {"type": task.type, "body": task.body, "rule": task.rule, "outcome": task.outcome}
