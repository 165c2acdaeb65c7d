"""Ties: which chains, half-filled joins and sets end with a flow or with a call.

An index over the cells of chains, waits and tallies, made anew from them at a
start; nothing of it is written down. So a flow that waits for a hundred
thousand keys has a cell no larger than any other.
"""

from __future__ import annotations


class Ties:
    """Keys of what waits, by the id of the flow, or of the call, that it ends with.

    Nearly all flows wait for one thing at a time: a lone key stands by itself, and takes no dict.
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, str | dict[str, None]] = {}

    def copied(self) -> Ties:
        """The same ties, to be changed apart."""
        copy = Ties()
        copy._of = {of: keys if isinstance(keys, str) else dict(keys) for of, keys in self._of.items()}
        return copy

    def add(self, of: str, key: str) -> None:
        keys = self._of.get(of)
        if keys is None:
            self._of[of] = key
        elif isinstance(keys, dict):
            keys[key] = None
        elif keys != key:
            self._of[of] = {keys: None, key: None}

    def drop(self, of: str, key: str) -> None:
        """Takes one out; one that is not there is passed over."""
        keys = self._of.get(of)
        if isinstance(keys, dict):
            keys.pop(key, None)
            if keys:
                return
        elif keys != key:
            return
        del self._of[of]

    def of(self, id: str) -> list[str]:
        """The keys, in their order as texts: the same whatever came before.

        Cost: grows with their number.
        """
        keys = self._of.get(id)
        return [] if keys is None else [keys] if isinstance(keys, str) else sorted(keys)

    def take(self, id: str) -> list[str]:
        """The same, and they are tied no more."""
        keys = self.of(id)
        self._of.pop(id, None)
        return keys

    def items(self) -> list[tuple[str, list[str]]]:
        """All, in order."""
        return [(id, self.of(id)) for id in sorted(self._of)]
