"""Findings, and the order of rules, printed."""

from __future__ import annotations

import sys
from pathlib import Path

from then.app.loading import environment, load_afresh, load_rules, run_python_rules
from then.app.script_files import has_rules, is_script, script_findings
from then.cli.listing import print_object, print_table
from then.cli.settings import Settings, say
from then.cli.showing import rule_object, when_text
from then.language.findings import Finding
from then.language.loading import check_path


def check(settings: Settings, path: str) -> int:
    """Prints the findings. Gives 1 where there is an error.

    Raises:
        RulesRefused: no file or folder is there.
    """
    findings = _findings(Path(path))
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


def _findings(path: Path) -> tuple[Finding, ...]:
    """What is found in rules, and, where they load, in the scripts that they name; of a script, in it and the rules beside it."""
    is_lone = is_script(path)
    root = path if path.is_dir() else path.parent
    found: tuple[Finding, ...] = ()
    if not is_lone or has_rules(root):
        at = root if is_lone else path
        found = check_path(at, env=environment(), load_python=run_python_rules)
    if any(finding.severity == "error" for finding in found):
        return found
    return found + tuple(script_findings(load_afresh(str(path)), root))


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
