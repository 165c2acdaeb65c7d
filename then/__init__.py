"""A rule-based reactive task engine: when a task has completed like so, run those."""

from __future__ import annotations

__version__ = "0.1.0"
