"""Findings: what is wrong with rules, or looks wrong, each with a number and a place.

Errors refuse a rule set; warnings never do. The classes of errors that only
the language has are here, beside those of `then.core.errors`; every number has
its section, with an example and how it is mended, in docs/language-checks.md.
Who collects findings is a `Findings`, which all passes of one load share.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeVar

import attrs

from then.core.errors import RuleError, RulesRefused
from then.core.source import Span

Severity = Literal["error", "warning"]
T = TypeVar("T")

ERRORS_MAX: Final = 100
"""Of one load: it ends there. A person mends a few and looks again."""


class Enough(Exception):
    """So many errors that nothing further is looked at."""


class ArgumentMissing(RuleError):
    """An emission without a field that its type needs, or with one that it does not have."""

    number = "T106"


class OutcomeWord(RuleError):
    """A task that is waited for without an outcome word, or an event with one."""

    number = "T107"


class FileRefused(RuleError):
    """A file of `use`, `load … from` or a command that cannot be read, or may not be."""

    number = "T108"


class UseCycle(RuleError):
    """Files that use each other in a circle."""

    number = "T109"

    def __init__(self, chain: Iterable[str], span: Span | None = None, line: str | None = None) -> None:
        self.chain = tuple(chain)
        super().__init__(f"files use each other: {' uses '.join(self.chain)}", span, line)


class PatternRefused(RuleError):
    """A regular expression that cannot be evaluated in linear time, or is none."""

    number = "T111"


class NoValue(RuleError):
    """A `let`, a default or an argument of `start` whose value is not known at load."""

    number = "T112"


class Misplaced(RuleError):
    """A form of the language where it means nothing, such as `env(…)` outside a `let`."""

    number = "T113"


class JoinRefused(RuleError):
    """A wait for several records that says no key, or no window, or that nothing could fill."""

    number = "T116"


class NumberRefused(RuleError):
    """A number or a span of time that makes no sense where it stands."""

    number = "T117"


class CallRefused(RuleError):
    """A call of what is no procedure, or a procedure that is not called."""

    number = "T118"


class SecretPlace(RuleError):
    """A secret where its value would be seen."""

    number = "T119"


WARNINGS: Final = {
    "T601": "an optional field is used without a guard",
    "T602": "a rule after a final rule never fires",
    "T603": "a clause can never be true",
    "T604": "an event is declared and never used",
    "T605": "a result field hides an input",
    "T606": "a field hides a `let` or a parameter",
    "T607": "a value in a shell line is not quoted",
    "T608": "an `else` where nothing can fail",
    "T609": "two rules emit the same for the same record",
    "T610": "events bring forth each other, or procedures call each other, without an end",
    "T611": "a type that nothing declares is emitted",
    "T612": "a join waits for what nothing emits",
    "T613": "a procedure never returns",
    "T614": "a procedure returns twice",
    "T615": "a task that is to be handed over never is",
    "T616": "a name that nothing declares is near one that is",
    "T617": "an `else` leaves out earlier steps",
    "T618": "a set does not hear of all its records",
    "T619": "a flow variable is read and never saved",
}
"""Number and title of each warning."""


@attrs.frozen
class Finding:
    """One thing that `andthen check` says."""

    severity: Severity
    number: str
    message: str
    span: Span | None = None
    hint: str = ""
    """What to do about it, where that is known and the message does not say it."""
    line: str | None = None
    """The source line."""

    def text(self) -> str:
        """`FILE:LINE:COL: warning T604: …`, with the line and a caret where there is one."""
        words = f"{self.severity} {self.number}: {self.message}{f'; {self.hint}' if self.hint else ''}"
        return RuleError(words, self.span, self.line).text()


class Findings:
    """What the passes of one load have found so far."""

    def __init__(self) -> None:
        self.errors: list[RuleError] = []
        self.warnings: list[Finding] = []

    def refuse(self, error: RuleError) -> None:
        """Keeps an error; of a `RulesRefused` each one.

        Raises:
            Enough: that was the last that is kept.
        """
        for each in error.errors if isinstance(error, RulesRefused) else (error,):
            self.errors.append(each)
            if len(self.errors) >= ERRORS_MAX:
                raise Enough

    def warn(self, number: str, message: str, span: Span | None, hint: str = "", line: str | None = None) -> None:
        assert number in WARNINGS, number
        self.warnings.append(Finding("warning", number, message, span, hint, line))

    def check(self) -> None:
        """Nothing, where no error was found.

        Raises:
            RulesRefused: with all of them, in the order of each text.
        """
        if self.errors:
            raise RulesRefused(in_order(self.errors, [error.span for error in self.errors]))

    def all(self) -> tuple[Finding, ...]:
        """Errors and warnings, in the order of each text."""
        found = [finding_of(error) for error in self.errors] + self.warnings
        return tuple(in_order(found, [finding.span for finding in found]))


def in_order(items: list[T], spans: list[Span | None]) -> list[T]:
    """Sorted by line and column; files stay in the order in which they first come."""
    files: dict[str, int] = {}
    keys = []
    for position, span in enumerate(spans):
        file = files.setdefault(span.file if span else "", len(files))
        keys.append((file, span.line if span else 0, span.column if span else 0, position))
    return [items[key[3]] for key in sorted(keys)]


def finding_of(error: RuleError) -> Finding:
    """An error as a finding."""
    return Finding("error", error.number, error.message, error.span, line=error.line)
