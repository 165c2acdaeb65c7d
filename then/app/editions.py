"""Which rules a flow stands under: editions by version, kept in the journal by hash.

A version's text is written once, in a `rules` cell (law 10). Where a flow's
version is not the one that is loaded, it is loaded from there.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from then.abc import Cell, Journal
from then.app.places import shown_paths
from then.app.rules import Rules
from then.core.edition import Edition
from then.core.errors import ConfigError, ThenError
from then.core.rules import RuleSet


class KeptRules(msgspec.Struct, array_like=True):
    """What the journal keeps of a version."""

    root: str
    path: str | None
    """What was loaded, from the root; None where rules were written in a program."""
    sources: dict[str, str]
    """Text by path, of all files that were read."""
    python: dict[str, str]
    """Source hash by name, of the rules in Python."""
    secrets: dict[str, tuple[str, str]] = {}
    """Source and reference by name, of the secrets: where a reader that masks outputs finds the values."""
    given: dict[str, list[str]] = {}
    """By task, the names of the secrets that it is given."""
    places: dict[str, str] = {}
    """By name, the places of rules in Python and of their continuations: they are not found without running a program."""


class Editions(dict[str, Edition]):
    """Editions by version; those of earlier engines are loaded when a flow asks for them.

    A dict, since several are asked for in each step.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._kept: set[str] = set()

    def add(self, edition: Edition, rules: Rules, note: Callable[[Cell], None]) -> None:
        """Takes an edition in, and notes it for the journal where it is not there yet."""
        self[edition.version] = edition
        if edition.version in self._kept or self.kept(edition.version) is not None:
            return
        self._kept.add(edition.version)
        python = {rule.name: rule.source for rule in rules.set.rules if rule.generator is not None}
        path = str(rules.path) if rules.path is not None and rules.is_one_load else None
        secrets = {one.name: (one.source, one.reference) for one in rules.set.secrets.values()}
        given = {
            name: [one.name for one in runner.secrets] for name, runner in edition.runners.items() if runner.secrets
        }
        kept = KeptRules(str(rules.root.resolve()), path, rules.set.sources, python, secrets, given, _places(rules.set))
        note(Cell("rules", edition.version, msgspec.msgpack.encode(kept)))

    def kept(self, version: str) -> KeptRules | None:
        """What the journal has of a version."""
        for key, data in self._journal.cells("rules", version):
            if key == version:
                return msgspec.msgpack.decode(data, type=KeptRules)
        return None

    def place(self, version: str, address: str) -> str | None:
        """File and line of a rule, or of a later step of one; None where they are not known here."""
        kept = self.kept(version)
        known = kept.places.get(address.partition("/")[0]) if kept is not None else None
        if known is not None or kept is None:
            return known
        with contextlib.suppress(ThenError):
            span = self[version].rules.span(address)
            return f"{span.file}:{span.line}" if span is not None else None
        return None

    def engine_number(self) -> int:
        """The number of the engines on this state, 0 to 1023: drawn once, so that ids of two states differ."""
        for key, data in self._journal.cells("meta", "engine"):
            if key == "engine":
                return int(msgspec.msgpack.decode(data))
        number = int.from_bytes(os.urandom(2)) % 1024
        self._journal.append((), [Cell("meta", "engine", msgspec.msgpack.encode(number))])
        return number

    def load(self, version: str) -> Rules:
        """The rules of a version that the journal keeps; their version is another one where Python has changed since.

        Raises:
            ConfigError: the journal has none, or they were written in a program.
            RulesRefused: they do not load any more.
        """
        kept = self.kept(version)
        if kept is None:
            raise ConfigError(
                "no rules are in force in this state; `andthen run PATH` or `andthen resume PATH` brings some"
            )
        if kept.path is None:
            raise ConfigError(
                f"rules version {version} was written in a program: open the engine there, with its `Rules`"
            )
        from then.app.loading import load_kept

        return load_kept(kept.path, Path(kept.root), kept.sources)

    def __missing__(self, version: str) -> Edition:
        edition = self[version] = Edition(version, self.load(version).set)
        return edition


def _places(rules: RuleSet) -> dict[str, str]:
    within = (rule for one in rules.procedures.values() for rule in (one.first, *one.rules))
    found = {
        rule.name: f"{rule.span.file}:{rule.span.line}"
        for rule in (*rules.rules, *within, *rules.endings.values())
        if rule.generator is not None and rule.span is not None
    }
    for name, function in rules.continuations.items():
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None:
            found[name] = f"{shown_paths.get(code.co_filename, code.co_filename)}:{code.co_firstlineno}"
    return found
