"""What a rule script is written with: `main(**kwargs)` finds these names as globals; editors import them from here."""

from then.scripts.play import TaskFailed
from then.scripts.sources import starts
from then.scripts.words import Handle, call, emit, load, log, now, random, run, save, sleep, wait

__all__ = [
    "Handle", "TaskFailed", "call", "emit", "load", "log", "now", "random", "run", "save", "sleep", "starts",
    "wait",
]  # fmt: skip
