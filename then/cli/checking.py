"""Findings, and the order of rules, printed."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from then.app.loading import environment, load_afresh, load_rules, run_python_rules
from then.app.machine import capacity_of
from then.app.script_files import beside_script, has_rules, is_script, script_findings
from then.cli.listing import print_object, print_table
from then.cli.settings import Settings, say
from then.cli.showing import rule_object, when_text
from then.core.claims import constant_claim
from then.core.errors import RuleError
from then.core.rules import RuleSet
from then.language.findings import Finding
from then.language.loading import check_path


def check(settings: Settings, path: str, resources: Mapping[str, float]) -> int:
    """Prints the findings. Gives 1 where there is an error.

    Args:
        resources: what an engine would have for `needs`, beside what the machine has.

    Raises:
        RulesRefused: no file or folder is there.
    """
    findings = _findings(Path(path), resources)
    errors = sum(finding.severity == "error" for finding in findings)
    for finding in findings:
        if settings.is_json:
            print_object(_object(finding))
        else:
            sys.stdout.write(finding.text() + "\n")
    if not settings.is_json:
        warnings = len(findings) - errors
        found = [
            f"{count} {word}{'s' if count > 1 else ''}"
            for count, word in ((errors, "error"), (warnings, "warning"))
            if count
        ]
        say(", ".join(found) or "nothing found")
    return 1 if errors else 0


def _findings(path: Path, resources: Mapping[str, float]) -> tuple[Finding, ...]:
    """What is found in rules, and, where they load, in the scripts that they name; of a script, in it and the rules beside it."""
    is_lone = is_script(path)
    root = path if path.is_dir() else path.parent
    found: tuple[Finding, ...] = ()
    if not is_lone or has_rules(root):
        at = root if is_lone else path
        found = check_path(at, env=environment(), load_python=run_python_rules)
        found = beside_script(found) if is_lone else found
    if any(finding.severity == "error" for finding in found):
        return found
    rules = load_afresh(str(path))
    return found + tuple(script_findings(rules, root)) + tuple(_unmet(rules, resources))


def _unmet(rules: RuleSet, resources: Mapping[str, float]) -> Iterator[Finding]:
    """Needs that could never be met here; of tokens that are not said here nothing is known."""
    capacity = capacity_of(os.cpu_count() or 1, resources)
    known = {"cores", "memory", *capacity.tokens}
    for declared in rules.tasks.values():
        needs = tuple(need for need in declared.needs if need.name in known)
        try:
            constant_claim(attrs.evolve(declared, needs=needs), capacity)
        except RuleError as error:
            span = error.span
            line = linecache.getline(span.file, span.line).rstrip("\n") if span is not None else ""
            yield Finding("error", "T117", error.message, span, line=line or None)


def _object(finding: Finding) -> dict[str, object]:
    span = finding.span
    return {
        "severity": finding.severity,
        "number": finding.number,
        "message": finding.message,
        "hint": finding.hint or None,
        "file": span.file if span is not None else None,
        "line": span.line if span is not None else None,
        "column": span.column if span is not None else None,
        "length": span.length if span is not None else None,
    }


def print_order(settings: Settings, path: str) -> int:
    """Prints the rules in order."""
    rules = load_rules(path).set.rules
    if settings.is_json:
        for rule in rules:
            print_object(rule_object(rule))
    else:
        rows = ((rule.name, when_text(rule), "final" if rule.final else "", str(rule.span or "")) for rule in rules)
        print_table(("RULE", "WHEN", "", "PLACE"), rows)
    return 0
