"""What a task of this process raised, as the error of its record."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

from then.core.masking import Mask
from then.core.tasks import Body

MESSAGE_CHARACTERS_MAX: Final = 10_000
TRACEBACK_CHARACTERS_MAX: Final = 100_000
"""Of an exception, in the record: some hold all that they failed on."""


def failure_of(error: BaseException, trace: TracebackType | None, mask: Mask | None) -> Body:
    """Kind, message, type and traceback.

    Args:
        trace: from the task's own code on: ours says nothing to its author.
    """
    shown = "".join(traceback.format_exception(type(error), error, trace))
    said = f"{type(error).__name__}: {_said(error)}".removesuffix(": ")
    if mask is not None:
        # Here already, though all reports are masked: of a long text only the ends are kept, and one may begin in a value.
        shown, said = mask.text(shown), mask.text(said)
    return {
        "kind": "exception",
        "message": printable(said, MESSAGE_CHARACTERS_MAX),
        "type": type(error).__name__,
        "traceback": printable(shown, TRACEBACK_CHARACTERS_MAX),
    }


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 (a user's `__str__`)
        return f"(its text cannot be had: {type(worse).__name__})"


def printable(text: str, characters_max: int) -> str:
    """Half surrogates, which are no Unicode and would be refused as JSON, are written out; a long middle is left out."""
    if len(text) > characters_max:
        half = characters_max // 2
        text = f"{text[:half]}… ({len(text) - 2 * half} characters left out) …{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
