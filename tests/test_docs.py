"""The pages under test: their code runs, their tables are complete, their links lead somewhere."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from tests.cli.terminal import Terminal
from tests.examples import normal
from tests.transcripts import Transcript, files
from then.cli.entry import COMMANDS
from then.core import errors
from then.core.errors import ThenError
from then.core.source import Span

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

DECISION_HEADINGS = ["Context", "Decision", "Reason", "Rejected"]

PLACE = Span("deploy.then", 14, 9, 6)
LINE = "  then    dokcer(image: b.image)"

SAMPLES: dict[type[ThenError], ThenError] = {
    type(sample): sample
    for sample in (
        ThenError("an error of andthen"),
        errors.RuleError("a chain of 3 steps ends in nothing", PLACE, LINE),
        errors.RuleSyntaxError('found "than" (did you mean "then"?)', PLACE, LINE),
        errors.UnknownName("task", "dokcer", ["docker", "deploy"], PLACE, LINE),
        errors.DuplicateRule("rule", "deploy", PLACE, Span("deploy.then", 3, 6)),
        errors.NotYet("`needs {slots: …}` with others than 0 and 1", PLACE, LINE),
        errors.TypeMismatch("total is a number, compared with a text", PLACE, LINE),
        errors.ScheduleRefused(
            'cron "61 * * * *"', "field 1, minute: 61 is out of range; it takes 0 to 59", span=PLACE, line=LINE
        ),
        errors.RulesRefused([errors.UnknownName("task", "dokcer", ["docker"], PLACE, LINE)]),
        errors.BodyRefused("build", "$.ratio", "nan is no JSON number; give null or text"),
        errors.ConfigError('--timeout: "soon" is no span of time; write 30d, 12h, 5m, 90s or 250ms'),
        errors.UnknownId("0k3f"),
        errors.ExecutorError('process: no program "gcc-19" on PATH; install it or correct the rule at ci.then:22'),
        errors.JournalError("journal .then/journal.db cannot be read: permission denied"),
        errors.JournalLocked(".then", "pid 4711"),
        errors.JournalTooNew(".then/journal.db", 7, 5),
        errors.JournalForeign(".then/journal.db", "a SQLite file of another application"),
        errors.JournalFailed(".then/journal.db", "disk I/O error"),
        errors.JournalFull(".then/journal.db"),
        errors.ProtocolError('request "setBreakpoints": Object missing required field `source`'),
        errors.InternalError("task 0k3fz8m1c20a4 completed twice; report this with the journal"),
    )
}
"""One of each class, as docs/errors.md shows it."""


def _classes(root: type[ThenError] = ThenError) -> Iterator[type[ThenError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _classes(child)


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _blocks(page: Path, info: str) -> list[tuple[int, str]]:
    """Line and text of the fenced blocks of a page whose info string is exactly that."""
    text = page.read_text()
    found = re.finditer(rf"^```{re.escape(info)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, match[1]) for match in found]


def _printed(page: Path, line: int) -> str:
    """The block `text` that follows, with at most a line of words between, the block that begins at a line."""
    rest = "".join(page.read_text().splitlines(keepends=True)[line - 1 :])
    found = re.match(r"(?:.*\n)*?```\n\s*(?:[^`\n]*\n\s*)?```text\n((?:.*\n)*?)```\n", rest)
    assert found is not None, f"{_shown(page)}:{line}: no block says what this prints"
    return found[1]


def _rows(page: Path) -> list[list[str]]:
    """The cells of each line of a page's tables, without heads and rules."""
    rows: list[list[str]] = []
    for line in page.read_text().splitlines():
        if line.startswith("|---"):
            rows.pop()
        elif line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


RUNNABLE = [
    pytest.param(page, line, code, id=f"{_shown(page)}:{line}")
    for page in PAGES
    for line, code in _blocks(page, "python run")
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line", "code"), RUNNABLE)
def test_python_in_the_pages_runs(page: Path, line: int, code: str, tmp_path: Path) -> None:
    """A block ```` ```python run ```` is a program of its own, in an empty folder; ```` ```text ```` after it, what it prints."""
    source = tmp_path / "example.py"
    source.write_text("\n" * (line - 1) + code)
    done = subprocess.run(
        [sys.executable, str(source)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == _printed(page, line)


def test_every_error_has_its_row_and_every_row_its_error() -> None:
    rows = {row[1].strip("`"): row for row in _rows(ROOT / "docs/errors.md")}
    expected = {cls.__name__: [cls.number, f"`{cls.__name__}`", str(cls.exit_code)] for cls in _classes()}
    assert {name: row[:3] for name, row in rows.items()} == expected
    assert not [name for name, row in rows.items() if len(row) != 6 or not all(row)], "a cell is empty"


def test_every_error_is_raised_somewhere() -> None:
    # One for files of other formats was listed as an error that is met, and nothing raised it.
    text = "".join(path.read_text() for path in (ROOT / "then").rglob("*.py"))
    made = set(re.findall(r"(?<!class )\b(\w+)\(", text))
    assert {cls.__name__ for cls in _classes() if cls is not ThenError} <= made


def test_rows_of_errors_show_what_is_really_printed() -> None:
    shown = {row[1].strip("`"): row[4] for row in _rows(ROOT / "docs/errors.md")}
    printed = {cls.__name__: _as_cell(SAMPLES[cls]) for cls in _classes()}
    assert shown == printed


def _as_cell(error: ThenError) -> str:
    first = str(error).splitlines()[0].replace("|", "\\|")
    return f"`` {first} ``" if "`" in first else f"`{first}`"


def test_numbers_of_errors_are_nobody_elses() -> None:
    numbers = [cls.number for cls in _classes()]
    assert sorted(set(numbers)) == sorted(numbers)


def _tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    return parser


def test_every_tox_environment_says_what_it_is_for() -> None:
    tox = _tox()
    named = {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}
    listed = set(re.split(r"[,\s]+", tox["tox"]["env_list"]))
    assert named - listed <= {"lowest", "vscode"}, "what `tox` alone leaves out"
    assert {name for name in listed - named if not re.fullmatch(r"py3\d+", name)} == set()
    assert not [section for section in tox.sections() if section != "tox" and not tox[section].get("description")]


def _readme_commands() -> list[str]:
    return [text.strip() for _, text in _blocks(ROOT / "README.md", "sh")]


def test_the_readme_has_two_commands_of_one_line_each() -> None:
    run, test = _readme_commands()
    assert "\n" not in run
    assert "\n" not in test
    assert shlex.split(run)[:4] == shlex.split(test)[:4] == ["python3", "-m", "venv", ".venv"]
    assert shlex.split(run)[-3:] == [".venv/bin/andthen", "run", "rules/02_release"]


def test_ci_runs_the_second_command_of_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text()
    body = re.search(r"^pass_the_tests\(\) \{\n +(.*)\n\}$", script, re.MULTILINE)
    assert body is not None
    assert body[1] == _readme_commands()[1]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/tour.md", "docs/testing.md", "docs/flows.md", "docs/debugger.md"])
def test_commands_in_the_pages_print_what_they_show(name: str, tmp_path: Path) -> None:
    """`python -m tests.transcripts PAGE` writes what they print now."""
    page = Transcript((ROOT / name).read_text(), tmp_path)

    assert page.differences() == []


@pytest.mark.slow
def test_the_tree_of_the_tour_is_what_stays_on_a_terminal(tmp_path: Path) -> None:
    tour = (ROOT / "docs/tour.md").read_text()
    (tree,) = re.findall(r"^```text\n(.*?\nflow .*?\n)```$", tour, re.MULTILINE | re.DOTALL)
    (tmp_path / "press.then").write_text(dict(files(tour))["press.then"])
    (tmp_path / "limit").write_text("500\n")

    terminal = Terminal(tmp_path, "run", "press.then", "print", "title=War and Peace", "pages=1225")

    assert terminal.end() == 1
    assert _squeezed(terminal.picture.text) == _squeezed(tree)


def _squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in normal(text, str(ROOT)).splitlines()]


def test_every_page_is_found_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text()))
    assert {_shown(path) for path in (ROOT / "docs").glob("*.md")} <= linked


def test_commands_that_the_pages_name_are_there() -> None:
    named = {
        (_shown(page), word)
        for page in PAGES
        for word in re.findall(r"`andthen ([a-z]+)\b", page.read_text())
        if word not in COMMANDS
    }
    assert not named


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{_shown(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not dead


def test_the_floors_in_the_architecture_are_those_that_ci_holds() -> None:
    contracts = (ROOT / ".importlinter").read_text().split("[importlinter:contract:")
    house, core = (_rooms(contract.partition("layers =")[2]) for contract in contracts[1:3])
    (drawn,) = (text for _, text in _blocks(ROOT / "docs/architecture.md", "") if text.startswith("FRONT"))
    assert _rooms(re.sub(r"^[A-Z]+|#.*", "", drawn, flags=re.MULTILINE)) == house[:-1] + core


def _rooms(text: str) -> list[list[str]]:
    """Floor by floor the rooms that are listed; brackets say that one need not be there."""
    return [re.findall(r"\w+", line) for line in text.splitlines() if line.strip()]


def test_decisions_are_numbered_and_say_what_was_rejected() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == DECISION_HEADINGS, path.name


def test_the_version_has_its_heading_in_the_changelog() -> None:
    assert re.search(rf"^## {re.escape(then.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
