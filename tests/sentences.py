"""Texts of the language, drawn from its own grammar: every form turns up, and most mean nothing."""

from __future__ import annotations

import random
from typing import Final

from then.language.tables import END, tables

_NAMES: Final = ("a", "b", "order", "total", "x1", "_y", "Foo")
_SAMPLES: Final = {
    "NAME": _NAMES,
    "INT": ("0", "7", "42"),
    "FLOAT": ("1.5", "2e3", "0.25"),
    "DURATION": ("30s", "1.5h", "250ms", "2d"),
    "SIZE": ("1GiB", "512MiB"),
    "TIMESTAMP": ("2026-01-05T10:00", "2026-01-05T10:00:30Z"),
    "CLOCK": ("06:30",),
    "STRING": ('"a"', '"x {y} # z"', '"q\\"q"', '""'),
    "RAW": ("r'#{'", 'r"\\d"'),
    "REGEX": ("/a+b/", "/\\/#x/"),
    "CMP": ("<", "!=", ">="),
    "ADD": ("+", "-"),
    "MUL": ("*", "%", "/"),
}


class Sentences:
    """Draws derivations; equal seeds give equal texts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._productions: dict[str, list[tuple[str, ...]]] = {}
        for production in tables().productions:
            self._productions.setdefault(production.origin, []).append(production.symbols)
        self._costs = self._count()
        self._texts = {terminal: text for text, terminal in (*tables().keywords.items(), *tables().punctuation.items())}

    def _count(self) -> dict[str, int]:
        """For each rule, how many productions its shortest text takes."""
        costs: dict[str, int] = {}
        while True:
            before = dict(costs)
            for origin, ways in self._productions.items():
                known = [cost for way in ways if (cost := self._cost(way, costs)) is not None]
                if known:
                    costs[origin] = 1 + min(known)
            if costs == before:
                return costs

    def _cost(self, way: tuple[str, ...], costs: dict[str, int]) -> int | None:
        known = [costs.get(symbol) for symbol in way if symbol in self._productions]
        return None if None in known else sum(cost for cost in known if cost is not None)

    def tokens(self, start: str = "start", depth_max: int = 25, tokens_max: int = 600) -> list[tuple[str, str]]:
        """Terminals and texts of one text."""
        while True:
            drawn = self._draw(start, self._random.randrange(5, depth_max))
            if 0 < len(drawn) <= tokens_max:
                return drawn

    def _draw(self, start: str, depth: int) -> list[tuple[str, str]]:
        drawn: list[tuple[str, str]] = []
        todo = [(start, depth)]
        while todo:
            symbol, left = todo.pop()
            ways = self._productions.get(symbol)
            if ways is None:
                samples = _SAMPLES.get(symbol)
                drawn.append((symbol, self._random.choice(samples) if samples else self._texts[symbol]))
                continue
            if left <= 0:
                shortest = min(self._cost(way, self._costs) or 0 for way in ways)
                ways = [way for way in ways if self._cost(way, self._costs) == shortest]
            todo.extend((inner, left - 1) for inner in reversed(self._random.choice(ways)))
        return drawn

    def text(self, tokens: list[tuple[str, str]], *, comments: bool = False) -> str:
        """The text of tokens, with any white space between them, and comments anywhere where they are wanted."""
        gaps = [" "] * 12 + ["\n", "\n", "\n\n\n", "\t "]
        if comments:
            gaps += [" # after\n", "\n  # own\n", "\n# left\n\n", "\n\n # apart\n"]
        pieces: list[str] = []
        for _, text in tokens:
            pieces += [text, self._random.choice(gaps)]
        return "".join(pieces)


assert END not in _SAMPLES
