"""Scenarios: tests beside the rules, as data.

What a `test "…" … end` says, line by line. Values are known at load, so a line
holds JSON. Who plays them is `then.analysis.trial`, and who judges them
`then.analysis.verdicts`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from then.core.source import Span
from then.core.tasks import Body, Outcome

BEGIN_US: Final = 1_767_225_600_000_000
"""2026-01-01T00:00Z: when a test begins that does not say `given now`."""
END_US: Final = 7_258_118_400_000_000
"""2200-01-01T00:00Z: no test goes on beyond; ids are made from times before."""
BEGIN_MIN_US: Final = 0
"""1970-01-01T00:00Z."""


class Given(msgspec.Struct, frozen=True, tag=True, tag_field="line"):
    """`given now 2026-01-05T10:00`."""

    now_us: int
    """Microseconds since 1970, UTC."""
    span: Span | None = None


class Posted(msgspec.Struct, frozen=True, tag=True, tag_field="line"):
    """`post T(a: 1)`: a record from outside, the root of a flow of its own."""

    type: str
    body: Body
    span: Span | None = None


class Answer(msgspec.Struct, frozen=True):
    """How one attempt ends, at the moment at which it would start."""

    outcome: Outcome | None
    """None: it hangs."""
    fields: Body = {}
    """Of its result; where it did not end `done`, `kind`, `message` and what is no field of the result: of its error."""
    times: int | None = None
    """For so many attempts; None: for one where another answer follows, else for all."""


class Stub(msgspec.Struct, frozen=True, tag=True, tag_field="line"):
    """`stub T failed 2 times, then done (r: 1)`: what answers the attempts of a task, from here on."""

    type: str
    answers: tuple[Answer, ...]
    span: Span | None = None


class Advance(msgspec.Struct, frozen=True, tag=True, tag_field="line"):
    """`advance 2h`."""

    by_us: int
    span: Span | None = None


class Expect(msgspec.Struct, frozen=True, tag=True, tag_field="line"):
    """`expect T(a: 1) 2 times by rule R`: looks at all that was emitted since the test began."""

    type: str
    fields: Body = {}
    """Equal in the record's body; other fields of it may be anything."""
    count: int | None = None
    """Exactly so many; None: at least one. `no` is 0."""
    rule: str | None = None
    """The rule, any step of it, or with `R/2` that step."""
    span: Span | None = None

    @property
    def is_absent(self) -> bool:
        """`expect no …`."""
        return self.count == 0


Line: TypeAlias = Given | Posted | Stub | Advance | Expect


class Scenario(msgspec.Struct, frozen=True):
    """One test: its name, and its lines in order."""

    name: str
    lines: tuple[Line, ...]
    span: Span | None = None


def covers(rule: str, name: str | None) -> bool:
    """Whether what carries a name (`pack/2/else`) was emitted by this rule (`pack`) or this step of it (`pack/2`)."""
    return name is not None and (name == rule or name.startswith(f"{rule}/"))
