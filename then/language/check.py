"""Rules looked at together: those that never fire, clauses that are never true, events that nobody uses."""

from __future__ import annotations

from collections.abc import Iterable

from then.core.rules import RuleSet
from then.language.findings import Findings
from then.language.units import Unit


def check_rules(rules: RuleSet, units: Iterable[Unit], findings: Findings) -> None:
    """Warns of what is allowed and hardly meant."""
