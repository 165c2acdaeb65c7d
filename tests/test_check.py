"""What is found in rules: chunks of tests/language/check_*.then, each line with what is said of it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from then.core.errors import RuleError, ThenError
from then.language.findings import WARNINGS
from then.language.loading import check_text

ROOT = Path(__file__).parent.parent
LANGUAGE = ROOT / "tests/language"
EXPECTED = re.compile(r'###\s+"(.*?)"(?=\s*(?:###|$))')
ENV = {"SOME": "thing"}


def _chunks() -> Iterator[object]:
    for path in sorted(LANGUAGE.glob("check_*.then")):
        lines = 0
        for number, chunk in enumerate(path.read_text().split("\n---\n"), 1):
            # Blank lines before, so that the lines of a chunk are those of its file.
            yield pytest.param("\n" * lines + chunk, path.name, id=f"{path.stem}-{number}")
            lines += chunk.count("\n") + 2


@pytest.mark.parametrize(("text", "file"), list(_chunks()))
def test_findings_of(text: str, file: str) -> None:
    expected: dict[int, list[str]] = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        expected[number].extend(EXPECTED.findall(line))
    found: dict[int, list[str]] = defaultdict(list)
    for finding in check_text(text, file, env=ENV):
        assert finding.span is not None, finding.text()
        found[finding.span.line].append(finding.text().split("\n")[0].split(": ", 1)[1])
    for number in sorted({*expected, *found}):
        wanted, got = expected[number], found[number]
        unmatched = [text for text in got if not any(re.search(pattern, text) for pattern in wanted)]
        absent = [pattern for pattern in wanted if not any(re.search(pattern, text) for text in got)]
        assert (unmatched, absent) == ([], []), f"line {number}"


# -- the page ---------------------------------------------------------------------

PAGE = (ROOT / "docs/language-checks.md").read_text()
SECTIONS = {found[1]: found[0] for found in re.finditer(r"^### (T\d+) .*?(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)}


def _blocks(section: str) -> list[tuple[str, str]]:
    return [
        (found[1], found[2]) for found in re.finditer(r"^```(then|yaml)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ]


def _numbers(kind: str, text: str) -> set[str]:
    return {finding.number for finding in check_text(text, f"rules.{kind}", env={})}


def test_every_number_has_its_section_and_every_section_its_number() -> None:
    # What the rules of others, and bodies, are refused for has its row in docs/errors.md.
    modules = ("then.core.errors", "then.language.findings")
    errors = {cls.number for cls in _descendants(RuleError) if cls.__module__ in modules} - {"T110", "T120"}
    assert set(SECTIONS) == errors | set(WARNINGS)


@pytest.mark.parametrize("number", SECTIONS)
def test_the_first_example_of_a_section_is_what_it_is_about(number: str) -> None:
    kind, text = _blocks(SECTIONS[number])[0]
    assert number in _numbers(kind, text)


@pytest.mark.parametrize("number", SECTIONS)
def test_the_second_example_of_a_section_is_mended(number: str) -> None:
    for kind, text in _blocks(SECTIONS[number])[1:]:
        assert _numbers(kind, text) == set()


def test_of_very_many_clauses_over_one_field_the_first_256_are_compared() -> None:
    # Each was compared with all before it: a file of 1 MB took an hour to load.
    many = ["n > 1"] * 5_000
    rule = "event a(n: int)\nrule r when a where {} then end flow done"
    assert _numbers("then", rule.format(" and ".join(["n < 0", *many]))) == {"T603"}
    assert _numbers("then", rule.format(" and ".join([*many, "n < 0"]))) == set()


def test_a_command_of_very_many_words_is_refused_where_it_stands() -> None:
    # It took 25 µs a word to load, and at run the system refused it.
    rules = f'task t() run process ["true"{", 1" * 10_000}]'
    (found,) = check_text(rules, "r.then")
    assert found.text().split("\n")[0] == (
        "r.then:1:14: error T113: run process has 10,001 words, and 10,000 are the most that may be written; "
        'a list is taken as several: run process ["program", paths]'
    )


def test_numbers_of_errors_are_nobody_elses() -> None:
    for module in pkgutil.walk_packages(then.__path__, "then."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    numbers = [cls.number for cls in _descendants(ThenError)]
    assert sorted(numbers) == sorted(set(numbers))


def _descendants(root: type[ThenError]) -> list[type[ThenError]]:
    return [root, *(each for child in root.__subclasses__() for each in _descendants(child))]
