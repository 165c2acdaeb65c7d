"""A rule-based reactive task engine: when a task has completed like so, run those.

The names here are the public API; they are found on first use, so that
`import then` costs little and a program that only matches opens no database.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "AsyncEngine": "then.app.aio",
    "AsyncFlow": "then.app.aio",
    "Emission": "then.core.rules",
    "Engine": "then.app.engine",
    "Flow": "then.app.flows",
    "FlowFailed": "then.app.flows",
    "Match": "then.core.rules",
    "Part": "then.core.rules",
    "Procedure": "then.app.procedures",
    "Rule": "then.core.rules",
    "Rules": "then.app.rules",
    "Task": "then.core.tasks",
    "ThenError": "then.core.errors",
    "absent": "then.app.parts",
    "call": "then.app.emissions",
    "cancel": "then.app.emissions",
    "cancel_flow": "then.app.emissions",
    "each": "then.app.emissions",
    "emit": "then.app.emissions",
    "end_flow": "then.app.emissions",
    "it": "then.core.it",
    "of": "then.core.it",
    "part": "then.app.parts",
    "retry": "then.core.policies",
    "return_": "then.app.emissions",
    "save": "then.app.emissions",
    "skip": "then.app.emissions",
}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604 (they are strings; __init__.pyi has them one by one)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
