"""What requests bring along, where it is looked at closely; fields that clients add are let be.

Source: the Debug Adapter Protocol, 1.68; `LaunchArguments` and `AttachArguments` are ours.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from then.core.errors import ProtocolError
from then.core.tasks import Body, Json

T = TypeVar("T")
ADAPTERS: Final = ("andthen", "then")
"""What editors call it: their `type` of a launch."""


class Arguments(msgspec.Struct, rename="camel", kw_only=True):
    """Those of a request that has none that matter."""


class InitializeArguments(Arguments):
    lines_start_at1: bool = msgspec.field(default=True, name="linesStartAt1")
    columns_start_at1: bool = msgspec.field(default=True, name="columnsStartAt1")
    supports_invalidated_event: bool = False
    supports_start_debugging_request: bool = False


class LaunchArguments(Arguments):
    """A flow of its own, in an engine of its own."""

    path: str | None = None
    """The rules; that of the command line where it is not said."""
    post: str | None = None
    """The type of what is posted; else what the `start` lines say."""
    type: str | None = None
    """The same, for clients that do not put the name of the adapter there."""
    body: Body | None = None
    state: str | None = None
    """The state folder; none: nothing is kept."""
    stop_on_entry: bool = False
    clock: str = "real"
    no_debug: bool = False
    token: str | None = None

    @property
    def posted(self) -> str | None:
        return self.post or (self.type if self.type not in ADAPTERS else None)


class AttachArguments(Arguments):
    """Flows of an engine that runs, or of a state that is only looked at."""

    state: str | None = None
    flow: str | None = None
    """The one that is meant, by the beginning of its id; none: all that are open."""
    read_only: bool = False
    token: str | None = None


class Source(msgspec.Struct, rename="camel", kw_only=True):
    name: str | None = None
    path: str | None = None
    source_reference: int | None = None


class SourceBreakpoint(Arguments):
    line: int
    condition: str | None = None
    hit_condition: str | None = None
    log_message: str | None = None


class SetBreakpointsArguments(Arguments):
    source: Source
    breakpoints: list[SourceBreakpoint] = []


class FunctionBreakpoint(Arguments):
    name: str
    condition: str | None = None
    hit_condition: str | None = None


class SetFunctionBreakpointsArguments(Arguments):
    breakpoints: list[FunctionBreakpoint]


class FilterOption(Arguments):
    filter_id: str
    condition: str | None = None


class SetExceptionBreakpointsArguments(Arguments):
    filters: list[str]
    filter_options: list[FilterOption] = []


class DataBreakpoint(Arguments):
    data_id: str
    access_type: str | None = None
    condition: str | None = None
    hit_condition: str | None = None


class SetDataBreakpointsArguments(Arguments):
    breakpoints: list[DataBreakpoint]


class DataBreakpointInfoArguments(Arguments):
    name: str
    variables_reference: int | None = None
    frame_id: int | None = None


class BreakpointLocationsArguments(Arguments):
    source: Source
    line: int
    end_line: int | None = None


class SourceArguments(Arguments):
    source_reference: int
    source: Source | None = None


class ThreadArguments(Arguments):
    """Of `continue`, `next`, `stepIn`, `stepOut`, `pause`, `stepBack`, `reverseContinue`, `exceptionInfo`."""

    thread_id: int


class StackTraceArguments(Arguments):
    thread_id: int
    start_frame: int = 0
    levels: int = 0


class FrameArguments(Arguments):
    """Of `scopes` and `restartFrame`."""

    frame_id: int


class VariablesArguments(Arguments):
    variables_reference: int
    filter: str | None = None
    start: int = 0
    count: int = 0


class SetVariableArguments(Arguments):
    variables_reference: int
    name: str
    value: str


class EvaluateArguments(Arguments):
    expression: str
    frame_id: int | None = None
    context: str = "watch"


class CompletionsArguments(Arguments):
    text: str
    column: int
    line: int = 1
    frame_id: int | None = None


class GotoTargetsArguments(Arguments):
    source: Source
    line: int


class GotoArguments(Arguments):
    thread_id: int
    target_id: int


class DisconnectArguments(Arguments):
    terminate_debuggee: bool | None = None
    restart: bool = False


def read(command: str, given: Json, kind: type[T]) -> T:
    """The arguments of a request.

    Raises:
        ProtocolError: one is missing, or is not what it should be.
    """
    try:
        return msgspec.convert(given if given is not None else {}, kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f'request "{command}": {error}') from error
