"""All errors a caller may see, ordered by who can mend them.

Callers hand over facts (a span, the found thing, the known names); each class
builds its own text: place first, then what was found, what would be right, and
what to do. A task's own failure is no exception here: it is an outcome.

Every class has a stable `number` (listed in docs/errors.md) and the exit code
of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from then.core.source import Span


class ThenError(Exception):
    """Root of all errors of this package; never raised itself."""

    number: ClassVar[str] = "T000"
    exit_code: ClassVar[int] = 1

    def text(self) -> str:
        """One line, or a few where a source line and a caret help."""
        return ", ".join(str(part) for part in self.args)

    def __str__(self) -> str:
        return self.text()


CANDIDATES_MAX: Final = 1_000
"""Names that are looked through for one that was meant: some 20 µs each."""
COMPARED_MAX: Final = 100_000
"""Of names that share nearly all letters: pairs of letters that are compared, 0.2 µs each. It is enough for 500 of 14."""
LIKENESS_MIN: Final = 0.6


def nearest(found: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the known name that is nearest, else nothing."""
    import difflib

    names = list(known)
    if len(names) > CANDIDATES_MAX:
        near = [name for name in names if name[:1] == found[:1] and abs(len(name) - len(found)) <= 2]
        names = sorted(near)[:CANDIDATES_MAX]
    best, likeness, left = "", LIKENESS_MIN, COMPARED_MAX
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(found)
    bounds: list[tuple[float, str]] = []
    letters = COMPARED_MAX  # To look at one takes as long as to compare a pair.
    for name in names:
        letters -= len(name)
        if letters < 0:
            break
        matcher.set_seq1(name)
        if matcher.real_quick_ratio() >= likeness and (bound := matcher.quick_ratio()) >= likeness:
            bounds.append((bound, name))
    for bound, name in sorted(bounds, reverse=True):  # A slip of the pen changes few letters, or none.
        left -= len(name) * len(found)
        if bound < likeness or left < 0:
            break
        matcher.set_seq1(name)
        best, likeness = max((best, likeness), (name, matcher.ratio()), key=lambda one: (one[1], one[0]))
    return f' (did you mean "{best}"?)' if best else ""


# -- the author of the rules ------------------------------------------------


class RuleError(ThenError):
    """A rule set that does not load; its author can mend it.

    Args:
        message: lower case, what was found and what would be right.
        span: where, if it stands in a text.
        line: the source line, shown with a caret under the span.
    """

    number = "T100"
    exit_code = 2

    def __init__(self, message: str, span: Span | None = None, line: str | None = None) -> None:
        super().__init__(message, span, line)
        self.message = message
        self.span = span
        self.line = line

    def text(self) -> str:
        place = f"{self.span}: " if self.span else ""
        caret = ""
        if self.span and self.line is not None:
            shown, column = _excerpt(self.line.replace("\t", " "), self.span.column)
            mark = "^" * max(1, min(self.span.length, len(shown) - column + 1))
            caret = f"\n    {shown}\n    {' ' * (column - 1)}{mark}"
        return f"{place}{self.message}{caret}"


LINE_SHOWN_MAX: Final = 160
"""Characters of a source line; some files are one line of megabytes."""


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """What of a line is shown, and where the column is in that."""
    if len(line) <= LINE_SHOWN_MAX:
        return line, column
    start = max(0, min(column - 1 - LINE_SHOWN_MAX // 2, len(line) - LINE_SHOWN_MAX))
    end = start + LINE_SHOWN_MAX
    before, after = "…" if start else "", "…" if end < len(line) else ""
    return f"{before}{line[start:end]}{after}", column - start + len(before)


class RuleSyntaxError(RuleError):
    """A text that is not in the language."""

    number = "T101"


class UnknownName(RuleError):
    """A task, event, field or other name that nobody declared."""

    number = "T102"

    def __init__(
        self,
        what: str,
        found: str,
        known: Iterable[str] = (),
        span: Span | None = None,
        line: str | None = None,
        hint: str = "",
    ) -> None:
        """`hint` is for who knows better than `nearest` what was meant."""
        super().__init__(f'unknown {what} "{found}"{hint or nearest(found, known)}', span, line)
        self.what = what
        self.found = found


class DuplicateRule(RuleError):
    """Two rules, procedures, breakpoints or declarations of one name."""

    number = "T103"

    def __init__(self, what: str, name: str, span: Span | None, other: Span | None) -> None:
        where = f" (the other is at {other})" if other else ""
        super().__init__(f'{what} "{name}" is there twice{where}; names are unique over all files', span)
        self.name = name
        self.other = other


class NotYet(RuleError):
    """A form of the language that parses and that this version does not run."""

    number = "T104"

    def __init__(self, what: str, span: Span | None = None, line: str | None = None) -> None:
        super().__init__(f"{what} is not there yet", span, line)


class TypeMismatch(RuleError):
    """Values of unlike types put together, or a value of the wrong type."""

    number = "T105"


class RulesRefused(RuleError):
    """Several errors of one load, in the order of the text."""

    number = "T110"

    def __init__(self, errors: Iterable[RuleError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.message, first.span, first.line)

    def text(self) -> str:
        return "\n".join(error.text() for error in self.errors)


class BodyRefused(RuleError):
    """A value that is no record body: not JSON, too deep, too large."""

    number = "T120"

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(f"{what}: {path or '$'}: {reason}")
        self.path = path
        self.reason = reason


class ScheduleRefused(RuleError):
    """A schedule (`every`, `cron`) that is none, or whose time never comes.

    Args:
        found: the schedule as it was written: `cron "61 * * * *"`.
        reason: what is wrong in it, and what may stand there.
        offset: characters of a cron expression before the part that is meant.
        length: characters of that part; 0 where all of it is meant.
    """

    number = "T115"

    def __init__(
        self,
        found: str,
        reason: str,
        offset: int = 0,
        length: int = 0,
        span: Span | None = None,
        line: str | None = None,
    ) -> None:
        super().__init__(f"{found}: {reason}", span, line)
        self.found = found
        self.reason = reason
        self.offset = offset
        self.length = length


# -- the operator ------------------------------------------------------------


class ConfigError(ThenError):
    """A setting, argument or missing extra that the operator can mend."""

    number = "T300"
    exit_code = 2


class UnknownId(ConfigError):
    """An id, or the beginning of one, that names no record or several."""

    number = "T301"

    def __init__(self, found: str, matching: Iterable[str] = ()) -> None:
        self.found = found
        self.matching = tuple(matching)
        super().__init__(found, self.matching)

    def text(self) -> str:
        if not self.matching:
            return f'no record has an id that begins with "{self.found}"; `andthen ps --all` lists them'
        shown = ", ".join(self.matching[:5])
        return f'several ids begin with "{self.found}" ({shown}); give more of it'


class ExecutorError(ThenError):
    """What runs tasks is not there or refuses."""

    number = "T400"
    exit_code = 3


class JournalError(ThenError):
    """The journal cannot be read or written."""

    number = "T500"
    exit_code = 3


class JournalLocked(JournalError):
    """Another engine holds this state."""

    number = "T501"

    def __init__(self, place: str, holder: str) -> None:
        super().__init__(place, holder)
        self.place = place
        self.holder = holder

    def text(self) -> str:
        return f"{self.place}: another engine ({self.holder}) holds this state; use its commands, stop it, or give --state another folder"


class JournalTooNew(JournalError):
    """A journal written by a later version."""

    number = "T502"

    def __init__(self, place: str, found: int, known: int) -> None:
        super().__init__(place, found, known)
        self.place, self.found, self.known = place, found, known

    def text(self) -> str:
        return f"journal {self.place} has schema {self.found}, this andthen knows {self.known}; use a later andthen"


class JournalForeign(JournalError):
    """A file that is no journal of ours, or a damaged one."""

    number = "T503"

    def __init__(self, place: str, found: str) -> None:
        super().__init__(place, found)
        self.place, self.found = place, found

    def text(self) -> str:
        return f"{self.place}: {self.found}, no journal of andthen; nothing was changed; give --state another folder"


class JournalFailed(JournalError):
    """A write or fsync failed; what was acknowledged is safe, the engine ends."""

    number = "T504"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place, self.reason = place, reason

    def text(self) -> str:
        return f"journal {self.place}: {self.reason}; the engine stops here, nothing acknowledged is lost; mend the disk, then `andthen resume`"


class JournalFull(JournalError):
    """No room on the disk: nothing was written, the same call may be made again."""

    number = "T505"

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place

    def text(self) -> str:
        return f"journal {self.place}: no room left on the disk; nothing is taken up until there is"


class ProtocolError(ThenError):
    """What a client of ours sent, such as an editor, is not what the protocol says."""

    number = "T710"
    exit_code = 2


class InternalError(ThenError):
    """Our own fault."""

    number = "T900"
    exit_code = 70
