"""Which measurements count.

A machine's neighbours can halve it for minutes. So each run stands between two
runs of an *anchor* (a floor or a peer that does the same kind of work); it
counts where the two differ by at most 15 %, and is taken as a ratio to their
mean. Runs that do not count are made again, a bounded number of times.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TOLERANCE = 0.15
"""How far the anchor may move between before and after."""

Run = Callable[[], float]
"""Measures once; gives a rate or a time, the same kind for all runs of a row."""


@dataclass
class Sampled:
    """The runs of one subject, each with the mean of the anchor beside it."""

    name: str
    counted: list[tuple[float, float]] = field(default_factory=list)
    dropped: list[tuple[float, float]] = field(default_factory=list)
    is_anchor: bool = False

    @property
    def is_settled(self) -> bool:
        return bool(self.counted)

    @property
    def rounds(self) -> str:
        """`5 of 7`: how many of the rounds counted."""
        return f"{len(self.counted)} of {len(self.counted) + len(self.dropped)}"

    @property
    def _used(self) -> list[tuple[float, float]]:
        return self.counted or self.dropped

    @property
    def median(self) -> float:
        return statistics.median(value for value, _ in self._used)

    @property
    def to_anchor(self) -> float:
        """The median of the ratios to the anchor beside each run."""
        return statistics.median(value / beside for value, beside in self._used)

    def ratio_to(self, other: Sampled) -> float:
        return self.to_anchor / other.to_anchor


def measure(anchor: tuple[str, Run], subjects: Mapping[str, Run], rounds: int, rounds_max: int) -> dict[str, Sampled]:
    """Runs all subjects in turn, each between two runs of the anchor.

    Args:
        rounds: how many runs of each subject have to count.
        rounds_max: how many runs of each are tried for that.

    Returns:
        The subjects by name, and the anchor itself (as a ratio, always 1).
    """
    name, run_anchor = anchor
    found = {subject: Sampled(subject) for subject in subjects}
    anchors: list[float] = [run_anchor()]
    for _ in range(rounds_max):
        todo = [subject for subject, sampled in found.items() if len(sampled.counted) < rounds]
        if not todo:
            break
        for subject in todo:
            value = subjects[subject]()
            anchors.append(run_anchor())
            before, after = anchors[-2:]
            is_steady = abs(after - before) <= TOLERANCE * min(before, after)
            kept = found[subject].counted if is_steady else found[subject].dropped
            kept.append((value, (before + after) / 2))
    found[name] = Sampled(name, counted=[(value, value) for value in anchors], is_anchor=True)
    return found
