"""Where `andthen` begins: the version at once, all else by click."""

from __future__ import annotations

import gc
import sys
from typing import Final

_YOUNG_MAX: Final = 10_000
"""Objects that are made before garbage is looked for. A start makes 50,000, modules and rules, and they all stay;
with Python's own 700 they were looked through 86 times."""


def main() -> None:
    """The command line of `then`; ends the process with the exit code."""
    if sys.argv[1:] == ["--version"]:
        # Asked for by every script that looks what is there: neither click nor attrs for it.
        from then import __version__

        try:
            sys.stdout.write(f"andthen {__version__}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            from then.cli.entry import end_unread

            sys.exit(end_unread())
        return
    gc.set_threshold(_YOUNG_MAX, *gc.get_threshold()[1:])
    from then.cli.entry import enter

    sys.exit(enter(sys.argv[1:]))
