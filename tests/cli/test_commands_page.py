"""docs/commands.md under test: it has every command and option, and its example prints what it says."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from tests.cli.shell import Shell
from tests.cli.terminal import ROOT
from then.app.commands import OPS
from then.cli.entry import COMMANDS, andthen

PAGE = (ROOT / "docs/commands.md").read_text()
SHARED = {"--json", "--state", "--no-color", "--debug", "--help"}


def _sections() -> dict[str, str]:
    """The text below each heading of a command, and the heading with it."""
    parts = re.split(r"^## (?=andthen )", PAGE, flags=re.MULTILINE)[1:]
    return {part.split()[1]: part.split("\n## ")[0] for part in parts}


def _flags(text: str) -> list[set[str]]:
    """The flags in each row of a section's table."""
    rows = [line.split("|")[1] for line in text.replace("\\|", "/").splitlines() if line.startswith("| `-")]
    return [set(re.findall(r"(?<![\w-])--?[\w-]+", row)) for row in rows]


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    assert sorted(_sections()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_row_and_every_row_its_option(name: str) -> None:
    command = andthen.get_command(click.Context(andthen), name)
    assert command is not None
    options = [set(option.opts) for option in command.params if isinstance(option, click.Option)]
    own = [flags for flags in options if not flags & SHARED]
    assert sorted(map(sorted, _flags(_sections()[name]))) == sorted(map(sorted, own))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_heading_says_how_the_command_is_called(name: str) -> None:
    command = andthen.get_command(click.Context(andthen), name)
    assert command is not None
    pieces = [piece for piece in command.collect_usage_pieces(click.Context(command)) if piece != "[OPTIONS]"]
    heading = _sections()[name].splitlines()[0]
    expected = " ".join(["andthen", name, *pieces])
    assert heading == expected.replace("{bash|zsh|fish}", "SHELL")


def test_what_all_commands_share_has_its_rows() -> None:
    shared = PAGE.split("## What all commands share")[1].split("\n## ")[0]
    assert set().union(*_flags(shared)) == SHARED - {"--help"}


def test_the_operations_of_the_socket_are_all_named() -> None:
    section = PAGE.split("## The socket of a running engine")[1]
    assert set(re.findall(r"`(\w+)`", section.split("`op` is one of")[1])) == set(OPS)


_ID = re.compile(r"\b0[0-9a-hjkmnp-tv-z]{12}\b")
_TIMES = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "STAMP"),
    (re.compile(r"\b(?:\d+ ms|\d+\.\d s)(?=\s|$)"), "TIME"),
    (re.compile(r"version [0-9a-f]{16}"), "version VERSION"),
)


class Ids:
    """Ids by the names that the page gives them, in the order in which they come."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def shown(self, text: str) -> str:
        text = _ID.sub(lambda found: self.names.setdefault(found[0], f"ID{len(self.names) + 1}"), text)
        for pattern, name in _TIMES:
            text = pattern.sub(name, text)
        return text

    def typed(self, word: str) -> str:
        known = {name: id for id, name in self.names.items()}
        return known.get(word, word)


def _squeezed(text: str) -> list[str]:
    """Lines without their spaces: columns are as wide as ids and times really are."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.slow
def test_the_example_prints_what_it_says(shell: Shell) -> None:
    example = PAGE.split("## By example")[1].split("\n## ")[0]
    (rules,) = re.findall(r"^```then\n(.*?)^```", example, re.MULTILINE | re.DOTALL)
    shell.write("people.then", rules)
    assert shell("fmt", "--check", "people.then").code == 0
    ids = Ids()
    blocks = re.findall(r"^```console\n(.*?)^```", example, re.MULTILINE | re.DOTALL)
    for command, expected in re.findall(r"^\$ andthen (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.MULTILINE):
        said = shell(*(ids.typed(word) for word in shlex.split(command)))
        code = f"exit {said.code}\n" if said.code else ""
        found = _squeezed(ids.shown(said.out)) + _squeezed(ids.shown(said.err)) + _squeezed(code)
        assert sorted(found) == sorted(_squeezed(expected)), command
