"""A run of a script, from its file to what `main` gave back: the same for an engine's thread and for a test."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from then.core.errors import BodyRefused, RuleError
from then.core.source import Span
from then.core.tasks import Body, own_copy, taken_over
from then.scripts.play import Play, ScriptDiffers, Unwound
from then.scripts.sources import is_async, load_main
from then.scripts.words import own


def run_script(play: Play, root: Path) -> object:
    """What `main` gives back; in the thread of the caller.

    Args:
        root: the project's, where `play.file` is found.

    Raises:
        Unwound: it waits, or was ended: this run of it is over.
        ScriptDiffers: it asked something else than is recorded, or ended earlier.
        BaseException: whatever it raises; `SystemExit` too.
    """
    path = root / play.file
    play.path = str(path)
    before = own.play, own.awaited
    own.play = play
    try:
        main = load_main(path, play.file, {"print": _printer(play)})
        body = own_copy(play.task.body)
        given = _run_async(main, body) if is_async(main) else main(**body)
        if play.is_unwound:
            raise Unwound  # The script caught it, which does not make it end.
        play.finish("the end of main")
    except (Unwound, ScriptDiffers):
        if play.differs is not None:
            raise play.differs from None
        raise
    except BaseException as error:
        if play.differs is not None:
            raise play.differs from error  # The script caught it, and ended by another.
        if play.is_unwound:
            raise Unwound from error
        play.finish(f"the end of main by {said_of(error)}")
        if isinstance(error, RuleError) and error.span is None:
            error.span = _place(error, play)
        raise
    else:
        return given
    finally:
        play.is_over = True
        own.play, own.awaited = before


def result_of(given: object) -> tuple[Body | None, str | None]:
    """What `main` gave back as a result, and what is wrong with it."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return None, f"main returned {type(given).__name__}; a script returns a dict of JSON values, or None"
    try:
        # A copy: what the script does with its lists afterwards is not in the record.
        return taken_over(given, "result")[0], None
    except BodyRefused as refused:
        return None, refused.text()


def said_of(error: BaseException) -> str:
    """The class of an exception, and the first line of its text."""
    try:
        text = str(error).partition("\n")[0]
    except Exception:  # noqa: BLE001 (a user's `__str__`)
        text = ""
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _place(error: BaseException, play: Play) -> Span | None:
    """Where in the script a word was asked for what it cannot do."""
    found, trace = None, error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == play.path:
            # Python counts columns in bytes.
            before = next(islice(code.co_positions(), trace.tb_lasti // 2, None))[2] or 0
            line = linecache.getline(play.path, trace.tb_lineno).encode()[:before]
            found = Span(play.file, trace.tb_lineno, len(line.decode(errors="replace")) + 1)
        trace = trace.tb_next
    return found


def _run_async(main: Callable[..., Any], body: Body) -> object:
    from then.scripts.patience import run_async

    return run_async(main, body)


def _printer(play: Play) -> Callable[..., None]:
    """`print` for a script: to its own output, and what it has printed in an earlier run not again."""

    def script_print(*values: object, sep: str | None = None, end: str | None = None, **rest: Any) -> None:
        file = rest.get("file")
        if file not in (None, sys.stdout, sys.stderr):
            print(*values, sep=sep, end=end, **rest)  # noqa: T201 (the script's own)
        elif not play.is_replaying and not play.is_over:
            text = (" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end)
            (play.write_error if file is sys.stderr and file is not sys.stdout else play.write)(text)

    return script_print
