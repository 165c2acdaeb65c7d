"""Where a rule in Python stands: the line of the user's file that is being written."""

from __future__ import annotations

import inspect
import os
from typing import Final

from then.core.source import Span

shown_paths: Final[dict[str, str]] = {}
"""For files of rules that were run, by their real paths: each as it was named."""

_OWN_FOLDER: Final = os.path.dirname(__file__)


def caller() -> Span | None:
    """The place in the user's file that is being written; the file as the user named it, as in all messages."""
    frame = inspect.currentframe()
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == _OWN_FOLDER:
        frame = frame.f_back
    if frame is None:
        return None
    file = frame.f_code.co_filename
    return Span(shown_paths.get(file, file), frame.f_lineno)
