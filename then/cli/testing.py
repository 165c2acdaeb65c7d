"""Tests beside the rules, played and told: as lines, as JSON, as JUnit XML."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from then.analysis.coverage import Coverage, Covered
from then.analysis.verdicts import Verdict, as_json, judge
from then.app.loading import load_afresh
from then.cli.listing import print_object
from then.cli.settings import Settings, say
from then.cli.texts import clean, duration
from then.cli.words import GREEN, RED, colored
from then.core.edition import Edition
from then.core.errors import ConfigError
from then.core.scenarios import Scenario
from then.core.source import Span

UNSEEN_MAX: Final = 30
"""Lines about what no test has seen; `--json` tells all."""

# What XML cannot hold, not even escaped.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Played(NamedTuple):
    """A verdict, and how long it took on a clock on the wall."""

    verdict: Verdict
    took_s: float


def test(settings: Settings, path: str, junit: str | None, chosen: str | None) -> int:
    """Plays the tests of a file or folder. Gives 1 where one failed."""
    rules = load_afresh(path)
    scenarios = _chosen(path, rules.scenarios, chosen)
    root = Path(path) if Path(path).is_dir() else Path(path).parent
    edition, coverage = Edition("tests", rules), Coverage(rules)
    began = time.perf_counter()
    played: list[Played] = []
    for scenario in scenarios:
        at = time.perf_counter()
        verdict = judge(scenario, edition, coverage, root)
        played.append(Played(verdict, time.perf_counter() - at))
        if settings.is_json:
            print_object(_test_object(verdict))
        else:
            _print_verdict(verdict, settings.has_color(sys.stdout))
    took_s = time.perf_counter() - began
    if junit is not None:
        _write_junit(Path(junit), path, played, took_s)
    failed = sum(not one.verdict.is_passed for one in played)
    if settings.is_json:
        passed = len(played) - failed
        print_object({"passed": passed, "failed": failed, "rules": [_rule_object(one) for one in coverage.rules()]})
        return 1 if failed else 0
    if chosen is None and played:
        _print_unseen(coverage.rules())
    _sum_up(path, len(played), failed, took_s)
    return 1 if failed else 0


def _chosen(path: str, scenarios: Sequence[Scenario], text: str | None) -> Sequence[Scenario]:
    if text is None:
        return scenarios
    found = [scenario for scenario in scenarios if text.lower() in scenario.name.lower()]
    if not found:
        raise ConfigError(f'no test of {path} has "{text}" in its name; it has {len(scenarios)} tests')
    return found


# -- lines -------------------------------------------------------------------------


def _print_verdict(verdict: Verdict, has_color: bool) -> None:
    word = colored("passed", GREEN, has_color) if verdict.is_passed else colored("FAILED", RED, has_color)
    sys.stdout.write(f"{word}  {clean(verdict.scenario.name)}\n")
    for failure in verdict.failures:
        sys.stdout.write("\n".join(map(clean, failure.text().split("\n"))) + "\n")
    if verdict.failures:
        sys.stdout.write("\n")


def _print_unseen(covered: Iterable[Covered]) -> None:
    lines = [f"{place}: {text}" for place, text in _unseen(covered)]
    for line in lines[:UNSEEN_MAX]:
        sys.stdout.write(f"{clean(line)}\n")
    if len(lines) > UNSEEN_MAX:
        sys.stdout.write(f"and {len(lines) - UNSEEN_MAX} more that no test has seen; --json lists them all\n")


def _unseen(covered: Iterable[Covered]) -> Iterator[tuple[Span | None, str]]:
    """What no test has seen of the rules: place and text."""
    for one in covered:
        name, place = one.rule.name, one.rule.span
        missed = [step for step, count in one.steps.items() if not count]
        if one.fired:
            if missed:
                yield place, f"not covered: {', '.join(missed)} never ran"
        elif len(missed) == len(one.steps):
            yield place, f"not covered: rule {name} never fired"
        else:
            # A join of which only the `else`, or what follows its window, ran.
            yield place, f"not covered: rule {name} never had all that it waits for"
        for clause in one.clauses:
            if clause.lacks:
                yield clause.span, f"not covered: `{clause.text}` of rule {name} was never {clause.lacks}"


def _sum_up(path: str, count: int, failed: int, took_s: float) -> None:
    if not count:
        say(f"no tests in {path}")
        return
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{count - failed} passed"] if count > failed else []
    say(f"{', '.join(parts)} in {duration(took_s)}")


# -- objects -------------------------------------------------------------------------


def _place(span: Span | None) -> dict[str, object]:
    if span is None:
        return {"file": None, "line": None, "column": None}
    return {"file": span.file, "line": span.line, "column": span.column}


def _test_object(verdict: Verdict) -> dict[str, object]:
    return {
        "test": verdict.scenario.name,
        **_place(verdict.scenario.span),
        "outcome": "passed" if verdict.is_passed else "failed",
        "failures": [as_json(failure) for failure in verdict.failures],
    }


def _rule_object(covered: Covered) -> dict[str, object]:
    return {
        "rule": covered.rule.name,
        **_place(covered.rule.span),
        "fired": covered.fired,
        "steps": covered.steps,
        "clauses": [
            {
                "clause": clause.text, **_place(clause.span),
                "was_true": clause.was_true, "was_false": clause.was_false,
            }
            for clause in covered.clauses
        ],
    }  # fmt: skip


def _write_junit(file: Path, path: str, played: Sequence[Played], took_s: float) -> None:
    """The results in the form that build servers read: a suite a file, and no attribute that the schema of Jenkins lacks."""
    from xml.etree import ElementTree as ET

    def counts(of: Sequence[Played], took_s: float) -> dict[str, str]:
        failed = sum(not one.verdict.is_passed for one in of)
        return {"tests": str(len(of)), "failures": str(failed), "errors": "0", "time": f"{took_s:.3f}"}

    root = ET.Element("testsuites", counts(played, took_s))
    by_file: dict[str, list[Played]] = {}
    for one in played:
        place = one.verdict.scenario.span
        by_file.setdefault(place.file if place is not None else path, []).append(one)
    for name, of in by_file.items():
        named = {"name": _for_xml(name), "file": _for_xml(name), **counts(of, sum(one.took_s for one in of))}
        suite = ET.SubElement(root, "testsuite", named)
        for verdict, case_s in of:
            known = {"name": _for_xml(verdict.scenario.name), "classname": _for_xml(name), "time": f"{case_s:.3f}"}
            case = ET.SubElement(suite, "testcase", known)
            if verdict.failures:
                first = verdict.failures[0]
                text = "\n".join(failure.text() for failure in verdict.failures)
                ET.SubElement(case, "failure", {"message": _for_xml(first.message)}).text = _for_xml(text)
    ET.indent(root)
    ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _for_xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
